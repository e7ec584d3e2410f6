"""Differences are shown, and nothing but differences."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.structure import changes


def test_every_kind_of_difference() -> None:
    before = {
        "same": 1,
        "gone": {"secret": "s3cret"},
        "other": "old",
        "table": {"same": 1, "new": {}, "kind": {"a": 1}},
    }
    after = {
        "same": 1,
        "other": "new",
        "table": {"same": 1, "new": {"x": True, "y": [1, "z"]}, "kind": "text"},
        "added": {"deep": {"er": None}, "empty": {}},
    }
    assert changes(before, after) == [
        "- gone",
        '~ other = "new"',
        "+ table.new.x = true",
        '+ table.new.y = [1, "z"]',
        '~ table.kind = "text"',
        "+ added.deep.er = null",
        "+ added.empty = {}",
    ]


def test_nothing_differs() -> None:
    assert changes({}, {}) == []
    assert changes({"a": {"b": [1]}}, {"a": {"b": [1]}}) == []


def test_a_key_with_a_dot_is_quoted() -> None:
    assert changes({}, {"plugins": {"io.containerd.grpc.v1.cri": {"a": 1}}}) == [
        '+ plugins."io.containerd.grpc.v1.cri".a = 1'
    ]


def test_a_value_that_is_a_table_on_one_side_only() -> None:
    assert changes({"a": "text"}, {"a": {"b": 1}}) == ['~ a = {"b": 1}']
    assert changes({"a": {"b": 1}}, {"a": {}}) == ["- a.b"]


def test_the_order_is_that_of_the_file() -> None:
    assert changes({"b": 1, "a": 1}, {"c": 2, "a": 2, "b": 2}) == ["~ b = 2", "~ a = 2", "+ c = 2"]


_keys = st.sampled_from(["a", "b", "c", "d.e"])
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(_keys, inner, max_size=3),
    max_leaves=12,
)
_tables = st.dictionaries(_keys, _values, max_size=4)


def with_secrets(table: dict[str, Any]) -> dict[str, Any]:
    """The table with a secret in each of its tables."""
    inner = {key: with_secrets(value) if isinstance(value, dict) else value for key, value in table.items()}
    return {**inner, "password": "s3cret"}


@given(_tables, _tables)
def test_an_unchanged_value_is_never_printed(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Tables that are on one side only are new or gone as a whole, so their secrets are not unchanged values."""
    shared = {"keep": with_secrets(before)}
    lines = changes({**before, **shared}, {**after, **shared})
    assert "s3cret" not in "\n".join(lines)
    assert not any("keep" in line for line in lines)


@given(_tables, _tables)
def test_there_are_lines_exactly_when_there_are_differences(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert bool(changes(before, after)) == (before != after)


@given(_tables, _tables)
def test_what_is_gone_shows_its_name_only(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert all(" = " not in line for line in changes(before, after) if line.startswith("- "))


@pytest.mark.parametrize(
    ("after", "lines"),
    [
        ({"log-opts": {"splunk-token": "hunter2"}}, ['+ log-opts.splunk-token = "(withheld)"']),
        ({"auth": {"password": {"of": "hunter2"}}}, ['+ auth.password.of = "(withheld)"']),
        ({"mirrors": [{"url": "https://me:hunter2@r"}]}, ['+ mirrors = [{"url": "https://(withheld)@r"}]']),
        ({"env": ["TOKEN=hunter2", "A=b"]}, ['+ env = ["TOKEN=(withheld)", "A=b"]']),
    ],
)
def test_a_secret_that_comes_is_not_printed(after: dict[str, Any], lines: list[str]) -> None:
    assert changes({}, after) == lines
