"""What the gVisor project has published since a host's release was pinned."""

from __future__ import annotations

from collections.abc import Sequence

from bulkhead import publish
from bulkhead.drift.finding import Finding
from bulkhead.inventory import InventoryHost
from bulkhead.pins import release_key
from deploys.gvisor import settings
from deploys.gvisor.drift import NAME

SUBJECT = "gVisor release"


def upstream(hosts: Sequence[InventoryHost], before: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Host → a finding where a newer release is out than the host's.

    Where the project's site can't be reached, the newest release that `before` names is still known.
    """
    if not hosts:
        return {}
    known = [finding.expected for finding in before if finding.subject == SUBJECT]
    latest = publish.latest(publish.LATEST) or max(known, key=release_key, default=None)
    return {host.name: newer(host, latest) for host in hosts}


def newer(host: InventoryHost, latest: str | None) -> list[Finding]:
    """A finding where `latest`, the newest release that there is (None for not known), is newer than the host's."""
    wanted = settings.of(host)
    if latest is None or wanted.state == "absent" or wanted.release is None:
        return []
    if release_key(latest) <= release_key(wanted.release):
        return []
    return [
        Finding(
            capability=NAME,
            subject=SUBJECT,
            expected=latest,
            actual=wanted.release,
            severity="info",
            mend=f"bulkhead pin {latest}; then set gvisor.release = {latest!r} in the inventory, first for one host",
        )
    ]
