"""runsc's flags, described once: what each takes, since when, and which of them an operator should not set unaware.

Both `/etc/containerd/runsc.toml` and Docker's `runtimeArgs` are rendered from what `resolve` returns.

Sources: `runsc flags` of 20221219 (Debian 12), 20240729 (Debian 13) and of the Go module of 20260905, and
`runsc/config/flags.go` there. `since` is the first of these three in which the flag was seen; the youngest group is
taken to be known all through 2026, and where it isn't, the sandbox that `probe` starts before an installation refuses.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bulkhead.errors import BulkheadError

OLDEST = "20221219"
DEBIAN_13 = "20240729"
SEEN_2026 = "2026"


@dataclass(frozen=True)
class Flag:
    """One flag of runsc.

    `kind` is `bool`, `int`, `duration` or `string`; `choices` closes a string. `dangerous` gives the reason for each
    value that weakens the sandbox (`*` for any value); `deprecated` says what to use instead.
    """

    kind: str = "string"
    choices: tuple[str, ...] = ()
    since: str = OLDEST
    dangerous: Mapping[str, str] = field(default_factory=dict)
    deprecated: str = ""
    pattern: str = ""


def _bool(since: str = OLDEST, *, dangerous: str = "", deprecated: str = "") -> Flag:
    return Flag("bool", since=since, dangerous={"true": dangerous} if dangerous else {}, deprecated=deprecated)


def _any(kind: str, reason: str, since: str = OLDEST) -> Flag:
    return Flag(kind, since=since, dangerous={"*": reason})


_ENGINE = "is set by the engine for each container"
_LEAK = "writes what the tenant does, data included, to the host's logs"
_TEST = "is for gVisor's own tests and weakens the sandbox"
_PROFILE = "loosens the seccomp filter around the sandbox"
_DEVICE = "gives the sandbox a driver of the host's kernel"
_GONE = "has no effect any more: leave it out"

FLAGS: dict[str, Flag] = {
    "EXPERIMENTAL-xdp": _any("string", "is experimental and opens XDP to the sandbox", DEBIAN_13),
    "EXPERIMENTAL-xdp-need-wakeup": _bool(DEBIAN_13),
    "TESTONLY-afs-syscall-panic": _bool(DEBIAN_13, dangerous=_TEST),
    "TESTONLY-autosave-image-path": _any("string", _TEST, DEBIAN_13),
    "TESTONLY-autosave-resume": _bool(DEBIAN_13, dangerous=_TEST),
    "TESTONLY-nftables": _bool(SEEN_2026, dangerous=_TEST),
    "TESTONLY-test-name-env": _any("string", _TEST),
    "TESTONLY-unsafe-nonroot": _bool(dangerous=_TEST),
    "allow-connected-on-save": _bool(SEEN_2026),
    "allow-flag-override": _bool(dangerous="lets a container's annotations switch off every other flag"),
    "allow-live-tcp-migration": _bool(SEEN_2026),
    "allow-packet-socket-write": _bool(SEEN_2026, dangerous="lets the tenant forge packets on its network"),
    "allow-rootfs-tar-annotation": _bool(SEEN_2026, dangerous="lets an annotation replace the root file system"),
    "allow-suid": _bool(SEEN_2026, dangerous="lets set-uid binaries of the image raise privileges in the sandbox"),
    "alsologtostderr": _bool(dangerous="mixes the sandbox's log into the container's output"),
    "app-huge-pages": _bool(DEBIAN_13),
    "buffer-pooling": _bool(deprecated=_GONE),
    "cgroupfs": _bool(deprecated=_GONE),
    "character-device-policy": Flag(since=SEEN_2026, dangerous={"*": "opens the host's devices to the tenant"}),
    "control-rpc-stop-timeout": Flag("duration", since=SEEN_2026),
    "coverage-fd": _any("int", _TEST),
    "coverage-report": _any("string", _TEST),
    "cpu-num-from-quota": _bool(),
    "dcache": Flag("int"),
    "debug": _bool(dangerous=_LEAK),
    "debug-command": Flag(),
    "debug-log": _any("string", _LEAK),
    "debug-log-fd": _any("int", _ENGINE),
    "debug-log-format": Flag(choices=("text", "json", "json-k8s")),
    "debug-to-user-log": _bool(DEBIAN_13, dangerous=_LEAK),
    "directfs": _bool(DEBIAN_13),
    "enable-core-tags": _bool(),
    "fdlimit": Flag("int"),
    "file-access": Flag(choices=("exclusive", "shared")),
    "file-access-mounts": Flag(choices=("exclusive", "shared")),
    "final-metrics-log": Flag(since=SEEN_2026),
    "fsgofer-host-uds": _bool(deprecated="use host-uds"),
    "fuse": _bool(deprecated=_GONE),
    "gofer-network-namespace": Flag(
        choices=("null", "new", "host"),
        since=SEEN_2026,
        dangerous={"host": "puts the gofer on the host's network"},
    ),
    "gso": _bool(),
    "gvisor-gro": _bool(),
    "gvisor-marker-file": _bool(SEEN_2026),
    "host-fifo": Flag(choices=("none", "open"), dangerous={"open": "lets the tenant open the host's named pipes"}),
    "host-settings": Flag(
        choices=("check", "ignore", "adjust", "enforce"),
        since=SEEN_2026,
        dangerous={"ignore": "starts sandboxes on a host whose kernel settings break them"},
    ),
    "host-uds": Flag(
        choices=("none", "open", "create", "all"),
        dangerous=dict.fromkeys(("open", "create", "all"), "lets the tenant talk to daemons on the host's sockets"),
    ),
    "ignore-cgroups": _bool(dangerous="lets a tenant use the host's memory and processors without limit"),
    "in-sandbox-cgroup": Flag(choices=("v1", "v2"), since=SEEN_2026),
    "iouring": _bool(DEBIAN_13, dangerous="is experimental"),
    "kvm-use-cpu-nums": _bool(SEEN_2026),
    "lisafs": _bool(deprecated=_GONE),
    "log": _any("string", _ENGINE),
    "log-fd": _any("int", _ENGINE),
    "log-format": _any("string", _ENGINE),
    "log-packets": _bool(dangerous=_LEAK),
    "metric-server": Flag(since=DEBIAN_13),
    "mount-cgroup-v2": _bool(SEEN_2026, deprecated="use in-sandbox-cgroup = v2"),
    "net-disconnect-ok": _bool(DEBIAN_13),
    "net-raw": _bool(dangerous="gives the tenant raw sockets"),
    "network": Flag(
        choices=("sandbox", "host", "none"),
        dangerous={"host": "puts the tenant on the host's own network stack"},
    ),
    "network-processors-per-channel": Flag("int", since=DEBIAN_13),
    "num-network-channels": Flag("int"),
    "nvproxy": _bool(DEBIAN_13, dangerous=_DEVICE),
    "nvproxy-allow-unsupported-driver": _bool(SEEN_2026, dangerous=_DEVICE),
    "nvproxy-allowed-driver-capabilities": Flag(since=SEEN_2026),
    "nvproxy-docker": _bool(DEBIAN_13, deprecated="use nvidia-container-runtime", dangerous=_DEVICE),
    "nvproxy-driver-version": Flag(since=DEBIAN_13),
    "oci-seccomp": _bool(),
    "overlay": _bool(deprecated="use overlay2: runsc refuses to start with both"),
    "overlay2": Flag(pattern=r"none|(root|all):(memory|self|dir=/[^,]+)(,size=\w+)?"),
    "override-procs": Flag(since=SEEN_2026),
    "panic-log": Flag(),
    "panic-log-fd": _any("int", _ENGINE),
    "panic-signal": _any("int", "lets a signal stop the sandbox"),
    "pause-external-networking": _bool(SEEN_2026),
    "pcap-log": _any("string", _LEAK),
    "platform": Flag(choices=("systrap", "ptrace", "kvm")),
    "platform_device_path": Flag(since=DEBIAN_13),
    "pod-init-config": Flag(),
    "profile": _bool(dangerous=_PROFILE),
    "profile-block": _any("string", _PROFILE),
    "profile-cpu": _any("string", _PROFILE),
    "profile-gc-interval": _any("duration", _PROFILE, SEEN_2026),
    "profile-heap": _any("string", _PROFILE),
    "profile-mutex": _any("string", _PROFILE),
    "profiling-metrics": _any("string", _PROFILE, DEBIAN_13),
    "profiling-metrics-log": _any("string", _PROFILE, DEBIAN_13),
    "profiling-metrics-rate-us": _any("int", _PROFILE, DEBIAN_13),
    "qdisc": Flag(choices=("none", "fifo", "tbf")),
    "qdisc-tbf-burst": Flag("int", since=SEEN_2026),
    "qdisc-tbf-rate": Flag("int", since=SEEN_2026),
    "rdmaproxy": _bool(SEEN_2026, dangerous=_DEVICE),
    "ref-leak-mode": Flag(choices=("disabled", "log-names", "log-traces")),
    "reproduce-nat": _bool(DEBIAN_13),
    "reproduce-nftables": _bool(DEBIAN_13),
    "restore-spec-validation": Flag(since=SEEN_2026),
    "root": _any("string", _ENGINE),
    "rootless": _bool(dangerous="runs the sandbox with the privileges of its user only, and less isolation"),
    "rx-checksum-offload": _bool(),
    "save-restore-netstack": _bool(SEEN_2026, deprecated=_GONE),
    "shared-root": Flag(since=SEEN_2026),
    "sidecar-release-enforcement-policy": Flag(
        choices=("NEVER", "ALWAYS", "IF_RELEASE_BUILD"),
        since=SEEN_2026,
        dangerous={"NEVER": "lets sidecars of another release run the sandbox"},
    ),
    "sidecar-usage-policy": Flag(choices=("STRICT", "LEGACY_DEPRECATED_SLOW_EMBEDDED_FALLBACK"), since=SEEN_2026),
    "software-gso": _bool(),
    "strace": _bool(dangerous=_LEAK),
    "strace-event": _bool(dangerous=_LEAK),
    "strace-log-size": Flag("int"),
    "strace-syscalls": Flag(),
    "systemd-cgroup": _bool(),
    "systrap-disable-fast-path": _bool(SEEN_2026),
    "systrap-disable-syscall-patching": _bool(SEEN_2026),
    "tpuproxy": _bool(DEBIAN_13, dangerous=_DEVICE),
    "trace": _any("string", _PROFILE),
    "traceback": Flag(),
    "tx-checksum-offload": _bool(),
    "vfs2": _bool(deprecated=_GONE),
    "watchdog-action": Flag(choices=("log", "panic")),
}

DEFAULTS: dict[str, str] = {
    "network": "sandbox",
    "host-uds": "none",
    "host-fifo": "none",
    "net-raw": "false",
    "allow-packet-socket-write": "false",
    "allow-suid": "false",
    "character-device-policy": "emulated-only",
    "allow-flag-override": "false",
    # The sandbox's own filter towards the host is always there. This one is the engine's, for the agent's calls to the
    # sandbox, and runsc answers EPERM where Docker's profile says ENOSYS (clone3): with glibc 2.34 or later no program
    # could start a thread.
    "oci-seccomp": "false",
    "overlay2": "root:self",
    "host-settings": "enforce",
}
"""What untrusted tenants get. Written out even where runsc has the same default, so that an upgrade changes nothing."""

# Younger than their flags are these values: runsc of 20221219 takes root:self for the name of a directory.
_YOUNG_DEFAULTS = {"overlay2": SEEN_2026}

_FORMS = {
    "bool": r"true|false",
    "int": r"-?\d+",
    "duration": r"(\d+(\.\d+)?(ns|us|ms|s|m|h))+",
    "string": r"[^\x00-\x1f\x7f\"\\]*",
}


def resolve(chosen: Mapping[str, bool | int | str], allowed: Mapping[str, str], release: str) -> dict[str, str]:
    """The flags that runsc gets: the defaults for untrusted tenants, changed by what the inventory chose.

    `allowed` names flags that are deprecated or dangerous and gives the reason why this host sets them all the same.
    `release` is the gVisor release (`20260817.0`): a default that is younger than it is left out.

    Raises BulkheadError naming every flag that is unknown, has a value it can't take, or is refused without a reason.
    """
    problems = [problem for name, value in chosen.items() for problem in _problems(name, text(value), allowed)]
    problems += [f"allow_flags.{name}: the flag is not set in flags" for name in allowed if name not in chosen]
    problems += [f"allow_flags.{name}: give the reason" for name, reason in allowed.items() if not reason.strip()]
    if problems:
        raise BulkheadError("\n".join(problems))
    date = release[:8]
    defaults = {name: value for name, value in DEFAULTS.items() if _YOUNG_DEFAULTS.get(name, FLAGS[name].since) <= date}
    return dict(sorted({**defaults, **{name: text(value) for name, value in chosen.items()}}.items()))


def text(value: bool | int | str) -> str:
    """A flag's value as runsc's command line takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def weakens(name: str, value: str) -> str:
    """Why a running sandbox should not have a flag of this value; empty where it may, or where the engine sets it."""
    flag = FLAGS.get(name)
    if flag is None or DEFAULTS.get(name) == value:
        return ""
    reason = flag.dangerous.get(value) or flag.dangerous.get("*") or ""
    return "" if reason == _ENGINE else reason


def arguments(flags: Mapping[str, str]) -> list[str]:
    """The flags as command line arguments."""
    return [f"--{name}={value}" for name, value in flags.items()]


def _problems(name: str, value: str, allowed: Mapping[str, str]) -> Iterable[str]:
    flag = FLAGS.get(name)
    if flag is None:
        near = difflib.get_close_matches(name, FLAGS, n=1)
        yield f"flags.{name}: runsc has no such flag" + (f" (did you mean {near[0]}?)" if near else "")
        return
    if flag.choices and value not in flag.choices:
        yield f"flags.{name}: {value!r} is none of {', '.join(flag.choices)}"
        return
    if not all(re.fullmatch(form, value) for form in (_FORMS[flag.kind], flag.pattern) if form):
        yield f"flags.{name}: {value!r} is not a value of kind {flag.kind}"
        return
    if name in allowed or DEFAULTS.get(name) == value:
        return
    if flag.deprecated:
        yield f"flags.{name}: is deprecated: {flag.deprecated} (allow_flags.{name} = 'reason' sets it all the same)"
    reason = flag.dangerous.get(value) or flag.dangerous.get("*")
    if reason:
        yield f"flags.{name} = {value}: {reason} (allow_flags.{name} = 'reason' sets it all the same)"
