"""What a daemon of legacy agents must say in `daemon.json`, and what it must not. Pure, no I/O.

References: CIS Docker Benchmark 1.6 by its numbers; dockerd's reference, https://docs.docker.com/reference/cli/dockerd/;
Docker's manual, https://docs.docker.com/engine/.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from bulkhead.errors import BulkheadError
from bulkhead.go_json import compact
from bulkhead.runtime import RUNC

SLICE = "bulkhead-agents.slice"
CGROUP_PARENT = "cgroup-parent"
DNS = "dns"
NOBODY = ["0.0.0.0"]
"""A name server that there is none: a container that asks it asks itself."""

Version = tuple[int, int]


@dataclass(frozen=True)
class Option:
    """One key with the value that it gets unless the inventory says otherwise.

    `shown` is the piece of the daemon's answers (`/info`, `/networks/bridge`) that a value in effect shows, empty where
    they show nothing: then the process must have started after the file was written. `flag` is the one of dockerd that
    says the same.
    """

    key: str
    value: Any
    reason: str
    reference: str
    flag: str
    shown: Callable[[Any, Version], str] = lambda value, version: ""  # noqa: ARG005


def _nofile_and_nproc() -> dict[str, Any]:
    limits = {"nofile": (1024, 65536), "nproc": (2048, 2048)}
    return {name: {"Name": name, "Hard": hard, "Soft": soft} for name, (soft, hard) in limits.items()}


BASELINE = {
    option.key: option
    for option in (
        Option(
            "icc",
            False,
            "containers of Docker's default network do not reach each other",
            "CIS 2.2",
            "--icc",
            lambda value, _: f'"com.docker.network.bridge.enable_icc":"{str(value).lower()}"',
        ),
        Option(
            "no-new-privileges",
            True,
            "no program in a container gains privileges, such as by setuid",
            "CIS 2.14",
            "--no-new-privileges",
            # 20.10 does not tell, 26.1 does.
            lambda value, version: '"name=no-new-privileges"' if value and version >= (26, 1) else "",
        ),
        Option(
            "userland-proxy",
            False,
            "no process as root passes the traffic of published ports and hides where it comes from",
            "CIS 2.16",
            "--userland-proxy",
        ),
        Option(
            DNS,
            NOBODY,
            "dockerd asks no name server for an agent itself, as root and past the agent's policy: with servers of its "
            "own it asks from the container, without it asks the host's from the host: 28 always, 26 those on loopback "
            "and of IPv6, 20.10 those on loopback (as tried)",
            "Docker's manual, Networking overview, DNS services",
            "--dns",
        ),
        Option(
            "live-restore",
            True,
            "agents run on while the daemon restarts, so that an update of it need not wait",
            "CIS 2.15",
            "--live-restore",
            lambda value, _: f'"LiveRestoreEnabled":{str(value).lower()}',
        ),
        Option(
            "userns-remap",
            "default",
            "root in a container is nobody on the host",
            "CIS 2.9; Docker's manual, Isolate containers with a user namespace",
            "--userns-remap",
            lambda value, _: '"name=userns"' if value else "",
        ),
        Option(
            "default-ulimits",
            _nofile_and_nproc(),
            "one container exhausts neither the host's file handles nor its processes",
            "CIS 2.8",
            "--default-ulimit",
        ),
        Option(
            "log-driver",
            "local",
            "output goes to files that are rotated, so that an agent does not fill the disk",
            "Docker's manual, Configure logging drivers",
            "--log-driver",
            lambda value, _: f'"LoggingDriver":{compact(value)}',
        ),
        Option(
            "log-opts",
            {"max-size": "10m", "max-file": "5"},
            "at most 50 MB of output are kept of each container",
            "Docker's manual, Local file logging driver",
            "--log-opt",
        ),
        Option(
            CGROUP_PARENT,
            SLICE,
            "all agents together leave the host its share of memory, CPU and processes",
            "CIS 2.10, 5.11, 5.12",
            "--cgroup-parent",
        ),
    )
}
"""Key → option, in the order in which they are written."""


def _tcp(value: Any) -> list[str]:
    # Without a scheme it is an address too (dockerd's reference, daemon socket option).
    return [host for host in _texts(value) if host and not host.startswith(("unix:", "fd:"))]


@dataclass(frozen=True)
class Forbidden:
    """A key that Bulkhead does not write, and whose wrong values it refuses.

    `wrong` picks out what must not be said, `flags` are those of dockerd that say the same, `because` ends the message.
    """

    key: str
    wrong: Callable[[Any], list[str]]
    because: str
    reference: str
    flags: tuple[str, ...]


FORBIDDEN = {
    forbidden.key: forbidden
    for forbidden in (
        Forbidden(
            "hosts",
            _tcp,
            "whoever reaches that port is root on the host",
            "CIS 2.7; Docker's manual, Protect the Docker daemon socket",
            ("--host", "-H"),
        ),
        Forbidden(
            "seccomp-profile",
            lambda value: [text for text in _texts(value) if text not in ("", "builtin", "default")],
            "agents get Docker's own profile, which keeps them from rarely used system calls",
            "CIS 2.17, 5.22",
            ("--seccomp-profile",),
        ),
        Forbidden(
            "default-runtime",
            lambda value: [text for text in _texts(value) if text not in ("", RUNC)],
            "legacy agents run under runc, for which the host is hardened",
            "README, Legacy hosts",
            ("--default-runtime",),
        ),
        Forbidden(
            "insecure-registries",
            lambda value: [text for text in _texts(value) if text],
            "whoever is on the way to such a registry decides what the agents run",
            "CIS 2.5",
            ("--insecure-registry",),
        ),
    )
}

_TYPES = {bool: "True or False", str: "a text", dict: "a dictionary", list: "a list"}


def refuse_wrong(key: str, value: Any) -> None:
    """Raise ValueError unless the inventory may say `value` for `key`; None means that Bulkhead leaves it alone."""
    if key in FORBIDDEN:
        if value is not None:
            raise ValueError(f"Bulkhead does not set {key}: with value None what the host says is let through")
        return
    if key not in BASELINE:
        raise ValueError(f"unknown option (known: {', '.join([*BASELINE, *FORBIDDEN])})")
    kind = type(BASELINE[key].value)
    if value is None:
        return
    if not isinstance(value, kind):
        raise ValueError(f"value: expected {_TYPES[kind]}, found {value!r}")
    if key == DNS and not (value and all(_is_address(one) for one in value)):
        raise ValueError(f"value: expected addresses of name servers, found {value!r}")
    if key == "log-opts" and not all(isinstance(one, str) for pair in value.items() for one in pair):
        raise ValueError(f"value: every option of a log driver is a text, found {value!r}")
    if key == "default-ulimits":
        for name, limit in value.items():
            if not isinstance(limit, dict) or limit.keys() != {"Name", "Hard", "Soft"} or limit["Name"] != name:
                raise ValueError(f"value: expected {{'Name': {name!r}, 'Hard': …, 'Soft': …}}, found {limit!r}")
            if not all(type(limit[bound]) is int for bound in ("Hard", "Soft")):
                raise ValueError(f"value: {name}: limits are numbers, found {limit!r}")
    if key == CGROUP_PARENT and not (value.endswith(".slice") and len(value) > len(".slice") and "/" not in value):
        raise ValueError(f"value: {value!r} is not the name of a slice, such as {SLICE!r}")


def _is_address(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(ip_address(value))
    except ValueError:
        return False


def options(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Key → value of what is managed: the baseline with `overrides` (key → value, None for not managed) over it."""
    values = {key: overrides.get(key, option.value) for key, option in BASELINE.items()}
    return {key: value for key, value in values.items() if value is not None}


