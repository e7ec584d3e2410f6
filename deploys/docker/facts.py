"""What Docker's capability reads from a host, as parts of the one look, and how the answers are read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bulkhead.errors import BulkheadError
from bulkhead.look import Command, File, Look, Need
from deploys.docker.daemon import PATH

SOCKET = "/run/docker.sock"

INFO = f"curl --silent --show-error --max-time 10 --unix-socket {SOCKET} http://localhost/info"
"""Ask the running daemon for its effective configuration (Docker Engine API, SystemInfo)."""


@dataclass(frozen=True)
class FoundDocker:
    """The daemon that is there: its live runtimes and default runtime; `running` is false where it doesn't answer."""

    running: bool
    runtimes: dict[str, Any]
    default_runtime: str | None


def needs() -> list[Need]:
    """The configuration file, and the running daemon's own word on its runtimes."""
    return [
        File(PATH),
        Command("docker.info", INFO),
        Command("docker.installed", "command -v dockerd"),
    ]


def found(look: Look) -> FoundDocker:
    """Read the answers to `needs`.

    Raises BulkheadError when there is no dockerd, or no curl to ask it.
    """
    if look.outputs["docker.installed"].status != 0:
        raise BulkheadError(
            "the inventory's engines name docker, but the host has no dockerd",
            hint="Install Docker on it, or take docker out of engines.",
        )
    answer = look.outputs["docker.info"].refuse_without("curl")
    try:
        info = json.loads(answer.stdout) if answer.status == 0 else {}
    except ValueError:
        info = {}
    return FoundDocker(
        running="Runtimes" in info,
        runtimes=info.get("Runtimes") or {},
        default_runtime=info.get("DefaultRuntime"),
    )
