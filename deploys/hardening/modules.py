"""Kernel modules that nobody is to load. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from bulkhead.errors import BulkheadError
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
    """Our file, and the modules that are loaded, each with how many use it (proc_modules(5))."""
    return [File(PATH), Command("hardening.modules", "cut -d' ' -f1,3 /proc/modules 2>/dev/null; :")]


def plan(values: Mapping[str, str], look: Look) -> area.Plan:
    """The file; a module that is loaded already is named, not torn out.

    Raises BulkheadError for one that is in use and not yet blocked: what uses it, a disk on USB say, would be missing
    at the next boot, and mkinitramfs takes the file along.
    """
    lines = (line.split() for line in look.outputs["hardening.modules"].text.splitlines())
    loaded = {name: count not in ([], ["0"]) for name, *count in lines}
    still = [name for name in values if name.replace("-", "_") in loaded]
    found = look.files[PATH]
    blocked = found.content.decode(errors="replace").splitlines() if found else []
    used = [name for name in still if loaded[name.replace("-", "_")] and f"install {name} /bin/false" not in blocked]
    if used:
        raise BulkheadError(
            f"modules: {', '.join(used)}: in use, and would not be loaded at the next boot",
            hint="End the use (lsmod tells how many there are), or leave it to the host: "
            f'hardening = {{"modules": {{"{used[0]}": {{"value": None, "reason": "…"}}}}}}.',
        )
    beyond = [area.Wrong(f"module {name}", "not loaded", "loaded", "") for name in still]
    return area.plan(
        area.own_files(look, files(values)),
        notes=[f"modules: loaded, and blocked from the next boot on only: {', '.join(still)}"] if still else [],
        beyond=beyond,
        prove=render("hardening/modules_prove.sh.j2", names=list(values)),
        restore=":",
    )
