"""The inventory's `containerd` settings."""

from __future__ import annotations

from typing import Literal

from bulkhead.capability import refuse_unknown_runtime
from bulkhead.inventory import AbsolutePath, InventoryHost, Settings, engines, once, read
from deploys.containerd import config

KEY = "containerd"


class ContainerdSettings(Settings):
    """How the runtimes are registered with containerd."""

    default_runtime: str | None = None
    """The handler of pods that name none. Unset keeps the host's own: with gVisor as default a cluster's own pods
    (host network, device plugins) would stop working, so this is the operator's decision."""

    allow_restart: bool = False
    """Whether containerd may be restarted where its unit kills all containers with it (`KillMode` is not `process`)."""

    enable_cri: bool = False
    """Whether CRI is switched on where the configuration has it in `disabled_plugins`."""

    distribution: Literal["containerd", "k3s", "rke2", "k0s"] | None = None
    """Which containerd of the host is meant; needed only where it has several."""

    config_file: AbsolutePath = config.PATH
    """The file that the daemon reads, where its unit names another one (`--config`)."""

    data_dir: AbsolutePath | None = None
    """The directory of k3s, RKE2 or k0s, where it is not the usual one (`--data-dir`)."""


@once
def of(host: InventoryHost) -> ContainerdSettings:
    """The containerd settings of a host.

    Raises BulkheadError naming the host, the key and the reason for everything that is wrong.
    """
    engines(host)
    settings = read(ContainerdSettings, host, KEY)
    refuse_unknown_runtime(host, KEY, settings.default_runtime)
    return settings
