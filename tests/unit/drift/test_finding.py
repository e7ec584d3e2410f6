"""Findings as they are shown and stored."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from bulkhead.drift.finding import Finding, presentable
from bulkhead.drift.report import Report, host_report

FOUND = Finding("Docker", "a", "b", "c", "critical", "d")


@pytest.mark.parametrize("field", ["subject", "expected", "actual", "mend"])
def test_what_no_encoding_knows_is_written_out(field: str) -> None:
    """A lone half of a pair, as a host's JSON or a file's name can hold one, would fail the report of all hosts."""
    said = {field: "x\ud800y"}
    found = replace(FOUND, **said).presentable  # type: ignore[arg-type]
    assert getattr(found, field) == "x\\ud800y"
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    hosts = (host_report("web", [found], moment, 1.0, None),)
    assert "x\\\\ud800y" in Report(inventory="x", started=moment, seconds=1.0, hosts=hosts).to_json()


def test_a_text_of_any_length_is_cut() -> None:
    line, whole = "a" * 1023 + "\n", 200 * ("a" * 1023 + "\n")
    found = replace(FOUND, subject=whole, actual=whole, mend="é" * 1025).presentable
    digest = sha256(whole.encode()).hexdigest()
    assert found.subject == f"{line}… (203776 more characters; sha256 of all {digest})"
    assert found.actual == f"{32 * line}… (172032 more characters; sha256 of all {digest})"
    assert found.mend.startswith("é" * 1024 + "… (1 more characters; ")


def test_another_end_of_a_long_text_is_another_finding() -> None:
    assert presentable("a" * 40_000 + "b") != presentable("a" * 40_000 + "c")


SECRETS = ("password=hunter2hunter2", "http://user:hunter2hunter2@proxy", "Bearer hunter2hunter2", "a:hunter2hunter2@b")


@pytest.mark.parametrize("said", SECRETS)
@pytest.mark.parametrize("before", range(16_370, 16_384))
def test_a_secret_at_the_end_of_what_is_kept_is_withheld(said: str, before: int) -> None:
    shown = presentable(f"{'x ' * before}{said} {'y' * 100}")
    assert "hunter" not in shown
    assert "more characters; sha256" in shown
