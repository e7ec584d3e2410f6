"""Have a control node check the fleet on schedule, or no longer."""

from __future__ import annotations

from bulkhead import put
from bulkhead.capability import Capability, register
from bulkhead.hosts import announce, converges, run
from bulkhead.inventory import CONTROL_NODES, InventoryHost
from bulkhead.look import Look
from deploys.watch import drift, facts, schedule, settings


def files(host: InventoryHost) -> dict[str, bytes]:
    """Path → content of all that this capability writes."""
    wanted = settings.of(host)
    return schedule.files(host, wanted) if wanted else {}


CAPABILITY = register(
    Capability(
        name="watch",
        groups=frozenset({CONTROL_NODES}),
        validate=settings.of,
        needs=facts.needs,
        files=files,
        watches=drift.watches,
        drift=drift.drift,
    )
)


@converges(CAPABILITY)
def deploy(host: InventoryHost, look: Look) -> None:
    """Install the units and start the timer; what a check would lack on the node is refused first."""
    wanted, node = settings.of(host), facts.found(look)
    if wanted is None:
        announce([f"- {what}" for what in node.left])
        run(name="Stop the drift checks", script=schedule.removal(node.files) if node.left else None)
        return
    facts.refuse(wanted, node)
    change = schedule.change(host, wanted, node.files)
    announce([f"~ {write.path}" for write in change.writes if write.changes])
    if not change.changes and not node.runs:
        announce([f"~ {schedule.TIMER} runs"])
    run(name="Run drift checks", script=None if node.runs and not change.changes else put.script(change))
