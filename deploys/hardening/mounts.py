"""What may be done on /tmp and /dev/shm: options of the mounts, live and at each boot. Pure, no I/O.

No line of fstab is touched: a unit of our own gives the options to whatever is mounted there. A /tmp that is no mount
becomes one of itself, so that nobody's files vanish, and it neither moves to memory nor shrinks.
"""

from __future__ import annotations

from collections.abc import Mapping

from bulkhead.look import Command, File, Look, Need
from bulkhead.templates import render
from deploys.hardening import area

UNIT = "bulkhead-mounts.service"
PATH = f"/etc/systemd/system/{UNIT}"
APT = "/etc/apt/apt.conf.d/00bulkhead-tmp"

_FLAGS = {"nodev": "dev", "nosuid": "suid", "noexec": "exec"}


def needs() -> list[Need]:
    """Our files, what is mounted, and whether the unit is enabled."""
    return [
        File(PATH),
        File(APT),
        Command("hardening.mounts", "cat /proc/self/mounts"),
        Command("hardening.mounts.unit", f"systemctl is-enabled {UNIT} 2>/dev/null; :"),
    ]


def unit(values: Mapping[str, str]) -> str:
    """The unit that gives the options when all is mounted, and before anything runs that is not the system's."""
    return render("hardening/mounts.service.j2", header=area.HEADER, mounts=dict(values))


def apt(values: Mapping[str, str]) -> str | None:
    """Where apt runs the questions of packages; it takes /tmp unless it is told. None where /tmp can run programs."""
    if "noexec" not in values.get("/tmp", ""):
        return None
    return '// Bulkhead\'s: /tmp is noexec.\nAPT::ExtractTemplates::TempDir "/var/cache/debconf";\n'


def files(values: Mapping[str, str]) -> dict[str, str | None]:
    """Path → content of what this area writes; None for what has to go."""
    return {PATH: unit(values) if values else None, APT: apt(values)}


def mounted(look: Look) -> dict[str, set[str]]:
    """Mount point → options; of several mounts on one point the last is what is seen."""
    lines = (line.split() for line in look.outputs["hardening.mounts"].text.splitlines())
    return {fields[1]: set(fields[3].split(",")) for fields in lines if len(fields) > 3}


def plan(values: Mapping[str, str], look: Look) -> area.Plan:
    """The unit, enabled, and the options live."""
    there = mounted(look)
    missing = {
        target: [option for option in options.split(",") if option not in there.get(target, ())]
        for target, options in values.items()
    }
    state = look.outputs["hardening.mounts.unit"].text
    enabled = state == "enabled"
    wrong = [
        area.Wrong(
            f"mount {target}", values[target], f"without {','.join(options)}", f"~ {target}: {','.join(options)}"
        )
        for target, options in missing.items()
        if options
    ]
    if values and not enabled:
        wrong.append(area.Wrong(f"unit {UNIT}", "enabled", state, f"~ {UNIT} is enabled"))
    fill = {
        "mounts": dict(values),
        "unit": UNIT,
        "enabled": enabled,
        "previous": {
            target: ",".join(flag if flag in there[target] else _FLAGS[flag] for flag in _FLAGS)
            for target in values
            if target in there
        },
    }
    return area.plan(
        area.own_files(look, files(values)),
        wrong=wrong,
        activate=render("hardening/mounts_activate.sh.j2", **fill),
        prove=render("hardening/mounts_prove.sh.j2", **fill),
        restore=render("hardening/mounts_restore.sh.j2", **fill),
    )
