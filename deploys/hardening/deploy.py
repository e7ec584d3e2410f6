"""Harden the host: an operation for each area, so that the table of results says which one changed.

Two areas could lock everybody out, the kernel's settings and sshd. They are one operation, which ends with a new
connection: without it both go back.
"""

from __future__ import annotations

from collections.abc import Mapping

from bulkhead import put, trial
from bulkhead.capability import Capability, register
from bulkhead.confirm import confirmed
from bulkhead.errors import BulkheadError
from bulkhead.hosts import announce, converges, report, run, warn
from bulkhead.inventory import GVISOR_HOSTS, LEGACY_HOSTS, InventoryHost
from bulkhead.look import Look
from deploys.hardening import drift, facts, packages, pins, settings
from deploys.hardening.area import Plan
from deploys.hardening.plans import files, plans
from deploys.hardening.settings import KEY
from deploys.hardening.table import Area

TRIED: Mapping[Area, str] = {"sysctl": "the kernel (sysctl)", "sshd": "sshd"}
"""Areas that could lock everybody out → what the operation says is hardened; in the order in which it is done."""

RETRIES = 3
"""To connect anew: an sshd that reads its files again does not listen for a moment."""

CAPABILITY = register(
    Capability(
        name="hardening",
        groups=frozenset({GVISOR_HOSTS, LEGACY_HOSTS}),
        validate=settings.of,
        needs=lambda host: facts.needs(settings.of(host)),
        files=lambda host: files(settings.of(host)),
        watches=drift.watches,
        drift=drift.drift,
        pins=pins.of,
    )
)


@converges(CAPABILITY)
def deploy(host: InventoryHost, look: Look) -> None:
    """Bring the host to the baseline for its kind, with what the inventory says otherwise."""
    wanted = settings.of(host)
    last = _last_trial(look)
    missing = packages.missing(wanted, look)
    planned = plans(host, wanted, look, missing)
    announce([f"overridden: {line}" for line in wanted.overridden])
    announce([line for plan in planned.values() for line in plan.lines])
    report([note for plan in planned.values() for note in plan.notes])
    run(name=f"Install {', '.join(missing) or 'what hardening needs'}", script=packages.script(missing))
    run(name="Harden core dumps", script=planned["core_dumps"].script)
    run(name="Harden the kernel (modules)", script=planned["modules"].script)
    run(name="Harden the kernel (command line)", script=planned["kernel_parameters"].script)
    run(name="Harden mounts", script=planned["mounts"].script)
    run(name="Harden memory", script=planned["memory"].script)
    run(name="Harden with AppArmor", script=planned["apparmor"].script)
    run(name="Harden by upgrades", script=planned["upgrades"].script)
    run(name="Harden by auditing", script=planned["audit"].script)
    # Last, so that whatever else goes wrong can be mended through the same door; and apport, which is stopped above,
    # sets core_pattern when it ends.
    _try({area: planned[area] for area in TRIED}, wanted.confirm_seconds, last)


def _last_trial(look: Look) -> trial.FoundTrial:
    """What became of the last trial.

    Raises BulkheadError while another run's is under way: what is there now may be gone in a moment.
    """
    found = trial.found(look, KEY)
    if found.waits:
        raise BulkheadError(
            "the hardening of another run waits to be confirmed",
            hint=f"Wait until it is, or is taken back by itself ({KEY}.confirm_seconds), then run again.",
        )
    return found


def _try(plans: Mapping[Area, Plan], seconds: int, last: trial.FoundTrial) -> None:
    """Bring about what could lock everybody out, and take it back unless a new connection comes through."""
    changes = {TRIED[area]: plan.change for area, plan in plans.items() if plan.change}
    if last.rolled_back:
        now = "this run tries again" if changes else "the one before is in force, and wanted"
        warn(f"the hardening of an earlier run was not confirmed and was taken back; {now}")
    change = put.together(list(changes.values()))
    names = " and ".join(changes or TRIED.values())
    tried = trial.Trial(KEY, f"hardening of {names}", "configuration", seconds, trial.digest(change))
    confirmed(name=f"Harden {names}", trial=tried, load=tried.put(change) if changes else None, retries=RETRIES)
    run(
        name="Forget what was taken back",
        script=put.script(put.Change(obsolete=last.marks)) if last.marks and not changes else None,
    )
