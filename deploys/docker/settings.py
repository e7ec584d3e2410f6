"""The inventory's `docker` settings."""

from __future__ import annotations

from bulkhead.capability import refuse_unknown_runtime, runtimes_of
from bulkhead.inventory import AbsolutePath, InventoryHost, Settings, engines, read

KEY = "docker"


class DockerSettings(Settings):
    """How the runtimes are registered with Docker."""

    default_runtime: str | None = None
    """The runtime of containers that name none. Unset it is gVisor where the host has it, so that forgetting a flag is
    safe."""

    allow_restart: bool = False
    """Whether the daemon may be restarted while containers run that such a restart kills (no `live-restore`)."""

    config_file: AbsolutePath = "/etc/docker/daemon.json"
    """The file that the daemon reads, where its unit names another one (`--config-file`)."""


def of(host: InventoryHost) -> DockerSettings:
    """The Docker settings of a host.

    Raises BulkheadError naming the host, the key and the reason for everything that is wrong.
    """
    engines(host)
    settings = read(DockerSettings, host, KEY)
    refuse_unknown_runtime(host, KEY, settings.default_runtime)
    return settings


def default_runtime(host: InventoryHost) -> str | None:
    """The default runtime that Docker gets on `host`; None leaves the host's own."""
    return of(host).default_runtime or next(
        (runtime.name for runtime in runtimes_of(host, KEY) if runtime.default), None
    )
