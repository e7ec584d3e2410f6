"""The units on a real systemd: what starts them, what they may, what becomes of a failure, and what is left of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from deploys.watch import schedule
from tests.oracles.systemd import Systemd, needs_systemd, systemd
from tests.unit.watch.cases import converge, findings, journal, looked_at, node, shown, wait
from tests.watch.checkout import checkout

SERVICE, TIMER, FAILURE = "bulkhead-drift.service", "bulkhead-drift.timer", "bulkhead-drift-failure.service"
STATE = "/var/lib/bulkhead-drift"
METRICS = "/srv/metrics/bulkhead-drift.prom"
ABSENT = node(checkout=None, inventory=None, user=None, state="absent")
WATCHING = node(textfile_directory="/srv/metrics")

pytestmark = needs_systemd


@pytest.fixture(scope="module")
def booted() -> Iterator[Systemd]:
    with systemd() as booted:
        yield booted


@pytest.fixture
def there(booted: Systemd) -> Iterator[Systemd]:
    """A node with a checkout, and without the units."""
    booted.sh(checkout("/srv/home"))
    try:
        yield booted
    finally:
        converge(booted, ABSENT)
        booted.sh(f"rm -rf /srv/[!r]* {STATE} /etc/systemd/system/bulkhead-*; systemctl daemon-reload")


def calls(there: Systemd) -> list[str]:
    return there.sh(f"cat {STATE}/calls 2>/dev/null || :").splitlines()


def check(there: Systemd, status: int) -> dict[str, str]:
    """Let a check end with this exit status; what systemd thinks of it."""
    there.sh(f"echo {status} >/srv/bulkhead/status")
    started = there.run(f"systemctl start {SERVICE}")
    said = shown(there, SERVICE, "ActiveState", "Result", "ExecMainStatus")
    assert started.returncode == (0 if said["Result"] == "success" else 1)
    return said


def test_a_deploy_starts_the_timer_and_a_second_one_changes_nothing(there: Systemd) -> None:
    assert converge(there, WATCHING)
    timer = shown(there, TIMER, "ActiveState", "UnitFileState", "SubState", "TimersMonotonic", "RandomizedDelayUSec")
    assert (timer["ActiveState"], timer["UnitFileState"], timer["SubState"]) == ("active", "enabled", "waiting")
    assert timer["RandomizedDelayUSec"] == "1min"
    assert not converge(there, WATCHING)
    assert findings(there, WATCHING) == []
    assert calls(there) == []


def test_the_timer_starts_a_check_by_itself(there: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "FIRST_SECONDS", 1)
    converge(there, node(jitter=0, keep=7, limit=["agents-*"], parallel=4, timeout=2.5, upstream=False))
    wait(lambda: len(calls(there)) == 1)
    wait(lambda: shown(there, SERVICE, "ActiveState")["ActiveState"] == "inactive")
    assert calls(there) == [
        "watch /srv/bulkhead drift inventories/production.py "
        f"--history {STATE}/inventories-production.py --keep 7 --format prometheus --output {STATE}/drift.prom "
        "--parallel 4 --timeout 2.5 --no-upstream --limit agents-* no-new-privileges=1"
    ]
    # Nobody asked for metrics.
    assert there.sh("ls /srv/metrics") == ""
    assert shown(there, TIMER, "SubState")["SubState"] == "waiting"


@pytest.mark.long
def test_the_next_check_comes_an_interval_after_the_end_of_the_last(
    there: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "FIRST_SECONDS", 1)
    there.sh("echo 'date +%s >>/var/lib/bulkhead-drift/ends' >/srv/bulkhead/also; echo 4 >/srv/bulkhead/seconds")
    converge(there, node(interval=10, jitter=0))
    wait(lambda: len(there.sh(f"cat {STATE}/ends || :").split()) == 3, 60)
    ends = [int(end) for end in there.sh(f"cat {STATE}/ends").split()]
    assert [13 <= later - end <= 16 for end, later in pairwise(ends)] == [True, True]


def test_another_interval_is_in_force_at_once(there: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check that comes after a deploy comes at its time, however long the interval."""
    converge(there, WATCHING)
    check(there, 0)
    monkeypatch.setattr(schedule, "FIRST_SECONDS", 1)
    assert converge(there, node(interval=600, jitter=0))
    timer = shown(there, TIMER, "RandomizedDelayUSec", "NeedDaemonReload")
    assert "OnUnitInactiveUSec=10min" in there.sh(f"systemctl show --property TimersMonotonic {TIMER}")
    assert (timer["RandomizedDelayUSec"], timer["NeedDaemonReload"]) == ("0", "no")
    wait(lambda: len(calls(there)) == 2)


