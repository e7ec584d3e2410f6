"""The program itself: what it says of files and answers, what it writes, and what it does when something fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from bulkhead.drift import pins
from bulkhead.drift.pins import Check, FilePin, NotedFile, Pin, Search
from bulkhead.errors import BulkheadError
from deploys.self_check import description
from tests.oracles import fetch, promtool
from tests.unit.helpers import GROUP, USER, as_root, legacy_host
from tests.unit.self_check.running import host

OWNER = f"{USER}:{GROUP}"
HELLO = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
"""The sha256 of `hello` and a newline."""


def file(path: Path, digest: str = HELLO, mode: int = 0o644) -> FilePin:
    return FilePin("hardening", str(path), digest, mode, OWNER)


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    path = tmp_path / "hello"
    path.write_text("hello\n")
    path.chmod(0o644)
    return path


def test_nothing_differs(tmp_path: Path, hello: Path) -> None:
    checks: list[Check] = [
        file(hello),
        file(tmp_path / "none", pins.ABSENT),
        NotedFile("Docker", str(hello), HELLO),
        Pin("egress", "answer", "echo 42", "42"),
        Search("gVisor", "search", ":"),
    ]
    run = host(tmp_path, *checks).run()
    assert (run.status, run.said, run.errors) == (0, "", "")
    assert run.value("hosts", state="clean", inventory="self-check") == 1
    assert run.value("hosts", state="drift") == run.value("hosts", state="error") == 0
    assert run.value("host_up", host="old-1", inventory="self-check") == 1
    assert run.value("findings") is None
    assert abs((run.value("last_run_timestamp_seconds") or 0) - time.time()) < 60
    assert run.value("host_last_success_timestamp_seconds") == run.value("last_run_timestamp_seconds")
    digest = subprocess.check_output(["sha256sum", tmp_path / "program"], text=True).split()[0]
    assert run.value("description_info", host="old-1", sha256=digest) == 1
    assert oct((tmp_path / "textfiles" / "self.prom").stat().st_mode) == "0o100644"


TAMPERS = {
    "another text": ("echo x >>{}", ["critical hardening {}"]),
    "gone": ("rm {}", ["critical hardening {}"]),
    "a link": ("mv {0} {0}.kept; ln -s {0}.kept {0}", ["critical hardening {}"]),
    "a directory": ("rm {0}; mkdir {0}", ["critical hardening {}"]),
    "others may write": ("chmod 0666 {}", ["critical hardening {}: mode"]),
    "others may not read": ("chmod 0600 {}", ["warning hardening {}: mode"]),
    "with the right of its owner": ("chmod 4644 {}", ["critical hardening {}: mode"]),
    "two things": ("echo x >>{0}; chmod 0666 {0}", ["critical hardening {}", "critical hardening {}: mode"]),
}


@pytest.mark.parametrize(("script", "expected"), TAMPERS.values(), ids=TAMPERS)
def test_a_file_that_was_tampered_with(script: str, expected: list[str], tmp_path: Path, hello: Path) -> None:
    here = host(tmp_path, file(hello))
    assert here.run().status == 0
    subprocess.run(["sh", "-ec", script.format(hello)], check=True)
    run = here.run()
    assert (run.status, run.found) == (2, [one.format(hello) for one in expected])
    assert run.value("hosts", state="drift") == run.value("host_up") == 1
    severity = expected[0].split()[0]
    assert run.value("findings", host="old-1", severity=severity, capability="hardening") == len(expected)
    # Of a file nothing is shown.
    assert "hello\n" not in run.said


@as_root
def test_a_file_that_is_another_s(tmp_path: Path, hello: Path) -> None:
    os.chown(hello, 65534, 0)
    assert host(tmp_path, file(hello)).run().found == [f"critical hardening {hello}: owner"]


def test_a_file_that_must_not_be(tmp_path: Path, hello: Path) -> None:
    gone = FilePin("egress", str(hello), pins.ABSENT, severity="warning")
    run = host(tmp_path, gone).run()
    assert (run.status, run.found) == (2, [f"warning egress {hello}"])


def test_a_file_of_the_user_s(tmp_path: Path, hello: Path) -> None:
    noted = NotedFile("Docker", str(hello), HELLO)
    hello.write_text("TOKEN=hunter2\n")
    run = host(tmp_path, noted).run()
    expected = f"warning Docker {hello}: expected as the last run left it, found changed since the last run\n"
    assert (run.status, run.said) == (2, expected)
    hello.unlink()
    assert host(tmp_path, noted).run().found == [f"warning Docker {hello}"]


@as_root
def test_a_file_of_the_user_s_that_others_can_write_to(tmp_path: Path, hello: Path) -> None:
    noted = NotedFile("Docker", str(hello), HELLO, mine=True)
    assert host(tmp_path, noted).run().status == 0
    hello.chmod(0o620)
    assert host(tmp_path, noted).run().found == [f"critical Docker {hello}: mode"]


def test_an_answer_that_is_another(tmp_path: Path) -> None:
    run = host(tmp_path, Pin("egress", "the answer", "printf 'on\\033[31me\\ntwo\\n'", "one")).run()
    # What steers a terminal is not printed.
    assert (run.status, run.said) == (2, "critical egress the answer: expected one, found on[31me two\n")


def test_what_a_search_says(tmp_path: Path) -> None:
    script = "say 'unit x' active ''; say y '' there warning; say 'unit x' active ''"
    run = host(tmp_path, Search("hardening", "units", script)).run()
    assert run.status == 2
    assert run.said == (
        "critical hardening unit x: expected active, found nothing\n"
        "warning hardening y: expected nothing, found there\n"
    )
    assert run.value("findings", severity="critical") == run.value("findings", severity="warning") == 1


BROKEN = {
    "it fails": ("exit 3", "its question ended with status 3"),
    "no such program": ("nonesuch", "its question ended with status 127"),
    "it hangs": ("sleep 60", "took longer than 1 s"),
    "it hangs and does not listen": ("trap '' TERM; while :; do sleep 1; done", "took longer than 1 s"),
    "what it started hangs": ("sleep 60 & exit 4", "its question ended with status 4"),
}


@pytest.mark.parametrize("kind", ["pin", "search"])
@pytest.mark.parametrize(("script", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_question_without_an_answer_is_never_no_drift(
    kind: str, script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(description, "SECONDS", 1)
    check = Pin("egress", "it", script, "") if kind == "pin" else Search("egress", "it", script)
    # The others are compared all the same.
    run = host(tmp_path, check, Pin("egress", "other", "echo 1", "2")).run()
    assert run.status == 1
    assert sorted(run.said.splitlines()) == sorted(
        [f"error egress it: {reason}", "critical egress other: expected 2, found 1"]
    )
    assert run.value("hosts", state="error") == 1
    assert run.value("host_up") == run.value("hosts", state="clean") == run.value("hosts", state="drift") == 0
    assert run.value("findings") == 1
    assert run.value("host_last_success_timestamp_seconds") is None


def test_what_was_known_stays_while_it_can_t_be_told(tmp_path: Path) -> None:
    first = host(tmp_path, Pin("egress", "it", "echo 1", "2")).run()
    looked_at = first.value("host_last_success_timestamp_seconds")
    since = first.value("oldest_finding_timestamp_seconds", severity="critical")
    assert looked_at
    assert since
    time.sleep(1.1)
    again = host(tmp_path, Pin("egress", "it", "echo 1", "2")).run()
    assert again.value("oldest_finding_timestamp_seconds") == since
    assert (again.value("host_last_success_timestamp_seconds") or 0) > looked_at
    broken = host(tmp_path, Pin("egress", "it", "exit 1", "2")).run()
    assert broken.value("findings", severity="critical", capability="egress") == 1
    assert broken.value("oldest_finding_timestamp_seconds") == since
    assert broken.value("host_last_success_timestamp_seconds") == again.value("host_last_success_timestamp_seconds")
    gone = host(tmp_path, Pin("egress", "it", "echo 2", "2")).run()
    assert gone.value("findings") is None
    assert gone.value("oldest_finding_timestamp_seconds") is None


def test_what_the_inventory_accepts(tmp_path: Path) -> None:
    check = Search(
        "Docker", "x", "say 'container a: network' '' x; say 'container b [x]: network' '' x; say \"it's\" '' x"
    )
    accept = {"container a*: network": "counts", "container b [x]: *": "why", "it's": "said"}
    assert host(tmp_path, check).run().status == 2
    assert len(host(tmp_path, check).run().found) == 3
    run = host(tmp_path, check, drift={"accept": accept}).run()
    assert (run.status, run.said) == (0, "")
    # A bracket stands for itself.
    other = Search("Docker", "x", "say 'container b x: network' '' x")
    assert host(tmp_path, other, drift={"accept": accept}).run().status == 2


def test_prometheus_reads_the_metrics_and_its_linter_has_nothing_to_say(tmp_path: Path) -> None:
    script = "say a '' x critical; say b '' x warning"
    run = host(
        tmp_path, Search("egress", "x", script), Search("Docker", "y", script), Pin("gVisor", "z", "exit 1", "")
    ).run()
    result = promtool.run("check", "metrics", stdin=run.metrics)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert run.value("findings", severity="warning", capability="Docker") == 1


SPOILT = {
    "no inode": "mount -t tmpfs -o size=4k,nr_inodes=1 none {}",
    "read-only": "mount -t tmpfs -o ro none {}",
    "full": "mount -t tmpfs -o size=4k none {0}; head -c 4096 /dev/zero >{0}/x",
}


@as_root
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_directory_that_can_t_be_written_to(spoil: str, tmp_path: Path) -> None:
    here = host(tmp_path)
    here.write()
    around = ("unshare", "--mount")
    before = spoil.format(here.textfile.parent)
    after = f"ls -A {here.textfile.parent}"
    run = here.run(*around, before=f'{before}\nsh "$0" "$@"; status=$?; {after}; exit $status\n')
    assert run.status == 1
    lines = run.said.splitlines()
    assert f"error self_check {here.textfile}: can't be written" in lines
    # Nothing half is left for the collector to read.
    assert not [line for line in lines if line.endswith(".prom") or line.startswith(".bulkhead")]


@as_root
def test_a_full_disk_loses_nothing_that_was_known(tmp_path: Path) -> None:
    """Neither since when a finding is known, nor the metrics, which get old."""
    here = host(tmp_path, Search("egress", "x", "say a '' x"))
    assert here.run().status == 2
    state, kept = tmp_path / "state", tmp_path / "kept"
    metrics, since = here.textfile.read_text(), (state / "since").read_text()
    before = (
        f"cp -a {state} {kept}; mount -t tmpfs -o size=16k none {state}; cp -a {kept}/* {state}\n"
        f'cat /dev/zero >{state}/x 2>/dev/null; sh "$0" "$@"; status=$?; cat {state}/since; exit $status\n'
    )
    run = here.run("unshare", "--mount", before=before)
    assert (run.status, run.metrics) == (1, metrics)
    assert run.said.endswith(since)
    assert "can't be written" in run.said


@as_root
def test_whoever_fills_the_temporary_directory_hides_nothing(tmp_path: Path) -> None:
    here = host(tmp_path, Search("egress", "x", "say a '' x"))
    full = tmp_path / "full"
    full.mkdir()
    before = f"mount -t tmpfs -o size=4k none {full}; head -c 4096 /dev/zero >{full}/x; export TMPDIR={full}"
    run = here.run("unshare", "--mount", before=before)
    assert (run.status, run.value("findings", severity="critical")) == (2, 1.0)


SWAP = """mktemp() {{
    set -- "$(command mktemp "$@")"
    case $1 in {directory}/*) rm -rf "$1"; ln -s {victim} "$1" ;; esac
    printf '%s\\n' "$1"
}}
program=$0
. "$program"
"""
"""Who owns the collector's directory puts a link in the place of what is made in it, as soon as it is there."""


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_link_that_the_directory_s_owner_puts_in_place_is_not_followed(kind: str, tmp_path: Path) -> None:
    here = host(tmp_path)
    here.write()
    folder = tmp_path / "victim"
    folder.mkdir(mode=0o755)
    (folder / "metrics").write_text("precious\n")
    (folder / "metrics").chmod(0o600)
    victim = folder / "metrics" if kind == "file" else folder
    run = here.run("unshare", "--mount", before=SWAP.format(directory=here.textfile.parent, victim=victim))
    assert (run.status, (folder / "metrics").read_text()) == (1, "precious\n")
    assert (folder / "metrics").stat().st_mode & 0o777 == 0o600
    assert [one.name for one in folder.iterdir()] == ["metrics"]
    assert f"error self_check {here.textfile}: can't be written" in run.said.splitlines()
    assert list(here.textfile.parent.iterdir()) == []


def test_the_metrics_are_there_whole_or_not_at_all(tmp_path: Path) -> None:
    here = host(tmp_path, Search("egress", "x", "say a '' x"))
    for _ in range(2):
        assert here.run().status == 2
    assert [one.name for one in here.textfile.parent.iterdir()] == ["self.prom"]


def test_a_line_that_would_end_a_question_is_refused() -> None:
    with pytest.raises(BulkheadError, match="holds the line END_OF_QUESTION"):
        description.program(legacy_host(), [Search("x", "x", "echo 1\nEND_OF_QUESTION\nrm -rf /")])


@as_root
def test_busybox_runs_it_too(tmp_path: Path, hello: Path) -> None:
    busybox = fetch.from_debian("bookworm", "busybox", "busybox").path
    shutil.copy(busybox, tmp_path / "busybox")
    shell = Path("/bin/sh").resolve()
    checks: list[Check] = [
        file(hello, "0" * 64),
        # It is the other shell that answers.
        Pin("egress", "which", f"cmp -s /proc/$$/exe {tmp_path}/busybox && echo busybox", "dash"),
        Search("gVisor", "said", "say 'a  b' '' x warning"),
    ]
    run = host(tmp_path, *checks).run("unshare", "--mount", before=f"mount --bind {tmp_path}/busybox {shell}")
    assert run.errors == ""
    assert run.status == 2
    assert run.found == ["critical egress which", f"critical hardening {hello}", "warning gVisor a  b"]
    assert run.value("findings", severity="critical", capability="egress") == 1