def shown(managed: Mapping[str, Any], document: Mapping[str, Any], version: Version) -> dict[str, str]:
    """Key → the piece of the daemon's answers that shows it in effect, of those of `managed` of which they tell.

    `document` is what the whole file means.
    """
    pieces = {}
    for key, value in managed.items():
        if key == "icc" and document.get("bridge") == "none":
            # There is no default network then, and nothing to show.
            continue
        pieces[key] = BASELINE[key].shown(value, version)
    return {key: piece for key, piece in pieces.items() if piece}


def digest(document: Mapping[str, Any], keys: Iterable[str]) -> str:
    """A short name for what `document` says for `keys`."""
    said = {key: document[key] for key in sorted(keys) if key in document}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def refuse_forbidden(
    document: Mapping[str, Any], arguments: Sequence[str], listening: Sequence[str], lifted: Iterable[str], path: str
) -> None:
    """Raise BulkheadError when the file (`document`), dockerd's `arguments` or its socket unit say what must not be.

    `listening` is what the socket unit listens on; `lifted` are the keys that the inventory lets through.
    """
    problems = []
    for key, forbidden in FORBIDDEN.items():
        if key in lifted:
            continue
        said = {
            f"{key} in {path}": forbidden.wrong(document.get(key)),
            f"{forbidden.flags[0]} in its arguments": forbidden.wrong(_given(arguments, forbidden.flags)),
        }
        if key == "hosts":
            said["ListenStream= of docker.socket"] = [one for one in listening if not one.startswith(("/", "@"))]
        problems += [
            f"docker says {', '.join(wrong)} ({place}): {forbidden.because} ({forbidden.reference})"
            for place, wrong in said.items()
            if wrong
        ]
        if problems:
            raise BulkheadError(
                "\n".join(problems),
                hint="Take it out there, or say in the inventory why it stays: "
                f'docker = {{"options": {{"{key}": {{"value": None, "reason": "..."}}}}}}.',
            )


def _texts(value: Any) -> list[str]:
    """A value and those of a list, as texts; nothing for None."""
    if value is None:
        return []
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _given(arguments: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Every value that a command line gives for `flags`: `--flag=value`, `--flag value`, `-Fvalue`, `-F=value`."""
    values = []
    for one, following in zip(arguments, [*arguments[1:], ""], strict=False):
        for flag in flags:
            if one == flag:
                values.append(following)
            elif one.startswith(f"{flag}="):
                values.append(one.removeprefix(f"{flag}="))
            elif one.startswith(flag) and not flag.startswith("--"):
                values.append(one.removeprefix(flag))
    return values
