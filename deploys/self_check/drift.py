"""What of the self-check is not as described, seen from outside: a host may be told to find nothing. Pure, no I/O."""

from __future__ import annotations

from bulkhead.capability import pins_of
from bulkhead.drift import units
from bulkhead.drift.comparison import Comparison
from bulkhead.inventory import InventoryHost
from bulkhead.look import Look, Need
from bulkhead.put import Write
from deploys.self_check import description, facts, settings
from deploys.self_check.description import MODE, PROGRAM, SERVICE, SERVICE_FILE, TIMER, TIMER_FILE


def watches(host: InventoryHost) -> list[Need]:
    """The units."""
    return [units.watch(settings.KEY, [SERVICE, TIMER])] if settings.of(host) else []


def drift(compared: Comparison, host: InventoryHost, look: Look) -> None:
    """The program, whose text is that of the pins, and the units."""
    there, wanted = facts.found(look), settings.of(host)
    if wanted is None:
        for path in (PROGRAM, SERVICE_FILE, TIMER_FILE):
            if look.files[path]:
                compared.add(path, actual="still there", severity="warning")
        return
    text = description.program(host, pins_of(host, look))
    text = description.with_noted(text, there.program.content if there.program else None)
    compared.own_file(Write(PROGRAM, text, there.program, mode=MODE))
    compared.own_file(Write(SERVICE_FILE, description.service(host, wanted, text), there.service))
    compared.own_file(Write(TIMER_FILE, description.timer(wanted), there.timer))
    known = units.read(settings.KEY, look)
    compared.unit(known, TIMER, enabled=True)
    if SERVICE in known:
        compared.additions(known[SERVICE])
    if there.result not in ("success", ""):
        compared.add(
            f"unit {SERVICE}",
            expected="the last check could be made",
            actual=f"it failed ({there.result})",
            mend=f"journalctl -u {SERVICE}",
        )
