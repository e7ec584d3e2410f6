"""JSON as Go's encoding/json prints it, to find a piece of a daemon's answer with grep."""

from __future__ import annotations

import json
from typing import Any


def compact(value: Any, *, escape_html: bool = True) -> str:
    """`value` as `json.Marshal` prints a map: keys in their order, no blanks, and what HTML would read escaped.

    An encoder may be told not to escape, as Docker's API is (`SetEscapeHTML(false)`).
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e") if escape_html else text
