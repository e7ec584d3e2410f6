"""A namespace on an agent's bridge: what a process there can reach is what the agent can reach, whatever runs it."""

from __future__ import annotations

import ipaddress
import re
import uuid
from dataclasses import dataclass
from typing import Any

from testinfra.host import Host


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
    """A network namespace with an address of an agent's own network, the last one, and a link to its bridge."""

    def __init__(self, host: Host, agent: str, described: dict[str, Any]) -> None:
        self.host = host
        self.bridge = f"bh-{agent}"
        self.network = ipaddress.ip_network(described["subnet4"])
        self.gateway = str(self.network[1])
        self._name = f"bhv-{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> AgentNamespace:
        name, address = self._name, self.network[-2]
        made = self.host.run(
            f"set -e; ip netns add {name}; ip link add {name} type veth peer name eth0 netns {name}\n"
            f"ip link set {name} master {self.bridge} up\n"
            f"ip -n {name} link set lo up; ip -n {name} link set eth0 up\n"
            f"ip -n {name} address add {address}/{self.network.prefixlen} dev eth0\n"
            f"ip -n {name} route add default via {self.gateway}"
        )
        if made.rc != 0:
            self.__exit__()
        assert made.rc == 0, made.stderr
        return self

    def __exit__(self, *_: object) -> None:
        self.host.run(f"ip link delete {self._name}; ip netns delete {self._name}")

    def run(self, command: str) -> int:
        """The exit status of a command inside."""
        return int(self.host.run(f"ip netns exec {self._name} {command}").rc)

    def get(self, url: str, *options: str) -> Answer:
        """Ask for a URL from inside."""
        return asked(self.host, f"ip netns exec {self._name}", url, *options)


def asked(host: Host, prefix: str, url: str, *options: str) -> Answer:
    """Ask for a URL by curl, started by `prefix`, and see what the egress policy counted meanwhile."""
    before = counters(host)
    said = host.run(
        f"{prefix} curl --silent --noproxy '' --max-time 4 -o /dev/null -w '%{{http_code}} %{{http_connect}}' "
        f"{' '.join(options)} {url}"
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
