"""The main job, end to end: a machine becomes a gVisor host that proves itself, and a second run leaves it alone."""

from __future__ import annotations

import uuid

import pytest

from tests.lab.machine import Machine, Runs

HARDENING = 11
"""How many checks of the hardened host pass on the lab's machines."""

EGRESS = 13
"""How many checks of the egress policy pass on the gVisor machine, whose agents name no host."""

REGISTER = {"Register runsc with containerd", "Register runsc with Docker"}


def test_every_check_passes(converged: Machine, runs: Runs) -> None:
    """The verification passes on a deployed machine, with nothing skipped that is for it."""
    assert converged
    with converged.way_out():
        outcomes = runs.verify()
    assert set(outcomes.values()) == {"passed"}
    assert sum(name.startswith(("containerd.", "docker.", "gvisor.")) for name in outcomes) == 16
    assert sum(name.startswith("hardening.") for name in outcomes) == HARDENING
    assert sum(name.startswith("egress.") for name in outcomes) == EGRESS


def test_second_run_changes_nothing(converged: Machine, runs: Runs) -> None:
    """A second run changes nothing, restarts nothing, and costs one remote command."""
    before = converged.pids()
    mark = uuid.uuid4().hex
    converged.sh(f"logger -t sudo {mark}")
    again = runs.deploy().expect_success()
    # Every remote command runs under sudo, which writes a line for each.
    log = converged.sh(
        "journalctl --no-pager --output=cat SYSLOG_IDENTIFIER=sudo | grep -e COMMAND= -e logger -e " + mark
    )
    commands = log.rpartition(mark)[2].count("COMMAND=") - 1
    assert again.changed == set()
    assert converged.pids() == before
    assert commands == 1, log.rpartition(mark)[2]


def test_first_run_is_predicted(converged: Machine, runs: Runs) -> None:
    """On a machine with the engines' stock configuration a dry run changes nothing and predicts what a run does."""
    # The directory itself stays, since the audit rule on it would go with it.
    converged.sh(
        "cp -a /etc/containerd/config.toml /root/config.toml && rm -rf /opt/gvisor/* /usr/local/bin/runsc"
        " /usr/local/bin/containerd-shim-runsc-v1 /etc/containerd/runsc.toml /etc/docker/daemon.json"
        " && printf 'version = 2\\n' >/etc/containerd/config.toml && systemctl restart containerd docker"
    )
    before = converged.sh("ls -A /opt /usr/local/bin /etc/containerd /etc/docker; cat /etc/containerd/config.toml")
    dry = runs.deploy("--dry").expect_success()
    assert dry.predicted == {f"Install runsc {runs.lab.gvisor.release}", *REGISTER}
    after = converged.sh("ls -A /opt /usr/local/bin /etc/containerd /etc/docker; cat /etc/containerd/config.toml")
    assert after == before
    real = runs.deploy().expect_success()
    assert real.changed == dry.predicted
    assert runs.deploy("--dry").expect_success().predicted == set()


@pytest.mark.long
def test_a_host_gets_only_its_engines(converged: Machine, runs: Runs) -> None:
    """A host with Docker alone gets nothing of containerd's, and its verification says what it skipped."""
    converged.sh(
        "cp -a /etc/containerd/config.toml /root/kept.toml; printf 'version = 2\\n' >/etc/containerd/config.toml"
    )
    try:
        deployed = runs.deploy(engines=["docker"]).expect_success()
        assert "containerd" not in " ".join(deployed.changed)
        assert converged.sh("cat /etc/containerd/config.toml") == "version = 2"
        outcomes = runs.verify(engines=["docker"])
    finally:
        converged.sh("mv /root/kept.toml /etc/containerd/config.toml")
    assert {name for name, outcome in outcomes.items() if outcome == "skipped"} == {
        "containerd.daemon_finds_the_shim",
        "containerd.handler_is_in_effect",
        "containerd.no_annotation_reaches_runsc",
        "containerd.shim_options",
        "containerd.sandbox_is_gvisor",
        "containerd.sandbox_from_outside",
        "containerd.runc_shares_the_kernel",
    }
    assert "failed" not in outcomes.values()
