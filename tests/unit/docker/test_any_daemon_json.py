"""Whatever stands in daemon.json: it gets our runtimes and our default, keeps all else, and can be given back."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead import json_text
from bulkhead.errors import BulkheadError
from bulkhead.registration import Ledger, Record
from bulkhead.toml_text import same
from deploys.docker.daemon import merge
from tests.unit.docker.cases import ENTRIES, NOTHING, Wanted, wanted
from tests.unit.helpers import on_host
from tests.unit.json_documents import BOM, blank_files, daemon_data, daemon_texts

Files = st.SearchStrategy[str | None]

OUR_NAMES = list(ENTRIES)
FILES: Files = st.one_of(daemon_texts(daemon_data()), daemon_texts(daemon_data(odd=False)), blank_files)


def meaning(text: str | None) -> dict[str, Any]:
    """What the library reads: not our own parser."""
    body = (text or "").removeprefix(BOM)
    found: dict[str, Any] = json.loads(body) if body.strip() else {}
    return found


def ordered(data: object) -> str:
    return json.dumps(data, ensure_ascii=False)


def register(text: str | None, want: Wanted, record: Record | None = None) -> tuple[str | None, Record]:
    return merge(text, want.runtimes, want.default, record=record)


def remembered(record: Record) -> Record:
    """The record as the next run reads it from the host."""
    return on_host(Ledger(files={"/etc/docker/daemon.json": record})).files["/etc/docker/daemon.json"]


def registered(before: dict[str, Any], want: Wanted) -> dict[str, Any]:
    """What must come out, key by key in order."""
    after = deepcopy(before)
    for name in want.names:
        after.setdefault("runtimes", {})[name] = ENTRIES[name]
    if want.default is not None:
        after["default-runtime"] = want.default
    return after


def is_part_of(part: str, whole: str) -> bool:
    """Whether `whole` is `part` with something put in."""
    characters = iter(whole)
    return all(character in characters for character in part)


def check_any_file(text: str | None, want: Wanted) -> None:
    before = meaning(text)
    if want.runtimes and not isinstance(before.get("runtimes", {}), dict):
        with pytest.raises(BulkheadError, match=r"^/etc/docker/daemon\.json: runtimes: expected an object, not "):
            register(text, want)
        return
    after, record = register(text, want)
    assert ordered(meaning(after)) == ordered(registered(before, want))
    if (text or "").strip(BOM + " \t\r\n") and "default-runtime" not in before:
        assert is_part_of(text or "", after or "")
    if want == NOTHING:
        assert (after, record) == (text, Record())
    assert remembered(record) == record
    assert register(after, want, record) == (after, record)
    assert register(after, NOTHING, record) == (text, Record())


@settings(max_examples=2000)
@given(FILES, wanted)
def test_any_file(text: str | None, want: Wanted) -> None:
    check_any_file(text, want)


@pytest.mark.long
@settings(max_examples=50_000)
@given(FILES, wanted)
def test_any_file_at_length(text: str | None, want: Wanted) -> None:
    check_any_file(text, want)


@st.composite
def with_ours(draw: st.DrawFn) -> dict[str, Any]:
    """What a file means that has something under our names already, such as what `runsc install` put there."""
    data = draw(daemon_data(odd=False))
    runtimes = dict(data.get("runtimes", {}))
    for name in draw(st.lists(st.sampled_from(OUR_NAMES), min_size=1, unique=True)):
        runtimes[name] = draw(st.sampled_from([ENTRIES[name], {"path": "/home/dev/runsc"}, None, {}, "x"]))
    defaults = st.sampled_from([{"default-runtime": name} for name in OUR_NAMES] + [{}])
    data = {**data, "runtimes": dict(draw(st.permutations(list(runtimes.items())))), **draw(defaults)}
    return dict(draw(st.permutations(list(data.items()))))


@settings(max_examples=250)
@given(daemon_texts(with_ours()), wanted)
def test_what_stands_under_our_names_becomes_ours(text: str, want: Wanted) -> None:
    before = meaning(text)
    after, record = register(text, want)
    expected = registered(before, want)
    assert same(meaning(after), expected)
    assert list(meaning(after)) == list(expected)
    assert list(meaning(after)["runtimes"]) == list(expected["runtimes"])
    assert register(after, want, remembered(record)) == (after, record)
    if same(before, expected):
        assert after == text
    default = before.get("default-runtime")
    if want.default is None and default in want.names:
        with pytest.raises(BulkheadError, match=r"default-runtime is '[\w-]+', which has to go"):
            register(after, NOTHING, record)
        return
    left, nothing = register(after, NOTHING, record)
    for name in want.names:
        del expected["runtimes"][name]
    expected = {**expected, "runtimes": {k: v for k, v in before["runtimes"].items() if k not in want.names}}
    if want.default is not None:
        del expected["default-runtime"]
        if default is not None and default not in want.names:
            expected["default-runtime"] = default
    assert same(meaning(left), expected)
    assert nothing == Record()
    if not set(want.names) & {*before["runtimes"], default}:
        assert left == text


# What a user may do to the file between two runs


def _put(text: str, path: list[str], value: object) -> str:
    return json_text.put(text, path, value)


EDITS: dict[str, Callable[[str], str]] = {
    "a key": lambda text: _put(text, ["mtu"], 1400),
    "a key in front": lambda text: (
        text.replace("{", '{ "ip": "::",\n', 1) if meaning(text) and "ip" not in meaning(text) else text
    ),
    "a key goes": lambda text: json_text.drop(text, ["debug"]),
    "another layout": lambda text: json.dumps(meaning(text), indent=3),
    "one line": lambda text: json.dumps(meaning(text), separators=(",", ":"), ensure_ascii=False) + "\n",
    "carriage returns": lambda text: text.replace("\r\n", "\n").replace("\n", "\r\n"),
    "a runtime": lambda text: _put(text, ["runtimes", "mine"], {"path": "/usr/bin/mine"}),
    "inside our entry": lambda text: (
        _put(text, ["runtimes", "runsc", "path"], "/home/dev/runsc")
        if "runsc" in meaning(text).get("runtimes", {})
        else text
    ),
    "our entry is another": lambda text: (
        _put(text, ["runtimes", "kata"], {}) if "kata" in meaning(text).get("runtimes", {}) else text
    ),
    "our entry goes": lambda text: json_text.drop(text, ["runtimes", "runsc"]),
    "the default": lambda text: _put(text, ["default-runtime"], "mine"),
    "no default": lambda text: json_text.drop(text, ["default-runtime"]),
    "nothing": lambda text: text,
}


def given_back(data: dict[str, Any], before: dict[str, Any], want: Wanted) -> dict[str, Any]:
    """`data` without what `want` put into a file that meant `before`."""
    left = deepcopy(data)
    if want.default is not None and same(left.get("default-runtime"), want.default):
        del left["default-runtime"]
        if "default-runtime" in before:
            left["default-runtime"] = before["default-runtime"]
    ours = [name for name in want.names if name in left.get("runtimes", {})]
    for name in ours:
        del left["runtimes"][name]
    if ours and not left["runtimes"] and "runtimes" not in before:
        del left["runtimes"]
    return left


def check_edits(text: str | None, steps: list[tuple[Wanted, list[str]]]) -> None:
    record = Record()
    base = meaning(text)
    for want, edits in steps:
        text, record = register(text, want, remembered(record))
        assert same(meaning(text), registered(base, want))
        assert register(text, want, remembered(record)) == (text, record)
        for edit in edits:
            text = text if text is None else EDITS[edit](text)
        base = given_back(meaning(text), base, want)
    left, record = register(text, NOTHING, remembered(record))
    assert same(meaning(left), base)
    assert record == Record()


STEPS = st.lists(st.tuples(wanted, st.lists(st.sampled_from(list(EDITS)), max_size=2)), min_size=1, max_size=4)
EDITED: Files = st.one_of(daemon_texts(daemon_data(odd=False)), blank_files)


@settings(max_examples=350)
@given(EDITED, STEPS)
def test_what_a_user_does_between_two_runs_survives(text: str | None, steps: list[tuple[Wanted, list[str]]]) -> None:
    check_edits(text, steps)


@pytest.mark.long
@settings(max_examples=10_000)
@given(EDITED, STEPS)
def test_what_a_user_does_between_two_runs_survives_at_length(
    text: str | None, steps: list[tuple[Wanted, list[str]]]
) -> None:
    check_edits(text, steps)
