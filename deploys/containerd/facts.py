"""What containerd's capability reads from a host, as parts of the one look, and how the answers are read."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from bulkhead import grpc, probe
from bulkhead.capability import runtimes_of
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Command, File, FoundFile, Look, Need, archived, flag_value
from bulkhead.registration import ledger_path
from bulkhead.templates import render
from deploys.containerd import settings
from deploys.containerd.distributions import CONTAINERD, Distribution, distributions

LEDGER = ledger_path("containerd")


@dataclass(frozen=True)
class FoundContainerd:
    """The daemon that is there: its version, and CRI's live configuration (None where CRI doesn't answer).

    `unit` is the systemd unit that runs it; `keeps_containers` says whether that unit leaves containers running when it
    is restarted. `imported` are the files that its configuration imports, path → file.
    """

    distribution: Distribution
    version: tuple[int, int]
    unit: str
    running: bool
    keeps_containers: bool
    cri: dict[str, Any] | None
    imported: dict[str, FoundFile]


def live(distribution: Distribution) -> str:
    """The shell command that asks the running daemon; it may write below `$d`."""
    return render("containerd/live.sh.j2", socket=distribution.socket, name=distribution.name)


def template_files(distribution: Distribution) -> dict[int, str]:
    """Config version → the template of it that k3s and RKE2 would take."""
    if not distribution.templates:
        return {}
    return {3: f"{distribution.templates}/config-v3.toml.tmpl", 2: f"{distribution.templates}/config.toml.tmpl"}


def needs(host: InventoryHost) -> list[Need]:
    """The configuration files, and the running daemon's own word on its version and its runtimes."""
    candidates = distributions(settings.of(host))
    wanted: list[Need] = [File(LEDGER), probe.ARCHITECTURE]
    wanted += [File(runtime.config_path) for runtime in runtimes_of(host, "containerd") if runtime.config_path]
    units = [unit for distribution in candidates for unit in distribution.units]
    wanted.append(
        Command("containerd.units", f"systemctl show --property Id,LoadState,KillMode,MainPID {' '.join(units)}")
    )
    for distribution in candidates:
        paths = [distribution.config_file, distribution.drop_in, *template_files(distribution).values()]
        wanted += [File(path) for path in paths if path]
        wanted.append(
            Command(
                f"containerd.live.{distribution.name}",
                render(
                    "containerd/look.sh.j2",
                    live=live(distribution),
                    name=distribution.name,
                    socket=distribution.socket,
                    binary=distribution.binary,
                ),
            )
        )
        if distribution.name == CONTAINERD:
            values = {"path": distribution.config_file, "unit": distribution.units[0]}
            wanted.append(Command("containerd.imported", render("containerd/imported.sh.j2", **values)))
            wanted.append(Command("containerd.arguments", render("containerd/arguments.sh.j2", **values)))
    return wanted


def found(host: InventoryHost, look: Look) -> FoundContainerd:
    """Read the answers to `needs`.

    Raises BulkheadError when there is no containerd, several, one that is too old, or one that reads another file.
    """
    wanted = settings.of(host)
    distribution, unit = _which(distributions(wanted), _units(look.outputs["containerd.units"].text))
    answer = look.outputs[f"containerd.live.{distribution.name}"].refuse_without("curl")
    running, text, cri = False, answer.stderr.decode(errors="replace"), None
    try:
        messages = grpc.frames(answer.stdout)
        if messages:
            running = True
            text = dict(grpc.strings(messages[0])).get(1, "")
            cri = cri_config(messages[1]) if len(messages) > 1 else None
    except (ValueError, TypeError) as error:
        raise BulkheadError(f"containerd's answer on {distribution.socket} can't be read: {error}") from error
    match = re.search(r"(\d+)\.(\d+)\.\d+", text)
    if not match:
        raise BulkheadError(
            "the inventory's engines name containerd, but the host has none",
            hint="Install containerd on it, or take containerd out of engines.",
        )
    version = (int(match.group(1)), int(match.group(2)))
    imported: dict[str, FoundFile] = {}
    if distribution.name == CONTAINERD:
        _refuse_another_file(look.outputs["containerd.arguments"].text.splitlines(), wanted.config_file)
        imported = archived(look.outputs["containerd.imported"].stdout)
    return FoundContainerd(
        distribution=distribution,
        version=version,
        unit=unit.get("Id", distribution.units[0]),
        running=running,
        keeps_containers=unit.get("KillMode") == "process",
        cri=cri,
        imported=imported,
    )


def _units(text: str) -> dict[str, dict[str, str]]:
    """Unit → property → value, of the units that the host has."""
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")]
    return {block["Id"]: block for block in blocks if block.get("LoadState") == "loaded" and "Id" in block}


def _which(candidates: list[Distribution], units: dict[str, dict[str, str]]) -> tuple[Distribution, dict[str, str]]:
    """The distribution whose unit the host has, and that unit."""
    there = [(distribution, units[unit]) for distribution in candidates for unit in distribution.units if unit in units]
    names = list(dict.fromkeys(distribution.name for distribution, _ in there))
    if len(names) > 1:
        raise BulkheadError(
            f"the host has several containerds: {', '.join(names)}",
            hint=f'Say which one runs agents: containerd.distribution = "{names[-1]}" in the inventory.',
        )
    # Of two units of one distribution the one that runs.
    there.sort(key=lambda pair: pair[1].get("MainPID", "0") == "0")
    return there[0] if there else (candidates[0], {})


def _refuse_another_file(arguments: list[str], path: str) -> None:
    named = flag_value(arguments, "-c", "--config")
    if named not in (None, path):
        raise BulkheadError(
            f"containerd reads {named} (--config), not {path}",
            hint=f"Set containerd.config_file = {named!r} in the inventory.",
        )


def cri_config(status: bytes) -> dict[str, Any] | None:
    """The key `config` of the map `info` (field 2) of a verbose StatusResponse (CRI API, runtime/v1)."""
    for number, value in grpc.fields(status):
        if number == 2 and isinstance(value, bytes):
            pair = dict(grpc.strings(value))
            if pair.get(1) == "config":
                config: dict[str, Any] = json.loads(pair.get(2, "{}"))
                return config
    return None
