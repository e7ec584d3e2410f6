"""The inventory's `runtimes`: handler → what an engine must know to run it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from bulkhead.errors import BulkheadError
from bulkhead.inventory import ENGINES, AbsolutePath, InventoryHost, Settings, engines, once, read
from bulkhead.runtime import NAME, RUNC, Runtime

KEY = "runtimes"

_TYPE = re.compile(r"io\.containerd\.([a-z0-9-]+)\.v\d+")


class RuntimeSettings(Settings):
    """One runtime. Sources: containerd, docs/cri/config.md and core/runtime/v2/README.md; Docker, daemon.json."""

    runtime_type: str
    """The shim, such as `io.containerd.kata.v2`: containerd looks for `containerd-shim-kata-v2` in its search path."""

    runtime_path: AbsolutePath | None = None
    """The shim's program, where it does not lie in containerd's search path."""

    options: dict[str, Any] = Field(default_factory=dict)
    """What the shim is told, such as `{"ConfigPath": "/etc/kata-containers/configuration.toml"}`."""

    pod_annotations: list[str] = Field(default_factory=list)
    """Annotations of pods that the shim gets; with some shims a tenant's annotation can open the sandbox."""

    container_annotations: list[str] = Field(default_factory=list)
    """The same for annotations of containers."""

    privileged_without_host_devices: bool = False
    """Whether a privileged container gets none of the host's devices, as a virtual machine needs it."""

    snapshotter: str | None = None
    """The snapshotter of its containers, where it needs one of its own."""

    binary: AbsolutePath | None = None
    """The program that Docker runs in place of the shim, such as `/usr/bin/crun`."""

    arguments: list[str] = Field(default_factory=list)
    """Arguments of `binary`."""

    engines: list[str] = Field(default_factory=lambda: list(ENGINES))
    """Which of the host's engines get it."""

    @field_validator("runtime_type")
    @classmethod
    def _shim(cls, runtime_type: str) -> str:
        match = _TYPE.fullmatch(runtime_type)
        if not match:
            raise ValueError(f"{runtime_type!r} is not a shim's name such as io.containerd.kata.v2")
        if match.group(1) == "runsc":
            raise ValueError("another set of flags for gVisor is a profile: use gvisor.profiles")
        return runtime_type

    @field_validator("options")
    @classmethod
    def _plain(cls, options: dict[str, Any]) -> dict[str, Any]:
        for key, value in options.items():
            if not _is_plain(value):
                raise ValueError(f"{key} is {value!r}, which TOML and JSON don't both have")
        return options

    @field_validator("engines")
    @classmethod
    def _known(cls, engines: list[str]) -> list[str]:
        for engine in engines:
            if engine not in ENGINES:
                raise ValueError(f"{engine!r} is none of {', '.join(ENGINES)}")
        return engines

    @model_validator(mode="after")
    def _arguments(self) -> RuntimeSettings:
        if self.arguments and not self.binary:
            raise ValueError("arguments have no meaning without binary")
        return self

    def runtime(self, name: str) -> Runtime:
        """The runtime that an engine registers."""
        handler = {
            "runtime_path": self.runtime_path,
            "pod_annotations": self.pod_annotations,
            "container_annotations": self.container_annotations,
            "privileged_without_host_devices": self.privileged_without_host_devices,
            "snapshotter": self.snapshotter,
        }
        return Runtime(
            name=name,
            runtime_type=self.runtime_type,
            binary=self.binary or "",
            arguments=tuple(self.arguments),
            options=self.options,
            handler={key: value for key, value in handler.items() if value},
            engines=frozenset(self.engines),
        )


@once
def of(host: InventoryHost) -> dict[str, RuntimeSettings]:
    """The runtimes of a host.

    Raises BulkheadError naming the host, the key and the reason for everything that is wrong.
    """
    value = host.data.get(KEY)
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise BulkheadError(
            f"{host.name}: {KEY}: expected a dictionary, not {type(value).__name__}",
            hint=f'Write {KEY} = {{"kata": {{...}}}} in the inventory or in group_data.',
        )
    found: dict[str, RuntimeSettings] = {}
    wrong: list[BulkheadError] = []
    for name in value:
        try:
            found[name] = _one(host, name, value[name])
        except BulkheadError as error:
            wrong.append(error)
    if wrong:
        hints = dict.fromkeys(error.hint for error in wrong if error.hint)
        raise BulkheadError("\n".join(error.message for error in wrong), hint="\n  ".join(hints))
    return found


def _one(host: InventoryHost, name: object, value: object) -> RuntimeSettings:
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in (RUNC, "runsc"):
        raise BulkheadError(
            f"{host.name}: {KEY}.{name}: can't be a handler's name",
            hint="Lower case letters, digits and '-'; runc is the engines' own, runsc is gVisor's.",
        )
    key = f"{KEY}.{name}"
    found = read(RuntimeSettings, InventoryHost(host.name, host.groups, {key: value}), key)
    unused = {*found.engines} - engines(host)
    if "engines" in found.model_fields_set and unused:
        raise BulkheadError(f"{host.name}: {key}.engines: the host has no {', '.join(sorted(unused))}")
    return found


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def runtimes(host: InventoryHost) -> list[Runtime]:
    """The runtimes of a host, as the engines take them."""
    return [settings.runtime(name) for name, settings in of(host).items()]
