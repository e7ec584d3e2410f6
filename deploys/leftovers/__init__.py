"""What a run left that was cut off by a reset of the host, and who may enter Bulkhead's own directory: put right before
anything else.
"""

from __future__ import annotations

from bulkhead import put
from bulkhead.capability import Capability, register
from bulkhead.drift.comparison import Comparison
from bulkhead.drift.pins import Check, Pin, Search
from bulkhead.hosts import announce, converges, run
from bulkhead.inventory import GROUPS, InventoryHost
from bulkhead.look import Command, File, Look
from bulkhead.templates import render, whole

NAME = "leftovers"
MODE = 0o700


def drift(compared: Comparison, _: InventoryHost, look: Look) -> None:
    """What is left of a run that never ended, and a directory that others can enter."""
    for path in _left(look):
        compared.add(path, actual="left by a run that was cut off", severity="warning")
    loosened = _loosened(look)
    if loosened:
        compared.add(f"{put.SCRATCH}: mode", expected=f"root {MODE:04o}", actual=loosened)


def _left(look: Look) -> list[str]:
    return look.outputs[NAME].text.splitlines()


def _loosened(look: Look) -> str:
    """Owner and mode of Bulkhead's directory where others could enter it."""
    found = look.files[put.SCRATCH]
    if found is None or (found.mode, found.owner) == (MODE, "root"):
        return ""
    return f"{found.owner} {found.mode:04o}"


def pins(host: InventoryHost, look: Look) -> list[Check]:
    """What of that a host compares by itself."""
    del host, look
    mode = f"{put.SCRATCH}: mode"
    return [
        Pin(NAME, mode, f"stat -c '%U %a' {put.SCRATCH}", f"root {MODE:o}"),
        Search(NAME, NAME, render("self_check/leftovers.sh.j2", left=_find())),
    ]


def _find() -> str:
    """The command that names what is left; a run that is under way leaves nothing."""
    return (
        f"[ ! -e {put.LOCK} ] || flock --nonblock {put.LOCK} true || exit 0\n"
        f"cat {put.SCRATCH}/{put.STAGES} 2>/dev/null; ls -d {put.SCRATCH}/tmp.?????? 2>/dev/null; :"
    )


CAPABILITY = register(
    Capability(
        name=NAME,
        groups=frozenset(GROUPS),
        validate=lambda _: None,
        needs=lambda _: [
            File(put.SCRATCH),
            Command(NAME, _find()),
        ],
        drift=drift,
        pins=pins,
    )
)


@converges(CAPABILITY)
def deploy(_: InventoryHost, look: Look) -> None:
    """Every script that changes a host does so first, and here nothing else may have to change."""
    left, loosened = _left(look), _loosened(look)
    announce([f"- {path}" for path in left] + ([f"~ {put.SCRATCH}: root {MODE:04o}"] if loosened else []))
    run(
        name="Remove what an interrupted run left",
        script=whole(render("host/preamble.sh.j2", **put.preamble_values())) if left or loosened else None,
    )
