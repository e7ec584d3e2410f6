"""Edits of a TOML document as text that leave every other byte alone. Pure, no I/O.

`tomllib` says what a text means, before and after each edit; the scanner here only finds where things stand, which no
library tells. tomlkit, which edits documents as objects, writes some tables into the wrong place where keys are dotted;
here it renders the values.

Source of the grammar: TOML 1.0.0.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import tomlkit

from bulkhead.errors import BulkheadError

Keys = tuple[str, ...]

_SPACE = re.compile(r"[ \t]*+")
_BETWEEN = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_KEY = re.compile(r"""[A-Za-z0-9_-]++|"(?:[^"\\]|\\.)*+"|'[^']*+'""")
_STRING = re.compile(
    r'''"""(?:[^"\\]|\\.|"{1,2}(?!"))*+"{3,5}|\'\'\'(?:[^']|'{1,2}(?!'))*+'{3,5}|"(?:[^"\\]|\\.)*+"|'[^']*+\'''',
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\r\n]++")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

_DEEPEST = 100
"""Tables and arrays inside each other; no configuration comes near, and Python's own limit lies not far above."""

_NOTHING = object()


@dataclass(frozen=True)
class _Pair:
    """A key with its value, in an inline table: the whole path, where the key starts, the span of the value."""

    keys: Keys
    start: int
    value: int
    stop: int


@dataclass(frozen=True)
class _Statement(_Pair):
    """A key with its value, or a header (its path is its section), with `start` and `end` of its lines."""

    section: Keys
    end: int
    indent: str

    @property
    def is_header(self) -> bool:
        return self.keys == self.section


@lru_cache(maxsize=8)
def parse(text: str) -> dict[str, Any]:
    """What `text` means; not to be changed, since it is kept: reading a text takes longer than all else that edits it.

    Raises BulkheadError with line and column when it is not TOML, or is nested too deeply to be worked with.
    """
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # Also a number of more digits than Python reads.
        raise BulkheadError(f"not valid TOML: {error}", hint="Correct it, then run again.") from error
    inside: list[Any] = [document]
    for _ in range(_DEEPEST):
        inside = [value for outer in inside for value in _values(outer) if isinstance(value, dict | list)]
        if not inside:
            return document
    raise _too_deep()


def put(text: str, path: Sequence[str], value: Any, comment: str = "") -> str:
    """`text` with `value` at `path`; the same text when it is there already.

    A table is brought to hold exactly `value`, key by key, so that what stays in it keeps its lines and comments. A new
    one follows the way its parent is written: sections are appended at the end, dotted keys and inline tables are
    continued. `comment` goes into a section that is new.

    Raises BulkheadError when `text` is not TOML, something on `path` is not a table, or the edit would not leave all
    else as it means.
    """
    before = parse(text)
    there: Any = before
    for depth, key in enumerate(path):
        if not isinstance(there, dict):
            raise BulkheadError(
                f"{dotted(path[:depth])}: expected a table, found {render(there)}", hint="Correct it, then run again."
            )
        there = there.get(key, _NOTHING)
        if there is _NOTHING:
            break
    keys = tuple(path)
    after = _brought(text, keys, there, value, comment)
    if after == text or _means(after, _with(before, keys, value)):
        return after
    raise _no_way(keys)


def drop(text: str, path: Sequence[str]) -> str:
    """`text` without what stands at `path`, and without the lines and commas that held it; the same when nothing does.

    A parent that only this path brought into being goes with it, and so do comments in the lines of a value and between
    the lines of sections that go. All other comments stay.

    Raises BulkheadError as `put` does.
    """
    before = parse(text)
    keys = tuple(path)
    there: Any = before
    for key in keys:
        if not isinstance(there, dict) or key not in there:
            return text
        there = there[key]
    after = _without(text, keys)
    if _means(after, _with(before, keys, {}), pruned=keys):
        return after
    raise _no_way(keys)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same types: in TOML 1, 1.0 and true are three, and nan is itself."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other or (one != one and other != other))


def dotted(path: Sequence[str]) -> str:
    """`path` as a TOML key."""
    return ".".join(key if _BARE_KEY.fullmatch(key) else tomlkit.string(key).as_string() for key in path)


