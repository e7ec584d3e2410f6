"""Long work shown as named steps: what runs now, what took how long, and where the log of each step lies."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shlex import join
from typing import TextIO

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bulkhead.errors import BulkheadError

TAIL_LINES = 15

PLAIN_WIDTH = 120
"""Columns of a table where there is no terminal to ask, as in a file or a CI's log."""


def stdout() -> Console:
    """A console for what a command was asked for."""
    return _console(sys.stdout)


def _console(file: TextIO) -> Console:
    return Console(file=file, highlight=False, width=None if file.isatty() else PLAIN_WIDTH)


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # prctl(2)


def run(
    command: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
    hint: str = "",
) -> str:
    """Run `command`, append what it prints to `log`, and return it (stdout and stderr together).

    `env` is added to the current environment; `timeout` is in seconds.
    Raises BulkheadError with the command, its exit status, its last lines and the log's path when it fails.
    """
    arguments = [str(part) for part in command]
    shown = join(arguments)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        sink.write(f"$ {shown}\n".encode())
        sink.flush()
        start = sink.tell()
        try:
            status: int | str = subprocess.run(
                arguments,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                input=stdin.encode() if stdin is not None else None,
                stdin=subprocess.DEVNULL if stdin is None else None,
                stdout=sink,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                preexec_fn=_end_with_parent,
            ).returncode
        except FileNotFoundError:
            status = "not found"
        except subprocess.TimeoutExpired:
            status = f"no end after {timeout:g} s"
    with log.open("rb") as source:
        source.seek(start)
        output = source.read().decode(errors="replace")
    if status != 0:
        reason = f"exit status {status}" if isinstance(status, int) else status
        # Vagrant's last words are the frames of a Ruby traceback, and the reason stands above them.
        telling = [line for line in settled(output) if not line.startswith("\tfrom ")]
        tail = "\n".join("    " + line for line in telling[-TAIL_LINES:])
        raise BulkheadError(
            f"this command failed ({reason}): {shown}" + (f"\n{tail}" if tail else ""),
            hint=" ".join(part for part in (hint, f"Log: {log}") if part),
        )
    return output


def _end_with_parent() -> None:
    """Called in a new process: it gets SIGTERM when Bulkhead is killed, rather than work on unseen."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def settled(output: str) -> list[str]:
    """The lines that a terminal would show in the end: a progress bar rewrites its own with \\r or \\b."""
    lines = output.replace("\r\n", "\n").split("\n")
    return [re.split(r"[\r\b]+(?:\x1b\[K)?", line.rstrip("\r\b"))[-1] for line in lines if line.strip()]


@dataclass
class Step:
    """One step while it runs: it knows its log and can say more about what it does just now."""

    title: str
    log: Path
    seconds: float = 0.0
    result: str = ""
    _live: Progress | None = None

    def run(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
        hint: str = "",
    ) -> str:
        """`run` with this step's log."""
        return run(command, log=self.log, cwd=cwd, env=env, stdin=stdin, timeout=timeout, hint=hint)

    def note(self, text: str) -> None:
        """Say in a few words what happens now, or, as the last note, how the step ended."""
        self.result = text
        if self._live is not None:
            self._live.update(self._live.task_ids[0], note=text)


@dataclass
class Steps:
    """A sequence of named steps: `with steps("Build the box") as step: step.run([...])`.

    On a terminal each shows a live line; elsewhere a line when it starts and one when it ends.
    Logs go to `logs`/<step>.log. Steps may nest; only the outermost has the live line.
    """

    logs: Path
    console: Console = field(default_factory=lambda: _console(sys.stderr))
    done: list[Step] = field(default_factory=list)
    _running: int = 0

    @contextmanager
    def __call__(self, title: str) -> Iterator[Step]:
        """Run the block as the step `title`; it is in `done` afterwards, also when it failed."""
        log = self.logs / f"{slug(title)}.log"
        log.unlink(missing_ok=True)
        step = Step(title, log)
        live = self._live(title) if self._running == 0 and self.console.is_terminal else None
        step._live = live
        if live is not None:
            live.start()
        elif self._running == 0:
            self.console.print(f"{title} …", markup=False)
        self._running += 1
        started = time.monotonic()
        outcome = "failed"
        try:
            yield step
            outcome = "done"
        finally:
            self._running -= 1
            step.seconds = time.monotonic() - started
            if live is not None:
                live.stop()
            if outcome == "failed":
                step.result = "failed"
            self.done.append(step)
            if self._running == 0:
                note = f" ({step.result})" if step.result else ""
                self.console.print(f"{title}: {outcome} {step.seconds:.1f} s{note}", markup=False, soft_wrap=True)

    def _live(self, title: str) -> Progress:
        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self.console,
            transient=True,
        )
        progress.add_task(title, total=None, note="")
        return progress

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by step title, in the order in which the steps ended."""
        return {step.title: round(step.seconds, 1) for step in self.done}

    def table(self) -> Table:
        """What took how long."""
        table = Table("Step", "Seconds", "Result", title="What took how long")
        table.columns[1].justify = "right"
        for step in self.done:
            table.add_row(step.title, f"{step.seconds:.1f}", step.result)
        return table


def slug(title: str) -> str:
    """`title` as a file name: lower case, words joined by dashes."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
