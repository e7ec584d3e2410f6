"""Docker's configuration after the merge holds our runtime, and all that it held before in its order."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.errors import BulkheadError
from deploys.docker.daemon import entry, merge, parse
from tests.unit.helpers import RUNSC

OURS = {"path": "/usr/local/bin/runsc", "runtimeArgs": ["--network=sandbox"]}


def refused(text: str) -> BulkheadError:
    with pytest.raises(BulkheadError) as error:
        merge(text, [RUNSC], "runsc")
    return error.value


@pytest.mark.parametrize("text", ["", "\n", "  \n", "{}", "{}\n"])
def test_a_file_that_says_nothing(text: str) -> None:
    assert (
        merge(text, [RUNSC], "runsc")
        == """\
{
    "runtimes": {
        "runsc": {
            "path": "/usr/local/bin/runsc",
            "runtimeArgs": [
                "--network=sandbox"
            ]
        }
    },
    "default-runtime": "runsc"
}
"""
    )


FILE = """\
{
  "log-driver": "journald",
  "runtimes": {
    "crun": {"path": "/usr/bin/crun"},
    "runsc": {"path": "/home/dev/runsc", "runtimeArgs": ["--debug"], "options": {"x": 1}}
  },
  "default-runtime": "crun",
  "labels": ["größe=ß"]
}
"""


def test_keys_keep_their_order_and_the_file_its_indentation() -> None:
    assert (
        merge(FILE, [RUNSC], "runsc")
        == """\
{
  "log-driver": "journald",
  "runtimes": {
    "crun": {
      "path": "/usr/bin/crun"
    },
    "runsc": {
      "path": "/usr/local/bin/runsc",
      "runtimeArgs": [
        "--network=sandbox"
      ]
    }
  },
  "default-runtime": "runsc",
  "labels": [
    "größe=ß"
  ]
}
"""
    )


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ('{\n\t"debug": true\n}', '\t"debug": true,'),
        ('{\r\n   "debug": true\r\n}', '   "debug": true,'),
        ('\n{\n\n  "debug": true}', '  "debug": true,'),
        ('{"debug": true}', '    "debug": true,'),
    ],
)
def test_indentation(text: str, second: str) -> None:
    assert merge(text, [RUNSC], "runsc").splitlines()[1] == second


def test_what_is_there_already_is_left_byte_for_byte() -> None:
    text = (
        '{"default-runtime":"runsc",  "runtimes": {"runsc":'
        ' {"runtimeArgs": ["--network=sandbox"], "path": "/usr/local/bin/runsc"}}}'
    )
    assert merge(text, [RUNSC], "runsc") == text


def test_a_runtime_without_arguments_has_none() -> None:
    assert entry(replace(RUNSC, arguments=())) == {"path": "/usr/local/bin/runsc"}


def test_a_file_that_is_broken_is_named_with_line_and_column() -> None:
    error = refused('{\n  "debug": true,\n}')
    assert error.message.startswith("/etc/docker/daemon.json: not valid JSON: ")
    assert error.message.endswith("(line 3, column 1)")
    assert error.hint == "Correct it, then run again."


@pytest.mark.parametrize(("text", "kind"), [("[]", "list"), ('"x"', "str"), ("null", "NoneType"), ("3", "int")])
def test_something_else_than_an_object(text: str, kind: str) -> None:
    assert refused(text).message == f"/etc/docker/daemon.json: expected an object, not {kind}"


@pytest.mark.parametrize("text", ['{"debug": 1, "debug": 2}', '{"a": [{"debug": 1, "b": 2, "debug": 1}]}'])
def test_a_key_that_stands_twice(text: str) -> None:
    error = refused(text)
    assert error.message == "/etc/docker/daemon.json: the key 'debug' stands twice in one object"
    assert error.hint == "Remove one of the two."


@pytest.mark.parametrize("value", ["null", "[]", '"runsc"'])
def test_runtimes_that_are_no_object(value: str) -> None:
    assert refused(f'{{"runtimes": {value}}}').message == "/etc/docker/daemon.json: runtimes: expected an object"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_files = st.dictionaries(
    st.sampled_from(["log-driver", "debug", "exec-opts", "hosts", "icc", "größe"]), _json, max_size=5
).flatmap(
    lambda rest: st.fixed_dictionaries(
        {},
        optional={
            "runtimes": st.dictionaries(st.sampled_from(["runc", "runsc", "kata"]), _json, max_size=3),
            "default-runtime": st.sampled_from(["runc", "runsc", "kata"]),
        },
    ).flatmap(lambda ours: st.permutations(list({**rest, **ours}.items())).map(dict))
)


@given(_files, st.sampled_from(["runsc", "runc"]), st.sampled_from([None, 2, "\t"]))
def test_any_file_holds_ours_and_what_it_held(before: dict[str, Any], default: str, indent: int | str | None) -> None:
    text = json.dumps(before, indent=indent)
    after_text = merge(text, [RUNSC], default)
    after = json.loads(after_text)
    added = [key for key in ("runtimes", "default-runtime") if key not in before]
    assert list(after) == [*before, *added]
    assert after.pop("default-runtime") == default
    runtimes = after.pop("runtimes")
    assert runtimes.pop("runsc") == OURS
    assert runtimes == {name: value for name, value in before.get("runtimes", {}).items() if name != "runsc"}
    assert after == {key: value for key, value in before.items() if key not in ("runtimes", "default-runtime")}
    assert merge(after_text, [RUNSC], default) == after_text


def test_an_empty_text_is_an_empty_configuration() -> None:
    assert parse(" \n") == {}
