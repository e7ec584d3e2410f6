"""Background processes of the lab that outlive the command: started, found again and stopped by pid.

A pid alone may belong to another process by now (a reboot, a wrap-around), so the time at which it started is
remembered with it (/proc/PID/stat, field 22, proc(5)).
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bulkhead import files
from bulkhead.errors import BulkheadError

TAIL_LINES = 10


@dataclass(frozen=True)
class Daemon:
    """A process known by `name`; `run` is the folder of its pid file, `logs` of its log."""

    name: str
    run: Path
    logs: Path

    @property
    def pid_file(self) -> Path:
        return self.run / f"{self.name}.json"

    @property
    def log(self) -> Path:
        return self.logs / f"{self.name}.log"

    @property
    def command(self) -> list[str] | None:
        """The command that was started, if it is still running."""
        try:
            kept = json.loads(self.pid_file.read_text())
            alive = _start_time(int(kept["pid"])) == kept["started"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return list(kept["command"]) if alive else None

    @property
    def pid(self) -> int | None:
        """The process's id, if it is still running."""
        return int(json.loads(self.pid_file.read_text())["pid"]) if self.command is not None else None

    def start(
        self,
        command: Sequence[str | Path],
        *,
        ready: Callable[[], bool],
        seconds: float = 30,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command` detached from this process and wait until `ready` says so, for at most `seconds`.

        Raises BulkheadError with the last lines of its log when it ends or isn't ready in time.
        """
        arguments = [str(part) for part in command]
        self.logs.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env={**os.environ, **(env or {})},
            )
        kept = {"pid": process.pid, "started": _start_time(process.pid), "command": arguments}
        files.write(self.pid_file, json.dumps(kept))
        end = time.monotonic() + seconds
        while not ready():
            if process.poll() is not None:
                raise self._failure(f"{self.name} ended at once with status {process.returncode}")
            if time.monotonic() > end:
                self.stop()
                raise self._failure(f"{self.name} was not ready after {seconds:g} s")
            time.sleep(0.1)

    def stop(self, seconds: float = 10) -> bool:
        """Stop the process if it runs: ask, wait for at most `seconds`, then kill. True if there was one."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + seconds
            while self.pid is not None:
                if time.monotonic() > end:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.05)
        self.pid_file.unlink(missing_ok=True)
        return pid is not None

    def _failure(self, message: str) -> BulkheadError:
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return BulkheadError("\n".join([message, *("    " + line for line in lines)]), hint=f"Log: {self.log}")


def _start_time(pid: int) -> str | None:
    """When `pid` started, in clock ticks since boot; None if it isn't running (a zombie isn't)."""
    try:
        # The second field is the program's name in parentheses and may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
