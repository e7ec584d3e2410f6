"""nftables for the tests that need the real one: installed like the lab's own packages, where it is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.lab import packages
from bulkhead.progress import Steps
from tests.unit.helpers import one_apt_at_a_time


@pytest.fixture(scope="session")
def nftables(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip by name where there may be no network namespace, or no nft."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with one_apt_at_a_time():
        try:
            with Steps(tmp_path_factory.mktemp("logs"))("Check the Debian packages") as step:
                packages.ensure(packages.codename(Path("/etc/os-release").read_text()), step)
        except BulkheadError as error:
            pytest.skip(error.message)
