"""What Lynis found on a host, from its report file. Pure, no I/O.

The file has a line `key=value` for each fact and `key[]=value` for each item of a list; the fields of an item stand
between bars, and a dash or nothing stands for none (`Report…` in Lynis's include/functions; tried with 3.0.8 and
3.1.4, those of Debian 12 and 13).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.table import Table

SYSCTL_TEST = "KRNL-6000"
"""The test that compares the kernel's settings with those of Lynis's scan profile."""


@dataclass(frozen=True)
class Report:
    """An audit that ran to its end: Lynis's version, its index (0 to 100), and what it found, each as one line."""

    version: str
    index: int
    warnings: tuple[str, ...]
    suggestions: tuple[str, ...]
    settings: tuple[str, ...]
    """The kernel's settings that differ from the profile: `name = value (profile: value)`."""


def read(text: str) -> Report:
    """The report of a file's text. Raises ValueError for one of an audit that did not end, or not understood."""
    pairs = [line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#")]
    facts = {key: value for key, value in pairs if not key.endswith("[]")}
    if facts.get("finish") != "true" or "hardening_index" not in facts:
        raise ValueError("Lynis's report has no end: the audit was cut short")
    suggestions = _findings(value for key, value in pairs if key == "suggestion[]")
    settings = _settings(value for key, value in pairs if key == "details[]")
    # It says both or neither: else its report has changed, and no number taken from it would mean anything.
    if any(line.startswith(f"{SYSCTL_TEST}: ") for line in suggestions) != bool(settings):
        raise ValueError(f"Lynis's report names no details for {SYSCTL_TEST}, or details alone")
    return Report(
        version=facts.get("lynis_version", "?"),
        index=int(facts["hardening_index"]),
        warnings=_findings(value for key, value in pairs if key == "warning[]"),
        suggestions=suggestions,
        settings=settings,
    )


def table(reports: Mapping[str, Report]) -> Table:
    """What changed from one audit to the next; the keys are the columns' titles."""
    title = f"Lynis {' and '.join(sorted({report.version for report in reports.values()}))}"
    shown = Table("Lynis says", *reports, title=title)
    for column in shown.columns[1:]:
        column.justify = "right"
    shown.add_row("hardening index, of 100", *(str(report.index) for report in reports.values()))
    shown.add_row("warnings", *(str(len(report.warnings)) for report in reports.values()))
    shown.add_row("suggestions", *(str(len(report.suggestions)) for report in reports.values()))
    shown.add_row("kernel settings unlike its profile", *(str(len(report.settings)) for report in reports.values()))
    return shown


def differences(before: Report, after: Report) -> list[str]:
    """What came, what went, and which warnings and settings stayed, a line each."""
    lines = []
    for kind, old, new in (
        ("warning", before.warnings, after.warnings),
        ("suggestion", before.suggestions, after.suggestions),
    ):
        lines += [f"gone: {kind} {line}" for line in old if line not in new]
        lines += [f"new: {kind} {line}" for line in new if line not in old]
    lines += [f"left: warning {line}" for line in after.warnings if line in before.warnings]
    return lines + [f"left: setting {line}" for line in after.settings]


def _findings(items: Iterable[str]) -> tuple[str, ...]:
    """`TEST|what|details|solution|` as `TEST: what (details)`."""
    lines = []
    for item in items:
        test, what, details = (*item.split("|"), "", "")[:3]
        lines.append(f"{test}: {what}" + (f" ({details})" if details not in ("", "-") else ""))
    return tuple(lines)


def _settings(items: Iterable[str]) -> tuple[str, ...]:
    found = (
        re.match(rf"{SYSCTL_TEST}\|sysctl\|.*?field:([^;]*);prefval:([^;]*);value:([^;]*);", item) for item in items
    )
    return tuple(f"{match[1]} = {match[3]} (profile: {match[2]})" for match in found if match)
