"""Through pyinfra's own command line: nothing connects before the inventory is right, and host keys are strict."""

import os
import platform
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL
from pyinfra.api.exceptions import PyinfraError

from bulkhead.errors import BulkheadError
from bulkhead.guard import Guard, becomes_root, explained
from bulkhead.inventory_file import ROOT
from deploys.hardening.table import AREAS

SETTINGS = {
    "engines": ["docker"],
    "gvisor": {"release": "20260817.0"},
    "egress": {"management": ["192.0.2.0/24"]},
}


def pyinfra(
    home: Path, inventory: str | Path, *arguments: str | Path, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run pyinfra as an operator does, with a home directory that holds no keys and no known hosts."""
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment.pop("SSH_AUTH_SOCK", None)
    return subprocess.run(
        [sys.executable, "-m", "pyinfra", inventory, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def written(tmp_path: Path, **groups: list[Any]) -> Path:
    inventory = tmp_path / "inventory.py"
    inventory.write_text("".join(f"{group} = {hosts!r}\n" for group, hosts in groups.items()))
    return inventory


# The inventory is checked before anything connects


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def reach(listener: socket.socket, **settings: Any) -> dict[str, Any]:
    return {"ssh_hostname": "127.0.0.1", "ssh_port": listener.getsockname()[1], **SETTINGS, **settings}


def assert_refused(tmp_path: Path, inventory: Path, listener: socket.socket, *messages: str) -> None:
    result = pyinfra(tmp_path, inventory, "deploy.py", "--dry")
    assert result.returncode == 1
    for message in messages:
        assert message in result.stderr
    assert "Traceback" not in result.stderr
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_wrong_settings_stop_the_run_before_it_connects(tmp_path: Path, listener: socket.socket) -> None:
    hosts = [
        ("agents-1", reach(listener, gvisor={"release": "latest", "flags": {"strcae": True}})),
        ("agents-2", reach(listener, engines=["podman"], docker={"default_runtime": "runsc"})),
        ("agents-3", reach(listener, gvisor={"release": "20260817.0", "flags": {"network": "host"}})),
    ]
    assert_refused(
        tmp_path,
        written(tmp_path, gvisor_hosts=hosts),
        listener,
        "agents-1: gvisor.release: 'latest' is not an exact release such as 20260817.0",
        "agents-2: engines: 'podman' is none of containerd, docker",
        "agents-3: gvisor.flags.network = host: puts the tenant on the host's own network stack",
        "Correct the inventory; nothing was connected.",
    )


def test_a_host_in_both_groups_stops_the_run_before_it_connects(tmp_path: Path, listener: socket.socket) -> None:
    hosts = [("agents-1", reach(listener))]
    assert_refused(
        tmp_path,
        written(tmp_path, gvisor_hosts=hosts, legacy_hosts=hosts),
        listener,
        "agents-1: in both gvisor_hosts and legacy_hosts",
        "Legacy agents need dedicated hosts",
    )


def test_outside_the_repository_nothing_is_deployed(tmp_path: Path) -> None:
    result = pyinfra(tmp_path, "@local", ROOT / "deploy.py", "--dry", "-y", cwd=tmp_path)
    assert result.returncode == 1
    assert "config.py was not read: run pyinfra from the top of the repository" in result.stderr


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="gVisor is not published for this machine")
def test_a_host_that_lacks_an_engine_fails_with_what_to_do(tmp_path: Path) -> None:
    engines = {"docker": "dockerd", "containerd": "containerd"}
    missing = [engine for engine, program in engines.items() if not shutil.which(program, path="/usr/sbin:/usr/bin")]
    if not missing:
        pytest.skip("this machine has both engines")
    # Hardening comes before the engines, and this machine may be one that can't be hardened.
    untouched = {"off": dict.fromkeys(AREAS, "this machine is left alone")}
    host = ("@local", {**SETTINGS, "engines": missing[:1], "hardening": untouched, "_sudo": False})
    result = pyinfra(tmp_path, written(tmp_path, gvisor_hosts=[host]), "deploy.py", "--dry", "-y")
    assert result.returncode == 1
    assert f"[@local] the inventory's engines name {missing[0]}, but the host has no" in result.stderr
    assert f"take {missing[0]} out of engines" in result.stderr
    assert "Traceback" not in result.stderr


# Host keys


class SshServer(paramiko.ServerInterface):
    """An SSH server of its own key that lets nobody in, and notes who got as far as trying."""

    def __init__(self, lets_in: bool = False) -> None:
        self.key = paramiko.ECDSAKey.generate()
        self.lets_in = lets_in
        self.connections = 0
        self.tried: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.transports: list[paramiko.Transport] = []
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            transport = paramiko.Transport(connection)
            self.transports.append(transport)
            transport.add_server_key(self.key)
            try:
                transport.start_server(server=self)
            except (paramiko.SSHException, EOFError):
                continue

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for transport in self.transports:
            transport.close()

    def known(self, key: paramiko.PKey) -> str:
        return f"[127.0.0.1]:{self.port} {key.get_name()} {key.get_base64()}\n"

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:  # noqa: ARG002
        self.tried.append(username)
        return AUTH_SUCCESSFUL if self.lets_in else AUTH_FAILED


@pytest.fixture
def server() -> Iterator[SshServer]:
    server = SshServer()
    yield server
    server.close()


def connect(tmp_path: Path, server: SshServer, known_hosts: str, **data: Any) -> str:
    """What pyinfra says when it connects to `server` with these known hosts."""
    (tmp_path / "known_hosts").write_text(known_hosts)
    reach = {
        "ssh_hostname": "127.0.0.1",
        "ssh_port": server.port,
        "ssh_user": "ops",
        "ssh_password": "wrong",
        "ssh_allow_agent": False,
        "ssh_look_for_keys": False,
        "ssh_known_hosts_file": str(tmp_path / "known_hosts"),
        "hardening": {"off": {"sshd": "who logs in by a password would be locked out"}},
        **SETTINGS,
        **data,
    }
    result = pyinfra(tmp_path, written(tmp_path, gvisor_hosts=[("agents-1", reach)]), "deploy.py", "--dry", "-y")
    assert result.returncode == 1
    assert server.connections >= 1
    return result.stderr


def test_a_host_whose_key_is_not_known_is_refused(tmp_path: Path, server: SshServer) -> None:
    output = connect(tmp_path, server, "")
    assert "No host key for [127.0.0.1]:" in output
    assert server.tried == []
    assert (tmp_path / "known_hosts").read_text() == ""


def test_a_host_with_another_key_is_refused(tmp_path: Path, server: SshServer) -> None:
    output = connect(tmp_path, server, server.known(paramiko.ECDSAKey.generate()))
    assert "agents-1" in output
    assert server.tried == []


def test_a_host_whose_key_is_known_is_asked_to_let_us_in(tmp_path: Path, server: SshServer) -> None:
    connect(tmp_path, server, server.known(server.key))
    assert "ops" in server.tried


def test_an_inventory_that_is_not_strict_is_obeyed_with_a_warning(tmp_path: Path, server: SshServer) -> None:
    output = connect(tmp_path, server, "", ssh_strict_host_key_checking="accept-new")
    assert "[agents-1] the inventory sets ssh_strict_host_key_checking = 'accept-new'" in output
    assert "ops" in server.tried


# Connections


def test_small_packets_are_sent_at_once() -> None:
    server = SshServer(lets_in=True)
    with paramiko.SSHClient() as client:
        client.get_host_keys().add(f"[127.0.0.1]:{server.port}", server.key.get_name(), server.key)
        client.connect("127.0.0.1", server.port, "ops", "right", allow_agent=False, look_for_keys=False)
        transport = client.get_transport()
        assert transport is not None
        assert isinstance(transport.sock, socket.socket)
        assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        host: Any = SimpleNamespace(connector=SimpleNamespace(client=client))
        Guard().host_connect(host, host)
        assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    server.close()


@pytest.mark.parametrize("connector", [SimpleNamespace(), SimpleNamespace(client=None)])
def test_a_connection_without_a_socket_is_left_alone(connector: Any) -> None:
    host: Any = SimpleNamespace(connector=connector)
    Guard().host_connect(host, host)


@pytest.mark.parametrize(
    ("data", "sudo"),
    [
        ({}, True),
        ({"ssh_user": "ops"}, True),
        ({"ssh_user": "root"}, False),
        ({"ssh_user": "root", "_sudo": True}, True),
        ({"ssh_user": "ops", "_sudo": False}, False),
        ({"_sudo": False}, False),
    ],
)
def test_who_needs_sudo(data: dict[str, Any], sudo: bool) -> None:
    assert becomes_root(data) is sudo


def test_an_error_for_the_user_keeps_its_message_and_hint() -> None:
    with pytest.raises(PyinfraError) as error, explained():
        raise BulkheadError("agents-1: wrong", hint="Do this.")
    assert str(error.value) == "agents-1: wrong\n  Do this."
    assert error.value.__suppress_context__
