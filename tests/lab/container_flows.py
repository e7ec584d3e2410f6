"""The flows of `tests.egress.flows` between real containers, without the guard and with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.egress.flows import FLOWS, POLICY
from tests.lab.guest_world import CONTAINERS, GuestWorld
from tests.lab.machine import Runs

DENIED_BY_DOCKER = (
    "neighbour",
    "a published port",
    "past what is published",
    "another port of the agent",
    "other tcp agent",
)
"""Parts of the names of flows that Docker itself denies between its networks, and from outside into them."""

NOT_HERE = ("published v6", "3128", "other tcp allowed v6", "other icmp allowed v6")
"""Flows of which Docker 26 makes something else (it publishes to IPv6 by a process of the host), those to the
proxy, which does not echo and has a test of its own, and IPv6 on Docker's default network, which has none."""


@dataclass(frozen=True)
class Tried:
    """What became of the flows; an outcome is `passed`, or how the flow ended."""

    not_proven: dict[str, str]
    """Flow → outcome without the guard, of those that should have passed there."""
    wrong: dict[str, str]
    """Flow → outcome with the guard, of those of which it is not the expected one."""
    sent_all_the_same: set[str]
    """Flows that passed though the containers can't send such packets."""
    proving: int
    """How many of them pass without the guard."""


def policy(runs: Runs, **changes: Any) -> dict[str, Any]:
    """The flows' policy, and what the lab itself needs: this computer for ssh and for packages."""
    proxy = urlsplit(runs.lab.proxy)
    mirror = [{"to": proxy.hostname, "ports": [proxy.port], "user": user} for user in (0, 42)]
    return {
        "egress": {
            **POLICY,
            "management": [*POLICY["management"], proxy.hostname],
            "host": [*POLICY["host"], *mirror],
            "confirm_seconds": 45,
            **changes,
        }
    }


def try_flows(world: GuestWorld, not_sent: Iterable[str] = ()) -> Tried:
    """Try them all; of packets `not_sent`, which the containers' runtime does not let out, none may arrive."""
    flows = [flow for flow in FLOWS if not any(part in flow.name for part in NOT_HERE)]
    world.machine.sh("nft delete table inet bulkhead")
    try:
        without = {flow.name: world.result(flow) for flow in flows}
    finally:
        world.machine.sh("nft --file /etc/bulkhead/egress.nft")
    with_guard = {flow.name: world.result(flow) for flow in flows}
    kept_in = {flow.name for flow in flows if flow.sender in CONTAINERS and flow.request["op"] in not_sent}
    sent = [flow for flow in flows if flow.name not in kept_in]
    proving = [flow.name for flow in sent if not any(part in flow.name for part in DENIED_BY_DOCKER)]
    wrong = [flow.name for flow in sent if (with_guard[flow.name] == "passed") != flow.allowed]
    return Tried(
        not_proven={name: without[name] for name in proving if without[name] != "passed"},
        wrong={name: with_guard[name] for name in wrong},
        sent_all_the_same={name for name in kept_in if "passed" in (without[name], with_guard[name])},
        proving=len(proving),
    )
