"""The program by which a host compares itself, the units that run it, and what of them is to be where. Pure, no I/O."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from bulkhead.drift import accepted, pins
from bulkhead.drift.formats.prometheus import HELP
from bulkhead.drift.pins import Check, FilePin, NotedFile, Pin, Search
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import PATH
from bulkhead.templates import render
from deploys.self_check.settings import KEY, SelfCheckSettings

PROGRAM = "/usr/local/sbin/bulkhead-drift-self"
SERVICE = "bulkhead-drift-self.service"
TIMER = "bulkhead-drift-self.timer"
SERVICE_FILE, TIMER_FILE = (f"/etc/systemd/system/{unit}" for unit in (SERVICE, TIMER))
STATE = "/var/lib/bulkhead-drift-self"
"""Since when each finding is known, on the host."""

TEXTFILE = "bulkhead-drift-self.prom"

MODE = 0o700
"""Of the program: nobody but root has to know what is looked at."""

SECONDS = 60
"""How long one question may take."""

_END = "END_OF_QUESTION"
_NOTED = re.compile(r"^noted (\S+) (\S+) ([0-9a-f]{64})$", re.MULTILINE)
_NAMED = re.compile(rf"^ExecStart=.* (/\S+/{re.escape(TEXTFILE)})$", re.MULTILINE)


def program(host: InventoryHost, checks: Sequence[Check]) -> bytes:
    """The program with all that it compares; of two pins of one file the last is meant.

    Raises BulkheadError where a question can't be written down.
    """
    questions = [one for one in checks if isinstance(one, Pin | Search)]
    for one in questions:
        if _END in one.script.splitlines():
            raise BulkheadError(f"{host.name}: {KEY}: a setting holds the line {_END}", hint="Write it otherwise.")
    files = {one.path: one for one in checks if isinstance(one, FilePin)}
    return render(
        "self_check/program.sh.j2",
        path=PATH,
        state=STATE,
        seconds=SECONDS,
        accepted=[_shell_pattern(pattern) for pattern in accepted.of(host).accept],
        files=list(files.values()),
        noted=[one for one in checks if isinstance(one, NotedFile)],
        pins=[one for one in questions if isinstance(one, Pin)],
        searches=[one for one in questions if isinstance(one, Search)],
        end=_END,
        help=HELP,
    ).encode()


def _shell_pattern(pattern: str) -> str:
    """A pattern of subjects as a shell's `case` takes it: `*` and `?` alone stand for other texts."""
    parts = re.split(r"([*?])", pattern)
    return "".join(part if part in ("*", "?") else shlex.quote(part) for part in parts if part)


def with_noted(text: bytes, there: bytes | None) -> bytes:
    """A program that goes by the digests of the user's files by which the one that is `there` goes: what a user wrote
    since is no tampering with the program."""
    known = {match[2]: match[3] for match in _NOTED.finditer((there or b"").decode(errors="replace"))}
    return _NOTED.sub(
        lambda match: f"noted {match[1]} {match[2]} {known.get(match[2], match[3])}", text.decode()
    ).encode()


def service(host: InventoryHost, wanted: SelfCheckSettings, text: bytes) -> bytes:
    """The unit that runs this very program."""
    return render(
        "self_check/service.j2",
        program=PROGRAM,
        digest=pins.digest(text),
        host=host.name,
        inventory=wanted.inventory,
        textfile=textfile(wanted),
        state=STATE.rpartition("/")[2],
    ).encode()


def timer(wanted: SelfCheckSettings) -> bytes:
    """What starts it."""
    return render("self_check/timer.j2", interval=wanted.interval, jitter=wanted.jitter, service=SERVICE).encode()


def textfile(wanted: SelfCheckSettings) -> str:
    """What node_exporter reads."""
    return f"{wanted.textfile_directory}/{TEXTFILE}"


def own_pins(wanted: SelfCheckSettings) -> list[Check]:
    """What a host compares of the self-check itself; its program and the unit are each other's business."""
    return [
        pins.own_file(KEY, TIMER_FILE, timer(wanted)),
        pins.units(KEY, [(TIMER, True, True)], [SERVICE]),
    ]


def named_textfile(unit: bytes | None) -> str | None:
    """The metrics that a unit which is there writes to."""
    match = _NAMED.search((unit or b"").decode(errors="replace"))
    return match[1] if match else None
