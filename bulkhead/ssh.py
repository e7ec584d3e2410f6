"""Reaching a host over SSH outside a run of pyinfra, as pyinfra reaches it: the same data, the same configuration.

The inventory's `ssh_…` data go before the OpenSSH configuration (`HostName`, `User`, `Port`, `IdentityFile`,
`IdentityAgent`, `UserKnownHostsFile`, `ConnectTimeout`, `ProxyCommand`, `ProxyJump`), which pyinfra's own functions
read. pyinfra's client is not used as a whole: it asks at the keyboard about the key of a jump host, and is made for one
thread.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import paramiko
from paramiko.agent import Agent
from paramiko.config import SSH_PORT
from pyinfra.api.exceptions import PyinfraError
from pyinfra.connectors.ssh_util import _patch_paramiko_sk_key_support, load_key_with_certificate
from pyinfra.connectors.sshuserclient.client import (
    SSHClient,
    _attach_identity_with_certificate,
    get_host_keys,
    get_missing_host_key_policy,
    get_ssh_config,
)

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.inventory_file import from_root

CONNECT_SECONDS = 10.0
"""How long each step of connecting may take (TCP, key exchange, authentication) unless `ConnectTimeout` says another;
pyinfra's own default."""

# What paramiko writes when a connection ends, with tracebacks, is said by the errors here.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_ONE_AT_A_TIME = threading.Lock()
"""For what is one for the whole process: the environment, files that are kept once read, a known_hosts file."""


class Deadline:
    """A moment at which all connections that were handed over end, whatever they are waiting for.

    paramiko waits for some answers without a limit, and each byte that trickles in begins other limits anew.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.cut = False
        """Whether a connection was ended."""
        self._passed = False
        self._end = time.monotonic() + seconds
        self._connections: list[Any] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    @property
    def left(self) -> float:
        """The seconds until then; afterwards a moment, since 0 means to sockets not to wait at all."""
        return max(self._end - time.monotonic(), 0.001)

    def ends(self, connection: Any) -> None:
        """Have a socket, or what paramiko takes for one, end then."""
        with self._lock:
            self._connections.append(connection)
            if self._passed:
                self._cut()

    def _pass(self) -> None:
        with self._lock:
            self._passed = True
            self._cut()

    def _cut(self) -> None:
        for connection in self._connections:
            self.cut = True
            _end(connection)


def _end(connection: Any) -> None:
    with suppress(OSError, EOFError):
        if isinstance(connection, socket.socket):
            # Closed, its number could become another connection's while paramiko still reads from it.
            connection.shutdown(socket.SHUT_RDWR)
        else:
            connection.close()


@dataclass(frozen=True)
class _Hop:
    """A host to log in to: the last one is the host itself, the ones before are jump hosts."""

    hostname: str
    port: int
    policy: str
    known_hosts: tuple[str, ...]
    seconds: float
    identity_agent: str | None
    arguments: Mapping[str, Any] = field(repr=False)
    """What paramiko's client takes: who logs in, and by what."""

    @property
    def entry(self) -> str:
        """The host's name in a known_hosts file."""
        return self.hostname if self.port == SSH_PORT else f"[{self.hostname}]:{self.port}"


Dial = Callable[[], Any]
"""Makes the socket, or what stands in for one, that a login runs over."""


@contextmanager
def connected(host: InventoryHost, deadline: Deadline) -> Iterator[paramiko.Transport]:
    """A connection to `host` that lasts for the block, and not beyond `deadline`.

    Host keys are checked strictly unless the inventory says otherwise by `ssh_strict_host_key_checking`, those of jump
    hosts unless the OpenSSH configuration does. Nothing is asked at the keyboard.

    Raises BulkheadError with the reason and what to do when there is no connection.
    """
    _patch_paramiko_sk_key_support()
    hops, dial = _way(host, deadline)
    with ExitStack() as opened:
        for number, hop in enumerate(hops):
            transport = _login(hop, dial, deadline, opened)
            if number + 1 < len(hops):
                dial = partial(_tunnel, transport, hop, hops[number + 1], deadline)
        yield transport


def _way(host: InventoryHost, deadline: Deadline) -> tuple[list[_Hop], Dial]:
    """The jump hosts in their order and the host itself, and how the first of them is reached.

    Raises BulkheadError for what is wrong in the data or the configuration.
    """
    data = host.data
    config_file = data.get("ssh_config_file")
    try:
        with _ONE_AT_A_TIME:
            config = get_ssh_config(from_root(config_file) if config_file else None) or paramiko.SSHConfig()
        name = str(data.get("ssh_hostname") or host.name)
        target = _hop(config, name, _said(data), data)
        looked_up = config.lookup(name)
        jumps = looked_up.get("proxyjump", "none")
        shorthands = [] if "proxycommand" in looked_up or jumps == "none" else jumps.split(",")
        hops = [
            _hop(config, jump, {key: value for key, value in said.items() if key in ("username", "port") and value}, {})
            for jump, said in (SSHClient.derive_shorthand(config, shorthand.strip()) for shorthand in shorthands)
        ]
    except (PyinfraError, paramiko.SSHException, ValueError, OSError) as error:
        raise BulkheadError(
            f"how to reach it is wrong: {error}", hint="Correct ssh_… in the inventory, or the OpenSSH configuration."
        ) from error
    hops.append(target)
    if command := looked_up.get("proxycommand"):
        return hops, partial(_run, command, deadline)
    return hops, partial(_dial, hops[0], deadline)


