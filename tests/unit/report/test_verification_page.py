"""The page of a verification: the verdict, and what failed first."""

from __future__ import annotations

import re

import pytest

from bulkhead.verification import Check, Results
from bulkhead.verification_page import render
from tests.unit.report.cases import NOON, check
from tests.unit.report.test_drift_page import words


def page(*checks: Check, errors: tuple[str, ...] = ()) -> str:
    return render(Results(list(checks), list(errors)), "i.py", NOON)


@pytest.mark.parametrize(
    ("shown", "title"),
    [
        (page(check(1, "passed"), check(2, "skipped")), "All checks passed: i.py"),
        (page(check(1, "passed"), check(2, "failed")), "1 check failed: i.py"),
        (page(check(1, "passed"), check(2, "skipped", "other")), "Not verified: i.py"),
        (page(check(1, "passed"), errors=("no answer",)), "Not verified: i.py"),
        (page(), "Not verified: i.py"),
    ],
)
def test_the_title_is_the_verdict(shown: str, title: str) -> None:
    assert f"<title>{title}</title>" in shown


def test_what_failed_is_first() -> None:
    shown = page(
        check(1, "passed", "a"),
        check(2, "passed", "b"),
        check(3, "skipped", "b", "it has no gVisor"),
        check(4, "failed", "b", "assert 0 == 1"),
    )
    assert re.findall(r'<h3 id="host-(\w+)">', shown) == ["b", "a"]
    text = words(shown)
    assert "1 check failed 2 checks passed 1 check skipped Hosts" in text
    assert "b 1 failed 1 passed 1 skipped 1.5 a 1 passed 0.5 Checks" in text
    assert (
        "b Outcome Check Seconds failed docker: Property 4 of the daemon assert 0 == 1 0.5"
        " passed docker: Property 2 of the daemon 0.5 skipped docker: Property 3 of the daemon it has no gVisor 0.5"
    ) in text


def test_a_host_of_which_nothing_is_proved() -> None:
    assert "a 1 skipped nothing proved 0.5" in words(page(check(1, "skipped", "a")))


def test_what_kept_the_checks_from_running() -> None:
    text = words(page(errors=("pytest: no <such> file",)))
    assert "Checks could not be run: pytest: no &lt;such&gt; file" in text
    assert "Nothing was checked, so nothing is known." in text
