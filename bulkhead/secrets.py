"""What looks like a secret, and is taken out of all that is shown or stored. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

WITHHELD = "(withheld)"

_WORDS = (
    r"(?:passw(?:or)?d|passphrase|secret|token|credential|api[_-]?key|access[_-]?key|private[_-]?key|authorization"
    # As words of their own: of `bypass` and `PermitRootLogin` everything may be known.
    r"|(?<![a-z0-9])(?:pass|pwd|psk|login|hmac)(?![a-z0-9])|auth(?![\w.-]))"
)
# Each word of the text is looked at once, from its start, and given up at once: a host that was taken over could say
# one of a million letters, and whoever tries every place of it against every other never ends.
_NAME = rf"(?<![\w.-])(?=[\w.-]*{_WORDS})[\w.-]++"
_SIGNS = (
    *("@", "bearer", "basic", "private key", "pass", "pwd", "psk", "login", "hmac"),
    *("secret", "token", "credential", "auth"),
    *(f"{kind}{joined}key" for kind in ("api", "access", "private") for joined in ("", "_", "-")),
)
"""Lower-case texts of which each of _PATTERNS needs one: most texts have none, and are told from others by that."""

_KEY = "[A-Z ]*PRIVATE KEY(?: BLOCK)?"
_QUOTED = r"\"(?:[^\"\n\\]|\\.)*\"|'[^'\n]*'"

_NAMED = re.compile(_NAME, re.IGNORECASE)
_PATTERNS = (
    # proxies and registries: https://user:password@host
    (re.compile(r"(\w://)[^\s\"']{1,256}@"), rf"\1{WITHHELD}@"),
    # the same without a scheme, and none of an image by its digest
    (re.compile(r"(?<![^\s\"'=,;])[^\s:@/\"'=,;]{1,256}+:[^\s@/\"']{1,256}+@(?!sha256:)"), f"{WITHHELD}@"),
    (re.compile(r"\b((?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1{WITHHELD}"),
    # A line, so that a diff of the texts around it stays one.
    (re.compile(rf"-----BEGIN {_KEY}-----.*?(-----END {_KEY}-----|\Z)", re.DOTALL), WITHHELD),
    # "name=value with blanks", as units have it
    (re.compile(rf"(\"{_NAME}=)(?:[^\"\n\\]|\\.)+", re.IGNORECASE), rf"\1{WITHHELD}"),
    (re.compile(rf"('{_NAME}=)[^'\n]+", re.IGNORECASE), rf"\1{WITHHELD}"),
    # name=value, --name=value
    (re.compile(rf"({_NAME}[\"']?=(?!\s))(?!\(withheld\))({_QUOTED}|\S+)", re.IGNORECASE), rf"\1{WITHHELD}"),
    # name = value, name: value, "name": "value": without quotes to the end of the line
    (
        re.compile(rf"({_NAME}[\"']?\s*[=:]\s*)(?<!\w=)(?!\(withheld\))({_QUOTED}|[^\n]+)", re.IGNORECASE),
        rf"\1{WITHHELD}",
    ),
    # --name value, ["--name", "value"]
    (
        re.compile(
            rf"((?<![\w.-])(?=--?[\w.-]*{_WORDS})[\w.-]++[\"']?[\s,]+[\"']?)(?!-|\(withheld\))[^\s\"',]+", re.IGNORECASE
        ),
        rf"\1{WITHHELD}",
    ),
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
    if folded is not None and not any(sign in folded for sign in _SIGNS):
        return text
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


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