def render(value: Any) -> str:
    """`value` on one line."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{dotted([key])} = {render(inner)}" for key, inner in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(render(inner) for inner in value)}]"
    try:
        return str(tomlkit.item(value).as_string())
    except ValueError:  # Python writes a number of thousands of digits in no other way.
        return hex(value)


# The edits


def _brought(text: str, keys: Keys, there: Any, value: Any, comment: str = "") -> str:
    """`text` with `value` at `keys`, where `there` is now."""
    if there is _NOTHING:
        return _add(text, keys, value, comment)
    if same(there, value):
        return text
    if isinstance(there, dict) and isinstance(value, Mapping) and value:
        # What is new comes first: a table without keys might be no more.
        for key, inner in value.items():
            text = _brought(text, (*keys, key), there.get(key, _NOTHING), inner)
        for key in there:
            if key not in value:
                text = _without(text, (*keys, key))
        return text
    written = _innermost(text, keys)
    if written and written.keys == keys:
        return text[: written.value] + render(value) + text[written.stop :]
    return _add(_without(text, keys), keys, value, comment)


def _add(text: str, keys: Keys, value: Any, comment: str) -> str:
    """`text` with `value` at `keys`, where nothing is, in the way the innermost table around it is written."""
    table = _innermost(text, keys)
    if table:
        return _add_to_inline(text, table, keys[len(table.keys) :], value)

    statements = _statements(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    parent = keys[: max((_common(statement.keys, keys) for statement in statements), default=0)]
    below = [s for s in statements if _starts(s.keys, parent) and not s.is_header and len(s.section) < len(parent)]
    if below:
        # A table that dotted keys made can't be named in a header.
        last = below[-1]
        lines = [
            f"{last.indent}{dotted(leaf[len(last.section) :])} = {render(inner)}"
            for leaf, inner in _leaves(keys, value)
        ]
        return _insert(text, last.end, newline.join(lines), newline)

    own = [s for s in statements if s.section == parent]
    if not isinstance(value, Mapping) and parent == keys[:-1] and (own or not parent):
        pair = f"{dotted(keys[-1:])} = {render(value)}"
        if not own:
            return _insert(text, 0, pair, newline)
        last = own[-1]
        return _insert(text, last.end, last.indent + ("  " if last.is_header else "") + pair, newline)

    if not isinstance(value, Mapping):
        keys, value = keys[:-1], {keys[-1]: value}
    above = [""] if text.endswith("\n") else ["", ""] if text else []
    return text + newline.join([*above, *_section(keys, value, "", comment), ""])


def _add_to_inline(text: str, table: _Pair, keys: Keys, value: Any) -> str:
    pair = f"{dotted(keys)} = {render(value)}"
    members = list(_members(text, table))
    if members:
        at = members[-1].stop
        return f"{text[:at]}, {pair}{text[at:]}"
    at = table.value + 1
    return f"{text[:at]} {pair}{' ' if text[at] == '}' else ''}{text[at:]}"


def _section(keys: Keys, value: Mapping[str, Any], indent: str, comment: str) -> Iterator[str]:
    yield f"{indent}[{dotted(keys)}]"
    if comment:
        yield f"{indent}  # {comment}"
    for key, inner in value.items():
        if not isinstance(inner, Mapping):
            yield f"{indent}  {dotted([key])} = {render(inner)}"
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _section((*keys, key), inner, indent + "  ", "")


def _leaves(keys: Keys, value: Any) -> Iterator[tuple[Keys, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves((*keys, key), inner)
    else:
        yield keys, value


def _insert(text: str, at: int, lines: str, newline: str) -> str:
    """`text` with `lines` at `at`, the beginning of a line or the end of the text."""
    if at and text[at - 1] != "\n":
        return f"{text[:at]}{newline}{lines}{text[at:]}"
    return f"{text[:at]}{lines}{newline}{text[at:]}"


def _without(text: str, keys: Keys) -> str:
    """`text` without what stands at `keys`, which is there."""
    kept = []
    position = 0
    for start, end in _spans(text, keys):
        kept.append(text[position:start])
        position = end
    return "".join([*kept, text[position:]])


def _spans(text: str, keys: Keys) -> Iterator[tuple[int, int]]:
    """The pieces of the text that hold what stands at `keys`, in their order."""
    table = _innermost(text, keys[:-1])
    if table:
        yield from _inline_spans(list(_members(text, table)), keys)
        return
    spans: list[tuple[int, int]] = []
    in_section = False
    for statement in _statements(text):
        goes_on = in_section
        in_section = _starts(statement.section, keys)
        if _starts(statement.keys, keys):
            # Sections of one table, one after the other, go as one piece.
            joins = spans and (spans[-1][1] == statement.start or (goes_on and in_section))
            start = spans.pop()[0] if joins else statement.start
            spans.append((start, statement.end))
    for start, end in spans:
        yield _with_blank_line(text, start, end)


def _with_blank_line(text: str, start: int, end: int) -> tuple[int, int]:
    """The span of lines with the empty one above them, where that would be left without use."""
    if start and (end == len(text) or text[end] in "\r\n"):
        above = text.rfind("\n", 0, start - 1) + 1
        if not text[above:start].strip():
            return above, end
    return start, end


def _inline_spans(members: Sequence[_Pair], keys: Keys) -> Iterator[tuple[int, int]]:
    """The pieces of an inline table that hold `keys`, with the commas that it needs no more."""
    stays = False
    for number, member in enumerate(members):
        if not _starts(member.keys, keys):
            stays = True
        elif stays:
            yield members[number - 1].stop, member.stop
        else:
            yield member.start, members[number + 1].start if number + 1 < len(members) else member.stop


# Where things stand


def _innermost(text: str, keys: Keys) -> _Pair | None:
    """The value at `keys` or else the innermost inline table around it, where there is one."""
    found: _Pair | None = None
    pairs: Sequence[_Pair] = [statement for statement in _statements(text) if not statement.is_header]
    while True:
        on_the_way = [pair for pair in pairs if _starts(keys, pair.keys)]
        if not on_the_way:
            return found
        found = on_the_way[0]
        if text[found.value] != "{":
            return found
        pairs = list(_members(text, found))


def _starts(keys: Keys, beginning: Keys) -> bool:
    return keys[: len(beginning)] == beginning


def _common(one: Keys, other: Keys) -> int:
    """How many keys two paths begin with alike."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


