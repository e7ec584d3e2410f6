"""Whether the table in the kernel is the one of the file: both as `nft --json` lists them. Pure, no I/O."""

from __future__ import annotations

import json
from typing import Any

from bulkhead.errors import BulkheadError

DYNAMIC = "logged_"
"""What the names of sets begin with that packets fill."""

_COUNTED = ("handle", "packets", "bytes")


Object = tuple[str, str]
"""Kind and name of a part of the table: `chain forward`, `set denied4`."""


def same(live: str, fresh: str) -> bool:
    """Whether two listings of the table say the same, but for handles, counts and what packets filled in.

    The order of rules counts, that of the elements of a set does not. Nothing listed is the same as nothing.

    Raises BulkheadError for what is not a listing.
    """
    return _normalised(live) == _normalised(fresh)


def differences(live: str, fresh: str) -> dict[Object, tuple[str, str]]:
    """Part of the table → what it is in `fresh` and in `live`, a line for each rule or element; empty for nothing.

    Raises BulkheadError as `same` does.
    """
    wanted, there = (_parts(listing) for listing in (fresh, live))
    return {
        part: ("\n".join(wanted.get(part, [])), "\n".join(there.get(part, [])))
        for part in [*wanted, *(part for part in there if part not in wanted)]
        if wanted.get(part) != there.get(part)
    }


def _parts(listing: str) -> dict[Object, list[str]]:
    """Each part with its lines: the head says what it is, a chain's rules and a set's elements follow."""
    parts: dict[Object, list[str]] = {}
    for entry in _normalised(listing):
        ((kind, one),) = entry.items()
        if kind == "rule":
            rule = {key: value for key, value in one.items() if key not in ("family", "table", "chain")}
            parts.setdefault(("chain", one["chain"]), []).append(_line(rule))
            continue
        head = {key: value for key, value in one.items() if key not in ("elem", "family", "table", "name")}
        parts[kind, one["name"]] = [_line(head), *(_element(json.loads(element)) for element in one.get("elem", []))]
    return parts


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _element(element: Any) -> str:
    """An element as nft writes it."""
    match element:
        case {"elem": {"val": inner, **more}} if not more:
            return _element(inner)
        case {"concat": parts}:
            return " . ".join(map(_element, parts))
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"range": [first, last]}:
            return f"{_element(first)}-{_element(last)}"
        case str() | int():
            return str(element)
    return _line(element)


def _normalised(listing: str) -> list[Any]:
    if not listing.strip():
        return []
    try:
        objects = json.loads(listing)["nftables"]
        return [_plain(kind, one) for entry in objects for kind, one in entry.items() if kind != "metainfo"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BulkheadError("the host's answer is no listing of nft", hint="Does its nft have JSON support?") from error


def _plain(kind: str, one: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in one.items() if key not in _COUNTED}
    if kind == "set":
        elements = [] if one["name"].startswith(DYNAMIC) else one.get("elem", [])
        kept["elem"] = sorted(json.dumps(element, sort_keys=True) for element in elements)
    return {kind: kept}
