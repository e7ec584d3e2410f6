"""Our settings in a file that belongs to the user: put in, recognised, and taken out again. Pure, no I/O.

A `Record` of what was put in lies on the host. With it a later run knows which entries are ours, also those that left
the inventory meanwhile, and can give the file back as it was: from the journal of the very pieces of text, or, where
somebody has edited them since, from their paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bulkhead import json_text, toml_text
from bulkhead.errors import BulkheadError
from bulkhead.look import FoundFile, Look
from bulkhead.put import SCRATCH, Write

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Format:
    """How a file is written: what its text means, and edits of the text that change one thing.

    `empty` is a text that says nothing, as `drop` leaves it.
    """

    parse: Callable[[str], dict[str, Any]]
    put: Callable[[str, Sequence[str], Any, str], str]
    drop: Callable[[str, Sequence[str]], str]
    empty: str = ""


TOML = Format(toml_text.parse, toml_text.put, toml_text.drop)
JSON = Format(json_text.parse, lambda text, path, value, _: json_text.put(text, path, value), json_text.drop, "{}")


@contextmanager
def in_file(path: str) -> Iterator[None]:
    """Let a BulkheadError about a text leave with the file's path before it."""
    try:
        yield
    except BulkheadError as error:
        raise BulkheadError(f"{path}: {error.message}", hint=error.hint) from error


@dataclass(frozen=True)
class Setting:
    """One thing that the file has to say. `comment` explains it where the format has comments.

    `returns` tells whether what stood there before comes back when the setting is withdrawn: so for a key such as the
    default runtime; not for an entry under a name that is ours.
    """

    path: Keys
    value: Any
    comment: str = ""
    returns: bool = False


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Splice(_Model):
    """Whole lines that were put in where others stood."""

    at: int
    put_in: str
    stood: str


class Recorded(_Model):
    """A setting that was put in: what stood there before (`stood` is empty for nothing), how much of its path did."""

    path: Keys
    value: Any
    stood: list[Any] = []
    known: int = 0


class Record(_Model):
    """All that was put into one file; `created` where there was no file."""

    created: bool = False
    settings: list[Recorded] = []
    splices: list[Splice] = []

    def names(self, table: str) -> list[str]:
        """The names of the entries that were put into the tables called `table`."""
        return [recorded.path[-1] for recorded in self.settings if recorded.path[-2:-1] == (table,)]


class Ledger(_Model):
    """The file on the host that holds the records: path → record. `options` are further files, which are all ours.

    `generation` is that of the engine's configuration when this was noted, 0 where it has none.
    """

    files: dict[str, Record] = {}
    options: list[str] = []
    generation: int = 0

    @classmethod
    def load(cls, content: bytes | None) -> Ledger:
        """What the file's content says; an empty ledger where there is no file.

        Raises BulkheadError when it is anything else.
        """
        if content is None:
            return cls()
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise BulkheadError(
                "is not what Bulkhead wrote there",
                hint="Move it away, then run again: what the engine's file holds then counts as put there by you.",
            ) from error

    def after(self, files: Mapping[str, Record], options: Sequence[str] = (), generation: int = 0) -> Ledger:
        """The ledger after a run that decided on `files`; the records of others stay: they may hold ours still."""
        records = {**self.files, **files}
        kept = {path: one for path, one in records.items() if one.settings}
        return Ledger(files=kept, options=sorted(options), generation=generation)

    def until(self, after: Ledger) -> Ledger:
        """The ledger while a run leads from this one to `after`: what either says, for a run that never ends."""
        files = {path: _both(self.files.get(path, Record()), record) for path, record in after.files.items()}
        options = sorted({*self.options, *after.options})
        return Ledger(files={**self.files, **files}, options=options, generation=self.generation)

    def entries(self, table: str) -> dict[str, Any]:
        """Name → value of the entries that were put into the tables called `table`."""
        return {
            recorded.path[-1]: recorded.value
            for record in self.files.values()
            for recorded in record.settings
            if recorded.path[-2:-1] == (table,)
        }

    def dump(self) -> bytes | None:
        """The file's content; None for one that has nothing to say."""
        without = set() if self.generation else {"generation"}
        text = self.model_dump_json(indent=1, exclude=without)
        return text.encode() + b"\n" if self.files or self.options else None

    def write(self, path: str, found: FoundFile | None) -> Write:
        """The write that puts it on the host, where only root reads it: it may hold pieces of the user's file."""
        return Write(path, self.dump(), found, mode=0o600)


def ledger_path(engine: str) -> str:
    """Where the `Ledger` of an engine lies on a host."""
    return f"{SCRATCH}/{engine}.json"


def ledger_of(look: Look, engine: str) -> Ledger:
    """The `Ledger` of an engine, as a look found it.

    Raises BulkheadError naming the file when it is anything else.
    """
    found = look.files[ledger_path(engine)]
    with in_file(ledger_path(engine)):
        return Ledger.load(found.content if found else None)


def _both(before: Record, after: Record) -> Record:
    paths = {recorded.path for recorded in after.settings}
    left = [recorded for recorded in before.settings if recorded.path not in paths]
    if not left:
        return after
    return Record(created=before.created or after.created, settings=[*left, *after.settings])


