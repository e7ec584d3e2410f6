"""From settings and what was found on a host to what has to be done for its runsc: pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bulkhead import probe
from bulkhead.errors import BulkheadError
from bulkhead.look import Look
from bulkhead.pins import ARCHITECTURES, LOOSE, TARBALLS
from bulkhead.put import preamble_values
from bulkhead.templates import render, whole
from deploys.gvisor import flags
from deploys.gvisor.settings import GvisorSettings

ROOT = "/opt/gvisor"
CURRENT = f"{ROOT}/current"
BIN = "/usr/local/bin"
LINKS = {f"{BIN}/{program}": f"{CURRENT}/{program}" for program in LOOSE}
"""Links that never change: an upgrade switches `current` alone, so that runsc and its shim change in one step."""

PACKAGE = "runsc"

MANIFEST = "SHA512SUMS"
"""In each release's directory: the digests of what was installed, written after they were checked."""
STAMP = ".installed"
"""Beside it: what `STAT` says of these files, so that a look need not read 100 MB to see them unchanged."""
STAT = "stat -c '%i %s %Y %Z %a %u %n'"
"""What tells an untouched file: inode, size, times of change, mode, owner, name."""


@dataclass(frozen=True)
class FoundGvisor:
    """What a look found of gVisor on a host.

    `recorded` and `actual` are file → sha512 for the wanted release, `origin` artefact → sha512; `untouched` says that
    inode, size, times, owner and mode of all its files are those of the installation. `links` is path → target, or
    the kind of thing that is there instead of a link, or None.
    """

    architecture: str
    tools: frozenset[str]
    current: str | None
    links: dict[str, str | None]
    recorded: dict[str, str]
    actual: dict[str, str]
    origin: dict[str, str]
    untouched: bool
    package: str | None


@dataclass(frozen=True)
class Plan:
    """What to do: a title for the operation, lines for `--diff`, and the script (None when all is as it should be)."""

    title: str
    lines: tuple[str, ...] = ()
    script: str | None = None


def found(look: Look) -> FoundGvisor:
    """Read the answers to `facts.needs`.

    Raises BulkheadError when the host's architecture has no gVisor.
    """
    host = look.outputs["gvisor.host"].text.splitlines()
    architecture = host[0] if host else ""
    if architecture not in ARCHITECTURES:
        raise BulkheadError(
            f"gVisor is not published for {architecture or 'this architecture'}",
            hint=f"A gVisor host is {' or '.join(ARCHITECTURES)}.",
        )
    links = dict(line.split("\t") for line in look.outputs["gvisor.links"].text.splitlines())
    sections: dict[str, dict[str, str]] = {"recorded": {}, "actual": {}, "origin": {}, "state": {}}
    if "gvisor.release" in look.outputs:
        for line in look.outputs["gvisor.release"].text.splitlines():
            section, digest, name = line.split(None, 2)
            sections[section][name] = digest
    package = look.outputs["gvisor.package"].text
    return FoundGvisor(
        architecture=architecture,
        tools=frozenset(host[1:]),
        current=links.pop(CURRENT, "") or None,
        links={path: target or None for path, target in links.items()},
        package=package or None,
        recorded=sections["recorded"],
        actual=sections["actual"],
        origin=sections["origin"],
        untouched=bool(sections["state"]),
    )


def plan(settings: GvisorSettings, there: FoundGvisor) -> Plan:
    """Decide what has to be done.

    Raises BulkheadError when it can't be done on this host.
    """
    if settings.source == "distribution":
        return _plan_package(settings, there)
    return _plan_release(settings, there)


def installed_as_pinned(digests: dict[str, str], there: FoundGvisor) -> bool:
    """Whether the wanted release lies on the host, whole, and from the artefacts whose digests are wanted now."""
    return (
        bool(there.recorded)
        and set(LOOSE) <= set(there.recorded)
        and there.recorded == there.actual
        and bool(there.origin)
        and all(digests.get(artefact) == digest for artefact, digest in there.origin.items())
    )