@pytest.mark.parametrize("status", [0, 2])
def test_drift_is_a_result(there: Systemd, status: int) -> None:
    converge(there, WATCHING)
    assert check(there, status) == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": str(status)}
    assert journal(there, FAILURE) == []
    assert there.sh(f"cat {METRICS}; stat -c '%U %a' {METRICS}; ls /srv/metrics | wc -l") == (
        "bulkhead_drift_hosts 1\nroot 644\n1"
    )


def test_a_failure_is_said_in_the_log_and_told_to_the_operators_program(there: Systemd) -> None:
    there.sh("printf '#!/bin/sh\\necho \"$(id -un) $*\" >>/srv/home/told\\n' >/srv/tell; chmod 755 /srv/tell")
    converge(there, node(textfile_directory="/srv/metrics", on_failure="/srv/tell"))
    assert check(there, 1) == {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "1"}
    wait(lambda: there.run("test -e /srv/home/told").returncode == 0)
    assert there.sh("cat /srv/home/told") == f"watch {SERVICE}"
    said = [text for priority, text in journal(there, FAILURE) if priority == 3]
    assert said[0] == f"{SERVICE} failed (exit-code). Its last lines:"
    assert "3 hosts in 1.0 s" in said
    # The metrics tell of it, too, and the next check is not kept from coming.
    assert there.sh(f"cat {METRICS}") == "bulkhead_drift_hosts 1"
    assert shown(there, TIMER, "ActiveState")["ActiveState"] == "active"
    assert check(there, 0)["Result"] == "success"


def test_a_check_that_hangs_is_ended_and_has_failed(there: Systemd) -> None:
    there.sh("echo 1000 >/srv/bulkhead/seconds")
    converge(there, node(check_seconds=10))
    assert check(there, 0)["Result"] == "timeout"
    wait(lambda: bool(journal(there, FAILURE)))


def test_no_two_checks_run_at_once(there: Systemd) -> None:
    there.sh("echo 2 >/srv/bulkhead/seconds")
    converge(there, WATCHING)
    there.sh(f"systemctl start --no-block {SERVICE}; sleep 0.5; systemctl start {SERVICE}")
    assert len(calls(there)) == 1


def test_what_a_check_can_not_do(there: Systemd) -> None:
    """What is not its own is read only, whatever the modes say, and its reports are for nobody else."""
    there.sh(
        "chmod 777 /srv/bulkhead /srv/home/.ssh; echo secret >/srv/home/.ssh/id; mkdir -p -m 777 /var/lib/other\n"
        "cat >/srv/bulkhead/also <<'END'\n"
        "cat ~/.ssh/id >/var/lib/bulkhead-drift/read\n"
        "for one in /srv/bulkhead ~/.ssh /var/lib/other /etc; do (: >$one/written) 2>/dev/null && echo $one; done"
        " >/var/lib/bulkhead-drift/wrote\n"
        "unshare --user true 2>/dev/null && echo user namespace >>/var/lib/bulkhead-drift/wrote\n"
        "END"
    )
    converge(there, WATCHING)
    assert check(there, 0)["Result"] == "success"
    assert there.sh(f"cat {STATE}/read") == "secret"
    assert there.sh(f"cat {STATE}/wrote") == ""
    assert there.sh(f"stat -c '%U %a' {STATE} {STATE}/read") == "watch 700\nwatch 600"
    # As @local the node looks at itself by sudo, which no sandbox lets it.
    local = node("@local")
    assert converge(there, local)
    assert check(there, 0)["Result"] == "success"
    assert there.sh(f"cat {STATE}/wrote").split()[0] == "/srv/bulkhead"
    assert calls(there)[-1].endswith("no-new-privileges=0")


