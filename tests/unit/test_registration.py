"""Our settings in a user's file: put in, recognised in a later run, and taken out so that nothing is left of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from bulkhead.errors import BulkheadError
from bulkhead.look import FoundFile, Look
from bulkhead.registration import (
    JSON,
    TOML,
    Format,
    Ledger,
    Record,
    Recorded,
    Setting,
    Splice,
    _splice,
    _unspliced,
    apply,
    common,
    in_file,
    ledger_of,
    ledger_path,
    undo,
)
from bulkhead.toml_text import same
from tests.unit import json_documents, toml_documents
from tests.unit.helpers import on_host
from tests.unit.toml_documents import ENGINE

A, B = {"path": "/usr/bin/a", "args": ["--x=ß"]}, {"path": "/usr/bin/b"}


def entries(**values: Any) -> list[Setting]:
    """Entries of the table `runtimes`; `default` is the key beside it, which returns."""
    return [
        Setting(("default",), value, returns=True) if name == "default" else Setting(("runtimes", name), value)
        for name, value in values.items()
    ]


def put_in(form: Format, text: str | None, *wanted: Setting, record: Record | None = None, initial: str = "") -> Any:
    return apply(form, text, lambda _: wanted, record or Record(), initial)


def meaning(form: Format, text: str | None) -> dict[str, Any]:
    return form.parse(text or "")


TOML_TEXT = """\
# The user's file
version = 2   # ours to keep

