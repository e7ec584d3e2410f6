"""The kernel's settings below /proc/sys: one file that is read last, and the live values. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from bulkhead.errors import BulkheadError
from bulkhead.look import Command, File, Look, Need
from bulkhead.templates import render
from deploys.hardening import area

PATH = "/etc/sysctl.d/zz-bulkhead.conf"
"""After 99-sysctl.conf, Debian's link to /etc/sysctl.conf: of two files the later name counts (sysctl.d(5))."""

ROOT = "/proc/sys"
SYSTEMD = "/usr/lib/systemd/systemd-sysctl"

_RP_FILTER = "net/ipv4/conf/{}/rp_filter"
_SWAPPED = str.maketrans("./", "/.")
_LINE = re.compile(r"-?\s*([^=\s]+)\s*=\s*(.*?)\s*")


def file_of(name: str) -> str:
    """The file below /proc/sys of a setting; dots and slashes change places, as in sysctl.d(5)."""
    return name.translate(_SWAPPED)


def content(values: Mapping[str, str]) -> str:
    """The file that the host reads at boot. A key that its kernel doesn't have is no error to it (`-`).

    What is said for every interface is said for `all` and `default` by name too: a name goes before a pattern, and
    other files name these two.
    """
    return area.HEADER + "".join(f"-{name} = {value}\n" for name, _, value in _written(values))


