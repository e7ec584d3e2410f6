"""How drift went: the reports of several checks of one inventory, and the directory in which they gather."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import click

from bulkhead import files
from bulkhead.drift.report import Report, read
from bulkhead.errors import BulkheadError

KEEP = 288
"""Reports that a directory keeps unless the user says otherwise: a day of checks every five minutes."""

_TIME = "%Y%m%dT%H%M%S.%fZ"
# Also such as have no fractions of a second. Checks with the same limit have the same word after the time.
_NAMES = re.compile(r"\d{8}T\d{6}(?:\.\d{6})?Z(\.[0-9a-f]{8})?\.json")


def load(files: Sequence[Path]) -> list[Report]:
    """The reports that checks wrote as JSON to `files`, oldest first; one that lies there twice counts once.

    Raises BulkheadError when a file is no such report, or they are of different inventories.
    """
    reports = {file: read(file) for file in files}
    inventories = {report.inventory: file for file, report in reports.items()}
    if len(inventories) > 1:
        of = "; ".join(f"{file}: {inventory}" for inventory, file in inventories.items())
        raise BulkheadError(f"these reports are of different inventories ({of})", hint="Name those of one inventory.")
    return sorted({report.started: report for report in reports.values()}.values(), key=lambda report: report.started)


@dataclass(frozen=True)
class History:
    """A directory that holds the reports of one inventory's checks, each named after when it started, in UTC.

    Checks of some hosts alone, by `limit`, stand beside those of all without disturbing them: they are counted by
    themselves. A file of any other name is nobody's business here: it is neither read nor removed.
    """

    directory: Path
    inventory: str
    limit: tuple[str, ...] = ()

    def newest(self) -> Report | None:
        """The report of the check before that was about all hosts of this one; None where this one is the first.

        One that can't be read is named on stderr and passed over: it must not keep every check after it from being
        made. Raises BulkheadError when the newest is of another inventory.
        """
        for path in reversed(self._before(datetime.now(UTC))):
            report = _readable(path)
            if report is None:
                continue
            if report.inventory != self.inventory:
                raise BulkheadError(
                    f"{path}: is a report of {report.inventory}, not of {self.inventory}",
                    hint="Name a directory of its own for each inventory with --history.",
                )
            if not report.limit or self._alike(report):
                return report
        return None

    def add(self, report: Report, keep: int) -> None:
        """Put `report` beside the others, for its owner's eyes alone, and remove all but the `keep` newest of the same
        limit.

        Raises BulkheadError when it can't be written.
        """
        path = self.directory / f"{report.started.astimezone(UTC):{_TIME}}{self._word}.json"
        try:
            files.write(path, report.to_json(), mode=0o600)
            earlier = [one for one in self._before(report.started) if _word(one) == self._word]
            for old in earlier[: max(0, len(earlier) + 1 - keep)]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise BulkheadError(f"{path}: can't be written ({error.strerror})") from error

    def before(self, report: Report, count: int) -> list[Report]:
        """The last `count` readable reports of the same hosts before `report`, oldest first."""
        readable = (_readable(path, quiet=True) for path in reversed(self._before(report.started)))
        alike = (one for one in readable if one and one.inventory == report.inventory and self._alike(one))
        return [*islice(alike, count)][::-1]

    def _alike(self, report: Report) -> bool:
        return {*report.limit} == {*self.limit}

    def _before(self, moment: datetime) -> list[Path]:
        """The files of earlier checks, oldest first; a clock that was wrong once may have left some of the future."""
        now = f"{moment.astimezone(UTC):{_TIME}}"
        return sorted(
            path
            for path in self.directory.glob("*.json")
            if _NAMES.fullmatch(path.name) and path.name < now and _word(path) in ("", self._word)
        )

    @property
    def _word(self) -> str:
        """What the names of reports have after the time, of those with this limit."""
        said = "\n".join(sorted({*self.limit}))
        return f".{hashlib.sha256(said.encode()).hexdigest()[:8]}" if said else ""


def _word(path: Path) -> str:
    name = _NAMES.fullmatch(path.name)
    return (name and name[1]) or ""


def _readable(path: Path, *, quiet: bool = False) -> Report | None:
    try:
        return read(path)
    except BulkheadError as error:
        if not quiet:
            click.echo(f"bulkhead: {error.message}; it is passed over", err=True)
        return None
