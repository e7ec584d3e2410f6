"""gVisor leaves as it came: the engines first, then its files, never under a sandbox that runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.machine import Machine, Runs

ABSENT = {"state": "absent"}
# Where there is no gVisor its directory is not watched.
TAKEN_OUT = {"Harden by auditing", "Take runsc out of containerd", "Take runsc out of Docker", "Remove runsc"}

# What an operator may have had before: comments, settings, another order, no newline at the end.
CONFIG = "# ours, of 2024\nversion = 2\noom_score = -5 # keep\n\n[debug]\n  level = 'info'"
DAEMON = '{\n\t"log-level": "warn",\n\t"default-runtime": "runc",\n\t"labels": ["rack=7"]\n}'


@pytest.fixture
def from_stock(converged: Machine, runs: Runs) -> Iterator[Machine]:
    """The machine deployed over files that an operator wrote; back to the lab's own state afterwards."""
    converged.sh(
        "cp -a /etc/containerd/config.toml /root/kept.toml; cp -a /etc/docker/daemon.json /root/kept.json\n"
        f"cat >/etc/containerd/config.toml <<'END'\n{CONFIG}\nEND\n"
        f"cat >/etc/docker/daemon.json <<'END'\n{DAEMON}\nEND\n"
        # Both end without a newline.
        "truncate -s -1 /etc/containerd/config.toml /etc/docker/daemon.json; chmod 0640 /etc/docker/daemon.json\n"
        "systemctl restart containerd docker"
    )
    runs.deploy().expect_success()
    try:
        yield converged
    finally:
        converged.sh(
            "mv /root/kept.toml /etc/containerd/config.toml; mv /root/kept.json /etc/docker/daemon.json\n"
            "systemctl restart containerd"
        )
        runs.deploy().expect_success()


@pytest.mark.long
def test_nothing_of_ours_is_left(from_stock: Machine, runs: Runs) -> None:
    """A running sandbox is named and keeps everything in place; without it the files are again what they were."""
    machine = from_stock
    assert "runsc" in machine.sh("cat /etc/docker/daemon.json")
    machine.image()
    sandbox = machine.sh("docker run --detach --name agent-8 bulkhead.invalid/test:1 sleep 900")
    try:
        refused = runs.deploy(gvisor=ABSENT)
        assert refused.status == 1
        assert f"gvisor.state is 'absent', but sandboxes run: {sandbox}" in refused.output
        assert machine.sh("readlink /usr/local/bin/runsc") == "/opt/gvisor/current/runsc"
        assert "runsc" in machine.sh("cat /etc/docker/daemon.json /etc/containerd/config.toml")
    finally:
        machine.run("docker rm --force agent-8; docker rmi bulkhead.invalid/test:1")
    assert runs.deploy("--dry", gvisor=ABSENT).expect_success().predicted == TAKEN_OUT
    assert runs.deploy(gvisor=ABSENT).expect_success().changed == TAKEN_OUT
    assert machine.run("cat /etc/containerd/config.toml").stdout == CONFIG
    assert machine.run("cat /etc/docker/daemon.json").stdout == DAEMON
    assert machine.sh("stat -c %a /etc/docker/daemon.json") == "640"
    # Of hardening and egress, which stay, the empty directories of their trials.
    assert machine.sh("find /var/lib/bulkhead ! -type d") == ""
    left = machine.sh("ls -d /opt/gvisor /usr/local/bin/runsc /etc/containerd/runsc.toml 2>/dev/null; :")
    assert left == ""
    assert machine.sh("docker info --format '{{.DefaultRuntime}}'") == "runc"
    assert "runsc" not in machine.sh("docker info --format '{{json .Runtimes}}'; containerd config dump")
    assert runs.deploy(gvisor=ABSENT).expect_success().changed == set()
    outcomes = runs.verify(gvisor=ABSENT)
    assert "failed" not in outcomes.values()
    assert outcomes["gvisor.nothing_shadows_runsc"] == "passed"
    assert outcomes["docker.runtime_arguments"] == "passed"
    assert outcomes["containerd.handler_is_in_effect"] == "passed"
