"""What a report of drift becomes for whom: one module for each format, all of one shape, from a Report to a text."""

from __future__ import annotations

from collections.abc import Callable

from bulkhead.drift.formats import html, junit, prometheus, text
from bulkhead.drift.report import Report

FORMATS: dict[str, Callable[[Report], str]] = {
    "text": text.render,
    "json": Report.to_json,
    "junit": junit.render,
    "prometheus": prometheus.render,
    "html": html.render,
}
"""The name on the command line → what makes the whole text, its last newline included."""
