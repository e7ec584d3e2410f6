"""What the unit tests of containerd share."""

import pytest


@pytest.fixture(autouse=True)
def short_lived(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump takes a quarter less when its process neither collects garbage nor starts threads for it."""
    monkeypatch.setenv("GOGC", "off")
    monkeypatch.setenv("GOMAXPROCS", "1")
