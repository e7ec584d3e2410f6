"""What must not be overridden: values that break containers, lock the operator out or undo the host. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bulkhead.inventory import GVISOR_HOSTS, InventoryHost
from deploys.hardening import upgrades
from deploys.hardening.table import TABLE, Area

NAMESPACES = 256
"""User namespaces that a gVisor host needs at least: below 2 runsc does not start at all (gVisor, hostsettings)."""

_FREE: dict[Area, re.Pattern[str]] = {
    "sysctl": re.compile(r"[a-z0-9_]+\.[A-Za-z0-9_*-]+([./][A-Za-z0-9_*-]+)*"),
    "modules": re.compile(r"[A-Za-z0-9_-]+"),
    "kernel_parameters": re.compile(r"[A-Za-z0-9_.-]+"),
    "sshd": re.compile(r"[A-Za-z0-9]+"),
    "audit": re.compile(r"[a-z0-9-]+"),
}
"""Areas to which an inventory can add settings of its own, and how such a name looks."""

_ENGINES_NEED = re.compile(
    r"overlay|bridge|br_netfilter|veth|tun|vhost(_.*)?|kvm(_.*)?|virtio(_.*)?|loop|dm_mod|ext4|xfs|btrfs"
    r"|nf_.*|nft_.*|nfnetlink.*|xt_.*|x_tables|ip_tables|iptable_.*|ip6_tables|ip6table_.*|ipt_.*|ip_set.*|llc|stp"
)
"""Modules without which an engine has no layers, no network or no machine."""

_MITIGATIONS_OFF = {
    "mitigations": ("off",),
    "nopti": ("",),
    "pti": ("off",),
    "nospectre_v1": ("",),
    "nospectre_v2": ("",),
    "spectre_v2": ("off",),
    "spec_store_bypass_disable": ("off",),
    "l1tf": ("off",),
    "mds": ("off",),
    "tsx_async_abort": ("off",),
    "retbleed": ("off",),
}
"""Parameters that let one tenant read another's memory (kernel documentation, hw-vuln)."""

_MOUNT_OPTIONS = {"nodev", "nosuid", "noexec"}


@dataclass(frozen=True)
class _Asked:
    """An override that is being looked at: whose, of what, and the value as a text."""

    host: InventoryHost
    area: Area
    name: str
    value: str

    @property
    def gvisor(self) -> bool:
        return GVISOR_HOSTS in self.host.groups

    @property
    def number(self) -> int | None:
        return int(self.value) if re.fullmatch(r"-?\d+", self.value) else None


def conflict(host: InventoryHost, area: Area, name: str, value: str | None) -> str:
    """Why `value` can't be: a sentence for the operator; empty where nothing speaks against it.

    `value` is None where the setting is to be left as the host has it.
    """
    known = {row.name for row in TABLE if row.area == area}
    for other in known - {name}:
        if other.lower().replace("-", "_") == name.lower().replace("-", "_"):
            return f"write {other}, as the baseline does"
    if name not in known and not (area in _FREE and _FREE[area].fullmatch(name)):
        return _unknown(area, name, known)
    if value is None:
        return ""
    if not value.isprintable() or '"' in value or "'" in value:
        return f"{value!r} holds a quote or something that can't be printed"
    asked = _Asked(host, area, name, value)
    rules = {
        "sysctl": _sysctl,
        "modules": _modules,
        "kernel_parameters": _kernel_parameters,
        "sshd": _sshd,
        "audit": _audit,
        "mounts": _mounts,
        "core_dumps": _core_dumps,
        "memory": _memory,
        "apparmor": _apparmor,
        "upgrades": _upgrades,
    }
    return next(iter(rules[area](asked)), "")


def _unknown(area: Area, name: str, known: set[str]) -> str:
    if area == "mounts":
        if re.match(r"/(run|opt|usr|etc|var)?(/|$)", name):
            return "the engines run programs from there, and noexec would stop them"
        return f"Bulkhead sets the options of {' and '.join(sorted(known))} only"
    return f"unknown setting (known: {', '.join(sorted(known))})"


def _sysctl(asked: _Asked) -> Iterator[str]:
    name, number = asked.name.replace("/", "."), asked.number
    if asked.value == "":
        yield "a sysctl needs a value; None leaves it as the host has it"
    if "*" in name and not re.fullmatch(r"net\.\w+\.(conf|neigh)\.\*\.\w+", name):
        yield "a pattern is for network interfaces, as net.ipv4.conf.*.rp_filter: say the others by their names"
    if re.fullmatch(r"net\.ipv4\.(ip_forward|conf\.[^.]+\.forwarding)", name) and number != 1:
        yield "container hosts route: with 0 no container has a network (many a baseline for plain servers says 0)"
    if name == "user.max_user_namespaces" and asked.gvisor and (number is None or number < NAMESPACES):
        yield f"gVisor needs user namespaces for every sandbox: at least {NAMESPACES}, and below 2 runsc does not start"
    if re.fullmatch(r"user\.max_(cgroup|ipc|mnt|net|pid|uts)_namespaces", name) and (number or 0) < NAMESPACES:
        yield f"every container has one: at least {NAMESPACES}"
    if name == "kernel.yama.ptrace_scope" and (number is None or number > (1 if asked.gvisor else 2)):
        if asked.gvisor:
            yield "runsc traces the processes of its sandboxes: at most 1 on a gVisor host"
        yield "at most 2: the kernel does not take 3 back before the next boot"
    if name == "kernel.modules_disabled" and number != 0:
        yield "the engines load modules when they first need them: no container would start after the next boot"
    if re.fullmatch(r"net\.bridge\.bridge-nf-call-ip6?tables", name) and number != 1:
        yield "packets between containers on one bridge would pass by every rule"


