"""The distributions of containerd: where each keeps its configuration, its socket and its programs. A table, no I/O.

Sources: docs.k3s.io/advanced (configuring containerd), k3s pkg/agent/containerd/config.go and pkg/agent/templates;
RKE2 bundle/lib/systemd/system; docs.k0sproject.io (runtime), k0s pkg/component/worker/containerd.
"""

from __future__ import annotations

from dataclasses import dataclass

from deploys.containerd.settings import ContainerdSettings

CONTAINERD, K3S, RKE2, K0S = "containerd", "k3s", "rke2", "k0s"


@dataclass(frozen=True)
class Distribution:
    """One way of running containerd.

    `units` are the systemd units of which a host has one; `binary` is the daemon's program, `ctr` its client.
    `config_file` is what the daemon reads: the user's own file, or, where `templates` is set, the result of templates
    in that directory. `drop_in` is the file of ours that is read besides, where `config_file` imports such files.
    """

    name: str
    units: tuple[str, ...]
    socket: str
    binary: str
    ctr: str
    config_file: str
    templates: str = ""
    drop_in: str = ""

    @property
    def imports(self) -> str:
        """The pattern by which `config_file` imports the drop-in."""
        return f"{self.drop_in.rpartition('/')[0]}/*.toml"


def distributions(settings: ContainerdSettings) -> list[Distribution]:
    """Those that the host may have: the one that the inventory names, else all."""
    chosen = [CONTAINERD, K3S, RKE2, K0S] if settings.distribution is None else [settings.distribution]
    return [_TABLE[name](settings) for name in chosen]


def _containerd(settings: ContainerdSettings) -> Distribution:
    return Distribution(
        CONTAINERD,
        ("containerd.service",),
        "/run/containerd/containerd.sock",
        "containerd",
        "ctr",
        settings.config_file,
    )


def _rancher(name: str, units: tuple[str, ...], programs: str, settings: ContainerdSettings) -> Distribution:
    data = settings.data_dir or f"/var/lib/rancher/{name}"
    agent = f"{data}/agent/etc/containerd"
    return Distribution(
        name,
        units,
        # It does not move with the directory.
        "/run/k3s/containerd/containerd.sock",
        f"{data}/{programs}/containerd",
        f"{data}/{programs}/ctr",
        f"{agent}/config.toml",
        templates=agent,
        drop_in=f"{agent}/config-v3.toml.d/bulkhead.toml",
    )


def _k0s(settings: ContainerdSettings) -> Distribution:
    data = settings.data_dir or "/var/lib/k0s"
    return Distribution(
        K0S,
        ("k0sworker.service", "k0scontroller.service"),
        "/run/k0s/containerd.sock",
        f"{data}/bin/containerd",
        "k0s ctr",
        "/etc/k0s/containerd.toml",
        drop_in="/etc/k0s/containerd.d/bulkhead.toml",
    )


_TABLE = {
    CONTAINERD: _containerd,
    K3S: lambda settings: _rancher(K3S, ("k3s.service", "k3s-agent.service"), "data/current/bin", settings),
    RKE2: lambda settings: _rancher(RKE2, ("rke2-server.service", "rke2-agent.service"), "bin", settings),
    K0S: _k0s,
}
