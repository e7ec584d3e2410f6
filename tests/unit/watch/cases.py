"""A control node for tests: its settings, and the steps of a deploy without pyinfra around them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from bulkhead import look, put
from bulkhead.drift.finding import Finding
from bulkhead.inventory import InventoryHost
from deploys.watch import drift, facts, schedule, settings
from tests.oracles.systemd import Systemd
from tests.unit.helpers import compared
from tests.watch.checkout import WATCH


def node(name: str = "watch-1", **changes: Any) -> InventoryHost:
    """A control node whose settings differ so; without a key that is None."""
    watch = {key: value for key, value in {**WATCH, **changes}.items() if value is not None}
    return InventoryHost(name, frozenset({"control_nodes", "all"}), {"watch": watch})


def looked_at(systemd: Systemd, host: InventoryHost) -> look.Look:
    """What a run or a drift check learns of the node."""
    needs = [*facts.needs(host), *drift.watches(host)]
    return look.parse(systemd.sh(look.script(needs)), needs)


def converge(systemd: Systemd, host: InventoryHost) -> bool:
    """Do what a deploy does; whether it had to change anything."""
    wanted, there = settings.of(host), facts.found(looked_at(systemd, host))
    if wanted is None:
        script = schedule.removal(there.files) if there.left else None
    else:
        facts.refuse(wanted, there)
        change = schedule.change(host, wanted, there.files)
        script = None if there.runs and not change.changes else put.script(change)
    if script is not None:
        systemd.sh(script)
    return script is not None


def findings(systemd: Systemd, host: InventoryHost) -> list[tuple[str, str]]:
    """Subject and actual value of what a drift check finds."""
    found: list[Finding] = compared(drift.drift, host, looked_at(systemd, host))
    return [(one.subject, one.actual) for one in found]


def shown(systemd: Systemd, unit: str, *properties: str) -> dict[str, str]:
    """Properties of a unit, as systemd says them."""
    lines = systemd.sh(f"systemctl show --property {','.join(properties)} {unit}").splitlines()
    return dict(line.split("=", 1) for line in lines)


def journal(systemd: Systemd, unit: str) -> list[tuple[int, str]]:
    """Priority and text of each line of a unit's log."""
    systemd.sh("journalctl --sync || :")
    lines = systemd.sh(f"journalctl --quiet --output=json --unit={unit}").splitlines()
    return [(int(line["PRIORITY"]), line["MESSAGE"]) for line in map(json.loads, lines)]


def wait(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)
