"""Rendering of what lands on hosts: the Jinja2 files under `templates/`."""

from __future__ import annotations

import base64
import gzip
import shlex
import threading
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"


def decode(content: bytes) -> str:
    """A shell command that prints `content`; compressed, so that large files stay small in a script."""
    packed = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    return f"printf %s {packed} | base64 -d | gzip -d"


environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    # These are shell and TOML, where HTML escapes would be wrong; shell values go through `quote`.
    autoescape=False,
)
environment.filters["quote"] = lambda value: shlex.quote(str(value))
environment.filters["decode"] = decode
environment.filters["basename"] = lambda path: PurePosixPath(path).name
environment.filters["dirname"] = lambda path: str(PurePosixPath(path).parent)


_COMPILING = threading.Lock()


@cache
def _template(name: str) -> jinja2.Template:
    """A template is read once in a run, by whoever comes first: all threads that look at a fleet need the same."""
    with _COMPILING:
        return environment.get_template(name)


def render(name: str, /, **values: Any) -> str:
    """Render `templates/<name>`; a value that the template uses and nobody gave is an error."""
    return _template(name).render(**values)


def whole(body: str) -> str:
    """Wrap a script so that a shell reading it from standard input has read all of it before it acts.

    A connection that breaks in the middle of the text then runs nothing at all.
    """
    return f"main() {{\n{body}\n}}\nmain </dev/null\n"
