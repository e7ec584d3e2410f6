"""What becomes of each area of a host, decided from its settings and its look. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from bulkhead.inventory import InventoryHost
from bulkhead.look import Look
from deploys.hardening import (
    apparmor,
    audit,
    boot,
    core_dumps,
    memory,
    modules,
    mounts,
    sshd,
    sysctl,
    upgrades,
)
from deploys.hardening.area import Plan
from deploys.hardening.settings import Wanted
from deploys.hardening.table import AREAS, Area

FILES: Mapping[Area, Callable[[Mapping[str, str]], Mapping[str, str | None]]] = {
    "sysctl": sysctl.files,
    "modules": modules.files,
    "kernel_parameters": boot.files,
    "sshd": sshd.files,
    "audit": audit.files,
    "mounts": mounts.files,
    "core_dumps": core_dumps.files,
    "upgrades": upgrades.files,
    "memory": memory.files,
}
"""Of the areas that write files: what the inventory alone decides."""


def files(wanted: Wanted) -> dict[str, bytes]:
    """Path → content of what a host gets; the kernel's command line only where its boot loader is GRUB."""
    made = [FILES[area](values) for area, values in wanted.values.items() if area in FILES]
    return {path: text.encode() for one in made for path, text in one.items() if text is not None}


def plans(host: InventoryHost, wanted: Wanted, look: Look, missing: list[str]) -> dict[Area, Plan]:
    """A plan for every area; one that is left out is left as it is. `missing` are the packages that come before.

    Raises BulkheadError where an area can't be brought about on this host.
    """
    deciding = by_area(host, wanted, look, missing)
    return {area: deciding[area]() if area in deciding else Plan() for area in AREAS}


def by_area(host: InventoryHost, wanted: Wanted, look: Look, missing: list[str]) -> dict[Area, Callable[[], Plan]]:
    """What makes the plan of each area that is wanted, each of which may raise BulkheadError."""
    docker = host.data.get("docker")
    allow_restart = isinstance(docker, Mapping) and docker.get("allow_restart") is True
    deciding: dict[Area, Callable[[Mapping[str, str]], Plan]] = {
        "sysctl": lambda values: sysctl.plan(values, look),
        "modules": lambda values: modules.plan(values, look),
        "kernel_parameters": lambda values: boot.plan(values, look),
        "sshd": lambda values: sshd.plan(values, look, named=wanted.named.get("sshd", frozenset())),
        "audit": lambda values: audit.plan(values, look, installed=audit.PACKAGE not in missing),
        "mounts": lambda values: mounts.plan(values, look),
        "core_dumps": lambda values: core_dumps.plan(values, look),
        "upgrades": lambda values: upgrades.plan(values, look),
        "apparmor": lambda values: apparmor.plan(values, look, allow_restart=allow_restart),
        "memory": lambda values: memory.plan(values, look),
    }
    return {area: partial(deciding[area], values) for area, values in wanted.values.items()}
