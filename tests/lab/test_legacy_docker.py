"""Docker on a host of legacy agents: hardened, proved, left alone by a second run, and given back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.machine import Machine, Runs

pytestmark = pytest.mark.long

SET = "Set Docker's options"
FILE = "/etc/docker/daemon.json"

# What an operator may have had before: other values, other keys, tabs, no newline at the end.
STOCK = '{\n\t"log-driver" : "journald",\n\t"icc": true,   "labels": ["rack=7"]\n}'

KEYS = (
    *("icc", "no-new-privileges", "userland-proxy", "live-restore", "userns-remap", "default-ulimits"),
    *("log-driver", "log-opts", "cgroup-parent", "dns"),
)


def left_alone(*keys: str) -> dict[str, Any]:
    """The inventory's `docker` that leaves these keys to the host."""
    return {"options": {key: {"value": None, "reason": "a test"} for key in keys}}


def deploy_over_stock(machine: Machine, runs: Runs) -> None:
    """Deploy over an operator's file, on a machine from which everything of ours has gone before."""
    runs.deploy(docker=left_alone(*KEYS)).expect_success()
    machine.sh(f"cat >{FILE} <<'END'\n{STOCK}\nEND\ntruncate -s -1 {FILE}; systemctl restart docker")
    runs.deploy().expect_success()


@pytest.fixture(scope="module")
def hardened(legacy: Machine, legacy_runs: Runs) -> Machine:
    """The machine, deployed over an operator's file."""
    deploy_over_stock(legacy, legacy_runs)
    return legacy


def test_a_second_run_changes_and_restarts_nothing(hardened: Machine, legacy_runs: Runs) -> None:
    """Neither a file nor a daemon is touched."""
    before = hardened.pids(), hardened.sh(f"stat --format %Y {FILE}")
    assert legacy_runs.deploy().expect_success().changed == set()
    assert (hardened.pids(), hardened.sh(f"stat --format %Y {FILE}")) == before


def test_it_is_verified(hardened: Machine, legacy_runs: Runs) -> None:
    """Every check of Docker's options passes, and none is skipped."""
    assert hardened
    outcomes = legacy_runs.verify("--only", "docker_options.*")
    own = {name: outcome for name, outcome in outcomes.items() if name.startswith("docker_options.")}
    # Its tools have to be on the machine, which is not Docker's part.
    own.pop("docker_options.apparmor")
    assert set(own.values()) == {"passed"}
    assert len(own) == 16


def test_an_edit_elsewhere_in_the_file_restarts_nothing(hardened: Machine, legacy_runs: Runs) -> None:
    """A key that is not ours may change after the daemon started; one of ours may not.

    The edit is on a line that holds a key of ours too: of that the record takes note, once, and nothing else happens.
    """
    before = hardened.pids()
    kept = hardened.sh(f"sleep 2; cp -p {FILE} /root/kept.json; sed -i 's/rack=7/rack=8/' {FILE}; sha256sum {FILE}")
    meant = json.loads(hardened.sh(f"cat {FILE}"))
    try:
        assert legacy_runs.deploy().expect_success().changed == {SET}
        assert hardened.pids() == before
        assert hardened.sh(f"sha256sum {FILE}") == kept
        assert legacy_runs.deploy().expect_success().changed == set()
        hardened.sh(f'sed -i \'s/"userland-proxy": false/"userland-proxy": true/\' {FILE}')
        assert legacy_runs.deploy().expect_success().changed == {SET}
        assert hardened.pids() != before
        assert json.loads(hardened.sh(f"cat {FILE}")) == meant
    finally:
        hardened.sh(f"mv /root/kept.json {FILE}")
        legacy_runs.deploy().expect_success()


