"""A verification as one HTML page: the hosts, and each check with what came of it and why."""

from __future__ import annotations

from datetime import datetime

from bulkhead import page
from bulkhead.verification import Check, Results

_OUTCOMES = ("failed", "passed", "skipped")


def render(results: Results, inventory: str, started: datetime) -> str:
    """The page; hosts with most failures first, and on each what failed before the rest."""
    hosts: dict[str, list[Check]] = {}
    for check in sorted(results.checks, key=lambda check: _OUTCOMES.index(check.outcome)):
        hosts.setdefault(check.host, []).append(check)
    return page.render(
        "verify.html.j2",
        results=results,
        inventory=inventory,
        started=started,
        hosts=sorted(hosts.items(), key=lambda host: (-results.count("failed", host[0]), host[0])),
    )
