"""Does containerd run agents in gVisor's sandbox?"""

from __future__ import annotations

import base64
import fnmatch
import json
import tomllib

import pytest
from testinfra.host import Host

from bulkhead import grpc
from bulkhead.inventory import InventoryHost
from tests.host import expectations
from tests.host.containers import ContainerdProbes

pytestmark = pytest.mark.usefixtures("with_containerd")

RUNSC = "io.containerd.runsc.v1"
RUNC = "io.containerd.runc.v2"

# runsc takes these from a container's annotations even without allow-flag-override.
GVISOR_ANNOTATIONS = [f"dev.gvisor.flag.{name}" for name in ("host-uds", "strace", "debug", "mount-cgroup-v2")]

# A verbose CRI StatusRequest, as gRPC frames it; the answer's map `info` holds CRI's effective configuration.
ASK_CRI = """\
printf '\\0\\0\\0\\0\\2\\10\\1' | curl --silent --show-error --max-time 20 --http2-prior-knowledge \
--unix-socket /run/containerd/containerd.sock -H 'content-type: application/grpc' -H 'te: trailers' \
--data-binary @- http://localhost/runtime.v1.RuntimeService/Status | base64 -w0"""


def test_daemon_finds_the_shim(host: Host) -> None:
    """The running daemon finds the shim in its own search path, and may execute it."""
    pid = host.check_output("systemctl show --property MainPID --value containerd.service")
    assert pid != "0", "containerd does not run"
    path = host.check_output("tr '\\0' '\\n' </proc/%s/environ | sed -n 's/^PATH=//p'", pid)
    found = host.run("PATH=%s; command -v containerd-shim-runsc-v1", path).stdout.strip()
    assert found == "/usr/local/bin/containerd-shim-runsc-v1", f"found {found or 'none'} in {path}"


def test_handler_is_in_effect(host: Host, described: InventoryHost) -> None:
    """The running daemon's own configuration has the handler runsc, and the default that the inventory sets."""
    answer = base64.b64decode(host.check_output(ASK_CRI))
    assert answer, "CRI does not answer"
    info = [
        dict(grpc.strings(value))
        for number, value in grpc.fields(grpc.frames(answer)[0])
        if number == 2 and isinstance(value, bytes)
    ]
    config = next(json.loads(pair[2]) for pair in info if pair.get(1) == "config")
    handler = config["containerd"]["runtimes"].get("runsc")
    assert handler is not None, "there is no handler runsc"
    assert handler["runtimeType"] == RUNSC
    assert handler["options"]["ConfigPath"] == "/etc/containerd/runsc.toml"
    default = (described.data.get("containerd") or {}).get("default_runtime")
    assert default in (None, config["containerd"]["defaultRuntimeName"])


def test_no_annotation_reaches_runsc(host: Host) -> None:
    """No annotation of a pod or a container is passed on to runsc, which would take flags from it."""
    config = tomllib.loads(host.check_output("containerd config dump"))
    for plugin in config["plugins"].values():
        for name, handler in plugin.get("containerd", {}).get("runtimes", {}).items():
            if handler.get("runtime_type") != RUNSC:
                continue
            passed = [*(handler.get("pod_annotations") or []), *(handler.get("container_annotations") or [])]
            open_ = [
                pattern for pattern in passed if any(fnmatch.fnmatch(flag, pattern) for flag in GVISOR_ANNOTATIONS)
            ]
            own = [pattern for pattern in passed if pattern.startswith("dev.gvisor")]
            assert not open_ + own, f"the handler {name} passes on {', '.join(open_ + own)}"


def test_shim_options(host: Host, described: InventoryHost) -> None:
    """The shim gives runsc the flags for untrusted tenants, and its own path to runsc."""
    options = tomllib.loads(host.file("/etc/containerd/runsc.toml").content_string)
    given = dict(options["runsc_config"])
    given.pop("systemd-cgroup", None)
    assert given == expectations.flags(described)
    assert options["binary_name"] == "/usr/local/bin/runsc"


def test_sandbox_is_gvisor(containerd_probes: ContainerdProbes) -> None:
    """A container of the shim sees gVisor's kernel, not the host's."""
    container = containerd_probes.container(RUNSC)
    assert "Starting gVisor" in container.messages
    assert container.kernel != container.host_kernel


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
