"""What becomes of one area on one host: the change, what it looks like, and what the operator has to know besides."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bulkhead import put
from bulkhead.look import FoundFile, Look


@dataclass(frozen=True)
class Wrong:
    """What the running host has otherwise: of what, what it should be and what it is, and the line for `--diff`."""

    subject: str
    expected: str
    actual: str
    line: str


@dataclass(frozen=True)
class Plan:
    """`change` is None where all is as it should be; `lines` describe it for `--diff`, `notes` are always shown.

    `wrong` is what the running host has otherwise, apart from the files of `change`; `beyond` is what of that no deploy
    changes, since it is left to a reboot or to the operator.
    """

    change: put.Change | None = None
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    wrong: tuple[Wrong, ...] = ()
    beyond: tuple[Wrong, ...] = ()

    @property
    def script(self) -> str | None:
        """The script that brings the change about; None where there is none."""
        return None if self.change is None else put.script(self.change)


MODE = 0o644
"""The mode of files that everybody may read."""


def own_file(look: Look, path: str, content: str | None, *, mode: int = MODE) -> put.Write:
    """A Write for a file of Bulkhead's own; `content` is None where it has to go.

    Raises BulkheadError when something other than a regular file is in the way.
    """
    found = look.files[path]
    put.refuse_odd(path, found)
    return put.Write(path, None if content is None else content.encode(), found, mode=mode)


def own_files(
    look: Look, files: Mapping[str, str | None], modes: Mapping[str, int] = MappingProxyType({})
) -> list[put.Write]:
    """`own_file` for every path of `files`; `modes` are those that differ from everybody's."""
    return [own_file(look, path, content, mode=modes.get(path, MODE)) for path, content in files.items()]


def differences(writes: Sequence[put.Write]) -> list[str]:
    """The lines that come to and go from files of Bulkhead's own."""
    return [
        f"{write.path}: {line}"
        for write in writes
        if write.changes
        for line in difflib.ndiff(_lines(write.found), (write.content or b"").decode().splitlines())
        if line[:2] in ("+ ", "- ") and not line[2:].startswith("#")
    ]


def _lines(found: FoundFile | None) -> list[str]:
    return found.content.decode(errors="replace").splitlines() if found else []


def plan(
    writes: Sequence[put.Write],
    *,
    wrong: Sequence[Wrong] = (),
    beyond: Sequence[Wrong] = (),
    notes: Sequence[str] = (),
    check: str = "",
    activate: str = "",
    prove: str = "",
    restore: str = "",
) -> Plan:
    """The plan for an area whose files are `writes` and of which the running host has `wrong` what is listed there."""
    if not wrong and not any(write.changes for write in writes):
        return Plan(notes=tuple(notes), beyond=tuple(beyond))
    change = put.Change(writes=writes, check=check, activate=activate, prove=prove, restore=restore)
    lines = (*differences(writes), *(one.line for one in wrong))
    return Plan(change, lines, tuple(notes), tuple(wrong), tuple(beyond))


HEADER = "# Bulkhead's: what is changed here is changed back. The inventory's key `hardening` says what is to differ.\n"
