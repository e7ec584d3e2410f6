"""What is tried goes again by itself, whoever is there or not, unless it is confirmed: with a real shell and clock."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bulkhead import put
from bulkhead.put import Change, Write
from bulkhead.templates import render
from bulkhead.trial import FoundTrial, Trial, digest
from bulkhead.trial import found as found_trial
from bulkhead.trial import needs as trial_needs
from tests.unit.helpers import GROUP, USER, found, looked, sh

LIMIT = 10.0
"""Seconds in which what is to happen by itself must have happened."""


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A directory with one file, which a daemon has read."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "a.conf").write_text("old\n")
    (folder / "a.conf").chmod(0o640)
    (tmp_path / "live").write_text("old\n")
    return folder


def change(etc: Path, new: bytes = b"new\n", activate: str = "", prove: str = "") -> Change:
    """A file replaced, one made, and a daemon that reads the first."""
    writes = [
        Write(str(etc / name), content, found(etc / name), owner=USER, group=GROUP)
        for name, content in (("a.conf", new), ("b.conf", b"b\n"))
    ]
    reading = f"cat {etc}/a.conf >{etc.parent}/live"
    return Change(writes, activate=activate or reading, prove=prove, restore=reading)


def trial(change: Change, seconds: int = 60) -> Trial:
    return Trial("area", "settings of the area", "configuration", seconds, digest(change))


def state(etc: Path) -> tuple[str, str, bool]:
    """What the file says, what the daemon has read, and whether the second file is there."""
    return (etc / "a.conf").read_text(), (etc.parent / "live").read_text(), (etc / "b.conf").exists()


OLD = ("old\n", "old\n", False)
NEW = ("new\n", "new\n", True)


def eventually(what: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def kept(tmp_path: Path) -> set[str]:
    """All that a trial keeps."""
    folders = (tmp_path / "scratch" / "area", tmp_path / "units", tmp_path / "units" / "sysinit.target.wants")
    return {path.name for folder in folders if folder.exists() for path in folder.iterdir() if not path.is_dir()} | {
        path.name for path in tmp_path.glob("*.armed")
    }


WAITING = {
    "rollback",
    "pending",
    "bulkhead-area-unconfirmed.service",
    "bulkhead-area.armed",
}


def test_what_is_confirmed_stays_and_nothing_of_the_trial_does(etc: Path, timers: Path) -> None:
    tried = trial(change(etc))
    assert sh(tried.put(change(etc))).stderr == ""
    assert state(etc) == NEW
    assert kept(etc.parent) == WAITING
    assert (timers / "bulkhead-area-rollback.timer").exists()
    assert sh(tried.confirm()).stderr == ""
    assert state(etc) == NEW
    assert kept(etc.parent) == set()
    assert not (timers / "bulkhead-area-rollback.timer").exists()


@pytest.mark.usefixtures("timers")
def test_what_was_confirmed_is_not_taken_back_by_one_who_did_not_hear_of_it(etc: Path) -> None:
    tried = trial(change(etc))
    assert sh(tried.put(change(etc))).stderr == ""
    assert sh(tried.confirm()).stderr == ""
    back = sh(tried.take_back)
    assert (back.returncode, back.stderr) == (0, "it was confirmed\n")
    assert state(etc) == NEW


def test_what_nobody_confirms_goes_by_itself_in_its_time(etc: Path, timers: Path) -> None:
    mode = (etc / "a.conf").stat().st_mode
    tried = trial(change(etc), seconds=2)
    began = time.monotonic()
    assert sh(tried.put(change(etc))).returncode == 0
    assert state(etc) == NEW
    eventually(lambda: (etc.parent / "scratch" / "area" / "rolled-back").exists())
    assert time.monotonic() - began >= 2
    eventually(lambda: kept(etc.parent) == {"rollback", "rolled-back"})
    assert state(etc) == OLD
    assert (etc / "a.conf").stat().st_mode == mode
    late = sh(tried.confirm())
    assert late.returncode == 1
    assert "the new settings of the area was taken back before it was confirmed" in late.stderr
    assert "(see area.confirm_seconds)" in late.stderr
    assert state(etc) == OLD
    assert (timers / "errors").read_text() == ""


def test_it_is_taken_back_at_once_and_the_next_one_forgets_it(etc: Path, timers: Path) -> None:
    tried = trial(change(etc))
    assert sh(tried.put(change(etc))).returncode == 0
    assert sh(tried.take_back).stderr == ""
    assert state(etc) == OLD
    assert kept(etc.parent) == {"rollback", "rolled-back"}
    assert not (timers / "bulkhead-area-rollback.timer").exists()
    assert sh(tried.take_back).returncode == 0, "it does nothing twice"
    assert sh(tried.put(change(etc))).returncode == 0
    assert sh(tried.confirm()).returncode == 0
    assert state(etc) == NEW
    assert kept(etc.parent) == set()


def test_one_that_fails_by_itself_leaves_no_trial(etc: Path, timers: Path) -> None:
    failing = change(etc, prove="echo no effect >&2; return 1")
    result = sh(trial(failing).put(failing))
    assert result.returncode == 1
    assert "no effect" in result.stderr
    assert "the previous configuration is back in force" in result.stderr
    assert state(etc) == OLD
    assert kept(etc.parent) == {"rollback"}
    assert not (timers / "bulkhead-area-rollback.timer").exists()


def test_without_a_timer_nothing_is_tried(etc: Path, timers: Path) -> None:
    (timers / "broken").touch()
    result = sh(trial(change(etc)).put(change(etc)))
    assert result.returncode == 1
    assert "cannot arm the timer that would take the settings of the area back" in result.stderr
    assert "nobody would take it back; nothing was changed" in result.stderr
    assert state(etc) == OLD
    assert kept(etc.parent) == {"rollback"}


@pytest.mark.usefixtures("timers")
def test_a_trial_that_waits_lets_no_other_begin_and_nobody_else_confirms_it(etc: Path) -> None:
    tried = trial(change(etc))
    assert sh(tried.put(change(etc))).returncode == 0
    other = change(etc, b"other\n")
    refused = sh(trial(other).put(other))
    assert refused.returncode == 1
    assert "of another run waits to be confirmed; wait until it is, or is taken back" in refused.stderr
    stranger = sh(replace(tried, digest="0" * 64).confirm())
    assert stranger.returncode == 1
    assert state(etc) == NEW
    assert sh(tried.take_back).returncode == 0
    assert state(etc) == OLD


@pytest.mark.usefixtures("timers")
def test_a_look_tells_what_became_of_it(etc: Path) -> None:
    def seen() -> FoundTrial:
        return found_trial(looked(*trial_needs("area")), "area")

    tried = trial(change(etc))
    assert seen() == FoundTrial(rolled_back=False, waits=False, marks=[])
    assert sh(tried.put(change(etc))).returncode == 0
    assert seen() == FoundTrial(rolled_back=False, waits=True, marks=[tried.pending])
    assert sh(tried.take_back).returncode == 0
    assert seen() == FoundTrial(rolled_back=True, waits=False, marks=[tried.rolled_back])


def test_a_host_that_is_reset_goes_back_at_boot(etc: Path, timers: Path) -> None:
    """There is no timer any more, and nothing of /run; what lies in /etc is new."""
    tried = trial(change(etc))
    assert sh(tried.put(change(etc))).returncode == 0
    unit = Path(tried.wanted_by).read_text()
    assert f"ConditionPathExists=!{tried.armed}\n" in unit
    assert Path(tried.armed).exists(), "before the reset it does nothing"
    sh(f"{timers}/systemctl stop {tried.unit}.timer; rm {tried.armed}")
    start = next(line.partition("=")[2] for line in unit.splitlines() if line.startswith("ExecStart="))
    assert subprocess.run(start.split()).returncode == 0
    assert state(etc) == OLD
    assert kept(etc.parent) == {"rollback", "rolled-back"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "bulkhead-area-unconfirmed.service"
    unit.write_text(render("host/unconfirmed.service.j2", trial=Trial("area", "x", "y", 60, "0")))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    said = [line for line in verified.stderr.splitlines() if unit.name in line]
    assert said == []


@pytest.mark.usefixtures("timers")
def test_what_can_t_be_made_effective_again_does_not_keep_the_files(etc: Path) -> None:
    stubborn = replace(change(etc), restore="echo some values stay >&2; return 1")
    tried = trial(stubborn)
    assert sh(tried.put(stubborn)).returncode == 0
    back = sh(tried.take_back)
    assert back.returncode == 0
    assert back.stderr == "some values stay\nthe files from before are back; not all of them could be made effective\n"
    assert (etc / "a.conf").read_text() == "old\n"


def test_several_changes_are_one(etc: Path) -> None:
    """Each checks its own candidates; all is in force, or nothing; and all go back, though one can't."""
    c, d = etc / "c.conf", etc / "d.conf"
    one = change(etc, activate=f"x=1; echo one >>{etc}/order")
    two = Change(
        [Write(str(path), path.name.encode(), None, owner=USER, group=GROUP) for path in (c, d)],
        check='[ "$(cat "$candidate_0" "$candidate_1")" = c.confd.conf ] || return 1',
        activate=f'[ -z "${{x:-}}" ] || return 1; echo two >>{etc}/order',
        prove=f"[ ! -e {etc}/wrong ]",
    )
    assert sh(put.script(put.together([one, two]))).stderr == ""
    assert (etc / "order").read_text() == "one\ntwo\n"
    assert (c.read_text(), d.read_text()) == ("c.conf", "d.conf")
    for path in (c, d):
        path.unlink()
    (etc / "wrong").touch()
    (etc / "a.conf").write_text("old\n")
    (etc / "b.conf").unlink()
    refusing = replace(change(etc), restore="return 1")
    failed = sh(put.script(put.together([refusing, two])))
    assert failed.returncode == 1
    assert "could not be made effective either" in failed.stderr
    assert (etc / "order").read_text() == "one\ntwo\ntwo\ntwo\n", "the second went back too"
    assert (etc / "a.conf").read_text() == "old\n"
    assert not c.exists()
    checked = replace(two, check="return 1")
    assert (
        "the new configuration was refused; nothing was changed"
        in sh(put.script(put.together([refusing, checked]))).stderr
    )
