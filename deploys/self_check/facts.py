"""What the self-check's capability reads from a host, as parts of the one look."""

from __future__ import annotations

from dataclasses import dataclass

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Command, File, FoundFile, Look, Need
from deploys.self_check import settings
from deploys.self_check.description import PROGRAM, SERVICE, SERVICE_FILE, STATE, TIMER, TIMER_FILE
from deploys.self_check.settings import KEY, SelfCheckSettings

STATES = f"{KEY}.states"


@dataclass(frozen=True)
class FoundSelfCheck:
    """What is there: the files, the directory of its own, whether the timer will start it again, and how its last run
    ended by systemd's word (`success`, `exit-code` …)."""

    program: FoundFile | None
    service: FoundFile | None
    timer: FoundFile | None
    state: bool
    scheduled: bool
    result: str


def needs(host: InventoryHost) -> list[Need]:
    """Its files, and what systemd says; of a host that is to have it, the collector's directory too."""
    wanted = settings.of(host)
    return [
        *(File(path) for path in (PROGRAM, SERVICE_FILE, TIMER_FILE, STATE)),
        *([File(wanted.textfile_directory)] if wanted else []),
        Command(
            STATES,
            f"systemctl is-enabled {TIMER} 2>/dev/null; systemctl is-active {TIMER};"
            f" systemctl show --property Result --value {SERVICE}; :",
        ),
    ]


def found(look: Look) -> FoundSelfCheck:
    """Read the answers to `needs`."""
    said = look.outputs[STATES].text.split()
    return FoundSelfCheck(
        program=look.files[PROGRAM],
        service=look.files[SERVICE_FILE],
        timer=look.files[TIMER_FILE],
        state=look.files[STATE] is not None,
        scheduled=said[:2] == ["enabled", "active"],
        result=said[-1] if said else "",
    )


def refuse_without_directory(wanted: SelfCheckSettings, look: Look) -> None:
    """Raise BulkheadError where nobody would read what is written."""
    there = look.files[wanted.textfile_directory]
    if there is None or there.kind != "directory":
        raise BulkheadError(
            f"{wanted.textfile_directory}: is {'not there' if there is None else 'no directory'}, so nobody reads what "
            "the host finds",
            hint="Install prometheus-node-exporter on it, or name the directory of its textfile collector: "
            f"{KEY}.textfile_directory.",
        )
