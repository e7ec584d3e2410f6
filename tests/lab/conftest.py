"""The lab for the tests: brought up once, left as it was found, skipped by name where it can't run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.lab import LabState, down, up
from tests.lab.machine import Machine, Runs
from tests.lab.site import Site


@pytest.fixture(scope="session")
def lab() -> Iterator[LabState]:
    """The lab, up and running; taken down afterwards if it wasn't up before."""
    try:
        LabState.load()
        was_up = True
    except BulkheadError:
        was_up = False
    try:
        state = up()
    except BulkheadError as error:
        if error.message.startswith("no gVisor for the lab"):
            pytest.skip(error.message)
        raise
    try:
        yield state
    finally:
        if not was_up:
            down()


@pytest.fixture(scope="session")
def machine(lab: LabState, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The gVisor machine, as root."""
    machine = Machine("gvisor", lab.machines["gvisor"], tmp_path_factory.mktemp("ssh"))
    try:
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="session")
def runs(lab: LabState, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs of pyinfra and of the verification against the machine, with settings of the test's own."""
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
    return up(("legacy",))


@pytest.fixture(scope="session")
def legacy(legacy_lab: LabState, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The machine for legacy agents, as root."""
    machine = Machine("legacy", legacy_lab.machines["legacy"], tmp_path_factory.mktemp("ssh"))
    try:
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="session")
def legacy_runs(legacy_lab: LabState, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs against it."""
    return Runs(legacy_lab, tmp_path_factory.mktemp("inventories"), "legacy")


@pytest.fixture
def site(lab: LabState, tmp_path: Path) -> Iterator[Site]:
    """A release site of the test's own, which the machine can reach."""
    with Site(lab, tmp_path) as site:
        yield site
