"""The distribution's packages that some areas need. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Sequence

from bulkhead import put
from bulkhead.errors import BulkheadError
from bulkhead.look import Command, Look, Need
from deploys.hardening import apparmor, audit, upgrades
from deploys.hardening.settings import Wanted
from deploys.hardening.table import Area

BY_AREA: dict[Area, str] = {"audit": audit.PACKAGE, "apparmor": apparmor.PACKAGE, "upgrades": upgrades.PACKAGE}


def needs() -> list[Need]:
    """Which of them are installed, and whether there is an apt to install them."""
    names = " ".join(BY_AREA.values())
    query = f"dpkg-query -W -f '${{Package}} ${{db:Status-Status}}\\n' {names} 2>/dev/null"
    return [Command("hardening.packages", f"{query} | sed -n 's/ installed$//p'; command -v apt-get; :")]


def missing(wanted: Wanted, look: Look) -> list[str]:
    """The packages that have to be installed.

    Raises BulkheadError naming them where the host has no apt.
    """
    there = look.outputs["hardening.packages"].text.split()
    needed = {package: area for area, package in BY_AREA.items() if wanted.of(area)}
    lacking = [package for package in sorted(needed) if package not in there]
    if lacking and not any(one.endswith("/apt-get") for one in there):
        areas = ", ".join(f'"{needed[package]}": "the reason"' for package in lacking)
        raise BulkheadError(
            f"the host lacks {', '.join(lacking)}, and has no apt-get to install it",
            hint=f'Install it by hand, or leave it out: hardening = {{"off": {{{areas}}}}}.',
        )
    return lacking


def script(names: Sequence[str]) -> str | None:
    """The script that installs them; None where none is missing."""
    if not names:
        return None
    return put.installation(names)
