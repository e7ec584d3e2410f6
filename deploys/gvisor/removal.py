"""Taking gVisor away: what of ours is on the host, and the script that removes it. Pure, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from bulkhead.errors import BulkheadError
from bulkhead.inventory import ALLOW_RUNNING, ENGINES, InventoryHost, allow_running, engines
from bulkhead.look import Look
from bulkhead.put import preamble_values
from bulkhead.registration import ledger_of
from bulkhead.templates import render, whole
from deploys.gvisor.release import LINKS, ROOT, Plan


@dataclass(frozen=True)
class FoundRemains:
    """Our links and directory, the package where that is gVisor's source, and the sandboxes that run, by the ids of
    their containers."""

    paths: tuple[str, ...]
    running: tuple[str, ...]


def found(look: Look) -> FoundRemains:
    """Read the answers to `facts.needs` of a host that gVisor has to leave."""
    return FoundRemains(
        tuple(look.outputs["gvisor.remains"].text.splitlines()), tuple(look.outputs["gvisor.running"].text.splitlines())
    )


def plan(there: FoundRemains, *, allow_running: bool) -> Plan:
    """What has to go: links and files of ours, and the distribution's package where the inventory names that source."""
    if not there.paths:
        return Plan("runsc")
    values = {"paths": there.paths, "links": LINKS, "root": ROOT, "allow_running": allow_running}
    return Plan(
        "runsc",
        tuple(f"- {path}" for path in there.paths),
        whole(render("gvisor/remove.sh.j2", **preamble_values(), **values)),
    )


def refuse_while_needed(host: InventoryHost, look: Look) -> None:
    """Raise BulkheadError while something needs runsc: a sandbox, or an engine that this run leaves alone."""
    there = found(look)
    if there.paths and there.running and not allow_running(host):
        raise BulkheadError(
            f"gvisor.state is 'absent', but sandboxes run: {', '.join(there.running)}",
            hint=f"Stop them, or set {ALLOW_RUNNING} = True in the inventory: they go on, out of reach.",
        )
    for engine in sorted(set(ENGINES) - engines(host)):
        registered = ledger_of(look, engine).entries("runtimes")
        if registered:
            raise BulkheadError(
                f"gvisor.state is 'absent', but {engine} still has {', '.join(registered)}",
                hint=f'Name "{engine}" in engines until that is taken out of it.',
            )
