"""The program that a host gets, run here: its checks are the test's, its state and metrics are in its own directory."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bulkhead.drift.pins import Check
from deploys.self_check import description
from tests.unit.helpers import legacy_host


@dataclass(frozen=True)
class Run:
    """What one run said: exit status, lines, and metrics as text (empty where none were written)."""

    status: int
    said: str
    errors: str
    metrics: str

    @property
    def found(self) -> list[str]:
        """Severity, capability and subject of each line, in order."""
        return sorted(re.sub(r": (expected .*|took .*|its .*|can't .*)$", "", line) for line in self.said.splitlines())

    def value(self, name: str, **labels: str) -> float | None:
        """The value of a metric, by Prometheus's own parser."""
        for family in text_string_to_metric_families(self.metrics):
            for sample in family.samples:
                if sample.name == f"bulkhead_drift_{name}" and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return None


@dataclass
class Host:
    """A host's directories, and its program."""

    root: Path
    checks: Sequence[Check]
    data: dict[str, Any]
    replaced: dict[str, str]

    @property
    def program(self) -> Path:
        """Where the program lies."""
        return self.root / "program"

    @property
    def textfile(self) -> Path:
        """Where its metrics go."""
        return self.root / "textfiles" / "self.prom"

    def write(self) -> None:
        """Deliver the program."""
        text = description.program(legacy_host(**self.data), self.checks).decode()
        for path, here in self.replaced.items():
            text = text.replace(path, here)
        self.program.write_text(text)
        self.textfile.parent.mkdir(exist_ok=True)
        (self.root / "state").mkdir(exist_ok=True)

    def run(self, *around: str, shell: str = "sh", before: str = "") -> Run:
        """Run it, in a namespace where `around` says so, after a script."""
        self.write()
        command = f'{before}\nexec {shell} "$0" "$@"'
        done = subprocess.run(
            [*around, "sh", "-c", command, str(self.program), "old-1", "self-check", str(self.textfile)],
            env={**os.environ, "STATE_DIRECTORY": str(self.root / "state")},
            capture_output=True,
            timeout=120,
        )
        metrics = self.textfile.read_text() if self.textfile.exists() else ""
        return Run(done.returncode, done.stdout.decode(), done.stderr.decode(), metrics)


def host(root: Path, *checks: Check, replaced: dict[str, str] | None = None, **data: Any) -> Host:
    """A host that compares these."""
    return Host(root, checks, data, replaced or {})