def apply(
    form: Format,
    text: str | None,
    wanted: Callable[[dict[str, Any]], Sequence[Setting]],
    record: Record,
    initial: str = "",
) -> tuple[str | None, Record]:
    """`text` (None for no file) with the settings `wanted` and without those of `record` that are not, and its record.

    `wanted` is asked with what the file means without anything of ours. The result is the same text when it already
    means what it should; None when there is no file and nothing to put into one. A new file begins with `initial`.

    Raises BulkheadError when the text is broken or can't be edited without changing something else.
    """
    base = undo(form, text, record, initial)
    created = base is None
    start = result = initial if base is None else base
    settings: list[Recorded] = []
    splices: list[Splice] = []
    adopted = False
    document = form.parse(result)
    for setting in wanted(document):
        known, stood = _found(document, setting.path)
        adopted = adopted or bool(stood and not setting.returns)
        edited = form.put(result, setting.path, setting.value, setting.comment)
        settings.append(
            Recorded(
                path=setting.path,
                value=setting.value,
                stood=stood if setting.returns else [],
                known=min(known, len(setting.path) - 1),
            )
        )
        if edited != result:
            splices.append(_splice(result, edited))
        result = edited
    if not settings:
        return base, Record()
    if text is not None and text != result and toml_text.same(form.parse(text), form.parse(result)):
        result = text
        splices = record.splices if _unspliced(text, record.splices) == start else []
    if adopted:
        # Taken back piece by piece, the entry that was there before would return: begin again, as the next run will.
        return apply(form, result, wanted, Record(settings=settings), initial)
    return result, Record(created=created, settings=settings, splices=splices)


def undo(form: Format, text: str | None, record: Record, initial: str = "") -> str | None:
    """`text` without what `record` says was put in; None for a file that holds nothing else and was made for it.

    What somebody else has set since under a key of `record` stays.

    Raises BulkheadError as `apply` does.
    """
    if text is None or not record.settings:
        return text
    expected = deepcopy(form.parse(text))
    for setting in reversed(record.settings):
        _withdraw(expected, setting)
    restored = _unspliced(text, record.splices)
    if restored is None or not _means(form, restored, expected):
        restored = text
        for setting in reversed(record.settings):
            restored = _taken_out(form, restored, setting)
    made = record.created and "".join(restored.split()) in ("".join(initial.split()), form.empty)
    return None if made else restored


def _withdraw(document: dict[str, Any], setting: Recorded) -> None:
    """Take one setting out of what a document means, and the parents that came with it."""
    tables = [document]
    for key in setting.path[:-1]:
        inner = tables[-1].get(key)
        if not isinstance(inner, dict):
            return
        tables.append(inner)
    key = setting.path[-1]
    if key not in tables[-1] or not _still_ours(tables[-1][key], setting):
        return
    if setting.stood:
        tables[-1][key] = deepcopy(setting.stood[0])
        return
    del tables[-1][key]
    for depth in range(len(tables) - 1, setting.known, -1):
        if not tables[depth]:
            del tables[depth - 1][setting.path[depth - 1]]


def _taken_out(form: Format, text: str, setting: Recorded) -> str:
    _, there = _found(form.parse(text), setting.path)
    if not there or not _still_ours(there[0], setting):
        return text
    if setting.stood:
        return form.put(text, setting.path, setting.stood[0], "")
    text = form.drop(text, setting.path)
    for depth in range(len(setting.path) - 1, setting.known, -1):
        _, there = _found(form.parse(text), setting.path[:depth])
        if there == [{}]:
            text = form.drop(text, setting.path[:depth])
    return text


def _still_ours(value: Any, setting: Recorded) -> bool:
    """An entry under our name is ours whatever somebody made of it; a plain value only while it is the one we set."""
    return isinstance(setting.value, Mapping) or toml_text.same(value, setting.value)


def _found(document: Mapping[str, Any], path: Keys) -> tuple[int, list[Any]]:
    """How many keys of `path` lead to something in `document`, and, in a list, what all of it leads to."""
    value: Any = document
    for known, key in enumerate(path):
        if not isinstance(value, Mapping) or key not in value:
            return known, []
        value = value[key]
    return len(path), [value]


def _means(form: Format, text: str, expected: Mapping[str, Any]) -> bool:
    try:
        return toml_text.same(form.parse(text), expected)
    except BulkheadError:
        return False


def _splice(before: str, after: str) -> Splice:
    """The difference between two texts, as whole lines."""
    start = common(before, after)
    end = common(before[start:][::-1], after[start:][::-1])
    start = before.rfind("\n", 0, start) + 1
    # At most up to the end of the line, and never back into what differs.
    newline = before.find("\n", len(before) - end - 1) if end else -1
    end = len(before) - newline - 1 if newline >= 0 else 0
    return Splice(at=start, put_in=after[start : len(after) - end], stood=before[start : len(before) - end])


def common(one: str, other: str) -> int:
    """The length of what two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def _unspliced(text: str, splices: Sequence[Splice]) -> str | None:
    """`text` with the splices taken back, each where it was put or at the one other place where it is now."""
    if not splices:
        return None
    for splice in reversed(splices):
        at = splice.at
        if not text.startswith(splice.put_in, at):
            at = text.find(splice.put_in)
            if at < 0 or text.find(splice.put_in, at + 1) >= 0:
                return None
        text = text[:at] + splice.stood + text[at + len(splice.put_in) :]
    return text
