"""Looking at many hosts side by side: one connection and one remote command for each, and each by itself.

Whatever becomes of one host (dead, slow, another's key, an answer that is no answer) is that host's result and nobody
else's. Only what the comparison makes of a look is kept, so that memory goes with the hosts that are looked at at once.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import paramiko

from bulkhead import look
from bulkhead.drift import HOST_SECONDS, PARALLEL
from bulkhead.drift.finding import SHORT, presentable
from bulkhead.errors import BulkheadError
from bulkhead.guard import becomes_root
from bulkhead.inventory import InventoryHost
from bulkhead.ssh import Deadline, connected

MAX_ANSWER = 32 * 2**20
"""Bytes of an answer, as it comes over the line, above which it can't be one."""

_CHUNK = 2**16
_LINE = 300

_AS_ROOT = """[ "$(id -u)" = 0 ] || { echo 'the command does not run as root' >&2; exit 1; }
"""
"""To anybody else, what may not be read is not there, which would be drift."""

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What became of one host: `value`, what was made of its look, or else an `error` with what to do.

    `seconds` is how long that took, from the first packet.
    """

    host: InventoryHost
    seconds: float
    value: T | None
    error: str = ""


def gather(
    hosts: Sequence[InventoryHost],
    needs: Callable[[InventoryHost], Sequence[look.Need]],
    compare: Callable[[InventoryHost, look.Look], T],
    *,
    parallel: int = PARALLEL,
    seconds: float = HOST_SECONDS,
) -> Iterator[Outcome[T]]:
    """The outcome of each host as soon as it is known: `needs` says what to look at, `compare` what to make of it.

    Both are called in threads. Leaving the iteration early leaves the hosts that are under way to themselves.
    """
    waiting: queue.SimpleQueue[InventoryHost] = queue.SimpleQueue()
    done: queue.SimpleQueue[Outcome[T]] = queue.SimpleQueue()
    for host in hosts:
        waiting.put(host)
    left = threading.Event()

    def work() -> None:
        with suppress(queue.Empty):
            while not left.is_set():
                done.put(_outcome(waiting.get_nowait(), needs, compare, seconds))

    try:
        for _ in range(min(parallel, len(hosts))):
            # As daemons they keep nobody who has pressed Ctrl-C waiting, where a pool of threads would.
            threading.Thread(target=work, daemon=True).start()
        for _ in hosts:
            yield done.get()
    finally:
        left.set()


def _outcome(
    host: InventoryHost,
    needs: Callable[[InventoryHost], Sequence[look.Need]],
    compare: Callable[[InventoryHost, look.Look], T],
    seconds: float,
) -> Outcome[T]:
    started = time.monotonic()
    try:
        wanted = needs(host)
        value = compare(host, look.parse(_answer(host, _AS_ROOT + look.script(wanted), seconds), wanted))
        return Outcome(host, time.monotonic() - started, value)
    except BulkheadError as error:
        reason = presentable(str(error))
    except Exception as error:
        # The others go on, whatever this host made us stumble over.
        said = presentable(f"{type(error).__name__}: {error}", SHORT)
        reason = f"its answer could not be compared ({said})\n  Please report this as a defect."
    return Outcome(host, time.monotonic() - started, None, reason)


def _answer(host: InventoryHost, script: str, seconds: float) -> str:
    """What `host` answers to `script`, which runs as root.

    Raises BulkheadError when it gives no answer within `seconds`.
    """
    connector = host.name[1:].partition("/")[0] if host.name.startswith("@") else "ssh"
    if connector == "local":
        return _local_answer(host, script, seconds)
    if connector not in ("ssh", "vagrant", "terraform"):
        raise BulkheadError(
            f"@{connector} is no host that drift can look at",
            hint="It looks over SSH, or at @local; leave this one out with --limit.",
        )
    with Deadline(seconds) as deadline:
        try:
            return _ssh_answer(host, script, deadline)
        except Exception as error:
            if deadline.cut:
                raise BulkheadError(
                    f"no whole answer within {seconds:g} s", hint="Is the host overloaded? --timeout gives it longer."
                ) from error
            raise


def _ssh_answer(host: InventoryHost, script: str, deadline: Deadline) -> str:
    with connected(host, deadline) as transport:
        try:
            # No limits of their own: the deadline ends whatever is waited for.
            channel = transport.open_session(timeout=deadline.seconds)
            # Fed on standard input: as an argument it could become longer than a host allows.
            channel.exec_command("sudo -H -n sh" if becomes_root(host.data) else "sh")
            with suppress(OSError):
                # One who may not run it hangs up before all of it is sent; its own words say why.
                channel.sendall(script.encode())
                channel.shutdown_write()
            answer = bytearray()
            while chunk := channel.recv(_CHUNK):
                answer += chunk
                if len(answer) > MAX_ANSWER:
                    raise BulkheadError(
                        f"its answer is longer than {MAX_ANSWER >> 20} MiB",
                        hint="Does its login shell print something?",
                    )
            # A connection that ends early ends the output, too: only the status says that it was all.
            status = channel.recv_exit_status()
            errors = channel.recv_stderr(_CHUNK) if channel.recv_stderr_ready() else b""
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise BulkheadError(
                f"the connection was lost ({error or type(error).__name__})", hint="Try again."
            ) from error
    return _checked(status, bytes(answer), errors)


def _local_answer(host: InventoryHost, script: str, seconds: float) -> str:
    # Who asks by sudo may not end what it started: that has a limit of its own, just after ours.
    limited = ["timeout", "--kill-after=5", f"{seconds + 1:g}", "sh"]
    command = ["sudo", "-H", "-n", *limited] if becomes_root(host.data) and os.geteuid() != 0 else limited
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        answer, errors = process.communicate(script.encode(), timeout=seconds)
    except subprocess.TimeoutExpired as error:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                with suppress(OSError):
                    stream.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        raise BulkheadError(f"no whole answer within {seconds:g} s", hint="--timeout gives it longer.") from error
    return _checked(process.returncode, answer, errors)


def _checked(status: int, answer: bytes, errors: bytes) -> str:
    """The answer as text, unless the command failed."""
    if status == 0:
        return answer.decode("ascii", "replace")
    if status == -1:
        raise BulkheadError("the connection was lost before the whole answer was there", hint="Try again.")
    said = errors.decode(errors="replace").strip().splitlines()
    raise BulkheadError(
        f"looking at it failed with exit status {status}: {said[-1][:_LINE] if said else 'no reason given'}",
        hint="The connecting user must be root or allowed to use sudo without a password.",
    )
