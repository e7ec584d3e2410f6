"""A namespace on an agent's bridge: what a process there can reach is what the agent can reach, whatever runs it."""

from __future__ import annotations

import ipaddress
import re
import uuid
from dataclasses import dataclass
from typing import Any

from testinfra.host import Host

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def in_url(address: Address) -> str:
    """An address as a URL has it (RFC 3986)."""
    return f"[{address}]" if address.version == 6 else str(address)


@dataclass(frozen=True)
class Answer:
    """What became of a request: curl's exit status, and the packets that were denied meanwhile, by reason."""

    status: int
    code: str
    denied: dict[str, int]

    @property
    def refused(self) -> bool:
        """Whether the connection did not come about: refused, unreachable, or no answer in time (curl, EXIT CODES)."""
        return self.status in (7, 28)


class AgentNamespace:
    """A network namespace with a free address of each of an agent's own networks, and a link to its bridge."""

    def __init__(self, host: Host, agent: str, described: dict[str, Any]) -> None:
        self.host = host
        self.agent = agent
        self.bridge = f"bh-{agent}"
        self.networks = [ipaddress.ip_network(described[key]) for key in ("subnet4", "subnet6") if described.get(key)]
        self._name = f"bhv-{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> AgentNamespace:
        name = self._name
        try:
            made = self.host.run(
                f"set -e; ip netns add {name}; ip link add {name} type veth peer name eth0 netns {name}\n"
                f"ip link set {name} master {self.bridge} up\n"
                f"ip -n {name} link set lo up; ip -n {name} link set eth0 up"
            )
            assert made.rc == 0, made.stderr
            known = self._known()
            for network in self.networks:
                address = self._free(network, known)
                self._ip(f"address replace {address}/{network.prefixlen} dev eth0")
                self._ip(f"-{network.version} route add default via {network[1]}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _ip(self, what: str) -> None:
        made = self.host.run(f"ip -n {self._name} {what}")
        assert made.rc == 0, f"{what}: {made.stderr}"

    def _known(self) -> set[str]:
        """The addresses that an engine says it has given out: Docker by its network, CNI by its files (host-local)."""
        said = self.host.run(
            "docker network inspect --format '{{range .Containers}}{{.IPv4Address}} {{.IPv6Address}} {{end}}' "
            f"{self.agent} 2>/dev/null; ls /var/lib/cni/networks/{self.agent} 2>/dev/null; :"
        ).stdout
        return {word.partition("/")[0] for word in said.split()}

    def _free(self, network: Network, known: set[str]) -> Address:
        """An address of a network that nobody has, the last ones first: the engine does not, and nobody answers."""
        # The first is the gateway's; the last of IPv4 is for broadcasts.
        last = network.num_addresses - (2 if network.version == 4 else 1)
        for number in range(last, 1, -1):
            address = network[number]
            if str(address) not in known and not self._answers(address, network.prefixlen):
                return address
        raise AssertionError(
            f"{self.bridge}: no address of {network} is free, and the agent's egress can't be probed without one: "
            "stop one of its containers, or give the agent a larger network"
        )

    def _answers(self, address: Address, length: int) -> bool:
        """Whether somebody on the bridge has an address: for IPv6 the kernel asks by itself when it gets it."""
        ip = f"ip -n {self._name}"
        if address.version == 6:
            self._ip(f"address add {address}/{length} dev eth0")
            return self._told(
                f"for try in $(seq 40); do {ip} -6 address show dev eth0 tentative | grep -q '{address}/' || exit 1\n"
                f"{ip} -6 address show dev eth0 dadfailed | grep -q '{address}/' &&"
                f" {{ {ip} address delete {address}/{length} dev eth0; exit 0; }}; sleep 0.1; done; exit 2"
            )
        # Whatever is sent to a neighbour is preceded by the question for it, from an address that no agent has.
        return self._told(
            f"{ip} address add 192.0.2.254/32 dev eth0; {ip} route add {address} dev eth0\n"
            f"ip netns exec {self._name} bash -c 'echo >/dev/udp/{address}/9'; sleep 0.5\n"
            f"{ip} neighbour show {address} dev eth0 | grep -q lladdr; told=$?\n"
            f"{ip} route delete {address} dev eth0; {ip} address delete 192.0.2.254/32 dev eth0; exit $told"
        )

    def _told(self, script: str) -> bool:
        said = self.host.run(script)
        assert said.rc in (0, 1), f"who has an address on {self.bridge} can't be told: {said.stderr}"
        return bool(said.rc == 0)

    @property
    def gateways(self) -> list[str]:
        """The host's addresses on the bridge, as a URL has them."""
        return [in_url(network[1]) for network in self.networks]

    def __exit__(self, *_: object) -> None:
        self.host.run(f"ip link delete {self._name}; ip netns delete {self._name}")

    def run(self, command: str) -> int:
        """The exit status of a command inside."""
        return int(self.host.run(f"ip netns exec {self._name} {command}").rc)

    def get(self, url: str, *options: str) -> Answer:
        """Ask for a URL from inside."""
        return asked(self.host, f"ip netns exec {self._name}", url, *options)

    def versions(self) -> list[int]:
        """The IP versions that the agent has."""
        return [network.version for network in self.networks]


def asked(host: Host, prefix: str, url: str, *options: str) -> Answer:
    """Ask for a URL by curl, started by `prefix`, and see what the egress policy counted meanwhile."""
    before = counters(host)
    said = host.run(
        f"{prefix} curl --silent --globoff --noproxy '' --max-time 4 -o /dev/null"
        f" -w '%{{http_code}} %{{http_connect}}' {' '.join(options)} {url}"
    )
    after = counters(host)
    denied = {
        reason: number - before.get(reason, 0) for reason, number in after.items() if number != before.get(reason, 0)
    }
    return Answer(said.rc, said.stdout, denied)


def counters(host: Host) -> dict[str, int]:
    """Reason → packets that the policy has denied."""
    listed = host.check_output("nft list counters table inet bulkhead")
    return {name: int(number) for name, number in re.findall(r"counter (\w+) \{\s+packets (\d+)", listed)}
