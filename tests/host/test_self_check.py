"""Does the host look at itself as often as it should, and does anybody hear of it?"""

from __future__ import annotations

import time
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from testinfra.host import Host

from bulkhead.inventory import InventoryHost

TIMER, SERVICE = "bulkhead-drift-self.timer", "bulkhead-drift-self.service"


@pytest.fixture(scope="module", autouse=True)
def wanted(described: InventoryHost) -> dict[str, Any]:
    """What the inventory says of it; skips where it says nothing."""
    found = described.data.get("self_check")
    if not isinstance(found, dict) or found.get("state") == "absent":
        pytest.skip("the inventory does not have the host check itself")
    return found


def test_it_is_done_regularly(host: Host) -> None:
    """The timer runs and starts at boot, and the last check could be made, by the program that was delivered."""
    assert host.check_output("systemctl is-enabled %s; systemctl is-active %s", TIMER, TIMER) == "enabled\nactive"
    shown = host.check_output("systemctl show --property Result,NextElapseUSecMonotonic %s %s", TIMER, SERVICE)
    assert shown.count("Result=success") == 2, shown
    assert "NextElapseUSecMonotonic=infinity" not in shown
    program = host.check_output("sha256sum /usr/local/sbin/bulkhead-drift-self").split()[0]
    assert f"{program}  /usr/local/sbin/bulkhead-drift-self" in host.check_output("systemctl cat %s", SERVICE)


def test_its_metrics_are_there_to_be_read(host: Host, described: InventoryHost, wanted: dict[str, Any]) -> None:
    """Those of a check that was just made, of this host and by this program, in a file that anybody may read."""
    directory = wanted.get("textfile_directory", "/var/lib/prometheus/node-exporter")
    path = f"{directory}/bulkhead-drift-self.prom"
    assert host.check_output("stat -c '%%a %%U' %s", path) == "644 root"
    samples = {
        (sample.name.removeprefix("bulkhead_drift_"), sample.labels.get("state", "")): sample
        for family in text_string_to_metric_families(host.check_output("cat %s", path) + "\n")
        for sample in family.samples
    }
    late = 2 * (int(wanted.get("interval", 300)) + int(wanted.get("jitter", 60))) + 600
    now = int(host.check_output("date +%s"))
    assert now - late < samples["last_run_timestamp_seconds", ""].value <= now + 1, time.ctime(now)
    assert samples["hosts", "error"].value == 0
    up = samples["host_up", ""]
    assert (up.value, up.labels["host"]) == (1, described.name)
    program = host.check_output("sha256sum /usr/local/sbin/bulkhead-drift-self").split()[0]
    assert samples["description_info", ""].labels["sha256"] == program
