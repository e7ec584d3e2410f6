"""What is read from a control node, and what it must have."""

from __future__ import annotations

from dataclasses import dataclass

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Command, File, FoundFile, Look, Need
from bulkhead.templates import render
from deploys.watch import schedule
from deploys.watch.settings import WatchSettings, of

SYSTEMD = 249
"""The oldest systemd whose options the units use and that they were tried with: Ubuntu 22.04's."""

_STATE = "systemctl show --property Id,LoadState,UnitFileState,ActiveState,NeedDaemonReload " + " ".join(schedule.UNITS)


@dataclass(frozen=True)
class FoundNode:
    """A control node: its files, the version of its systemd (0 where it does not say), what of the settings is
    there (`user`, `program` …), and the units' properties by name."""

    files: dict[str, FoundFile | None]
    systemd: int
    there: frozenset[str]
    units: dict[str, dict[str, str]]

    @property
    def runs(self) -> bool:
        """Whether the timer is in force, and systemd has read what lies there."""
        timer = self.units.get(schedule.TIMER, {})
        read = all(unit.get("NeedDaemonReload") == "no" for unit in self.units.values())
        return read and (timer.get("UnitFileState"), timer.get("ActiveState")) == ("enabled", "active")

    @property
    def left(self) -> list[str]:
        """What the node has of checks: files, and units that are still active without."""
        there = [path for path, found in self.files.items() if found]
        active = [name for name, unit in self.units.items() if unit.get("ActiveState") not in ("inactive", "failed")]
        return there or [f"unit {name}" for name in active]


def needs(host: InventoryHost) -> list[Need]:
    """The units, and what the checks need: a user, the checkout, where the metrics go."""
    settings = of(host)
    found: list[Need] = [File(path) for path in schedule.PATHS]
    found.append(Command("watch.units", _STATE))
    if settings:
        found.append(Command("watch.node", render("watch/look.sh.j2", settings=settings)))
    return found


def found(look: Look) -> FoundNode:
    """Read the answers to `needs`."""
    said = look.outputs["watch.node"].text.split() if "watch.node" in look.outputs else []
    version = next((word.partition("=")[2] for word in said if word.startswith("systemd=")), "")
    units = {}
    for block in look.outputs["watch.units"].text.split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in unit:
            units[unit["Id"]] = unit
    return FoundNode(
        files={path: look.files[path] for path in schedule.PATHS},
        systemd=int(version) if version.isdigit() else 0,
        there=frozenset(said),
        units=units,
    )


def refuse(settings: WatchSettings, node: FoundNode) -> None:
    """Raise BulkheadError with everything that a check would lack on the node."""
    user, program = settings.user, f"{settings.checkout}/.venv/bin/bulkhead"
    if node.systemd < SYSTEMD:
        raise BulkheadError(
            f"systemd {node.systemd or 'of no known version'}: a control node needs {SYSTEMD} or later",
            hint="Debian 12 and Ubuntu 22.04 have it.",
        )
    if "user" not in node.there:
        raise BulkheadError(
            f"watch.user: there is no user {user!r} on the host",
            hint=f"Make one, such as by 'useradd --create-home {user}', with the fleet's ssh key and known_hosts.",
        )
    problems: dict[str, str] = {}
    if "program" not in node.there:
        problems[f"watch.checkout: {user} can't run {program}"] = (
            f"Clone the repository to {settings.checkout}, with your inventories, and run 'make venv' there as {user}."
        )
    elif "inventory" not in node.there:
        problems[f"watch.inventory: {user} can't read {settings.inventory} in {settings.checkout}"] = (
            "Bring the checkout up to date, or name another inventory."
        )
    if settings.textfile_directory and "textfile" not in node.there:
        problems[f"watch.textfile_directory: there is no directory {settings.textfile_directory}"] = (
            "Install prometheus-node-exporter, name its --collector.textfile.directory, or leave it out."
        )
    if settings.on_failure and "on_failure" not in node.there:
        problems[f"watch.on_failure: {user} can't run {settings.on_failure}"] = (
            "Put the program there, or leave it out."
        )
    if problems:
        raise BulkheadError("\n".join(problems), hint="\n  ".join(problems.values()))
