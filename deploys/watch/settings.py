"""The inventory's `watch` settings: what a control node checks for drift, how often, and who is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from os.path import normpath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from bulkhead.drift import HOST_SECONDS, PARALLEL
from bulkhead.drift.history import KEEP
from bulkhead.errors import BulkheadError
from bulkhead.inventory import AbsolutePath, InventoryHost, Settings, once, read

KEY = "watch"

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def _plain(text: str) -> str:
    # systemd's own characters in a unit ($ and %) are among those that are left out.
    if not re.fullmatch(r"[\w.+@:/][\w.+@:/-]*", text, re.ASCII):
        raise ValueError(f"{text!r}: expected letters, digits and . _ + @ : / - alone")
    return text


def _inventory(path: str) -> str:
    if normpath(path) != path or path.startswith(".."):
        raise ValueError(f"{path!r} is neither an absolute path nor one inside of the checkout")
    return _plain(path)


def _pattern(text: str) -> str:
    if not re.fullmatch(r"[\w.@:*?\[\]!][\w.@:*?\[\]!-]*", text, re.ASCII):
        raise ValueError(f"{text!r} is no pattern of a host's or a group's name")
    return text


def _user(name: str) -> str:
    if not _USER.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a user")
    if name == "root":
        raise ValueError("a check needs the fleet's ssh key and no rights on this node: name a user of its own")
    return name


PlainPath = Annotated[AbsolutePath, AfterValidator(_plain)]


class WatchSettings(Settings):
    """What a control node checks, and how."""

    state: Literal["present"] = "present"

    checkout: PlainPath
    """The operator's checkout of this repository on the node, with its `.venv` and the inventory."""

    inventory: Annotated[str, AfterValidator(_inventory)]
    """The inventory that is checked: a path in the checkout, as one types it there, or an absolute one."""

    user: Annotated[str, AfterValidator(_user)]
    """Who checks: the one whose `~/.ssh` holds the key to the fleet, and the hosts' keys."""

    interval: int = Field(300, ge=10, le=86400)
    """Seconds from the end of a check to the beginning of the next."""

    jitter: int | None = Field(None, ge=0)
    """Seconds by which a check may begin later, at random, so that not all nodes check at once; a fifth of `interval`
    unless said."""

    check_seconds: int = Field(1800, ge=10)
    """Seconds after which a check is ended, and has failed."""

    textfile_directory: PlainPath | None = None
    """Where node_exporter's textfile collector reads; Debian's is `/var/lib/prometheus/node-exporter`."""

    on_failure: PlainPath | None = None
    """The operator's own program that is run after each check that failed, as `user`, with the unit's name."""

    keep: int = Field(KEEP, ge=1)
    """Reports that are kept."""

    limit: list[Annotated[str, AfterValidator(_pattern)]] = Field(default_factory=list)
    """Only hosts whose name or group matches; as `--limit`."""

    parallel: int = Field(PARALLEL, ge=1)
    """Hosts that are looked at at once."""

    timeout: float = Field(HOST_SECONDS, ge=1, allow_inf_nan=False)
    """Seconds that each host may take."""

    upstream: bool = True
    """Whether to ask for newer releases than the pinned ones."""

    @field_validator("checkout", "textfile_directory")
    @classmethod
    def _some_directory(cls, path: str | None) -> str | None:
        if path is not None and path.startswith(("/tmp/", "/var/tmp/", "/proc/", "/sys/", "/dev/")):
            raise ValueError(f"{path!r} lies where others write, or nothing stays")
        return path

    @model_validator(mode="after")
    def _less_than_the_interval(self) -> Self:
        if self.jitter is not None and self.jitter > self.interval:
            raise ValueError(f"jitter: {self.jitter} s is more than the interval of {self.interval} s")
        return self

    @property
    def delay(self) -> int:
        """By how many seconds a check may begin later."""
        return self.interval // 5 if self.jitter is None else self.jitter


class _Absent(Settings):
    """A node that is to check no longer; what else was said of it need not be said any more."""

    state: Literal["absent"]


@once
def of(host: InventoryHost) -> WatchSettings | None:
    """The watch settings of a control node; None where the checks have to go.

    Raises BulkheadError naming the host, the key and the reason for everything that is wrong, also when there are none:
    a control node that checks nothing would look like one that finds nothing.
    """
    said = host.data.get(KEY)
    if said is None:
        raise BulkheadError(
            f"{host.name}: {KEY}: is missing, and without it a control node checks nothing",
            hint='Write watch = {"checkout": …, "inventory": …, "user": …} in the inventory or in group_data.',
        )
    if isinstance(said, Mapping) and said.get("state") == "absent":
        read(_Absent, host, KEY)
        return None
    return read(WatchSettings, host, KEY)
