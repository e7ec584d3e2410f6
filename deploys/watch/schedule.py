"""systemd's units that check the fleet on schedule, and what makes them effective. Pure, no I/O."""

from __future__ import annotations

import re

from bulkhead import put
from bulkhead.inventory import LOCAL, InventoryHost
from bulkhead.look import FoundFile
from bulkhead.templates import render, whole
from deploys.watch.settings import WatchSettings

SERVICE = "bulkhead-drift.service"
TIMER = "bulkhead-drift.timer"
FAILURE = "bulkhead-drift-failure.service"
UNITS = (SERVICE, TIMER, FAILURE)

DIRECTORY = "/etc/systemd/system"
PATHS = tuple(f"{DIRECTORY}/{unit}" for unit in UNITS)
LINK = f"{DIRECTORY}/timers.target.wants/{TIMER}"
"""What enables the timer."""

STATE = "/var/lib/bulkhead-drift"
"""The checks' own directory on a node: their reports, and the metrics of the last one. It stays when the units go."""

METRICS = "bulkhead-drift.prom"
"""The file in node_exporter's directory."""

FIRST_SECONDS = 30
"""How long after boot, or after a deploy, the first check begins."""


def metrics(settings: WatchSettings) -> str | None:
    """Where node_exporter finds the metrics; None where nobody asks for them."""
    return f"{settings.textfile_directory}/{METRICS}" if settings.textfile_directory else None


def history(settings: WatchSettings) -> str:
    """Where the reports lie: an inventory of another name begins a history of its own."""
    return f"{STATE}/{settings.inventory.strip('/').replace('/', '-')}"


def files(host: InventoryHost, settings: WatchSettings) -> dict[str, bytes]:
    """Path → content of the units."""
    values = {
        "settings": settings,
        "service": SERVICE,
        "failure": FAILURE,
        "state": STATE,
        "history": history(settings),
        "metrics": metrics(settings),
        "first": min(FIRST_SECONDS, settings.interval),
        # A node that looks at itself does so by sudo.
        "sandboxed": host.name != LOCAL,
    }
    return {path: render(f"watch/{unit}.j2", **values).encode() for unit, path in zip(UNITS, PATHS, strict=True)}


def published(service: FoundFile | None) -> str | None:
    """Where the units that are there put the metrics."""
    where = re.search(rb"^Environment=METRICS=(/\S+)$", service.content, re.MULTILINE) if service else None
    return where[1].decode() if where else None


def change(host: InventoryHost, settings: WatchSettings, found: dict[str, FoundFile | None]) -> put.Change:
    """The units as they should be, with the timer started; metrics that nobody brings up to date any more go.

    Raises BulkheadError when something other than a regular file is in the way.
    """
    wanted = files(host, settings)
    for path in wanted:
        put.refuse_odd(path, found[path])
    before = published(found[PATHS[0]])
    values = {"timer": TIMER, "link": LINK}
    return put.Change(
        writes=[put.Write(path, content, found[path]) for path, content in wanted.items()],
        check=render("watch/check.sh.j2", settings=settings, units=UNITS, scratch=put.SCRATCH),
        activate=render("watch/activate.sh.j2", **values),
        prove=render("watch/prove.sh.j2", **values),
        restore=render("watch/restore.sh.j2", **values, path=f"{DIRECTORY}/{TIMER}"),
        obsolete=[before] if before and before != metrics(settings) else [],
    )


def removal(found: dict[str, FoundFile | None]) -> str:
    """The script that takes the units away, and the metrics that would become old; the reports stay."""
    gone = [path for path in (*PATHS, published(found[PATHS[0]])) if path]
    return whole(render("watch/remove.sh.j2", **put.preamble_values(), units=UNITS, timer=TIMER, link=LINK, gone=gone))
