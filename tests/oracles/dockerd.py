"""What real dockerds make of a `daemon.json`: `dockerd --validate`, which starts nothing.

It looks at keys and types. That a runtime is complete, isn't called `runc`, and is there when it is the default is seen
by the daemon only when it starts. With `userns-remap = "default"` it would create a user, so here it finds no program
to do it with, and refuses.
"""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.oracles import fetch

NAMES = ("bookworm", "trixie", "forky")
"""The Debian releases whose dockerd there is, oldest first."""

NEWEST = "29"
"""Docker 29, which no Debian release has: built from the Go module pinned beside this file, where there is a Go."""

SOURCE = fetch.Source(
    "dockerd",
    "github.com/moby/moby/v2",
    "cmd/dockerd",
    tags="exclude_graphdriver_btrfs exclude_graphdriver_zfs no_btrfs no_zfs",
)

VALIDATES_SINCE = (23, 0)
SECONDS = 60


@dataclass(frozen=True)
class Dockerd:
    """One dockerd: `name` as in `NAMES`, `version` (26, 1) for 26.1.5, `path` of its binary.

    `validates` says whether it has the option `--validate`; without, it can't `check`.
    """

    name: str
    version: tuple[int, int]
    path: Path

    @property
    def validates(self) -> bool:
        return self.version >= VALIDATES_SINCE

    def check(self, text: bytes) -> str | None:
        """None when this dockerd accepts `text` as its daemon.json, else what it says."""
        with tempfile.TemporaryDirectory() as private:
            path = Path(private) / "daemon.json"
            path.write_bytes(text)
            # Without a docker-proxy, which its package installs and this doesn't run, it refuses every file.
            (Path(private) / "docker-proxy").touch(mode=0o755)
            answer = subprocess.run(
                [self.path, "--validate", "--config-file", path],
                env={**os.environ, "PATH": private},
                capture_output=True,
                timeout=SECONDS,
            )
            message = answer.stderr.decode(errors="replace").replace(str(path), "/etc/docker/daemon.json")
            return None if answer.returncode == 0 else message


def named(name: str) -> Dockerd:
    """The dockerd of the Debian release `name`. Raises BulkheadError when it can't be fetched."""
    binary = fetch.from_debian(name, "docker.io", "dockerd")
    major, minor = binary.version.split(".")[:2]
    return Dockerd(name, (int(major), int(minor)), binary.path)


def newest() -> Dockerd | None:
    """Docker 29; None when there is no Go to build it with. Raises BulkheadError when it can't be built."""
    built = fetch.from_module(Path(__file__).with_name(f"dockerd_module_{NEWEST}"), SOURCE)
    return Dockerd(NEWEST, (int(NEWEST), 0), built.path) if built else None


def all_dockerds() -> list[Dockerd]:
    """Debian's. Raises BulkheadError as `named` does."""
    return [named(name) for name in NAMES]