def _said(data: Mapping[str, Any]) -> dict[str, Any]:
    """What the inventory says of the login, as paramiko takes it."""
    said: dict[str, Any] = {"allow_agent": False, "look_for_keys": False}
    for key, argument in (("ssh_user", "username"), ("ssh_port", "port"), ("ssh_password", "password")):
        if data.get(key):
            said[argument] = data[key]
    if data.get("ssh_key"):
        said["pkey"] = _key(from_root(data["ssh_key"]), data.get("ssh_key_password"))
    else:
        for key in ("allow_agent", "look_for_keys"):
            chosen = data.get(f"ssh_{key}")
            said[key] = True if chosen is None else bool(chosen)
    return said


@cache
def _key(path: str, password: str | None) -> paramiko.PKey:
    return load_key_with_certificate(path, password, allow_prompt=False)


def _hop(config: paramiko.SSHConfig, name: str, said: Mapping[str, Any], data: Mapping[str, Any]) -> _Hop:
    """One hop: what is `said` of it goes before the OpenSSH configuration, `data` are the inventory's."""
    looked_up = config.lookup(name)
    arguments: dict[str, Any] = dict(said)
    if "user" in looked_up:
        arguments.setdefault("username", looked_up["user"])
    if "identityfile" in looked_up and "pkey" not in arguments:
        arguments["key_filename"] = looked_up["identityfile"]
        _attach_identity_with_certificate(arguments, looked_up)
    arguments |= data.get("ssh_paramiko_connect_kwargs") or {}
    known_hosts = data.get("ssh_known_hosts_file")
    policy = str(
        (data.get("ssh_strict_host_key_checking") if data else looked_up.get("stricthostkeychecking")) or "yes"
    )
    agent = looked_up.get("identityagent", "none")
    return _Hop(
        hostname=looked_up.get("hostname", name),
        port=int(arguments.pop("port", 0) or looked_up.get("port", SSH_PORT)),
        # There is nobody to ask.
        policy="yes" if policy == "ask" else policy,
        known_hosts=(from_root(known_hosts),)
        if known_hosts
        else tuple(
            str(Path(file).expanduser()) for file in looked_up.get("userknownhostsfile", "~/.ssh/known_hosts").split()
        ),
        seconds=float(looked_up.get("connecttimeout", CONNECT_SECONDS)),
        identity_agent=None if agent.lower() == "none" else str(Path(agent).expanduser()),
        arguments=arguments,
    )


def _dial(hop: _Hop, deadline: Deadline) -> socket.socket:
    """A TCP connection to `hop`."""
    seconds = min(hop.seconds, deadline.left)
    place = f"{hop.hostname} port {hop.port}"
    try:
        connection = socket.create_connection((hop.hostname, hop.port), timeout=seconds)
    except socket.gaierror as error:
        raise BulkheadError(
            f"the name {hop.hostname} can't be resolved ({error.strerror})",
            hint="Correct ssh_hostname in the inventory, or this computer's resolver.",
        ) from error
    except TimeoutError as error:
        raise BulkheadError(
            f"{place}: no answer within {seconds:.0f} s", hint="Is the host up, and is there a firewall in between?"
        ) from error
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BulkheadError(
            f"{place}: {reason}", hint="Is the host up, and does its sshd listen there (ssh_hostname, ssh_port)?"
        ) from error
    # paramiko leaves Nagle's algorithm on, at about 40 ms for each exchange of small packets.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    deadline.ends(connection)
    return connection


def _run(command: str, deadline: Deadline) -> paramiko.ProxyCommand:
    """The process of a `ProxyCommand`."""
    try:
        process = paramiko.ProxyCommand(command)
    except (OSError, ValueError) as error:
        raise BulkheadError(f"ProxyCommand {command}: {error}", hint="Correct the OpenSSH configuration.") from error
    deadline.ends(process)
    return process


def _tunnel(transport: paramiko.Transport, hop: _Hop, towards: _Hop, deadline: Deadline) -> paramiko.Channel:
    """A channel through `hop`, which is logged in to, towards the next one."""
    try:
        channel = transport.open_channel(
            "direct-tcpip",
            (towards.hostname, towards.port),
            ("127.0.0.1", 0),
            timeout=min(towards.seconds, deadline.left),
        )
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise BulkheadError(
            f"the jump host {hop.entry} does not reach {towards.hostname} port {towards.port} ({error})",
            hint="Is the host up, and does the jump host's sshd let connections through?",
        ) from error
    deadline.ends(channel)
    return channel


