"""What keeps the unit tests away from the machine they run on."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from bulkhead import look, put, trial
from tests.unit.timers import stand_in

# The same examples on every run, however busy the machine is.
settings.register_profile("unit", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What scripts that change a host keep for themselves lies in the test's own directory."""
    lock = tmp_path / "bulkhead.lock"
    monkeypatch.setattr(put, "LOCK", str(lock))
    monkeypatch.setattr(put, "SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(trial, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(trial, "RUN", str(tmp_path))
    return lock


@pytest.fixture
def timers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the programs that stand in for systemd, and come first wherever a script or a look runs."""
    path = stand_in(tmp_path / "bin")
    monkeypatch.setattr(put, "PATH", path)
    monkeypatch.setattr(look, "PATH", path)
    return tmp_path / "bin"
