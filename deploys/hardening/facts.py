"""What hardening reads from a host, as parts of the one look: what the areas that are wanted ask for."""

from __future__ import annotations

from bulkhead import trial
from bulkhead.look import Need
from deploys.hardening import (
    apparmor,
    audit,
    boot,
    core_dumps,
    memory,
    modules,
    mounts,
    packages,
    sshd,
    sysctl,
    upgrades,
)
from deploys.hardening.settings import KEY, Wanted


def needs(wanted: Wanted) -> list[Need]:
    """Of an area that is left out nothing is asked."""
    values = wanted.values
    asked = {
        "sysctl": lambda: sysctl.needs(values["sysctl"]),
        "modules": modules.needs,
        "kernel_parameters": boot.needs,
        "sshd": sshd.needs,
        "audit": audit.needs,
        "mounts": mounts.needs,
        "core_dumps": core_dumps.needs,
        "upgrades": upgrades.needs,
        "apparmor": apparmor.needs,
        "memory": memory.needs,
    }
    return [*packages.needs(), *trial.needs(KEY), *(need for area in values for need in asked[area]())]