def _login(hop: _Hop, dial: Dial, deadline: Deadline, opened: ExitStack) -> paramiko.Transport:
    """A transport over which `hop` has let us in; `opened` closes it.

    Raises BulkheadError when it is not the host that it should be, or does not let us in.
    """
    attempts = [dict(hop.arguments)]
    while True:
        arguments = attempts.pop(0)
        client = _client(hop)
        opened.callback(client.close)
        seconds = min(hop.seconds, deadline.left)
        # The greeting comes first: where there is none, that is to be said, and not that there is no session.
        limits = {"banner_timeout": seconds, "timeout": seconds + 1, "auth_timeout": seconds}
        try:
            client.connect(hop.hostname, hop.port, sock=dial(), **limits, **arguments)
            transport: paramiko.Transport | None = client.get_transport()
            if transport is None:
                raise paramiko.SSHException("the connection was lost")
            return transport
        except (paramiko.SSHException, OSError, EOFError) as error:
            # A server hangs up on one who offers many keys: each of the agent's gets a login of its own, as in pyinfra.
            many = "no existing session" in str(error).lower()
            if many and arguments.get("allow_agent"):
                keys = client._agent.get_keys()[1:]
                attempts = [{**arguments, "allow_agent": False, "pkey": key} for key in keys]
            if not attempts or not (many or isinstance(error, paramiko.AuthenticationException)):
                raise _explained(hop, error, seconds) from error


def _client(hop: _Hop) -> Any:
    client: Any = paramiko.SSHClient()
    with _ONE_AT_A_TIME:
        # What is there is read once for all hosts.
        client._host_keys = get_host_keys(tuple(file for file in hop.known_hosts if Path(file).exists()))
        client._host_keys_filename = hop.known_hosts[0]
        client.set_missing_host_key_policy(_Policy(hop))
        if hop.arguments.get("allow_agent"):
            client._agent = _agent(hop.identity_agent)
    return client


def _agent(path: str | None) -> Agent:
    """The agent at `path`, or the environment's; paramiko looks for it in the environment alone."""
    before = os.environ.get("SSH_AUTH_SOCK")
    try:
        if path:
            os.environ["SSH_AUTH_SOCK"] = path
        return Agent()
    finally:
        if path and before is not None:
            os.environ["SSH_AUTH_SOCK"] = before
        elif path:
            del os.environ["SSH_AUTH_SOCK"]


class _Policy(paramiko.MissingHostKeyPolicy):
    """What to do with a host of which no key is known: refuse it, or what pyinfra does."""

    def __init__(self, hop: _Hop) -> None:
        self.hop = hop
        self.other = None if hop.policy == "yes" else get_missing_host_key_policy(hop.policy)

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        if self.other is None:
            raise BulkheadError(
                f"the host key of {self.hop.entry} ({key.get_name()} {key.fingerprint}) is not known",
                hint=f"If the host itself shows this fingerprint, add its key to {self.hop.known_hosts[0]}.",
            )
        with _ONE_AT_A_TIME:
            self.other.missing_host_key(client, hostname, key)


def _explained(hop: _Hop, error: Exception, seconds: float) -> BulkheadError:
    """What went wrong at `hop`, and what to do."""
    place = f"{hop.hostname} port {hop.port}"
    if isinstance(error, paramiko.BadHostKeyException):
        return BulkheadError(
            f"the host key of {hop.entry} is another one than before ({error.key.get_name()} {error.key.fingerprint})",
            hint="Somebody may be in between. If the host itself shows this fingerprint, remove the old key with "
            f"ssh-keygen -f {hop.known_hosts[0]} -R {hop.entry!r} and add the new one.",
        )
    if isinstance(error, paramiko.AuthenticationException):
        return BulkheadError(
            f"{place} does not let {hop.arguments.get('username') or 'this user'} in ({error})",
            hint="Is ssh_user right, and is its key there (ssh_key, or the agent's) and allowed on the host?",
        )
    if "banner" in str(error) or isinstance(error, EOFError):
        return BulkheadError(
            f"{place}: no SSH server answers ({error or 'the connection was closed'})",
            hint="Does sshd listen there (ssh_hostname, ssh_port), and does it let this computer connect?",
        )
    if "no existing session" in str(error).lower():
        return BulkheadError(
            f"{place}: no session within {seconds:g} s",
            hint="The host may be overloaded; or an agent holds many keys: name one with ssh_key.",
        )
    return BulkheadError(f"{place}: {error}", hint="Try 'ssh -v' with the same host and user.")
