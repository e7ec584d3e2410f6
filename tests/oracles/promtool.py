"""What Prometheus itself makes of metrics, rules and queries: `promtool`, of Debian's package, which starts nothing."""

import subprocess
from pathlib import Path

from tests.oracles import fetch

RELEASE = "bookworm"
"""The oldest Debian release whose Prometheus (2.42) has to understand what we write."""

SECONDS = 60


def path() -> Path:
    """The binary. Raises BulkheadError when it can't be fetched."""
    return fetch.from_debian(RELEASE, "prometheus", "promtool").path


def run(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """`promtool` with these arguments."""
    return subprocess.run([path(), *arguments], input=stdin, capture_output=True, text=True, timeout=SECONDS)