def _written(values: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Each name that the file says, the setting for which it does, and the value."""
    for name, value in values.items():
        before, star, after = name.partition(".*.")
        names = [f"{before}.all.{after}", f"{before}.default.{after}", name] if star else [name]
        yield from ((one, name, value) for one in names if one == name or one not in values)


def files(values: Mapping[str, str]) -> dict[str, str | None]:
    """Path → content of what this area writes; None for what has to go."""
    return {PATH: content(values)}


def needs(values: Mapping[str, str]) -> list[Need]:
    """Our file, the live values, what all files together say, and the ways out of the host."""
    files = " ".join(file_of(name) for name in values)
    return [
        File(PATH),
        # grep prints a file's name with each line. One that is empty has none, as has one of an interface that comes or
        # goes meanwhile; a file of no lines is told by their number.
        Command("hardening.sysctl", f"cd {ROOT} && grep -sH '' {files}; grep -sHc '' {files} | sed -n 's/:0$/:/p'; :"),
        Command("hardening.sysctl.files", f"{SYSTEMD} --cat-config"),
        Command("hardening.routes", "ip -4 -oneline route show default 2>/dev/null; :"),
    ]


def live(look: Look) -> dict[str, str]:
    """File below /proc/sys → value, for those that there are."""
    lines = (line.partition(":") for line in look.outputs["hardening.sysctl"].text.splitlines())
    return {path: _plain(value) for path, _, value in lines}


def plan(values: Mapping[str, str], look: Look) -> area.Plan:
    """The file, and each live value that is not what it should be.

    Raises BulkheadError when another file would have the last word at the next boot, or a host with several ways out
    would drop what comes in by one of them.
    """
    problems = others(values, look)
    if problems:
        raise BulkheadError(
            "\n".join(problem.line for problem in problems),
            hint="Take it out of the file, or say so in the inventory: hardening.sysctl, with the reason.",
        )
    refuse_asymmetric(values, look)
    found = live(look)
    differing = wrong(values, found)
    absent = [
        name
        for name in values
        if (path := file_of(name)) not in found and not ("*" in path and any(fnmatchcase(one, path) for one in found))
    ]
    fill = {
        "root": ROOT,
        "pairs": pairs(values),
        "previous": _previous(differing, found),
    }
    return area.plan(
        area.own_files(look, files(values)),
        wrong=list(differing.values()),
        notes=[f"sysctl: this kernel has no {', '.join(absent)}"] if absent else [],
        activate=render("hardening/sysctl_activate.sh.j2", **fill),
        prove=render("hardening/sysctl_prove.sh.j2", **fill),
        restore=render("hardening/sysctl_restore.sh.j2", **fill),
    )


def _previous(differing: Iterable[str], found: Mapping[str, str]) -> list[tuple[str, str]]:
    """File → value to go back to, in their order: with forwarding the kernel changes whether redirects are accepted."""
    paths = list(differing)
    switches = [path for path in paths if path.endswith(("/ip_forward", "/forwarding"))]
    redirects = [path for path in found if path.endswith("/accept_redirects")] if switches else []
    return [(path, found[path]) for path in dict.fromkeys([*switches, *paths, *redirects])]


def wrong(values: Mapping[str, str], found: Mapping[str, str]) -> dict[str, area.Wrong]:
    """File → what is wrong, for each of the `live` values that is not what it should be."""
    wanted = wanted_files(values, found)
    return {path: _wrong(path, found[path], value) for path, value in wanted.items() if found[path] != _plain(value)}


def pairs(values: Mapping[str, str]) -> list[tuple[str, str, list[str]]]:
    """File or pattern below /proc/sys, its value, and the files of a pattern for which a name of ours is."""
    found = [(file_of(name), _plain(value)) for name, value in values.items()]
    named = [path for path, _ in found if "*" not in path]
    return [(path, value, [one for one in named if "*" in path and fnmatchcase(one, path)]) for path, value in found]


def wanted_files(values: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """File → value for every file that is there; one that is named goes before a pattern."""
    wanted: dict[str, str] = {}
    named = [(file_of(name), value) for name, value in values.items()]
    for pattern, value in named:
        if "*" in pattern:
            wanted |= {path: value for path in found if fnmatchcase(path, pattern)}
    return wanted | {path: value for path, value in named if path in found}


def refuse_asymmetric(values: Mapping[str, str], look: Look) -> None:
    """Raise BulkheadError where strict checks of the source would drop what comes in by one of several ways out
    (ip-sysctl, rp_filter)."""
    uplinks = sorted(set(re.findall(r"\bdev (\S+)", look.outputs["hardening.routes"].text)))
    if len(uplinks) < 2:
        return
    found = live(look)
    wanted = wanted_files(values, found)

    def strict(values: Mapping[str, str], interface: str) -> bool:
        # Of the value for all interfaces and its own the kernel takes the higher.
        return max(values.get(_RP_FILTER.format(name), "0") for name in ("all", interface)) == "1"

    becoming = [interface for interface in uplinks if strict({**found, **wanted}, interface)]
    if len(becoming) > 1 and not all(strict(found, interface) for interface in becoming):
        raise BulkheadError(
            f"sysctl: net.ipv4.conf.*.rp_filter = 1 on a host with default routes by {' and '.join(becoming)}: what "
            "comes in by one of them, and would be answered by the other, is dropped",
            hint='Say 2, which checks less: hardening = {"sysctl": {"net.ipv4.conf.*.rp_filter": {"value": 2, '
            '"reason": "two uplinks"}}}.',
        )


def _plain(value: str) -> str:
    """The kernel separates several numbers by tabs."""
    return " ".join(value.split())


def _wrong(path: str, actual: str, expected: str) -> area.Wrong:
    name = path.replace("/", ".")
    return area.Wrong(f"sysctl {name}", expected, actual, f"~ {name}: {actual} → {expected}")


def others(values: Mapping[str, str], look: Look) -> list[area.Wrong]:
    """What another file says for the next boot, where it goes before ours: by its later name, or naming interfaces."""
    pairs = [(wanted, file_of(wanted), value) for wanted, value in values.items()]
    ours = {file_of(name): (wanted, value) for name, wanted, value in _written(values)}
    last = PATH.rpartition("/")[2]
    file, problems = "", []
    for line in look.outputs["hardening.sysctl.files"].text.splitlines():
        if line.startswith("# /"):
            file = line[2:]
        if file == PATH or not (match := _LINE.fullmatch(line)) or line.startswith(("#", ";")):
            continue
        key = match[1] if "/" in match[1].partition(".")[0] else file_of(match[1])
        later = file.rpartition("/")[2] > last
        if key in ours:
            beaten = [ours[key]] if later else []
        else:
            # A name goes before a pattern wherever it stands; of two patterns the later one counts.
            beaten = [
                (wanted, value)
                for wanted, pattern, value in pairs
                if "*" in pattern and fnmatchcase(key, pattern) and (later or "*" not in key)
            ]
        for wanted, value in beaten:
            if _plain(match[2]) != _plain(value):
                line = f"{file}: {match[1]} = {match[2]} goes before {wanted} = {value} at the next boot"
                problems.append(area.Wrong(f"{file}: {match[1]}", value, match[2], line))
    return problems
