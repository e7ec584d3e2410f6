"""Kernel modules that nobody is to load. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from bulkhead.look import Command, File, Look, Need
from bulkhead.templates import render
from deploys.hardening import area

PATH = "/etc/modprobe.d/00-bulkhead.conf"
"""The first file: of two `install` lines for a module modprobe takes the first."""


def content(values: Mapping[str, str]) -> str:
    """`blacklist` keeps a module from being loaded for a device, `install` from being loaded by its name."""
    return area.HEADER + "".join(f"install {name} /bin/false\nblacklist {name}\n" for name in values)


def files(values: Mapping[str, str]) -> dict[str, str | None]:
    """Path → content of what this area writes; None for what has to go."""
    return {PATH: content(values)}


def needs() -> list[Need]:
    """Our file, and the modules that are loaded."""
    return [File(PATH), Command("hardening.modules", "cut -d' ' -f1 /proc/modules 2>/dev/null; :")]


def plan(values: Mapping[str, str], look: Look) -> area.Plan:
    """The file; a module that is loaded already is named, not torn out."""
    loaded = set(look.outputs["hardening.modules"].text.split())
    still = [name for name in values if name.replace("-", "_") in loaded]
    beyond = [area.Wrong(f"module {name}", "not loaded", "loaded", "") for name in still]
    return area.plan(
        area.own_files(look, files(values)),
        notes=[f"modules: loaded, and blocked from the next boot on only: {', '.join(still)}"] if still else [],
        beyond=beyond,
        prove=render("hardening/modules_prove.sh.j2", names=list(values)),
        restore=":",
    )
