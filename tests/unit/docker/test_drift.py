"""A Docker as a deploy leaves it drifts in nothing, on both kinds of host, and each tamper is its own finding."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bulkhead.capability import needs_of, runtimes_of
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Look, Output
from bulkhead.registration import Ledger
from deploys.docker import agents_slice, daemon, drift
from deploys.docker.drift import watches
from deploys.docker.facts import LEDGER
from tests.unit.docker.test_hardened import INFO, PATH, settled
from tests.unit.helpers import answered, compared, gvisor_host, legacy_host, own, unit

LEGACY = legacy_host()
GVISOR = gvisor_host(engines=["docker"])
SLICE = "bulkhead-agents.slice"
UNITS = f"{unit('docker.service')}\n{unit('docker.socket')}\n"
STATE = (
    f"LoadState=loaded\nNeedDaemonReload=no\nControlGroup=/bulkhead.slice/{SLICE}\nMemoryMax=4096\n"
    "MemorySwapMax=0\nmemory.swap.max=0\n"
    "memory.max=4096\ncpu.max=360000 100000\npids.max=8192\n4\n"
)


def legacy(**how: Any) -> Look:
    """A look at a host of legacy agents as a deploy leaves it."""
    look = settled(**how)
    said = {"Docker.watched": f"{UNITS}{unit(SLICE)}\n---\n", "docker.containers": "", "docker.slice": STATE}
    return replace(look, outputs={**look.outputs, **{name: Output(0, one.encode(), b"") for name, one in said.items()}})


def gvisor_info(host: InventoryHost) -> dict[str, Any]:
    live: dict[str, Any] = {runtime.name: daemon.entry(runtime) for runtime in runtimes_of(host, "docker")}
    return {"Runtimes": {"runc": {"path": "runc"}, **live}, "DefaultRuntime": "runsc"}


def gvisor(host: InventoryHost = GVISOR, text: str = '{"registry-mirrors": ["https://me:hunter2@mirror"]}') -> Look:
    """A look at a gVisor host as a deploy leaves it, with a file of the user's."""
    merged, record = daemon.merge(text, runtimes_of(host, "docker"), "runsc")
    assert merged
    ledger = Ledger(files={PATH: record}).dump()
    assert ledger
    return answered(
        [*needs_of(host), *watches(host)],
        {PATH: merged, LEDGER: own(ledger, 0o600)},
        {
            "docker.info": json.dumps(gvisor_info(host)),
            "docker.installed": "Docker version 26.1.5+dfsg1, build a72d7cd\n",
            "docker.arguments": "/usr/sbin/dockerd\n",
            "Docker.watched": f"{UNITS}\n---\n",
            "gvisor.host": "x86_64\n",
        },
    )


def findings(look: Look, host: InventoryHost) -> list[tuple[str, str, str, str]]:
    found = compared(drift.drift, host, look, "Docker")
    assert "hunter2" not in str(found)
    assert all(one.capability == "Docker" and one.mend for one in found)
    return [(one.subject, one.expected, one.actual, one.severity) for one in found]


def said(look: Look, name: str, answer: str | Output) -> Look:
    assert name in look.outputs
    output = answer if isinstance(answer, Output) else Output(0, answer.encode(), b"")
    return replace(look, outputs={**look.outputs, name: output})


def info(look: Look, change: Callable[[dict[str, Any]], object]) -> Look:
    told = json.loads(look.outputs["docker.info"].stdout)
    change(told)
    return said(look, "docker.info", json.dumps(told, separators=(",", ":")))


def document(look: Look, change: Callable[[dict[str, Any]], object]) -> Look:
    found = look.files[PATH]
    assert found
    meaning = json.loads(found.content)
    change(meaning)
    return replace(look, files={**look.files, PATH: replace(found, content=json.dumps(meaning).encode())})


def test_as_a_deploy_leaves_it() -> None:
    assert findings(legacy(), LEGACY) == []
    assert findings(gvisor(), GVISOR) == []


RUNTIME = f"{PATH}: runtimes.runsc"


def test_arguments_changed_in_the_file_only() -> None:
    def change(meaning: dict[str, Any]) -> None:
        meaning["runtimes"]["runsc"]["runtimeArgs"] = ["--network=host"]

    ((subject, expected, actual, severity),) = findings(document(gvisor(), change), GVISOR)
    assert (subject, actual, severity) == (f"{RUNTIME}.runtimeArgs", '["--network=host"]', "critical")
    assert '"--network=sandbox"' in expected


def test_arguments_changed_in_the_daemon_only() -> None:
    def change(told: dict[str, Any]) -> None:
        told["Runtimes"]["runsc"]["runtimeArgs"] = ["--network=host"]

    ((subject, expected, actual, severity),) = findings(info(gvisor(), change), GVISOR)
    assert (subject, severity) == ("docker runtime runsc", "critical")
    assert json.loads(actual) == {"path": "/usr/local/bin/runsc", "runtimeArgs": ["--network=host"]}
    assert "--network=sandbox" in json.loads(expected)["runtimeArgs"]


