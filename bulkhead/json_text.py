"""Edits of a JSON document as text that leave every other byte alone. Pure, no I/O.

A document is read once into values that know where they stand; an edit is one splice between two such places. The
grammar is that of RFC 8259 as Go's encoding/json enforces it, since dockerd is who reads the result. Where Go is
lenient because it must choose (a key that stands twice, half a surrogate pair), the document is refused instead.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bulkhead.errors import BulkheadError

Path = Sequence[str]  # one key or more, the outermost first

_BOM = "\ufeff"
_BLANK = " \t\r\n"  # all that RFC 8259 counts as whitespace; str.isspace() knows more
_DEEPEST = 100  # nested objects and arrays; far from Python's limit on recursion, and from any real configuration
_HINT = "Correct it, then run again."
_LEAVES = json.JSONDecoder()
_SURROGATE = re.compile("[\ud800-\udfff]")
_LAST_LINE = re.compile(r"\r?\n[^\n]*\Z")
_INDENTED = re.compile(r"\n([ \t]+)\S")
_COMMENT = "a comment; JSON has no comments, dockerd would refuse the file"
_FOUND = {"//": _COMMENT, "/*": _COMMENT, "#": _COMMENT, "'": "a single quote"}
_KINDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


@dataclass(frozen=True)
class _Value:
    """A value and where its text stands; `members` are those of an object."""

    data: Any
    start: int
    end: int
    members: dict[str, _Member] = field(default_factory=dict)


@dataclass(frozen=True)
class _Member:
    """A key with its value. `before` is where the whitespace in front of the key starts, `start` is the key itself."""

    before: int
    start: int
    value: _Value


@dataclass(frozen=True)
class _Layout:
    """How the members of an object are written.

    `gap` stands before each of them: a line break with the indentation, or what follows the comma on one line.
    """

    gap: str
    colon: str
    unit: str


def parse(text: str) -> dict[str, Any]:
    """What `text` means; blank text is an empty object, as dockerd reads it. A byte order mark in front is allowed.

    Raises BulkheadError with line and column for what is not JSON (comments, trailing commas and NaN are not), for a
    key that stands twice in one object (with both places), for half a surrogate pair, for numbers that are too large
    to be kept, and for what is nested deeper than 100 levels; and when the document is not an object.
    """
    _, body = _split(text)
    data: dict[str, Any] = _scan(body).data if body.strip(_BLANK) else {}
    return data


def put(text: str, path: Path, value: Any) -> str:
    """`text` with `value`, made of what `parse` returns, at `path`.

    The same text when an equal value of the same type is there. A value that differs is replaced where it stands; a
    new member follows the last one of its object, together with the parents that are missing. Line breaks,
    indentation and spaces are like those around; blank text becomes a file with four spaces of indentation.

    Raises BulkheadError as `parse` does, and when a parent is not an object; ValueError or TypeError, as json.dumps
    does, for a value that JSON does not have.
    """
    bom, body = _split(text)
    if not body.strip(_BLANK):
        body = "{}" + _newline(body)
    indented = _INDENTED.search(body)
    layout = _Layout(gap="\n", colon=": ", unit=indented[1] if indented else "    ")
    found = _scan(body)
    for depth, key in enumerate(path):
        if not isinstance(found.data, dict):
            where = ".".join(path[:depth])
            raise _error(body, found.start, f"{where}: expected an object, not {_KINDS[type(found.data)]}")
        layout = _layout(body, found, layout)
        if key not in found.members:
            for child in reversed(path[depth + 1 :]):
                value = {child: value}
            return bom + _insert(body, found, layout, _dump(key) + layout.colon + _render(value, layout))
        found = found.members[key].value
    if _dump(found.data, sort_keys=True) == _dump(value, sort_keys=True):  # `==` takes 1, 1.0 and True for one value
        return text
    return bom + body[: found.start] + _render(value, _layout_in_place(body, found, layout)) + body[found.end :]


def drop(text: str, path: Path) -> str:
    """`text` without the member at `path`; the same text when there is none.

    It undoes `put`: after a new member was put at `path`, dropping the first key on it that was new gives the text of
    before, byte for byte, also when the object was empty with whitespace inside. Only blank text does not come back:
    what is left is an empty object, and whether to keep a file that says nothing is for the caller to know.

    Raises BulkheadError as `parse` does.
    """
    bom, body = _split(text)
    if not body.strip(_BLANK):
        return text
    *parents, last = path
    holder = _scan(body)
    for key in parents:
        if key not in holder.members:
            return text
        holder = holder.members[key].value
    if last not in holder.members:
        return text
    member = holder.members[last]
    members = list(holder.members.values())
    place = list(holder.members).index(last)
    if place > 0:
        start, end = members[place - 1].value.end, member.value.end
    elif len(members) > 1:
        start, end = member.start, members[1].start
    else:
        # What `_insert` found inside the empty object stands in front of the line break that it added.
        start = member.before + len(_LAST_LINE.sub("", body[member.before : member.start]))
        end = holder.end - 1
    return bom + body[:start] + body[end:]


def _insert(text: str, holder: _Value, layout: _Layout, member: str) -> str:
    """`text` with `member` as the last one of `holder`."""
    if holder.members:
        at = list(holder.members.values())[-1].value.end
        return text[:at] + "," + layout.gap + member + text[at:]
    at = holder.end - 1
    if "\n" in layout.gap:
        member = layout.gap + member + layout.gap.removesuffix(layout.unit)
    else:
        member += text[holder.start + 1 : at]  # `{ }` has the same space on both sides
    return text[:at] + member + text[at:]


def _layout(text: str, holder: _Value, around: _Layout) -> _Layout:
    """How the members of `holder` are written; `around` is the layout of the object that it stands in."""
    margin = _margin(text, holder.start)
    members = list(holder.members.values())
    if not members:
        inside = text[holder.start + 1 : holder.end - 1]
        on_lines = "\n" in (inside or around.gap)
        return replace(around, gap=_newline(text) + margin + around.unit if on_lines else "")
    colon = ":" if text[members[-1].value.start - 1] == ":" else ": "
    gaps = [text[member.before : member.start] for member in members]
    lines = [line[0] for gap in gaps if (line := _LAST_LINE.search(gap))]
    if lines:
        indent = lines[-1].rpartition("\n")[2]
        deeper = indent[len(margin) :] if indent.startswith(margin) else ""
        return _Layout(gap=lines[-1], colon=colon, unit=deeper or around.unit)
    return _Layout(gap=gaps[-1] if len(gaps) > 1 else colon[1:], colon=colon, unit=around.unit)


def _layout_in_place(text: str, old: _Value, around: _Layout) -> _Layout:
    """How to write what replaces `old`: an object or array as it was, on one line or several, all else as `around`."""
    is_container = isinstance(old.data, dict | list) and old.data
    model = text[old.start : old.end] if is_container else around.gap
    return replace(around, gap=_newline(text) + _margin(text, old.start) if "\n" in model else "")


def _render(value: Any, layout: _Layout) -> str:
    if "\n" not in layout.gap:
        return _dump(value, separators=("," + layout.colon[1:], layout.colon))
    lines = _dump(value, separators=(",", layout.colon), indent=layout.unit)
    return lines.replace("\n", layout.gap)  # no line break of a string: those are escaped


def _dump(value: Any, **how: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, **how)


def _split(text: str) -> tuple[str, str]:
    body = text.removeprefix(_BOM)
    return text[: len(text) - len(body)], body


def _newline(text: str) -> str:
    # Any carriage return will do: `drop` could not tell a lone one in an empty object from the start of a line break.
    return "\r\n" if "\r" in text else "\n"


def _margin(text: str, at: int) -> str:
    """The indentation of the line in which `at` stands."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _scan(text: str) -> _Value:
    """The object that is the whole of `text`."""
    root = _value(text, _skip(text, 0), 1)
    end = _skip(text, root.end)
    if end < len(text):
        raise _unexpected(text, end, "the end of the text")
    if not isinstance(root.data, dict):
        raise _error(text, root.start, f"expected an object, not {_KINDS[type(root.data)]}")
    return root


