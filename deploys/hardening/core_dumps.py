"""No dumps of a process's memory, besides what `kernel.core_pattern` says in the table's sysctls. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from bulkhead.look import Command, File, Look, Need
from bulkhead.templates import render
from deploys.hardening import area

LIMITS = "/etc/security/limits.d/zz-bulkhead.conf"
SYSTEMD = "/etc/systemd/coredump.conf.d/zz-bulkhead.conf"
APPORT = "/etc/systemd/system/apport.service.d/zz-bulkhead.conf"


def needs() -> list[Need]:
    """Our files, and Ubuntu's apport, which sets `core_pattern` to itself whenever it is started."""
    return [
        *(File(path) for path in (LIMITS, SYSTEMD, APPORT)),
        Command("hardening.apport", "systemctl show --property LoadState --property ActiveState apport.service; :"),
    ]


def limits() -> str:
    """Nobody's processes, root's neither (a * is for all but root: limits.conf(5))."""
    return f"{area.HEADER}* hard core 0\nroot hard core 0\n"


def systemd() -> str:
    """For hosts on which systemd-coredump is installed later: it reads this at each crash."""
    return f"{area.HEADER}[Coredump]\nStorage=none\nProcessSizeMax=0\n"


def apport() -> str:
    """Our own drop-in keeps apport from starting for as long as it is there."""
    return f"{area.HEADER}[Unit]\nConditionPathExists=!{APPORT}\n"


def files(values: Mapping[str, str]) -> dict[str, str | None]:
    """Path → content of what this area writes on any host; None for what has to go."""
    return {
        LIMITS: limits() if "limits" in values else None,
        SYSTEMD: systemd() if "systemd" in values else None,
    }


def all_files(values: Mapping[str, str], look: Look) -> dict[str, str | None]:
    """`files`, and what keeps this host's apport from starting."""
    there = "LoadState=loaded" in look.outputs["hardening.apport"].text
    return {**files(values), APPORT: apport() if there and "systemd" in values else None}


def plan(values: Mapping[str, str], look: Look) -> area.Plan:
    """The limits for logins, and the drop-ins; a crash reads them, so that nothing is restarted."""
    said = look.outputs["hardening.apport"].text
    there = "LoadState=loaded" in said
    running = there and "ActiveState=active" in said
    stop = running and "systemd" in values
    return area.plan(
        area.own_files(look, all_files(values, look)),
        wrong=[area.Wrong("unit apport.service", "inactive", "active", "~ apport.service stops")] if stop else [],
        activate=render("hardening/core_dumps_activate.sh.j2", there=there, stop=stop),
        restore="systemctl daemon-reload" if there else ":",
    )