def test_a_link_in_place_of_the_metrics_opens_nothing(there: Systemd) -> None:
    there.sh("echo hunter2 >/srv/secret; chmod 600 /srv/secret")
    there.sh(f"echo 'ln -sf /srv/secret {STATE}/drift.prom; exit 0' >/srv/bulkhead/also")
    converge(there, WATCHING)
    assert check(there, 0)["Result"] == "exit-code"
    assert there.sh("ls -A /srv/metrics") == ""


def test_node_exporter_never_sees_half_a_file(there: Systemd) -> None:
    """While the new metrics come in slowly the old ones are there."""
    converge(there, WATCHING)
    check(there, 0)
    there.sh(
        f"rm {STATE}/drift.prom; mkfifo {STATE}/drift.prom; chmod 666 {STATE}/drift.prom\n"
        "echo 'exit 0' >/srv/bulkhead/also"
    )
    there.sh(
        f"systemctl start --no-block {SERVICE}\n"
        f"{{ echo half; sleep 1; cat {METRICS} >/srv/meanwhile; ls /srv/metrics/*.prom >>/srv/meanwhile; echo whole; }}"
        f" >{STATE}/drift.prom"
    )
    wait(lambda: shown(there, SERVICE, "ActiveState")["ActiveState"] == "inactive")
    assert there.sh("cat /srv/meanwhile") == f"bulkhead_drift_hosts 1\n{METRICS}"
    assert there.sh(f"cat {METRICS}") == "half\nwhole"


def test_metrics_that_move_leave_no_old_ones_behind(there: Systemd) -> None:
    """They would be an alert for ever, of a check that does not run."""
    there.sh("mkdir /srv/elsewhere")
    converge(there, WATCHING)
    check(there, 2)
    converge(there, node(textfile_directory="/srv/elsewhere"))
    assert there.sh("ls -A /srv/metrics") == ""
    check(there, 2)
    assert there.sh("ls -A /srv/elsewhere") == "bulkhead-drift.prom"


def test_nothing_is_left_but_the_reports(there: Systemd) -> None:
    converge(there, WATCHING)
    check(there, 1)
    there.sh("echo 1000 >/srv/bulkhead/seconds")
    there.sh(f"systemctl start --no-block {SERVICE}")
    assert [subject for subject, _ in findings(there, ABSENT)] == [
        f"/etc/systemd/system/{name}" for name in (SERVICE, TIMER, FAILURE)
    ]
    assert converge(there, ABSENT)
    assert there.sh("find /etc/systemd/system /run/systemd/transient -name 'bulkhead*'; ls -A /srv/metrics") == ""
    assert there.sh("systemctl list-units --all --no-legend 'bulkhead*'") == ""
    assert there.sh(f"ls -A {STATE}") == "calls\ndrift.prom"
    assert findings(there, ABSENT) == []
    assert not converge(there, ABSENT)