def _modules(asked: _Asked) -> Iterator[str]:
    if asked.value != "blocked":
        yield f"expected 'blocked', or None to leave the module alone, found {asked.value!r}"
    if _ENGINES_NEED.fullmatch(asked.name.replace("-", "_")):
        yield "the engines or the machine itself need this module"


def _kernel_parameters(asked: _Asked) -> Iterator[str]:
    if re.search(r"[\s$`\\]", asked.value):
        yield f"{asked.value!r} can't stand in a boot loader's file"
    if asked.value in _MITIGATIONS_OFF.get(asked.name, ()):
        yield "one tenant could read another's memory through the processor"
    if asked.name == "apparmor" and asked.value == "0":
        yield "Docker would confine no container"
    if asked.name == "cgroup_disable" and "memory" in asked.value.split(","):
        yield "no agent's memory could be limited"
    if asked.name in ("root", "init", "initrd", "console", "ro", "rw"):
        yield "the boot loader's own files say how the machine starts"


_SECONDS = (r"\d+", "a number of seconds")
_SHOWN = {
    "logingracetime": _SECONDS,
    "clientaliveinterval": _SECONDS,
    "maxstartups": (r"\d+:\d+:\d+", "START:RATE:FULL"),
    "rekeylimit": (r"\d+ \d+", "a number of bytes and one of seconds"),
}
"""Options that `sshd -T` shows in one form, whichever of sshd_config(5) they were said in: the form, and its name."""


def _sshd(asked: _Asked) -> Iterator[str]:
    name, value = asked.name.lower(), asked.value
    user = str(asked.host.data.get("ssh_user") or "root")
    if value == "" or name in ("match", "include"):
        yield "an option needs a value of one line, and no block of its own"
    if name in ("port", "listenaddress", "addressfamily"):
        yield "the inventory's own connection would not find the host again; move it by hand, in sshd_config"
    if form := _SHOWN.get(name):
        pattern, example = form
        if not re.fullmatch(pattern, value):
            yield f"sshd shows it as {example}, to which it is compared: say it so"
    if name == "pubkeyauthentication" and value != "yes":
        yield "Bulkhead itself logs in by key: nobody could any more"
    if name == "authenticationmethods" and "publickey" not in re.split(r"[\s,]", value):
        yield "Bulkhead itself logs in by key: nobody could any more"
    if name == "maxsessions" and value in ("0", "1"):
        yield "the verification shares one connection between its checks"
    if name == "permitrootlogin" and value not in ("yes", "prohibit-password", "without-password") and user == "root":
        yield "the inventory logs in as root (ssh_user): it would be locked out; 'prohibit-password' lets keys in"
    if name == "allowusers" and user not in [pattern.partition("@")[0] for pattern in value.split()]:
        yield f"the inventory logs in as {user}, who is not named: he would be locked out"
    if name in ("allowgroups", "denyusers", "denygroups"):
        yield "who may log in can't be foreseen from that: name the users in AllowUsers"


def _audit(asked: _Asked) -> Iterator[str]:
    path = re.fullmatch(r"-w (/\S+) -p [rwxa]+", asked.value)
    if not path and not re.fullmatch(r"-a always,exit( -[FCS] \S+)+", asked.value):
        yield "expected '-w PATH -p PERMISSIONS' or '-a always,exit -F … -S …', without a key"
    if not path and asked.value.count(" -S ") > 1:
        yield "auditctl shows several -S as one, to which the rule is compared: separate the calls by commas"
    if not path and " -S " not in asked.value:
        yield "a rule of a path is shown as a watch, to which it is compared: say '-w PATH -p PERMISSIONS'"


def _mounts(asked: _Asked) -> Iterator[str]:
    options = set(asked.value.split(","))
    if not options <= _MOUNT_OPTIONS:
        yield f"expected some of {', '.join(sorted(_MOUNT_OPTIONS))}, separated by commas, found {asked.value!r}"


def _core_dumps(asked: _Asked) -> Iterator[str]:
    if asked.value not in (row.gvisor for row in TABLE if (row.area, row.name) == (asked.area, asked.name)):
        yield "expected None, which leaves it as the host has it"


def _memory(asked: _Asked) -> Iterator[str]:
    if asked.value != "off":
        yield f"expected 'off', or None to leave it as the host has it, found {asked.value!r}"


def _apparmor(asked: _Asked) -> Iterator[str]:
    if asked.value != "yes":
        yield f"expected 'yes', or None to leave it as the host has it, found {asked.value!r}"


def _upgrades(asked: _Asked) -> Iterator[str]:
    if ";" in asked.value or "{" in asked.value.replace("${", "") or "#" in asked.value:
        yield f"{asked.value!r} can't stand in a file of apt's"
    if asked.name == upgrades.ORIGINS:
        for item in upgrades.items(asked.name, asked.value):
            for part in item.split(","):
                key, is_pair, value = part.partition("=")
                if not is_pair or key not in upgrades.KEYS or not value:
                    known = ", ".join(upgrades.KEYS)
                    yield f"{part!r} in {item!r} is not one of {known} with its value (origin=Debian)"


def locked_out(data: Mapping[str, object]) -> str:
    """Why the connection that the inventory describes would not survive keys alone; empty where it would."""
    if data.get("ssh_password") and not data.get("ssh_key"):
        return "the inventory logs in by a password (ssh_password), which sshd would not take any more"
    return ""
