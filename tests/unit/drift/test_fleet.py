"""Looking at hosts over real SSH: one command each, and whatever is wrong with one is that one's error alone."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pyinfra.connectors.sshuserclient.client import get_host_keys, get_ssh_config

from bulkhead import look, ssh
from bulkhead.drift import fleet
from bulkhead.drift.fleet import Outcome, gather
from bulkhead.inventory import InventoryHost
from bulkhead.look import Command, File, Look
from bulkhead.ssh import Deadline, connected
from tests.oracles.sshd import Sshd, binary, keygen, needs_namespaces, sshd

pytestmark = needs_namespaces

NEEDS: list[look.Need] = [File("/etc/passwd"), Command("who", "id -un"), Command("much", "seq 100000")]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without keys, agent or known hosts; its OpenSSH configuration is read anew by each test."""
    binary()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    get_ssh_config.cache.clear()
    return tmp_path / "home"


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with sshd() as server:
        yield server


def host(data: dict[str, Any], name: str = "agents-1") -> InventoryHost:
    return InventoryHost(name, frozenset({"gvisor_hosts"}), data)


def who(_: InventoryHost, seen: Look) -> str:
    assert seen.outputs["much"].text.endswith("\n100000")
    passwd = seen.files["/etc/passwd"]
    assert passwd is not None
    assert passwd.content.startswith(b"root:x:0:0::/root:")
    return seen.outputs["who"].text


def outcome(data: dict[str, Any], seconds: float = 20, name: str = "agents-1") -> Outcome[str]:
    (only,) = gather([host(data, name)], lambda _: NEEDS, who, seconds=seconds)
    return only


def error(data: dict[str, Any], seconds: float = 20) -> str:
    became = outcome(data, seconds)
    assert became.value is None
    assert became.error.count("\n") == 1, "what is wrong, and what to do"
    return became.error


