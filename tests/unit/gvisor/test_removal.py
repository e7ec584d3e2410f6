"""gVisor goes: all that is ours and nothing else, and not while sandboxes run. A real shell, files and processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulkhead import look, put
from bulkhead.errors import BulkheadError
from bulkhead.look import Command, Look
from bulkhead.registration import ledger_path
from deploys.gvisor import facts, removal
from deploys.gvisor.release import PACKAGE, Plan
from deploys.gvisor.removal import FoundRemains
from deploys.gvisor.settings import GvisorSettings
from tests.unit.helpers import gvisor_host, looked, outputs, sh

ABSENT = GvisorSettings(state="absent")
PACKAGED = GvisorSettings(state="absent", source="distribution")


class Host:
    """A host's directories in the test's own, with stand-ins for Debian's tools that keep what is installed."""

    def __init__(self, path: Path) -> None:
        self.root, self.bin, self.package = path / "opt" / "gvisor", path / "usr bin", path / "installed"
        self.tools, self.log, self.processes = path / "tools", path / "log", path / "proc"
        self.links = {
            str(self.bin / name): str(self.root / "current" / name) for name in ("runsc", "containerd-shim-runsc-v1")
        }
        for folder in (self.root.parent, self.bin, self.tools, self.processes):
            folder.mkdir(parents=True)
        (self.processes / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
        self.tool("dpkg-query", f'[ ! -e {self.package} ] || printf installed; [ "$4" = {PACKAGE} ]')
        self.tool("apt-get", f'echo "$DEBIAN_FRONTEND $*" >>{self.log}; rm {self.package}')

    def tool(self, name: str, script: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.tools / name).chmod(0o755)

    def install(self) -> None:
        """As `install.sh` leaves it, with one program that had been there before."""
        release = self.root / "20260817.0"
        release.mkdir(parents=True)
        (self.root / "current").symlink_to(release.name)
        for path, target in self.links.items():
            (release / Path(path).name).write_bytes(b"program")
            Path(path).symlink_to(target)
        (self.bin / "runsc~bulkhead").write_bytes(b"built at home")
        (self.bin / "runsc~bulkhead").chmod(0o755)
        (self.bin / "other").write_bytes(b"other")

    def on_it(self, script: str) -> str:
        """`script` as on this host: of all processes it sees those that `process` started."""
        return script.replace("/proc/", f"{self.processes}/")

    @contextmanager
    def process(self, *arguments: str) -> Iterator[None]:
        """A real process whose name is the first of its `arguments`; it lives until the end of the block."""
        name, *others = arguments
        started = subprocess.Popen(
            [name, "-c", "echo up; read line", *others],
            executable="/bin/sh",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert started.stdout is not None
        assert started.stdout.readline() == b"up\n"
        (self.processes / str(started.pid)).symlink_to(f"/proc/{started.pid}")
        try:
            yield
        finally:
            started.communicate(b"\n", timeout=10)

    def found(self, settings: GvisorSettings = ABSENT) -> FoundRemains:
        needs = [
            Command(need.name, self.on_it(need.script)) for need in facts.needs(settings) if isinstance(need, Command)
        ]
        return removal.found(looked(*needs))

    def plan(self, settings: GvisorSettings = ABSENT, *, allow_running: bool = False) -> Plan:
        plan = removal.plan(self.found(settings), allow_running=allow_running)
        return Plan(plan.title, plan.lines, None if plan.script is None else self.on_it(plan.script))

    def names(self) -> list[str]:
        return sorted(path.name for path in self.bin.iterdir())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    for module in (facts, removal):
        monkeypatch.setattr(module, "ROOT", str(host.root))
        monkeypatch.setattr(module, "LINKS", host.links)
    monkeypatch.setattr(look, "PATH", f"{host.tools}:{look.PATH}")
    monkeypatch.setattr(put, "PATH", look.PATH)
    return host


def run(plan: Plan) -> tuple[int, str]:
    assert plan.script is not None
    result = sh(plan.script)
    assert result.stdout == ""
    return result.returncode, result.stderr


# What is there


def test_a_host_that_gvisor_has_to_leave_is_asked_for_what_is_there_of_it() -> None:
    for settings in (ABSENT, PACKAGED):
        assert [need.name for need in facts.needs(settings) if isinstance(need, Command)] == [
            *("gvisor.remains", "gvisor.running")
        ]
    names = [need.name for need in facts.needs(GvisorSettings(release="20260817.0")) if isinstance(need, Command)]
    assert not {"gvisor.remains", "gvisor.running"} & set(names)


def test_a_host_without_gvisor(host: Host) -> None:
    assert host.found() == host.found(PACKAGED) == FoundRemains((), ())
    assert host.plan() == host.plan(PACKAGED) == Plan("runsc")


def test_links_and_files_of_ours_are_found(host: Host) -> None:
    host.install()
    assert host.found().paths == (*host.links, str(host.root))
    assert host.plan().lines == (*(f"- {path}" for path in host.links), f"- {host.root}")


def test_what_is_not_ours_is_none_of_our_remains(host: Host) -> None:
    (host.bin / "runsc").write_bytes(b"built at home")
    (host.bin / "containerd-shim-runsc-v1").symlink_to("/opt/other/containerd-shim-runsc-v1")
    host.root.write_bytes(b"a file")
    assert host.plan() == Plan("runsc")


def test_links_that_lead_nowhere_any_more_are_found(host: Host) -> None:
    for path, target in host.links.items():
        Path(path).symlink_to(target)
    assert host.found().paths == tuple(host.links)
    assert run(host.plan()) == (0, "")
    assert host.names() == []


def test_the_package_is_only_ours_where_the_inventory_names_it(host: Host) -> None:
    host.package.touch()
    assert host.found().paths == ()
    assert host.found(PACKAGED).paths == (f"package {PACKAGE}",)
    assert host.plan(PACKAGED).lines == ("- package runsc",)


# Sandboxes that run


def test_sandboxes_are_found_by_the_ids_of_their_containers(host: Host) -> None:
    with (
        host.process("runsc-sandbox", "--root=/run/docker", "boot", "b1c2"),
        host.process("runsc-sandbox", "--root=/run/k8s", "boot", "a0"),
        host.process("runsc-sandbox", "--root=/run/k8s", "boot", "a0"),
        host.process("runsc-gofer", "gofer", "c3"),
        host.process("sh", "runsc-sandbox"),
        host.process("runsc-sandbox-2", "d4"),
    ):
        assert host.found().running == ("a0", "b1c2")
    assert host.found().running == ()


def seen(running: str) -> Look:
    look = outputs({"gvisor.remains": "/opt/gvisor\n", "gvisor.running": running})
    look.files.update({ledger_path("containerd"): None, ledger_path("docker"): None})
    return look


def test_a_run_is_refused_before_the_engines_change_while_sandboxes_run() -> None:
    with pytest.raises(BulkheadError) as error:
        removal.refuse_while_needed(gvisor_host(gvisor={"state": "absent"}), seen("a0\nb1\n"))
    assert error.value.message == "gvisor.state is 'absent', but sandboxes run: a0, b1"
    assert error.value.hint == ("Stop them, or set allow_running = True in the inventory: they go on, out of reach.")
    removal.refuse_while_needed(gvisor_host(gvisor={"state": "absent"}), seen(""))
    removal.refuse_while_needed(gvisor_host(gvisor={"state": "absent"}, allow_running=True), seen("a0\n"))


def test_one_that_started_meanwhile_is_seen_too(host: Host) -> None:
    host.install()
    plan = host.plan()
    with host.process("runsc-sandbox", "boot", "late"):
        assert run(plan) == (1, "bulkhead: sandboxes run: late ; nothing was removed\n")
        assert host.found().paths == (*host.links, str(host.root))
        assert run(host.plan(allow_running=True)) == (0, "")
    assert host.found().paths == ()


# Taking it away


def test_all_of_ours_goes_and_what_had_been_there_comes_back(host: Host) -> None:
    host.install()
    assert run(host.plan()) == (0, "")
    assert host.names() == ["other", "runsc"]
    assert (host.bin / "runsc").read_bytes() == b"built at home"
    assert (host.bin / "runsc").stat().st_mode & 0o7777 == 0o755
    assert not host.root.exists()
    assert host.root.parent.exists()
    assert host.plan() == Plan("runsc")


def test_what_is_left_of_half_a_removal_goes(host: Host) -> None:
    host.install()
    for path in host.links:
        Path(path).unlink()
    assert host.found().paths == (str(host.root),)
    assert run(host.plan()) == (0, "")
    assert not host.root.exists()


def test_the_package_goes_with_apt(host: Host) -> None:
    host.install()
    host.package.touch()
    assert run(host.plan(PACKAGED)) == (0, "")
    assert host.log.read_text() == "noninteractive -qq -y remove runsc\n"
    assert host.plan(PACKAGED) == Plan("runsc")


def test_a_package_that_does_not_go_is_an_error(host: Host) -> None:
    host.package.touch()
    host.tool("apt-get", "echo 'E: dpkg was interrupted' >&2; exit 100")
    assert run(host.plan(PACKAGED)) == (1, "E: dpkg was interrupted\nbulkhead: cannot remove the package runsc\n")


def test_it_waits_for_the_host_s_lock(host: Host, own_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(put, "LOCK_WAIT", 0.1)
    host.install()
    holder = subprocess.Popen(["flock", own_lock, "sh", "-c", "echo held; read line"], stdin=-1, stdout=-1)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        assert run(host.plan())[0] == 1
    finally:
        holder.communicate(b"\n")
    assert host.found().paths == (*host.links, str(host.root))


def test_a_script_that_is_cut_off_removes_nothing(host: Host) -> None:
    host.install()
    script = host.plan().script
    assert script is not None
    for cut in range(0, script.index("\nmain </dev/null\n"), len(script) // 4):
        sh(script[:cut])
        assert host.found().paths == (*host.links, str(host.root))
