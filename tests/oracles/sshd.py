"""Debian's own sshd on a loopback port, each in a mount namespace of its own with a passwd file of its own.

Whoever logs in as root is root on this machine, in that namespace: `state` are the lines of a shell script that makes
its files differ from this machine's before sshd starts.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.oracles import fetch

_PASSWD = """\
root:x:0:0::/root:{shell}
ops:x:12345:12345::/:{shell}
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
"""

needs_namespaces = pytest.mark.skipif(
    os.getuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0,
    reason="needs root, and namespaces of its own",
)


@dataclass(frozen=True)
class Sshd:
    """A running sshd; `known` is its line of a known_hosts file, `key` the private key that it lets in."""

    port: int
    known: str
    key: Path
    known_hosts: Path
    log: Path

    def data(self, **data: Any) -> dict[str, Any]:
        """The inventory's data to reach it as root."""
        return {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": self.port,
            "ssh_user": "root",
            "ssh_key": str(self.key),
            "ssh_known_hosts_file": str(self.known_hosts),
            **data,
        }


def keygen(path: Path) -> Path:
    """A new key pair at `path`."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


@cache
def binary() -> Path:
    """The program itself; where it is kept goes by HOME."""
    return fetch.from_debian("bookworm", "openssh-server", "sshd").path


@contextmanager
def sshd(
    key: Path | None = None, state: str = "", shell: str | Path = "/bin/sh", **options: str | int
) -> Iterator[Sshd]:
    """An sshd that lets in whoever has `key` (one is made where there is none), with these further options.

    `shell` is the login shell of root, and of the user ops.
    """
    with tempfile.TemporaryDirectory(prefix="sshd-") as name:
        directory = Path(name)
        # sshd reads the allowed keys as the user.
        directory.chmod(0o755)
        key = key or keygen(directory / "key")
        host_key = keygen(directory / "host_key")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        known = f"[127.0.0.1]:{port} {host_key.with_suffix('.pub').read_text()}"
        (directory / "known_hosts").write_text(known)
        (directory / "passwd").write_text(_PASSWD.format(shell=shell))
        said: dict[str, str | int] = {
            "ListenAddress": f"127.0.0.1:{port}",
            "HostKey": str(host_key),
            "AuthorizedKeysFile": f"{key}.pub",
            "StrictModes": "no",
            "UsePAM": "no",
            "PidFile": "none",
            "MaxStartups": 100,
            "LogLevel": "VERBOSE",
            **options,
        }
        (directory / "config").write_text("".join(f"{option} {value}\n" for option, value in said.items()))
        script = "\n".join(
            [
                "set -e",
                "mount -t tmpfs tmpfs /run",
                "mkdir -m 755 /run/sshd",
                f"mount --bind {directory}/passwd /etc/passwd",
                state,
                f"exec {shlex.quote(str(binary()))} -D -e -f {directory}/config",
            ]
        )
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            _wait_for(port, process, directory / "log")
            yield Sshd(port, known, key, directory / "known_hosts", directory / "log")
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        if "Server listening on" in log.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"sshd does not listen on port {port}:\n{log.read_text()}")
