"""The egress proxy's configuration: squid, with a list of names and ports for each agent. Pure, no I/O.

An agent reaches names through it and nothing else: the proxy resolves them, and connects only to addresses outside the
denied ranges, which the ruleset enforces once more by the proxy's uid. squid is the distributions' own proxy with such
lists; the facts about its directives are from squid's configuration reference (squid-cache.org, Doc/config).
"""

from __future__ import annotations

from dataclasses import dataclass

from bulkhead.inventory import InventoryHost
from bulkhead.templates import render
from deploys.egress import settings
from deploys.egress.policy import PROXY_PORT
from deploys.egress.ranges import DENIED

USER = "proxy"
UNIT = "bulkhead-proxy.service"
CONFIG = "/etc/squid/bulkhead.conf"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
LOGROTATE = "/etc/logrotate.d/bulkhead-proxy"
RUN = "/run/bulkhead-proxy"
LOGS = "/var/log/bulkhead-proxy"

UNLISTED = ("::ffff:0:0/96", "::/96")
"""Denied ranges that squid takes for IPv4 addresses in another notation, which its IPv4 entries cover."""


@dataclass(frozen=True)
class ProxiedAgent:
    """An agent as the proxy knows it: by its addresses, with the names that it may ask for on each port."""

    name: str
    sources: list[str]
    ports: list[tuple[int, list[str]]]

    @property
    def acl(self) -> str:
        """Its name in squid's configuration, which is none of squid's own."""
        return f"agent_{self.name}"


def agents(host: InventoryHost) -> list[ProxiedAgent]:
    """The agents that may ask for names."""
    return [
        ProxiedAgent(
            name,
            [str(network) for network in agent.networks],
            [
                (port, distinct([known for known, ports in agent.names.items() if port in ports]))
                for port in sorted({port for ports in agent.names.values() for port in ports})
            ],
        )
        for name, agent in sorted(settings.of(host).agents.items())
        if agent.names
    ]


def distinct(names: list[str]) -> list[str]:
    """The names that no other one with a dot before it covers; squid refuses a list that says something twice."""
    wide = [name for name in names if name.startswith(".")]
    return sorted(
        name
        for name in names
        if not any(other != name and (name.endswith(other) or f".{name}" == other) for other in wide)
    )


def files(host: InventoryHost) -> dict[str, bytes]:
    """Path → content of the proxy's files; none where no agent names a host."""
    proxied = agents(host)
    if not proxied:
        return {}
    values = {
        "agents": proxied,
        "denied": [str(range_) for range_ in DENIED if str(range_) not in UNLISTED],
        "resolvers": settings.name_servers(host),
        "port": PROXY_PORT,
        "user": USER,
        "run": RUN,
        "logs": LOGS,
        "config": CONFIG,
    }
    return {
        CONFIG: render("egress/squid.conf.j2", **values).encode(),
        UNIT_FILE: render("egress/bulkhead-proxy.service.j2", **values).encode(),
        LOGROTATE: render("egress/logrotate.j2", **values).encode(),
    }
