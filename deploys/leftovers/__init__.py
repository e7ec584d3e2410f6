"""What a run left that was cut off by a reset of the host: removed before anything else."""

from __future__ import annotations

from bulkhead import put
from bulkhead.capability import Capability, register
from bulkhead.hosts import announce, converges, run
from bulkhead.inventory import GVISOR_HOSTS, LEGACY_HOSTS, InventoryHost
from bulkhead.look import Command, Look
from bulkhead.templates import render, whole

CAPABILITY = register(
    Capability(
        name="leftovers",
        groups=frozenset({GVISOR_HOSTS, LEGACY_HOSTS}),
        validate=lambda _: None,
        needs=lambda _: [
            Command(
                "leftovers",
                f"cat {put.SCRATCH}/{put.STAGES} 2>/dev/null; ls -d {put.SCRATCH}/tmp.?????? 2>/dev/null; :",
            )
        ],
    )
)


@converges(CAPABILITY)
def deploy(_: InventoryHost, look: Look) -> None:
    """Remove them: every script that changes a host does so first, and here nothing else may have to change."""
    left = look.outputs["leftovers"].text.splitlines()
    announce([f"- {path}" for path in left])
    run(
        name="Remove what an interrupted run left",
        script=whole(render("host/preamble.sh.j2", **put.preamble_values())) if left else None,
    )