def shell(path: Path, script: str) -> Path:
    """A login shell that is this script; `$2` is the command."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_host_is_looked_at_by_one_connection_and_one_command(server: Sshd) -> None:
    before = server.log.read_text()
    became = outcome(server.data())
    assert (became.value, became.error) == ("root", "")
    assert 0 < became.seconds < 20
    log = server.log.read_text().removeprefix(before)
    assert (log.count("Connection from"), log.count("Starting session: ")) == (1, 1)
    assert "Starting session: command for root" in log


def test_small_packets_are_sent_at_once(server: Sshd) -> None:
    with Deadline(20) as deadline, connected(host(server.data()), deadline) as transport:
        assert isinstance(transport.sock, socket.socket)
        assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_open(server: Sshd) -> None:
    outcome(server.data())
    threads, opened = threading.active_count(), descriptors()
    for _ in range(3):
        outcome(server.data())
    until = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < until:
        time.sleep(0.05)
    assert threading.active_count() <= threads
    assert descriptors() <= opened


# Hosts that can't be reached, or are not who they should be


def test_a_closed_port(server: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert error(server.data(ssh_port=port)) == (
        f"127.0.0.1 port {port}: Connection refused\n"
        "  Is the host up, and does its sshd listen there (ssh_hostname, ssh_port)?"
    )


def test_a_name_that_is_none(server: Sshd) -> None:
    message = error(server.data(ssh_hostname="no such name"))
    assert message.startswith("the name no such name can't be resolved (")


@contextmanager
def listener(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port behind which `answer` is all there is."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                taken.append(connection)
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in taken:
            connection.close()


def trickle(what: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        try:
            while True:
                connection.sendall(what)
                time.sleep(0.05)
        except OSError:
            pass

    return answer


def test_one_that_accepts_and_says_nothing(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "CONNECT_SECONDS", 0.5)
    with listener(lambda _: None) as port:
        message = error(server.data(ssh_port=port))
    assert message.startswith(f"127.0.0.1 port {port}: no SSH server answers (")


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200, os.urandom(2**16), b"SSH-2.0-x\r\n" + bytes(2**16), b""]
)
def test_one_that_is_no_ssh_server(server: Sshd, greeting: bytes) -> None:
    def answer(connection: socket.socket) -> None:
        # Who does not like what is said hangs up.
        with suppress(OSError):
            connection.sendall(greeting)
            connection.shutdown(socket.SHUT_WR)

    with listener(answer) as port:
        assert error(server.data(ssh_port=port)).startswith(f"127.0.0.1 port {port}: ")


@pytest.mark.parametrize("what", [b"x\r\n", b"x", b"SSH-2.0-x\r\n\0\0\0\x10"])
def test_one_that_trickles_is_cut_off(server: Sshd, what: bytes) -> None:
    with listener(trickle(what)) as port:
        started = time.monotonic()
        assert error(server.data(ssh_port=port), seconds=1.5)
        assert time.monotonic() - started < 4


def test_a_host_whose_key_is_not_known(server: Sshd, tmp_path: Path) -> None:
    for known in ("", "[127.0.0.2]:1 ssh-ed25519 AAAA\n"):
        (tmp_path / "known").write_text(known)
        get_host_keys.cache.clear()
        message = error(server.data(ssh_known_hosts_file=str(tmp_path / "known")))
        assert re.fullmatch(
            rf"the host key of \[127\.0\.0\.1\]:{server.port} \(ssh-ed25519 SHA256:\S{{43}}\) is not known\n"
            rf"  If the host itself shows this fingerprint, add its key to {tmp_path}/known\.",
            message,
        )
        assert (tmp_path / "known").read_text() == known


def test_no_known_hosts_at_all(server: Sshd, home: Path) -> None:
    data = server.data()
    del data["ssh_known_hosts_file"]
    assert error(data).endswith(f"add its key to {home}/.ssh/known_hosts.")


def test_a_host_with_another_key(server: Sshd, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other").with_suffix(".pub").read_text()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {other}")
    message = error(server.data(ssh_known_hosts_file=str(tmp_path / "known")))
    assert message.startswith(f"the host key of [127.0.0.1]:{server.port} is another one than before (ssh-ed25519 SHA")
    assert f"ssh-keygen -f {tmp_path}/known -R '[127.0.0.1]:{server.port}'" in message


def test_an_inventory_that_is_not_strict_is_obeyed(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "known").touch()
    data = server.data(ssh_known_hosts_file=str(tmp_path / "known"), ssh_strict_host_key_checking="accept-new")
    assert outcome(data).value == "root"
    assert (tmp_path / "known").read_text().split() == server.known.split()


def test_a_key_that_is_not_let_in(server: Sshd, tmp_path: Path) -> None:
    message = error(server.data(ssh_key=str(keygen(tmp_path / "other"))))
    assert message.startswith(f"127.0.0.1 port {server.port} does not let root in (")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"ssh_key": "/no/such/key"}, "No such private key file: /no/such/key"),
        ({"ssh_key": "/etc/passwd"}, "Invalid private key file: /etc/passwd"),
        ({"ssh_port": "ssh"}, "invalid literal for int"),
        ({"ssh_port": 99999}, "127.0.0.1 port 99999: "),
        ({"ssh_strict_host_key_checking": "maybe"}, "StrictHostKeyChecking=maybe"),
        ({"ssh_paramiko_connect_kwargs": {"pasword": "x"}}, "pasword"),
    ],
)
def test_data_that_make_no_sense(server: Sshd, data: dict[str, Any], said: str) -> None:
    assert said in error(server.data(**data))


# Hosts that let us in and give no answer


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("sleep 60", "no whole answer within 2 s"),
        ("while :; do echo; sleep 0.05; done", "no whole answer within 2 s"),
        ("exec yes >&2", "no whole answer within 2 s"),
        ("exec yes", "its answer is longer than 1 MiB"),
        ("head -c 300000 /dev/urandom", "the host's answer is not whole ("),
        ("echo Welcome; exec sh -c '$2'", "the host's answer is not whole ("),
        ('sh -c "$2" | head -c 100000', "the host's answer is not whole ("),
        ('sh -c "$2" | head -c 100000; kill -9 $PPID', "the connection was lost"),
        ("echo Not now. >&2; exit 3", "looking at it failed with exit status 3: Not now."),
        ('TMPDIR=/proc exec sh -c "$2"', "looking at it failed with exit status 1: mktemp: failed to create"),
    ],
)
def test_a_host_that_gives_no_answer(script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "MAX_ANSWER", 2**20)
    with sshd(shell=shell(tmp_path / "shell", script)) as server:
        started = time.monotonic()
        assert error(server.data(), seconds=2).startswith(said)
        assert time.monotonic() - started < 5


def test_a_user_who_has_no_sudo(server: Sshd) -> None:
    message = error(server.data(ssh_user="ops"))
    assert message.startswith("looking at it failed with exit status 127: ")
    assert "sudo" in message
    assert message.endswith("The connecting user must be root or allowed to use sudo without a password.")


def test_a_user_who_does_not_become_root(server: Sshd) -> None:
    """What it can't read would seem absent."""
    message = error(server.data(ssh_user="ops", _sudo=False))
    assert message.startswith("looking at it failed with exit status 1: the command does not run as root\n")


