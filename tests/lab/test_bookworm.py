"""The same on Debian 12: its own runsc of 2022 under Docker 20.10, and a release under containerd 1.6."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bulkhead.lab import down, up
from tests.lab.machine import Machine, Runs

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def bookworm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Runs]]:
    """A lab of Debian 12; a lab that was up before is taken down for it."""
    down()
    lab = up(suite="bookworm")
    machine = Machine("gvisor", lab.machines["gvisor"], tmp_path_factory.mktemp("ssh"))
    try:
        yield machine, Runs(lab, tmp_path_factory.mktemp("inventories"))
    finally:
        machine.close()
        down()


def test_the_distributions_package(bookworm: tuple[Machine, Runs]) -> None:
    """Debian 12's package is installed for Docker, gets only flags that it knows, and is proved."""
    machine, runs = bookworm
    settings = {"engines": ["docker"], "gvisor": {"source": "distribution"}}
    changed = runs.deploy(**settings).expect_success().changed
    assert {name for name in changed if "runsc" in name} == {
        "Install runsc of the distribution",
        "Register runsc with Docker",
    }
    assert machine.sh("readlink /usr/local/bin/runsc || command -v runsc") == "/usr/bin/runsc"
    assert runs.deploy(**settings).expect_success().changed == set()
    outcomes = runs.verify(**settings)
    assert {name for name, outcome in outcomes.items() if outcome == "failed"} == set()
    assert {name.partition(".")[0] for name, outcome in outcomes.items() if outcome == "skipped"} == {"containerd"}


def test_a_release(bookworm: tuple[Machine, Runs]) -> None:
    """A release takes the package's place under Docker; the deploy finds that containerd 1.6 can't start its shim.

    The shim of September 2026 answers with its start-up parameters as JSON, which containerd reads from 1.7 on.
    """
    machine, runs = bookworm
    if runs.lab.gvisor.origin == "distribution":
        pytest.skip("no gVisor release for the lab here: no directory, no site, no Go")
    assert machine.sh("containerd --version").split()[2].startswith("1.6.")
    before = machine.sh("sha256sum /etc/containerd/config.toml")
    failed = runs.deploy(engines=["containerd"], gvisor=runs.gvisor())
    assert failed.status == 1
    assert "containerd cannot start a container under runsc" in failed.output
    assert "the previous configuration is back in force" in failed.output
    assert machine.sh("sha256sum /etc/containerd/config.toml") == before
    assert machine.sh("systemctl is-active containerd") == "active"
    settings = {"engines": ["docker"], "gvisor": runs.gvisor()}
    runs.deploy(**settings).expect_success()
    assert runs.deploy(**settings).expect_success().changed == set()
    outcomes = runs.verify(**settings)
    assert {name for name, outcome in outcomes.items() if outcome == "failed"} == set()
    absent = {"engines": ["docker"], "gvisor": {"state": "absent"}}
    runs.deploy(**absent).expect_success()
    assert "runsc" not in machine.sh("docker info --format '{{json .Runtimes}}'")
