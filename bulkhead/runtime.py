"""A container runtime, as data: what an engine must know to run it, whatever kind of isolation it gives."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bulkhead.inventory import ENGINES

RUNC = "runc"
"""The runtime that engines bring along."""

RUNC_TYPE = "io.containerd.runc.v2"
"""The shim of runc, and of what is run in its place: crun, youki, NVIDIA's."""

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""What a handler may be called (Kubernetes, RuntimeClass: a DNS label), which Docker takes as well."""


@dataclass(frozen=True)
class Runtime:
    """One runtime to register with the engines.

    `name` is the handler (Kubernetes' RuntimeClass handler, Docker's `--runtime`) and `runtime_type` its shim, in
    containerd's form. `options` is what the shim is told; where `config_path` is set, it is told to read that file,
    which containerd's capability writes from `config`, key → value. `handler` holds further keys of the handler in
    containerd, such as `pod_annotations`. `binary` and `arguments` are what Docker runs; without a binary it starts the
    shim, as containerd does.

    `proof` is a shell snippet that prints a reason and fails unless the runtime, as configured, starts a sandbox before
    any engine knows it; `engines` are those that get it. `default` says that containers for which nobody names a
    runtime get it, unless the inventory says otherwise.
    """

    name: str
    runtime_type: str
    binary: str = ""
    arguments: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    config_path: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    handler: Mapping[str, Any] = field(default_factory=dict)
    engines: frozenset[str] = frozenset(ENGINES)
    default: bool = False
    proof: str = ""

    @property
    def shares_kernel(self) -> bool:
        """Whether its containers run on the host's own kernel."""
        return self.runtime_type == RUNC_TYPE


def to_prove(runtimes: Sequence[Runtime], changed: Sequence[Runtime]) -> Sequence[Runtime]:
    """The runtimes under which a container has to start after a change: those that `changed`.

    What an engine has already was proved when it got it. Something must start in any case: without a change that is the
    default runtime, or the first.
    """
    return changed or [runtime for runtime in runtimes if runtime.default] or runtimes[:1]
