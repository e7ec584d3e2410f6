"""Install runsc: the pinned release, or the distribution's package; and take it away again."""

from __future__ import annotations

from bulkhead.capability import Capability, register
from bulkhead.hosts import announce, converges, run
from bulkhead.inventory import GVISOR_HOSTS, InventoryHost, allow_running
from bulkhead.look import Look
from deploys.gvisor import drift, facts, pins, release, removal, runtime, settings, upstream

CAPABILITY = register(
    Capability(
        name="gVisor",
        groups=frozenset({GVISOR_HOSTS}),
        validate=settings.of,
        needs=lambda host: facts.needs(settings.of(host)),
        runtimes=runtime.runtimes,
        watches=drift.watches,
        drift=drift.drift,
        upstream=upstream.upstream,
        pins=pins.of,
    )
)


@converges(CAPABILITY)
def deploy(host: InventoryHost, look: Look) -> None:
    """Install runsc and switch to it; where it has to go, refuse as long as sandboxes run."""
    wanted = settings.of(host)
    if wanted.state == "absent":
        removal.refuse_while_needed(host, look)
        return
    plan = release.plan(wanted, release.found(look))
    announce(plan.lines)
    run(name=f"Install {plan.title}", script=plan.script)


@converges(CAPABILITY)
def remove(host: InventoryHost, look: Look) -> None:
    """Remove runsc where it has to go: after the engines' deploys, since they must not name what is not there."""
    if settings.of(host).state == "present":
        return
    plan = removal.plan(removal.found(look), allow_running=allow_running(host))
    announce(plan.lines)
    run(name=f"Remove {plan.title}", script=plan.script)
