"""The second half of commit-confirm, on the controller: a new ruleset stays only if a new connection comes through it.

A connection that is open already goes on under a ruleset that lets no new one in, so it proves nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import FunctionCommand, Host, State, StringCommand, operation
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.base import BaseConnector

from bulkhead.guard import be_strict, becomes_root

TIMEOUT = 180
"""Seconds that the confirmation may take once it is connected."""


@operation()
def confirmed(
    load: str | None, probes: str, confirm: str, rollback: str
) -> Generator[StringCommand | FunctionCommand, Any, None]:
    """Run `load`, connect anew, run `probes`, then `confirm`, all as root; where any of that fails run `rollback`.

    One operation, since others wait for all hosts between two of them, and the timer does not. None is no change.
    """
    if load is not None:
        yield StringCommand("sh", _stdin=load)
        yield FunctionCommand(_confirm, (probes, confirm, rollback), {})


def _confirm(state: State, host: Host, probes: str, confirm: str, rollback: str) -> bool:
    why = _tried(state, host, probes, confirm)
    if not why:
        return True
    logger.error(f"{host.print_prefix}the new egress policy is taken back: {why}")
    left = _root(host.connector, host, rollback)
    if left:
        logger.error(f"{host.print_prefix}the open connection can't do that ({left}); the host does it by itself")
    else:
        logger.error(f"{host.print_prefix}the policy from before is in force again")
    return False


def _tried(state: State, host: Host, probes: str, confirm: str) -> str:
    """Why the new policy can't stay; empty when it could be confirmed."""
    connector = host.connector_cls(state, host)
    be_strict(host, connector)
    try:
        connector.connect()
    except ConnectError as error:
        return f"no new connection comes through ({error})"
    try:
        return _root(connector, host, probes) or _root(connector, host, confirm)
    finally:
        connector.disconnect()


def _root(connector: BaseConnector, host: Host, script: str) -> str:
    """Run a script as root; what it said when it failed, empty when it did not."""
    try:
        status, output = connector.run_shell_command(
            StringCommand("sh"), False, False, _stdin=script, _sudo=becomes_root(host.data.dict()), _timeout=TIMEOUT
        )
    except (OSError, SSHException, TimeoutError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if status else (output.stderr.strip() or "it failed without a word")
