"""The inventory's `containerd` settings."""

from __future__ import annotations

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost, Settings, engines, read
from deploys.gvisor import runtime as gvisor

KEY = "containerd"


class ContainerdSettings(Settings):
    """How the runtimes are registered with containerd."""

    default_runtime: str | None = None
    """The handler of pods that name none. Unset keeps the host's own: with gVisor as default a cluster's own pods
    (host network, device plugins) would stop working, so this is the operator's decision."""

    allow_restart: bool = False
    """Whether containerd may be restarted where its unit kills all containers with it (`KillMode` is not `process`)."""


def of(host: InventoryHost) -> ContainerdSettings:
    """The containerd settings of a host.

    Raises BulkheadError naming the host, the key and the reason for everything that is wrong.
    """
    engines(host)
    settings = read(ContainerdSettings, host, KEY)
    if settings.default_runtime not in (None, "runc", gvisor.NAME):
        raise BulkheadError(
            f"{host.name}: {KEY}.default_runtime: {settings.default_runtime!r} is not a runtime of this host "
            f"({gvisor.NAME}, runc)"
        )
    return settings
