"""What containerd's capability reads from a host, as parts of the one look, and how the answers are read."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from bulkhead import grpc
from bulkhead.errors import BulkheadError
from bulkhead.look import Command, File, Look, Need
from bulkhead.templates import render
from deploys.containerd.config import PATH
from deploys.gvisor.runtime import CONFIG_PATH

SOCKET = "/run/containerd/containerd.sock"


@dataclass(frozen=True)
class FoundContainerd:
    """The daemon that is there: its version, and CRI's live configuration (None where CRI doesn't answer).

    `keeps_containers` says whether its unit leaves containers running when the daemon is restarted.
    """

    version: tuple[int, int]
    running: bool
    keeps_containers: bool
    cri: dict[str, Any] | None


def live() -> str:
    """The shell command that asks the running daemon; it may write below `$d`."""
    return render("containerd/live.sh.j2", socket=SOCKET)


def needs() -> list[Need]:
    """The configuration files, and the running daemon's own word on its version and its runtimes."""
    return [
        File(PATH),
        File(CONFIG_PATH),
        # The slower question is for a daemon that doesn't answer.
        Command("containerd.live", f'{live()}[ -s "$d/answer" ] || containerd --version >&2\nexit $status'),
        Command("containerd.unit", "systemctl show --property KillMode --value containerd.service"),
    ]


def found(look: Look) -> FoundContainerd:
    """Read the answers to `needs`.

    Raises BulkheadError when there is no containerd, or one that is too old.
    """
    answer = look.outputs["containerd.live"].refuse_without("curl")
    running, text, cri = False, answer.stderr.decode(errors="replace"), None
    try:
        messages = grpc.frames(answer.stdout)
        if messages:
            running = True
            text = dict(grpc.strings(messages[0])).get(1, "")
            cri = _cri_config(messages[1]) if len(messages) > 1 else None
    except (ValueError, TypeError) as error:
        raise BulkheadError(f"containerd's answer on {SOCKET} can't be read: {error}") from error
    match = re.search(r"(\d+)\.(\d+)\.\d+", text)
    if not match:
        raise BulkheadError(
            "the inventory's engines name containerd, but the host has none",
            hint="Install containerd on it, or take containerd out of engines.",
        )
    version = (int(match.group(1)), int(match.group(2)))
    if version < (1, 6):
        raise BulkheadError(f"containerd {match.group()} is too old", hint="Upgrade it to 1.6 or later.")
    keeps_containers = look.outputs["containerd.unit"].text == "process"
    return FoundContainerd(version, running, keeps_containers, cri)


def _cri_config(status: bytes) -> dict[str, Any] | None:
    """The key `config` of the map `info` (field 2) of a verbose StatusResponse (CRI API, runtime/v1)."""
    for number, value in grpc.fields(status):
        if number == 2 and isinstance(value, bytes):
            pair = dict(grpc.strings(value))
            if pair.get(1) == "config":
                config: dict[str, Any] = json.loads(pair.get(2, "{}"))
                return config
    return None