def test_the_default_runtime() -> None:
    assert findings(info(gvisor(), lambda told: told.update(DefaultRuntime="runc")), GVISOR) == [
        ("docker default runtime", "runsc", "runc", "critical")
    ]
    changed = document(gvisor(), lambda meaning: meaning.update({"default-runtime": "runc"}))
    assert findings(changed, GVISOR) == [(f"{PATH}: default-runtime", '"runsc"', '"runc"', "critical")]


@pytest.mark.parametrize(("look", "host"), [(gvisor(), GVISOR), (legacy(), LEGACY)])
def test_another_runtime(look: Look, host: InventoryHost) -> None:
    changed = info(
        look, lambda told: told["Runtimes"].update({"evil": {"path": "/tmp/x"}, "io.containerd.runc.v2": {}})
    )
    assert findings(changed, host) == [("docker runtime evil", "", "/tmp/x", "critical")]


def test_a_runtime_that_the_inventory_describes() -> None:
    kata = {"kata": {"runtime_type": "io.containerd.kata.v2"}}
    host = gvisor_host(engines=["docker"], runtimes=kata)
    assert findings(gvisor(host), host) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"icc": True}, (f"{PATH}: icc", "false", "true")),
        ({"userns-remap": ""}, (f"{PATH}: userns-remap", '"default"', '""')),
        (
            {"log-opts": {"max-size": "10m", "max-file": "5", "token": "hunter2"}},
            (f"{PATH}: log-opts.token", "", "(withheld)"),
        ),
    ],
)
def test_options_changed_in_the_file(change: dict[str, Any], expected: tuple[str, str, str]) -> None:
    changed = document(legacy(started=99), lambda meaning: meaning.update(change))
    assert findings(changed, LEGACY) == [(*expected, "critical")]


def test_options_changed_in_the_daemon() -> None:
    changed = info(legacy(), lambda told: told.update(LiveRestoreEnabled=False))
    assert findings(changed, LEGACY) == [
        ("docker option live-restore", "true", "not in effect in the daemon", "critical")
    ]
    assert findings(said(legacy(), "docker.bridge", "{}"), LEGACY) == [
        ("docker option icc", "false", "not in effect in the daemon", "critical")
    ]
    assert findings(legacy(started=99), LEGACY) == [
        ("docker options", f"those of {PATH}", "the daemon started before they were written there", "critical")
    ]


def test_a_daemon_without_seccomp() -> None:
    without = [one for one in INFO["SecurityOptions"] if "seccomp" not in one]
    assert findings(info(legacy(), lambda told: told.update(SecurityOptions=without)), LEGACY) == [
        ("docker seccomp", "containers are confined", "they are not", "critical")
    ]


def test_what_a_deploy_refuses_hides_nothing() -> None:
    look = said(legacy(), "docker.arguments", "/usr/sbin/dockerd\n-H\ntcp://127.0.0.1:2375\n")
    look = said(look, "docker.containers", 'container\n"Id":"a"\n"Name":"/a"\n"Runtime":"runc"\n"Privileged":true\n')
    refused, container = findings(look, LEGACY)
    assert refused[0] == "docker daemon"
    assert refused[2].startswith("docker says tcp://127.0.0.1:2375 (--host in its arguments)")
    assert container == ("container a: privileged", "no", "yes", "critical")


def test_files_gone_and_loosened() -> None:
    look = gvisor()
    found, record = look.files[PATH], look.files[LEDGER]
    assert found
    assert record
    gone = replace(look, files={**look.files, PATH: None})
    assert findings(gone, GVISOR) == [(PATH, "the file with our settings in it", "", "critical")]
    loose = replace(look, files={**look.files, PATH: replace(found, mode=0o666)})
    assert findings(loose, GVISOR) == [
        (f"{PATH}: mode", "root's, and no others can write to it", "root:root 0666", "critical")
    ]
    altered = record.content.replace(b'"created": false', b'"created": true')
    assert altered != record.content
    tampered = replace(look, files={**look.files, LEDGER: replace(record, content=altered)})
    assert findings(tampered, GVISOR) == [(LEDGER, "what Bulkhead noted", "something else", "warning")]


def test_a_daemon_that_does_not_run_or_does_not_answer() -> None:
    silent = said(gvisor(), "docker.info", Output(7, b"", b""))
    assert findings(silent, GVISOR) == [("docker daemon", "answers", "does not answer", "critical")]
    stopped = said(silent, "Docker.watched", f"{unit('docker.service', 'inactive')}\n---\n")
    assert findings(stopped, GVISOR) == [("unit docker.service", "active", "inactive", "critical")]


