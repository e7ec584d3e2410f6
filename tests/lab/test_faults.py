"""Whatever dies in the middle: the files are the old or the new ones, and a plain run afterwards converges.

Twenty faults: the controller killed at twelve moments, the machine reset at four, a full disk and a daemon that refuses
for each engine.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead.inventory_file import ROOT
from tests.lab.machine import Machine, Runs

pytestmark = pytest.mark.long

# Seconds after the start at which the controller is killed: from before the connection to the last proof.
KILLED_AFTER = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 14.0, 18.0, 24.0)
RESET_AFTER = (3.0, 6.0, 10.0, 16.0)

USERS = "# by hand\noom_score = -7\n"
"""What must be there after every fault."""


def wanted(runs: Runs, number: float) -> dict[str, Any]:
    """Settings that differ from those of the run before, so that there is something to do."""
    return {"gvisor": runs.gvisor(profiles={f"runsc-{int(number * 10)}": {"flags": {"network": "none"}}})}


def start(runs: Runs, **overrides: Any) -> subprocess.Popen[bytes]:
    """A deploy in the background."""
    return subprocess.Popen(
        runs.command(**overrides),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def whole(machine: Machine) -> None:
    """Both engines take their files as they are, run, and the user's settings are in them."""
    machine.sh(
        "flock --wait 120 /run/bulkhead.lock true\n"
        "containerd config dump >/dev/null && dockerd --validate --config-file /etc/docker/daemon.json\n"
        "for try in 1 2 3 4 5 6 7 8 9 10; do docker info >/dev/null 2>&1 && break; sleep 2; done\n"
        "systemctl is-active containerd docker"
    )
    assert machine.run("cat /etc/containerd/config.toml").stdout.startswith(USERS)
    assert '"rack=9"' in machine.sh("cat /etc/docker/daemon.json")


@pytest.fixture(scope="module")
def users(converged: Machine, runs: Runs) -> Iterator[Machine]:
    """The machine with settings of a user's in both files."""
    converged.sh("cp -a /etc/containerd/config.toml /etc/docker/daemon.json /root/")
    try:
        converged.sh(
            f"printf '{USERS}version = 2\n' >/etc/containerd/config.toml\n"
            'printf \'{\n  "labels": ["rack=9"]\n}\n\' >/etc/docker/daemon.json\n'
            "systemctl restart containerd docker"
        )
        runs.deploy().expect_success()
        yield converged
    finally:
        converged.sh(
            "mv /root/config.toml /etc/containerd/; mv /root/daemon.json /etc/docker/\n"
            "systemctl restart containerd docker"
        )
        runs.deploy().expect_success()


@pytest.mark.parametrize("seconds", KILLED_AFTER)
def test_a_killed_controller(users: Machine, runs: Runs, seconds: float) -> None:
    """`kill -9` of the controller: what runs on the host ends well or leaves everything as it was."""
    run = start(runs, **wanted(runs, seconds))
    time.sleep(seconds)
    run.kill()
    run.wait()
    whole(users)
    runs.deploy().expect_success()
    whole(users)
    assert runs.deploy().expect_success().changed == set()
    assert users.run("ls -Ad /etc/*/.bulkhead.* /var/lib/bulkhead/tmp.*").stdout == ""


@pytest.mark.parametrize("seconds", RESET_AFTER)
def test_a_machine_that_is_reset(users: Machine, runs: Runs, seconds: float) -> None:
    """A hard reset in the middle of a run: the machine comes up with whole files, and a plain run converges."""
    run = start(runs, **wanted(runs, 50 + seconds))
    time.sleep(seconds)
    users.reset()
    run.kill()
    run.wait()
    users.wait()
    whole(users)
    runs.deploy().expect_success()
    whole(users)
    assert runs.deploy().expect_success().changed == set()
    assert users.run("ls -Ad /etc/*/.bulkhead.*").stdout == ""


@pytest.mark.parametrize("directory", ["/etc/containerd", "/etc/docker"])
def test_a_full_disk(users: Machine, runs: Runs, directory: str) -> None:
    """No space for the new file: it is said, and the old one stays."""
    engine = directory.rpartition("/")[2]
    users.sh(
        f"cp -a {directory} /root/full && mount -t tmpfs -o size=64k none {directory} && cp -a /root/full/. {directory}"
        f" && {{ dd if=/dev/zero of={directory}/filler bs=4k 2>/dev/null || :; }}"
    )
    try:
        before = users.sh(f"cat {directory}/*.toml {directory}/*.json 2>/dev/null | sha256sum")
        refused = runs.deploy(engines=[engine], **wanted(runs, 90))
        assert refused.status == 1
        assert "nothing was changed" in refused.output
        assert "space" in refused.output or "is the disk full?" in refused.output
        assert users.sh(f"cat {directory}/*.toml {directory}/*.json 2>/dev/null | sha256sum") == before
    finally:
        users.sh(f"umount {directory} && rm -r /root/full")
    whole(users)
    assert runs.deploy().expect_success().changed == set()


@pytest.mark.parametrize("engine", ["containerd", "docker"])
def test_a_daemon_that_refuses(users: Machine, runs: Runs, engine: str) -> None:
    """A daemon that does not start with the candidate gets its previous file back and runs again."""
    main = {"containerd": "/etc/containerd/config.toml", "docker": "/etc/docker/daemon.json"}[engine]
    name = "runsc-900"
    users.sh(
        f"mkdir -p /etc/systemd/system/{engine}.service.d && printf '[Service]\\nExecReload=\\nExecReload=/bin/true\\n"
        f'ExecStartPre=/bin/sh -c "! grep -q {name} {main}"\\n\' >/etc/systemd/system/{engine}.service.d/test.conf'
        " && systemctl daemon-reload"
    )
    try:
        before = users.sh(f"sha256sum {main}")
        failed = runs.deploy(engines=[engine], **wanted(runs, 90))
        assert failed.status == 1
        assert "the previous configuration is back in force" in failed.output
        assert users.sh(f"sha256sum {main}") == before
        assert users.sh(f"systemctl is-active {engine}") == "active"
    finally:
        users.sh(f"rm -r /etc/systemd/system/{engine}.service.d && systemctl daemon-reload")
    whole(users)
    assert runs.deploy().expect_success().changed == set()
