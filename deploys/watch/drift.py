"""What of the scheduled checks is not as described. Pure, no I/O."""

from __future__ import annotations

from bulkhead.drift import units
from bulkhead.drift.comparison import Comparison
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Look, Need
from bulkhead.put import Write
from deploys.watch import facts, schedule, settings

NAME = "watch"


def watches(host: InventoryHost) -> list[Need]:
    """Our units, with what others laid over them."""
    return [units.watch(NAME, schedule.UNITS)] if settings.of(host) else []


def drift(compared: Comparison, host: InventoryHost, look: Look) -> None:
    """The units' files, a timer that does not run, what others laid over them, and what the next check would lack."""
    wanted, node = settings.of(host), facts.found(look)
    if wanted is None:
        for what in node.left:
            compared.add(what, actual="is there, though the node is to check nothing", severity="warning")
        return
    for path, content in schedule.files(host, wanted).items():
        compared.own_file(Write(path, content, node.files[path]))
    there = units.read(NAME, look)
    compared.unit(there, schedule.TIMER, enabled=True)
    for name in (schedule.SERVICE, schedule.FAILURE):
        compared.unit(there, name, runs=False, mend=compared.deploy)
    for name, unit in node.units.items():
        if unit.get("NeedDaemonReload") == "yes":
            compared.add(
                f"unit {name}: loaded", expected="its file", actual="an earlier one", mend="systemctl daemon-reload"
            )
    try:
        facts.refuse(wanted, node)
    except BulkheadError as error:
        compared.refusal("drift checks", error)
