"""Bring the self-check about, or take it away; last of all, so that it describes what the run ended with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bulkhead import put
from bulkhead.capability import Capability, pins_of, register
from bulkhead.drift.pins import Check
from bulkhead.hosts import announce, converges, run
from bulkhead.inventory import GVISOR_HOSTS, LEGACY_HOSTS, InventoryHost
from bulkhead.look import Look
from bulkhead.templates import render
from deploys.self_check import description, drift, facts, settings
from deploys.self_check.description import MODE, PROGRAM, SERVICE, SERVICE_FILE, STATE, TIMER, TIMER_FILE


def files(host: InventoryHost) -> Mapping[str, bytes]:
    """The timer; the program and the unit that knows its digest go by what is on the host as well."""
    wanted = settings.of(host)
    return {} if wanted is None else {TIMER_FILE: description.timer(wanted)}


def pins(host: InventoryHost, look: Look) -> Sequence[Check]:
    """What it compares of itself."""
    del look
    wanted = settings.of(host)
    return [] if wanted is None else description.own_pins(wanted)


CAPABILITY = register(
    Capability(
        name=settings.KEY,
        groups=frozenset({GVISOR_HOSTS, LEGACY_HOSTS}),
        validate=settings.of,
        needs=facts.needs,
        files=files,
        watches=drift.watches,
        drift=drift.drift,
        pins=pins,
    )
)


@converges(CAPABILITY)
def deploy(host: InventoryHost, look: Look) -> None:
    """Deliver the program with its units, and see that it runs."""
    there, wanted = facts.found(look), settings.of(host)
    before = description.named_textfile(there.service.content if there.service else None)
    if wanted is None:
        _remove(there, before)
        return
    facts.refuse_without_directory(wanted, look)
    text = description.program(host, pins_of(host, look))
    textfile = description.textfile(wanted)
    values = {"service": SERVICE, "timer": TIMER, "textfile": textfile}
    change = put.Change(
        writes=[
            put.Write(PROGRAM, text, there.program, mode=MODE),
            put.Write(SERVICE_FILE, description.service(host, wanted, text), there.service),
            put.Write(TIMER_FILE, description.timer(wanted), there.timer),
        ],
        check='sh -n "$candidate_0"',
        activate=render("self_check/activate.sh.j2", **values),
        prove=render("self_check/prove.sh.j2", **values),
        restore=render("self_check/restore.sh.j2", **values, there=there.timer is not None),
        obsolete=[before] if before and before != textfile else [],
    )
    announce([f"~ {write.path}" for write in change.writes if write.changes])
    run(name="Install the self-check", script=None if there.scheduled and not change.changes else put.script(change))


def _remove(there: facts.FoundSelfCheck, textfile: str | None) -> None:
    writes = [
        put.Write(path, None, found)
        for path, found in ((PROGRAM, there.program), (SERVICE_FILE, there.service), (TIMER_FILE, there.timer))
    ]
    change = put.Change(
        writes=writes,
        activate=render("self_check/remove.sh.j2", service=SERVICE, timer=TIMER, state=STATE),
        obsolete=[textfile] if textfile else [],
    )
    announce([f"- {write.path}" for write in writes if write.changes])
    run(name="Take the self-check away", script=put.script(change) if change.changes or there.state else None)
