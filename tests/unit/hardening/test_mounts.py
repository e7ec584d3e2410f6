"""Options of mounts, given by the unit's own commands in a mount namespace of the test's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bulkhead.look import Look
from deploys.hardening import mounts
from tests.unit.hardening.cases import apart, in_namespaces, look, stub, with_stubs

ALL = "nodev,nosuid,noexec"
VALUES = {"/tmp": ALL, "/dev/shm": ALL}
RIGHT = f"tmpfs /tmp tmpfs rw,{ALL} 0 0\ntmpfs /dev/shm tmpfs rw,nosuid,nodev,noexec,size=1k 0 0"


def files() -> dict[str, str | None]:
    return {mounts.PATH: mounts.unit(VALUES), mounts.APT: mounts.apt(VALUES)}


def test_nothing_to_do_is_no_script() -> None:
    assert mounts.plan(VALUES, look(files(), mounts=RIGHT, mounts_unit="enabled")).script is None


@pytest.mark.parametrize(
    ("there", "unit", "line"),
    [
        (RIGHT.replace(",noexec 0", " 0"), "enabled", "~ /tmp: noexec"),
        (RIGHT.splitlines()[1], "enabled", "~ /tmp: nodev,nosuid,noexec"),
        (f"{RIGHT}\ntmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0", "enabled", "~ /dev/shm: noexec"),
        (RIGHT, "disabled", "~ bulkhead-mounts.service is enabled"),
    ],
)
def test_what_is_not_in_force_is_mended(there: str, unit: str, line: str) -> None:
    plan = mounts.plan(VALUES, look(files(), mounts=there, mounts_unit=unit))
    assert plan.lines == (line,)
    assert plan.script


def test_where_no_mount_is_ours_there_is_no_unit() -> None:
    """systemd refuses one that has nothing to start."""
    seen = look(files(), mounts=RIGHT, mounts_unit="enabled")
    plan = mounts.plan({}, seen)
    assert plan.change
    assert {write.path: write.content for write in plan.change.writes} == {mounts.PATH: None, mounts.APT: None}
    assert "rm -f /etc/systemd/system/sysinit.target.wants/bulkhead-mounts.service" in plan.change.activate
    assert "systemctl --quiet enable bulkhead-mounts.service" in plan.change.restore
    assert "restart" not in plan.change.activate
    assert mounts.plan({}, look(mounts=RIGHT)).script is None


def test_apt_does_not_run_programs_in_a_tmp_without_them() -> None:
    read = subprocess.run(
        ["apt-config", "-c", "/dev/stdin", "dump", "APT::ExtractTemplates"],
        input=mounts.apt(VALUES),
        capture_output=True,
        text=True,
    )
    assert 'APT::ExtractTemplates::TempDir "/var/cache/debconf";' in read.stdout
    assert mounts.apt({"/tmp": "nodev,nosuid"}) is None


def test_only_the_mount_gets_options_never_the_file_system_below() -> None:
    """Without `bind` a /tmp that is a mount of itself would hand them to the root file system."""
    lines = [line for line in mounts.unit(VALUES).splitlines() if "remount" in line]
    assert [line.partition("=")[2] for line in lines] == [
        f"/bin/mount -o remount,bind,{ALL} /tmp",
        f"/bin/mount -o remount,bind,{ALL} /dev/shm",
    ]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    path = tmp_path / mounts.UNIT
    path.write_text(mounts.unit(VALUES))
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
    assert mounts.UNIT not in result.stderr, result.stderr


# Real mounts. systemctl is a stub that runs what the unit says when it is started.

START = """
[ "$1" = restart ] || exit 0
sed -n 's/^ExecStart=//p' {unit} | while read -r line; do eval "$line" || exit 1; done
"""


def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A directory that is no mount, as many a /tmp, and one that is, as /dev/shm."""
    plain, shared = tmp_path / "tmp", tmp_path / "shm"
    for folder in (plain, shared):
        folder.mkdir()
    (plain / "file").write_text("#!/bin/sh\necho ran\n")
    (plain / "file").chmod(0o755)
    monkeypatch.setattr(mounts, "PATH", str(tmp_path / "unit" / mounts.UNIT))
    monkeypatch.setattr(mounts, "APT", str(tmp_path / "apt"))
    monkeypatch.setattr("bulkhead.put.PATH", with_stubs(tmp_path / "bin"))
    stub(tmp_path / "bin", "systemctl", START.format(unit=mounts.PATH))
    return plain, shared


def planned(values: dict[str, str], there: str) -> str:
    seen = look(mounts=there)
    plan = mounts.plan(values, Look({mounts.PATH: None, mounts.APT: None}, seen.outputs))
    assert plan.script
    return plan.script


@in_namespaces
def test_nothing_is_run_any_more_and_no_file_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, shared = world(tmp_path, monkeypatch)
    script = planned({str(plain): ALL, str(shared): ALL}, f"tmpfs {shared} tmpfs rw,nosuid,nodev 0 0")
    script = script.replace(
        "main </dev/null",
        f"( main ) </dev/null; echo $?; cat {plain}/file; {plain}/file; echo $?; "
        f"findmnt -no VFS-OPTIONS {plain}; findmnt -no VFS-OPTIONS {shared}; findmnt -no FSTYPE {shared}",
    )
    result = apart(script, "--mount", before=f"mount -t tmpfs -o nosuid,nodev,noatime,size=1m tmpfs {shared}")
    status, shebang, echo, ran, one, other, kind = result.stdout.splitlines()
    assert (status, shebang, echo, ran) == ("0", "#!/bin/sh", "echo ran", "126"), result.stderr
    assert {"nodev", "nosuid", "noexec"} <= set(one.split(","))
    assert {"nodev", "nosuid", "noexec", "noatime"} <= set(other.split(","))
    assert kind == "tmpfs"


@in_namespaces
def test_when_one_can_t_be_had_the_others_are_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, shared = world(tmp_path, monkeypatch)
    values = {str(plain): ALL, str(shared): ALL, str(tmp_path / "gone"): ALL}
    script = planned(values, f"tmpfs {shared} tmpfs rw,nosuid 0 0").replace(
        "main </dev/null",
        f"( main ) </dev/null; echo $?; {plain}/file; mountpoint -q {plain}; echo $?; findmnt -no VFS-OPTIONS {shared}",
    )
    result = apart(script, "--mount", before=f"mount -t tmpfs -o nosuid tmpfs {shared}")
    status, ran, mountpoint, options = result.stdout.splitlines()
    assert (status, ran) == ("1", "ran"), result.stderr
    assert mountpoint != "0"
    assert "nosuid" in options
    assert not {"noexec", "nodev"} & set(options.split(","))
    assert not (tmp_path / "unit" / mounts.UNIT).exists()
