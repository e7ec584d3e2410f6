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

from tests.oracles import dockerd, fetch

IMAGE = "bulkhead.invalid/machine:1"
BINDS = ("/usr:/usr:ro", "/usr/lib:/lib:ro", "/usr/lib64:/lib64:ro")
SECONDS = 60

# Its own /run, as iptables' lock and the network namespaces of containers lie there, and its own name servers. It lasts
# as long as the input, so that a dockerd that is restarted finds its containers.
HOLD = """
set -e
mount --make-rprivate /
mount -t tmpfs none /run
mount --bind resolv.conf "$(readlink -f /etc/resolv.conf)"
echo held
exec cat
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
    """A dockerd, by its API (Docker Engine API 1.41). Everything of its lies in `directory`."""

    def __init__(self, directory: Path, namespace: str) -> None:
        self._directory, self._namespace = directory, namespace
        self._log = directory / "log"

    def __enter__(self) -> Engine:
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", HOLD],
            cwd=self._directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"held\n"
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._holder.communicate(timeout=SECONDS)

    def start(self) -> None:
        """Start the daemon, and wait until it answers; AssertionError with its words when it does not."""
        # By nsenter, which leaves /sys as it is: dockerd looks for cgroups there.
        where = [f"--mount=/proc/{self._holder.pid}/ns/mnt", f"--net={self._namespace}"]
        places = {"config-file": "daemon.json", "data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        what = [f"--{option}={self._directory / name}" for option, name in places.items()]
        with self._log.open("ab") as output:
            self._daemon = subprocess.Popen(
                ["nsenter", *where, "dockerd", *what, f"--host=unix://{self._directory}/docker.sock"],
                env={**os.environ, "PATH": f"{self._directory / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"},
                stdout=output,
                stderr=output,
            )
        end = time.monotonic() + SECONDS
        while True:
            try:
                self.call("GET", "/_ping")
                return
            except OSError:
                alive = self._daemon.poll() is None and time.monotonic() < end
                assert alive, self._log.read_text(errors="replace")[-2000:]
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop the daemon; its containers as well, unless `live-restore` keeps them."""
        self._daemon.terminate()
        self._daemon.wait(SECONDS)

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

    def container(self, name: str, network: str, published: Mapping[int, int] | None = None) -> int:
        """Start a container that does nothing; its process id. `published`: the host's TCP port → the container's."""
        ports = {f"{inside}/tcp": [{"HostPort": str(outside)}] for outside, inside in (published or {}).items()}
        host = {"NetworkMode": network, "Binds": list(BINDS), "PortBindings": ports}
        exposed: dict[str, object] = {port: {} for port in ports}
        command = ["/usr/bin/sleep", "100000"]
        body = {"Image": IMAGE, "Cmd": command, "HostConfig": host, "ExposedPorts": exposed}
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
    """The Docker of the Debian release `suite`, or `dockerd.NEWEST`, in a network namespace, gone with its containers.

    `resolv_conf` are the host's name servers, `options` its daemon.json. Raises BulkheadError when the binaries can't
    be fetched, AssertionError with the daemon's words when it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="bulkhead-docker-", dir="/var/tmp") as private:
        directory = Path(private)
        (directory / "bin").mkdir()
        daemon = dockerd.newest() if suite == dockerd.NEWEST else dockerd.named(suite)
        assert daemon is not None, "no Go here that can build it"
        (directory / "bin" / "dockerd").symlink_to(daemon.path)
        beside = dockerd.NAMES[-1] if suite == dockerd.NEWEST else suite
        for release, package, program in (
            (beside, "containerd", "containerd"),
            (beside, "containerd", "containerd-shim-runc-v2"),
            # The oldest, which needs no newer C library than any machine has.
            ("bookworm", "runc", "runc"),
        ):
            (directory / "bin" / program).symlink_to(fetch.from_debian(release, package, program).path)
        (directory / "resolv.conf").write_text(resolv_conf)
        # No docker-proxy is there to be started, and a plain copy of the image needs no file system of its own.
        settings: dict[str, Any] = {"userland-proxy": False, "storage-driver": "vfs"}
        if suite == dockerd.NEWEST:
            # That runc has no time namespaces yet.
            settings["features"] = {"time-namespaces": False}
        (directory / "daemon.json").write_text(json.dumps({**settings, **options}))
        with Engine(directory, namespace) as engine:
            engine.image()
            try:
                yield engine
            finally:
                for one in engine.call("GET", "/containers/json?all=1"):
                    engine.call("DELETE", f"/containers/{one['Id']}?force=1")
