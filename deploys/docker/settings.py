"""The inventory's `docker` settings."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from bulkhead.capability import refuse_unknown_runtime, runtimes_of
from bulkhead.errors import BulkheadError
from bulkhead.inventory import LEGACY_HOSTS, AbsolutePath, InventoryHost, Settings, engines, once, read
from deploys.docker import options
from deploys.docker.options import CGROUP_PARENT, DNS, SLICE

KEY = "docker"


def _reason(text: str) -> str:
    if not text.strip():
        raise ValueError("say why this host needs another value")
    return text


class Override(Settings):
    """What the inventory says instead of the baseline for one key of `daemon.json`."""

    value: Any
    """The host's own value; None leaves the key to whoever wrote the file."""

    reason: Annotated[str, AfterValidator(_reason)]
    """Why; the verification shows it."""


def _memory(value: str) -> str:
    if not re.fullmatch(r"[1-9]\d*[KMGT]|[1-9]\d?%", value):
        raise ValueError(f"{value!r} is neither a size such as '6G' nor a share of the host's memory such as '80%'")
    return value


def _swap(value: str) -> str:
    return value if value == "0" else _memory(value)


def _cpu(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[1-9]\d*%", value):
        raise ValueError(f"{value!r} is not a share of one core such as '150%'")
    return value


class SliceSettings(Settings):
    """What all agents of a host may take together, in systemd's words (systemd.resource-control(5))."""

    memory_max: Annotated[str, AfterValidator(_memory)] = "80%"
    """A size, or a share of the host's memory below 100 %."""

    swap_max: Annotated[str, AfterValidator(_swap)] = "0"
    """The same of the host's swap space, which is beyond `memory_max`; 0 for none."""

    cpu_quota: Annotated[str | None, AfterValidator(_cpu)] = None
    """A share of one core; None is 90 % of all that the host has."""

    tasks_max: Annotated[int, Field(ge=64, le=4_194_304)] = 8192
    """Processes and threads."""


class DockerSettings(Settings):
    """How the runtimes are registered with Docker, and, on legacy hosts, how its daemon is hardened."""

    default_runtime: str | None = None
    """The runtime of containers that name none. Unset it is gVisor where the host has it, so that forgetting a flag is
    safe."""

    allow_restart: bool = False
    """Whether the daemon may be restarted while containers run that such a restart kills (no `live-restore`), or get
    another data directory (`userns-remap`) while there are containers in the present one."""

    config_file: AbsolutePath = "/etc/docker/daemon.json"
    """The file that the daemon reads, where its unit names another one (`--config-file`)."""

    options: dict[str, Override] = Field(default_factory=dict)
    """Key of `daemon.json` → what it gets instead of the baseline's value. Legacy hosts alone."""

    slice: SliceSettings = Field(default_factory=SliceSettings)
    """The limits of the agents' slice. Legacy hosts alone."""

    @field_validator("options")
    @classmethod
    def _known(cls, overrides: dict[str, Override]) -> dict[str, Override]:
        for key, override in overrides.items():
            try:
                options.refuse_wrong(key, override.value)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error
        return overrides

    @model_validator(mode="after")
    def _together(self) -> DockerSettings:
        driver, opts = (self.options.get(key) for key in ("log-driver", "log-opts"))
        if driver and driver.value not in ("local", "json-file") and not opts:
            # dockerd refuses options that the driver does not know.
            raise ValueError(f"options: log-driver is {driver.value!r}, so say log-opts for it as well, or {{}}")
        if "slice" in self.model_fields_set and not self.uses_slice:
            raise ValueError(f"slice: the agents are not in {SLICE}: options.{CGROUP_PARENT} says otherwise")
        return self

    @property
    def managed(self) -> dict[str, Any]:
        """Key of `daemon.json` → value, of all that is managed on a legacy host."""
        return options.options({key: override.value for key, override in self.options.items()})

    @property
    def uses_slice(self) -> bool:
        """Whether agents are put into our slice on a legacy host."""
        return self.managed.get(CGROUP_PARENT) == SLICE


@once
def of(host: InventoryHost) -> DockerSettings:
    """The Docker settings of a host.

    Raises BulkheadError naming the host, the key and the reason for everything that is wrong.
    """
    engines(host)
    settings = read(DockerSettings, host, KEY)
    for key in {"options", "slice"} & settings.model_fields_set:
        if not legacy(host):
            raise BulkheadError(
                f"{host.name}: {KEY}.{key}: only hosts in {LEGACY_HOSTS} have it",
                hint="On other hosts daemon.json is the operator's own but for the runtimes.",
            )
    refuse_unknown_runtime(host, KEY, settings.default_runtime)
    return settings


def legacy(host: InventoryHost) -> bool:
    """Whether the host is one of legacy agents, whose daemon is hardened as a whole."""
    return LEGACY_HOSTS in host.groups


def managed(host: InventoryHost) -> dict[str, Any]:
    """Key of `daemon.json` → value of what Bulkhead sets on `host` besides runtimes; nothing on gVisor hosts.

    Containers ask the name servers of the host's policy, which lets those agents reach them that may.
    """
    if not legacy(host):
        return {}
    # Not above, since that package needs this one.
    from deploys.egress.settings import name_servers

    found = of(host)
    servers = name_servers(host)
    return {**found.managed, **({DNS: servers} if servers and yielding(host) else {})}


def yielding(host: InventoryHost) -> frozenset[str]:
    """The keys of `managed` for which anything that the file says already is as good: name servers, whichever."""
    return frozenset({DNS} - of(host).options.keys())


def default_runtime(host: InventoryHost) -> str | None:
    """The default runtime that Docker gets on `host`; None leaves the host's own."""
    return of(host).default_runtime or next(
        (runtime.name for runtime in runtimes_of(host, KEY) if runtime.default), None
    )
