"""A host with agents, and the world around it, in network namespaces of this machine: real packets, and none leaves.

`host` routes between the bridges of its agents and the world, masquerades them and publishes a port, as Docker does.
All that an agent might look for stands in `world`: metadata servers, resolvers, services allowed and forbidden.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

PROBER = Path(__file__).with_name("prober.py")

WAN4, WAN6 = "192.0.2.2", "2001:db8::2"
WORLD = (
    *("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "169.254.42.42", "169.254.0.23"),
    *("192.0.0.192", "10.66.0.5", "172.20.0.5", "192.168.77.5", "100.64.0.9", "198.18.0.9", "10.9.0.5"),
    *("203.0.113.10", "203.0.113.66", "203.0.113.53", "203.0.113.80", "198.51.100.53", "198.51.100.1"),
    *("198.51.100.9", "198.51.100.123"),
    *("fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fd66::5", "64:ff9b::a42:5"),
    *("2002:a42:5::1", "2001:db8:1::10", "2001:db8:1::66", "2001:db8:1::53", "2001:db8:2::53", "2001:db8:3::1"),
)
TCP = (22, 25, 53, 80, 443, 853, 2375, 3128, 5432, 8000, 8080, 8100, 9000, 9100, 32526)
BARE = (2, 47, 50, 51, 112)
"""Protocols that are heard: IGMP, GRE, ESP, AH, VRRP (IANA, protocol numbers)."""
UDP = (53, 80, 123, 443, 4433, 5432, 9000)

WORLD_SCRIPT = (
    "".join(
        f"ip address add {address}/128 dev lo nodad\n" if ":" in address else f"ip address add {address}/32 dev lo\n"
        for address in WORLD
    )
    + "ip address add 192.0.2.1/24 dev eth0; ip address add 2001:db8::1/64 dev eth0 nodad; ip link set eth0 up\n"
    + "ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8::2\n"
)
"""What the world is, once it has its end of the link to the host."""

AGENTS = {"alpha": 1, "beta": 2}
UNLISTED = "other"
NAMES = ("host", "world", "alpha", "twin", "beta", UNLISTED)
"""`twin` is a second container of alpha, `other` one on a bridge that the policy doesn't know."""


WORLDS = itertools.count()


