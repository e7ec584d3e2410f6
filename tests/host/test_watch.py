"""Does this node really check the fleet, when it should, and for nobody's eyes but its own?"""

from __future__ import annotations

import re
import time

import pytest
from testinfra.host import Host

from bulkhead.inventory import InventoryHost
from tests.host import expectations

UNIT = "bulkhead-drift"
STATE = "/var/lib/bulkhead-drift"

pytestmark = pytest.mark.usefixtures("control_node")


def shown(host: Host, unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit, as systemd says them."""
    lines = host.check_output("systemctl show --property %s %s", ",".join(names), unit).splitlines()
    return dict(line.split("=", 1) for line in lines)


def seconds_ago(host: Host, monotonic: str) -> float:
    """How long ago something was that systemd gives in microseconds since boot."""
    return float(host.check_output("cut -d' ' -f1 /proc/uptime")) - int(monotonic) / 1e6


@pytest.fixture
def last_check(host: Host, described: InventoryHost) -> dict[str, str]:
    """How the last check that ended went; skipped where the first one has yet to come."""
    if not expectations.watched(described):
        pytest.skip("the inventory takes the checks away")
    until = time.monotonic() + 60
    while True:
        said = shown(
            host, f"{UNIT}.service", "ActiveState", "Result", "ExecMainStatus", "InactiveEnterTimestampMonotonic"
        )
        if said["ActiveState"] not in ("activating", "deactivating") or time.monotonic() > until:
            break
        time.sleep(2)
    if said["InactiveEnterTimestampMonotonic"] == "0":
        since = seconds_ago(host, shown(host, f"{UNIT}.timer", "ActiveEnterTimestampMonotonic").popitem()[1])
        assert since < expectations.at_most_between_checks(described), "the timer runs, and no check ever ended"
        pytest.skip(f"the timer runs since {since:.0f} s, and the first check has not ended yet")
    return said


def test_the_timer_runs(host: Host, described: InventoryHost) -> None:
    """The timer of the drift checks runs, also after a boot, and has a next time; or there is none, as asked for."""
    timer = shown(
        host, f"{UNIT}.timer", "LoadState", "ActiveState", "SubState", "UnitFileState", "NextElapseUSecMonotonic"
    )
    if not expectations.watched(described):
        assert (timer["LoadState"], timer["ActiveState"]) == ("not-found", "inactive")
        return
    assert (timer["UnitFileState"], timer["ActiveState"]) == ("enabled", "active")
    assert timer["SubState"] == "running" or timer["NextElapseUSecMonotonic"] not in ("", "0", "infinity")


def test_checks_happen(host: Host, described: InventoryHost, last_check: dict[str, str]) -> None:
    """The last check is not older than three intervals."""
    ago = seconds_ago(host, last_check["InactiveEnterTimestampMonotonic"])
    assert ago < expectations.at_most_between_checks(described), f"the last check ended {ago:.0f} s ago"


def test_the_last_check_looked_at_every_host(last_check: dict[str, str]) -> None:
    """The last check was no failure: it found drift or none."""
    assert last_check["Result"] == "success", f"see 'journalctl -u {UNIT}'"
    assert last_check["ExecMainStatus"] in ("0", "2")


@pytest.mark.usefixtures("last_check")
def test_reports_are_for_nobody_else(host: Host, described: InventoryHost) -> None:
    """The reports, which tell what is weak, can be read by the checks' own user alone, who is not root."""
    user = expectations.watch(described)["user"]
    assert host.check_output("stat -c '%%U %%a' %s", STATE) == f"{user} 700"
    assert user != "root"
    reports = host.check_output("find %s -name '*.json' -path '*Z*.json'", STATE).splitlines()
    assert reports
    assert host.check_output("find %s -name '*.json' -perm /077", STATE) == ""


@pytest.mark.usefixtures("last_check")
def test_metrics_are_fresh(host: Host, described: InventoryHost) -> None:
    """node_exporter has the metrics of a check that is not older than three intervals, and may read them."""
    directory = expectations.watch(described).get("textfile_directory")
    if not directory:
        pytest.skip("nobody asks for metrics")
    path = f"{directory}/bulkhead-drift.prom"
    assert host.check_output("stat -c '%%U %%a' %s", path) == "root 644"
    inventory = re.escape(str(expectations.watch(described)["inventory"]))
    found = re.search(
        rf'^bulkhead_drift_last_run_timestamp_seconds{{inventory="{inventory}"}} (\S+)$',
        host.check_output("cat %s", path),
        re.MULTILINE,
    )
    assert found, "they are of another inventory"
    ago = int(host.check_output("date +%s")) - float(found[1])
    assert ago < expectations.at_most_between_checks(described), f"they are {ago:.0f} s old"
