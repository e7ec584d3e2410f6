"""Who may log in: a drop-in of sshd's that is read first, since of two values the first counts. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from bulkhead import put
from bulkhead.errors import BulkheadError
from bulkhead.look import Command, File, Look, Need
from bulkhead.templates import render
from deploys.hardening import area, sshd_match

MAIN = "/etc/ssh/sshd_config"
DIRECTORY = "/etc/ssh/sshd_config.d"
PATH = f"{DIRECTORY}/00-bulkhead.conf"

_INCLUDE = re.compile(r"\s*include\s+(.*)", re.IGNORECASE)
_SETTING = re.compile(r"\s*([A-Za-z0-9]+)[\s=]")
_READS_US = (f"{DIRECTORY}/*.conf", f"{DIRECTORY}/*", "sshd_config.d/*.conf", PATH)

_SAME = {"without-password": "prohibit-password"}
"""What `sshd -T` calls by an older name."""

_LISTS = ("acceptenv", "allowusers")
"""Options of which `sshd -T` shows each value in a line of its own."""

EFFECTIVE = "sshd -T 2>/dev/null || sshd -T -C lport=65535"
"""What holds for all. Where a block is for a port, sshd 9.2 says nothing unless it is told one: one that nobody has."""

_CONNECTION = (
    'one=$$; while [ "$one" -gt 1 ]; do tr "\\0" "\\n" <"/proc/$one/environ" | grep "^SSH_CONNECTION=" && exit;'
    ' one=$(sed -n "s/^PPid:[^0-9]*//p" "/proc/$one/status"); done 2>/dev/null; :'
)
"""sshd says it to the user's own shell, of which sudo hands no variable on."""


def needs() -> list[Need]:
    """The files, what they mean to sshd itself, the files before ours, and who is connected from where."""
    return [
        File(MAIN),
        File(PATH),
        Command("hardening.sshd", EFFECTIVE),
        Command("hardening.sshd.first", f"cd {DIRECTORY} 2>/dev/null && ls -d *.conf 2>/dev/null; :"),
        Command("hardening.user", 'printf "%s\\n" "${SUDO_USER:-$(id -un)}"'),
        Command("hardening.connection", _CONNECTION),
        Command("hardening.sshd.match", sshd_match.FILES),
    ]


def content(values: Mapping[str, str]) -> str:
    """The drop-in."""
    return area.HEADER + "".join(f"{name} {value}\n" for name, value in values.items())


def files(values: Mapping[str, str]) -> dict[str, str | None]:
    """Path → content of what this area writes; None for what has to go."""
    return {PATH: content(values)}


def plan(values: Mapping[str, str], look: Look, named: Collection[str] = ()) -> area.Plan:
    """The drop-in, taken in by a reload; connections that are open stay open.

    `named` is what the inventory itself says, of which some connections may differ.

    Raises BulkheadError where sshd would not read the drop-in, or something before it, or for some connections
    something else.
    """
    effective = look.outputs["hardening.sshd"]
    if effective.status == 127:
        return area.Plan(notes=("sshd: the host has none",))
    values = wanted(values, look)
    refuse_unread(look, values)
    before = files_before(look)
    if before:
        raise BulkheadError(
            f"{DIRECTORY}: {', '.join(before)} is read before Bulkhead's file, and of two values sshd takes the first",
            hint="Give it a name that sorts after 00-bulkhead.conf.",
        )
    for_some = look.outputs["hardening.sshd.match"].text
    sshd_match.refuse({name: value for name, value in values.items() if name not in named}, for_some)
    differing = {one.name.lower() for one in sshd_match.said(for_some)} | {name.lower() for name in named}
    shown = evidence(values)
    said = {_normal(line) for line in effective.text.splitlines()}
    factors = [line for line in said if line.startswith("authenticationmethods ") and "," in line]
    if factors and values.get("AuthenticationMethods"):
        raise BulkheadError(
            f"sshd asks for more than a key ({factors[0]}), and would not any more",
            hint='Leave it as it is, with the reason: hardening = {"sshd": {"AuthenticationMethods": '
            '{"value": None, "reason": "…"}}}.',
        )
    if "strictmodes no" in said and values.get("StrictModes") == "yes":
        raise BulkheadError(
            "sshd runs with StrictModes no: keys in files that others can write to count, and would not any more",
            hint="Set StrictModes yes in its files and log in once; or leave it as it is, with the reason: "
            'hardening = {"sshd": {"StrictModes": {"value": None, "reason": "…"}}}.',
        )
    wrong = _wrong(shown, said)
    fill = {
        "directory": DIRECTORY,
        "name": PATH.rpartition("/")[2],
        "evidence": shown,
        "everywhere": [line for line in shown if line.partition(" ")[0] not in differing],
        "connections": _connections(look),
        "effective": EFFECTIVE,
        "scratch": put.SCRATCH,
    }
    return area.plan(
        area.own_files(look, files(values)),
        wrong=wrong,
        check=render("hardening/sshd_check.sh.j2", **fill),
        activate=render("hardening/sshd_activate.sh.j2"),
        prove=render("hardening/sshd_prove.sh.j2", **fill),
        restore=render("hardening/sshd_restore.sh.j2"),
    )


