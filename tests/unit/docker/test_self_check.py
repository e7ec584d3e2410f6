"""What a host says of its own Docker, from what a daemon prints."""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from bulkhead.drift.pins import FilePin, NotedFile, Search
from bulkhead.inventory import InventoryHost
from bulkhead.look import Look
from deploys.docker import pins
from deploys.docker.facts import LEDGER
from tests.unit.docker.test_containers import PROFILE, inspected
from tests.unit.docker.test_drift import GVISOR, LEGACY, gvisor, gvisor_info, legacy
from tests.unit.docker.test_hardened import INFO
from tests.unit.helpers import gvisor_host
from tests.unit.self_check.running import Run, host

SOCKET = "/run/docker.sock"
BRIDGE = {"Name": "bridge", "Options": {"com.docker.network.bridge.enable_icc": "false"}}
SLICE = "bulkhead-agents.slice"
FREE: dict[str, Any] = {"Runtime": "runc", "UsernsMode": "", "CgroupParent": SLICE}


@contextmanager
def answering(path: Path, info: dict[str, Any] | None, containers: list[dict[str, Any]]) -> Iterator[None]:
    """Something that answers on a Unix socket as dockerd does, to a real curl."""
    pages: dict[str, Any] = {"/networks/bridge": BRIDGE}
    pages["/containers/json"] = [{"Id": one["Id"], "Names": [one["Name"]]} for one in containers]
    pages |= {f"/containers/{one['Id']}/json": one for one in containers}
    if info is not None:
        pages["/info"] = info

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path in pages
            text = (json.dumps(pages.get(self.path, {}), separators=(",", ":")) + "\n").encode()
            self.send_response(200 if found else 500)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def address_string(self) -> str:
            return ""

        def log_message(self, format: str, *args: object) -> None:
            pass

    with socketserver.ThreadingUnixStreamServer(os.fspath(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            path.unlink()


def checked(
    tmp_path: Path,
    described: InventoryHost,
    look: Look,
    info: dict[str, Any] | None,
    *containers: dict[str, Any],
) -> Run:
    searches = [one for one in pins.of(described, look) if isinstance(one, Search)]
    asked = [one for one in searches if one.about in ("docker live", "docker containers")]
    assert len(asked) == 2
    socket = tmp_path / "docker.sock"
    with answering(socket, info, [*containers]):
        run = host(tmp_path, *asked, replaced={SOCKET: str(socket)}).run()
    assert "hunter2" not in run.said + run.metrics
    return run


def on_legacy(tmp_path: Path, info: dict[str, Any], *containers: dict[str, Any]) -> Run:
    return checked(tmp_path, LEGACY, legacy(), info, *containers)


def test_a_daemon_as_a_deploy_leaves_it(tmp_path: Path) -> None:
    run = on_legacy(
        tmp_path, INFO, inspected(**FREE), inspected("b", 1, **{**FREE, "Runtime": "io.containerd.runc.v2"})
    )
    assert (run.status, run.said, run.errors) == (0, "", "")


def test_one_with_gvisor(tmp_path: Path) -> None:
    run = checked(tmp_path, GVISOR, gvisor(), gvisor_info(GVISOR), inspected())
    assert (run.status, run.said, run.errors) == (0, "", "")


LIVE = {
    "a runtime with more arguments": (
        lambda info: info["Runtimes"]["runsc"]["runtimeArgs"].insert(0, "--net-raw=true"),
        ["critical Docker docker runtime runsc"],
    ),
    "a runtime gone": (lambda info: info["Runtimes"].pop("runsc"), ["critical Docker docker runtime runsc"]),
    "another default": (
        lambda info: info.update(DefaultRuntime="runc"),
        ["critical Docker docker default runtime"],
    ),
    "a runtime of somebody's": (
        lambda info: info["Runtimes"].update(evil={"path": "/usr/bin/true", "runtimeArgs": ["},", '"x":{', "]"]}),
        ["critical Docker docker runtime evil"],
    ),
    "one with a name that is none": (
        lambda info: info["Runtimes"].update({'e"{vil': {"path": "x", "options": {"a": {"b": 1}}}}),
        ['critical Docker docker runtime e\\"{vil'],
    ),
}


@pytest.mark.parametrize(("change", "expected"), LIVE.values(), ids=LIVE)
def test_a_runtime_in_the_daemon_only(change: Any, expected: list[str], tmp_path: Path) -> None:
    info = json.loads(json.dumps(gvisor_info(GVISOR)))
    change(info)
    run = checked(tmp_path, GVISOR, gvisor(), info)
    assert (run.status, run.found) == (2, expected)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"LiveRestoreEnabled": False}, ["critical Docker docker option live-restore"]),
        ({"LoggingDriver": "json-file"}, ["critical Docker docker option log-driver"]),
    ],
)
def test_an_option_in_the_daemon_only(changed: dict[str, Any], expected: list[str], tmp_path: Path) -> None:
    run = on_legacy(tmp_path, {**INFO, **changed})
    assert (run.status, run.found) == (2, expected)


CONTAINERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "privileged": ({"Privileged": True}, ["privileged"]),
    "the host's network": ({"NetworkMode": "host"}, ["network"]),
    "another runtime": ({"Runtime": "evil"}, ["runtime"]),
    "the host's processes and users": ({"PidMode": "host", "UsernsMode": "host"}, ["processes", "user namespace"]),
    "the host's shared memory": ({"IpcMode": "host"}, ["shared memory"]),
    "without seccomp and AppArmor": (
        {"SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"]},
        ["apparmor", "seccomp"],
    ),
    "in Docker's former spelling": ({"SecurityOpt": ["seccomp:unconfined", "no-new-privileges"]}, ["seccomp"]),
    "after a profile in a file": ({"SecurityOpt": [PROFILE, "apparmor=unconfined"]}, ["apparmor"]),
    "with a profile in a file": ({"SecurityOpt": [PROFILE]}, []),
    "rights": ({"CapAdd": ["CAP_SYS_ADMIN", "NET_BIND_SERVICE"]}, ["capabilities"]),
    "harmless rights": ({"CapAdd": ["NET_BIND_SERVICE"], "SecurityOpt": ["no-new-privileges"]}, []),
    "outside of the slice": ({"CgroupParent": "system.slice"}, ["cgroup"]),
}


@pytest.mark.parametrize(("how", "what"), CONTAINERS.values(), ids=CONTAINERS)
def test_a_container_out_of_bounds(how: dict[str, Any], what: list[str], tmp_path: Path) -> None:
    run = on_legacy(tmp_path, INFO, inspected("a", 1, **FREE), inspected("bad", 2, **{**FREE, **how}))
    assert run.found == [f"critical Docker container bad: {one}" for one in what]
    assert run.status == (2 if what else 0)


def test_a_sandbox_keeps_rights_within(tmp_path: Path) -> None:
    how: dict[str, Any] = {"PidMode": "host", "CapAdd": ["SYS_ADMIN"]}
    info = gvisor_info(GVISOR)
    assert checked(tmp_path, GVISOR, gvisor(), info, inspected(**how)).status == 0
    run = checked(tmp_path, GVISOR, gvisor(), info, inspected(**how, Runtime="runc", Privileged=True))
    assert run.found == [
        f"critical Docker container agent: {what}" for what in ("capabilities", "privileged", "processes", "runtime")
    ]


def test_the_engine_s_socket(tmp_path: Path) -> None:
    agent = {**inspected(), "Mounts": [{"Source": "/run/docker.sock.d"}, {"Source": "/run/docker.sock"}]}
    # The socket that is asked has another name in the test, and in the program then.
    run = checked(tmp_path, GVISOR, gvisor(), gvisor_info(GVISOR), agent)
    assert run.found == ["critical Docker container agent: engine's socket"]


@pytest.mark.parametrize("source", ["/", "/run", "/var/run/", "/run/containerd"])
def test_a_directory_that_it_is_in(source: str, tmp_path: Path) -> None:
    agent = {**inspected(), "Mounts": [{"Source": "/srv/run"}, {"Source": "/var/lib"}, {"Source": source}]}
    run = checked(tmp_path, GVISOR, gvisor(), gvisor_info(GVISOR), agent)
    assert run.found == ["critical Docker container agent: engine's socket"]


def test_where_it_runs_counts_whatever_was_asked_for(tmp_path: Path) -> None:
    agent = inspected(**{**FREE, "CgroupParent": ""})
    agent["State"] = {"Pid": os.getpid()}
    assert on_legacy(tmp_path, INFO, agent).found == ["critical Docker container agent: cgroup"]


def test_a_runtime_on_the_host_s_kernel_keeps_nothing_within(tmp_path: Path) -> None:
    runtimes = {"crun": {"runtime_type": "io.containerd.runc.v2", "binary": "/usr/bin/crun", "engines": ["docker"]}}
    described = gvisor_host(engines=["docker"], runtimes=runtimes)
    told = gvisor_info(described)
    run = checked(tmp_path, described, gvisor(described), told, inspected(Runtime="crun", PidMode="host"))
    assert run.found == ["critical Docker container agent: processes"]


def test_a_label_that_is_called_as_a_key_hides_nothing(tmp_path: Path) -> None:
    agent = inspected(
        config={"Labels": {"Runtime": "runsc", "NetworkMode": "alpha"}}, Runtime="runc", NetworkMode="host"
    )
    run = checked(tmp_path, GVISOR, gvisor(), gvisor_info(GVISOR), agent)
    assert run.found == [f"critical Docker container agent: {what}" for what in ("network", "runtime")]


def test_a_container_that_nobody_can_judge_is_an_error(tmp_path: Path) -> None:
    agent = inspected()
    del agent["HostConfig"]["Runtime"]
    run = checked(tmp_path, GVISOR, gvisor(), gvisor_info(GVISOR), agent)
    assert (run.status, run.found) == (1, ["error Docker docker containers"])


def test_its_files() -> None:
    found = {
        (type(one).__name__, one.path): one for one in pins.of(LEGACY, legacy()) if isinstance(one, FilePin | NotedFile)
    }
    assert {*found} == {
        ("NotedFile", "/etc/docker/daemon.json"),
        ("NotedFile", LEDGER),
        ("FilePin", LEDGER),
        ("FilePin", "/etc/systemd/system/bulkhead-agents.slice"),
    }
    ledger = found["FilePin", LEDGER]
    assert isinstance(ledger, FilePin)
    assert (ledger.mode, ledger.digest) == (0o600, "any")