def test_a_socket_that_somebody_opened() -> None:
    path = "/etc/systemd/system/docker.socket.d/x.conf"
    watched = (
        f"{unit('docker.service')}\n{unit('docker.socket', DropInPaths=path)}\n---\ndrop-in\t{path}\tListenStream \n"
    )
    assert findings(said(gvisor(), "Docker.watched", watched), GVISOR) == [
        (f"unit docker.socket: drop-in {path}", "", "sets ListenStream", "critical")
    ]


def test_a_host_that_does_not_tell_of_its_containers_is_never_clean() -> None:
    for output in (Output(1, b"", b"curl: (28) timed out"), Output(127, b"", b"")):
        with pytest.raises(BulkheadError, match="does not tell what containers run"):
            findings(said(gvisor(), "docker.containers", output), GVISOR)


# The slice


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("memory.max=4096", "memory.max=max", (f"{SLICE}: memory.max", "4096", "max")),
        ("memory.swap.max=0", "memory.swap.max=max", (f"{SLICE}: memory.swap.max", "0", "max")),
        ("memory.max=4096", "memory.max=8192", (f"{SLICE}: memory.max", "4096", "8192")),
        ("pids.max=8192", "pids.max=9000", (f"{SLICE}: pids.max", "8192", "9000")),
        ("cpu.max=360000", "cpu.max=max", (f"{SLICE}: cpu.max", "a quota", "max 100000")),
    ],
)
def test_limits_that_the_kernel_has_otherwise(old: str, new: str, expected: tuple[str, str, str]) -> None:
    assert findings(said(legacy(), "docker.slice", STATE.replace(old, new)), LEGACY) == [(*expected, "critical")]


def test_a_slice_without_containers_has_no_limits_to_see() -> None:
    assert findings(said(legacy(), "docker.slice", STATE.partition("memory.max")[0] + "4\n"), LEGACY) == []


def test_the_slice_s_file() -> None:
    look = legacy()
    found = look.files[agents_slice.PATH]
    assert found
    changed = replace(found, content=found.content.replace(b"TasksMax=8192", b"TasksMax=infinity"))
    ((subject, expected, actual, _),) = findings(
        replace(look, files={**look.files, agents_slice.PATH: changed}), LEGACY
    )
    assert (subject, expected.replace("=8192", "=infinity")) == (agents_slice.PATH, actual)
    path = f"/run/systemd/system.control/{SLICE}.d/50-TasksMax.conf"
    watched = f"{UNITS}{unit(SLICE, DropInPaths=path)}\n---\n"
    assert findings(said(look, "Docker.watched", watched), LEGACY) == [
        (f"unit {SLICE}: drop-in {path}", "", "a file", "critical")
    ]
    assert findings(said(look, "docker.slice", "LoadState=loaded\nNeedDaemonReload=yes\n4\n"), LEGACY) == [
        (f"unit {SLICE}", "as its file says", "not read again since it was changed", "critical")
    ]


def test_a_slice_that_is_left_over() -> None:
    host = legacy_host(docker={"options": {"cgroup-parent": {"value": None, "reason": "a test"}}})
    look = document(legacy(started=101), lambda meaning: meaning.pop("cgroup-parent"))
    assert (agents_slice.PATH, "", "a slice into which no agents are put", "warning") in findings(look, host)


# Containers


def container(runtime: str = "runsc", *lines: str) -> str:
    return "\n".join(["container", '"Id":"a"', '"Name":"/a"', f'"Runtime":"{runtime}"', *lines]) + "\n"


@pytest.mark.parametrize(
    ("look", "host", "runtime", "expected"),
    [
        (gvisor(), GVISOR, "runsc", []),
        (gvisor(), GVISOR, "runc", [("container a: runtime", "runsc", "runc")]),
        (legacy(), LEGACY, "runc", []),
        (legacy(), LEGACY, "runsc", [("container a: runtime", "io.containerd.runc.v2 or runc", "runsc")]),
    ],
)
def test_the_runtime_of_its_tier(look: Look, host: InventoryHost, runtime: str, expected: list[Any]) -> None:
    found = findings(said(look, "docker.containers", container(runtime)), host)
    assert [(subject, wanted, actual) for subject, wanted, actual, _ in found] == expected


def test_where_the_operator_made_runc_the_default_it_may_run() -> None:
    host = gvisor_host(engines=["docker"], docker={"default_runtime": "runc"})
    look = document(gvisor(host), lambda meaning: meaning.update({"default-runtime": "runc"}))
    look = info(look, lambda told: told.update(DefaultRuntime="runc"))
    found = [subject for subject, *_ in findings(said(look, "docker.containers", container("runc")), host)]
    assert "container a: runtime" not in found
    foreign = [subject for subject, *_ in findings(said(look, "docker.containers", container("evil")), host)]
    assert "container a: runtime" in foreign


def test_a_container_outside_of_the_slice() -> None:
    told = container("runc", '"CgroupParent":"system.slice"')
    assert findings(said(legacy(), "docker.containers", told), LEGACY) == [
        ("container a: cgroup", SLICE, "system.slice", "critical")
    ]
