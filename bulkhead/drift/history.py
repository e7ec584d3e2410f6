"""How drift went: the reports of several checks of one inventory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bulkhead.drift.report import Report, read
from bulkhead.errors import BulkheadError


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
