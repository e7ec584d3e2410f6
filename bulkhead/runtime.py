"""A container runtime, as data: what an engine must know to run it, whatever kind of isolation it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Runtime:
    """One runtime to register with the engines.

    `name` is the handler (Kubernetes' RuntimeClass handler, Docker's `--runtime`); `runtime_type` names the shim in
    containerd's form; `options_type` and `config_path` are the shim's options; `binary` and `arguments` what Docker
    runs. `config` is the shim's configuration, key → value, which containerd's capability writes to `config_path`.
    `proof` is a shell snippet that prints a reason and fails unless the runtime, as configured, starts a sandbox.
    """

    name: str
    runtime_type: str
    binary: str
    options_type: str = ""
    config_path: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    proof: str = ""
