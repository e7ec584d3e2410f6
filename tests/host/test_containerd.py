"""Does containerd run agents in gVisor's sandbox?"""

from __future__ import annotations

import base64
import fnmatch
import json
import tomllib
from typing import Any

import pytest
from testinfra.host import Host

from bulkhead import grpc
from bulkhead.inventory import InventoryHost
from tests.host import expectations
from tests.host.containers import Containerd, ContainerdProbes

pytestmark = pytest.mark.usefixtures("with_containerd")

RUNSC = "io.containerd.runsc.v1"
RUNC = "io.containerd.runc.v2"

# runsc takes these from a container's annotations even without allow-flag-override.
GVISOR_ANNOTATIONS = [f"dev.gvisor.flag.{name}" for name in ("host-uds", "strace", "debug", "mount-cgroup-v2")]

# A verbose CRI StatusRequest, as gRPC frames it; the answer's map `info` holds CRI's effective configuration.
ASK_CRI = """\
printf '\\0\\0\\0\\0\\2\\10\\1' | curl --silent --show-error --max-time 20 --http2-prior-knowledge \
--unix-socket %s -H 'content-type: application/grpc' -H 'te: trailers' \
--data-binary @- http://localhost/runtime.v1.RuntimeService/Status | base64 -w0"""


@pytest.fixture(scope="module")
def effective(host: Host, containerd: Containerd) -> dict[str, Any]:
    """CRI's own effective configuration, as the running daemon tells it."""
    answer = base64.b64decode(host.check_output(ASK_CRI, containerd.socket))
    assert answer, "CRI does not answer"
    info = [
        dict(grpc.strings(value))
        for number, value in grpc.fields(grpc.frames(answer)[0])
        if number == 2 and isinstance(value, bytes)
    ]
    found: dict[str, Any] = next(json.loads(pair[2]) for pair in info if pair.get(1) == "config")["containerd"]
    return found


@pytest.mark.usefixtures("with_gvisor")
def test_daemon_finds_the_shim(host: Host, containerd: Containerd) -> None:
    """The running daemon finds the shim in its own search path, and may execute it."""
    # The process that listens on the socket, whatever unit it belongs to.
    pids = host.check_output(
        "ss -Hlxp src unix:%s | grep -o 'pid=[0-9]*' | head -n 1 | tr -d 'pid='", containerd.socket
    )
    assert pids, "containerd does not run"
    path = host.check_output("tr '\\0' '\\n' </proc/%s/environ | sed -n 's/^PATH=//p'", pids)
    found = host.run("PATH=%s; command -v containerd-shim-runsc-v1", path).stdout.strip()
    assert found == "/usr/local/bin/containerd-shim-runsc-v1", f"found {found or 'none'} in {path}"


def test_handler_is_in_effect(effective: dict[str, Any], described: InventoryHost) -> None:
    """The running daemon's own configuration has the handlers and the default that the inventory sets."""
    handlers = effective["runtimes"]
    for name in expectations.profiles(described):
        assert name in handlers, f"there is no handler {name}"
        assert handlers[name]["runtimeType"] == RUNSC
        assert handlers[name]["options"]["ConfigPath"] == f"/etc/containerd/{name}.toml"
    for name, said in expectations.runtimes(described, "containerd").items():
        assert name in handlers, f"there is no handler {name}"
        assert handlers[name]["runtimeType"] == said["runtime_type"]
    assert expectations.wanted(described) or "runsc" not in handlers
    default = (described.data.get("containerd") or {}).get("default_runtime")
    assert default in (None, effective["defaultRuntimeName"])


def test_no_annotation_reaches_runsc(effective: dict[str, Any]) -> None:
    """No annotation of a pod or a container is passed on to runsc, which would take flags from it."""
    for name, handler in effective["runtimes"].items():
        if handler["runtimeType"] != RUNSC:
            continue
        passed = [*(handler["PodAnnotations"] or []), *(handler["ContainerAnnotations"] or [])]
        open_ = [pattern for pattern in passed if any(fnmatch.fnmatch(flag, pattern) for flag in GVISOR_ANNOTATIONS)]
        own = [pattern for pattern in passed if pattern.startswith("dev.gvisor")]
        assert not open_ + own, f"the handler {name} passes on {', '.join(open_ + own)}"


@pytest.mark.usefixtures("with_gvisor")
def test_shim_options(host: Host, described: InventoryHost) -> None:
    """The shim gives runsc the flags for untrusted tenants, and its own path to runsc."""
    for name in expectations.profiles(described):
        options = tomllib.loads(host.file(f"/etc/containerd/{name}.toml").content_string)
        given = dict(options["runsc_config"])
        given.pop("systemd-cgroup", None)
        assert given == expectations.flags(described, name), name
        assert options["binary_name"] == "/usr/local/bin/runsc", name


@pytest.mark.usefixtures("with_gvisor")
def test_sandbox_is_gvisor(containerd_probes: ContainerdProbes) -> None:
    """A container of the shim sees gVisor's kernel, not the host's."""
    container = containerd_probes.container(RUNSC)
    assert "Starting gVisor" in container.messages
    assert container.kernel != container.host_kernel


@pytest.mark.usefixtures("with_gvisor")
def test_sandbox_from_outside(containerd_probes: ContainerdProbes) -> None:
    """The host serves it by a runsc-sandbox process and sees nothing of its program."""
    container = containerd_probes.container(RUNSC)
    assert container.process.split()[0] == "runsc-sandbox"
    assert container.seen == ()


def test_runc_shares_the_kernel(containerd_probes: ContainerdProbes) -> None:
    """The same image under runc sees the host's kernel: the checks above can tell the two apart."""
    container = containerd_probes.container(RUNC)
    assert container.kernel == container.host_kernel
    assert "Starting gVisor" not in container.messages
    assert len(container.seen) == 1
