"""What of gVisor a host compares by itself: programs by their digests, links, what goes before them. Pure, no I/O."""

from __future__ import annotations

from bulkhead.drift.pins import Check, Pin, Search
from bulkhead.inventory import InventoryHost
from bulkhead.look import Look
from bulkhead.pins import LOOSE
from bulkhead.templates import render
from deploys.gvisor import release, settings
from deploys.gvisor.drift import DAEMONS, NAME, programs_of
from deploys.gvisor.release import CURRENT, LINKS, MANIFEST, PACKAGE, ROOT, STAMP, STAT


def of(host: InventoryHost, look: Look) -> list[Check]:
    """Programs, links and what is in their way; of a host that gVisor has left, that it is gone."""
    wanted = settings.of(host)
    if wanted.state == "absent":
        values = {"links": LINKS, "root": ROOT, "package": PACKAGE, "source": wanted.source}
        return [_search("gvisor_gone", remains=render("gvisor/remains.sh.j2", **values))]
    found: list[Check] = [
        _search("gvisor_shadows", units=DAEMONS, programs=programs_of(wanted)),
    ]
    if wanted.source == "distribution":
        installed = f"dpkg-query -W -f '${{db:Status-Status}}' {PACKAGE} 2>/dev/null; :"
        ours = [_search("gvisor_no_links", links=LINKS)]
        return [*found, Pin(NAME, f"package {PACKAGE}", installed, "installed"), *ours]
    digests = wanted.digests(release.found(look).architecture)
    links = {CURRENT: str(wanted.release), **LINKS}
    return [
        *found,
        *(Pin(NAME, path, f"readlink {path}; :", target) for path, target in links.items()),
        _search(
            "gvisor_release",
            directory=f"{ROOT}/{wanted.release}",
            manifest=MANIFEST,
            stamp=STAMP,
            stat=STAT,
            programs=LOOSE,
            digests=digests,
        ),
    ]


def _search(name: str, /, **values: object) -> Search:
    return Search(NAME, name.replace("_", " "), render(f"self_check/{name}.sh.j2", **values))