def _value(text: str, at: int, depth: int) -> _Value:
    scan = {"{": _object, "[": _array}.get(text[at : at + 1])
    if scan is None:
        return _leaf(text, at)
    if depth > _DEEPEST:
        raise _error(text, at, f"nested deeper than {_DEEPEST} levels")
    return scan(text, at, depth)


def _object(text: str, start: int, depth: int) -> _Value:
    members: dict[str, _Member] = {}
    before = start + 1
    at = _skip(text, before)
    if text.startswith("}", at):
        return _Value({}, start, at + 1)
    while True:
        if not text.startswith('"', at):
            raise _unexpected(text, at, "a key in double quotes")
        key = _leaf(text, at)
        if key.data in members:
            places = f"{_place(text, members[key.data].start)} and {_place(text, at)}"
            raise BulkheadError(f"the key {key.data!r} stands twice in one object ({places})", hint=_HINT)
        colon = _skip(text, key.end)
        if not text.startswith(":", colon):
            raise _unexpected(text, colon, "':'")
        value = _value(text, _skip(text, colon + 1), depth + 1)
        members[key.data] = _Member(before, at, value)
        at = _skip(text, value.end)
        if text.startswith("}", at):
            return _Value({key: member.value.data for key, member in members.items()}, start, at + 1, members)
        if not text.startswith(",", at):
            raise _unexpected(text, at, "',' or '}'")
        before = at + 1
        at = _skip(text, before)


