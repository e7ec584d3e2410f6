"""What it takes to put our runtime into a large configuration: `python -m benchmarks.merge`.

Two generated files of 2,000 lines: a version 2 `config.toml` of containerd (a runtime of five lines and a registry
mirror of two, again and again, each with a comment) and a `daemon.json` of Docker (labels, one a line, and runtimes).
Each is merged 20 times with runsc as the default, the file being another one each time, since what is known of a text
is kept; the printed times are those of the merge alone, in one process on one core, without start and imports. The
target is 0.2 seconds.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

from rich.table import Table

from bulkhead.progress import stdout
from bulkhead.runtime import Runtime
from deploys.containerd import config
from deploys.docker import daemon

ROUNDS = 20
LINES = 2000
TARGET = 0.2

RUNSC = Runtime(
    name="runsc",
    runtime_type="io.containerd.runsc.v1",
    binary="/usr/local/bin/runsc",
    options={"TypeUrl": "io.containerd.runsc.v1.options", "ConfigPath": "/etc/containerd/runsc.toml"},
)


def config_toml(number: int) -> str:
    """A containerd configuration; `number` makes it one of its own."""
    plugin = f'plugins."{config.CRI_V2}"'
    lines = ["version = 2", f"# {number}"]
    for count in range(LINES):
        lines += [
            f"# runtime {count}",
            f"[{plugin}.containerd.runtimes.crun-{count}]",
            '  runtime_type = "io.containerd.runc.v2"',
            f"  [{plugin}.containerd.runtimes.crun-{count}.options]",
            f'    BinaryName = "/opt/crun/{count}/bin/crun" # built by hand',
            "    SystemdCgroup = true",
            f'[{plugin}.registry.mirrors."registry-{count}.example"]',
            f'  endpoint = ["https://mirror-{count}.example"]',
        ]
        if len(lines) >= LINES:
            break
    return "\n".join(lines[:LINES]) + "\n"


def daemon_json(number: int) -> str:
    """A Docker configuration; `number` makes it one of its own."""
    runtimes = {f"crun-{count}": {"path": f"/opt/crun/{count}/bin/crun"} for count in range(LINES // 6)}
    members: dict[str, object] = {"runtimes": runtimes, "labels": []}
    lines = json.dumps(members, indent=2).count("\n") + 2
    members["labels"] = [f"org.example.{count}={number}" for count in range(LINES - lines)]
    return json.dumps(members, indent=2) + "\n"


def measure(merge: Callable[[str], object], text: Callable[[int], str]) -> list[float]:
    """The seconds of each round."""
    seconds = []
    for number in range(ROUNDS):
        before = text(number)
        start = time.perf_counter()
        merge(before)
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Run the benchmark and print its table."""
    table = Table("File", "Lines", "Best", "Median", "Target")
    for name, merge, text in (
        ("config.toml", lambda before: config.merge(before, [RUNSC], "runsc", (2, 1)), config_toml),
        ("daemon.json", lambda before: daemon.merge(before, [RUNSC], "runsc"), daemon_json),
    ):
        seconds = measure(merge, text)
        table.add_row(
            name,
            str(text(0).count("\n")),
            f"{min(seconds):.3f} s",
            f"{statistics.median(seconds):.3f} s",
            f"{TARGET} s",
        )
    stdout().print(table)


if __name__ == "__main__":
    main()
