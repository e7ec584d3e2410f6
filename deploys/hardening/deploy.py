"""Harden the host: an operation for each area, so that the table of results says which one changed."""

from __future__ import annotations

from bulkhead.capability import Capability, register
from bulkhead.hosts import announce, converges, report, run
from bulkhead.inventory import GVISOR_HOSTS, LEGACY_HOSTS, InventoryHost
from bulkhead.look import Look
from deploys.hardening import facts, packages, settings
from deploys.hardening.plans import plans

CAPABILITY = register(
    Capability(
        name="hardening",
        groups=frozenset({GVISOR_HOSTS, LEGACY_HOSTS}),
        validate=settings.of,
        needs=lambda host: facts.needs(settings.of(host)),
    )
)


@converges(CAPABILITY)
def deploy(host: InventoryHost, look: Look) -> None:
    """Bring the host to the baseline for its kind, with what the inventory says otherwise."""
    wanted = settings.of(host)
    missing = packages.missing(wanted, look)
    planned = plans(host, wanted, look, missing)
    announce([f"overridden: {line}" for line in wanted.overridden])
    announce([line for plan in planned.values() for line in plan.lines])
    report([note for plan in planned.values() for note in plan.notes])
    run(name=f"Install {', '.join(missing) or 'what hardening needs'}", script=packages.script(missing))
    # apport sets core_pattern when it ends, so the sysctls come after it.
    run(name="Harden core dumps", script=planned["core_dumps"].script)
    run(name="Harden the kernel (sysctl)", script=planned["sysctl"].script)
    run(name="Harden the kernel (modules)", script=planned["modules"].script)
    run(name="Harden the kernel (command line)", script=planned["kernel_parameters"].script)
    run(name="Harden mounts", script=planned["mounts"].script)
    run(name="Harden memory", script=planned["memory"].script)
    run(name="Harden with AppArmor", script=planned["apparmor"].script)
    run(name="Harden by upgrades", script=planned["upgrades"].script)
    run(name="Harden by auditing", script=planned["audit"].script)
    # Last, so that whatever else goes wrong can be mended through the same door.
    run(name="Harden sshd", script=planned["sshd"].script)
