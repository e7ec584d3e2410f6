"""What a host says of its own containerd: real daemons of each generation, asked by the program's own questions."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from bulkhead.runtime import Runtime
from deploys.containerd import pins
from deploys.containerd.config import CRI_V2, CRI_V3, merge
from deploys.containerd.distributions import distributions
from deploys.containerd.settings import ContainerdSettings
from tests.oracles import containerd as oracles
from tests.unit.containerd.test_daemons import KATA, daemon
from tests.unit.helpers import RUNSC, as_root, sh

__all__ = ["daemon"]

# The daemon's world has another /etc, without the link that is called awk.
SAY = 'say() { printf \'%s %s\\n\' "${4:-critical}" "$1"; }; awk() { mawk "$@"; }'


def found(daemon: oracles.Containerd, text: str, runtimes: list[Runtime], default: str | None) -> list[str]:
    """Severity and subject of each finding of a daemon that runs with a file."""
    [distribution] = distributions(ContainerdSettings(distribution="containerd"))
    decided = SimpleNamespace(runtimes=runtimes, default=default, there=SimpleNamespace(distribution=distribution))
    question = pins._live(decided).script  # type: ignore[arg-type]
    said = oracles.serve(daemon, text.encode(), f'd=$(mktemp -d)\n{SAY}\n{question}\nrm -r "$d"; echo end')
    lines = said.decode().splitlines()
    assert lines.pop() == "end"
    return sorted(lines)


@as_root
def test_the_live_daemon(daemon: oracles.Containerd) -> None:
    """As it was merged, and with each thing otherwise."""
    number, plugin = (2, CRI_V2) if daemon.version < (2, 0) else (3, CRI_V3)
    merged = merge(f"version = {number}\n", [KATA, RUNSC], "runsc", daemon.version).text
    assert merged
    assert found(daemon, merged, [KATA, RUNSC], "runsc") == []
    assert found(daemon, merged, [KATA, RUNSC], None) == []
    assert found(daemon, merged, [RUNSC], "runc") == [
        "critical containerd default runtime",
        "critical containerd runtime kata",
    ]
    evil = (
        f"{merged}\n[plugins.{json.dumps(plugin)}.containerd.runtimes.evil]\nruntime_type = 'io.containerd.runc.v2'\n"
    )
    assert found(daemon, evil, [KATA, RUNSC], "runsc") == ["critical containerd runtime evil"]
    other = re.sub(r'"io.containerd.runsc.v1"', '"io.containerd.runc.v2"', merged)
    assert other != merged
    assert found(daemon, other, [KATA, RUNSC], "runsc") == ["critical containerd runtime runsc"]


@pytest.mark.parametrize(("judged", "lines"), [("runsc", 4), (None, 2)])
def test_its_containers(judged: str | None, lines: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the kernel says of them, by the lines of the question that a look asks too."""
    decided = SimpleNamespace(runtimes=[RUNSC], default=judged)
    script = pins._containers(decided).script  # type: ignore[arg-type]
    private = tmp_path_factory.mktemp("tasks")
    said = (
        "shim\tdefault\ta\tcontainerd-shim-runsc-v1\nshim\tdefault\tb\tcontainerd-shim-runc-v2\n"
        "shim\tk8s.io\tc\tcontainerd-shim-runc-v2\ntask\tdefault\td\thost\tsome\ntask\tk8s.io\te\town\tall\n"
    )
    (private / "tasks").write_text(said)
    judge = "awk" + script.partition(') >"$d/tasks" || exit 1\nawk')[2]
    done = sh(f"d={private}\n{judge}")
    assert done.stderr == ""
    assert [line.split("\x1f")[0] for line in done.stdout.splitlines()] == [
        "container default/b: runtime",
        *(["container k8s.io/c: runtime"] if judged else []),
        "container default/d: network",
        *(["container k8s.io/e: privileged"] if judged else []),
    ]
    assert len(done.stdout.splitlines()) == lines
