"""A control node on a real machine: its timer, its failures, and that all of it goes again.

The machine is the gVisor one under another name: what a control node must not share with agents is a matter of real
fleets, and refused by the name of a host.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bulkhead.inventory_file import ROOT
from bulkhead.lab import LabState
from tests.lab.machine import TIMEOUT, Machine, Runs
from tests.watch.checkout import REPORTING, WATCH, checkout

SERVICE, TIMER, FAILURE = "bulkhead-drift.service", "bulkhead-drift.timer", "bulkhead-drift-failure.service"
STATE = "/var/lib/bulkhead-drift"
METRICS = "/srv/metrics/bulkhead-drift.prom"

SETTINGS = {
    **WATCH,
    "interval": 20,
    "jitter": 2,
    "check_seconds": 120,
    "textfile_directory": "/srv/metrics",
    "on_failure": "/srv/tell",
}
ABSENT = {"state": "absent"}


class Node(Runs):
    """Runs against the machine as a control node; what is laid over it are its `watch` settings."""

    def inventory(self, **overrides: Any) -> str:
        """The lab's inventory with the machine as a control node, and no other host."""
        self._number += 1
        path = self._directory / f"watch_{self._number}.py"
        lab = (ROOT / "inventories" / "lab.py").read_text()
        path.write_text(
            f"{lab}\ncontrol_nodes = [('watch', {{**_data('gvisor'), 'watch': {overrides!r}}})]\n"
            "gvisor_hosts = []\nlegacy_hosts = []\n"
        )
        return str(path)


