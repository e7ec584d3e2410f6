"""The host's half of commit-confirm: what is tried goes again by itself unless somebody confirms it.

For what could lock everybody out. Before it comes into force the host is told how to go back, and a timer is armed;
who confirms it disarms the timer. `bulkhead/confirm.py` is the other half, on the controller.

A capability whose new state is files writes them by `put`; one that tries something else includes `host/trial.sh.j2` in
its own script, and calls `arm` just before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import Field

from bulkhead import put as files
from bulkhead.look import Command, File, Look, Need
from bulkhead.templates import render, whole

Seconds = Annotated[int, Field(ge=20, le=3600)]
"""How long a host waits for the confirmation, as the inventory may say it."""

CONFIRMED = "it was confirmed"
"""What `Trial.take_back` says on standard error where there is nothing to take back any more."""

UNITS = "/etc/systemd/system"
RUN = "/run"


@dataclass(frozen=True)
class Trial:
    """Something that is tried on a host.

    `name` is the capability's, and that of its directory below Bulkhead's own; `what` and `before` name for messages
    what is new (`egress policy`) and what comes back (`policy`). The host waits `seconds` for a confirmation, which has
    to know the `digest` of what it confirms.
    """

    name: str
    what: str
    before: str
    seconds: int
    digest: str

    @property
    def state(self) -> str:
        """The directory of all that is kept during the trial."""
        return state(self.name)

    @property
    def pending(self) -> str:
        """Holds the digest while the trial lasts."""
        return f"{self.state}/pending"

    @property
    def rolled_back(self) -> str:
        """Says that something was taken back, until it is confirmed or no longer wanted."""
        return rolled_back(self.name)

    @property
    def unit(self) -> str:
        """The timer and the service that take it back."""
        return f"bulkhead-{self.name}-rollback"

    @property
    def at_boot(self) -> str:
        """The unit that takes it back when the host is reset, where the next boot would read what is new."""
        return f"{UNITS}/bulkhead-{self.name}-unconfirmed.service"

    @property
    def wanted_by(self) -> str:
        """The link by which a boot finds that unit."""
        return f"{UNITS}/sysinit.target.wants/{PurePosixPath(self.at_boot).name}"

    @property
    def armed(self) -> str:
        """A file that no boot leaves: only after one has the unit something to do."""
        return f"{RUN}/bulkhead-{self.name}.armed"

    @property
    def take_back(self) -> str:
        """The script that takes it back at once. The timer goes last: it is what helps when this does not.

        One that was confirmed, though nobody heard of it, is left alone.
        """
        rollback = f"{self.state}/rollback"
        return (
            f"PATH={files.preamble_values()['path']}\n"
            f"[ -e {self.pending} ] || [ -e {rollback} ] || {{ echo '{CONFIRMED}' >&2; exit 0; }}\n"
            f"sh {rollback} && systemctl stop {self.unit}.timer"
        )

    def values(self, restore: str, *, boots: bool = False) -> dict[str, Any]:
        """What `host/trial.sh.j2` needs. `restore` is the shell snippet that goes back.

        `boots` says that the next boot would read what is new already, so that a host that is reset has to go back too.
        """
        common = {**files.preamble_values(), "trial": self}
        unit = render("host/unconfirmed.service.j2", trial=self).encode() if boots else b""
        return {**common, "unit": unit, "rollback": render("host/rollback.sh.j2", **common, restore=restore).encode()}

    def confirm(self, keep: str = "") -> str:
        """The script that confirms it; the snippet `keep` makes it last beforehand, where it does not yet."""
        return whole(render("host/confirm.sh.j2", **files.preamble_values(), trial=self, keep=keep))

    def put(self, change: files.Change) -> str:
        """The script that writes and activates a Change as `put.script` does, until it is confirmed or taken back."""
        restore = render("host/put_back.sh.j2", **files.values(change))
        return files.script(change, self.values(restore, boots=True))


def state(name: str) -> str:
    """Where a capability's trials keep what they need."""
    return f"{files.SCRATCH}/{name}"


def rolled_back(name: str) -> str:
    """The mark of a trial that was taken back."""
    return f"{state(name)}/rolled-back"


def digest(change: files.Change) -> str:
    """What a Change is known by: the sha256 of its script, in hexadecimal."""
    return hashlib.sha256(files.script(change).encode()).hexdigest()


@dataclass(frozen=True)
class FoundTrial:
    """What became of the last trial: taken back, still waiting for somebody; `marks` are files of it that are left."""

    rolled_back: bool
    waits: bool
    marks: Sequence[str]


def needs(name: str) -> list[Need]:
    """What a look has to bring of a capability's trials."""
    unit = Trial(name, "", "", 0, "").unit
    return [
        File(f"{state(name)}/pending"),
        File(rolled_back(name)),
        Command(f"{name}.trial", f"systemctl is-active {unit}.timer {unit}.service 2>/dev/null; :"),
    ]


def found(look: Look, name: str) -> FoundTrial:
    """Read the answers to `needs`."""
    active = {"active", "activating"} & set(look.outputs[f"{name}.trial"].text.split())
    marks = [path for path in (f"{state(name)}/pending", rolled_back(name)) if look.files[path] is not None]
    return FoundTrial(
        rolled_back=look.files[rolled_back(name)] is not None,
        waits=bool(active) and look.files[f"{state(name)}/pending"] is not None,
        marks=marks,
    )
