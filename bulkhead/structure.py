"""Differences between two nested configurations, as lines to read.

Only what differs is shown, so a secret elsewhere in a user's file never reaches the screen or a log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def changes(before: Mapping[str, Any], after: Mapping[str, Any], path: Sequence[str] = ()) -> list[str]:
    """Lines such as `+ runtimes.runsc.path = "/usr/local/bin/runsc"`; `-` is removed, `~` changed."""
    lines: list[str] = []
    for key in dict.fromkeys([*before, *after]):
        where = [*path, str(key)]
        old, new = before.get(key), after.get(key)
        if key in before and key in after and old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += changes(old, new, where)
        elif isinstance(new, Mapping) and key not in before:
            lines += changes({}, new, where) or [f"+ {_dotted(where)} = {{}}"]
        elif key not in after:
            lines.append(f"- {_dotted(where)}")
        elif key not in before:
            lines.append(f"+ {_dotted(where)} = {json.dumps(new, default=str)}")
        else:
            lines.append(f"~ {_dotted(where)} = {json.dumps(new, default=str)}")
    return lines


def _dotted(path: Sequence[str]) -> str:
    return ".".join(json.dumps(part) if "." in part else part for part in path)
