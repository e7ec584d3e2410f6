"""The inventory's `self_check` settings."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from bulkhead.errors import BulkheadError
from bulkhead.inventory import AbsolutePath, InventoryHost, Settings, once, read

KEY = "self_check"

_LABEL = re.compile(r"[\w.@:+/-]+", re.ASCII)
"""What stands unquoted in a unit and in a metric."""


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ValueError(f"{text!r} is no label: letters, digits, and . _ @ : + / -")
    return text


class SelfCheckSettings(Settings):
    """How a host checks itself."""

    state: Literal["present", "absent"] = "present"
    """`absent` takes it away, as does an inventory without the key."""

    interval: Annotated[int, Field(ge=60, le=86_400)] = 300
    """Seconds from one check to the next."""

    jitter: Annotated[int, Field(ge=0, le=86_400)] = 60
    """Seconds up to which a check is put off at random, so that a fleet does not check all at once."""

    textfile_directory: AbsolutePath = "/var/lib/prometheus/node-exporter"
    """Where node_exporter's textfile collector reads (its `--collector.textfile.directory`); Debian's, unless said."""

    inventory: Annotated[str, AfterValidator(_label)] = "self-check"
    """The label `inventory` of the metrics; that of `bulkhead drift` makes one row of both."""


@once
def of(host: InventoryHost) -> SelfCheckSettings | None:
    """The settings of a host; None where it has to be without.

    Raises BulkheadError naming the host, the key and the reason for everything that is wrong.
    """
    if host.data.get(KEY) is None:
        return None
    settings = read(SelfCheckSettings, host, KEY)
    if not _LABEL.fullmatch(host.name):
        raise BulkheadError(
            f"{host.name}: {KEY}: the host's name is no label of a metric",
            hint="Name it by letters, digits, and . _ @ : + / -, or leave self_check out.",
        )
    return settings if settings.state == "present" else None
