"""A whole Docker of a Debian release: its dockerd with containers that run, in namespaces of its own.

Images need no registry: a container's programs are this machine's own, read-only.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.oracles import fetch

IMAGE = "bulkhead.invalid/machine:1"
BINDS = ("/usr:/usr:ro", "/usr/lib:/lib:ro", "/usr/lib64:/lib64:ro")
SECONDS = 60

# Its own /run, as iptables' lock and the network namespaces of containers lie there, and its own name servers. The
# namespace is entered by nsenter, which leaves /sys as it is: dockerd looks for cgroups there.
START = """
set -e
mount --make-rprivate /
mount -t tmpfs none /run
mount --bind resolv.conf "$(readlink -f /etc/resolv.conf)"
exec dockerd --config-file daemon.json --data-root "$PWD/data" --exec-root "$PWD/exec" --pidfile "$PWD/pid" \\
    --host "unix://$PWD/docker.sock"
"""


class Connection(http.client.HTTPConnection):
    """HTTP over the daemon's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))


class Engine:
    """A running dockerd, by its API (Docker Engine API 1.41)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What the daemon answers; AssertionError with its words when it refuses. `body` is JSON, or bytes of a tar."""
        connection = Connection(self._directory / "docker.sock")
        raw = isinstance(body, bytes)
        connection.request(
            method,
            path,
            body=body if raw or body is None else json.dumps(body),
            headers={"Content-Type": "application/x-tar" if raw else "application/json"},
        )
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        assert answer.status < 300, f"{method} {path}: {text.decode(errors='replace')}"
        return json.loads(text) if text.startswith((b"{", b"[")) else text

    def container(self, name: str, network: str) -> int:
        """Start a container that does nothing; its process id."""
        host = {"NetworkMode": network, "Binds": list(BINDS)}
        body = {"Image": IMAGE, "Cmd": ["/usr/bin/sleep", "100000"], "HostConfig": host}
        made = self.call("POST", f"/containers/create?name={name}", body)["Id"]
        self.call("POST", f"/containers/{made}/start")
        return int(self.call("GET", f"/containers/{made}/json")["State"]["Pid"])

    def image(self) -> None:
        """Make the image: nothing but the places where this machine's programs go."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in ("usr", "lib", "lib64"):
                member = tarfile.TarInfo(name)
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
        repository, _, tag = IMAGE.partition(":")
        self.call("POST", f"/images/create?fromSrc=-&repo={repository}&tag={tag}", buffer.getvalue())


@contextmanager
def running(suite: str, namespace: str, resolv_conf: str, options: Mapping[str, Any]) -> Iterator[Engine]:
    """The Docker of the Debian release `suite` in a network namespace, gone afterwards with its containers.

    `resolv_conf` are the host's name servers, `options` its daemon.json. Raises BulkheadError when the binaries can't
    be fetched, AssertionError with the daemon's words when it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="bulkhead-docker-", dir="/var/tmp") as private:
        directory = Path(private)
        (directory / "bin").mkdir()
        for release, package, program in (
            (suite, "docker.io", "dockerd"),
            (suite, "containerd", "containerd"),
            (suite, "containerd", "containerd-shim-runc-v2"),
            # The oldest, which needs no newer C library than any machine has.
            ("bookworm", "runc", "runc"),
        ):
            (directory / "bin" / program).symlink_to(fetch.from_debian(release, package, program).path)
        (directory / "resolv.conf").write_text(resolv_conf)
        # No docker-proxy is there to be started, and a plain copy of the image needs no file system of its own.
        (directory / "daemon.json").write_text(
            json.dumps({"userland-proxy": False, "storage-driver": "vfs", **options})
        )
        log = directory / "log"
        with log.open("wb") as output:
            daemon = subprocess.Popen(
                ["nsenter", f"--net={namespace}", "unshare", "--mount", "sh", "-c", START],
                cwd=directory,
                env={**os.environ, "PATH": f"{directory / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"},
                stdout=output,
                stderr=output,
            )
        engine = Engine(directory)
        try:
            _wait(engine, daemon, log)
            engine.image()
            yield engine
            for one in engine.call("GET", "/containers/json?all=1"):
                engine.call("DELETE", f"/containers/{one['Id']}?force=1")
        finally:
            daemon.terminate()
            daemon.wait(SECONDS)


def _wait(engine: Engine, daemon: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            engine.call("GET", "/_ping")
            return
        except OSError:
            alive = daemon.poll() is None and time.monotonic() < end
            assert alive, log.read_text(errors="replace")[-2000:]
            time.sleep(0.1)
