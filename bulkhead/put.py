"""The one safe way to write files on a host: staged, checked, moved into place in one step, proved, or put back.

`script` makes one shell script for all files of a capability. It runs as root and reads nothing but itself, so the
contents never show in the process list. In order:

1. take the host's lock, so that two runs don't mix;
2. refuse if a file is not what the look found (somebody else was quicker);
3. stage every file in a directory only root can enter, on the target's own file system, with its final owner and
   mode; let the component's own checker read the candidates; fsync;
4. keep the previous content beside the target (`…~bulkhead`) where the file is the user's; rename into place; fsync
   the directory;
5. activate (restart, reload), then prove the effect; if either fails, the previous files come back, the component is
   activated again, and the script fails with what happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from bulkhead.errors import BulkheadError
from bulkhead.look import PATH, FoundFile
from bulkhead.templates import render, whole

LOCK = "/run/bulkhead.lock"
SCRATCH = "/var/lib/bulkhead"
"""Bulkhead's own directory on a host: its records, and temporary files of a run (`tmp.XXXXXX`)."""

STAGES = "stages"
"""The file in SCRATCH that names the stages of the run that is under way, or was when the host was reset."""

LOCK_WAIT = 120
"""Seconds that a run waits for another one on the same host."""

BACKUP_SUFFIX = "~bulkhead"


@dataclass(frozen=True)
class Write:
    """A file as it should be; `content` is None where there should be none.

    `found` is what the look saw there: the write is refused if it has changed since. `backup` keeps the previous
    content as `path~bulkhead`; say so for every file that a user may have written.
    """

    path: str
    content: bytes | None
    found: FoundFile | None
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    backup: bool = False

    @property
    def changes(self) -> bool:
        """Whether the file on the host differs from this."""
        if self.content is None or self.found is None:
            return (self.content is None) != (self.found is None)
        return (self.found.kind, self.found.content, self.found.mode, self.found.owner, self.found.group) != (
            "file",
            self.content,
            self.mode,
            self.owner,
            self.group,
        )

    @property
    def directory(self) -> str:
        """The directory that holds the file."""
        return str(PurePosixPath(self.path).parent)

    @property
    def name(self) -> str:
        """The file's name in its directory."""
        return PurePosixPath(self.path).name

    @property
    def backup_path(self) -> str:
        """Where the previous content is kept."""
        return self.path + BACKUP_SUFFIX

    @property
    def expected(self) -> str:
        """What the file's sha256 must still be when it is replaced; `absent` where no file was found."""
        return self.found.digest if self.found else "absent"


def user_file(path: str, content: bytes | None, found: FoundFile | None) -> Write:
    """A Write for a file that belongs to the user: its owner and mode stay, its previous content is kept.

    Raises BulkheadError when something other than a regular file is in the way.
    """
    refuse_odd(path, found)
    if found is None:
        return Write(path, content, None, backup=True)
    return Write(path, content, found, mode=found.mode, owner=found.owner, group=found.group, backup=True)


def refuse_odd(path: str, found: FoundFile | None) -> None:
    """Raise BulkheadError when `path` is a link, a directory or anything else that a rename would destroy."""
    if found is None or found.kind == "file":
        return
    kinds = {"link": f"a symbolic link to {found.target}", "directory": "a directory"}
    what = kinds.get(found.kind, "a device, pipe or socket")
    raise BulkheadError(
        f"{path}: is {what}",
        hint="Bulkhead replaces regular files only: move it away or put a regular file in its place, then run again.",
    )


@dataclass(frozen=True)
class Change:
    """Files that belong together and what makes them effective.

    `check`, `activate` and `prove` are shell snippets; each prints its reason on stderr and fails when it isn't
    satisfied. In `check`, `$candidate_0`, `$candidate_1` … are the staged files in the order of `writes`. `restore`
    makes the previous files effective again after a failure; where it is empty, `activate` does. Once all is proved
    `obsolete`, which are ours, are removed, and `settled` are written: what must not be said before it is so.
    """

    writes: Sequence[Write] = field(default=())
    check: str = ""
    activate: str = ""
    prove: str = ""
    restore: str = ""
    obsolete: Sequence[str] = field(default=())
    settled: Sequence[Write] = field(default=())

    @property
    def changes(self) -> bool:
        """Whether a file on the host differs from what it should be."""
        return any(write.changes for write in (*self.writes, *self.settled))


def preamble_values() -> dict[str, Any]:
    """What `templates/host/preamble.sh.j2` needs: every script that changes a host begins with it."""
    return {
        "path": PATH,
        "lock": LOCK,
        "lock_wait": LOCK_WAIT,
        "scratch": SCRATCH,
        "stages": f"{SCRATCH}/{STAGES}",
    }


def installation(packages: Sequence[str], masked: Sequence[str] = ()) -> str:
    """The script that installs the distribution's `packages` by apt; units named in `masked` don't start."""
    return whole(render("host/install.sh.j2", **preamble_values(), packages=list(packages), masked=list(masked)))


def values(change: Change) -> dict[str, Any]:
    """What `templates/host/put.sh.j2` needs of a Change, besides those of the preamble."""
    writes = [write for write in change.writes if write.changes]
    settled = [write for write in change.settled if write.changes]
    return {
        "change": change,
        "all_writes": list(change.writes),
        "writes": writes,
        "settled": settled,
        "directories": list(dict.fromkeys(write.directory for write in (*writes, *settled))),
    }


def script(change: Change, trial: Mapping[str, Any] | None = None) -> str:
    """The whole script for one Change; feed it to `sh` on standard input.

    With the values of `templates/host/trial.sh.j2` it is tried, and goes again unless it is confirmed.
    """
    return whole(render("host/put.sh.j2", **{"trial": None, **preamble_values(), **values(change), **(trial or {})}))


def together(changes: Sequence[Change]) -> Change:
    """One Change of several, in their order: all of it comes into force, or nothing does."""
    checks, seen = [], 0
    for change in changes:
        # Each names its own candidates from 0 on.
        named = [f"candidate_{one}=$candidate_{seen + one}" for one in range(len(change.writes) if seen else 0)]
        checks += [_apart("\n".join([*named, change.check]), "return 1")] if change.check else []
        seen += len(change.writes)
    restores = [_apart(change.restore or change.activate, "status=1") for change in changes]
    return Change(
        writes=[write for change in changes for write in change.writes],
        check="\n".join(checks),
        activate="\n".join(_apart(change.activate, "return 1") for change in changes),
        prove="\n".join(_apart(change.prove, "return 1") for change in changes),
        restore="\n".join(["status=0", *restores, "return $status"]),
        obsolete=[path for change in changes for path in change.obsolete],
        settled=[write for change in changes for write in change.settled],
    )


def _apart(snippet: str, otherwise: str) -> str:
    """A snippet with functions and variables of its own."""
    return f"(\n{snippet or ':'}\n) || {otherwise}"
