"""The lab for the tests: brought up once, left as it was found, skipped by name where it can't run.

Tests of different machines can run beside each other (`pytest -n 2`); those of one never do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from bulkhead.errors import BulkheadError
from bulkhead.lab import LabState, down, up
from bulkhead.lab.lock import held
from tests.lab.machine import Machine, Runs
from tests.lab.site import Site

PATIENCE = 1200
"""Seconds for the lab to come up in a test run beside this one, box and all; far more than it takes."""

WAS_UP = pytest.StashKey[bool]()


def is_up() -> bool:
    """Whether there is a lab of this checkout."""
    try:
        LabState.load()
    except BulkheadError:
        return False
    return True


def is_worker(config: pytest.Config) -> bool:
    """Whether this is one of several processes that share the tests; the one that started them isn't."""
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """Remember whether the lab was there before the tests."""
    if not is_worker(config):
        config.stash[WAS_UP] = is_up()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the lab down, after the last process that used it, unless it was up before."""
    if not is_worker(config) and not config.stash[WAS_UP] and is_up():
        down()


class ByMachine(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """One process for the tests of each machine: what says so is `legacy` in a test's id, in its file or parameter.

    pytest-xdist's own groups are told by an attribute that pytest has no more since 9.2 (`Item._nodeid`).
    """

    def _split_scope(self, nodeid: str) -> str:
        if not nodeid.startswith("tests/lab/"):
            return str(super()._split_scope(nodeid))
        return "legacy" if "legacy" in nodeid else "gvisor"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist's own
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByMachine:
    """Share the tests out by machine."""
    return ByMachine(config, log)


@contextmanager
def one_run(name: str) -> Iterator[None]:
    """A second process with tests of a machine is refused: they would work on it at once."""
    with held(f"tests-{name}", f"another test run works on {name}"):
        yield


@pytest.fixture(scope="session")
def lab() -> LabState:
    """The lab, up and running."""
    try:
        return up(patience=PATIENCE)
    except BulkheadError as error:
        if error.message.startswith("no gVisor for the lab"):
            pytest.skip(error.message)
        raise


@pytest.fixture(scope="session")
def machine(lab: LabState, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The gVisor machine, as root."""
    with one_run("gvisor"):
        machine = Machine("gvisor", lab.machines["gvisor"], tmp_path_factory.mktemp("ssh"))
        try:
            yield machine
        finally:
            machine.close()


@pytest.fixture(scope="session")
def runs(lab: LabState, machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs of pyinfra and of the verification against the machine, with settings of the test's own."""
    assert machine
    return Runs(lab, tmp_path_factory.mktemp("inventories"))


@pytest.fixture(scope="session")
def converged(machine: Machine, runs: Runs) -> Machine:
    """The machine after a deploy from the lab's own inventory."""
    runs.deploy().expect_success()
    return machine


@pytest.fixture(scope="session")
def legacy_lab(lab: LabState) -> LabState:
    """The lab with the machine for legacy agents beside the other one."""
    assert lab
    return up(("legacy",), patience=PATIENCE)


@pytest.fixture(scope="session")
def legacy(legacy_lab: LabState, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The machine for legacy agents, as root."""
    with one_run("legacy"):
        machine = Machine("legacy", legacy_lab.machines["legacy"], tmp_path_factory.mktemp("ssh"))
        try:
            yield machine
        finally:
            machine.close()


@pytest.fixture(scope="session")
def legacy_runs(legacy_lab: LabState, legacy: Machine, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs against it."""
    assert legacy
    return Runs(legacy_lab, tmp_path_factory.mktemp("inventories"), "legacy")


@pytest.fixture
def site(lab: LabState, tmp_path: Path) -> Iterator[Site]:
    """A release site of the test's own, which the machine can reach."""
    with Site(lab, tmp_path) as site:
        yield site
