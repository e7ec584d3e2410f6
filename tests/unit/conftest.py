"""What keeps the unit tests away from the machine they run on."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from bulkhead import put

# The same examples on every run, however busy the machine is.
settings.register_profile("unit", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock and the scratch space of scripts that change a host lie in the test's own directory."""
    lock = tmp_path / "bulkhead.lock"
    monkeypatch.setattr(put, "LOCK", str(lock))
    monkeypatch.setattr(put, "SCRATCH", str(tmp_path / "scratch"))
    return lock
