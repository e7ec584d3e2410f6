"""A report as one HTML page that needs nothing else: no script, no file, no network.

What hosts say stands in it, so every value is escaped and made visible, and the page itself forbids all but its own
style: what got in all the same could neither run nor fetch.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import jinja2
from markupsafe import Markup

from bulkhead.templates import TEMPLATES, environment
from bulkhead.visible import visible

_FOLDER = TEMPLATES / "report"


def render(name: str, /, **values: Any) -> str:
    """The page of `templates/report/<name>`; a value that the template uses and nobody gave is an error."""
    style = (_FOLDER / "page.css").read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template(f"report/{name}")
        .render(
            style=Markup(style),
            policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
            **values,
        )
    )


def moment(time: datetime) -> str:
    """A time as people read it, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def age(span: timedelta) -> str:
    """A span of time in its largest unit."""
    seconds = span.total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            number = int(seconds // length)
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "less than a minute"


def _environment() -> jinja2.Environment:
    pages = environment.overlay(
        autoescape=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    pages.filters = {**environment.filters, "moment": moment, "age": age}
    return pages
