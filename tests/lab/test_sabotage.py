"""The verification can fail: each thing is broken on purpose, and exactly the matching checks fail.

After each, a dry run names what has to be put right, a run does just that, and the verification passes again.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.lab.machine import Machine, Runs

INSTALL, CONTAINERD, DOCKER = "Install runsc", "Register runsc with containerd", "Register runsc with Docker"


@dataclass(frozen=True)
class Sabotage:
    """What is done to the machine, which checks fail then, and which operation puts it right."""

    script: str
    failing: frozenset[str]
    repaired_by: str | None = None
    undo: str = ""
    long: bool = False


CASES = {
    "another runsc in the way": Sabotage(
        "cd /usr/local/sbin && printf '#!/bin/sh\\nexec /usr/local/bin/runsc \"$@\"\\n' >runsc && chmod 755 runsc",
        frozenset({"gvisor.nothing_shadows_runsc"}),
        undo="rm /usr/local/sbin/runsc",
        long=True,
    ),
    "runsc of another release": Sabotage(
        # A new file under the same name: the one that sandboxes run from can't be written to.
        "cd /opt/gvisor/current/ && sed s/release-20/release-21/ runsc >new && chmod 755 new && mv new runsc",
        frozenset({"gvisor.runsc_is_the_one_asked_for", "gvisor.programs_are_untouched"}),
        INSTALL,
    ),
    "shim not executable": Sabotage(
        "chmod 0644 /opt/gvisor/current/containerd-shim-runsc-v1",
        frozenset(
            {
                "containerd.daemon_finds_the_shim",
                "containerd.sandbox_is_gvisor",
                "containerd.sandbox_from_outside",
            }
        ),
        INSTALL,
        long=True,
    ),
    "handler removed": Sabotage(
        "sed -i '/runtimes.runsc/,$d' /etc/containerd/config.toml && systemctl restart containerd",
        frozenset({"containerd.handler_is_in_effect"}),
        CONTAINERD,
        long=True,
    ),
    "annotations passed on": Sabotage(
        'sed -i \'s/^  runtime_type = "io.containerd.runsc.v1"/&\\n  pod_annotations = ["dev.gvisor.flag.*"]/\''
        " /etc/containerd/config.toml && systemctl restart containerd",
        frozenset({"containerd.no_annotation_reaches_runsc"}),
        CONTAINERD,
        long=True,
    ),
    "shim told to log everything": Sabotage(
        "echo 'debug = \"true\"' >>/etc/containerd/runsc.toml",
        frozenset({"containerd.shim_options"}),
        CONTAINERD,
        long=True,
    ),
    "runtimeArgs altered": Sabotage(
        "sed -i s/--net-raw=false/--net-raw=true/ /etc/docker/daemon.json && systemctl reload docker && sleep 3",
        frozenset({"docker.runtime_arguments"}),
        DOCKER,
        long=True,
    ),
    # The profile wants clone3 to be answered with ENOSYS, which runsc does not.
    "Docker's seccomp profile in the sandbox": Sabotage(
        "sed -i s/--oci-seccomp=false/--oci-seccomp=true/ /etc/docker/daemon.json"
        " && systemctl reload docker && sleep 3",
        frozenset({"docker.runtime_arguments", "docker.programs_start_threads"}),
        DOCKER,
        long=True,
    ),
    "runc in runsc's place": Sabotage(
        'sed -i \'s,"path": "/usr/local/bin/runsc","path": "/usr/bin/runc",; s/"--[^"]*",*//\' /etc/docker/daemon.json'
        " && systemctl reload docker && sleep 3",
        frozenset({"docker.runtime_arguments", "docker.sandbox_is_gvisor", "docker.sandbox_from_outside"}),
        DOCKER,
        long=True,
    ),
    "default runtime changed": Sabotage(
        'sed -i \'s/"default-runtime": "runsc"/"default-runtime": "runc"/\' /etc/docker/daemon.json'
        " && systemctl reload docker && sleep 3",
        # The container for which nobody names a runtime is then no sandbox either.
        frozenset({"docker.default_runtime", "docker.sandbox_is_gvisor", "docker.sandbox_from_outside"}),
        DOCKER,
        long=True,
    ),
}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name, marks=[pytest.mark.long] * case.long) for name, case in CASES.items()],
)
def test_exactly_the_matching_checks_fail(converged: Machine, runs: Runs, case: Sabotage) -> None:
    """The verification sees what was broken, and a run of the deploy mends it."""
    converged.sh(case.script)
    try:
        outcomes = runs.verify()
        assert {name for name, outcome in outcomes.items() if outcome != "passed"} == case.failing
        predicted = runs.deploy("--dry").expect_success().predicted
    finally:
        if case.undo:
            converged.sh(case.undo)
        mended = runs.deploy().expect_success().changed
    # A file in the way that is not ours is reported, not removed.
    expected = {case.repaired_by} if case.repaired_by else set()
    assert {name.rpartition(" 2")[0] if name.startswith(INSTALL) else name for name in mended} == expected
    assert mended == predicted


@pytest.mark.long
def test_mended(converged: Machine, runs: Runs) -> None:
    """After all of this the whole verification passes again."""
    assert converged
    assert set(runs.verify().values()) == {"passed"}


def test_a_daemon_that_missed_a_change_is_restarted(converged: Machine, runs: Runs) -> None:
    """The right file is not enough: a daemon that runs without it, as after an interrupted run, is restarted."""
    converged.sh(
        "cd /etc/containerd && cp -p config.toml right && sed -i '/runtimes.runsc/,$d' config.toml"
        " && systemctl restart containerd && mv right config.toml"
    )
    before = converged.pids()
    assert runs.deploy().expect_success().changed == {CONTAINERD}
    assert converged.pids() != before
    assert runs.deploy().expect_success().changed == set()
