"""What the gVisor project has published since a host's release was pinned. Pure, no I/O."""

from __future__ import annotations

from bulkhead.drift.finding import Finding
from bulkhead.inventory import GVISOR_HOSTS, InventoryHost
from bulkhead.pins import release_key
from deploys.gvisor import settings
from deploys.gvisor.drift import NAME


def newer(host: InventoryHost, latest: str | None) -> list[Finding]:
    """A finding where `latest`, the newest release that there is (None for not known), is newer than the host's."""
    if latest is None or GVISOR_HOSTS not in host.groups:
        return []
    wanted = settings.of(host)
    if wanted.state == "absent" or wanted.release is None or release_key(latest) <= release_key(wanted.release):
        return []
    return [
        Finding(
            capability=NAME,
            subject="gVisor release",
            expected=latest,
            actual=wanted.release,
            severity="info",
            mend=f"bulkhead pin {latest}; then set gvisor.release = {latest!r} in the inventory, first for one host",
        )
    ]
