"""The ruleset of a host as text: `templates/egress/egress.nft.j2` with its policy. Pure, no I/O."""

from __future__ import annotations

from bulkhead.inventory import InventoryHost
from bulkhead.templates import render
from deploys.egress import settings
from deploys.egress.policy import PROXY_UID, policy

TABLE = "inet bulkhead"

REASONS = ("spoofed", "metadata", "range", "tenant", "host", "forward", "inbound", "outbound")
"""Why a packet was denied: the names of the counters, of the chains, and in the log."""


def ruleset(host: InventoryHost) -> str:
    """The file that `nft -f` loads in one transaction.

    Raises BulkheadError for what is wrong in the inventory.
    """
    first, last = settings.OWN_USERS
    return render(
        "egress/egress.nft.j2",
        policy=policy(settings.of(host)),
        reasons=REASONS,
        own_users=f"{first}-{last}",
        proxy_uid=PROXY_UID,
    )
