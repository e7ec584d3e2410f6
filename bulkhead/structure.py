"""Differences between two nested configurations, as lines to read.

Only what differs is shown, and of that nothing that looks like a secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bulkhead import secrets

Place = tuple[str, ...]


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], path: Place = (), *, whole: bool = False
) -> list[tuple[Place, list[Any], list[Any]]]:
    """Each path that differs, with what stands there before and after; an empty list is nothing.

    A table that comes is told key by key, or as a `whole`, as is one that goes.
    """
    found: list[tuple[Place, list[Any], list[Any]]] = []
    for key in dict.fromkeys([*before, *after]):
        where = (*path, str(key))
        old, new = ([table[key]] if key in table else [] for table in (before, after))
        if old == new:
            continue
        known = isinstance(old[0], Mapping) if old else not whole
        if new and isinstance(new[0], Mapping) and known:
            found += differences(old[0] if old else {}, new[0], where, whole=whole) or [(where, old, new)]
        else:
            found.append((where, old, new))
    return found


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Lines such as `+ runtimes.runsc.path = "/usr/local/bin/runsc"`; `-` is removed, `~` changed."""
    lines: list[str] = []
    for path, old, new in differences(before, after):
        if not new:
            lines.append(f"- {dotted(path)}")
        else:
            lines.append(f"{'~' if old else '+'} {dotted(path)} = {json.dumps(secrets.at(path, new[0]), default=str)}")
    return lines


def dotted(path: Sequence[str]) -> str:
    """A path as one text; a key that holds a dot is quoted."""
    return ".".join(json.dumps(part) if "." in part else part for part in path)
