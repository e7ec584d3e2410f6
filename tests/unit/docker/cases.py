"""Runtimes as the tests of Docker register them, and what daemon.json must hold for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

from hypothesis import strategies as st

from bulkhead.runtime import Runtime
from tests.unit.helpers import RUNSC

STRICT = replace(RUNSC, name="runsc-strict", arguments=("--platform=kvm", "--größe=<&>"), default=False)
KATA = Runtime(
    name="kata",
    runtime_type="io.containerd.kata.v2",
    options={"TypeUrl": "runtimeoptions.v1.Options", "ConfigPath": "/etc/kata.toml"},
)
CRUN_VM = Runtime(name="crun-vm", runtime_type="io.containerd.runc.v2", binary="/usr/bin/crun-vm")
POOL = (RUNSC, STRICT, KATA, CRUN_VM)

ENTRIES: dict[str, dict[str, Any]] = {
    "runsc": {"path": "/usr/local/bin/runsc", "runtimeArgs": ["--network=sandbox"]},
    "runsc-strict": {"path": "/usr/local/bin/runsc", "runtimeArgs": ["--platform=kvm", "--größe=<&>"]},
    "kata": {
        "runtimeType": "io.containerd.kata.v2",
        "options": {"TypeUrl": "runtimeoptions.v1.Options", "ConfigPath": "/etc/kata.toml"},
    },
    "crun-vm": {"path": "/usr/bin/crun-vm"},
}
"""Written by hand, from Docker's documentation."""


@dataclass(frozen=True)
class Wanted:
    """What an inventory makes of a host."""

    runtimes: tuple[Runtime, ...]
    default: str | None

    @property
    def names(self) -> list[str]:
        return [runtime.name for runtime in self.runtimes]


NOTHING = Wanted((), None)


_ALL = [
    Wanted(runtimes, default)
    for count in range(len(POOL) + 1)
    for runtimes in permutations(POOL, count)
    for default in [None, "runc", *(runtime.name for runtime in runtimes)]
]
wanted: st.SearchStrategy[Wanted] = st.sampled_from(_ALL)
