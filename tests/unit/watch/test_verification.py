"""The verification of a control node, on a real systemd: what it promises is seen, and what is missing is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead.inventory_file import ROOT
from tests.oracles.systemd import REPOSITORY, Systemd, needs_systemd, systemd
from tests.unit.watch.cases import converge, node
from tests.watch.checkout import REPORTING, WATCH, checkout

SERVICE, TIMER = "bulkhead-drift.service", "bulkhead-drift.timer"
STATE = "/var/lib/bulkhead-drift"
METRICS = "/srv/metrics/bulkhead-drift.prom"
SETTINGS: dict[str, Any] = {
    **WATCH,
    "interval": 60,
    "jitter": 0,
    "check_seconds": 10,
    "textfile_directory": "/srv/metrics",
}

pytestmark = needs_systemd

PYTHON = sys.executable.replace(str(ROOT), REPOSITORY)

ALL = {
    "watch.the_timer_runs",
    "watch.checks_happen",
    "watch.the_last_check_looked_at_every_host",
    "watch.reports_are_for_nobody_else",
    "watch.metrics_are_fresh",
}


@pytest.fixture(scope="module")
def booted() -> Iterator[Systemd]:
    with systemd() as booted:
        yield booted


@pytest.fixture
def there(booted: Systemd) -> Iterator[Systemd]:
    """A node on which the timer runs and one check has ended."""
    booted.sh(checkout("/srv/home") + REPORTING)
    converge(booted, node(**SETTINGS))
    booted.sh(f"systemctl start {SERVICE}")
    try:
        yield booted
    finally:
        converge(booted, node(checkout=None, inventory=None, user=None, state="absent"))
        booted.sh(f"rm -rf /srv/[!r]* {STATE}")


def verified(there: Systemd, settings: dict[str, Any] | None = None) -> dict[str, str]:
    """Check → outcome on the node itself."""
    described = {"watch": SETTINGS if settings is None else settings}
    inventory = f"control_nodes = [('@local', {described!r})]\n"
    result = there.run(
        f"cat >/srv/node.py <<'END'\n{inventory}END\n"
        f"cd {REPOSITORY} && PYTHONDONTWRITEBYTECODE=1 {PYTHON} -m bulkhead verify /srv/node.py --format json"
    )
    answer = json.loads(result.stdout)
    assert answer["errors"] == []
    assert {check["host"] for check in answer["checks"]} == {"@local"}
    return {check["name"]: check["outcome"] for check in answer["checks"] if check["outcome"] != "skipped"}


def failed(there: Systemd) -> set[str]:
    return {name for name, outcome in verified(there).items() if outcome == "failed"}


def test_a_node_that_checks(there: Systemd) -> None:
    assert verified(there) == dict.fromkeys(ALL, "passed")


def test_a_node_whose_first_check_has_yet_to_come(there: Systemd) -> None:
    converge(there, node(checkout=None, inventory=None, user=None, state="absent"))
    converge(there, node(**SETTINGS))
    assert verified(there) == {"watch.the_timer_runs": "passed"}


def test_a_node_that_has_to_check_no_longer(there: Systemd) -> None:
    assert verified(there, {"state": "absent"}) == {"watch.the_timer_runs": "failed"}
    converge(there, node(checkout=None, inventory=None, user=None, state="absent"))
    assert verified(there, {"state": "absent"}) == {"watch.the_timer_runs": "passed"}


@pytest.mark.parametrize(
    ("tamper", "names"),
    [
        (f"systemctl stop {TIMER}", {"watch.the_timer_runs"}),
        (f"systemctl --quiet disable {TIMER}", {"watch.the_timer_runs"}),
        (f"echo 1 >/srv/bulkhead/status; ! systemctl start {SERVICE}", {"watch.the_last_check_looked_at_every_host"}),
        (f"chmod 755 {STATE}", {"watch.reports_are_for_nobody_else"}),
        (f"chmod 644 {STATE}/a/*.json", {"watch.reports_are_for_nobody_else"}),
        (f"rm {STATE}/a/*.json", {"watch.reports_are_for_nobody_else"}),
        (f"chmod 600 {METRICS}", {"watch.metrics_are_fresh"}),
        (f"rm {METRICS}", {"watch.metrics_are_fresh"}),
        (f"sed -i 's/}} .*/}} 1795000000.5/' {METRICS}", {"watch.metrics_are_fresh"}),
        (f"sed -i 's/production/other/' {METRICS}", {"watch.metrics_are_fresh"}),
    ],
)
def test_what_is_not_as_promised(there: Systemd, tamper: str, names: set[str]) -> None:
    there.sh(tamper)
    assert failed(there) == names


@pytest.mark.long
def test_a_check_that_is_too_long_ago(there: Systemd) -> None:
    """An old check, of a timer that runs but does nothing."""
    settings = {**SETTINGS, "interval": 1, "check_seconds": 0}
    there.sh("sleep 5")
    assert verified(there, settings)["watch.checks_happen"] == "failed"