def _connections(look: Look) -> list[str]:
    """What `sshd -T -C` has to be told of the connections for which the proof is made: ours, and root's like it."""
    client, _, local, port = (look.outputs["hardening.connection"].text.partition("=")[2] or "::1 0 ::1 22").split()
    users = dict.fromkeys(("root", look.outputs["hardening.user"].text or "root"))
    return [f"user={user},host={client},addr={client},laddr={local},lport={port},rdomain=" for user in users]


def wanted(values: Mapping[str, str], look: Look) -> Mapping[str, str]:
    """`values`, but where the inventory leaves open who logs in, and it is root: he must be able to come back."""
    if look.outputs["hardening.user"].text == "root" and values.get("PermitRootLogin") == "no":
        return {**values, "PermitRootLogin": "prohibit-password"}
    return values


def effective(values: Mapping[str, str], look: Look) -> list[area.Wrong]:
    """What sshd takes otherwise than `values` say, whatever its files are like.

    Raises BulkheadError when sshd does not take its files at all.
    """
    answer = look.outputs["hardening.sshd"]
    if answer.status != 0:
        said = answer.stderr.decode(errors="replace").strip().splitlines() or ["without a word"]
        raise BulkheadError(f"sshd refuses its own files: {said[0]}", hint="Correct them before it is restarted.")
    taken = {_normal(line) for line in answer.text.splitlines()}
    return _wrong(evidence(wanted(values, look)), taken)


def _wrong(wanted_lines: list[str], said: set[str]) -> list[area.Wrong]:
    """The lines that are not in `said`, each beside what is."""
    found = []
    for line in wanted_lines:
        if line.lower() not in said:
            name = line.partition(" ")[0]
            actual = sorted(one for one in said if one.startswith(f"{name} "))
            found.append(area.Wrong(f"sshd {name}", line, "\n".join(actual), f"~ sshd: {line}"))
    return found


def evidence(values: Mapping[str, str]) -> list[str]:
    """The lines of `sshd -T` that show all of them."""
    return [line for name, value in values.items() for line in _evidence(name, value)]


def _evidence(name: str, value: str) -> list[str]:
    """The lines of `sshd -T` that show a setting; of a list it prints each entry."""
    if name.lower() in _LISTS:
        return [f"{name.lower()} {item}" for item in value.split()]
    return [f"{name.lower()} {_SAME.get(value, value)}"]


def _normal(line: str) -> str:
    name, _, value = line.partition(" ")
    return f"{name} {_SAME.get(value, value)}".lower()


def refuse_unread(look: Look, values: Mapping[str, str]) -> None:
    """Raise BulkheadError unless the directory is included, and before anything that we say too; not for some users
    alone."""
    ours = {name.lower() for name in values}
    main = look.files[MAIN]
    for line in (main.text(MAIN) if main else "").splitlines():
        if (match := _INCLUDE.fullmatch(line)) and set(match[1].split()) & set(_READS_US):
            return
        setting = _SETTING.match(line)
        if setting and setting[1].lower() == "match":
            break
        if setting and setting[1].lower() in ours:
            raise BulkheadError(
                f"{MAIN}: says {setting[1]} before it includes {DIRECTORY}, and of two values sshd takes the first",
                hint=f"Put 'Include {DIRECTORY}/*.conf' at the top of the file, as Debian and Ubuntu do.",
            )
    raise BulkheadError(
        f"{MAIN}: does not include {DIRECTORY}/*.conf, so sshd would not read what Bulkhead says",
        hint=f"Put 'Include {DIRECTORY}/*.conf' at the top of the file, or leave sshd out: "
        'hardening = {"off": {"sshd": "the reason"}}.',
    )


def files_before(look: Look) -> list[str]:
    """The names of files that sshd reads before ours."""
    names = look.outputs["hardening.sshd.first"].text.split("\n")
    return sorted(name for name in names if name and name < PATH.rpartition("/")[2])
