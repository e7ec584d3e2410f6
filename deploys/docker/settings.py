"""The inventory's `docker` settings."""

from __future__ import annotations

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost, Settings, engines, read
from deploys.gvisor import runtime as gvisor

KEY = "docker"


class DockerSettings(Settings):
    """How the runtimes are registered with Docker."""

    default_runtime: str = gvisor.NAME
    """The runtime of containers that name none. On a gVisor host that is gVisor, so that forgetting a flag is safe."""

    allow_restart: bool = False
    """Whether the daemon may be restarted while containers run that such a restart kills (no `live-restore`)."""


def of(host: InventoryHost) -> DockerSettings:
    """The Docker settings of a host.

    Raises BulkheadError naming the host, the key and the reason for everything that is wrong.
    """
    engines(host)
    settings = read(DockerSettings, host, KEY)
    if settings.default_runtime not in ("runc", gvisor.NAME):
        raise BulkheadError(
            f"{host.name}: {KEY}.default_runtime: {settings.default_runtime!r} is not a runtime of this host "
            f"({gvisor.NAME}, runc)"
        )
    return settings
