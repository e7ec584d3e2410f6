"""A report of drift as one HTML page: the fleet, each host with its findings, and how it went before."""

from __future__ import annotations

from collections.abc import Sequence

from bulkhead import page
from bulkhead.drift.finding import SEVERITIES, Severity
from bulkhead.drift.report import Report

SHOWN = 100
"""As many checks as the chart has room for."""


def render(report: Report, earlier: Sequence[Report] = ()) -> str:
    """The page; `earlier` are the checks before it, oldest first, whose counts it shows as its history."""
    history = [*earlier, report][-SHOWN:]
    return page.render(
        "drift.html.j2",
        report=report,
        history=history,
        most=max(one.severities["critical"] + one.severities["warning"] for one in history),
        spread=_spread(report),
    )


def _spread(report: Report) -> list[tuple[tuple[Severity, str, str], list[str]]]:
    """What is the same on more than one host, worst first, then most hosts: (severity, capability, subject), hosts."""
    places: dict[tuple[Severity, str, str], list[str]] = {}
    for host in report.hosts:
        if not host.error:
            found = [seen.finding for seen in host.findings]
            for place in {(one.severity, one.capability, one.subject) for one in found}:
                places.setdefault(place, []).append(host.name)
    several = [(place, names) for place, names in places.items() if len(names) > 1]
    return sorted(several, key=lambda one: (SEVERITIES.index(one[0][0]), -len(one[1]), one[0]))
