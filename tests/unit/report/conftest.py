"""A real browser for the pages: installed where it is missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bulkhead.errors import BulkheadError
from tests.oracles import chromium
from tests.oracles.chromium import Browser
from tests.unit.helpers import one_apt_at_a_time


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Skip by name where there is no Chromium and none to be had."""
    with one_apt_at_a_time():
        try:
            chromium.install(tmp_path_factory.mktemp("logs") / "apt.log")
        except BulkheadError as error:
            pytest.skip(f"no Chromium: {error.message}")
    with chromium.browser() as started:
        yield started
