"""A host that checks itself: it finds what a check from outside finds, and none but the program that was delivered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.machine import Machine, Runs
from tests.lab.test_drift import IMAGE, TAMPERS, Tamper, matches

pytestmark = pytest.mark.long

DIRECTORY = "/var/tmp/textfiles"
SETTINGS = {"self_check": {"interval": 86400, "jitter": 0, "textfile_directory": DIRECTORY}}
"""So seldom that none comes between what a test does."""

SERVICE = "bulkhead-drift-self.service"
TEXTFILE = f"{DIRECTORY}/bulkhead-drift-self.prom"
PROGRAM = "/usr/local/sbin/bulkhead-drift-self"
INSTALL, TAKE = "Install the self-check", "Take the self-check away"

FOUND = (
    "a sysctl, live only",
    "a sysctl of one interface, live only",
    "a line of the sysctl file",
    "a file that others can write to",
    "programs let run in shared memory",
    "an audit rule deleted",
    "auditd's unit masked",
    "sshd's file",
    "a drop-in on sshd",
    "pages shared",
    "runsc of another build",
    "a shim that can't be executed",
    "runsc's link to elsewhere",
    "another runsc before ours",
    "the shim's options",
    "the handler gone from the daemon only",
    "another handler",
    "the record that others can read",
    "runtimeArgs in the daemon only",
    "the default runtime in the daemon only",
    "another runtime",
    "a privileged sandbox",
    "an option in the daemon only",
    "the agents' slice",
    "a container on the host's network",
    "a container outside of the slice",
    "a rule inserted",
    "a set widened",
    "the table gone",
    "a table hooked before ours",
    "a table that rewrites addresses",
    "the policy's unit disabled",
    "the stock unit that flushes",
    "an agent's network",
    "the proxy stopped",
    "Bulkhead's directory",
)
"""Those of the drift check's tampers that the host finds itself, under the same subjects."""

NOTED = {
    "/etc/docker/daemon.json",
    "/etc/containerd/config.toml",
    "/var/lib/bulkhead/docker.json",
    "/var/lib/bulkhead/containerd.json",
}
"""Files of which the host itself says only that they changed."""


@dataclass(frozen=True)
class Checking:
    """A machine that checks itself."""

    machine: Machine
    runs: Runs

    def check(self) -> set[tuple[str, str]]:
        """Capability and subject of each finding of a check that is made now."""
        # One that the timer has started would be waited for, and may have begun before what it is to find.
        under_way = f"systemctl show --property ActiveState --value {SERVICE} | grep -qx activating"
        self.machine.sh(f"while {under_way}; do sleep 1; done; systemctl start {SERVICE}")
        said = self.machine.sh(
            "journalctl --quiet --output cat"
            f" _SYSTEMD_INVOCATION_ID=$(systemctl show --property InvocationID --value {SERVICE})"
        )
        assert "hunter2" not in said
        assert "error " not in said, said
        found = re.findall(r"^(?:critical|warning|info) (\S+) (.*): expected .*, found ", said, re.MULTILINE)
        metrics = self.machine.sh(f"cat {TEXTFILE}")
        numbers = re.findall(r"^bulkhead_drift_findings\{.*\} (\d+)$", metrics, re.MULTILINE)
        assert sum(map(int, numbers)) == len(found), said
        return set(found)

    def deploy(self) -> set[str]:
        """The operations of a run that changed something."""
        return self.runs.deploy("-y", **SETTINGS).expect_success().changed


@pytest.fixture(scope="module", params=["gvisor", "legacy"])
def checking(request: pytest.FixtureRequest) -> Iterator[Checking]:
    """Each machine with a self-check, and without one afterwards."""
    prefix = "" if request.param == "gvisor" else "legacy_"
    machine: Machine = request.getfixturevalue("machine" if request.param == "gvisor" else "legacy")
    here = Checking(machine, request.getfixturevalue(f"{prefix}runs"))
    here.runs.deploy().expect_success()
    refused = here.runs.deploy("-y", self_check={**SETTINGS["self_check"], "textfile_directory": "/var/tmp/none"})
    assert refused.status == 1
    assert "/var/tmp/none: is not there" in refused.output
    machine.sh(f"mkdir -p {DIRECTORY}")
    assert here.deploy() == {INSTALL}
    try:
        yield here
    finally:
        changed = here.runs.deploy().expect_success().changed
        left = machine.sh(f"ls -d {PROGRAM} {DIRECTORY}/* /var/lib/bulkhead-drift-self 2>/dev/null; :")
        units = machine.sh("systemctl list-unit-files 'bulkhead-drift-self*' --no-legend || :")
        machine.sh(f"rm -rf {DIRECTORY}")
        assert (changed, left, units) == ({TAKE}, "", "")


def test_a_clean_machine_finds_nothing_and_a_second_run_changes_nothing(checking: Checking) -> None:
    """By itself and from outside, and the verification has nothing to say of it."""
    assert checking.check() == set()
    assert checking.deploy() == set()
    assert checking.runs.drift(**SETTINGS) == set()
    outcomes = checking.runs.verify("--only", "self_check.*", **SETTINGS)
    assert outcomes == {
        "self_check.it_is_done_regularly": "passed",
        "self_check.its_metrics_are_there_to_be_read": "passed",
    }


def test_nor_after_a_reboot(checking: Checking) -> None:
    """As soon as the machine says that it is up."""
    checking.machine.sh("sync")
    checking.machine.reset()
    checking.machine.wait()
    checking.machine.run("systemctl is-system-running --wait")
    assert checking.check() == set()


@pytest.mark.parametrize("name", FOUND)
def test_each_tamper_is_found_by_the_host_itself(name: str, checking: Checking) -> None:
    """Under the subjects of the check from outside, and gone after a converge."""
    case: Tamper = TAMPERS[name]
    if case.machine != checking.runs.machine:
        pytest.skip("for the other machine")
    if case.image:
        checking.machine.image()
    try:
        checking.machine.sh(case.script)
        found, expected = ({one for one in each if one[1] not in NOTED} for each in (checking.check(), case.expected))
        assert matches(found, expected), found
    finally:
        if case.undo:
            checking.machine.run(case.undo)
        checking.deploy()
        if case.image:
            checking.machine.run(f"docker rmi {IMAGE}")
    assert checking.check() == set()


def test_another_program_is_refused_and_that_is_found_from_outside(checking: Checking) -> None:
    """The unit fails, the metrics get old; with the unit changed as well it still shows from outside."""
    machine = checking.machine
    before = machine.sh(f"stat -c %i {TEXTFILE}")
    machine.sh(f"sed -i 's/^exit .*/exit 0/' {PROGRAM}")
    assert machine.run(f"systemctl start {SERVICE}").returncode != 0
    assert machine.sh(f"systemctl is-failed {SERVICE}") == "failed"
    assert machine.sh(f"stat -c %i {TEXTFILE}") == before
    assert checking.runs.drift(**SETTINGS) == {("self_check", PROGRAM), ("self_check", f"unit {SERVICE}")}
    unit = f"/etc/systemd/system/{SERVICE}"
    machine.sh(
        f"sed -i \"s/[0-9a-f]\\{{64\\}}/$(sha256sum <{PROGRAM} | cut -d' ' -f1)/\" {unit}; systemctl daemon-reload;"
        f" systemctl start {SERVICE}"
    )
    assert checking.runs.drift(**SETTINGS) == {("self_check", PROGRAM), ("self_check", unit)}
    assert checking.deploy() == {INSTALL}
    assert checking.runs.drift(**SETTINGS) == set()
    assert checking.check() == set()