def test_a_comparison_that_stumbles_is_that_host_s_error(server: Sshd) -> None:
    def compare(host: InventoryHost, _: Look) -> str:
        return {"agents-1": "well"}[host.name]

    hosts = [host(server.data()), host(server.data(), "agents-2")]
    became = {one.host.name: one for one in gather(hosts, lambda _: NEEDS, compare)}
    assert became["agents-1"].value == "well"
    assert became["agents-2"].error.startswith("its answer could not be compared (KeyError: 'agents-2')\n")


def test_the_others_do_not_notice(server: Sshd, tmp_path: Path) -> None:
    """With two at a time: those that hang are cut off, and the queue behind them is worked off."""
    with sshd(shell=shell(tmp_path / "shell", "exec yes >&2")) as stuck, listener(trickle(b"x\r\n")) as port:
        hosts = []
        for number in range(2):
            hosts.append(host(stuck.data(), f"stuck-{number}"))
            hosts.append(host(server.data(ssh_port=port), f"slow-{number}"))
            hosts.append(host(server.data(), f"good-{number}"))
        became = {one.host.name: one for one in gather(hosts, lambda _: NEEDS, who, parallel=2, seconds=1.5)}
    assert len(became) == 6
    assert {name for name, one in became.items() if one.value == "root"} == {"good-0", "good-1"}
    assert all(one.error for name, one in became.items() if not name.startswith("good"))


# Ways to a host, and other ways to log in


def test_the_openssh_configuration_says_what_the_inventory_leaves_open(server: Sshd, home: Path) -> None:
    (home / ".ssh" / "config").write_text(
        f"Host agents-1\n  HostName 127.0.0.1\n  Port {server.port}\n  User root\n  IdentityFile {server.key}\n"
        f"  UserKnownHostsFile {server.known_hosts}\n"
    )
    assert outcome({"_sudo": False}).value == "root"


