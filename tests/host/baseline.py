"""The hardened host as the checks expect it, written by hand from the references: never taken from `deploys`.

What the inventory says otherwise is taken from it, and shown (`hardening.overridden`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bulkhead.inventory import GVISOR_HOSTS, InventoryHost

_EVERYWHERE = {
    "dev.tty.ldisc_autoload": "0",
    "fs.protected_fifos": "2",
    "fs.protected_hardlinks": "1",
    "fs.protected_regular": "2",
    "fs.protected_symlinks": "1",
    "fs.suid_dumpable": "0",
    "kernel.apparmor_restrict_unprivileged_userns": "1",
    "kernel.core_pattern": "|/bin/false",
    "kernel.dmesg_restrict": "1",
    "kernel.io_uring_disabled": "2",
    "kernel.kexec_load_disabled": "1",
    "kernel.kptr_restrict": "2",
    "kernel.perf_event_paranoid": "4",
    "kernel.randomize_va_space": "2",
    "kernel.sysrq": "0",
    "kernel.unprivileged_bpf_disabled": "1",
    "kernel.unprivileged_userns_clone": "0",
    "net.core.bpf_jit_harden": "2",
    "net.ipv4.conf.*.accept_redirects": "0",
    "net.ipv4.conf.*.accept_source_route": "0",
    "net.ipv4.conf.*.rp_filter": "1",
    "net.ipv4.conf.*.secure_redirects": "0",
    "net.ipv4.conf.*.send_redirects": "0",
    "net.ipv4.ip_forward": "1",
    "net.ipv4.tcp_syncookies": "1",
    "net.ipv6.conf.*.accept_redirects": "0",
    "net.ipv6.conf.*.accept_source_route": "0",
    "vm.mmap_min_addr": "65536",
    "vm.unprivileged_userfaultfd": "0",
}
_GVISOR = {"kernel.yama.ptrace_scope": "1", "user.max_user_namespaces": "4096", "vm.max_map_count": "4194304"}
_LEGACY = {"kernel.yama.ptrace_scope": "2", "user.max_user_namespaces": "1024"}

MODULES = ("atm", "cramfs", "dccp", "freevxfs", "hfs", "hfsplus", "jffs2", "rds", "sctp", "tipc", "udf", "usb-storage")

COMMAND_LINE = {
    "debugfs": "off",
    "init_on_alloc": "1",
    "lockdown": "integrity",
    "page_alloc.shuffle": "1",
    "randomize_kstack_offset": "on",
    "slab_nomerge": "",
    "vsyscall": "none",
}

SSHD = {
    "AllowAgentForwarding": "no",
    "AllowStreamLocalForwarding": "no",
    "AllowTcpForwarding": "no",
    "AuthenticationMethods": "publickey",
    "ClientAliveCountMax": "3",
    "ClientAliveInterval": "300",
    "GatewayPorts": "no",
    "HostbasedAuthentication": "no",
    "IgnoreRhosts": "yes",
    "KbdInteractiveAuthentication": "no",
    "LogLevel": "VERBOSE",
    "LoginGraceTime": "60",
    "MaxAuthTries": "4",
    "MaxSessions": "10",
    "MaxStartups": "10:30:60",
    "PasswordAuthentication": "no",
    "PermitEmptyPasswords": "no",
    "PermitRootLogin": "no",
    "PermitTunnel": "no",
    "PermitUserEnvironment": "no",
    "PubkeyAuthentication": "yes",
    "StrictModes": "yes",
    "X11Forwarding": "no",
}

# What is written down: the key of a rule → what its line must hold besides.
AUDIT = {
    "bulkhead": "/var/lib/bulkhead",
    "containerd": "/usr/bin/containerd",
    "containerd-config": "/etc/containerd",
    "containerd-shim": "/usr/bin/containerd-shim-runc-v2",
    "containerd-socket": "/run/containerd/containerd.sock",
    "docker-config": "/etc/docker",
    "docker-socket": "/run/docker.sock",
    "dockerd": "/usr/bin/dockerd",
    "dockerd-debian": "/usr/sbin/dockerd",
    "module-calls": "init_module,delete_module,finit_module",
    "module-tools": "/usr/bin/kmod",
    "nft": "/usr/sbin/nft",
    "nft-config": "/etc/nftables.conf",
    "runc": "/usr/bin/runc",
    "runc-debian": "/usr/sbin/runc",
    "runsc": "/usr/local/bin/runsc",
    "runsc-debian": "/usr/bin/runsc",
    "runsc-shim": "/usr/local/bin/containerd-shim-runsc-v1",
    "sshd-config": "/etc/ssh",
    "sudoers": "/etc/sudoers",
    "sudoers-parts": "/etc/sudoers.d",
}

MOUNTS = {"/dev/shm": "nodev,nosuid,noexec", "/tmp": "nodev,nosuid,noexec"}

UPGRADES = {
    "APT::Periodic::Unattended-Upgrade": "1",
    "APT::Periodic::Update-Package-Lists": "1",
    "Unattended-Upgrade::Automatic-Reboot": "false",
    "Unattended-Upgrade::Origins-Pattern": "security",
    "Unattended-Upgrade::Package-Blacklist": "docker containerd runc runsc",
}


def said(described: InventoryHost) -> Mapping[str, Any]:
    """The inventory's part on hardening, as written there."""
    return dict(described.data.get("hardening") or {})


def left_out(described: InventoryHost, area: str) -> str:
    """Why the inventory leaves an area out; empty where it does not."""
    return str((said(described).get("off") or {}).get(area, ""))


def expected(described: InventoryHost, area: str) -> dict[str, str]:
    """What the host must have, with what the inventory says otherwise."""
    values = dict(_baseline(described, area))
    for name, override in (said(described).get(area) or {}).items():
        if override["value"] is None:
            values.pop(name, None)
        else:
            values[name] = str(override["value"])
    return values


def _baseline(described: InventoryHost, area: str) -> Mapping[str, str]:
    gvisor = GVISOR_HOSTS in described.groups
    if area == "audit":
        present = gvisor and (described.data.get("gvisor") or {}).get("state") != "absent"
        return {**AUDIT, **({"runsc-releases": "/opt/gvisor"} if present else {})}
    return {
        "sysctl": {**_EVERYWHERE, **(_GVISOR if gvisor else _LEGACY)},
        "modules": dict.fromkeys(MODULES, "blocked"),
        "kernel_parameters": COMMAND_LINE,
        "sshd": SSHD,
        "mounts": MOUNTS,
        "core_dumps": {"limits": "0", "systemd": "none"},
        "upgrades": UPGRADES,
        "apparmor": {"enforced": "yes"},
        "memory": {"ksm": "off"},
    }[area]


def overridden(described: InventoryHost) -> list[str]:
    """A line for everything that the inventory says otherwise than the baseline, with its reason."""
    lines = [f"{area} is left out: {reason}" for area, reason in (said(described).get("off") or {}).items()]
    for area, overrides in said(described).items():
        if area in ("off", "confirm_seconds"):
            continue
        baseline = _baseline(described, area)
        for name, override in overrides.items():
            chosen = "left as the host has it" if override["value"] is None else f"= {override['value']}"
            lines.append(f"{area}: {name} {chosen} (baseline {baseline.get(name, 'none')}): {override['reason']}")
    return lines
