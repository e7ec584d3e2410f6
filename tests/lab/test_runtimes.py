"""Runtimes are data: a profile of gVisor and a runtime of another kind come, work and go by the inventory alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.machine import Machine, Runs

# runc under another name stands for whatever an operator may bring: the same keys describe Kata.
PLAIN = {"runtime_type": "io.containerd.runc.v2", "options": {"BinaryName": "/usr/sbin/runc"}}
BOTH = "Register plain, runsc, runsc-strict with containerd", "Register plain, runsc, runsc-strict with Docker"
FILES = "cat /etc/containerd/config.toml /etc/docker/daemon.json | sha256sum"


def wanted(runs: Runs) -> dict[str, Any]:
    """The lab's host with a profile without network, and a runtime of its own."""
    return {
        "gvisor": runs.gvisor(profiles={"runsc-strict": {"flags": {"network": "none"}}}),
        "runtimes": {"plain": PLAIN},
    }


@pytest.mark.long
def test_they_come_and_go(converged: Machine, runs: Runs) -> None:
    """Both are registered and proved with both engines, left alone by a second run, and taken out again."""
    before = converged.sh(FILES)
    assert runs.deploy("--dry", **wanted(runs)).expect_success().predicted == set(BOTH)
    assert runs.deploy(**wanted(runs)).expect_success().changed == set(BOTH)
    try:
        assert 'network = "none"' in converged.sh("cat /etc/containerd/runsc-strict.toml")
        assert 'network = "sandbox"' in converged.sh("cat /etc/containerd/runsc.toml")
        assert "[plain]" in converged.sh("docker info --format '{{range $name, $_ := .Runtimes}}[{{$name}}]{{end}}'")
        pids = converged.pids()
        assert runs.deploy(**wanted(runs)).expect_success().changed == set()
        assert converged.pids() == pids
    finally:
        gone = runs.deploy().expect_success().changed
    assert gone == {"Register runsc with containerd", "Register runsc with Docker"}
    assert converged.sh(FILES) == before
    assert converged.run("ls /etc/containerd/runsc-strict.toml").returncode != 0
    left = converged.sh("docker info --format '{{json .Runtimes}}'; containerd config dump")
    assert "runsc-strict" not in left
    assert "plain" not in left


@pytest.mark.long
def test_a_runtime_in_use_stays(converged: Machine, runs: Runs) -> None:
    """All of them are verified; one under which a container runs is not taken out, and the message names that."""
    runs.deploy(**wanted(runs)).expect_success()
    try:
        assert set(runs.verify(**wanted(runs)).values()) == {"passed"}
        converged.image()
        converged.sh("docker run --detach --name agent-7 --runtime runsc-strict bulkhead.invalid/test:1 sleep 600")
        before = converged.sh(FILES)
        refused = runs.deploy(engines=["docker"])
        assert refused.status == 1
        assert "containers run under runsc-strict, which is to go: agent-7" in refused.output
        assert "allow_running = True" in refused.output
        assert converged.sh(FILES) == before
    finally:
        converged.run("docker rm --force agent-7; docker rmi bulkhead.invalid/test:1")
        runs.deploy().expect_success()