def test_what_the_inventory_says_goes_first(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host *\n  Port 1\n  User nobody\n  IdentityFile /no/such\n")
    assert outcome(server.data(ssh_config_file=str(tmp_path / "config"))).value == "root"


def through(server: Sshd, jump: Sshd, tmp_path: Path, known_hosts: Path) -> dict[str, Any]:
    """The inventory's data of `server` as it is reached through `jump`."""
    (tmp_path / "config").write_text(
        f"Host agents-1\n  HostName 127.0.0.1\n  ProxyJump root@jump\n"
        f"Host jump\n  HostName 127.0.0.1\n  Port {jump.port}\n  IdentityFile {jump.key}\n"
        f"  UserKnownHostsFile {known_hosts}\n"
    )
    return server.data(ssh_hostname="agents-1", ssh_config_file=str(tmp_path / "config"))


def test_a_host_behind_a_jump_host(server: Sshd, tmp_path: Path) -> None:
    with sshd(ForceCommand="false") as jump:
        assert outcome(through(server, jump, tmp_path, jump.known_hosts)).value == "root"
        assert "root from 127.0.0.1" in jump.log.read_text()


def test_a_jump_host_whose_key_is_not_known_is_refused_and_nobody_is_asked(server: Sshd, tmp_path: Path) -> None:
    with sshd() as jump:
        message = error(through(server, jump, tmp_path, tmp_path / "none"))
        assert message.startswith(f"the host key of [127.0.0.1]:{jump.port} (ssh-ed25519 ")


def test_a_jump_host_that_lets_nothing_through(server: Sshd, tmp_path: Path) -> None:
    with sshd(AllowTcpForwarding="no") as jump:
        message = error(through(server, jump, tmp_path, jump.known_hosts))
    assert message.startswith(f"the jump host [127.0.0.1]:{jump.port} does not reach 127.0.0.1 port {server.port} ")


def test_a_host_behind_a_proxy_command(server: Sshd, tmp_path: Path) -> None:
    with sshd() as jump:
        (tmp_path / "config").write_text(
            f"Host agents-1\n  HostName 127.0.0.1\n  ProxyCommand ssh -F none -i {jump.key} -p {jump.port} "
            f"-o BatchMode=yes -o UserKnownHostsFile={jump.known_hosts} -W 127.0.0.1:{server.port} root@127.0.0.1\n"
        )
        data = server.data(ssh_hostname="agents-1", ssh_config_file=str(tmp_path / "config"))
        assert outcome(data).value == "root"


@pytest.mark.parametrize("script", ["exit 1", "no-such-program-at-all", "sleep 60"])
def test_a_proxy_command_that_does_not_work(server: Sshd, tmp_path: Path, script: str) -> None:
    (tmp_path / "config").write_text(f"Host *\n  ProxyCommand {script}\n")
    assert error(server.data(ssh_config_file=str(tmp_path / "config")), seconds=2)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """An ssh-agent's socket."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    while not path.exists():
        time.sleep(0.02)
    yield path
    process.terminate()
    process.wait()


def add(agent: Path, *keys: Path) -> None:
    command = ["ssh-add", "-q", *map(str, keys)]
    subprocess.run(command, env={**os.environ, "SSH_AUTH_SOCK": str(agent)}, check=True)


def test_an_agent_s_keys_are_tried_also_when_they_are_many(agent: Path, tmp_path: Path, home: Path) -> None:
    with sshd(MaxAuthTries=2) as server:
        add(agent, *(keygen(tmp_path / f"key{number}") for number in range(4)), server.key)
        data = server.data()
        del data["ssh_key"]
        (home / ".ssh" / "config").write_text(f"IdentityAgent {agent}\n")
        assert outcome(data).value == "root"
        assert "SSH_AUTH_SOCK" not in os.environ


def test_an_agent_without_the_right_key(agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    with sshd(MaxAuthTries=2) as server:
        add(agent, *(keygen(tmp_path / f"key{number}") for number in range(4)))
        data = server.data()
        del data["ssh_key"]
        assert error(data).startswith(f"127.0.0.1 port {server.port}")


def test_this_machine_itself() -> None:
    def user(_: InventoryHost, seen: Look) -> str:
        return seen.outputs["who"].text

    (became,) = gather([host({}, "@local")], lambda _: [Command("who", "id -un")], user)
    assert (became.value, became.error) == ("root", "")
    (became,) = gather([host({}, "@local")], lambda _: [Command("who", "sleep 9")], user, seconds=0.5)
    assert became.error.startswith("no whole answer within 0.5 s\n")
    assert became.seconds < 3


def test_what_is_not_reached_by_ssh_is_refused() -> None:
    (became,) = gather([host({}, "@docker/debian")], lambda _: NEEDS, who)
    assert became.error == (
        "@docker is no host that drift can look at\n  It looks over SSH, or at @local; leave this one out with --limit."
    )
