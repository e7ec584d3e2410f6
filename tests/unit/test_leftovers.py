"""What a run left that was cut off, and a directory that others can enter."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bulkhead import put
from bulkhead.look import Command, FoundFile
from deploys.leftovers import CAPABILITY, drift
from tests.unit.helpers import answered, compared, legacy_host, sh

HOST = legacy_host()


def directory(mode: int = 0o700, owner: str = "root") -> FoundFile:
    return FoundFile("directory", b"", mode, owner, "root")


def found(there: FoundFile | None, left: str = "") -> list[tuple[str, str, str]]:
    findings = compared(drift, HOST, answered(list(CAPABILITY.needs(HOST)), {put.SCRATCH: there}, {"leftovers": left}))
    return [(one.subject, one.actual, one.severity) for one in findings]


def test_a_host_on_which_every_run_ended() -> None:
    assert found(None) == []
    assert found(directory()) == []


def test_what_was_left() -> None:
    path = "/var/lib/bulkhead/tmp.aB3xYz"
    assert found(directory(), f"{path}\n") == [(path, "left by a run that was cut off", "warning")]


@pytest.mark.parametrize(("there", "actual"), [(directory(0o755), "root 0755"), (directory(0o700, "eve"), "eve 0700")])
def test_a_directory_that_others_can_enter(there: FoundFile, actual: str) -> None:
    assert found(there) == [(f"{put.SCRATCH}: mode", actual, "critical")]


def test_a_run_that_is_under_way_has_left_nothing(tmp_path: Path) -> None:
    (script,) = (need.script for need in CAPABILITY.needs(HOST) if isinstance(need, Command))
    lock, scratch = tmp_path / "lock", tmp_path / "scratch"
    (scratch / "tmp.aB3xYz").mkdir(parents=True)
    script = script.replace(put.LOCK, str(lock)).replace(put.SCRATCH, str(scratch))
    assert sh(script).stdout == f"{scratch}/tmp.aB3xYz\n"
    assert not lock.exists()
    lock.touch()
    assert sh(script).stdout == f"{scratch}/tmp.aB3xYz\n"
    with subprocess.Popen(["flock", lock, "sh", "-c", "echo held; read _"], stdin=-1, stdout=-1) as running:
        assert running.stdout
        assert running.stdin
        running.stdout.readline()
        assert sh(script).stdout == ""
        running.stdin.close()
