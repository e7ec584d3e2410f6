"""systemd's units: whether they run, start at boot, and do what their own files say. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bulkhead.errors import BulkheadError
from bulkhead.look import Command, Look
from bulkhead.templates import render

PROPERTIES = "Id,Names,LoadState,ActiveState,UnitFileState,FragmentPath,DropInPaths"

PACKAGED = ("/usr/lib/systemd/", "/lib/systemd/")
"""Where packages put drop-ins; whether one did is asked of the package manager."""

GENERATED = "/run/systemd/generator"
"""Where systemd's generators put what they make of other files; nothing of Bulkhead's own units."""

OURS = "bulkhead-"


@dataclass(frozen=True)
class Unit:
    """One unit that a host has. `added` is drop-in → the keys that it sets, of those that no package brought;
    `shadowed` is the packaged file that another one stands in for."""

    name: str
    load: str
    active: str
    enabled: str
    dropped: Mapping[str, str] = field(default_factory=dict)
    shadowed: str = ""
    fragment: str = ""

    @property
    def runs(self) -> bool:
        """Whether it is in force."""
        return self.active in ("active", "reloading", "refreshing")


def watch(name: str, units: Sequence[str]) -> Command:
    """What a look must bring for `read`: under the name of a capability, its units."""
    values = {"properties": PROPERTIES, "packaged": PACKAGED, "units": units}
    return Command(f"{name}.watched", render("drift/units.sh.j2", **values))


def read(name: str, look: Look) -> dict[str, Unit]:
    """Unit → what it is, under each of its names; units that a host has not got are not there, masked ones are.

    Raises BulkheadError where systemd did not answer.
    """
    found: dict[str, Unit] = {}
    answer = look.outputs[f"{name}.watched"]
    shown, end, rest = answer.stdout.decode(errors="replace").partition("\n---\n")
    if answer.status != 0 or not end:
        raise BulkheadError("the host does not tell how its units are", hint="Look at 'systemctl status' on it.")
    lines = [line.split("\t") for line in rest.splitlines()]
    keys = {line[1]: line[2] for line in lines if line[0] == "drop-in" and len(line) == 3}
    packaged = {line[1] for line in lines if line[0] == "packaged" and len(line) == 2}
    shadows = {line[1]: line[2] for line in lines if line[0] == "shadows" and len(line) == 3}
    for block in shown.split("\n\n"):
        said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if not said.get("Id") or said.get("LoadState") == "not-found":
            continue
        paths = said.get("DropInPaths", "").split()
        fragment = said.get("FragmentPath", "")
        unit = Unit(
            name=said["Id"],
            load=said.get("LoadState", ""),
            active=said.get("ActiveState", ""),
            enabled=said.get("UnitFileState", ""),
            dropped={
                path: keys.get(path, "")
                for path in paths
                if path not in packaged and (said["Id"].startswith(OURS) or not path.startswith(GENERATED))
            },
            # A mask is a link in the place of the file, and is told as what it is.
            shadowed="" if said.get("LoadState") == "masked" else shadows.get(fragment, ""),
            fragment=fragment,
        )
        found |= dict.fromkeys([unit.name, *said.get("Names", "").split()], unit)
    return found
