"""The running dockerd's own word, and whether the runtimes are in effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.look import Command, File, Look
from bulkhead.runtime import Runtime
from bulkhead.templates import render
from deploys.docker.decision import _refuse_command_line, evidence, in_effect, traces
from deploys.docker.facts import LEDGER, FoundDocker, found, needs
from tests.unit.docker.cases import CRUN_VM, ENTRIES, KATA, POOL, STRICT
from tests.unit.helpers import RUNSC, gvisor_host, outputs, sh

STATUS = {"status": {"org.opencontainers.runtime-spec.features": '{"ociVersionMin":"1.0.0"}'}}
INFO: dict[str, Any] = {
    "ContainersRunning": 3,
    "Runtimes": {
        "crun-vm": ENTRIES["crun-vm"],
        "io.containerd.runc.v2": {"path": "runc", **STATUS},
        "kata": {**STATUS},
        "runc": {"path": "runc", **STATUS},
        "runsc": {**ENTRIES["runsc"], **STATUS},
        "runsc-strict": ENTRIES["runsc-strict"],
    },
    "DefaultRuntime": "runsc",
    "LiveRestoreEnabled": False,
}
VERSION = "Docker version 26.1.5+dfsg1, build a72d7cd\n"


def answered(info: str | bytes = "{}", *, version: str = VERSION, arguments: str = "", **statuses: int) -> Look:
    said = {"docker.installed": version, "docker.info": info, "docker.arguments": arguments}
    return outputs(said, **statuses)


def test_what_is_asked_of_a_host() -> None:
    wanted = needs(gvisor_host(docker={"config_file": "/srv/docker.json"}))
    assert [need.path for need in wanted if isinstance(need, File)] == ["/srv/docker.json", LEDGER]
    assert {need.name for need in wanted if isinstance(need, Command)} == {
        *("host.architecture", "docker.info", "docker.installed", "docker.arguments")
    }


def test_a_daemon_that_runs() -> None:
    there = found(answered(json.dumps(INFO), arguments="/usr/sbin/dockerd\n-H\nfd://\n"))
    assert (there.running, there.default_runtime) == (True, "runsc")
    assert there.runtimes["crun-vm"] == {"path": "/usr/bin/crun-vm"}
    assert there.arguments == ("-H", "fd://")
    assert there.config_file is None
    assert there.info == json.dumps(INFO)


@pytest.mark.parametrize(
    ("version", "read"),
    [
        ("Docker version 20.10.24+dfsg1, build 297e128\n", (20, 10)),
        (VERSION, (26, 1)),
        ("Docker version 29.0.0-rc.1, build abc1.2.3\n", (29, 0)),
    ],
)
def test_the_version_of_the_program(version: str, read: tuple[int, int]) -> None:
    assert found(answered(version=version)).version == read


@pytest.mark.parametrize(
    ("info", "status"),
    [
        ("", 7),
        ("{", 0),
        ("<html>", 0),
        ("[]", 0),
        ("null", 0),
        ('"Runtimes"', 0),
        (json.dumps(INFO), 28),
        ('{"message": "denied"}', 0),
        (b"\xff\xfe", 0),
    ],
)
def test_a_daemon_that_does_not_answer(info: str | bytes, status: int) -> None:
    there = found(answered(info, docker_info=status))
    assert (there.running, there.runtimes, there.default_runtime, there.version) == (False, {}, None, (26, 1))
    assert not in_effect(there, [], None, [])


@pytest.mark.parametrize(("version", "status"), [("", 127), (VERSION, 1), ("no version here\n", 0)])
def test_a_host_without_docker(version: str, status: int) -> None:
    with pytest.raises(BulkheadError) as error:
        found(answered(version=version, docker_installed=status))
    assert error.value.message == "the inventory's engines name docker, but the host has no dockerd"
    assert error.value.hint == "Install Docker on it, or take docker out of engines."


def test_a_host_without_curl() -> None:
    with pytest.raises(BulkheadError) as error:
        found(answered("", docker_info=127))
    assert error.value.message == "the host has no curl"


# The command line


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ("dockerd\n", None),
        ("dockerd\n--config-file=/srv/docker.json\n-D\n", "/srv/docker.json"),
        ("dockerd\n-D\n--config-file\n/srv/docker.json\n", "/srv/docker.json"),
        ("dockerd\n--config-file\n", ""),
        ("--config-file\n/not/an/argument\n", None),
    ],
)
def test_the_file_that_the_command_line_names(arguments: str, path: str | None) -> None:
    assert found(answered(arguments=arguments)).config_file == path


def started(*arguments: str) -> FoundDocker:
    return FoundDocker(running=True, arguments=arguments)


def test_a_daemon_that_reads_another_file_is_refused() -> None:
    with pytest.raises(BulkheadError) as error:
        _refuse_command_line(started("--config-file=/srv/docker.json"), "/etc/docker/daemon.json", {})
    assert error.value.message == "dockerd reads /srv/docker.json (--config-file), not /etc/docker/daemon.json"
    assert error.value.hint == "Set docker.config_file = '/srv/docker.json' in the inventory."
    _refuse_command_line(started("--config-file", "/srv/docker.json"), "/srv/docker.json", {"runtimes": {}})
    _refuse_command_line(started(), "/etc/docker/daemon.json", {"runtimes": {}})


def test_a_flag_that_says_what_the_file_would_say_is_refused() -> None:
    flags = started("--add-runtime=crun=/usr/bin/crun", "--default-runtime", "crun")
    _refuse_command_line(flags, "/etc/docker/daemon.json", {"debug": True})
    with pytest.raises(BulkheadError) as error:
        _refuse_command_line(flags, "/etc/docker/daemon.json", {"runtimes": {}, "default-runtime": "runsc"})
    assert error.value.message == (
        "dockerd is started with --add-runtime, --default-runtime, which /etc/docker/daemon.json would say too: "
        "it would not start again"
    )
    assert error.value.hint == "Take the flag out of its unit (systemctl cat docker.service)."


# In effect


def effective(
    runtimes: tuple[Runtime, ...] = POOL, default: str | None = "runsc", gone: tuple[str, ...] = (), **changed: Any
) -> bool:
    return in_effect(found(answered(json.dumps({**INFO, **changed}))), runtimes, default, gone)


def live(name: str, **changed: Any) -> dict[str, Any]:
    return {"Runtimes": {**INFO["Runtimes"], name: {**INFO["Runtimes"][name], **changed}}}


def test_runtimes_that_are_in_effect() -> None:
    assert effective()
    assert effective((), None)
    assert effective((KATA,), None, ("youki",))
    # 20.10 and 23 leave out what is empty, later ones print it.
    assert effective(**live("runsc", options=None, runtimeType=""))
    # Of a runtime that is a shim 26.1 tells the name alone.
    assert effective(**live("kata", path="", runtimeArgs=None, runtimeType="io.containerd.kata.v2"))
    assert effective(Runtimes={**INFO["Runtimes"], "kata": {}})


@pytest.mark.parametrize(
    "changed",
    [
        {"DefaultRuntime": "runc"},
        {"DefaultRuntime": None},
        {"Runtimes": None},
        {"Runtimes": {"runc": {"path": "runc"}}},
        live("runsc", path="/usr/bin/runsc"),
        live("runsc", runtimeArgs=["--network=host"]),
        live("runsc", runtimeArgs=None),
        live("runsc", options={"a": 1}),
        {"Runtimes": {name: value for name, value in INFO["Runtimes"].items() if name != "kata"}},
        live("crun-vm", runtimeArgs=["--debug"]),
    ],
)
def test_runtimes_that_are_not_in_effect(changed: dict[str, Any]) -> None:
    assert not effective(**changed)


def test_what_has_to_go_is_not_in_effect_any_more() -> None:
    assert not effective((RUNSC,), "runsc", ("kata",))
    assert not effective((), None, ("kata", "runsc"))
    assert not effective((), None, ("youki",), DefaultRuntime="youki")


# What a script on the host looks for in the daemon's answer, as Go prints it


def printed(**changed: Any) -> str:
    return json.dumps({**INFO, **changed}, separators=(",", ":"), ensure_ascii=False)


def test_the_evidence_is_what_the_daemon_prints() -> None:
    pieces = evidence([RUNSC, STRICT, KATA, CRUN_VM], "runsc")
    assert pieces == [
        '"runsc":{"path":"/usr/local/bin/runsc","runtimeArgs":["--network=sandbox"]',
        '"runsc-strict":{"path":"/usr/local/bin/runsc","runtimeArgs":["--platform=kvm","--größe=<&>"]',
        '"kata":{',
        '"crun-vm":{"path":"/usr/bin/crun-vm"',
        '"DefaultRuntime":"runsc"',
    ]
    assert [piece for piece in pieces if piece not in printed()] == []
    assert evidence([], None) == []


def test_traces_of_what_has_to_be_forgotten() -> None:
    assert traces([], ["kata", "runsc"], "runsc", None) == ['"kata":{', '"runsc":{', '"DefaultRuntime":"runsc"']
    assert traces([], [], "runsc", "crun") == ['"DefaultRuntime":"runsc"']
    # The beginning of an entry without arguments is that of one with arguments too.
    assert traces(POOL, [], None, None) == ['"crun-vm":{"path":"/usr/bin/crun-vm","runtimeArgs"']
    assert traces([], [], "runsc", "runsc") == traces([], [], None, "runsc") == traces([], [], None, None) == []


@pytest.mark.parametrize(
    ("changed", "pieces", "absent", "expected"),
    [
        ({}, evidence(POOL, "runsc"), [], True),
        ({}, evidence(POOL, "runc"), [], False),
        ({}, evidence([], None), traces([], ["runsc"], None, None), False),
        ({}, evidence([], None), traces([], ["youki"], "youki", None), True),
        ({}, evidence([KATA], None), traces([], [], "runsc", None), False),
        ({"DefaultRuntime": "runc"}, evidence([KATA], None), traces([], [], "runsc", None), True),
        ({"Runtimes": {}}, evidence([KATA], None), [], False),
        ({}, evidence([CRUN_VM], None), traces([CRUN_VM], [], None, None), True),
        (live("crun-vm", runtimeArgs=["--a"]), evidence([CRUN_VM], None), traces([CRUN_VM], [], None, None), False),
    ],
)
def test_a_shell_sees_it_too(
    tmp_path: Path, changed: dict[str, Any], pieces: list[str], absent: list[str], expected: bool
) -> None:
    (tmp_path / "info").write_text(printed(**changed) + "\n")
    script = render("docker/live.sh.j2", info=f"cat {tmp_path}/info", evidence=pieces, absent=absent)
    assert (sh(script + "\nin_effect").returncode == 0) is expected
    assert sh(script.replace("/info", "/gone") + "\nin_effect").returncode == 1
