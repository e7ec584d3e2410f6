"""One drift check of a fleet: the hosts of an inventory, a look at each, and the report that comes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from bulkhead.capability import discover, findings_of, upstream_of, watched
from bulkhead.drift.finding import Finding
from bulkhead.drift.fleet import Outcome, gather
from bulkhead.drift.report import HostReport, Report, failed_report, host_report
from bulkhead.guard import trusts_strangers
from bulkhead.inventory_file import load


def check(
    inventory: str, limit: tuple[str, ...], before: Report | None, *, parallel: int, seconds: float, upstream: bool
) -> Report:
    """Look at the hosts of `inventory` and compare them with their descriptions.

    `before` is the report of the check before, `parallel` how many hosts are looked at at once, `seconds` what each may
    take; `upstream` says whether to ask what has come out since. A host that can't be looked at is an error in the
    report.

    Raises BulkheadError when the inventory can't be used or holds no host.
    """
    at = datetime.now(UTC)
    started = time.monotonic()
    hosts = load(inventory, limit)
    for host in hosts:
        if laxness := trusts_strangers(host.data):
            click.echo(f"bulkhead: {host.name}: {laxness}", err=True)
    known = {host.name: host for host in before.hosts} if before else {}
    # Imported here, not by all threads at once.
    discover()
    found_before = [seen.finding for host in known.values() for seen in host.findings]
    outside: dict[str, list[Finding]] = {}
    # A daemon, so that it keeps nobody waiting who has pressed Ctrl-C.
    asking = threading.Thread(
        target=lambda: outside.update(upstream_of(hosts if upstream else [], found_before)), daemon=True
    )
    asking.start()
    outcomes = list(gather(hosts, watched, findings_of, parallel=parallel, seconds=seconds))
    asking.join()
    reports = {
        outcome.host.name: _report(outcome, outside.get(outcome.host.name, ()), at, known.get(outcome.host.name))
        for outcome in outcomes
    }
    return Report(
        inventory=inventory,
        limit=limit,
        started=at,
        seconds=time.monotonic() - started,
        hosts=tuple(reports[host.name] for host in hosts),
    )


def _report(
    outcome: Outcome[list[Finding]], outside: Sequence[Finding], at: datetime, before: HostReport | None
) -> HostReport:
    name, seconds = outcome.host.name, outcome.seconds
    if outcome.value is None:
        return failed_report(name, outcome.error, seconds, before)
    return host_report(name, [*outcome.value, *outside], at, seconds, before)
