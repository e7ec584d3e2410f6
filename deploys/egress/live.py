"""Whether the table in the kernel is the one of the file: both as `nft --json` lists them. Pure, no I/O."""

from __future__ import annotations

import json
from typing import Any

from bulkhead.errors import BulkheadError

DYNAMIC = "logged_"
"""What the names of sets begin with that packets fill."""

_COUNTED = ("handle", "packets", "bytes")


def same(live: str, fresh: str) -> bool:
    """Whether two listings of the table say the same, but for handles, counts and what packets filled in.

    The order of rules counts, that of the elements of a set does not. Nothing listed is the same as nothing.

    Raises BulkheadError for what is not a listing.
    """
    return _normalised(live) == _normalised(fresh)


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