def _array(text: str, start: int, depth: int) -> _Value:
    items: list[Any] = []
    at = _skip(text, start + 1)
    if text.startswith("]", at):
        return _Value(items, start, at + 1)
    while True:
        item = _value(text, at, depth + 1)
        items.append(item.data)
        at = _skip(text, item.end)
        if text.startswith("]", at):
            return _Value(items, start, at + 1)
        if not text.startswith(",", at):
            raise _unexpected(text, at, "',' or ']'")
        at = _skip(text, at + 1)


def _leaf(text: str, at: int) -> _Value:
    """The string, number, true, false or null at `at`, as the library reads it, without its extensions."""
    try:
        data, end = _LEAVES.raw_decode(text, at)
    except json.JSONDecodeError as error:
        if text.startswith('"', at):
            raise _error(text, error.pos, f"not valid JSON: {error.msg}") from error
        raise _unexpected(text, at, "a value") from error
    except ValueError as error:  # Python's limit on the digits of an integer
        raise _error(text, at, "an integer of more digits than can be kept") from error
    if isinstance(data, float) and not math.isfinite(data):
        raise _error(text, at, f"not valid JSON: {text[at:end]:.20} is not a finite number")
    if isinstance(data, str) and _SURROGATE.search(data):
        raise _error(text, at, "a string with half a surrogate pair, which stands for no character")
    return _Value(data, at, end)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _unexpected(text: str, at: int, expected: str) -> BulkheadError:
    if at == len(text):
        found = "the end of the text"
    else:
        found = next((what for start, what in _FOUND.items() if text.startswith(start, at)), repr(text[at]))
    after = " after a comma" if text[:at].rstrip(_BLANK).endswith(",") else ""
    return _error(text, at, f"not valid JSON: expected {expected}{after}, found {found}")


def _error(text: str, at: int, message: str) -> BulkheadError:
    return BulkheadError(f"{message} ({_place(text, at)})", hint=_HINT)


def _place(text: str, at: int) -> str:
    line, start = text.count("\n", 0, at) + 1, text.rfind("\n", 0, at)
    return f"line {line}, column {at - start}"
