"""The inventory as Bulkhead reads it: hosts with their groups and data, checked before anything connects."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from os.path import normpath
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from bulkhead.errors import BulkheadError

GVISOR_HOSTS = "gvisor_hosts"
LEGACY_HOSTS = "legacy_hosts"
CONTROL_NODES = "control_nodes"
"""Machines from which the fleet is watched: they hold its ssh keys, and run no agents."""

GROUPS = (GVISOR_HOSTS, LEGACY_HOSTS, CONTROL_NODES)
"""The kinds of host; each host is of one."""

LOCAL = "@local"
"""The name of the machine on which Bulkhead runs, as pyinfra's."""


@dataclass(frozen=True)
class InventoryHost:
    """One host of the inventory: its name, its groups and its merged data."""

    name: str
    groups: frozenset[str]
    data: Mapping[str, Any]
    _known: dict[Callable[..., object], Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What `once` keeps of it."""


T = TypeVar("T")


def once(reader: Callable[[InventoryHost], T]) -> Callable[[InventoryHost], T]:
    """Have `reader`, which takes from a host's description alone, do so once for each host: a fleet's are many, and
    every capability asks for the settings of others. What it raises is raised each time."""

    @wraps(reader)
    def known(host: InventoryHost) -> T:
        if reader not in host._known:
            host._known[reader] = reader(host)
        found: T = host._known[reader]
        return found

    return known


class Settings(BaseModel):
    """Base of every typed part of the inventory: unknown keys are errors, values don't change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _absolute(path: str) -> str:
    if not re.fullmatch(r"(/[^/\s\"'\\]+)+", path) or normpath(path) != path or not path.isprintable():
        raise ValueError(f"{path!r} is not an absolute path")
    return path


AbsolutePath = Annotated[str, AfterValidator(_absolute)]
"""A path on a host, as scripts and other formats take it: no `..`, no blanks, no quotes, nothing doubled."""

S = TypeVar("S", bound=Settings)


def read(model: type[S], host: InventoryHost, key: str) -> S:
    """Read `host`'s data under `key` into `model`; a host without the key gets the model's defaults.

    Raises BulkheadError naming the host, the key and the reason for each thing that is wrong.
    """
    value = host.data.get(key)
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise BulkheadError(
            f"{host.name}: {key}: expected a dictionary, not {type(value).__name__}",
            hint=f"Write {key} = {{...}} in the inventory or in group_data.",
        )
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        problems = [
            f"{host.name}: {'.'.join([key, *map(str, problem['loc'])])}: {_reason(problem, model)}"
            for problem in error.errors(include_url=False)
        ]
        raise BulkheadError("\n".join(problems), hint="Correct the inventory; nothing was connected.") from error


def _reason(problem: Any, model: type[BaseModel]) -> str:
    if problem["type"] == "extra_forbidden":
        nested = _model_at(model, problem["loc"][:-1])
        return f"unknown setting (known: {', '.join(nested.model_fields)})" if nested else "unknown setting"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"{problem['msg'][0].lower()}{problem['msg'][1:]} (found {problem['input']!r})"


def _model_at(annotation: Any, place: Sequence[str | int]) -> type[BaseModel] | None:
    """The model to which `place` leads from a type: names of fields, keys of dictionaries, positions in lists."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not place:
            return annotation
        found = annotation.model_fields.get(str(place[0]))
        return _model_at(found.annotation, place[1:]) if found else None
    parts, origin = get_args(annotation), get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, Collection):
        return _model_at(parts[-1 if issubclass(origin, Mapping) else 0], place[1:]) if place else None
    return next((model for part in parts if (model := _model_at(part, place))), None)


ENGINES = ("containerd", "docker")


def engines(host: InventoryHost) -> frozenset[str]:
    """Which container engines the inventory says the host runs.

    Raises BulkheadError when the setting is missing or names something else: an engine that is forgotten would go on
    running agents without a sandbox.
    """
    value = host.data.get("engines")
    known = ", ".join(ENGINES)
    if not isinstance(value, list | tuple) or not value:
        raise BulkheadError(
            f"{host.name}: engines: expected a list of the engines that the host runs ({known}), found {value!r}",
            hint='Write engines = ["containerd", "docker"] in the inventory or in group_data.',
        )
    for engine in value:
        if engine not in ENGINES:
            raise BulkheadError(f"{host.name}: engines: {engine!r} is none of {known}")
    return frozenset(value)


ALLOW_RUNNING = "allow_running"


def allow_running(host: InventoryHost) -> bool:
    """Whether the inventory lets a runtime be taken away while containers run under it.

    Raises BulkheadError when the setting is neither true nor false.
    """
    value = host.data.get(ALLOW_RUNNING, False)
    if not isinstance(value, bool):
        raise BulkheadError(f"{host.name}: {ALLOW_RUNNING}: expected True or False, found {value!r}")
    return value


def refuse_sudo_password(host: InventoryHost) -> None:
    """Raise BulkheadError where sudo would ask for a password.

    pyinfra answers by a program in /tmp, which hardening makes noexec, and a new egress policy is confirmed over a
    connection that has nobody to ask.
    """
    for key in ("_sudo_password", "_use_sudo_password"):
        if host.data.get(key):
            raise BulkheadError(
                f"{host.name}: {key}: sudo can't be given a password",
                hint="Let the connecting user use sudo without one, or connect as root.",
            )


def refuse_mixed_groups(hosts: Iterable[InventoryHost]) -> None:
    """A host is of one kind: the hardening of gVisor hosts and legacy hosts contradicts (DESIGN, two kinds of host),
    and untrusted agents have no place beside the ssh keys of the whole fleet."""
    hosts = list(hosts)
    problems: list[str] = []
    hints: list[str] = []
    for one, other, hint in (
        (GVISOR_HOSTS, LEGACY_HOSTS, "Legacy agents need dedicated hosts: leave each host in one of the two groups."),
        (CONTROL_NODES, GVISOR_HOSTS, _APART),
        (CONTROL_NODES, LEGACY_HOSTS, _APART),
    ):
        mixed = sorted(host.name for host in hosts if {one, other} <= host.groups)
        if mixed:
            problems.append(f"{', '.join(mixed)}: in both {one} and {other}")
            hints += [hint] if hint not in hints else []
    if problems:
        raise BulkheadError("\n".join(problems), hint="\n  ".join(hints))


_APART = "A control node holds the ssh keys of the whole fleet: give it a machine of its own, without agents."