def test_a_running_agent_is_not_left_with_the_old_network(hardened: Machine, legacy_runs: Runs) -> None:
    """icc takes effect without running containers alone: they are named, and nothing is changed."""
    hardened.image()
    hardened.sh("docker run --detach --name agent-9 bulkhead.invalid/test:1 sleep 900")
    before = hardened.sh(f"cat {FILE}"), hardened.pids()
    try:
        refused = legacy_runs.deploy(docker={"options": {"icc": {"value": True, "reason": "a test"}}})
        assert refused.status == 1
        assert "icc takes effect in a restart of docker without running containers, and there are: agent-9" in (
            refused.output
        )
        moved = legacy_runs.deploy(docker=left_alone("userns-remap"))
        assert moved.status == 1
        assert "its containers would be out of its sight, as would its images: agent-9" in moved.output
        assert (hardened.sh(f"cat {FILE}"), hardened.pids()) == before
        # live-restore: the container outlives a change that needs a restart.
        legacy_runs.deploy(docker=left_alone("userland-proxy")).expect_success()
        assert hardened.sh("docker inspect --format '{{.State.Running}}' agent-9") == "true"
    finally:
        hardened.run("docker rm --force agent-9; docker rmi bulkhead.invalid/test:1")
        legacy_runs.deploy().expect_success()
    # A setting that was away may return in another place.
    assert json.loads(hardened.sh(f"cat {FILE}")) == json.loads(before[0])


def test_an_option_that_goes_gives_the_operator_s_value_back(hardened: Machine, legacy_runs: Runs) -> None:
    """One alone, with its effect; then all, byte for byte, and the slice with them."""
    deploy_over_stock(hardened, legacy_runs)
    bridge = "docker network inspect --format '{{index .Options \"com.docker.network.bridge.enable_icc\"}}' bridge"
    assert hardened.sh(bridge) == "false"
    assert legacy_runs.deploy(docker=left_alone("icc")).expect_success().changed == {SET}
    assert json.loads(hardened.sh(f"cat {FILE}"))["icc"] is True
    assert hardened.sh(bridge) == "true"
    try:
        gone = legacy_runs.deploy(docker=left_alone(*KEYS)).expect_success().changed
        # The data directory without user namespaces is another one, which has none of the agents' networks yet.
        networks = "Make the agents' networks in Docker"
        assert gone == {"Take our options out of Docker", "Remove bulkhead-agents.slice", networks}
        assert hardened.sh("docker network ls --quiet --filter label=bulkhead.agent") != ""
        assert hardened.sh(f"base64 -w0 {FILE}") == hardened.sh(f"printf %s '{STOCK}' | base64 -w0")
        assert hardened.sh("docker info --format '{{.LoggingDriver}} {{.LiveRestoreEnabled}}'") == "journald false"
        assert hardened.run("ls /etc/systemd/system/bulkhead-agents.slice").returncode != 0
    finally:
        legacy_runs.deploy().expect_success()


def test_a_daemon_that_listens_on_tcp_is_refused(hardened: Machine, legacy_runs: Runs) -> None:
    """The message names the place, and nothing is changed."""
    before = hardened.sh(f"cat {FILE}")
    hardened.sh(
        "mkdir -p /etc/systemd/system/docker.service.d\n"
        "printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/dockerd -H fd:// -H tcp://127.0.0.1:2375\\n'"
        " >/etc/systemd/system/docker.service.d/test.conf\n"
        "systemctl daemon-reload; systemctl restart docker"
    )
    try:
        refused = legacy_runs.deploy()
        assert refused.status == 1
        assert "docker says tcp://127.0.0.1:2375 (--host in its arguments)" in refused.output
        assert hardened.sh(f"cat {FILE}") == before
        assert legacy_runs.verify("--only", "docker_options.*")["docker_options.no_tcp_socket"] == "failed"
    finally:
        hardened.sh(
            "rm -r /etc/systemd/system/docker.service.d/test.conf; systemctl daemon-reload; systemctl restart docker"
        )
        legacy_runs.deploy().expect_success()
