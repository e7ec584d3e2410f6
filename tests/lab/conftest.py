"""The lab for the tests: brought up once, left as it was found, skipped by name where it can't run.

Tests of different machines can run beside each other (`pytest -n 2 --dist loadgroup`); those of one never do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.lab import LabState, down, up
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


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one machine are one group; those that choose theirs while they run are marked where they stand."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("xdist_group") is None:
            names = item.fixturenames if isinstance(item, pytest.Function) else []
            item.add_marker(pytest.mark.xdist_group("legacy" if "legacy_lab" in names else "gvisor"))


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
    return up(("legacy",), patience=PATIENCE)


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
