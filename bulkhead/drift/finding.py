"""One difference between a host and its description."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass, replace
from typing import Literal, get_args

from bulkhead.secrets import redacted

Severity = Literal["critical", "warning", "info"]
"""`critical`: a protection is off, weakened or gone round; `warning`: not as described, and no protection is lost by
it; `info`: nothing on the host changed, the world outside did (a newer release)."""

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""The worst first."""


def comparison(capability: str) -> str:
    """The subject of the finding that a capability could not be compared: nothing else is known of it then."""
    return f"{capability}: comparison"


@dataclass(frozen=True)
class Finding:
    """Something on a host that is not as the inventory describes it, or that weakens what is.

    `capability` is the folder of `deploys/` that it concerns; `subject` says what it is about, so that the same
    difference has the same subject in every run (`/etc/docker/daemon.json: runtimes.runsc`,
    `sysctl net.ipv4.ip_forward`, `container 4f1d…`). `expected` and `actual` are short, or whole texts that `diff`
    compares; an empty `expected` is something that should not be there, an empty `actual` something that is missing.
    `mend` is what an operator does about it. All texts are shown and stored, so they are made `presentable` before.
    """

    capability: str
    subject: str
    expected: str
    actual: str
    severity: Severity
    mend: str

    @property
    def upstream(self) -> bool:
        """Whether the host itself is as described."""
        return self.severity == "info"

    @property
    def diff(self) -> list[str]:
        """The lines of a unified diff from `expected` to `actual`; empty where both are of one line."""
        if "\n" not in self.expected.strip("\n") and "\n" not in self.actual.strip("\n"):
            return []
        expected, actual = self.expected, self.actual
        if expected.endswith("\n") and actual.endswith("\n"):
            expected, actual = expected[:-1], actual[:-1]
        # Not splitlines: other line ends, or none at the end, are a difference too.
        return list(difflib.unified_diff(expected.split("\n"), actual.split("\n"), "expected", "actual", lineterm=""))

    @property
    def presentable(self) -> Finding:
        """This finding with `presentable` texts."""
        return replace(
            self,
            subject=presentable(self.subject, SHORT),
            expected=presentable(self.expected),
            actual=presentable(self.actual),
            mend=presentable(self.mend, SHORT),
        )


LONG, SHORT = 32 * 2**10, 2**10
"""Characters that are kept of a text, and of one that fits into a line: whoever has taken over one host of many could
fill the memory and the disk of those who look at all of them."""


def presentable(text: str, longest: int = LONG) -> str:
    """What a host said, as it may be shown and stored: of at most `longest` characters, without what looks like a
    secret, and without what no encoding knows. What is cut off is told by its digest, so that a change there shows."""
    if not text.isascii():
        text = text.encode(errors="backslashreplace").decode()
    if len(text) <= longest:
        return redacted(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    # Credentials are known by what comes after them, too.
    kept = redacted(text[: longest + 600])[:longest]
    return f"{kept}… ({len(text) - longest} more characters; sha256 of all {digest})"
