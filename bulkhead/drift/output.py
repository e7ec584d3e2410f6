"""Where reports go: files that are whole at every moment, and that no two checks write at once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bulkhead import files
from bulkhead.drift.report import Report, read
from bulkhead.errors import BulkheadError


@contextmanager
def reserved(paths: Sequence[Path], history: Path | None = None) -> Iterator[None]:
    """Keep other checks from writing any of `paths`, or into the directory `history`, while the block runs.

    Raises BulkheadError when another check is at it, or one of them can't be written. A directory that is not there is
    made, for its owner alone.
    """
    with ExitStack() as held:
        for path in paths:
            target = path.resolve()
            if target.exists() and not target.is_file():
                raise BulkheadError(f"{path}: is no regular file", hint="Name a file, or let --output out.")
            # The file itself is replaced, so a lock on it would hold nobody off.
            held.enter_context(_locked(target.with_name(f".{target.name}.lock"), path, "--output"))
        if history:
            try:
                history.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise _unwritable(history, error) from error
            held.enter_context(_locked(history.resolve() / ".lock", history, "--history"))
        yield


@contextmanager
def _locked(lock: Path, path: Path, option: str) -> Iterator[None]:
    """Hold `lock`, which stands for the `path` of an option."""
    try:
        if not os.access(lock.parent, os.W_OK | os.X_OK) and lock.parent.exists():
            raise PermissionError(0, "the directory can't be written to")
        opened = lock.open("a")
    except OSError as error:
        raise _unwritable(path, error) from error
    with opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BulkheadError(
                f"{path}: another check that writes it is under way", hint=f"Wait for it, or name another {option}."
            ) from error
        yield


def write(path: Path, text: str) -> None:
    """Put `text` into `path`, whose readers see either the old or the new.

    Raises BulkheadError when it can't be written.
    """
    try:
        files.write(path.resolve(), text)
    except OSError as error:
        raise _unwritable(path, error) from error


def before(since: Path | None, outputs: Sequence[Path], inventory: str, limit: Sequence[str]) -> Report | None:
    """The report of the check before, which `since` names.

    A file that this check, of the hosts of `limit`, writes itself need not be there: it is the first one then. Raises
    BulkheadError when another one is not there, what is there is no report or one of another inventory, or it is to be
    replaced and knows of other hosts.
    """
    if since is None:
        return None
    replaced = since.resolve() in [path.resolve() for path in outputs]
    if replaced and not since.exists():
        return None
    report = read(since)
    if report.inventory != inventory:
        raise BulkheadError(
            f"{since}: is a report of {report.inventory}, not of {inventory}",
            hint="Hosts of one name would be taken for each other: name a report of this inventory.",
        )
    if replaced and {*report.limit} != {*limit}:
        raise BulkheadError(
            f"{since}: is a report of {_chosen(report.limit)}, and this check is of {_chosen(limit)}",
            hint="Name another --output, so that what is known of the others is not lost.",
        )
    return report


def _chosen(limit: Sequence[str]) -> str:
    return " ".join(f"--limit {name}" for name in limit) or "all hosts"


def _unwritable(path: Path, error: OSError) -> BulkheadError:
    return BulkheadError(
        f"{path}: can't be written ({error.strerror})", hint="Name a file in a directory that you may write to."
    )
