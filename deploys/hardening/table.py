"""The one table of the baseline: what each kind of host gets, why, and who says so.

Everything else is derived from it: the files, what is compared with the running host, and what an override replaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Area = Literal[
    "sysctl",
    "modules",
    "kernel_parameters",
    "sshd",
    "audit",
    "mounts",
    "core_dumps",
    "upgrades",
    "apparmor",
    "memory",
]
AREAS: tuple[Area, ...] = get_args(Area)
"""What can be hardened; each is one operation, and can be left out as a whole."""

KSPP = "KSPP, recommended settings"
CIS = "CIS Debian Linux benchmark"
KERNEL = "kernel documentation, admin-guide"
GVISOR = "gVisor, runsc/hostsettings"
STIG = "DISA STIG, Ubuntu 22.04"
DOCKER = "CIS Docker benchmark, 1.1"
SSHD = "sshd_config(5)"
KICKSECURE = "Kicksecure, security-misc"
UNATTENDED = "unattended-upgrades, README"
FIRECRACKER = "Firecracker, production host setup"


@dataclass(frozen=True)
class Row:
    """One setting: its value on gVisor hosts and on legacy hosts; None is a setting that is left as the host has it."""

    area: Area
    name: str
    gvisor: str | None
    legacy: str | None
    reason: str
    reference: str


def _both(area: Area, name: str, value: str, reason: str, reference: str) -> Row:
    return Row(area, name, value, value, reason, reference)


def _sysctl(name: str, value: str, reason: str, reference: str) -> Row:
    return _both("sysctl", name, value, reason, reference)


def _module(name: str, reason: str) -> Row:
    return _both("modules", name, "blocked", reason, CIS)


def _boot(name: str, value: str, reason: str, reference: str = KSPP) -> Row:
    return _both("kernel_parameters", name, value, reason, reference)


def _sshd(name: str, value: str, reason: str, reference: str = CIS) -> Row:
    return _both("sshd", name, value, reason, reference)


def _watch(name: str, rule: str, reason: str, reference: str = DOCKER) -> Row:
    return _both("audit", name, rule, reason, reference)


# In the order in which they are written: ip_forward resets settings of interfaces, so it is the first; what the kernel
# never takes back is the last, when everything else is known to have worked.
_SYSCTL = (
    _sysctl("net.ipv4.ip_forward", "1", "container hosts route: without it no container has a network", KERNEL),
    _sysctl("net.ipv4.conf.*.rp_filter", "1", "drops packets with a forged source; 2 on multi-homed hosts", CIS),
    _sysctl("net.ipv4.conf.*.accept_redirects", "0", "nobody else changes the host's routes", CIS),
    _sysctl("net.ipv4.conf.*.secure_redirects", "0", "not even the gateways, whose address can be forged", CIS),
    _sysctl("net.ipv4.conf.*.send_redirects", "0", "an agent must not be told of ways past the host", CIS),
    _sysctl("net.ipv4.conf.*.accept_source_route", "0", "senders do not choose the way through the host", CIS),
    _sysctl("net.ipv6.conf.*.accept_redirects", "0", "nobody else changes the host's routes", CIS),
    _sysctl("net.ipv6.conf.*.accept_source_route", "0", "senders do not choose the way through the host", CIS),
    _sysctl("net.ipv4.tcp_syncookies", "1", "a flood of half-open connections does not stop the host", CIS),
    _sysctl("kernel.kptr_restrict", "2", "kernel addresses are what exploits need first", KSPP),
    _sysctl("kernel.dmesg_restrict", "1", "the kernel's messages hold addresses and names of devices", KSPP),
    _sysctl("net.core.bpf_jit_harden", "2", "constants in compiled BPF can't be used to smuggle code in", KSPP),
    _sysctl("kernel.perf_event_paranoid", "4", "perf was a frequent way into the kernel (Debian: 3, Ubuntu: 4)", KSPP),
    _sysctl("kernel.sysrq", "0", "nobody at a console resets or dumps the kernel", CIS),
    _sysctl("kernel.io_uring_disabled", "2", "the largest source of kernel exploits of late years", KSPP),
    _sysctl("kernel.randomize_va_space", "2", "addresses differ in every process", CIS),
    _sysctl("vm.mmap_min_addr", "65536", "a null pointer in the kernel does not lead to user memory", KSPP),
    _sysctl("vm.unprivileged_userfaultfd", "0", "it stops the kernel in the middle of what exploits race with", KSPP),
    _sysctl("dev.tty.ldisc_autoload", "0", "line disciplines nobody uses are not loaded on request", KSPP),
    _sysctl("fs.protected_hardlinks", "1", "no links to files of others", CIS),
    _sysctl("fs.protected_symlinks", "1", "no following of planted links in shared directories", CIS),
    _sysctl("fs.protected_fifos", "2", "no opening of planted pipes in shared directories", KSPP),
    _sysctl("fs.protected_regular", "2", "no opening of planted files in shared directories", KSPP),
    _sysctl("fs.suid_dumpable", "0", "what privileged programs know does not land in a dump", CIS),
    _sysctl("kernel.core_pattern", "|/bin/false", "a dump holds the memory, and the secrets, of an agent", KICKSECURE),
    _sysctl("kernel.unprivileged_userns_clone", "0", "users without rights make no namespaces (Debian)", KICKSECURE),
    _sysctl(
        "kernel.apparmor_restrict_unprivileged_userns",
        "1",
        "users without rights make namespaces only where a profile lets them (Ubuntu)",
        "Ubuntu 24.04 release notes",
    ),
    Row(
        "sysctl",
        "user.max_user_namespaces",
        "4096",
        "1024",
        "gVisor takes some for each sandbox and userns-remap one for each container; nobody needs thousands more",
        f"{KSPP}; {GVISOR}",
    ),
    Row("sysctl", "kernel.yama.ptrace_scope", "1", "2", "processes do not read each other; runsc traces its own", KSPP),
    Row("sysctl", "vm.max_map_count", "4194304", None, "a sandbox maps each of its program's regions", GVISOR),
    _sysctl("kernel.unprivileged_bpf_disabled", "1", "BPF programs are for root, until the next boot", KSPP),
    _sysctl("kernel.kexec_load_disabled", "1", "nobody starts another kernel, until the next boot", KSPP),
)

_MODULES = (
    *(
        _module(name, "a file system that nobody mounts, parsed by the kernel")
        for name in ("cramfs", "freevxfs", "hfs", "hfsplus", "jffs2", "udf")
    ),
    *(
        _module(name, "a protocol that nobody speaks, loaded by whoever opens a socket of it")
        for name in ("dccp", "sctp", "rds", "tipc", "atm")
    ),
    _module("usb-storage", "a server's data does not come and go on a stick"),
)

_KERNEL_PARAMETERS = (
    _boot("slab_nomerge", "", "an overflow in one kind of object does not reach another kind"),
    _boot("init_on_alloc", "1", "memory holds nothing of who had it before"),
    _boot("page_alloc.shuffle", "1", "the next page is not the one that an exploit expects"),
    _boot("randomize_kstack_offset", "on", "the kernel's stack lies elsewhere at each call"),
    _boot("vsyscall", "none", "no code at a fixed address; programs before glibc 2.14 need it"),
    _boot("debugfs", "off", "the kernel's insides are not for sale", KICKSECURE),
    _boot("lockdown", "integrity", "not even root changes the running kernel"),
)

_SSHD = (
    _sshd("AuthenticationMethods", "publickey", "keys only, also where a Match block allows passwords", SSHD),
    _sshd("PubkeyAuthentication", "yes", "keys are the way in"),
    _sshd("PasswordAuthentication", "no", "passwords are guessed"),
    _sshd("KbdInteractiveAuthentication", "no", "it asks for passwords too"),
    _sshd("PermitEmptyPasswords", "no", "an account without a password is not open to all"),
    _sshd("HostbasedAuthentication", "no", "another host's word is no proof"),
    _sshd("IgnoreRhosts", "yes", "another host's word is no proof"),
    # Becomes prohibit-password where root is who connects: see sshd.py.
    _sshd("PermitRootLogin", "no", "who becomes root has a name"),
    _sshd("PermitUserEnvironment", "no", "a user's file does not set LD_PRELOAD"),
    _sshd("StrictModes", "yes", "keys that others can write to do not count"),
    _sshd("X11Forwarding", "no", "a server has no screen, and the way back leads to the operator's"),
    _sshd("AllowAgentForwarding", "no", "root on the host could use the operator's keys"),
    _sshd("AllowTcpForwarding", "no", "the host is no way around the egress rules"),
    _sshd("AllowStreamLocalForwarding", "no", "nor a way to the engines' sockets"),
    _sshd("GatewayPorts", "no", "a forwarded port is not for everyone"),
    _sshd("PermitTunnel", "no", "nor is a whole network"),
    _sshd("MaxAuthTries", "4", "guessing ends early; each is logged"),
    _sshd("MaxSessions", "10", "one connection does not start processes without end"),
    _sshd("MaxStartups", "10:30:60", "strangers do not keep everyone out"),
    _sshd("LoginGraceTime", "60", "who does not log in gives the place free"),
    _sshd("ClientAliveInterval", "300", "connections that nobody holds end"),
    _sshd("ClientAliveCountMax", "3", "connections that nobody holds end"),
    _sshd("LogLevel", "VERBOSE", "which key it was stands in the log"),
)

_AUDIT = (
    _watch("dockerd", "-w /usr/bin/dockerd -p wa", "who replaces the engine"),
    _watch("dockerd-debian", "-w /usr/sbin/dockerd -p wa", "who replaces the engine, as Debian packages it"),
    _watch("containerd", "-w /usr/bin/containerd -p wa", "who replaces the engine"),
    _watch("containerd-shim", "-w /usr/bin/containerd-shim-runc-v2 -p wa", "who replaces what starts containers"),
    _watch("runc", "-w /usr/bin/runc -p wa", "CVE-2019-5736: a container that writes to it owns the host"),
    _watch("runc-debian", "-w /usr/sbin/runc -p wa", "the same, as Debian packages it"),
    _watch("docker-config", "-w /etc/docker -p wa", "who changes what containers may do"),
    _watch("containerd-config", "-w /etc/containerd -p wa", "who changes what containers may do"),
    _watch("docker-socket", "-w /run/docker.sock -p wa", "who opens the socket to others: it is root's"),
    _watch(
        "containerd-socket", "-w /run/containerd/containerd.sock -p wa", "who opens the socket to others: it is root's"
    ),
    _watch("runsc", "-w /usr/local/bin/runsc -p wa", "who replaces the sandbox", GVISOR),
    _watch("runsc-debian", "-w /usr/bin/runsc -p wa", "the same, as Debian packages it", GVISOR),
    _watch("runsc-shim", "-w /usr/local/bin/containerd-shim-runsc-v1 -p wa", "who replaces the sandbox's shim", GVISOR),
    Row("audit", "runsc-releases", "-w /opt/gvisor -p wa", None, "who changes what the links lead to", GVISOR),
    _watch("nft", "-w /usr/sbin/nft -p wxa", "who changes the firewall by hand", CIS),
    _watch("nft-config", "-w /etc/nftables.conf -p wa", "who changes the firewall of the next boot", CIS),
    _watch("sudoers", "-w /etc/sudoers -p wa", "who gives rights", CIS),
    _watch("sudoers-parts", "-w /etc/sudoers.d -p wa", "who gives rights", CIS),
    _watch("sshd-config", "-w /etc/ssh -p wa", "who changes who may log in", CIS),
    _watch("bulkhead", "-w /var/lib/bulkhead -p wa", "who changes what Bulkhead remembers", "Bulkhead"),
    _watch("module-tools", "-w /usr/bin/kmod -p x", "who loads modules", CIS),
    _watch(
        "module-calls",
        "-a always,exit -F arch=b64 -S init_module,delete_module,finit_module",
        "who loads modules, by whatever tool of 64 bits",
        CIS,
    ),
)

_REST = (
    _both(
        "mounts", "/tmp", "nodev,nosuid,noexec", "where anyone may write nothing is run, and nothing has rights", CIS
    ),
    _both("mounts", "/dev/shm", "nodev,nosuid,noexec", "the same for shared memory", CIS),
    _both("core_dumps", "limits", "0", "no dumps of what users start, whatever the pattern says", CIS),
    _both("core_dumps", "systemd", "none", "no dumps of services, should systemd-coredump be installed", CIS),
    _both(
        "upgrades",
        "Unattended-Upgrade::Origins-Pattern",
        "origin=Debian,codename=${distro_codename}-security,label=Debian-Security "
        "origin=Debian,codename=${distro_codename},label=Debian-Security "
        "origin=Ubuntu,archive=${distro_codename}-security,label=Ubuntu "
        "origin=UbuntuESM,archive=${distro_codename}-infra-security "
        "origin=UbuntuESMApps,archive=${distro_codename}-apps-security",
        "security updates alone come by themselves",
        UNATTENDED,
    ),
    _both(
        "upgrades",
        "Unattended-Upgrade::Package-Blacklist",
        "docker containerd runc runsc",
        "an engine's upgrade restarts it: that is the operator's to time",
        UNATTENDED,
    ),
    _both("upgrades", "Unattended-Upgrade::Automatic-Reboot", "false", "a reboot ends every agent", UNATTENDED),
    _both("upgrades", "APT::Periodic::Update-Package-Lists", "1", "every day", UNATTENDED),
    _both("upgrades", "APT::Periodic::Unattended-Upgrade", "1", "every day", UNATTENDED),
    _both("apparmor", "enforced", "yes", "Docker confines each container by its profile docker-default", DOCKER),
    _both("memory", "ksm", "off", "pages shared between tenants tell one what the other has", FIRECRACKER),
    Row("memory", "swap", None, None, "it takes agents' memory to the disk; to be weighed for each host", FIRECRACKER),
)

TABLE: tuple[Row, ...] = (*_SYSCTL, *_MODULES, *_KERNEL_PARAMETERS, *_SSHD, *_AUDIT, *_REST)
