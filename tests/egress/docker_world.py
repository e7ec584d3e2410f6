"""The world with agents' networks, containers and published ports that a real Docker makes, as the deploy describes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from deploys.egress import networks
from tests.egress.flows import POLICY
from tests.egress.world import UNLISTED, World, run
from tests.oracles import engine
from tests.oracles.engine import Engine
from tests.unit.helpers import legacy_host

HOST = legacy_host(egress=POLICY)

OTHER = {
    "Name": UNLISTED,
    "Driver": "bridge",
    "EnableIPv6": True,
    "IPAM": {
        "Driver": "default",
        "Config": [
            {"Subnet": "172.17.0.0/24", "Gateway": "172.17.0.1"},
            {"Subnet": "fd42:17::/64", "Gateway": "fd42:17::1"},
        ],
    },
    "Options": {"com.docker.network.bridge.name": "br-other"},
}
ATTACHED = {"alpha": "alpha", "twin": "alpha", "beta": "beta", UNLISTED: UNLISTED}
"""Container → network, in this order."""

PUBLISHED = {8080: 8080, 8081: 9000}
"""Of beta: what the policy lists, and what it does not."""

OPTIONS = {"live-restore": True, "bip": "172.29.0.1/24"}


class DockerWorld(World):
    """`docker` is the daemon, of `suite` (`engine.running`) and with `backend` as its `firewall-backend`."""

    made = ("host", "world")
    held = tuple(PUBLISHED)

    def __init__(self, suite: str, backend: str) -> None:
        super().__init__()
        self.backend = backend
        self._suite, self._options = suite, {**OPTIONS, "firewall-backend": backend}
        self._stack = ExitStack()
        self.docker: Engine

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._stack.close()

    def _agents(self) -> None:
        if self.backend == "nftables":
            # With it, Docker leaves routing to the host, and refuses a network on one that does not route.
            settings = ("ipv4.ip_forward", "ipv6.conf.all.forwarding", "ipv6.conf.default.forwarding")
            self.sh("host", "sysctl -qw " + " ".join(f"net.{name}=1" for name in settings))
        resolv_conf = "nameserver 198.51.100.53\n"
        self.docker = self._stack.enter_context(
            engine.running(self._suite, self.namespace("host"), resolv_conf, self._options)
        )
        for description in (*networks.docker(HOST).values(), OTHER):
            self.docker.call("POST", "/networks/create", description)
        for name, network in ATTACHED.items():
            pid = self.docker.container(name, network, PUBLISHED if name == "beta" else None)
            run("ip", "netns", "attach", self._prefix + name, str(pid))
            # An address that is still being looked for twice on its link can't send.
            self.sh(name, "while ip -6 address show tentative | grep -q .; do sleep 0.1; done")
