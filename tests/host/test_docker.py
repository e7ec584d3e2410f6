"""Does Docker run agents in gVisor's sandbox, also when nobody asks for it?"""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host

from bulkhead.inventory import InventoryHost
from tests.host import expectations
from tests.host.containers import DockerProbes

pytestmark = pytest.mark.usefixtures("with_docker")


@pytest.fixture(scope="module")
def info(host: Host) -> dict[str, Any]:
    """What the running daemon says of itself."""
    found: dict[str, Any] = json.loads(host.check_output("docker info --format '{{json .}}'"))
    return found


@pytest.fixture(scope="module")
def asked(described: InventoryHost) -> str:
    """How to ask for the sandbox: not at all, unless the inventory makes another runtime the default."""
    default = (described.data.get("docker") or {}).get("default_runtime", "runsc")
    return "default" if default == "runsc" else "runsc"


def test_runtime_arguments(info: dict[str, Any], described: InventoryHost) -> None:
    """The running daemon starts this runsc, with the flags for untrusted tenants."""
    runtime = info["Runtimes"].get("runsc")
    assert runtime is not None, "the daemon has no runtime runsc"
    assert runtime["path"] == expectations.runsc(described)
    given = dict(argument.removeprefix("--").split("=", 1) for argument in runtime["runtimeArgs"])
    assert given == expectations.flags(described)


def test_default_runtime(info: dict[str, Any], described: InventoryHost) -> None:
    """A container for which nobody names a runtime gets the one that the inventory says, gVisor if it says none."""
    expected = (described.data.get("docker") or {}).get("default_runtime", "runsc")
    assert info["DefaultRuntime"] == expected


def test_sandbox_is_gvisor(docker_probes: DockerProbes, asked: str) -> None:
    """A networked container for which nobody names a runtime sees gVisor's kernel, not the host's."""
    container = docker_probes.container(asked)
    assert "Starting gVisor" in container.messages
    assert container.kernel != container.host_kernel


def test_sandbox_from_outside(docker_probes: DockerProbes, asked: str) -> None:
    """The host serves it by a runsc-sandbox process and sees nothing of its program."""
    container = docker_probes.container(asked)
    assert container.process.split()[0] == "runsc-sandbox"
    assert container.seen == ()


def test_runc_shares_the_kernel(docker_probes: DockerProbes) -> None:
    """The same image under runc sees the host's kernel: the checks above can tell the two apart."""
    container = docker_probes.container("runc")
    assert container.kernel == container.host_kernel
    assert "Starting gVisor" not in container.messages
    assert len(container.seen) == 1
