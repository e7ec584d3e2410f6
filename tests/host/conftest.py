"""What every check of the verification needs: the host's part of the inventory, and containers to look into."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

from bulkhead.inventory import CONTROL_NODES, GVISOR_HOSTS, LEGACY_HOSTS, LOCAL, InventoryHost, engines
from tests.host import expectations
from tests.host.containers import CONTAINERDS, Containerd, ContainerdProbes, DockerProbes


def pytest_addoption(parser: pytest.Parser) -> None:
    """`bulkhead verify` hands the inventory over in a file."""
    parser.addoption("--described", help="hosts with their groups and data, as JSON")


@pytest.fixture(scope="session")
def unreachable() -> dict[str, str]:
    """Host → why it can't be reached; empty for one that answered."""
    return {}


@pytest.fixture(scope="module", autouse=True)
def reachable(host: Host, unreachable: dict[str, str]) -> None:
    """Try a host that can't be reached once, not for each check: sshd shuts out a source that fails too often.

    That is sshd_config(5), PerSourcePenalties, which would hit whoever connects from here next.
    """
    name = host.backend.hostname
    if name not in unreachable:
        try:
            host.run("true")
            unreachable[name] = ""
        except RuntimeError as error:
            unreachable[name] = str(error)
    if unreachable[name]:
        pytest.fail(unreachable[name], pytrace=False)


@pytest.fixture(scope="module")
def described(host: Host, pytestconfig: pytest.Config) -> InventoryHost:
    """What the inventory says of the host that is being checked."""
    name = LOCAL if host.backend.NAME == "local" else host.backend.hostname
    for entry in json.loads(Path(pytestconfig.getoption("--described")).read_text()):
        if entry["name"] == name:
            return InventoryHost(name, frozenset(entry["groups"]), entry["data"])
    raise LookupError(f"{name} is not in the inventory")


@pytest.fixture(scope="module", autouse=True)
def host_of_agents(request: pytest.FixtureRequest, described: InventoryHost) -> None:
    """Skip on control nodes, unless the checks are about those."""
    if CONTROL_NODES in described.groups and request.path.stem != "test_watch":
        pytest.skip("a control node runs no agents, and is not hardened by Bulkhead")


@pytest.fixture(scope="module")
def control_node(described: InventoryHost) -> None:
    """Skip on hosts of agents."""
    if CONTROL_NODES not in described.groups:
        pytest.skip("this is no control node")


@pytest.fixture(scope="module")
def gvisor_host(described: InventoryHost) -> None:
    """Skip on hosts of agents that can't run under gVisor."""
    if GVISOR_HOSTS not in described.groups:
        pytest.skip("a legacy host has no gVisor")


@pytest.fixture(scope="module")
def legacy_host(described: InventoryHost) -> None:
    """Skip on hosts of agents that run under gVisor."""
    if LEGACY_HOSTS not in described.groups:
        pytest.skip("this is no legacy host: the daemon's options are the operator's own")


@pytest.fixture(scope="module")
def with_gvisor(described: InventoryHost, gvisor_host: None) -> None:  # noqa: ARG001
    """Skip where the inventory wants gVisor to be gone."""
    if not expectations.wanted(described):
        pytest.skip("gVisor is not wanted on this host")


@pytest.fixture(scope="module")
def with_containerd(described: InventoryHost, gvisor_host: None) -> None:  # noqa: ARG001
    """Skip where the inventory doesn't name containerd."""
    if "containerd" not in engines(described):
        pytest.skip("containerd is not an engine of this host")


@pytest.fixture(scope="module")
def with_docker(described: InventoryHost) -> None:
    """Skip where the inventory doesn't name Docker."""
    if "docker" not in engines(described):
        pytest.skip("docker is not an engine of this host")


@pytest.fixture(scope="module")
def docker_probes(host: Host, with_docker: None) -> Iterator[DockerProbes]:  # noqa: ARG001
    """Containers that Docker starts from an image made on the spot; gone afterwards, whatever happened."""
    probes = DockerProbes(host)
    try:
        yield probes
    finally:
        probes.remove()


@pytest.fixture(scope="module")
def containerd(host: Host, described: InventoryHost, with_containerd: None) -> Containerd:  # noqa: ARG001
    """The containerd that the inventory means, else the one whose socket is there."""
    named = (described.data.get("containerd") or {}).get("distribution")
    if named:
        return CONTAINERDS[named]
    there = [found for found in CONTAINERDS.values() if host.run("test -S %s", found.socket).rc == 0]
    assert there, "no containerd listens"
    return there[0]


@pytest.fixture(scope="module")
def containerd_probes(host: Host, containerd: Containerd) -> Iterator[ContainerdProbes]:
    """The same through containerd itself."""
    probes = ContainerdProbes(host, containerd)
    try:
        yield probes
    finally:
        probes.remove()
