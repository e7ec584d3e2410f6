"""The lab's machines, as `make lab-up` left them."""

from urllib.parse import urlsplit

from bulkhead.guard import explained
from bulkhead.lab import LabState

with explained():
    _lab = LabState.load()


def _data(name: str) -> dict[str, object]:
    machine = _lab.machines[name]
    return {
        "ssh_hostname": machine.address,
        "ssh_port": machine.port,
        "ssh_user": machine.user,
        "ssh_key": str(machine.ssh_key),
        "ssh_known_hosts_file": str(machine.known_hosts),
    }


_gvisor = (
    {"source": "distribution"}
    if _lab.gvisor.origin == "distribution"
    else {
        "release": _lab.gvisor.release,
        "base_url": _lab.gvisor.base_url,
        "sha512": {"x86_64": _lab.gvisor.sha512},
    }
)

# The lab's machines reach this computer for Debian's packages and gVisor's releases, and nothing else.
_proxy = urlsplit(_lab.proxy)
_mirror = {"to": _proxy.hostname, "ports": [_proxy.port]}
_reach = {"management": [_proxy.hostname], "host": [{**_mirror, "user": user} for user in (0, 42)]}
# The lab's own site, and the ports of those that its tests make.
_sites = [port for port in (urlsplit(_lab.gvisor.base_url).port, "3150-3159") if port]

_why = "the lab's machines fetch nothing on their own"
_drift = {
    "accept": {
        **{f"unit {_timer}": _why for _timer in ("apt-daily.timer", "apt-daily-upgrade.timer")},
        "kernel command line": "the lab's machines are started without a boot loader",
    }
}

# Said on the host itself, which goes before the group data beside the production inventory.
_settings = {
    # Debian's own package has no shim, so containerd can't use it.
    "engines": ["docker"] if _lab.gvisor.origin == "distribution" else ["containerd", "docker"],
    "gvisor": _gvisor,
    "egress": {
        **_reach,
        "host": [*_reach["host"], {"to": _proxy.hostname, "ports": _sites}],
        "agents": {
            "gamma": {
                "subnet4": "172.30.3.0/24",
                "subnet6": "fd42:3::/64",
                "allow": [{"to": "203.0.113.10", "ports": [443]}, {"to": "2001:db8:1::10", "ports": [443]}],
            },
            "delta": {"subnet4": "172.30.4.0/24", "published": [{"port": 8080}]},
        },
    },
    "drift": _drift,
}

gvisor_hosts = [("gvisor", {**_data("gvisor"), **_settings})] if "gvisor" in _lab.machines else []

_legacy = {
    "engines": ["docker"],
    "drift": _drift,
    "egress": {
        **_reach,
        "agents": {
            "alpha": {
                "subnet4": "172.30.1.0/24",
                "subnet6": "fd42:1::/64",
                "allow": [{"to": "203.0.113.10", "ports": [443]}, {"to": "2001:db8:1::10", "ports": [443]}],
                "names": {"api.example.com": [443]},
            },
            "beta": {"subnet4": "172.30.2.0/24", "published": [{"port": 8080}]},
        },
    },
}

legacy_hosts = [("legacy", {**_data("legacy"), **_legacy})] if "legacy" in _lab.machines else []