# The scanner: it is given valid TOML only


@lru_cache(maxsize=4)
def _statements(text: str) -> tuple[_Statement, ...]:
    return tuple(_scan(text))


def _scan(text: str) -> Iterator[_Statement]:
    section: Keys = ()
    position = 0
    while True:
        position = _match(_BETWEEN, text, position)
        if position == len(text):
            return
        start = text.rfind("\n", 0, position) + 1
        indent = text[start:position]
        if text[position] == "[":
            width = 2 if text.startswith("[[", position) else 1
            section, position = _keys(text, position + width)
            end = _line_end(text, position)
            yield _Statement(section, start, position, position, section, end, indent)
        else:
            keys, position = _keys(text, position)
            value = _match(_SPACE, text, position + 1)
            stop = _value_end(text, value)
            end = _line_end(text, stop)
            yield _Statement((*section, *keys), start, value, stop, section, end, indent)
        position = end


def _keys(text: str, position: int) -> tuple[Keys, int]:
    """The dotted key at `position`, and the position of what follows it."""
    keys = []
    while True:
        position = _match(_SPACE, text, position)
        end = _match(_KEY, text, position)
        keys.append(_key(text[position:end]))
        position = _match(_SPACE, text, end)
        if not text.startswith(".", position):
            return tuple(keys), position
        position += 1


def _key(raw: str) -> str:
    if raw[0] == '"' and "\\" in raw:
        return str(tomllib.loads(f"key = {raw}")["key"])
    return raw[1:-1] if raw[0] in "\"'" else raw


def _members(text: str, table: _Pair) -> Iterator[_Pair]:
    """The members of an inline table."""
    position = _match(_BETWEEN, text, table.value + 1)
    while text[position] != "}":
        start = position
        keys, position = _keys(text, position)
        value = _match(_SPACE, text, position + 1)
        stop = _value_end(text, value)
        yield _Pair((*table.keys, *keys), start, value, stop)
        position = _after_comma(text, stop)


def _value_end(text: str, position: int) -> int:
    opening = text[position]
    if opening in "\"'":
        return _match(_STRING, text, position)
    if opening not in "[{":
        end = _match(_SCALAR, text, position)
        return position + len(text[position:end].rstrip())
    position = _match(_BETWEEN, text, position + 1)
    while text[position] not in "]}":
        if opening == "{":
            _, position = _keys(text, position)
            position = _match(_SPACE, text, position + 1)
        position = _after_comma(text, _value_end(text, position))
    return position + 1


def _after_comma(text: str, position: int) -> int:
    """Where the next value, or the closing bracket, stands after the value that ends at `position`."""
    position = _match(_BETWEEN, text, position)
    return _match(_BETWEEN, text, position + 1) if text[position] == "," else position


def _line_end(text: str, position: int) -> int:
    newline = text.find("\n", position)
    return len(text) if newline < 0 else newline + 1


def _match(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Where the match of `pattern` at `position` ends; what valid TOML has there always matches."""
    match = pattern.match(text, position)
    assert match, f"unexpected at {position}: {text[position : position + 40]!r}"
    return match.end()


# What an edit has to mean


def _means(text: str, expected: Mapping[str, Any], pruned: Keys = ()) -> bool:
    """Whether `text` means what is expected, empty tables along `pruned` aside."""
    try:
        return same(_pruned(parse(text), pruned), _pruned(expected, pruned))
    except BulkheadError:
        return False


def _with(table: Mapping[str, Any], keys: Keys, value: Any) -> Any:
    return {**table, keys[0]: _with(table.get(keys[0], {}), keys[1:], value)} if keys else value


def _pruned(document: Mapping[str, Any], keys: Keys) -> Mapping[str, Any]:
    """`document` without empty tables along `keys`: whether a header is still needed to name them differs by layout."""
    if not keys or not isinstance(document.get(keys[0]), dict):
        return document
    inner = _pruned(document[keys[0]], keys[1:])
    return {**{key: value for key, value in document.items() if key != keys[0]}, **({keys[0]: inner} if inner else {})}


def _values(value: Any) -> Iterator[Any]:
    return iter(value.values() if isinstance(value, dict) else value)


def _too_deep() -> BulkheadError:
    return BulkheadError("not valid TOML: nested too deeply", hint="Correct it, then run again.")


def _no_way(keys: Keys) -> BulkheadError:
    return BulkheadError(
        f"{dotted(keys)}: the file's layout leaves no way to change this without changing other settings",
        hint="Write this part of the file as ordinary sections, then run again; nothing was changed.",
    )
