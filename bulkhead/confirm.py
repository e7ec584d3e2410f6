"""The second half of commit-confirm, on the controller: what is tried stays only if a new connection comes through it.

A connection that is open already goes on under a ruleset or an sshd that lets no new one in, so it proves nothing.
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
from bulkhead.trial import CONFIRMED, Trial

TIMEOUT = 180
"""Seconds that the confirmation may take once it is connected."""

PAUSE = 2
"""Seconds before another attempt to connect."""


@operation()
def confirmed(
    trial: Trial, load: str | None, probes: str = "", keep: str = "", retries: int = 0
) -> Generator[StringCommand | FunctionCommand, Any, None]:
    """Run `load`, which arms the trial, connect anew, run `probes`, then confirm it, all as root; else take it back.

    One operation, since others wait for all hosts between two of them, and the timer does not. None is no change.
    `keep` is the snippet that makes the confirmed thing last. `retries` to connect are for a daemon that doesn't listen
    while it takes in what is new. Who is not let in does not try again, since an sshd shuts out who fails too often.
    """
    if load is not None:
        yield StringCommand("sh", _stdin=load)
        yield FunctionCommand(_confirm, (trial, probes, keep, retries), {})


def _confirm(state: State, host: Host, trial: Trial, probes: str, keep: str, retries: int) -> bool:
    why = _tried(state, host, [script for script in (probes, trial.confirm(keep)) if script], retries)
    if not why:
        return True
    logger.error(f"{host.print_prefix}the new {trial.what} is taken back: {why}")
    done, said = _root(host.connector, host, trial.take_back)
    if done and CONFIRMED in said.splitlines():
        logger.warning(f"{host.print_prefix}it was confirmed before that, so it stays: only the answer was lost")
        return True
    if done:
        logger.error(f"{host.print_prefix}the {trial.before} from before is in force again")
        for line in said.splitlines():
            logger.error(f"{host.print_prefix}    {line}")
    else:
        logger.error(f"{host.print_prefix}the open connection can't do that ({said}); the host does it by itself")
    return False


def _tried(state: State, host: Host, scripts: list[str], retries: int) -> str:
    """Why what is new can't stay; empty when it could be confirmed."""
    connector = host.connector_cls(state, host)
    be_strict(host, connector)
    data: Any = getattr(connector, "data", {})
    if retries and "ssh_connect_retries" in data:
        pause = dict.fromkeys(("ssh_connect_retry_min_delay", "ssh_connect_retry_max_delay"), PAUSE)
        data.update(pause, ssh_connect_retries=max(retries, data["ssh_connect_retries"]))
    try:
        connector.connect()
    except ConnectError as error:
        return f"no new connection comes through ({error})"
    try:
        for script in scripts:
            done, said = _root(connector, host, script)
            if not done:
                return said
        return ""
    finally:
        connector.disconnect()


def _root(connector: BaseConnector, host: Host, script: str) -> tuple[bool, str]:
    """Run a script as root: whether it succeeded, and what it said on standard error."""
    try:
        status, output = connector.run_shell_command(
            StringCommand("sh"), False, False, _stdin=script, _sudo=becomes_root(host.data.dict()), _timeout=TIMEOUT
        )
    except (EOFError, OSError, SSHException) as error:
        return False, f"{type(error).__name__}: {error}"
    said = output.stderr.strip()
    return status, said if status or said else "it failed without a word"
