"""What of gVisor is not as described: its programs by their digests, what goes before them, and the sandboxes that run.

The digests are those of the installation and of the pins. Files that nobody touched since, by inode, size, times, mode
and owner, are not read again; the verification reads them all. Pure, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bulkhead.drift.comparison import Comparison, told
from bulkhead.inventory import InventoryHost
from bulkhead.look import Command, Look, Need
from bulkhead.pins import LOOSE
from bulkhead.templates import render
from deploys.gvisor import flags, release, removal, settings
from deploys.gvisor.release import BIN, CURRENT, LINKS, MANIFEST, PACKAGE, ROOT, FoundGvisor
from deploys.gvisor.settings import GvisorSettings

NAME = "gVisor"

DAEMONS = ("docker.service", "containerd.service", "k3s.service", "k3s-agent.service", "rke2-server.service")
"""Units whose search path decides which shim is started."""

PROBE = "bulkhead-probe"
"""The sandbox in which a deploy tries runsc out."""


@dataclass
class Sandbox:
    """One that runs: the id of its container, whether it is on the host's own network, the program that it runs as
    device:inode, and the flags that runsc was started with."""

    id: str
    on_host: bool
    program: str
    flags: dict[str, str] = field(default_factory=dict)


def watches(host: InventoryHost) -> list[Need]:
    """What lies before our programs in search paths, and the sandboxes that run."""
    if settings.of(host).state == "absent":
        return []
    return [
        Command("gvisor.shadows", render("gvisor/shadows.sh.j2", units=DAEMONS, programs=LOOSE)),
        Command("gvisor.sandboxes", render("gvisor/sandboxes.sh.j2", current=CURRENT)),
    ]


def drift(compared: Comparison, host: InventoryHost, look: Look) -> None:
    """Programs, links, what is in their way, and sandboxes."""
    wanted = settings.of(host)
    if wanted.state == "absent":
        for path in removal.found(look).paths:
            compared.add(path, actual="still there", severity="warning")
        return
    there = release.found(look)
    if wanted.source == "release":
        _release(compared, wanted, there)
        _links(compared, there)
    else:
        _package(compared, there)
    _shadows(compared, wanted, told(look, "gvisor.shadows", "what its daemons find first"))
    _sandboxes(compared, wanted, there, told(look, "gvisor.sandboxes", "what sandboxes run"))


def _release(compared: Comparison, wanted: GvisorSettings, there: FoundGvisor) -> None:
    directory = f"{ROOT}/{wanted.release}"
    if there.current != wanted.release:
        compared.add(CURRENT, expected=str(wanted.release), actual=there.current or "")
    if not there.recorded:
        compared.add(directory, expected="the release, with the digests of its files")
        return
    digests = wanted.digests(there.architecture)
    pinned = {program: digests[program] for program in LOOSE if program in digests}
    expected = {**dict.fromkeys(LOOSE, ""), **there.recorded, **pinned}
    wrong = {name for name, digest in expected.items() if there.actual.get(name) != digest}
    for name in sorted(wrong):
        actual = there.actual.get(name)
        compared.add(
            f"{directory}/{name}", expected=f"sha512 {expected[name]}", actual=f"sha512 {actual}" if actual else ""
        )
    for artefact, digest in there.origin.items():
        if digests.get(artefact) != digest and artefact not in wrong:
            pin = f"sha512 {digests[artefact]}" if artefact in digests else "not pinned"
            compared.add(f"{directory}/{MANIFEST}: {artefact}", expected=pin, actual=f"sha512 {digest}")
    if not there.origin:
        compared.add(f"{directory}/{MANIFEST}", expected="what was fetched, with its digests")
    if not wrong and not there.untouched:
        compared.add(f"{directory}: mode", expected="root's, as installed", actual="owner, mode or times have changed")


def _links(compared: Comparison, there: FoundGvisor) -> None:
    for path, target in LINKS.items():
        if there.links.get(path) != target:
            compared.add(path, expected=f"a link to {target}", actual=there.links.get(path) or "")


def _package(compared: Comparison, there: FoundGvisor) -> None:
    if not there.package:
        compared.add(f"package {PACKAGE}", expected="installed")
    for path, target in LINKS.items():
        if there.links.get(path) == target:
            compared.add(path, actual=f"a link to {target}")


def programs_of(wanted: GvisorSettings) -> dict[str, str]:
    """Program → where engines have to find it."""
    return {"runsc": wanted.runsc} | ({LOOSE[1]: f"{BIN}/{LOOSE[1]}"} if wanted.source == "release" else {})


def _shadows(compared: Comparison, wanted: GvisorSettings, text: str) -> None:
    """Programs that a daemon, or whoever logs in, finds before ours."""
    lines = [line.split("\t") for line in text.splitlines()]
    paths = [line[1].split(":") for line in lines if line[0] == "path"]
    there = {line[1]: line[2] for line in lines if line[0] == "there"}
    for program, path in programs_of(wanted).items():
        directory = path.rpartition("/")[0]
        before = {
            f"{one}/{program}"
            for search in paths
            for one in (search[: search.index(directory)] if directory in search else search)
        }
        for other in sorted(before & there.keys()):
            # Directories that are links to one another hold the same file.
            if there[other] != there.get(path):
                compared.add(other, actual=f"is found before {path}", mend=f"rm {other}")


def _sandboxes(compared: Comparison, wanted: GvisorSettings, there: FoundGvisor, text: str) -> None:
    programs, running = sandboxes(text)
    installed = release.package_release(there.package) or flags.OLDEST
    released = wanted.source == "release"
    handlers = list(wanted.profile_flags(None if released else installed).values())
    for one in running:
        subject, mend = f"sandbox {one.id}", f"start the container {one.id} anew"
        if one.on_host:
            compared.add(f"{subject}: network", expected="its own", actual="the host's", mend=mend)
        if released and programs and one.program not in programs:
            compared.add(
                f"{subject}: program",
                expected=f"runsc {wanted.release}",
                actual="another runsc, from before an upgrade or from elsewhere",
                severity="warning",
                mend=mend,
            )
            # It has the flags of its own time.
            continue
        # A packaged runsc is old, and may tell only what differs from its defaults.
        for name, expected, actual in wrong_flags(one.flags, handlers, all_told=released):
            compared.add(f"{subject}: --{name}", expected=expected, actual=actual, mend=mend)


def sandboxes(text: str) -> tuple[set[str], list[Sandbox]]:
    """The installed programs as device:inode, and the sandboxes that run."""
    programs: set[str] = set()
    found: list[Sandbox] = []
    # Not splitlines: any process may call itself a sandbox, and have whatever it likes among its arguments.
    for line in text.split("\n"):
        match line.split("\t"):
            case ["program", program]:
                programs.add(program)
            case ["sandbox", id_, network, program]:
                found.append(Sandbox(id_, network == "host", program))
            case ["flag", flag] if found:
                name, _, value = flag.partition("=")
                found[-1].flags[name] = value
    return programs, [one for one in found if one.id != PROBE]


def wrong_flags(
    told: Mapping[str, str], handlers: Sequence[Mapping[str, str]], *, all_told: bool
) -> list[tuple[str, str, str]]:
    """Flag, wanted and actual value where a sandbox differs from the handler that it is nearest to.

    runsc hands on to its sandbox the flags that differ from its defaults, and from 2026 on also those that were set to
    them by name (`all_told`). Source: gVisor, runsc/config (`Config.ToFlags`).
    """
    differences = []
    for handler in handlers:
        wrong = [
            (name, value, told.get(name, ""))
            for name, value in handler.items()
            if (told.get(name) != value if all_told else told.get(name, value) != value)
        ]
        wrong += [
            (name, "", value) for name, value in told.items() if name not in handler and flags.weakens(name, value)
        ]
        differences.append(wrong)
    return min(differences, key=len)
