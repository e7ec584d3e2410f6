"""Install runsc: the pinned release, or the distribution's package."""

from __future__ import annotations

from bulkhead.capability import Capability, register
from bulkhead.hosts import announce, converges, run
from bulkhead.inventory import GVISOR_HOSTS, InventoryHost
from bulkhead.look import Look
from deploys.gvisor import facts, release, settings

CAPABILITY = register(
    Capability(
        name="gVisor",
        groups=frozenset({GVISOR_HOSTS}),
        validate=settings.of,
        needs=lambda host: facts.needs(settings.of(host)),
    )
)


@converges(CAPABILITY)
def deploy(host: InventoryHost, look: Look) -> None:
    """Install runsc and switch to it."""
    plan = release.plan(settings.of(host), release.found(look))
    announce(plan.lines)
    run(name=f"Install {plan.title}", script=plan.script)
