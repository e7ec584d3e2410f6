"""Files are written by a real shell: all of them, proved, or none."""

import os
import random
import re
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from bulkhead import put
from bulkhead.errors import BulkheadError
from bulkhead.look import FoundFile
from bulkhead.put import Change, Write
from tests.unit.helpers import GROUP, USER, as_root, found, sh


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder


def write(path: Path, content: bytes | None, *, mode: int = 0o644, backup: bool = False) -> Write:
    return Write(str(path), content, found(path), mode=mode, owner=USER, group=GROUP, backup=backup)


def apply(writes: Sequence[Write], check: str = "", activate: str = "", prove: str = "") -> tuple[int, str]:
    result = sh(put.script(Change(writes, check, activate, prove)))
    assert result.stdout == ""
    return result.returncode, result.stderr


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Writing


def test_a_new_file_has_its_content_and_mode_and_nothing_else_is_left(etc: Path) -> None:
    assert apply([write(etc / "a.toml", b"x = 1\n", mode=0o640)]) == (0, "")
    assert (etc / "a.toml").read_bytes() == b"x = 1\n"
    assert (etc / "a.toml").stat().st_mode & 0o7777 == 0o640
    assert names(etc) == ["a.toml"]


def test_a_changed_file_is_replaced_and_its_previous_content_kept(etc: Path) -> None:
    (etc / "a.toml").write_bytes(b"old\n")
    (etc / "a.toml").chmod(0o600)
    assert apply([write(etc / "a.toml", b"new\n", backup=True)]) == (0, "")
    assert (etc / "a.toml").read_bytes() == b"new\n"
    assert (etc / "a.toml").stat().st_mode & 0o7777 == 0o644
    assert (etc / "a.toml~bulkhead").read_bytes() == b"old\n"
    assert (etc / "a.toml~bulkhead").stat().st_mode & 0o7777 == 0o600
    assert names(etc) == ["a.toml", "a.toml~bulkhead"]


def test_a_second_change_keeps_the_content_before_it(etc: Path) -> None:
    for content in (b"one\n", b"two\n", b"three\n"):
        assert apply([write(etc / "a", content, backup=True)]) == (0, "")
    assert (etc / "a").read_bytes() == b"three\n"
    assert (etc / "a~bulkhead").read_bytes() == b"two\n"


def test_a_file_of_our_own_leaves_no_backup(etc: Path) -> None:
    (etc / "a").write_bytes(b"old")
    assert apply([write(etc / "a", b"new")]) == (0, "")
    assert names(etc) == ["a"]


def test_an_unchanged_file_is_not_touched(etc: Path) -> None:
    (etc / "a").write_bytes(b"same")
    (etc / "a").chmod(0o644)
    os.utime(etc / "a", (1, 1))
    before = (etc / "a").stat()
    wanted = write(etc / "a", b"same", backup=True)
    assert not wanted.changes
    assert apply([wanted, write(etc / "b", b"other")]) == (0, "")
    after = (etc / "a").stat()
    assert (after.st_ino, after.st_mtime, after.st_ctime) == (before.st_ino, before.st_mtime, before.st_ctime)
    assert names(etc) == ["a", "b"]


def test_a_mode_alone_is_a_change(etc: Path) -> None:
    (etc / "a").write_bytes(b"same")
    (etc / "a").chmod(0o666)
    wanted = write(etc / "a", b"same", mode=0o600)
    assert wanted.changes
    assert apply([wanted]) == (0, "")
    assert (etc / "a").stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize(
    "there",
    [
        None,
        FoundFile("file", b"other", 0o644, "root", "root"),
        FoundFile("file", b"same", 0o600, "root", "root"),
        FoundFile("file", b"same", 0o644, "tenant", "root"),
        FoundFile("file", b"same", 0o644, "root", "tenant"),
        FoundFile("link", b"same", 0o644, "root", "root", target="/elsewhere"),
    ],
)
def test_every_difference_is_a_change(there: FoundFile | None) -> None:
    assert Write("/etc/a", b"same", there).changes


def test_no_difference_is_no_change() -> None:
    assert not Write("/etc/a", b"same", FoundFile("file", b"same", 0o644, "root", "root")).changes


