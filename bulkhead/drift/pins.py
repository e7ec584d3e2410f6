"""What a host compares by itself, as data for a POSIX shell: files by their digests, and questions to the host.

A capability derives its pins from what its deploy writes and its drift compares, so that nothing is described twice;
their subjects are those of the drift findings. A pin says what a run ends with, whatever the host was before it.
`deploys/self_check` makes one program of all of them.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bulkhead.drift.finding import Severity
from bulkhead.drift.units import GENERATED, OURS, PACKAGED, PROPERTIES
from bulkhead.put import Write
from bulkhead.templates import render

ABSENT, ANY = "absent", "any"
"""Instead of a digest: there must be no such file; what the file says is not compared."""


@dataclass(frozen=True)
class FilePin:
    """A file of Bulkhead's own: `digest` is the sha256 of its content, or ABSENT, or ANY."""

    capability: str
    path: str
    digest: str
    mode: int = 0o644
    owner: str = "root:root"
    severity: Severity = "critical"


@dataclass(frozen=True)
class NotedFile:
    """A file that may hold what is the user's: it says what it did when the last run ended, or is a warning.

    `mine` says that it is the user's, who may let others read it, and nobody but root write to it.
    """

    capability: str
    path: str
    digest: str
    mine: bool = False


@dataclass(frozen=True)
class Pin:
    """A question with one right answer: `script` prints what is there, `expected` is what it has to print."""

    capability: str
    subject: str
    script: str
    expected: str
    severity: Severity = "critical"


@dataclass(frozen=True)
class Search:
    """A question whose right answer is nothing: `script` calls `say SUBJECT EXPECTED ACTUAL [SEVERITY]` for a finding.

    awk says the same by a line of four fields between \\037 (ASCII's unit separator). `about` names the question where
    it can't be answered: its script failed or took too long.
    """

    capability: str
    about: str
    script: str


Check = FilePin | NotedFile | Pin | Search


def own_file(
    capability: str, path: str, content: bytes | None, *, mode: int = 0o644, severity: Severity = "critical"
) -> FilePin:
    """The pin of a file with this content, or of none."""
    return FilePin(capability, path, ABSENT if content is None else digest(content), mode, severity=severity)


def written(capability: str, write: Write) -> FilePin:
    """The pin of a file of Bulkhead's own, as a run writes it."""
    content, owner = write.content, f"{write.owner}:{write.group}"
    return FilePin(capability, write.path, ABSENT if content is None else digest(content), write.mode, owner)


def record(capability: str, write: Write) -> list[Check]:
    """The pins of a file of ours that may hold pieces of the user's."""
    if write.content is None:
        return [own_file(capability, write.path, None, severity="warning")]
    kept = FilePin(capability, write.path, ANY, write.mode, f"{write.owner}:{write.group}", severity="warning")
    return [kept, NotedFile(capability, write.path, digest(write.content))]


def users_file(capability: str, write: Write) -> list[Check]:
    """The pin of a file of the user's with settings of ours in it."""
    return [] if write.content is None else [NotedFile(capability, write.path, digest(write.content), mine=True)]


def digest(content: bytes) -> str:
    """The sha256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def units(capability: str, running: Iterable[tuple[str, bool, bool]], others: Sequence[str] = ()) -> Search:
    """Units that have to be there (name, enabled, runs), and those that are looked at for what is laid over them alone;
    as `Comparison.unit` has it."""
    wanted = [
        (name, " ".join(word for word, on in (("enabled", one), ("active", two)) if on)) for name, one, two in running
    ]
    script = render(
        "self_check/units.sh.j2",
        properties=PROPERTIES,
        packaged=PACKAGED,
        generated=GENERATED,
        ours=OURS,
        wanted=wanted,
        others=list(others),
    )
    return Search(capability, f"{capability}: units", script)


def lines(capability: str, about: str, script: str) -> Search:
    """A search by a script that is rendered already."""
    return Search(capability, about, script)


def quoted(*words: str) -> str:
    """Words as a shell takes them."""
    return shlex.join(words)
