"""Real CNI: Debian's plugins, and the library that finds a network and calls them, as containerd does.

The library is the one that containerd 2.3 is built with; its own program (`cnitool`) calls it.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.oracles import fetch

PLUGINS = ("bridge", "host-local", "portmap")
SUITE = "bookworm"
SOURCE = fetch.Source("cnitool", "github.com/containernetworking/cni", "cnitool")
SECONDS = 60

# Plugins and library keep what they gave out below /var/lib, which stands for a private directory.
INSIDE = 'mount --bind "$1" /var/lib && shift && exec "$@"'


class Cni:
    """CNI with the networks of a directory: `state` is what it keeps, both private."""

    def __init__(self, tool: Path, networks: Path, state: Path) -> None:
        self._tool, self._networks, self._state = tool, networks, state
        self._plugins = [fetch.from_debian(SUITE, "containernetworking-plugins", name).path.parent for name in PLUGINS]

    def call(
        self, command: str, network: str, container: Path, host: Path, ports: Sequence[Mapping[str, object]] = ()
    ) -> str:
        """`add`, `check` or `del` a container's network namespace to a network of the host's; what the plugins answer.

        `ports` are port mappings (`hostPort`, `containerPort`, `protocol`). Raises CalledProcessError.
        """
        done = subprocess.run(
            [
                *("nsenter", f"--net={host}", "unshare", "--mount", "sh", "-c", INSIDE, "sh", self._state),
                *(self._tool, command, network, container),
            ],
            env={
                **os.environ,
                "CNI_PATH": ":".join(map(str, dict.fromkeys(self._plugins))),
                "NETCONFPATH": str(self._networks),
                "CAP_ARGS": json.dumps({"portMappings": ports} if ports else {}),
            },
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        if done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        return done.stdout


def tool() -> Path | None:
    """The library's program; None when there is no Go to build it with. Raises BulkheadError when it can't be built."""
    built = fetch.from_module(Path(__file__).with_name("containerd_module_2_3"), SOURCE)
    return built.path if built else None


def cni(networks: Path, state: Path) -> Cni | None:
    """CNI, or None as `tool`. Raises BulkheadError when something can't be had."""
    found = tool()
    return Cni(found, networks, state) if found else None
