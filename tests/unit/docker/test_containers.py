"""Running containers by a real curl and a real awk, from what a daemon prints, and what is wrong with each."""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.templates import render
from deploys.docker.containers import Breach, breaches, parse
from tests.unit.helpers import sh

RUNSC = {"runsc"}
ID = "4f" * 32


def inspected(
    name: str = "agent", number: int = 0, config: dict[str, Any] | None = None, **host: Any
) -> dict[str, Any]:
    """What Docker 26 prints of a container, in its order, of which some keys are left out."""
    return {
        "Id": f"{number:02x}" + ID[2:],
        "Path": "sleep",
        "Args": ["--token", "hunter2"],
        "Name": f"/{name}",
        "HostConfig": {
            "Binds": None,
            "LogConfig": {"Type": "local", "Config": {}},
            "NetworkMode": "alpha",
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "CapAdd": None,
            "IpcMode": "private",
            "PidMode": "",
            "Privileged": False,
            "SecurityOpt": None,
            "UsernsMode": "",
            "Runtime": "runsc",
            "CgroupParent": "",
            **host,
        },
        "GraphDriver": {"Name": "overlay2"},
        "Mounts": [],
        "Config": {"Env": ["TOKEN=hunter2"], "Labels": {}, **(config or {})},
        "NetworkSettings": {"Networks": {}},
    }


class Daemon:
    """Something that answers on a Unix socket as dockerd does; `gone` have ended since they were listed.

    `trouble` is container → the status of the answer, 0 for none at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.there: list[dict[str, Any]] = []
        self.gone: set[str] = set()
        self.trouble: dict[str, int] = {}

    def answer(self, path: str) -> tuple[int, str]:
        if path == "/containers/json":
            listed = [{"Id": one["Id"], "Names": [one["Name"]], "Labels": {"Id": "x"}} for one in self.there]
            return 200, json.dumps(listed, separators=(",", ":")) + "\n"
        name = path.split("/")[2]
        if name in self.gone:
            return 404, '{"message":"No such container"}\n'
        if name in self.trouble:
            return self.trouble[name], '{"message":"context deadline exceeded"}\n'
        (found,) = (one for one in self.there if one["Id"] == name)
        return 200, json.dumps(found, separators=(",", ":")) + "\n"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    stand_in = Daemon(tmp_path / "docker.sock")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, text = stand_in.answer(self.path)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def address_string(self) -> str:
            return ""

        def log_message(self, format: str, *args: object) -> None:
            pass

    with socketserver.ThreadingUnixStreamServer(os.fspath(stand_in.path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield stand_in
        server.shutdown()
        thread.join()


def asked(daemon: Daemon, tmp_path: Path) -> str:
    api = render("docker/api.sh.j2", socket=daemon.path, path="/containers/json").strip()
    script = render("docker/inspected.sh.j2", socket=daemon.path, containers=api)
    done = sh(f"d={tmp_path}; export d\n{script}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "hunter2" not in done.stdout
    return done.stdout


def found(daemon: Daemon, tmp_path: Path, *, sandboxes: set[str] = RUNSC) -> list[tuple[str, str, str]]:
    return [
        (container.name, breach.what, breach.actual)
        for container in parse(asked(daemon, tmp_path))
        for breach in breaches(container, {"runsc"}, sandboxes, set())
    ]


def test_no_containers_and_no_daemon(daemon: Daemon, tmp_path: Path) -> None:
    assert asked(daemon, tmp_path) == ""
    script = render("docker/inspected.sh.j2", socket=tmp_path / "none", containers="false")
    assert sh(script).returncode == 0


def test_a_daemon_that_fails_is_told_by_the_status(tmp_path: Path, daemon: Daemon) -> None:
    for containers in ("false", f"curl --silent --fail --unix-socket {daemon.path} http://localhost/x/y/z"):
        script = render("docker/inspected.sh.j2", socket=daemon.path, containers=containers)
        assert sh(f"d={tmp_path}; export d\n{script}").returncode == 1


def test_several_containers_of_which_one_ends_meanwhile(daemon: Daemon, tmp_path: Path) -> None:
    daemon.there = [inspected("a", 1), inspected("b", 2, Privileged=True), inspected("c", 3, NetworkMode="host")]
    assert [container.name for container in parse(asked(daemon, tmp_path))] == ["a", "b", "c"]
    assert found(daemon, tmp_path) == [("b", "privileged", "yes"), ("c", "network", "the host's")]
    daemon.gone = {daemon.there[1]["Id"]}
    assert found(daemon, tmp_path) == [("c", "network", "the host's")]


def test_a_tenant_s_own_words_hide_nothing(daemon: Daemon, tmp_path: Path) -> None:
    """Labels, annotations and variables that are called as the daemon's keys."""
    words = {"Runtime": "runsc", "Privileged": "false", "NetworkMode": "alpha", "Name": "/other", "Id": "x"}
    env = ['"Privileged":false,"Runtime":"runsc"', "container"]
    host = {"Runtime": "runc", "Privileged": True, "NetworkMode": "host", "Annotations": words}
    daemon.there = [inspected("agent", 1, {"Labels": words, "Env": env, "Entrypoint": ["\ncontainer\n"]}, **host)]
    assert found(daemon, tmp_path) == [
        ("agent", "runtime", "runc"),
        ("agent", "privileged", "yes"),
        ("agent", "network", "the host's"),
    ]


