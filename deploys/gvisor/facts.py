"""What gVisor's capability reads from a host, as parts of the one look."""

from __future__ import annotations

from bulkhead.inventory import ENGINES
from bulkhead.look import Command, File, Need
from bulkhead.registration import ledger_path
from bulkhead.templates import render
from deploys.gvisor.release import CURRENT, LINKS, MANIFEST, PACKAGE, ROOT, STAMP, STAT
from deploys.gvisor.settings import GvisorSettings


def needs(settings: GvisorSettings) -> list[Need]:
    """The architecture and tools, the links, the distribution's package, and the wanted release with its digests.

    Of a host that gVisor has to leave: what is there of ours, and the sandboxes that run.
    """
    if settings.state == "absent":
        return [
            *(File(ledger_path(engine)) for engine in ENGINES),
            Command(
                "gvisor.remains",
                render("gvisor/remains.sh.j2", links=LINKS, root=ROOT, package=PACKAGE, source=settings.source),
            ),
            Command("gvisor.running", render("gvisor/running.sh.j2")),
        ]
    wanted: list[Need] = [
        Command(
            "gvisor.host",
            "uname -m; for tool in curl bzip2 zstd; do command -v $tool >/dev/null && echo $tool; done; :",
        ),
        Command("gvisor.links", render("gvisor/links.sh.j2", paths=[CURRENT, *LINKS])),
        Command("gvisor.package", f"dpkg-query -W -f '${{Version}}' {PACKAGE} 2>/dev/null; :"),
    ]
    if settings.source == "release":
        directory = f"{ROOT}/{settings.release}"
        script = render("gvisor/installed.sh.j2", directory=directory, manifest=MANIFEST, stamp=STAMP, stat=STAT)
        wanted.append(Command("gvisor.release", script))
    return wanted