@pytest.fixture
def node(lab: LabState, machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with a user and a checkout; without any of it afterwards."""
    node = Node(lab, tmp_path_factory.mktemp("inventories"), "watch")
    machine.sh(
        "useradd --create-home --shell /bin/sh watch\n"
        f"{checkout('/home/watch')}{REPORTING}"
        "printf '#!/bin/sh\\necho \"$(id -un) $*\" >>/home/watch/told\\n' >/srv/tell; chmod 755 /srv/tell"
    )
    try:
        yield node
    finally:
        left = node.deploy(**ABSENT)
        machine.sh(f"rm -rf /srv/bulkhead /srv/metrics /srv/tell {STATE}; userdel --remove watch 2>/dev/null || :")
        left.expect_success()


def wait(condition: Callable[[], bool], seconds: float = TIMEOUT) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(1)


def calls(machine: Machine) -> int:
    """How many checks there were."""
    return int(machine.sh(f"cat {STATE}/calls 2>/dev/null | wc -l"))


def errors(machine: Machine, since: str) -> list[str]:
    """What the failure unit said in the log at priority err, since a moment in seconds since 1970."""
    lines = machine.sh(f"journalctl --quiet --no-pager --output=json --since=@{since} --unit={FAILURE}").splitlines()
    return [line["MESSAGE"] for line in map(json.loads, lines) if line["PRIORITY"] == "3"]


def test_a_control_node_checks_fails_and_is_mended(machine: Machine, node: Node) -> None:
    """From the first deploy to the last: each check comes by itself, and each failure is told."""
    started = machine.sh("date +%s")
    assert node.deploy(**SETTINGS).expect_success().changed == {"Run drift checks"}
    assert node.deploy(**SETTINGS).expect_success().changed == set()

    # Drift is a result.
    machine.sh("echo 2 >/srv/bulkhead/status")
    wait(lambda: calls(machine) >= 2)
    assert machine.run(f"systemctl is-failed {SERVICE}").returncode == 1
    assert errors(machine, started) == []
    assert machine.sh(f"stat -c '%U %a' {METRICS}") == "root 644"
    assert machine.sh(f"head -n1 {STATE}/calls").split()[:2] == ["watch", "/srv/bulkhead"]
    assert set(node.verify(**SETTINGS).values()) == {"passed"}
    assert node.drift(**SETTINGS) == set()

    # A host that could not be looked at is a failure, of which the metrics tell, too.
    machine.sh(f"echo 1 >/srv/bulkhead/status; rm {METRICS}")
    wait(lambda: machine.run("test -e /home/watch/told").returncode == 0)
    assert set(machine.sh("cat /home/watch/told").splitlines()) == {f"watch {SERVICE}"}
    assert f"{SERVICE} failed (exit-code). Its last lines:" in errors(machine, started)
    assert "3 hosts in 1.0 s" in errors(machine, started)
    assert machine.run(f"test -e {METRICS}").returncode == 0
    machine.sh("echo 0 >/srv/bulkhead/status")

    machine.sh(f"systemctl stop {TIMER}")
    assert node.drift(**SETTINGS) == {("watch", f"unit {TIMER}")}
    assert node.verify("--only", "watch.the_timer_runs", **SETTINGS) == {"watch.the_timer_runs": "failed"}
    assert node.deploy(**SETTINGS).expect_success().changed == {"Run drift checks"}
    assert node.drift(**SETTINGS) == set()

    assert node.deploy(**ABSENT).expect_success().changed == {"Stop the drift checks"}
    assert machine.sh("find /etc/systemd/system -name 'bulkhead-drift*'; ls -A /srv/metrics") == ""
    assert machine.sh("systemctl list-units --all --no-legend 'bulkhead-drift*'") == ""
    assert machine.run(f"test -e {STATE}/a/20261123T023500.000000Z.json").returncode == 0
    assert node.drift(**ABSENT) == set()
    assert node.deploy(**ABSENT).expect_success().changed == set()


def test_what_a_node_lacks_is_refused_before_anything_is_written(machine: Machine, node: Node) -> None:
    """A user, a checkout, a directory that are not there: each with what to do."""
    refused = node.deploy(**{**SETTINGS, "user": "nobody-here"})
    assert refused.status == 1
    assert "watch.user: there is no user 'nobody-here' on the host" in refused.output
    refused = node.deploy(**{**SETTINGS, "checkout": "/srv/elsewhere", "textfile_directory": "/srv/none"})
    assert refused.status == 1
    assert "watch.checkout: watch can't run /srv/elsewhere/.venv/bin/bulkhead" in refused.output
    assert "watch.textfile_directory: there is no directory /srv/none" in refused.output
    assert "Traceback" not in refused.output
    assert machine.sh("find /etc/systemd/system -name 'bulkhead-drift*'") == ""


@pytest.mark.long
def test_one_check_at_a_time_in_its_sandbox(machine: Machine, node: Node) -> None:
    """A second start waits for the first check, which may write nowhere but to its own directory."""
    machine.sh(
        "chmod 777 /srv/bulkhead /home/watch/.ssh; echo secret >/home/watch/.ssh/id; chmod 644 /home/watch/.ssh/id\n"
        "cat >/srv/bulkhead/also <<'END'\n"
        f"cat ~/.ssh/id >{STATE}/read\n"
        "for one in /srv/bulkhead ~ ~/.ssh /etc /var/lib; do (: >$one/written) 2>/dev/null && echo $one; done"
        f" >{STATE}/wrote\n"
        "END\n"
        "echo 5 >/srv/bulkhead/seconds"
    )
    node.deploy(**{**SETTINGS, "interval": 3600, "jitter": 0}).expect_success()
    machine.sh(f"systemctl start --no-block {SERVICE}; sleep 2; systemctl start {SERVICE}")
    assert calls(machine) == 1
    assert machine.sh(f"cat {STATE}/read; cat {STATE}/wrote") == "secret"
    assert machine.sh(f"stat -c '%U %a' {STATE} {STATE}/read") == "watch 700\nwatch 600"


@pytest.mark.long
def test_the_timer_is_there_after_a_boot(machine: Machine, node: Node) -> None:
    """The first check after it comes by itself."""
    node.deploy(**SETTINGS).expect_success()
    wait(lambda: calls(machine) >= 1)
    machine.sh("sync")
    machine.reset()
    machine.wait()
    before = calls(machine)
    wait(lambda: calls(machine) > before)
    assert node.drift(**SETTINGS) == set()