PROFILE = 'seccomp={"names":["read","apparmor=unconfined"],"args":[]}'
"""As docker hands over a profile that is in a file: the whole of it."""

BREACHES: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"PidMode": "host"}, [("processes", "the host's")]),
    ({"IpcMode": "host"}, [("shared memory", "the host's")]),
    ({"UsernsMode": "host"}, [("user namespace", "the host's")]),
    ({"SecurityOpt": ["seccomp=unconfined"]}, [("seccomp", "unconfined")]),
    ({"SecurityOpt": ["apparmor=unconfined", "label=x"]}, [("apparmor", "unconfined")]),
    (
        {"SecurityOpt": ["seccomp:unconfined", "apparmor:unconfined"]},
        [("seccomp", "unconfined"), ("apparmor", "unconfined")],
    ),
    ({"SecurityOpt": [PROFILE, "apparmor=unconfined"]}, [("apparmor", "unconfined")]),
    ({"SecurityOpt": [PROFILE, "label=type:unconfined_t"]}, []),
    ({"CapAdd": ["CAP_SYS_ADMIN", "CAP_NET_BIND_SERVICE"]}, [("capabilities", "SYS_ADMIN")]),
    ({"CapAdd": ["ALL"]}, [("capabilities", "ALL")]),
    ({"CapAdd": ["CAP_SYSLOG"]}, []),
    ({"CgroupParent": "system.slice"}, []),
    ({}, []),
]


@pytest.mark.parametrize(("host", "expected"), BREACHES)
def test_what_a_container_on_the_host_s_kernel_must_not_have(
    daemon: Daemon, tmp_path: Path, host: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    """In a sandbox these are of the sandbox alone."""
    daemon.there = [inspected(**host)]
    assert found(daemon, tmp_path, sandboxes=set()) == [("agent", *one) for one in expected]
    assert found(daemon, tmp_path) == []


def test_the_engine_s_socket_opens_every_sandbox(daemon: Daemon, tmp_path: Path) -> None:
    daemon.there = [
        {**inspected(), "Mounts": [{"Type": "bind", "Source": "/run/docker.sock"}, {"Source": "/srv/docker.sock.d"}]}
    ]
    assert found(daemon, tmp_path) == [("agent", "engine's socket", "/run/docker.sock")]


@pytest.mark.parametrize("source", ["/", "/run", "/run/", "/var", "/var/run", "/run/containerd", "/var/run/containerd"])
def test_and_so_do_the_directories_that_it_is_in(source: str, daemon: Daemon, tmp_path: Path) -> None:
    daemon.there = [{**inspected(), "Mounts": [{"Source": "/srv/run"}, {"Source": "/var/lib"}, {"Source": source}]}]
    assert found(daemon, tmp_path) == [("agent", "engine's socket", source)]


def test_one_that_does_not_answer_is_never_one_that_has_ended(daemon: Daemon, tmp_path: Path) -> None:
    """Neither the first nor the last of several."""
    api = render("docker/api.sh.j2", socket=daemon.path, path="/containers/json").strip()
    script = f"d={tmp_path}; export d\n{render('docker/inspected.sh.j2', socket=daemon.path, containers=api)}"
    daemon.there = [inspected("a", 1), inspected("b", 2), inspected("c", 3)]
    for one in daemon.there:
        for trouble in (0, 500):
            daemon.trouble = {one["Id"]: trouble}
            assert sh(script).returncode == 1, (one["Name"], trouble)


def test_where_it_runs_counts_whatever_was_asked_for(daemon: Daemon, tmp_path: Path) -> None:
    """One that started while the daemon had no slice says nothing of a cgroup."""
    here = sh("sed -n 's/^0:://p' /proc/$PPID/cgroup").stdout.strip()
    daemon.there = [inspected()]
    daemon.there[0]["State"] = {"Status": "running", "Pid": os.getpid(), "ExitCode": 0}
    (container,) = parse(asked(daemon, tmp_path))
    assert [*breaches(container, RUNSC, set(), {"agents.slice"})] == [Breach("cgroup", "agents.slice", here)]
    daemon.there[0]["State"]["Pid"] = 2**22 + 1
    (container,) = parse(asked(daemon, tmp_path))
    assert [*breaches(container, RUNSC, set(), {"agents.slice"})] == []


def test_the_slice() -> None:
    def told(parent: str) -> list[Breach]:
        (container,) = parse(f'container\n"Id":"a"\n"Name":"/a"\n"Runtime":"runc"\n"CgroupParent":"{parent}"\n')
        return list(breaches(container, {"runc"}, set(), {"agents.slice"}))

    assert told("") == told("agents.slice") == []
    assert told("system.slice") == [Breach("cgroup", "agents.slice", "system.slice")]
    assert told('"\n"Cgroup":"/agents.slice/docker-1.scope') == []
    other = "/system.slice/docker-1.scope"
    assert told(f'"\n"Cgroup":"{other}') == [Breach("cgroup", "agents.slice", other)]


@pytest.mark.parametrize("text", ['container\n"Id":"a"\n"Runtime":"runc"\n', 'container\n"Id":"a"\n"Name":"/a"\n'])
def test_what_does_not_tell_is_never_right(text: str) -> None:
    with pytest.raises(BulkheadError, match="docker does not say what bounds the container a"):
        parse(text)
