"""The Debian packages that the lab needs on this machine."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bulkhead import files
from bulkhead.errors import BulkheadError
from bulkhead.lab import apt_sources
from bulkhead.progress import Step

CODENAMES = {"12": "bookworm", "13": "trixie"}

PACKAGES = (
    "apt-cacher-ng",
    "dnsmasq-base",
    "e2fsprogs",
    "fakeroot",
    "iproute2",
    "iptables",
    "libvirt-clients",
    "libvirt-daemon",
    "libvirt-daemon-system",
    "mmdebstrap",
    "nftables",
    "openssh-client",
    "qemu-system-x86",
    "qemu-utils",
    "uidmap",
    "vagrant",
    "vagrant-libvirt",
    "zstd",
)
# Debian 13 packages libvirt's drivers apart from its daemon.
EXTRA_PACKAGES = {
    "bookworm": (),
    "trixie": (
        "libvirt-daemon-driver-interface",
        "libvirt-daemon-driver-network",
        "libvirt-daemon-driver-nodedev",
        "libvirt-daemon-driver-qemu",
        "libvirt-daemon-driver-storage",
    ),
}
# Emulated by QEMU 7.2 (Debian 12's own) a Linux 6.12 guest panics within minutes.
QEMU = ("qemu-system-x86", "qemu-utils")
QEMU_MINIMUM = "1:10"
UNATTENDED = {"DEBIAN_FRONTEND": "noninteractive", "DEBIAN_PRIORITY": "critical"}
BACKPORTS_FILE = Path("/etc/apt/sources.list.d/bulkhead-backports.sources")


@dataclass(frozen=True)
class Missing:
    """What this machine lacks: packages of its own release, and those that have to come from its backports."""

    packages: tuple[str, ...]
    from_backports: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.packages or self.from_backports)


def needed(codename: str) -> tuple[str, ...]:
    """The packages that the lab needs on the Debian release `codename`."""
    return tuple(sorted((*PACKAGES, *EXTRA_PACKAGES[codename])))


def codename(os_release: str) -> str:
    """The Debian release that the text of /etc/os-release describes. Raises BulkheadError if it isn't one we know."""
    fields = dict(line.partition("=")[::2] for line in os_release.splitlines())
    version = fields.get("VERSION_ID", "").strip('"')
    if fields.get("ID", "").strip('"') != "debian" or version not in CODENAMES:
        raise BulkheadError(
            f"the lab knows Debian 12 and 13, and this is {fields.get('PRETTY_NAME', 'something else')}",
            hint="Run it on one of these; hosts to deploy to may be others.",
        )
    return CODENAMES[version]


def missing(codename: str, installed: dict[str, str]) -> Missing:
    """What is missing of `needed`, given the versions that are installed, by package."""
    absent = [name for name in needed(codename) if name not in installed]
    if codename != "bookworm":
        return Missing(tuple(absent), ())
    old = [name for name in QEMU if name not in installed or not at_least(installed[name], QEMU_MINIMUM)]
    return Missing(tuple(name for name in absent if name not in QEMU), tuple(old))


def installed(names: Sequence[str]) -> dict[str, str]:
    """The versions of those of `names` that are installed, by package."""
    output = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${binary:Package} ${db:Status-Status} ${Version}\n", *names],
        capture_output=True,
        text=True,
    ).stdout
    rows = [line.split() for line in output.splitlines()]
    return {row[0].partition(":")[0]: row[2] for row in rows if len(row) == 3 and row[1] == "installed"}


def at_least(version: str, minimum: str) -> bool:
    """Whether a Debian version is `minimum` or newer, as dpkg compares them."""
    return subprocess.run(["dpkg", "--compare-versions", version, "ge", minimum]).returncode == 0


def ensure(codename: str, step: Step) -> None:
    """Install what is missing when root. Raises BulkheadError with the packages and the commands when not."""
    wanted = missing(codename, installed(needed(codename)))
    if not wanted:
        return
    backports = apt_sources.backports(apt_sources.read(), codename) if wanted.from_backports else None
    commands = install_commands(codename, wanted)
    if os.geteuid() != 0:
        lines = [f"sudo {' '.join(command)}" for command in commands]
        if backports is not None:
            lines.insert(0, f"echo '{backports.line}' | sudo tee {BACKPORTS_FILE.with_suffix('.list')}")
        raise BulkheadError(
            f"the lab needs these Debian packages: {' '.join((*wanted.packages, *wanted.from_backports))}",
            hint="Install them (or run this as root):\n    " + "\n    ".join(lines),
        )
    if backports is not None and not _has_backports(codename):
        files.write(BACKPORTS_FILE, deb822(backports))
    had_proxy = "apt-cacher-ng" not in wanted.packages
    # What an interrupted installation left half done.
    step.run(["dpkg", "--configure", "-a"], env=UNATTENDED)
    for command in commands:
        step.note(" ".join(command[:3]))
        step.run(command, env=UNATTENDED)
    if not had_proxy and Path("/run/systemd/system").is_dir():
        # The package starts a proxy open to the whole network; the lab runs its own.
        step.run(["systemctl", "disable", "--now", "apt-cacher-ng"])
    step.note(f"installed {len(wanted.packages) + len(wanted.from_backports)} packages")


def install_commands(codename: str, wanted: Missing) -> list[list[str]]:
    """The apt commands that install `wanted`."""
    install = ["apt-get", "install", "--yes", "--no-install-recommends"]
    commands = [["apt-get", "update"]]
    if wanted.from_backports:
        commands.append([*install, "--target-release", f"{codename}-backports", *wanted.from_backports])
    if wanted.packages:
        commands.append([*install, *wanted.packages])
    return commands


def deb822(source: apt_sources.Source) -> str:
    """The source as the text of a `.sources` file."""
    signed_by = f"Signed-By: {source.signed_by}\n" if source.signed_by else ""
    return f"Types: deb\nURIs: {source.uri}\nSuites: {source.suite}\nComponents: main\n{signed_by}"


def _has_backports(codename: str) -> bool:
    return any(source.suite == f"{codename}-backports" for source in apt_sources.read())
