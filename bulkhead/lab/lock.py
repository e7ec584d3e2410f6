"""One command at a time changes the lab."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from bulkhead.errors import BulkheadError
from bulkhead.lab import paths

INTERVAL = 1
"""Seconds between two looks at a lock that another holds."""


@contextmanager
def alone(patience: float = 0) -> Iterator[None]:
    """Hold the lab's lock: the user has one lab, whatever the checkout.

    Another command that holds it is waited for, `patience` seconds long; then BulkheadError is raised.
    """
    with held("lab", "another command is changing the lab", patience):
        yield


@contextmanager
def held(name: str, otherwise: str, patience: float = 0) -> Iterator[None]:
    """Hold the user's lock of this name; BulkheadError says `otherwise` if it isn't free within `patience` seconds."""
    path = paths.cache() / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    with path.open("w") as lock:
        while not _taken(lock):
            if time.monotonic() >= deadline:
                raise BulkheadError(otherwise, hint="Wait for it to end.")
            time.sleep(INTERVAL)
        yield


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
