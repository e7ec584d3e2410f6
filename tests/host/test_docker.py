"""Does Docker run agents in gVisor's sandbox, also when nobody asks for it?"""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host

from bulkhead.inventory import InventoryHost
from tests.host import expectations
from tests.host.containers import DockerProbes

pytestmark = pytest.mark.usefixtures("with_docker", "gvisor_host")


@pytest.fixture(scope="module")
def info(host: Host) -> dict[str, Any]:
    """What the running daemon says of itself."""
    found: dict[str, Any] = json.loads(host.check_output("docker info --format '{{json .}}'"))
    return found


@pytest.fixture(scope="module")
def asked(described: InventoryHost) -> list[str]:
    """How to ask for the sandbox: not at all, unless another runtime is the default; and for each profile by name."""
    default = (described.data.get("docker") or {}).get("default_runtime", "runsc")
    return ["default" if name == default else name for name in expectations.profiles(described)]


def test_runtime_arguments(info: dict[str, Any], described: InventoryHost) -> None:
    """The running daemon starts this runsc, with the flags for untrusted tenants, and has the inventory's runtimes."""
    for name in expectations.profiles(described):
        runtime = info["Runtimes"].get(name)
        assert runtime is not None, f"the daemon has no runtime {name}"
        assert runtime["path"] == expectations.runsc(described)
        given = dict(argument.removeprefix("--").split("=", 1) for argument in runtime["runtimeArgs"])
        assert given == expectations.flags(described, name)
    for name, said in expectations.runtimes(described, "docker").items():
        runtime = info["Runtimes"].get(name)
        assert runtime is not None, f"the daemon has no runtime {name}"
        # Of a runtime that is a shim the daemon tells the name alone.
        assert runtime.get("path") == said.get("binary")
    if not expectations.wanted(described):
        assert not {"runsc"} & set(info["Runtimes"])


def test_default_runtime(info: dict[str, Any], described: InventoryHost) -> None:
    """A container for which nobody names a runtime gets the one that the inventory says, gVisor if it says none."""
    expected = (described.data.get("docker") or {}).get("default_runtime", "runsc")
    if expectations.wanted(described):
        assert info["DefaultRuntime"] == expected
    else:
        assert info["DefaultRuntime"] != "runsc"


@pytest.mark.usefixtures("with_gvisor")
def test_sandbox_is_gvisor(docker_probes: DockerProbes, asked: list[str]) -> None:
    """A networked container for which nobody names a runtime sees gVisor's kernel, not the host's."""
    for name in asked:
        container = docker_probes.container(name)
        assert "Starting gVisor" in container.messages, name
        assert container.kernel != container.host_kernel, name


@pytest.mark.usefixtures("with_gvisor")
def test_sandbox_from_outside(docker_probes: DockerProbes, asked: list[str]) -> None:
    """The host serves it by a runsc-sandbox process and sees nothing of its program."""
    for name in asked:
        container = docker_probes.container(name)
        assert container.process.split()[0] == "runsc-sandbox", name
        assert container.seen == (), name


@pytest.mark.usefixtures("with_gvisor")
def test_programs_start_threads(host: Host, docker_probes: DockerProbes) -> None:
    """A program in a sandbox can start threads: what it asks the kernel for is refused in the way that it expects."""
    folders = host.check_output("ls -d /usr/lib /usr/lib64 2>/dev/null; :").split()
    volumes = [f"--volume {path}:{path.removeprefix('/usr')}:ro" for path in folders]
    # The host's own curl, which looks names up in a thread of its own; there is nobody to answer.
    name, _ = docker_probes.plain(" ".join(["--network none --volume /usr:/usr:ro", *volumes]))
    asked = host.run("docker exec %s /usr/bin/curl --silent --show-error http://name.invalid/", name)
    assert (asked.rc, asked.stderr.strip()) == (6, "curl: (6) Could not resolve host: name.invalid")


def test_runc_shares_the_kernel(docker_probes: DockerProbes) -> None:
    """The same image under runc sees the host's kernel: the checks above can tell the two apart."""
    container = docker_probes.container("runc")
    assert container.kernel == container.host_kernel
    assert "Starting gVisor" not in container.messages
    assert len(container.seen) == 1
