"""What looks like a secret, and is taken out of all that is shown or stored. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

WITHHELD = "(withheld)"

_WORDS = (
    r"(?:passw(?:or)?d|passphrase|secret|token|credential|api[_-]?key|access[_-]?key|private[_-]?key"
    # As words of their own: of `bypass` and `PermitRootLogin` everything may be known.
    r"|(?<![a-z0-9])(?:pass|pwd|psk|login|hmac)(?![a-z0-9])|auth(?:orization)?(?![\w.-]))"
)
# Each word of the text is looked at once, from its start, and given up at once: a host that was taken over could say
# one of a million letters, and whoever tries every place of it against every other never ends.
_NAME = rf"(?<![\w.-])(?=[\w.-]*{_WORDS})[\w.-]++"
_SIGNS = (
    *("pass", "pwd", "psk", "login", "hmac", "secret", "token", "credential", "auth"),
    *(f"{kind}{joined}key" for kind in ("api", "access", "private") for joined in ("", "_", "-")),
)
"""Lower-case texts of which each of _WORDS has one: most texts have none, and are told from others by that."""

_KEY = "[A-Z ]*PRIVATE KEY(?: BLOCK)?"
_QUOTED = r"\"(?:[^\"\n\\]|\\.)*\"|'[^'\n]*'"

_NAMED = re.compile(_NAME, re.IGNORECASE)
_WORD = re.compile(_WORDS, re.IGNORECASE)
_BY_FORM = (
    # proxies and registries: https://user:password@host
    ("://", re.compile(r"(\w://)[^\s\"']{1,256}@"), rf"\1{WITHHELD}@"),
    # the same without a scheme, and none of an image by its digest
    ("@", re.compile(r"(?<![^\s\"'=,;])[^\s:@/\"'=,;]{1,256}+:[^\s@/\"']{1,256}+@(?!sha256:)"), f"{WITHHELD}@"),
    *(
        (kind, re.compile(rf"\b({kind}\s+)[\w.~+/=-]{{8,}}", re.IGNORECASE), rf"\1{WITHHELD}")
        for kind in ("bearer", "basic")
    ),
    # A line, so that a diff of the texts around it stays one.
    ("private key", re.compile(rf"-----BEGIN {_KEY}-----.*?(-----END {_KEY}-----|\Z)", re.DOTALL), WITHHELD),
)
"""What each needs, in lower case; what it is; what is shown instead."""

_BY_NAME = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # "name=value with blanks", as units have it
        rf"(\"{_NAME}=)(?:[^\"\n\\]|\\.)+",
        rf"('{_NAME}=)[^'\n]+",
        # name=value, --name=value
        rf"({_NAME}[\"']?=(?!\s))(?!\(withheld\))({_QUOTED}|\S+)",
        # "name": "value", "name": value, and what is in brackets to the end of the line
        rf"({_NAME}[\"'][^\S\n]*+[=:][^\S\n]*+)(?!\(withheld\))({_QUOTED}|[\[{{][^\n]*|[^\n,}}\]]+)",
        # name = value, name: value: without quotes to the end of the line
        rf"({_NAME}[^\S\n]*+[=:][^\S\n]*+)(?<!\w=)(?!\(withheld\))({_QUOTED}|[^\n]+)",
        # --name value, ["--name", "value"]
        rf"((?<![\w.-])(?=--?[\w.-]*{_WORDS})[\w.-]++[\"']?[\s,]+[\"']?)(?!-|\(withheld\))[^\s\"',]+",
    )
)


def is_secret(name: str) -> bool:
    """Whether what is called so is better not shown."""
    return _NAMED.fullmatch(name) is not None


def redacted(text: str) -> str:
    """`text` without values whose names say that they are secret, credentials in addresses, and private keys."""
    return _redacted_once(text) if len(text) <= _SHORT else _redacted(text)


_SHORT = 300
"""What a text may have to be remembered: how a difference is mended is the same text on every host of a fleet."""


def _redacted(text: str) -> str:
    # Some letters beyond ASCII are to an expression that ignores case the same as letters of these.
    folded = text.lower() if text.isascii() else None
    for sign, pattern, instead in _BY_FORM:
        if folded is None or sign in folded:
            text = pattern.sub(instead, text)
    if folded is None or _names_one(folded):
        for pattern in _BY_NAME:
            text = pattern.sub(rf"\1{WITHHELD}", text)
    return text


def _names_one(folded: str) -> bool:
    """Whether a text in lower case has one of _WORDS, looked for where it can be: a search of all takes long."""
    for sign in _SIGNS:
        place = folded.find(sign)
        while place >= 0:
            if _WORD.match(folded, place):
                return True
            place = folded.find(sign, place + 1)
    return False


_redacted_once = lru_cache(maxsize=4096)(_redacted)


def without_secrets(value: Any) -> Any:
    """A value of a configuration, with what lies under secret names withheld at any depth."""
    if isinstance(value, dict):
        return {key: WITHHELD if is_secret(str(key)) else without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    return redacted(value) if isinstance(value, str) else value


def at(keys: Sequence[str], value: Any) -> Any:
    """The value that a configuration has under `keys`, from the outermost in, as it may be shown."""
    return WITHHELD if any(is_secret(key) for key in keys) else without_secrets(value)