@as_root
def test_owner_and_group_are_those_that_were_asked_for(etc: Path) -> None:
    assert apply([Write(str(etc / "a"), b"x", None, owner="nobody", group="daemon")]) == (0, "")
    assert (etc / "a").owner() == "nobody"
    assert (etc / "a").group() == "daemon"


def test_an_owner_who_does_not_exist_is_refused(etc: Path) -> None:
    status, message = apply([Write(str(etc / "a"), b"x", None, owner="no-such-user", group=GROUP)])
    assert status == 1
    assert message.endswith(f"bulkhead: cannot write {etc}/a (is the disk full?); nothing was changed\n")
    assert names(etc) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no newline at the end",
        b'it\'s "quoted" `and` $(touch x) $HOME \\n %s %d\n',
        b"}\nmain </dev/null\nEOF\n'\n",
        b"\x00\x01\xff\xfe\x00",
        b"line\r\nline\r\n",
        "größer → ✓\n".encode(),
        random.Random(1).randbytes(2_000_000),
        b"a" * 2_000_000,
    ],
    ids=["empty", "no newline", "quotes", "script-like", "NUL", "CRLF", "UTF-8", "2 MB", "2 MB compressible"],
)
def test_any_content_arrives_as_it_is(etc: Path, content: bytes) -> None:
    assert apply([write(etc / "a", content)]) == (0, "")
    assert (etc / "a").read_bytes() == content
    assert names(etc) == ["a"]


@pytest.mark.parametrize("name", ["a b", "it's", 'a"b', "$(touch x)", "-rf", "a;b", "ä", "*", "a\nb"])
def test_any_name_is_only_a_name(etc: Path, name: str) -> None:
    (etc / name).write_bytes(b"old")
    assert apply([write(etc / name, b"new", backup=True)], check='[ "$(cat "$candidate_0")" = new ]') == (0, "")
    assert (etc / name).read_bytes() == b"new"
    assert (etc / f"{name}~bulkhead").read_bytes() == b"old"
    assert len(names(etc)) == 2


def test_missing_directories_are_made_for_everyone_to_enter(etc: Path) -> None:
    assert apply([write(etc / "one" / "two" / "a", b"x")]) == (0, "")
    assert (etc / "one").stat().st_mode & 0o7777 == 0o755
    assert (etc / "one" / "two").stat().st_mode & 0o7777 == 0o755


def test_the_stage_is_closed_to_others_and_lies_beside_the_file(etc: Path) -> None:
    check = f'stat -c %a "$(dirname "$candidate_0")" >{etc}/stage; stat -c %n "$candidate_0" >>{etc}/stage'
    assert apply([write(etc / "a", b"x")], check=check) == (0, "")
    mode, path = (etc / "stage").read_text().split()
    assert mode == "700"
    assert re.fullmatch(rf"{re.escape(str(etc))}/\.bulkhead\.\w{{6}}/0_a", path)


# Refusing before anything has changed


@pytest.mark.parametrize(("before", "meanwhile"), [("old", "theirs"), ("old", None), (None, "theirs")])
def test_a_file_that_somebody_else_changed_is_refused(etc: Path, before: str | None, meanwhile: str | None) -> None:
    if before:
        (etc / "b").write_text(before)
    writes = [write(etc / "a", b"new"), write(etc / "b", b"new", backup=True)]
    (etc / "b").unlink(missing_ok=True)
    if meanwhile:
        (etc / "b").write_text(meanwhile)
    assert apply(writes, activate=f"touch {etc}/activated") == (
        1,
        f"bulkhead: {etc}/b changed while this run was deciding; run again\n",
    )
    assert names(etc) == (["b"] if meanwhile else [])
    assert not meanwhile or (etc / "b").read_text() == meanwhile


def test_a_failing_check_leaves_everything_as_it_was(etc: Path) -> None:
    (etc / "a").write_bytes(b"old")
    writes = [write(etc / "a", b"new", backup=True), write(etc / "b", b"new")]
    check = 'echo "line 3: no such key" >&2; return 1'
    assert apply(writes, check=check, activate=f"touch {etc}/activated") == (
        1,
        "line 3: no such key\nbulkhead: the new configuration was refused; nothing was changed\n",
    )
    assert (etc / "a").read_bytes() == b"old"
    assert names(etc) == ["a"]


