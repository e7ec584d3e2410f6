"""Security updates that come by themselves, but for the engines. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bulkhead.look import Command, File, Look, Need
from bulkhead.templates import render
from deploys.hardening import area

PATH = "/etc/apt/apt.conf.d/zz-bulkhead"
PACKAGE = "unattended-upgrades"
TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")

ORIGINS = "Unattended-Upgrade::Origins-Pattern"
ALLOWED = "Unattended-Upgrade::Allowed-Origins"
HELD = "Unattended-Upgrade::Package-Blacklist"
_LISTS = (ORIGINS, HELD)

KEYS = ("o", "origin", "l", "label", "a", "archive", "suite", "c", "component", "n", "codename", "site")
"""What a pattern of an origin may be about; of anything else unattended-upgrades makes an error, and installs nothing
(its match_whitelist_string)."""

_WHOLE = ("runc", "runsc")
"""Names of packages that others begin with, which are not held: patterns are matched from a name's beginning."""


def needs() -> list[Need]:
    """Our file, what apt makes of all files, and the timers."""
    return [
        File(PATH),
        Command("hardening.apt", "apt-config dump 2>/dev/null | grep -E '^(Unattended-Upgrade|APT::Periodic)'; :"),
        Command("hardening.timers", f"systemctl is-enabled {' '.join(TIMERS)} 2>/dev/null; :"),
        Command("hardening.timers.run", f"systemctl is-active {' '.join(TIMERS)}; :"),
    ]


def items(name: str, value: str) -> list[str]:
    """The entries of a list.

    Origins have names with blanks ("Debian Backports"): what follows one is another only if it says what it is about.
    """
    if name == HELD:
        return [f"^{one}$" if one in _WHOLE else f"^{one}" for one in value.split()]
    return re.split(r"\s+(?=\w+=)", value)


def content(values: Mapping[str, str]) -> str:
    """apt's file. Lists of several files add up, so the origins of others are cleared away before ours."""
    lines = ["// Bulkhead's: what is changed here is changed back. The inventory's key `hardening` says what differs."]
    for name, value in values.items():
        if name in _LISTS:
            lines += [f"#clear {ORIGINS};", f"#clear {ALLOWED};"] if name == ORIGINS else []
            lines += [f"{name} {{", *(f'    "{item}";' for item in items(name, value)), "};"]
        else:
            lines.append(f'{name} "{value}";')
    return "\n".join(lines) + "\n"


def evidence(values: Mapping[str, str]) -> list[str]:
    """The lines of `apt-config dump` that show it."""
    return [
        line
        for name, value in values.items()
        for line in (
            [f'{name}:: "{item}";' for item in items(name, value)] if name in _LISTS else [f'{name} "{value}";']
        )
    ]


def files(values: Mapping[str, str]) -> dict[str, str | None]:
    """Path → content of what this area writes; None for what has to go."""
    return {PATH: content(values)}


def plan(values: Mapping[str, str], look: Look) -> area.Plan:
    """The file, and the timers that run it, unless somebody masked them."""
    wanted = evidence(values)
    said = look.outputs["hardening.apt"].text.splitlines()
    missing = [line for line in wanted if line not in said]
    strange = _strange(said, values)
    states = dict(zip(TIMERS, look.outputs["hardening.timers"].text.splitlines(), strict=False))
    masked = [timer for timer, state in states.items() if state.startswith("masked")]
    run = dict(zip(TIMERS, look.outputs["hardening.timers.run"].text.splitlines(), strict=False))
    as_wanted = [timer for timer in TIMERS if states.get(timer) == "enabled" and run.get(timer) == "active"]
    to_enable = [timer for timer in TIMERS if timer not in masked and timer not in as_wanted]
    wrong = [
        *(area.Wrong(f"apt {_key(line)}", line, "", f"~ apt: {line}") for line in missing),
        *(area.Wrong(f"apt {_key(line)}", "", line, f"~ apt: {line}") for line in strange),
    ]
    for timer in to_enable:
        actual = f"{states.get(timer, '')} {run.get(timer, '')}".strip()
        wrong.append(area.Wrong(f"unit {timer}", "enabled active", actual, f"~ {timer} is enabled"))
    origins = [line for line in wanted if line.startswith(ORIGINS)]
    fill = {"evidence": wanted, "origins": origins, "timers": to_enable}
    return area.plan(
        area.own_files(look, files(values)),
        wrong=wrong,
        beyond=[area.Wrong(f"unit {timer}", "enabled active", "masked", "") for timer in masked],
        notes=[f"upgrades: {', '.join(masked)}: masked, so nothing comes by itself"] if masked else [],
        check='apt-config -c "$candidate_0" dump >/dev/null',
        activate=render("hardening/upgrades_activate.sh.j2", **fill),
        prove=render("hardening/upgrades_prove.sh.j2", **fill),
        restore=":",
    )


def _key(line: str) -> str:
    return line.partition(" ")[0].rstrip(":")


def _strange(said: list[str], values: Mapping[str, str]) -> list[str]:
    """Origins that another file lets in, by a name that sorts after ours."""
    if ORIGINS not in values:
        return []
    ours = {f'{ORIGINS}:: "{item}";' for item in items(ORIGINS, values[ORIGINS])}
    return [line for line in said if line.startswith((f"{ORIGINS}::", f"{ALLOWED}::")) and line not in ours]
