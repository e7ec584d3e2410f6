"""Commands that change the lab, one at a time."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.lab.lock import alone

HOLDER = """
import sys, time
from bulkhead.lab.lock import alone
with alone():
    print("held", flush=True)
    sys.stdin.readline()
    time.sleep(2)
"""


@pytest.fixture
def holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """Another command that changes the lab, and ends two seconds after it was told to."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


@pytest.mark.parametrize("patience", [0, 0.1])
def test_a_second_command_is_refused(holder: subprocess.Popen[str], patience: float) -> None:
    """At once, or when it has waited as long as it wants to."""
    with pytest.raises(BulkheadError, match="another command is changing the lab"), alone(patience):
        pass
    holder.communicate("end\n")
    with alone():
        pass


def test_one_that_waits_follows(holder: subprocess.Popen[str]) -> None:
    """It gets the lock when the first one has ended."""
    assert holder.stdin is not None
    told = time.monotonic()
    holder.stdin.write("end\n")
    holder.stdin.flush()
    with alone(patience=60):
        assert time.monotonic() - told >= 2
