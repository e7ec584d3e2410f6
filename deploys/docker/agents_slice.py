"""The systemd slice that caps all agents of a legacy host: its file, and whether it is in force."""

from __future__ import annotations

from bulkhead import put
from bulkhead.hosts import announce, run
from bulkhead.look import FoundFile
from bulkhead.templates import render
from deploys.docker.options import SLICE
from deploys.docker.settings import SliceSettings

PATH = f"/etc/systemd/system/{SLICE}"

CPU_SHARE = 90
"""Percent of all cores that agents get unless the inventory says otherwise."""

STATE = render("docker/slice_state.sh.j2", slice=SLICE)
"""The command whose answer `in_force`, `loosened` and `cores` read."""


def unit(settings: SliceSettings, cores: int | None) -> bytes:
    """The slice's file on a host of so many cores; without a number the share of the cores stays a comment."""
    quota = settings.cpu_quota or (f"{CPU_SHARE * cores}%" if cores else None)
    return render(
        "docker/agents.slice.j2",
        memory_max=settings.memory_max,
        swap_max=settings.swap_max,
        cpu_quota=quota,
        cpu_share=CPU_SHARE,
        tasks_max=settings.tasks_max,
    ).encode()


def in_force(answer: str) -> bool:
    """Whether systemd has read the slice's file as it is; a slice without containers need not be active."""
    return {"LoadState=loaded", "NeedDaemonReload=no"} <= {*answer.splitlines()}


def loosened(settings: SliceSettings, answer: str) -> list[tuple[str, str, str]]:
    """The kernel's file, wanted and actual value, for each limit that somebody changed past systemd.

    A slice without containers may have no cgroup yet, and nothing to change.
    """
    said = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
    wanted = {
        "memory.max": said.get("MemoryMax", ""),
        "memory.swap.max": said.get("MemorySwapMax", ""),
        "pids.max": str(settings.tasks_max),
        "cpu.max": "a quota",
    }
    found = [(name, value, said[name]) for name, value in wanted.items() if name in said]
    return [
        (name, value, actual)
        for name, value, actual in found
        if (actual.startswith("max") if name == "cpu.max" else actual != value)
    ]


def cores(answer: str) -> int:
    """How many cores the host has, 1 where it doesn't say."""
    last = answer.splitlines()[-1:]
    return int(last[0]) if last and last[0].isdigit() else 1


def file(settings: SliceSettings, found: FoundFile | None, answer: str) -> put.Write:
    """The slice's file as it should be.

    Raises BulkheadError when something other than a regular file is in the way.
    """
    put.refuse_odd(PATH, found)
    return put.Write(PATH, unit(settings, cores(answer)), found)


def write(file: put.Write, settings: SliceSettings, answer: str) -> None:
    """Have the slice in force before anything is put into it: the operation that writes it."""
    change = put.Change(
        writes=[file],
        activate=render("docker/slice_start.sh.j2", slice=SLICE),
        prove=render("docker/slice_prove.sh.j2", slice=SLICE, tasks_max=settings.tasks_max),
    )
    announce([f"~ {PATH}"] if change.changes else [])
    settled = not change.changes and in_force(answer) and not loosened(settings, answer)
    run(name=f"Set the limits of {SLICE}", script=None if settled else put.script(change))


def remove(found: FoundFile | None) -> None:
    """Take the slice away where nothing is put into it any more: containers that are in it stay, without limits."""
    change = put.Change(writes=[put.Write(PATH, None, found)], activate=render("docker/slice_start.sh.j2", slice=SLICE))
    announce([f"- {PATH}"] if change.changes else [])
    run(name=f"Remove {SLICE}", script=put.script(change) if change.changes else None)
