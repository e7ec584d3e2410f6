"""The running dockerd's own word, and whether the runtime is in effect."""

import json
from typing import Any

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.look import Look
from deploys.docker.deploy import evidence, in_effect
from deploys.docker.facts import FoundDocker, found
from tests.unit.helpers import RUNSC, outputs

LIVE = {"path": "/usr/local/bin/runsc", "runtimeArgs": ["--network=sandbox"]}
INFO = {
    "ContainersRunning": 3,
    "Runtimes": {"io.containerd.runc.v2": {"path": "runc"}, "runc": {"path": "runc"}, "runsc": LIVE},
    "DefaultRuntime": "runsc",
    "LiveRestoreEnabled": False,
}


def answered(info: str | bytes, **statuses: int) -> Look:
    return outputs({"docker.installed": "/usr/sbin/dockerd\n", "docker.info": info}, **statuses)


def test_a_daemon_that_runs() -> None:
    there = found(answered(json.dumps(INFO)))
    assert (there.running, there.default_runtime, there.runtimes["runsc"]) == (True, "runsc", LIVE)


@pytest.mark.parametrize(
    ("info", "status"), [("", 7), ("{", 0), ("<html>", 0), (json.dumps(INFO), 28), ('{"message": "denied"}', 0)]
)
def test_a_daemon_that_does_not_answer(info: str, status: int) -> None:
    assert found(answered(info, docker_info=status)) == FoundDocker(False, {}, None)


def test_a_host_without_docker() -> None:
    with pytest.raises(BulkheadError) as error:
        found(answered("", docker_installed=127))
    assert error.value.message == "the inventory's engines name docker, but the host has no dockerd"
    assert error.value.hint == "Install Docker on it, or take docker out of engines."


def effective(**changed: Any) -> bool:
    return in_effect(found(answered(json.dumps({**INFO, **changed}))), RUNSC, "runsc")


def test_a_runtime_that_is_in_effect() -> None:
    assert effective()


@pytest.mark.parametrize(
    "changed",
    [
        {"DefaultRuntime": "runc"},
        {"DefaultRuntime": None},
        {"Runtimes": None},
        {"Runtimes": {"runc": {"path": "runc"}}},
        {"Runtimes": {"runsc": {**LIVE, "path": "/usr/bin/runsc"}}},
        {"Runtimes": {"runsc": {**LIVE, "runtimeArgs": ["--network=host"]}}},
        {"Runtimes": {"runsc": {**LIVE, "runtimeArgs": None}}},
    ],
)
def test_a_runtime_that_is_not_in_effect(changed: dict[str, Any]) -> None:
    assert not effective(**changed)


def test_a_daemon_that_does_not_run_has_nothing_in_effect() -> None:
    assert not in_effect(FoundDocker(False, {}, None), RUNSC, "runsc")


def test_the_evidence_is_what_the_daemon_prints() -> None:
    printed = json.dumps(INFO, separators=(",", ":"))
    assert evidence(RUNSC) == '"runsc":{"path":"/usr/local/bin/runsc","runtimeArgs":["--network=sandbox"]'
    assert evidence(RUNSC) in printed