def _plan_release(settings: GvisorSettings, there: FoundGvisor) -> Plan:
    assert settings.release is not None
    digests = settings.digests(there.architecture)
    present = installed_as_pinned(digests, there)
    links = {path: target for path, target in LINKS.items() if there.links.get(path) != target}
    switched = there.current == settings.release
    title = f"runsc {settings.release}"
    if present and there.untouched and switched and not links:
        return Plan(title)
    artefacts = {} if present else _artefacts(digests, there)
    lines = [f"+ {ROOT}/{settings.release}/ from {artefact}" for artefact in artefacts]
    if present and not there.untouched:
        lines.append(f"~ {ROOT}/{settings.release}/: owner and modes of its files")
    if not switched:
        lines.append(f"~ {CURRENT}: {there.current or 'nothing'} → {settings.release}")
    lines += [f"~ {path}: {there.links.get(path) or 'nothing'} → {target}" for path, target in links.items()]
    return Plan(
        title,
        tuple(lines),
        whole(
            render(
                "gvisor/install.sh.j2",
                **preamble_values(),
                **probe_values(settings.runsc_flags(), there.architecture),
                current=CURRENT,
                manifest=MANIFEST,
                stamp=STAMP,
                stat=STAT,
                release=settings.release,
                version=f"release-{settings.release}",
                url=f"{settings.base_url}/release/{settings.release}/{there.architecture}",
                artefacts=artefacts,
                programs=LOOSE,
                elf_machine=probe.elf_machine(there.architecture),
                links=links,
            )
        ),
    )


def _artefacts(digests: dict[str, str], there: FoundGvisor) -> dict[str, str]:
    """Which files to fetch: the two programs, or the one tarball that the host can unpack."""
    if "curl" not in there.tools:
        raise BulkheadError("the host has no curl to fetch gVisor with", hint="Install curl on it, then run again.")
    if set(LOOSE) <= set(digests):
        return {artefact: digests[artefact] for artefact in LOOSE}
    unpackers = {"gvisor.tar.bz2": "bzip2", "gvisor.tar.zstd": "zstd"}
    for tarball in TARBALLS:
        if tarball in digests and unpackers[tarball] in there.tools:
            return {tarball: digests[tarball]}
    wanted = " or ".join(unpackers[tarball] for tarball in TARBALLS if tarball in digests)
    raise BulkheadError(f"the host lacks {wanted} to unpack gVisor with", hint=f"Install {wanted} on it.")


def _plan_package(settings: GvisorSettings, there: FoundGvisor) -> Plan:
    ours = [path for path, target in there.links.items() if target == LINKS[path]]
    title = "runsc of the distribution"
    if there.package and not ours:
        return Plan(title)
    # The package's version is only known on the host when it is there already; without it the flags that every
    # packaged runsc knows are tried.
    release = package_release(there.package) or flags.OLDEST
    lines = [] if there.package else [f"+ package {PACKAGE}"]
    return Plan(
        title,
        (*lines, *(f"- {path}" for path in ours)),
        whole(
            render(
                "gvisor/package.sh.j2",
                **preamble_values(),
                **probe_values(settings.runsc_flags(release), there.architecture),
                package=PACKAGE,
                installed=there.package is not None,
                ours=ours,
            )
        ),
    )


def package_release(version: str | None) -> str | None:
    """The gVisor release in a Debian version, such as `20240729.0` in `0.0~20240729.0-4+b10`."""
    match = re.search(r"(20\d{6}(\.\d+)?)", version or "")
    return match.group(1) if match else None


def probe_values(runsc_flags: Mapping[str, str], architecture: str) -> dict[str, object]:
    """What `templates/gvisor/probe.sh.j2` needs to try runsc out with these flags."""
    return {"flags": flags.arguments(runsc_flags), "root": ROOT, **probe.values(architecture)}
