"""Docker's `daemon.json` with our runtimes in it; all other keys and their order stay. Pure, no I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from bulkhead.errors import BulkheadError
from bulkhead.runtime import Runtime

PATH = "/etc/docker/daemon.json"


def parse(text: str) -> dict[str, Any]:
    """The configuration in `text`; empty text is an empty configuration, as dockerd reads it.

    Raises BulkheadError with line and column when it is not JSON, not an object, or names a key twice: of two equal
    keys dockerd takes one and a reader sees the other.
    """
    if not text.strip():
        return {}
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise BulkheadError(
            f"{PATH}: not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})",
            hint="Correct it, then run again.",
        ) from error
    if not isinstance(value, dict):
        raise BulkheadError(
            f"{PATH}: expected an object, not {type(value).__name__}", hint="Correct it, then run again."
        )
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BulkheadError(f"{PATH}: the key {twice!r} stands twice in one object", hint="Remove one of the two.")
    return table


def merge(text: str, runtimes: Sequence[Runtime], default: str) -> str:
    """`text` with `runtimes` registered and `default` as the default runtime; the same text when it already has them.

    Raises BulkheadError as `parse` does, and when `runtimes` is not an object.
    """
    before = parse(text)
    registered = before.get("runtimes", {})
    if not isinstance(registered, dict):
        raise BulkheadError(f"{PATH}: runtimes: expected an object", hint="Correct it, then run again.")
    after = {
        **before,
        "runtimes": {**registered, **{runtime.name: entry(runtime) for runtime in runtimes}},
        "default-runtime": default,
    }
    if after == before:
        return text
    return json.dumps(after, indent=_indent(text), ensure_ascii=False) + "\n"


def entry(runtime: Runtime) -> dict[str, Any]:
    """What `runtimes.<name>` holds for one runtime."""
    return {
        "path": runtime.binary,
        **({"runtimeArgs": list(runtime.arguments)} if runtime.arguments else {}),
    }


def _indent(text: str) -> int | str:
    """The indentation of the file's first nested line; four spaces, as Docker's documentation has it, without one."""
    match = re.search(r"^[{[]\s*?\n([ \t]+)\S", text.lstrip())
    return match.group(1) if match else 4