@pytest.mark.parametrize(
    ("tamper", "subject", "actual"),
    [
        (f"systemctl stop {TIMER}", f"unit {TIMER}", "inactive"),
        (f"systemctl --quiet disable {TIMER}", f"unit {TIMER}", "disabled active"),
        (f"chmod 666 /etc/systemd/system/{SERVICE}", f"/etc/systemd/system/{SERVICE}: mode", "0666"),
        (f"systemctl stop {TIMER}; rm /etc/systemd/system/{FAILURE}", f"/etc/systemd/system/{FAILURE}", ""),
        (
            f"echo '# late' >>/etc/systemd/system/{TIMER}; systemctl daemon-reload",
            f"/etc/systemd/system/{TIMER}",
            "late",
        ),
        (
            f"mkdir /etc/systemd/system/{SERVICE}.d; printf '[Service]\\nExecStart=\\nExecStart=/bin/true\\n'"
            f" >/etc/systemd/system/{SERVICE}.d/x.conf; systemctl daemon-reload",
            f"unit {SERVICE}: drop-in /etc/systemd/system/{SERVICE}.d/x.conf",
            "sets ExecStart",
        ),
        ("rm /srv/bulkhead/.venv/bin/bulkhead", "drift checks", "watch.checkout: watch can't run"),
        ("rmdir /srv/metrics", "drift checks", "there is no directory /srv/metrics"),
    ],
)
def test_tampers_are_found_and_gone_after_a_deploy(there: Systemd, tamper: str, subject: str, actual: str) -> None:
    converge(there, WATCHING)
    there.sh(tamper)
    found = dict(findings(there, WATCHING))
    assert subject in found
    assert actual in found[subject]
    if subject.startswith(("unit bulkhead-drift.timer", "/etc")):
        converge(there, WATCHING)
        assert findings(there, WATCHING) == []
    there.sh(f"rm -rf /etc/systemd/system/{SERVICE}.d; systemctl daemon-reload")


def test_units_that_systemd_has_not_read_again(there: Systemd) -> None:
    converge(there, WATCHING)
    # systemd goes by the time of the file.
    there.sh(f"sleep 1.1; touch /etc/systemd/system/{TIMER}")
    assert (f"unit {TIMER}: loaded", "an earlier one") in findings(there, WATCHING)
    assert converge(there, WATCHING)
    assert findings(there, WATCHING) == []


def test_a_unit_that_systemd_does_not_understand_is_refused(there: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "FIRST_SECONDS", "soon")
    monkeypatch.setattr(schedule, "min", lambda first, _: first, raising=False)
    with pytest.raises(AssertionError) as refused:
        converge(there, WATCHING)
    assert "Failed to parse timer value, ignoring: soon" in str(refused.value)
    assert "the new configuration was refused; nothing was changed" in str(refused.value)
    assert there.sh("find /etc/systemd/system -name 'bulkhead*'") == ""


def test_an_inventory_that_can_t_be_used_is_refused(there: Systemd) -> None:
    there.sh("printf '#!/bin/sh\\necho \"agents-1: engines: wrong\" >&2; exit 1\\n' >/srv/bulkhead/.venv/bin/pyinfra")
    with pytest.raises(AssertionError) as refused:
        converge(there, WATCHING)
    assert "agents-1: engines: wrong\nwatch can't use inventories/production.py in /srv/bulkhead\n" in str(
        refused.value
    )
    assert there.sh("find /etc/systemd/system -name 'bulkhead*'") == ""


def test_a_timer_that_can_not_be_started_leaves_what_was_before(there: Systemd) -> None:
    converge(there, WATCHING)
    before = there.sh(f"cat /etc/systemd/system/{TIMER} /etc/systemd/system/{SERVICE}")
    there.sh(
        f"mkdir /etc/systemd/system/{TIMER}.d; printf '[Unit]\\nConditionPathExists=/no\\n'"
        f" >/etc/systemd/system/{TIMER}.d/x.conf"
    )
    with pytest.raises(AssertionError) as refused:
        converge(there, node(interval=600))
    assert f"{TIMER} does not run" in str(refused.value)
    there.sh(f"rm -r /etc/systemd/system/{TIMER}.d; systemctl daemon-reload; systemctl start {TIMER}")
    assert there.sh(f"cat /etc/systemd/system/{TIMER} /etc/systemd/system/{SERVICE}") == before
    assert looked_at(there, WATCHING)
    assert findings(there, WATCHING) == []
