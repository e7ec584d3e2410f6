"""This machine's systemd as the first process of namespaces of its own, beside whatever runs the machine itself.

It sees this machine's files, but for what a node keeps there: units, `/run`, `/var/lib`, `/srv` and the users
are its own, and empty.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from bulkhead.inventory_file import ROOT

BINARY = Path("/lib/systemd/systemd")
UNITS = "/etc/systemd/system"
SECONDS = 60

REPOSITORY = "/srv/repository"
"""Where this repository is seen from inside."""

_TARGETS = ("basic", "network-online", "shutdown", "sysinit", "test", "timers", "umount")

_BOOT = f"""
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /srv
mkdir {REPOSITORY}
mount --bind {ROOT} {REPOSITORY}
for own in /run {UNITS} /var/lib /var/log /sys/fs/cgroup; do mount -t tmpfs -o mode=755 tmpfs $own; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# What systemd sets for a whole machine at its start is not for this one.
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
printf '%s:/bin/sh\\n' root:x:0:0::/root nobody:x:65534:65534::/ watch:x:12345:12345::/srv/home >/run/passwd
printf '%s:\\n' root:x:0 nogroup:x:65534 systemd-journal:x:12346 watch:x:12345 >/run/group
mount --bind /run/passwd /etc/passwd
mount --bind /run/group /etc/group
mkdir -p /run/systemd/journald.conf.d
printf '[Journal]\\nAudit=no\\nReadKMsg=no\\nStorage=volatile\\n' >/run/systemd/journald.conf.d/test.conf
for target in {" ".join(_TARGETS)}; do printf '[Unit]\\nDescription=%s\\n' $target >{UNITS}/$target.target; done
printf 'DefaultDependencies=no\\nRequires=systemd-journald.socket\\nWants=timers.target\\n' >>{UNITS}/test.target
cp /lib/systemd/system/systemd-journald.service /lib/systemd/system/systemd-journald.socket {UNITS}
export SYSTEMD_UNIT_PATH={UNITS} container=test
exec {BINARY} --system --unit=test.target --log-target=console --show-status=no
"""


def _cgroups() -> Path | None:
    """Where this machine has the second version of control groups."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return next((Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)


def _why_not() -> str:
    if os.getuid() != 0:
        return "needs root, for namespaces of its own"
    if not BINARY.exists() or shutil.which("systemctl") is None:
        return "needs systemd"
    cgroups = _cgroups()
    if cgroups is None or not os.access(cgroups, os.W_OK) or not (cgroups / "cgroup.procs").exists():
        return "needs a cgroup2 that it may write to"
    if subprocess.run(["unshare", "--pid", "--mount", "--cgroup", "--fork", "true"], capture_output=True).returncode:
        return "needs namespaces of its own"
    return ""


needs_systemd = pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "-")


@dataclass(frozen=True)
class Systemd:
    """A systemd that runs; `pid` is its number outside."""

    pid: int

    def run(self, script: str, timeout: float = SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root beside it, fed on standard input."""
        command = ["nsenter", "--target", str(self.pid), "--all", "sh", "-s"]
        return subprocess.run(command, input=script, capture_output=True, text=True, timeout=timeout)

    def sh(self, script: str, timeout: float = SECONDS) -> str:
        """What a script prints; an AssertionError with its errors when it fails."""
        result = self.run(script, timeout)
        assert result.returncode == 0, f"{script}\n{result.stdout}{result.stderr}"
        return result.stdout.strip()


@contextmanager
def systemd() -> Iterator[Systemd]:
    """A systemd that has started, with a journal and the user `watch`; all of it is gone afterwards."""
    cgroups = _cgroups()
    assert cgroups is not None
    cgroup = cgroups / f"test-{uuid.uuid4().hex[:8]}"
    cgroup.mkdir()
    namespaces = ("--pid", "--mount", "--cgroup", "--uts", "--ipc", "--fork", "--mount-proc", "--kill-child")
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [
                "sh",
                "-c",
                f'echo $$ >{cgroup}/cgroup.procs; exec setpriv --pdeathsig KILL unshare "$@"',
                "sh",
                *namespaces,
                "sh",
                "-c",
                _BOOT,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            until = time.monotonic() + SECONDS
            while not (started := _started(process.pid)):
                log.seek(0)
                if process.poll() is not None or time.monotonic() > until:
                    raise AssertionError(f"systemd does not start:\n{log.read().decode(errors='replace')}")
                time.sleep(0.1)
            yield started
        finally:
            process.kill()
            process.wait()
            _remove(cgroup)


def _started(outside: int) -> Systemd | None:
    children = Path(f"/proc/{outside}/task/{outside}/children")
    inside = children.read_text().split() if children.exists() else []
    if not inside:
        return None
    one = Systemd(int(inside[0]))
    try:
        up = one.run("systemctl is-active --quiet test.target")
    except subprocess.TimeoutExpired:
        return None
    return one if up.returncode == 0 else None


def _remove(cgroup: Path) -> None:
    until = time.monotonic() + 10
    while cgroup.exists() and time.monotonic() < until:
        for directory, _, _ in os.walk(cgroup, topdown=False):
            # Processes that were killed are there for a moment more.
            with suppress(OSError):
                Path(directory).rmdir()
        time.sleep(0.05)
