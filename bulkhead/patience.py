"""A pytest plugin that gives up a host which does not answer: the others are verified all the same."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

FAREWELL = 20.0
"""Seconds for taking things away from a host that was given up already."""


class _TooLongError(Exception):
    pass


class Patience:
    """Ends a check whose host says nothing for `seconds`, and fails all that come after it on that host at once.

    testinfra waits for its ssh for ever, and a shell that hangs ends no connection. `silent` is host → why it was given
    up; `host_of` tells a check's host.
    """

    def __init__(self, host_of: Callable[[pytest.Item], str], seconds: float) -> None:
        self.host_of = host_of
        self.seconds = seconds
        self.silent: dict[str, str] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """What a check needs."""
        if why := self.silent.get(self.host_of(item)):
            pytest.fail(why, pytrace=False)
        with self._limited(item, self.seconds):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """The check itself."""
        with self._limited(item, self.seconds):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """What it leaves behind, which is taken away also where the host was given up, as far as it answers."""
        with self._limited(item, min(FAREWELL, self.seconds) if self.host_of(item) in self.silent else self.seconds):
            return (yield)

    @contextmanager
    def _limited(self, item: pytest.Item, seconds: float) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            # Only there a signal interrupts what is waited for.
            yield
            return
        why = f"the host did not answer within {seconds:g} seconds, and is given up"

        def interrupt(*_: object) -> None:
            self.silent.setdefault(self.host_of(item), why)
            raise _TooLongError

        before = signal.signal(signal.SIGALRM, interrupt)
        # Again and again: what cleans up after the first one asks the same host.
        signal.setitimer(signal.ITIMER_REAL, seconds, min(FAREWELL, seconds))
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            # Of several that were interrupted pytest makes a group.
            if self.silent.get(self.host_of(item)) != why:
                raise
            pytest.fail(why, pytrace=False)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
