"""What of Docker a host compares by itself, by pieces of the daemon's answers. Pure, no I/O."""

from __future__ import annotations

from bulkhead.drift import pins
from bulkhead.drift.pins import Check, Search
from bulkhead.inventory import InventoryHost
from bulkhead.look import Look
from bulkhead.put import Write
from bulkhead.templates import render
from deploys.docker import agents_slice, containers, facts, settings
from deploys.docker.decision import Decision, decide, evidence, traces
from deploys.docker.drift import BUILT_IN, NAME, bounds
from deploys.docker.options import SLICE


def of(host: InventoryHost, look: Look) -> list[Check]:
    """Its file and our record, the unit, what the daemon runs with, the agents' slice, and the running containers."""
    decided = decide(host, look)
    sliced = [SLICE] if decided.slice else []
    slice_file = [pins.written(NAME, decided.slice)] if decided.slice else []
    if not decided.slice and settings.legacy(host):
        slice_file = [pins.own_file(NAME, agents_slice.PATH, None, severity="warning")]
    return [
        *pins.users_file(NAME, decided.file),
        *pins.record(NAME, decided.after.write(facts.LEDGER, None)),
        *slice_file,
        pins.units(NAME, [("docker.service", False, True)], ["docker.socket", *sliced]),
        _live(host, decided),
        *([_slice(host, decided.slice)] if decided.slice else []),
        _containers(host, decided),
    ]


def _search(name: str, /, **values: object) -> Search:
    return Search(NAME, f"docker {name.rpartition('_')[2]}", render(f"self_check/{name}.sh.j2", **values))


def _live(host: InventoryHost, decided: Decision) -> Search:
    pieces = [(f"docker runtime {one.name}", evidence([one], None)[0]) for one in decided.runtimes]
    if decided.default:
        pieces.append(("docker default runtime", evidence([], decided.default)[0]))
    pieces += [(f"docker option {key}", piece) for key, piece in decided.shown.items()]
    if decided.options:
        pieces.append(("docker seccomp", '"name=seccomp'))
    bare = [
        (f"docker runtime {one.name}", piece) for one in decided.runtimes for piece in traces([one], [], None, None)
    ]
    known = sorted(BUILT_IN | {runtime.name for runtime in decided.runtimes})
    return _search("docker_live", info=facts.answers(host), pieces=pieces, absent=bare, known=known)


def _slice(host: InventoryHost, write: Write) -> Search:
    return _search(
        "docker_slice",
        state=agents_slice.STATE,
        slice=SLICE,
        file=write.path,
        digest=pins.digest(write.content or b""),
        tasks_max=settings.of(host).slice.tasks_max,
    )


def _containers(host: InventoryHost, decided: Decision) -> Search:
    runtimes, sandboxes, parents = (sorted(names) for names in bounds(host, decided))
    inspected = render("docker/inspected.sh.j2", socket=facts.SOCKET, containers=facts.api("/containers/json"))
    return _search(
        "docker_containers",
        inspected=inspected,
        runtimes=runtimes,
        sandboxes=sandboxes,
        parents=parents,
        capabilities=sorted(containers.CAPABILITIES),
    )