[runtimes.crun]
path = '/usr/bin/crun'
"""
JSON_TEXT = '{\n  "version":2,\n  "runtimes": {\n    "crun": {"path":"/usr/bin/crun"}\n  }\n}\n'
BOTH = pytest.mark.parametrize(("form", "text"), [(TOML, TOML_TEXT), (JSON, JSON_TEXT)], ids=["TOML", "JSON"])
BASE = {"version": 2, "runtimes": {"crun": {"path": "/usr/bin/crun"}}}


# Put in and taken out


@BOTH
def test_settings_are_put_in_and_taken_out_byte_for_byte(form: Format, text: str) -> None:
    after, record = put_in(form, text, *entries(a=A, b=B, default="a"))
    assert meaning(form, after) == {
        "version": 2,
        "runtimes": {"crun": {"path": "/usr/bin/crun"}, "a": A, "b": B},
        "default": "a",
    }
    assert record.names("runtimes") == ["a", "b"]
    assert record.names("default") == record.names("version") == []
    assert [len(record.settings), len(record.splices), record.created] == [3, 3, False]
    assert put_in(form, after, *entries(a=A, b=B, default="a"), record=record) == (after, record)
    assert undo(form, after, record) == text
    assert put_in(form, after, record=record) == (text, Record())


@BOTH
def test_nothing_is_wanted_and_nothing_happens(form: Format, text: str) -> None:
    assert put_in(form, text) == (text, Record())
    assert put_in(form, None) == (None, Record())
    assert undo(form, text, Record()) == text
    assert undo(form, None, Record()) is None


@BOTH
def test_what_is_wanted_is_asked_with_what_the_file_means_without_ours(form: Format, text: str) -> None:
    asked: list[dict[str, Any]] = []

    def wanted(base: dict[str, Any]) -> list[Setting]:
        asked.append(base)
        return entries(a=A, default="a")

    after, record = apply(form, text, wanted, Record())
    apply(form, after, wanted, record)
    assert asked == [BASE, BASE]


@BOTH
def test_a_file_that_was_made_goes_and_one_that_was_blank_stays(form: Format, text: str) -> None:
    after, record = put_in(form, None, *entries(a=A))
    assert record.created
    assert undo(form, after, record) is None
    for blank in ("", "\n", " \n\n"):
        after, record = put_in(form, blank, *entries(a=A))
        assert not record.created
        assert undo(form, after, record) == blank
    assert text


def test_a_new_file_begins_with_the_initial_text() -> None:
    after, record = put_in(TOML, None, *entries(a=B), initial="version = 2\n")
    assert after == 'version = 2\n\n[runtimes.a]\n  path = "/usr/bin/b"\n'
    assert record.created
    assert put_in(TOML, after, *entries(a=B), record=record, initial="version = 2\n") == (after, record)
    assert undo(TOML, after, record, "version = 2\n") is None
    assert undo(TOML, after + "# mine\n", record, "version = 2\n") == "version = 2\n# mine\n"
    # Not made by us: that it looks the same makes no difference.
    after, record = put_in(TOML, "version = 2\n", *entries(a=B), initial="version = 2\n")
    assert undo(TOML, after, record, "version = 2\n") == "version = 2\n"
    after, record = put_in(TOML, "", *entries(a=B), initial="version = 2\n")
    assert "version" not in after
    assert undo(TOML, after, record, "version = 2\n") == ""


def test_a_file_that_was_made_goes_too_when_somebody_wrote_it_anew() -> None:
    after, record = put_in(JSON, None, *entries(a=A, default="a"))
    assert undo(JSON, json.dumps(json.loads(after)), record) is None
    after, record = put_in(TOML, None, *entries(a=B, default="a"), initial="version = 2\n")
    edited = 'version = 2\ndefault = "a"\n[runtimes]\na = { path = "/usr/bin/b" }\n'
    assert undo(TOML, edited, record, "version = 2\n") is None


# What somebody edits between two runs


@BOTH
def test_edits_elsewhere_survive(form: Format, text: str) -> None:
    after, record = put_in(form, text, *entries(a=A, default="a"))
    in_front = {TOML: ("# The user's file\n", "# The user's file\nnew = 1\n"), JSON: ("{\n", '{\n  "new": 1,\n')}[form]
    edited = after.replace(*in_front, 1)
    assert meaning(form, edited)["new"] == 1
    assert undo(form, edited, record) == text.replace(*in_front, 1)
    again, second = put_in(form, edited, *entries(a=A, default="a"), record=record)
    assert again == edited
    assert undo(form, again, second) == text.replace(*in_front, 1)


def test_the_same_lines_in_two_places_are_told_apart_by_what_they_mean() -> None:
    text = '{\n  "one": {\n    "runtimes": {\n      "b": 1\n    }\n  },\n  "runtimes": {\n    "b": 1\n  }\n}\n'
    after, record = put_in(JSON, text, *entries(a=1))
    assert undo(JSON, after, record) == text
    # The lines stand now twice, neither where they were put: each is found by its path.
    edited = after.replace(
        '"one": {\n    "runtimes": {\n', '"zero": 0,\n  "one": {\n    "runtimes": {\n      "a": 1,\n'
    )
    left = undo(JSON, edited, record)
    assert meaning(JSON, left) == {"zero": 0, "one": {"runtimes": {"a": 1, "b": 1}}, "runtimes": {"b": 1}}


def test_our_lines_under_another_key_are_somebody_else_s() -> None:
    after, record = put_in(JSON, '{\n  "runtimes": {\n    "b": 1\n  }\n}\n', *entries(a=1))
    for name in ("theirs", "Runtimes"):
        edited = after.replace('"runtimes"', f'"{name}"')
        assert undo(JSON, edited, record) == edited


@BOTH
def test_an_entry_of_ours_goes_whatever_became_of_it(form: Format, text: str) -> None:
    after, record = put_in(form, text, *entries(a=A))
    edited = after.replace("/usr/bin/a", "/home/dev/a")
    assert edited != after
    assert meaning(form, undo(form, edited, record)) == BASE
    assert put_in(form, edited, *entries(a=A), record=record)[0] == after
    assert undo(form, text, record) == text


@BOTH
def test_a_plain_value_that_was_changed_meanwhile_stays(form: Format, text: str) -> None:
    after, record = put_in(form, text, *entries(a=A, default="a"))
    edited = form.put(after, ["default"], "crun", "")
    left = undo(form, edited, record)
    assert meaning(form, left) == {**BASE, "default": "crun"}
    again, record = put_in(form, edited, *entries(a=A, default="a"), record=record)
    assert meaning(form, undo(form, again, record)) == {**BASE, "default": "crun"}


@pytest.mark.parametrize(("ours", "theirs"), [(True, 1), (1, True), (1, 1.0), ("1", 1)])
def test_a_value_of_another_type_is_another_value(ours: object, theirs: object) -> None:
    after, record = put_in(JSON, "{}", Setting(("default",), ours, returns=True))
    edited = JSON.put(after, ["default"], theirs, "")
    assert json.dumps(meaning(JSON, undo(JSON, edited, record))) == json.dumps({"default": theirs})


@BOTH
def test_what_stood_there_returns_only_where_it_should(form: Format, text: str) -> None:
    before = form.put(form.put(text, ["default"], "crun", ""), ["runtimes", "a"], {"old": 1}, "")
    after, record = put_in(form, before, *entries(a=A, default="a"))
    assert record.settings == [
        Recorded(path=("runtimes", "a"), value=A, known=1),
        Recorded(path=("default",), value="a", stood=["crun"]),
    ]
    assert put_in(form, after, *entries(a=A, default="a"), record=record) == (after, record)
    assert meaning(form, undo(form, after, record)) == {**BASE, "default": "crun"}


@BOTH
def test_what_was_there_already_is_adopted_without_a_change(form: Format, text: str) -> None:
    before = form.put(text, ["runtimes", "a"], A, "")
    after, record = put_in(form, before, *entries(a=A))
    assert after == before
    assert put_in(form, after, *entries(a=A), record=record) == (after, record)
    assert meaning(form, undo(form, after, record)) == BASE


@BOTH
def test_the_order_of_keys_in_our_entry_is_no_difference_and_the_journal_stays(form: Format, text: str) -> None:
    after, record = put_in(form, text, *entries(a=A))
    again, second = put_in(form, after, *entries(a=dict(reversed(A.items()))), record=record)
    assert again == after
    assert second.splices == record.splices
    assert undo(form, again, second) == text


# Parents


@BOTH
def test_parents_that_came_with_us_go_and_others_stay(form: Format, text: str) -> None:
    deep = [Setting(("x", "y", "a"), A), Setting(("x", "y", "b"), B)]
    after, record = put_in(form, text, *deep)
    assert [recorded.known for recorded in record.settings] == [0, 0]
    reordered = form.put(after, ["x", "y", "a", "path"], "/edited", "")
    assert meaning(form, undo(form, reordered, record)) == BASE
    # Whichever of the two is gone.
    for name in ("a", "b"):
        assert meaning(form, undo(form, form.drop(after, ["x", "y", name]), record)) == BASE
    # Something of the user's moved in.
    theirs = form.put(reordered, ["x", "mine"], 1, "")
    assert meaning(form, undo(form, theirs, record)) == {**BASE, "x": {"mine": 1}}

    before = form.put(text, ["x"], {"y": {}}, "")
    after, record = put_in(form, before, *deep)
    assert [recorded.known for recorded in record.settings] == [2, 2]
    reordered = form.put(after, ["x", "y", "a", "path"], "/edited", "")
    assert meaning(form, undo(form, reordered, record)) == {**BASE, "x": {"y": {}}}


@BOTH
def test_a_parent_that_became_something_else_is_left_alone(form: Format, text: str) -> None:
    after, record = put_in(form, text, Setting(("x", "a"), A))
    edited = form.put(form.drop(after, ["x"]), ["x"], [1], "")
    assert meaning(form, undo(form, edited, record)) == {**BASE, "x": [1]}
    with pytest.raises(BulkheadError):
        put_in(form, edited, Setting(("x", "a"), A), record=record)


@pytest.mark.parametrize(("form", "broken"), [(TOML, "a = \n"), (JSON, "{,}")], ids=["TOML", "JSON"])
def test_a_broken_text_is_refused_and_named(form: Format, broken: str) -> None:
    _, record = put_in(form, None, *entries(a=A))
    for call in (lambda: put_in(form, broken, *entries(a=A)), lambda: undo(form, broken, record)):
        with pytest.raises(BulkheadError) as error, in_file("/etc/file"):
            call()
        assert error.value.message.startswith("/etc/file: not valid ")
        assert error.value.hint == "Correct it, then run again."


# The ledger

PATH = "/var/lib/bulkhead/docker.json"


def test_a_ledger_survives_the_host() -> None:
    after, record = put_in(JSON, JSON_TEXT, *entries(a=A, default="größe\n😀"))
    ledger = Ledger(files={"/etc/a": record, "/etc/b": Record(created=True)}, options=["/etc/c"])
    assert on_host(ledger) == ledger
    assert undo(JSON, after, on_host(ledger).files["/etc/a"]) == JSON_TEXT


def test_only_root_reads_a_ledger() -> None:
    written = Ledger(options=["/etc/c"]).write(PATH, None)
    assert (written.path, written.mode, written.owner, written.backup) == (PATH, 0o600, "root", False)
    assert written.content is not None
    assert written.content.endswith(b"}\n")
    assert ledger_path("docker") == PATH


def test_a_ledger_that_says_nothing_is_no_file() -> None:
    assert Ledger.load(None) == Ledger()
    assert Ledger().write(PATH, None).content is None
    assert not Ledger().write(PATH, None).changes
    assert ledger_of(Look({PATH: None}, {}), "docker") == Ledger()
    content = Ledger(options=["/etc/c"]).dump() or b""
    there = FoundFile("file", content, 0o600, "root", "root")
    assert ledger_of(Look({PATH: there}, {}), "docker") == Ledger(options=["/etc/c"])
    assert not Ledger(options=["/etc/c"]).write(PATH, there).changes


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b"\xff", b'{"files": []}', b'{"file": {}}', b'{"files": {"/a": {"x": 1}}}'),
        *(b'{"files": {"/a": {"settings": [{"path": "a", "value": 1}]}}}', b'{"options": "a"}', b"{}garbage"),
    ],
)
def test_something_else_than_a_ledger(content: bytes) -> None:
    there = FoundFile("file", content, 0o600, "root", "root")
    with pytest.raises(BulkheadError) as error:
        ledger_of(Look({PATH: there}, {}), "docker")
    assert error.value.message == f"{PATH}: is not what Bulkhead wrote there"
    assert error.value.hint == (
        "Move it away, then run again: what the engine's file holds then counts as put there by you."
    )


@given(json_documents.values, json_documents.values)
def test_a_record_keeps_every_value(value: Any, stood: Any) -> None:
    record = Record(settings=[Recorded(path=("a", "größe"), value=value, stood=[stood], known=1)])
    again = on_host(Ledger(files={"/etc/a": record})).files["/etc/a"].settings[0]
    assert json.dumps([again.value, again.stood]) == json.dumps([value, [stood]])


def test_records_of_other_files_stay_and_those_that_say_nothing_go() -> None:
    _, one = put_in(JSON, None, *entries(a=A))
    _, other = put_in(JSON, "{}", *entries(b=B))
    ledger = Ledger(files={"/etc/a": one, "/etc/b": other}, options=["/etc/x"])
    assert ledger.after({"/etc/a": other}, ["/etc/z", "/etc/y"]) == Ledger(
        files={"/etc/a": other, "/etc/b": other}, options=["/etc/y", "/etc/z"]
    )
    assert ledger.after({}, generation=3).generation == 3
    assert ledger.after({}, generation=3).until(ledger.after({}, generation=4)).generation == 3
    assert b"generation" not in (ledger.dump() or b"")
    assert Ledger.load(ledger.after({}, generation=3).dump()).generation == 3
    assert ledger.after({"/etc/a": Record()}) == Ledger(files={"/etc/b": other})
    assert Ledger().after({"/etc/a": Record()}) == Ledger()
    assert ledger.entries("runtimes") == {"a": A, "b": B}
    assert ledger.entries("default") == {}


@BOTH
def test_a_run_that_never_ends_leaves_what_the_next_one_needs(form: Format, text: str) -> None:
    """Whether the file was replaced or not: with what the ledger says meanwhile, it can be given back."""
    before, old = put_in(form, text, *entries(a=A, b=B, default="a"))
    after, new = put_in(form, before, *entries(b=A, c=B, default="b"), record=old)
    ledger = Ledger(files={"/etc/a": old}, options=["/etc/x"])
    meanwhile = on_host(ledger.until(ledger.after({"/etc/a": new}, ["/etc/y"])))
    assert meanwhile.options == ["/etc/x", "/etc/y"]
    assert set(meanwhile.entries("runtimes")) == {"a", "b", "c"}
    record = meanwhile.files["/etc/a"]
    assert meaning(form, undo(form, after, record)) == BASE
    left = dict(meaning(form, undo(form, before, record)))
    assert left.pop("default", None) in (None, "a")
    assert left == BASE
    again, _ = put_in(form, before, *entries(b=A, c=B, default="b"), record=record)
    assert same(meaning(form, again), meaning(form, after))


def test_the_first_and_an_idle_run_have_nothing_to_say_meanwhile() -> None:
    _, record = put_in(JSON, None, *entries(a=A))
    full = Ledger(files={"/etc/a": record}, options=["/etc/y", "/etc/z"])
    assert Ledger().until(full) == full
    assert full.until(full.after({"/etc/a": record}, ["/etc/z", "/etc/y"])) == full
    assert full.until(Ledger()) == full


# The journal

_lines = st.text("ab,\n\r", max_size=12)


@given(_lines, _lines)
def test_a_splice_is_whole_lines_and_can_be_taken_back(before: str, after: str) -> None:
    splice = _splice(before, after)
    assert after[splice.at :].startswith(splice.put_in)
    assert before[splice.at :].startswith(splice.stood)
    assert splice.at == 0 or before[splice.at - 1] == "\n"
    rest = before[splice.at + len(splice.stood) :]
    assert before[: splice.at] + splice.put_in + rest == after
    assert not splice.stood or splice.stood.endswith("\n") or not rest
    assert _unspliced(after, [splice]) == before


@given(_lines, _lines)
def test_what_two_texts_have_in_common(one: str, other: str) -> None:
    length = common(one, other)
    assert one[:length] == other[:length]
    assert one[length : length + 1] != other[length : length + 1] or length == min(len(one), len(other))


def test_a_splice_is_found_where_it_moved_to_if_that_is_one_place() -> None:
    splice = Splice(at=2, put_in="x\n", stood="y\n")
    assert _unspliced("a\nx\nb\n", [splice]) == "a\ny\nb\n"
    assert _unspliced("a\na\nx\nb\n", [splice]) == "a\na\ny\nb\n"
    assert _unspliced("x\na\nx\n", [splice]) is None
    assert _unspliced("a\nb\n", [splice]) is None
    assert _unspliced("a\nx\n", []) is None


# Any document, any inventories one after the other

Inventory = tuple[tuple[str, ...], str | None]
Build = Callable[[Inventory], list[Setting]]
_NAMES = ["ours", "ours-strict", "unser-größe"]
_inventories: st.SearchStrategy[list[Inventory]] = st.lists(
    st.tuples(
        st.lists(st.sampled_from(_NAMES), unique=True).map(tuple),
        st.sampled_from([None, "runc", *_NAMES]),
    ),
    min_size=1,
    max_size=4,
)


def _toml(inventory: Inventory) -> list[Setting]:
    names, default = inventory
    found = [
        Setting(
            (*ENGINE, "runtimes", name), {"runtime_type": "x", "options": {"a b": [1, "ß"]}}, comment=f"For {name}."
        )
        for name in names
    ]
    return found + ([Setting((*ENGINE, "default_runtime_name"), default, returns=True)] if default else [])


def _json(inventory: Inventory) -> list[Setting]:
    names, default = inventory
    found = [Setting(("runtimes", name), {"path": "/usr/bin/x", "runtimeArgs": ["ß"]}) for name in names]
    return found + ([Setting(("default-runtime",), default, returns=True)] if default else [])


def check_sequence(form: Format, build: Build, text: str | None, inventories: Sequence[Inventory]) -> None:
    def wanted(inventory: Inventory) -> Callable[[dict[str, Any]], list[Setting]]:
        return lambda _: build(inventory)

    after, record = text, Record()
    try:
        alone, alone_record = apply(form, text, wanted(inventories[-1]), Record())
        for inventory in inventories:
            after, record = apply(form, after, wanted(inventory), record)
            assert apply(form, after, wanted(inventory), record) == (after, record)
            assert on_host(Ledger(files={"/etc/a": record})).files["/etc/a"] == record
    except BulkheadError:
        # Something else than a table is in the way.
        reject()
    assert same(meaning(form, after), meaning(form, alone))
    if all(names == tuple(sorted(names)) for names, _ in inventories):
        assert (after, record) == (alone, alone_record)
    assert undo(form, after, record) == text


_json_texts = st.one_of(
    json_documents.documents().map(lambda document: document.text),
    json_documents.daemon_texts(json_documents.daemon_data()),
    json_documents.blank_files,
)
_toml_texts = st.none() | st.just("") | toml_documents.documents


@settings(max_examples=300)
@given(_json_texts, _inventories)
def test_the_last_inventory_counts_in_json(text: str | None, inventories: list[Inventory]) -> None:
    check_sequence(JSON, _json, text, inventories)


@settings(max_examples=200)
@given(_toml_texts, _inventories)
def test_the_last_inventory_counts_in_toml(text: str | None, inventories: list[Inventory]) -> None:
    check_sequence(TOML, _toml, text, inventories)


@pytest.mark.long
@settings(max_examples=5_000)
@given(_json_texts, _inventories)
def test_the_last_inventory_counts_in_json_at_length(text: str | None, inventories: list[Inventory]) -> None:
    check_sequence(JSON, _json, text, inventories)


@pytest.mark.long
@settings(max_examples=2_000)
@given(_toml_texts, _inventories)
def test_the_last_inventory_counts_in_toml_at_length(text: str | None, inventories: list[Inventory]) -> None:
    check_sequence(TOML, _toml, text, inventories)