class Place:
    """Where a prober runs, and how to ask it. `command` starts it there."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input: IO[str] = self._process.stdin
        self._output: IO[str] = self._process.stdout

    def send(self, **request: Any) -> None:
        """Ask without waiting for the answer."""
        self._input.write(json.dumps(request) + "\n")

    def answer(self) -> str:
        """The answer to what was asked first."""
        line = self._output.readline()
        assert line, "the prober has ended"
        return str(json.loads(line))

    def ask(self, **request: Any) -> str:
        """Ask, and wait for the answer."""
        self.send(**request)
        return self.answer()

    def close(self) -> None:
        """End the prober."""
        self._input.close()
        self._process.terminate()
        self._process.wait(timeout=10)
        self._output.close()


ECS = """\
table inet ecs {
 chain pre {
  type nat hook prerouting priority dstnat;
  ip daddr 169.254.170.2 tcp dport 80 dnat ip to 203.0.113.10:443
 }
}
"""
"""On ECS, a metadata address that leads elsewhere."""

ENGINE = """\
table inet engine {
 chain pre {
  type nat hook prerouting priority dstnat;
  ip daddr 192.0.2.2 tcp dport 8080 dnat ip to 172.30.2.2:8080
  ip6 daddr 2001:db8::2 tcp dport 8080 dnat ip6 to [fd42:2::2]:8080
 }
 chain post {
  type nat hook postrouting priority srcnat
  oifname "wan0" masquerade
 }
}
"""
"""What an engine makes: masquerading, and a published port."""


class World:
    """The namespaces, by short names, and a prober in each. The agents' networks are made by hand here."""

    made: Sequence[str] = NAMES
    """The namespaces that are not an engine's."""

    held: Sequence[int] = ()
    """TCP ports of the host that an engine listens on."""

    def __init__(self, names: Mapping[str, Sequence[str]] | None = None) -> None:
        self._names = names or {}
        self._prefix = f"bulkhead-{os.getpid()}-{next(WORLDS)}-"
        self.places: dict[str, Place] = {}

    def __enter__(self) -> Self:
        try:
            for name in self.made:
                run("ip", "netns", "add", self._prefix + name)
                self.sh(
                    name,
                    "ip link set lo up; sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0",
                )
            self._connect()
            self.places = {
                name: Place(["ip", "netns", "exec", self._prefix + name, sys.executable, "-S", str(PROBER)])
                for name in NAMES
            }
            for name, place in self.places.items():
                names = self._names if name in ("world", "host") else {}
                tcp = [port for port in TCP if name != "host" or port not in self.held]
                assert place.ask(op="listen", tcp=tcp, udp=UDP, bare=BARE, names=names) == "listening"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for place in self.places.values():
            place.close()
        for name in NAMES:
            with contextlib.suppress(subprocess.CalledProcessError):
                run("ip", "netns", "delete", self._prefix + name)

    def sh(self, name: str, script: str) -> str:
        """What a shell script prints in a namespace; CalledProcessError when it fails."""
        return run("ip", "netns", "exec", self._prefix + name, "sh", "-ec", script)

    def namespace(self, name: str) -> str:
        """The file that stands for a namespace (ip-netns(8))."""
        return f"/run/netns/{self._prefix}{name}"

    def load(self, ruleset: str) -> None:
        """Load a ruleset into the host, as its file would be."""
        run("ip", "netns", "exec", self._prefix + "host", "nft", "-f", "-", text=ruleset)

    def unload(self) -> None:
        """Take the guard's table away."""
        self.load("table inet bulkhead\ndelete table inet bulkhead\n")

    def _veth(self, one: str, interface: str, other: str, its: str) -> None:
        run(
            *("ip", "link", "add", interface, "netns", self._prefix + one, "type", "veth"),
            *("peer", "name", its, "netns", self._prefix + other),
        )

    def _connect(self) -> None:
        self._veth("host", "wan0", "world", "eth0")
        self.sh("world", WORLD_SCRIPT)
        self.sh(
            "host",
            f"ip address add {WAN4}/24 dev wan0; ip address add {WAN6}/64 dev wan0 nodad; ip link set wan0 up;"
            "ip route add default via 192.0.2.1; ip -6 route add default via 2001:db8::1;"
            # The pod identity agent of EKS listens on an address of the host itself.
            "ip address add 169.254.170.23/32 dev lo; ip address add fd00:ec2::23/128 dev lo nodad;"
            "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.wan0.rp_filter=0",
        )
        self.load(ECS)
        self._agents()
        # By Docker, a bridge has the first of these; a host on Scaleway or OpenStack may have the other.
        for address in ("fe80::1", "fe80::a9fe:a9fe"):
            self.sh("host", f"ip address replace {address}/64 dev bh-alpha nodad")

    def _agents(self) -> None:
        """What an engine does: the host routes, and has the agents' bridges with the agents on them."""
        self.sh("host", "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        for name, number in AGENTS.items():
            self._bridge(f"bh-{name}", f"172.30.{number}", f"fd42:{number}:")
            self._attach(name, f"bh-{name}", f"172.30.{number}", f"fd42:{number}:", 2)
        self._attach("twin", "bh-alpha", "172.30.1", "fd42:1:", 3)
        self._bridge("br-other", "172.17.0", "fd42:17:")
        self._attach(UNLISTED, "br-other", "172.17.0", "fd42:17:", 2)
        self.load(ENGINE)

    def _bridge(self, name: str, network4: str, network6: str) -> None:
        self.sh(
            "host",
            f"ip link add {name} type bridge; sysctl -qw net.ipv4.conf.{name}.rp_filter=0;"
            f"ip address add {network4}.1/24 dev {name}; ip address add {network6}:1/64 dev {name} nodad;"
            f"ip link set {name} up",
        )

    def _attach(self, name: str, bridge: str, network4: str, network6: str, number: int) -> None:
        self._veth("host", f"v-{name}", name, "eth0")
        self.sh("host", f"ip link set v-{name} master {bridge} up")
        self.sh(
            name,
            f"ip address add {network4}.{number}/24 dev eth0; ip address add {network6}:{number}/64 dev eth0 nodad;"
            f"ip link set eth0 up; ip route add default via {network4}.1; ip -6 route add default via {network6}:1",
        )

    def mac(self, interface: str) -> str:
        """The hardware address of an interface of the host."""
        return self.sh("host", f"cat /sys/class/net/{interface}/address").strip()


def run(*command: str, text: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """What a program prints; CalledProcessError, which shows what it said, when it fails."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, env=environment)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout


@contextlib.contextmanager
def world(names: Mapping[str, Sequence[str]] | None = None) -> Iterator[World]:
    """The world, gone afterwards. Its resolvers and the host's know `names` with their addresses, or else they echo."""
    with World(names) as made:
        yield made
