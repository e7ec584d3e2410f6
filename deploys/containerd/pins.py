"""What of containerd a host compares by itself, by pieces of CRI's answer. Pure, no I/O."""

from __future__ import annotations

from bulkhead.drift import pins
from bulkhead.drift.pins import Check, Search
from bulkhead.inventory import InventoryHost
from bulkhead.look import Look
from bulkhead.put import Write
from bulkhead.runtime import RUNC
from bulkhead.templates import render
from deploys.containerd import facts
from deploys.containerd.decision import Decision, decide, evidence
from deploys.containerd.distributions import CONTAINERD
from deploys.containerd.drift import KUBERNETES, NAME, programs


def of(host: InventoryHost, look: Look) -> list[Check]:
    """Its files and our record, the unit, what the daemon runs with, and the running containers."""
    decided = decide(host, look)
    return [
        *(pin for write in decided.registered for pin in pins.users_file(NAME, write)),
        *(pins.written(NAME, write) for write in decided.options),
        *pins.record(NAME, _record(decided)),
        pins.units(NAME, [(decided.there.unit, False, True)]),
        *([_live(decided), _containers(decided)] if decided.runtimes else []),
    ]


def _record(decided: Decision) -> Write:
    return decided.after.write(facts.LEDGER, None)


def _search(name: str, /, **values: object) -> Search:
    return Search(NAME, name.replace("_", " "), render(f"self_check/{name}.sh.j2", **values))


def _live(decided: Decision) -> Search:
    distribution = decided.there.distribution
    pieces = [(f"containerd runtime {one.name}", piece) for one in decided.runtimes for piece in evidence([one], None)]
    if decided.default is not None:
        default = evidence([], decided.default, answered=False)
        pieces += [("containerd default runtime", piece) for piece in default]
    return _search(
        "containerd_live",
        live=facts.live(distribution),
        pieces=pieces,
        known=[RUNC, *(runtime.name for runtime in decided.runtimes)],
        # k3s and its like register what they find on a host.
        severity="critical" if distribution.name == CONTAINERD else "warning",
    )


def _containers(decided: Decision) -> Search:
    judged = decided.default in {runtime.name for runtime in decided.runtimes}
    return _search(
        "containerd_containers",
        tasks=render("containerd/tasks.sh.j2"),
        programs=sorted(programs(decided) - {""}),
        kubernetes="" if judged else KUBERNETES,
    )
