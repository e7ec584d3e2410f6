"""Blocks of sshd's files for some connections alone (`Match`), which go before what is said for all. Pure, no I/O.

Of two values outside of them the first counts; of those in a block that matches, they do (sshd_config(5)).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bulkhead.errors import BulkheadError

BASE = "/etc/ssh"
"""Where sshd looks for an included file without a path."""

FILES = (
    # sshd itself says what it reads, whatever includes what; grep says with each line where it stands.
    "sshd -T -ddd 2>&1 >/dev/null | tr -d '\\r' | sed -n 's/^debug2: load_server_config: filename //p' | sort -u |"
    ' while read -r one; do grep -Hn "" "$one"; done; :'
)
"""A command that prints every line of every file that sshd reads, as `file:number:line`."""

_LINE = re.compile(r"(.+?):(\d+):(.*)")
_SETTING = re.compile(r"\s*\"?([A-Za-z0-9]+)\"?(?:\s*=\s*|\s+)(.*?)\s*")
_STRICTER = {"permitrootlogin": {"no", "forced-commands-only"}}
_OFF_AT_0 = {"clientaliveinterval", "clientalivecountmax"}


@dataclass(frozen=True)
class Said:
    """A setting for some connections: where it stands, for which, its name as it is written, and its value."""

    place: str
    criteria: str
    name: str
    value: str


def said(lines: str) -> Iterator[Said]:
    """All that stands in blocks, of the output of `FILES`; an included file is as much for some as what includes it."""
    settings = [
        (*line.groups()[:2], setting[1], setting[2].replace('"', ""))
        for line in map(_LINE.fullmatch, lines.splitlines())
        if line and (setting := _SETTING.fullmatch(line[3]))
    ]
    inherited: dict[str, str] = {}
    known = -1
    # Until nothing new is learned: a file may be named before the one that includes it, and that one too.
    while len(inherited) > known:
        known = len(inherited)
        found, file, criteria = [], "", ""
        for path, number, name, value in settings:
            if path != file:
                file, criteria = path, next((why for one, why in inherited.items() if fnmatchcase(path, one)), "")
            if name.lower() == "match":
                criteria = value
            elif name.lower() == "include" and criteria:
                inherited |= {one if one.startswith("/") else f"{BASE}/{one}": criteria for one in value.split()}
            elif criteria:
                found.append(Said(f"{path}:{number}", criteria, name, value))
    yield from found


def weaker(values: Mapping[str, str], lines: str) -> list[tuple[Said, str, str]]:
    """What stands in a block and is weaker than one of `values`, with that one's name and value."""
    ours = {name.lower(): (name, value) for name, value in values.items()}
    return [
        (one, *ours[one.name.lower()])
        for one in said(lines)
        if one.name.lower() in ours and _weaker(one.name.lower(), one.value.lower(), ours[one.name.lower()][1].lower())
    ]


def refuse(values: Mapping[str, str], lines: str) -> None:
    """Raise BulkheadError for each block in which one of `values` is weaker, with its place."""
    found = weaker(values, lines)
    if found:
        raise BulkheadError(
            "\n".join(
                f"{one.place}: says {name} {one.value} for some (Match {one.criteria}), where Bulkhead says {value}"
                for one, name, value in found
            ),
            hint="Take it out; or, where those connections need it, name the setting with the reason: "
            f'hardening = {{"sshd": {{"{found[0][1]}": {{"value": "{found[0][2]}", "reason": "…"}}}}}}.',
        )


def _weaker(name: str, value: str, ours: str) -> bool:
    """Whether `value` lets in or lets do more than `ours`, as far as that can be told; other values count as weaker."""
    if name == "authenticationmethods":
        return any("publickey" not in re.split(r"[,:]", way) for way in value.split())
    if value.isdigit() and ours.isdigit():
        return int(value) > int(ours) or (value == "0" and name in _OFF_AT_0)
    return value not in {ours, *_STRICTER.get(name, ())}
