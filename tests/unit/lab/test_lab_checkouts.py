"""Two checkouts, and the one lab that a user has."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.lab import lifecycle, packages, paths
from bulkhead.lab.daemons import Daemon


def test_the_lab_of_another_checkout_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its processes run; what is left of one that runs no more is in nobody's way."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # What comes after the refusal is not this test's.
    monkeypatch.setattr(packages, "codename", lambda _: pytest.fail("went on"))
    other = tmp_path / "other"
    (tmp_path / "bulkhead").mkdir()
    (tmp_path / "bulkhead" / "lab.checkout").write_text(str(other))
    proxy = Daemon("package-proxy", paths.run_of(other), tmp_path / "logs")
    proxy.start(["sleep", "60"], ready=lambda: True)
    try:
        with pytest.raises(BulkheadError) as error:
            lifecycle.up()
    finally:
        proxy.stop()
    assert error.value.message == f"the lab is up, from another checkout: {other}"
    assert error.value.hint == "Take it down there: make lab-down."
    with pytest.raises(pytest.fail.Exception, match="went on"):
        lifecycle.up()
