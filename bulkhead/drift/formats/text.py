"""A report of drift for people: the worst host first, each finding with what to do, and the counts at the end."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bulkhead.drift.finding import Finding
from bulkhead.drift.report import HostReport, Report, Seen
from bulkhead.progress import PLAIN_WIDTH
from bulkhead.visible import visible

_STYLES = {"critical": "bold red", "warning": "yellow", "info": "blue"}
_STATES = {"clean": "clean", "drift": "with drift", "error": "not looked at"}
_DIFF_STYLES = {"+": "red", "-": "green", "@": "cyan"}


def render(report: Report) -> str:
    """The text for a file or a pipe: no colours, and PLAIN_WIDTH columns."""
    file = io.StringIO()
    show(report, Console(file=file, highlight=False, width=PLAIN_WIDTH))
    return file.getvalue()


def show(report: Report, console: Console) -> None:
    """Print a table of all findings, what each is and how to mend it, what is gone, the errors, and the counts."""
    looked_at = [host for host in report.worst_first if not host.error]
    table = Table("Host", "Severity", "Finding", "Since", title="Drift")
    for column in table.columns:
        column.overflow = "fold"
    for host in looked_at:
        for seen in host.findings:
            style = _STYLES[seen.finding.severity]
            since = _since(seen, report.started)
            cells = (escape(visible(host.name)), f"[{style}]{seen.finding.severity}[/]", escape(_about(seen.finding)))
            table.add_row(*cells, since)
    if table.rows:
        console.print(table)
    for host in looked_at:
        for seen in host.findings:
            _show_finding(console, host, seen.finding)
    for host in looked_at:
        for seen in host.gone:
            _line(console, f"{host.name}: gone: {_about(seen.finding)}", "green")
    for host in report.hosts:
        if host.error:
            _line(console, f"{host.name}: error: {host.error}", "bold red")
            if host.findings:
                _line(console, f"  {_count(len(host.findings), 'finding')} before, of which nothing is known now")
    _line(console, counts(report))


def counts(report: Report) -> str:
    """One line: how many hosts are in which state, and how many findings of which severity there are."""
    of_hosts = ", ".join(f"{number} {_STATES[state]}" for state, number in report.states.items())
    of_findings = ", ".join(f"{number} {severity}" for severity, number in report.severities.items())
    return f"{_count(len(report.hosts), 'host')} in {report.seconds:.1f} s: {of_hosts}; findings: {of_findings}"


def errors(report: Report) -> list[str]:
    """A line for each host that could not be looked at, with the reason."""
    lines = [f"{host.name}: error: {host.error}" for host in report.hosts if host.error]
    return [visible(" ".join(line.split())) for line in lines]


def _show_finding(console: Console, host: HostReport, finding: Finding) -> None:
    _line(console, f"{host.name}: {_about(finding)}: {finding.severity}", _STYLES[finding.severity])
    if finding.diff:
        for line in finding.diff:
            _line(console, f"  {line}", _DIFF_STYLES.get(line[:1], ""))
    else:
        _line(console, f"  expected: {finding.expected.strip() or '(nothing)'}")
        _line(console, f"  actual:   {finding.actual.strip() or '(nothing)'}")
    _line(console, "  " + finding.mend.replace("\n", "\n  "))


def _line(console: Console, line: str, style: str = "") -> None:
    console.print(visible(line), style=style, markup=False, overflow="fold")


def _about(finding: Finding) -> str:
    return visible(f"{finding.capability}: {finding.subject}")


def _since(seen: Seen, started: datetime) -> str:
    return "now" if seen.since >= started else f"{seen.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