def test_a_check_reads_every_candidate_with_its_owner_and_mode_before_anything_moves(etc: Path) -> None:
    (etc / "same").write_bytes(b"same")
    (etc / "same").chmod(0o644)
    (etc / "a").write_bytes(b"old")
    writes = [write(etc / "a", b"new a", mode=0o600), write(etc / "same", b"same"), write(etc / "b", b"new b")]
    seen = etc / "seen"
    check = (
        f'for file in "$candidate_0" "$candidate_1" "$candidate_2" {etc}/a; do cat "$file"; echo; done >{seen}\n'
        f'stat -c "%a %U %G" "$candidate_0" >>{seen}; [ ! -e {etc}/b ]'
    )
    assert apply(writes, check=check) == (0, "")
    assert seen.read_text() == f"new a\nsame\nnew b\nold\n600 {USER} {GROUP}\n"


def test_another_run_holds_the_lock(etc: Path, own_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(put, "LOCK_WAIT", 0.1)
    holder = subprocess.Popen(["flock", own_lock, "sh", "-c", "echo held; read line"], stdin=-1, stdout=-1)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        status, message = apply([write(etc / "a", b"new")])
    finally:
        holder.communicate(b"\n")
    assert (status, message) == (
        1,
        f"bulkhead: another run holds {own_lock}: wait for it to end, then run again\n",
    )
    assert names(etc) == []


def test_a_lock_that_cannot_be_had(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(put, "LOCK", f"{etc}/no/lock")
    status, message = apply([write(etc / "a", b"new")])
    assert status == 1
    assert message.endswith(f"bulkhead: cannot open {etc}/no/lock\n")
    assert names(etc) == []


def test_a_stage_that_an_interrupted_run_left_is_removed(etc: Path) -> None:
    (etc / ".bulkhead.aB3xYz").mkdir()
    (etc / ".bulkhead.aB3xYz" / "0_a").write_bytes(b"half")
    (etc / ".bulkhead.example").mkdir()
    (etc / ".bulkhead.fB3xYz").mkdir()
    Path(put.SCRATCH).mkdir(exist_ok=True)
    (Path(put.SCRATCH) / "stages").write_text(f"{etc}/.bulkhead.aB3xYz\n{etc}/.bulkhead.example\n{etc}\n")
    assert apply([write(etc / "a", b"new")]) == (0, "")
    assert names(etc) == [".bulkhead.example", ".bulkhead.fB3xYz", "a"]
    assert names(Path(put.SCRATCH)) == []


def test_no_room_is_no_change(etc: Path) -> None:
    """A limit on the size of files stands for a full disk, which any user can try."""
    (etc / "a").write_bytes(b"old")
    script = put.script(Change([write(etc / "a", random.Random(2).randbytes(300_000), backup=True)]))
    result = subprocess.run(["sh", "-c", "ulimit -f 64; exec sh"], input=script.encode(), capture_output=True)
    assert result.returncode == 1
    last = result.stderr.decode().splitlines()[-1]
    assert last == f"bulkhead: cannot write {etc}/a (is the disk full?); nothing was changed"
    assert (etc / "a").read_bytes() == b"old"
    assert names(etc) == ["a"]


@as_root
def test_a_full_disk_is_no_change(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "bulkhead-test", disk]).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        (disk / "a").write_bytes(b"old")
        status, message = apply([write(disk / "a", random.Random(3).randbytes(300_000), backup=True)])
        assert status == 1
        assert message.splitlines()[-1] == (f"bulkhead: cannot write {disk}/a (is the disk full?); nothing was changed")
        assert (disk / "a").read_bytes() == b"old"
        assert names(disk) == ["a"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_directory_that_cannot_be_written_is_named(etc: Path) -> None:
    (etc / "file").write_bytes(b"")
    status, message = apply([Write(str(etc / "file" / "a"), b"x", None, owner=USER, group=GROUP)])
    assert status == 1
    assert message.endswith(f"bulkhead: cannot create {etc}/file; nothing was changed\n")


def test_a_script_that_is_cut_off_runs_nothing(etc: Path) -> None:
    (etc / "a").write_bytes(b"old")
    script = put.script(Change([write(etc / "a", b"new", backup=True)], activate=f"touch {etc}/activated")).encode()
    end = script.index(b"\nmain </dev/null\n") + 1
    cuts = [1, 7, len(b"main() {\n"), *range(20, end, len(script) // 25), *range(end - 30, end + len("mai") + 1)]
    for cut in cuts:
        sh(script[:cut])
        assert (etc / "a").read_bytes() == b"old", f"cut after {cut} of {len(script)} bytes"
        assert names(etc) == ["a"], f"cut after {cut} of {len(script)} bytes"
    assert sh(script).returncode == 0
    assert (etc / "a").read_bytes() == b"new"


# Rolling back


def changed_pair(tmp_path: Path) -> list[Write]:
    """Two files that are there, in two directories, and a new one."""
    for name, content in (("one", b"old one"), ("two", b"old two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(content)
        (tmp_path / name / "file").chmod(0o640)
    return [
        write(tmp_path / "one" / "file", b"new one", backup=True),
        write(tmp_path / "two" / "file", b"new two", mode=0o644),
        write(tmp_path / "two" / "added", b"new"),
    ]


def assert_as_before(tmp_path: Path) -> None:
    for name, content in (("one", b"old one"), ("two", b"old two")):
        assert (tmp_path / name / "file").read_bytes() == content
        assert (tmp_path / name / "file").stat().st_mode & 0o7777 == 0o640
    assert names(tmp_path / "two") == ["file"]
    assert names(tmp_path / "one") == ["file", "file~bulkhead"]


def test_a_failing_activation_brings_every_file_back_and_activates_again(tmp_path: Path) -> None:
    writes = changed_pair(tmp_path)
    log = tmp_path / "log"
    activate = f"cat {tmp_path}/one/file {tmp_path}/two/* >>{log}; echo >>{log}; ! grep -q new {tmp_path}/one/file"
    assert apply(writes, activate=activate, prove=f"echo proved >>{log}") == (
        1,
        "bulkhead: the new configuration could not be made effective; the previous configuration is back in force\n",
    )
    assert log.read_text() == "new onenewnew two\nold oneold two\n"
    assert_as_before(tmp_path)


def test_a_failing_activation_that_fails_on_the_previous_files_too_says_so(tmp_path: Path) -> None:
    writes = changed_pair(tmp_path)
    assert apply(writes, activate="echo 'no such unit' >&2; exit 3") == (
        1,
        "no such unit\nno such unit\nbulkhead: the new configuration could not be made effective; "
        "the previous files are back, but could not be made effective either\n",
    )
    assert_as_before(tmp_path)


def test_what_makes_the_previous_files_effective_may_differ_from_what_made_the_new_ones(tmp_path: Path) -> None:
    writes = changed_pair(tmp_path)
    log = tmp_path / "log"
    restore = f"cat {tmp_path}/one/file >>{log}; return 0"
    change = Change(writes, activate=f"echo activated >>{log}; return 1", restore=restore)
    result = sh(put.script(change))
    assert result.returncode == 1
    assert result.stderr.endswith("the previous configuration is back in force\n")
    assert log.read_text() == "activated\nold one"
    assert_as_before(tmp_path)


def test_a_failing_proof_brings_every_file_back(tmp_path: Path) -> None:
    writes = changed_pair(tmp_path)
    log = tmp_path / "log"
    assert apply(writes, activate=f"echo activated >>{log}", prove="echo 'no handler' >&2; return 1") == (
        1,
        "no handler\n"
        "bulkhead: the new configuration did not have its effect; the previous configuration is back in force\n",
    )
    assert log.read_text() == "activated\nactivated\n"
    assert_as_before(tmp_path)


def test_a_file_that_cannot_be_replaced_brings_back_those_before_it(tmp_path: Path) -> None:
    writes = changed_pair(tmp_path)
    log = tmp_path / "log"
    # Between the look and the move a directory appears at the third path, onto which no file can be moved.
    status, message = apply(writes, check=f"mkdir {tmp_path}/two/added", activate=f"echo activated >>{log}")
    assert status == 1
    assert message.splitlines()[-1] == (
        f"bulkhead: cannot replace {tmp_path}/two/added; the previous configuration is back in force"
    )
    assert log.read_text() == "activated\n"
    (tmp_path / "two" / "added").rmdir()
    assert_as_before(tmp_path)


def test_the_new_files_are_in_place_when_they_are_activated_and_proved(tmp_path: Path) -> None:
    writes = changed_pair(tmp_path)
    log = tmp_path / "log"
    read = f"cat {tmp_path}/one/file {tmp_path}/two/file {tmp_path}/two/added >>{log}; echo >>{log}"
    assert apply(writes, activate=read, prove=read) == (0, "")
    assert log.read_text() == "new onenew twonew\n" * 2


def test_nothing_to_write_still_activates_and_proves(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert apply([], activate=f"echo activated >>{log}", prove=f"echo proved >>{log}") == (0, "")
    assert log.read_text() == "activated\nproved\n"


def test_a_lost_connection_does_not_stop_what_has_begun(etc: Path) -> None:
    assert apply([write(etc / "a", b"new")], check="kill -HUP $$; kill -PIPE $$") == (0, "")
    assert (etc / "a").read_bytes() == b"new"


# Files that go


def test_a_file_goes_and_its_content_is_kept_where_it_was_the_user_s(etc: Path) -> None:
    for name in ("ours", "theirs"):
        (etc / name).write_bytes(b"old\n")
        (etc / name).chmod(0o640)
    writes = [write(etc / "ours", None), write(etc / "theirs", None, backup=True)]
    assert all(wanted.changes for wanted in writes)
    assert apply(writes) == (0, "")
    assert names(etc) == ["theirs~bulkhead"]
    assert (etc / "theirs~bulkhead").read_bytes() == b"old\n"
    assert (etc / "theirs~bulkhead").stat().st_mode & 0o7777 == 0o640


def test_a_file_that_is_not_there_need_not_go(etc: Path) -> None:
    wanted = write(etc / "a", None, backup=True)
    assert not wanted.changes
    assert apply([wanted, write(etc / "b", b"new")]) == (0, "")
    assert names(etc) == ["b"]


def test_a_file_of_the_user_that_goes() -> None:
    there = FoundFile("file", b"old", 0o600, "ops", "staff")
    assert put.user_file("/etc/docker/daemon.json", None, there) == Write(
        "/etc/docker/daemon.json", None, there, mode=0o600, owner="ops", group="staff", backup=True
    )
    assert not put.user_file("/etc/docker/daemon.json", None, None).changes
    with pytest.raises(BulkheadError, match="is a directory"):
        put.user_file("/etc/a", None, FoundFile("directory", b"", 0o755, "root", "root"))


def test_a_check_sees_a_file_that_goes_as_one_that_is_not_there(etc: Path) -> None:
    (etc / "a").write_bytes(b"old")
    check = f'[ ! -e "$candidate_0" ] && [ -n "$candidate_0" ] && [ -e {etc}/a ] && [ "$(cat "$candidate_1")" = new ]'
    assert apply([write(etc / "a", None), write(etc / "b", b"new")], check=check, prove=f"[ ! -e {etc}/a ]") == (0, "")
    assert names(etc) == ["b"]


@pytest.mark.parametrize("stage", ["activate", "prove"])
def test_a_file_that_went_comes_back_with_owner_and_mode(etc: Path, stage: str) -> None:
    (etc / "a").write_bytes(b"old\n")
    (etc / "a").chmod(0o4750)
    if os.getuid() == 0:
        os.chown(etc / "a", 54321, 54322)
    before = (etc / "a").stat()
    os.utime(etc / "a", (1, 1))
    writes = [write(etc / "a", None, backup=True), write(etc / "b", b"new")]
    status, message = apply(writes, **{stage: f"[ -e {etc}/a ]"})
    assert (status, message.rpartition("; ")[2]) == (1, "the previous configuration is back in force\n")
    after = (etc / "a").stat()
    assert (after.st_mode, after.st_uid, after.st_gid, after.st_mtime) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
        1,
    )
    assert (etc / "a").read_bytes() == b"old\n"
    assert names(etc) == ["a", "a~bulkhead"]


def test_a_failing_check_leaves_a_file_that_had_to_go(etc: Path) -> None:
    (etc / "a").write_bytes(b"old")
    status, message = apply([write(etc / "a", None, backup=True)], check="return 1")
    assert (status, message) == (1, "bulkhead: the new configuration was refused; nothing was changed\n")
    assert names(etc) == ["a"]


@pytest.mark.parametrize("meanwhile", ["theirs", None])
def test_a_file_that_somebody_else_changed_does_not_go(etc: Path, meanwhile: str | None) -> None:
    (etc / "a").write_text("old")
    writes = [write(etc / "a", None, backup=True)]
    (etc / "a").unlink()
    if meanwhile:
        (etc / "a").write_text(meanwhile)
    assert apply(writes, activate=f"touch {etc}/activated") == (
        1,
        f"bulkhead: {etc}/a changed while this run was deciding; run again\n",
    )
    assert names(etc) == (["a"] if meanwhile else [])


@as_root
def test_a_file_that_cannot_be_removed_brings_back_those_before_it(tmp_path: Path) -> None:
    writes = [*changed_pair(tmp_path)[:2], write(tmp_path / "two" / "file", None)]
    writes = [writes[0], writes[2]]
    mounted = subprocess.run(["mount", "--bind", "/dev/null", tmp_path / "two" / "file"]).returncode == 0
    if not mounted:
        pytest.skip("no file system may be mounted here")
    try:
        script = put.script(Change(writes)).replace(writes[1].expected, "$(sha256sum </dev/null | cut -d' ' -f1)")
        result = sh(script)
    finally:
        subprocess.run(["umount", tmp_path / "two" / "file"], check=True)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last == f"bulkhead: cannot remove {tmp_path}/two/file; the previous configuration is back in force"
    assert (tmp_path / "one" / "file").read_bytes() == b"old one"
    assert (tmp_path / "two" / "file").read_bytes() == b"old two"


def test_obsolete_files_go_when_all_is_proved(etc: Path) -> None:
    for name in ("it's old", "also old"):
        (etc / name).write_bytes(b"x")
    obsolete = [str(etc / "it's old"), str(etc / "also old"), str(etc / "never was")]
    still = f'[ -e "{etc}/it\'s old" ] && [ -e "{etc}/also old" ]'
    change = Change([write(etc / "a", b"new")], check=still, activate=still, prove=still, obsolete=obsolete)
    result = sh(put.script(change))
    assert (result.returncode, result.stderr) == (0, "")
    assert names(etc) == ["a"]


@pytest.mark.parametrize("stage", ["check", "activate", "prove"])
def test_obsolete_files_stay_when_anything_fails(etc: Path, stage: str) -> None:
    (etc / "old").write_bytes(b"x")
    check, activate, prove = ("return 1" if stage == name else "" for name in ("check", "activate", "prove"))
    result = sh(put.script(Change([write(etc / "a", b"new")], check, activate, prove, obsolete=[str(etc / "old")])))
    assert result.returncode == 1
    assert names(etc) == ["old"]


# What is written when all is proved


def test_what_must_not_be_said_before_it_is_so_is_written_last(etc: Path) -> None:
    (etc / "record").write_bytes(b"before")
    (etc / "record").chmod(0o644)
    (etc / "gone").write_bytes(b"x")
    writes = [write(etc / "record", b"meanwhile"), write(etc / "a", b"new")]
    settled = [write(etc / "record", b"after", mode=0o600), write(etc / "gone", None), write(etc / "b" / "new", b"n")]
    still = f'[ "$(cat {etc}/record)" = meanwhile ] && [ -e {etc}/gone ] && [ ! -e {etc}/b/new ]'
    change = Change(writes, activate=still, prove=still, settled=settled)
    assert change.changes
    result = sh(put.script(change))
    assert (result.returncode, result.stderr) == (0, "")
    assert (etc / "record").read_bytes() == b"after"
    assert (etc / "record").stat().st_mode & 0o7777 == 0o600
    assert (etc / "b" / "new").read_bytes() == b"n"
    assert names(etc) == ["a", "b", "record"]
    assert names(etc / "b") == ["new"]


@pytest.mark.parametrize("stage", ["check", "activate", "prove"])
def test_it_is_not_written_when_anything_fails(etc: Path, stage: str) -> None:
    (etc / "record").write_bytes(b"before")
    change = Change(
        [write(etc / "record", b"meanwhile")],
        settled=[write(etc / "record", b"after"), write(etc / "b", b"new")],
        check="return 1" if stage == "check" else "",
        activate="return 1" if stage == "activate" else "",
        prove="return 1" if stage == "prove" else "",
    )
    assert sh(put.script(change)).returncode == 1
    assert (etc / "record").read_bytes() == b"before"
    assert names(etc) == ["record"]


def test_a_change_that_changes_nothing(etc: Path) -> None:
    (etc / "a").write_bytes(b"same")
    (etc / "a").chmod(0o644)
    same = write(etc / "a", b"same")
    assert not Change([same], settled=[same]).changes
    assert Change([same], settled=[write(etc / "b", b"new")]).changes
    assert Change([write(etc / "a", None)], settled=[same]).changes


# Secrets


def test_content_never_shows_in_the_process_list(etc: Path) -> None:
    """Sampled from outside for as long as the script runs, and looked for by its own check."""
    contents = [random.Random(number).randbytes(60_000) for number in range(20)]
    script = put.script(
        Change(
            [write(etc / f"{n}", c) for n, c in enumerate(contents)],
            check=f"cat /proc/[0-9]*/cmdline >{etc}/seen 2>&1; :",
        )
    )
    payloads = [match.encode() for match in re.findall(r"printf %s (\S{60})", script)]
    assert len(payloads) == 20
    samples: set[bytes] = set()
    over = threading.Event()

    def sample() -> None:
        while not over.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    samples.add(path.read_bytes())
                except OSError:
                    continue

    watcher = threading.Thread(target=sample)
    watcher.start()
    result = sh(script)
    over.set()
    watcher.join()
    assert result.returncode == 0
    seen = b"\n".join([*samples, (etc / "seen").read_bytes()])
    assert b"sh\0" in seen
    assert [payload for payload in payloads if payload in seen] == []


# Files of the user


def test_a_file_of_the_user_keeps_owner_and_mode_and_a_backup() -> None:
    there = FoundFile("file", b"old", 0o600, "ops", "staff")
    kept = put.user_file("/etc/docker/daemon.json", b"new", there)
    assert (kept.owner, kept.group, kept.mode, kept.backup) == ("ops", "staff", 0o600, True)
    assert kept.backup_path == "/etc/docker/daemon.json~bulkhead"
    assert (kept.directory, kept.name) == ("/etc/docker", "daemon.json")


def test_a_file_that_the_user_has_not_got_is_root_s() -> None:
    new = put.user_file("/etc/docker/daemon.json", b"new", None)
    assert (new.owner, new.group, new.mode, new.expected) == ("root", "root", 0o644, "absent")


@pytest.mark.parametrize(
    ("there", "what"),
    [
        (
            FoundFile("link", b"", 0o777, "root", "root", target="/srv/daemon.json"),
            "a symbolic link to /srv/daemon.json",
        ),
        (FoundFile("directory", b"", 0o755, "root", "root"), "a directory"),
        (FoundFile("other", b"", 0o644, "root", "root"), "a device, pipe or socket"),
    ],
)
def test_what_a_rename_would_destroy_is_refused(there: FoundFile, what: str) -> None:
    with pytest.raises(BulkheadError) as error:
        put.user_file("/etc/docker/daemon.json", b"new", there)
    assert error.value.message == f"/etc/docker/daemon.json: is {what}"
    assert error.value.hint.startswith("Bulkhead replaces regular files only: move it away")


def test_a_link_that_was_found_is_what_the_look_saw(etc: Path) -> None:
    (etc / "real").write_bytes(b"x")
    (etc / "link").symlink_to("real")
    with pytest.raises(BulkheadError, match="is a symbolic link to real"):
        put.user_file(str(etc / "link"), b"new", found(etc / "link"))
