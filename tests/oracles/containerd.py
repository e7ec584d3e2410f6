"""What real containerds make of a configuration: `containerd config dump`, which needs no running daemon.

The dump shows what the daemon would start with: drop-ins merged, old versions migrated, defaults filled in. Two things
are refused only by the daemon itself: what a plugin doesn't take when it is started (a default runtime that isn't
there, say), and, from 2.0 on, an import of a file that doesn't exist, at which the dump stops reading in silence.
"""

import subprocess
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.oracles import fetch

DEBIAN = ("bookworm", "trixie", "forky")
MODULES = ("2.2", "2.3")
NAMES = (*DEBIAN, *MODULES)
"""The oracles, oldest containerd first: Debian releases, and Go modules pinned beside this file."""

SOURCE = fetch.Source(
    "containerd",
    "github.com/containerd/containerd/v2",
    "cmd/containerd",
    version_symbol="github.com/containerd/containerd/v2/version.Version",
)

ETC = Path("/etc/containerd")
SECONDS = 60


class Refused(Exception):  # noqa: N818
    """The daemon doesn't take the configuration; the message is what it says about it."""


@dataclass(frozen=True)
class Containerd:
    """One containerd: `name` as in `NAMES`, `version` (2, 1) for 2.1.9, `path` of its binary."""

    name: str
    version: tuple[int, int]
    path: Path

    def dump(self, main_text: bytes | None, files: Mapping[str, bytes] | None = None) -> dict[str, Any]:
        """The configuration that this containerd takes from `main_text` as /etc/containerd/config.toml.

        `files` lie beside it, by their paths relative to it. Texts and the answer say `/etc/containerd` as on a host;
        it stands for a private directory. None is a host without the file, on which containerd takes its defaults.

        Raises Refused when the daemon does.
        """
        with tempfile.TemporaryDirectory() as private:
            etc = Path(private) / "etc"
            directory = etc / "containerd"
            directory.mkdir(parents=True)
            texts = {**(files or {}), **({"config.toml": main_text} if main_text is not None else {})}
            for name, text in texts.items():
                path = directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text if main_text is None else text.replace(bytes(ETC), bytes(directory)))
            if main_text is None and self.version < (2, 0):
                # Its daemon starts with these without a file; its `dump` alone insists on one (cmd/containerd/command).
                command = [str(self.path), "config", "default"]
            elif main_text is None:
                # A path that is named must exist, so the default one has to be empty: this process alone sees another
                # /etc. (The ordinary case does without, since not every machine allows namespaces.)
                inside = 'mount --bind "$0" /etc && exec "$1" config dump'
                command = ["unshare", "--map-root-user", "--mount", "sh", "-c", inside, str(etc), str(self.path)]
            else:
                command = [str(self.path), "--config", str(directory / "config.toml"), "config", "dump"]
            answer = subprocess.run(command, capture_output=True, timeout=SECONDS)
            if answer.returncode != 0:
                raise Refused(answer.stderr.decode(errors="replace").replace(str(directory), str(ETC)))
            return tomllib.loads(answer.stdout.decode().replace(str(directory), str(ETC)))


SERVE = """\
mount --bind "$1/etc" /etc && mount -t tmpfs none /opt && mount -t tmpfs none /run && mkdir /run/containerd || exit 1
"$2" --root "$1/root" --state /run/containerd/state >"$1/log" 2>&1 &
for attempt in $(seq 100); do
    grep -q 'successfully booted' "$1/log" && break
    kill -0 $! 2>/dev/null || break
    sleep 0.2
done
sh "$1/script"
kill $!
wait
"""
"""Start the daemon where nothing of the machine's is in its way, and run a script beside it."""


def serve(containerd: Containerd, main_text: bytes, script: str) -> bytes:
    """What `script` prints beside a daemon that really runs with `main_text`, on its usual socket; needs root.

    The daemon has a file system view, a network and processes of its own, which all end with it.
    """
    with tempfile.TemporaryDirectory() as private:
        directory = Path(private) / "etc" / "containerd"
        directory.mkdir(parents=True)
        (directory / "config.toml").write_bytes(main_text)
        (Path(private) / "script").write_text(script)
        inside = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = ["unshare", *inside, "sh", "-c", SERVE, "serve", private, str(containerd.path)]
        return subprocess.run(command, capture_output=True, timeout=SECONDS).stdout


def named(name: str) -> Containerd | None:
    """The containerd `name` of `NAMES`; None when it has to be built and there is no Go for it.

    Raises BulkheadError when it can't be fetched or built.
    """
    if name in DEBIAN:
        binary = fetch.from_debian(name, "containerd", "containerd")
    else:
        built = fetch.from_module(Path(__file__).with_name(f"containerd_module_{name.replace('.', '_')}"), SOURCE)
        if built is None:
            return None
        binary = built
    major, minor = binary.version.removeprefix("v").split(".")[:2]
    return Containerd(name, (int(major), int(minor)), binary.path)


def all_containerds() -> list[Containerd]:
    """Every one of `NAMES` that there can be on this machine. Raises BulkheadError as `named` does."""
    return [containerd for name in NAMES if (containerd := named(name)) is not None]
