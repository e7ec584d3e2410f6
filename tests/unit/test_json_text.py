"""An edit of a JSON document changes what it is for, and not one byte besides."""

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead.errors import BulkheadError
from bulkhead.json_text import drop, parse, put
from tests.unit.json_documents import BOM, Document, documents, keys, objects, values

RUNSC = {"path": "/usr/bin/runsc", "runtimeArgs": ["--debug"]}


def refused(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(BulkheadError) as error:
        call(*arguments)
    assert error.value.hint == "Correct it, then run again."
    return error.value.message


# What a text means


@pytest.mark.parametrize("text", ["", " ", "\n", " \t\r\n", BOM, BOM + "\n"])
def test_blank_text_is_an_empty_object(text: str) -> None:
    assert parse(text) == {}
    assert drop(text, ["runtimes"]) == text


def test_a_document() -> None:
    text = (
        ' {"a": [1, -0.5e1, true, false, null, [], {}], "gr\\u00f6\\u00dfe\\/\\ud83d\\ude00": "\\"\\\\\x7f\u2028"}\r\n'
    )
    assert parse(text) == {"a": [1, -5.0, True, False, None, [], {}], "größe/😀": '"\\\x7f\u2028'}
    assert parse(BOM + text) == parse(text)


def test_no_digit_is_lost() -> None:
    number = 10**4000 + 1
    assert parse(f'{{"a": {number}}}') == {"a": number}


@pytest.mark.parametrize("text", ['{"runtimes": {"runsc": {}}, "Runtimes": 1}', '{"é": 1, "e\u0301": 2}'])
def test_keys_are_exact(text: str) -> None:
    assert parse(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[{}]", "an array"),
        ('"x"', "a string"),
        ("3", "a number"),
        ("3.5", "a number"),
        ("true", "a boolean"),
        ("null", "null"),
    ],
)
def test_something_else_than_an_object(text: str, kind: str) -> None:
    for call in (parse, lambda text: put(text, ["a"], 1), lambda text: drop(text, ["a"])):
        assert refused(call, f"\n {text}") == f"expected an object, not {kind} (line 2, column 2)"


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('{"debug": 1, "debug": 1}', "line 1, column 2 and line 1, column 14"),
        (BOM + '{"debug": 1, "debug": 1}', "line 1, column 2 and line 1, column 14"),
        ('{\n  "debug": {},\n  "b": 1,\n  "d\\u0065bug": 2\n}', "line 2, column 3 and line 4, column 3"),
        ('{"a": [0, {"b": {"debug": 1,\r\n"x": 2,\r\n"debug": 3}}]}', "line 1, column 18 and line 3, column 1"),
    ],
)
def test_a_key_that_stands_twice(text: str, places: str) -> None:
    assert refused(parse, text) == f"the key 'debug' stands twice in one object ({places})"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("// Docker\n{}", "line 1, column 1"),
        ("# Docker\n{}", "line 1, column 1"),
        ("{} // Docker\n", "line 1, column 4"),
        ('{\n  "a": 1, // why\n  "b": 2\n}', "line 2, column 11"),
        ('{\n  "a": 1 /* why */\n}', "line 2, column 10"),
        ('{\n  "a": # why\n 1\n}', "line 2, column 8"),
        ('{\n  "a" /* why */: 1\n}', "line 2, column 7"),
        ('{\n  # "a": 1\n}', "line 2, column 3"),
        ('{"a": [\n1, // why\n2]}', "line 2, column 4"),
    ],
)
def test_a_comment(text: str, place: str) -> None:
    message = refused(parse, text)
    assert message.endswith(f"found a comment; JSON has no comments, dockerd would refuse the file ({place})")


def test_what_looks_like_a_comment_in_a_string_is_none() -> None:
    assert parse('{"a#b": "http://x/*y*/"}') == {"a#b": "http://x/*y*/"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n  "a": 1,\n}', "expected a key in double quotes after a comma, found '}' (line 3, column 1)"),
        ('{"a": [1,\n ]}', "expected a value after a comma, found ']' (line 2, column 2)"),
        ('{"a": 1,, "b": 2}', "expected a key in double quotes after a comma, found ',' (line 1, column 9)"),
        ("{'a': 1}", "expected a key in double quotes, found a single quote (line 1, column 2)"),
        ("{\"a\": 'x'}", "expected a value, found a single quote (line 1, column 7)"),
        ("{a: 1}", "expected a key in double quotes, found 'a' (line 1, column 2)"),
        ("{1: 1}", "expected a key in double quotes, found '1' (line 1, column 2)"),
        ('{"a" 1}', "expected ':', found '1' (line 1, column 6)"),
        ('{"a": }', "expected a value, found '}' (line 1, column 7)"),
        ('{"a": 1 "b": 2}', "expected ',' or '}', found '\"' (line 1, column 9)"),
        ('{"a": [1 2]}', "expected ',' or ']', found '2' (line 1, column 10)"),
        ('{"a": [1}', "expected ',' or ']', found '}' (line 1, column 9)"),
        ('{"a": 1\n', "expected ',' or '}', found the end of the text (line 2, column 1)"),
        ("{", "expected a key in double quotes, found the end of the text (line 1, column 2)"),
        ('{"a": [', "expected a value, found the end of the text (line 1, column 8)"),
        ('{"a"', "expected ':', found the end of the text (line 1, column 5)"),
        ("{}\n{}", "expected the end of the text, found '{' (line 2, column 1)"),
        ("{}}", "expected the end of the text, found '}' (line 1, column 3)"),
        (BOM + BOM + "{}", "expected a value, found '\\ufeff' (line 1, column 1)"),
        ("{}" + BOM, "expected the end of the text, found '\\ufeff' (line 1, column 3)"),
        ("\xa0{}", "expected a value, found '\\xa0' (line 1, column 1)"),
        ("\x0c", "expected a value, found '\\x0c' (line 1, column 1)"),
        ('{"a": 1}\x00', "expected the end of the text, found '\\x00' (line 1, column 9)"),
        ('{"a": NaN}', "NaN is not a finite number (line 1, column 7)"),
        ('{"a": -Infinity}', "-Infinity is not a finite number (line 1, column 7)"),
        ('{"a": 1e400}', "1e400 is not a finite number (line 1, column 7)"),
        ('{"a": "b\tc"}', "Invalid control character at (line 1, column 9)"),
        ('{"a": "b\nc"}', "Invalid control character at (line 1, column 9)"),
        ('{"a": "\\x41"}', "Invalid \\escape (line 1, column 8)"),
        ('{"a": "b}', "Unterminated string starting at (line 1, column 7)"),
    ],
)
def test_what_is_not_json(text: str, message: str) -> None:
    assert refused(parse, text) == f"not valid JSON: {message}"


_NUMBERS = ["01", "-01", "1.", ".5", "+1", "0x1", "1e", "1e+", "-", "1_0", "\u0661", "\uff11", "Infinity", "-NaN"]
_NAMES = ["True", "None", "nul", "tru", "undefined", "()", "`", "\\", ";"]
_STRINGS = [r"\u12", r"\u 123", r"\u+123", r"\ud83d\u", r"\'", r"\0", "\x00", "\x1f", 'a" "b', "\\"]


@pytest.mark.parametrize("value", [*_NUMBERS, *_NAMES, *(f'"{string}"' for string in _STRINGS)])
def test_values_that_are_none(value: str) -> None:
    for text in (f'{{"a": {value}}}', f'{{"a": [{value}]}}', value):
        assert refused(parse, text).startswith("not valid JSON: ")


@pytest.mark.parametrize("half", ["\\ud800", "\\udfff", "\\ude00\\ud83d", "\\ud83d x", "\ud800"])
def test_half_a_surrogate_pair(half: str) -> None:
    message = "a string with half a surrogate pair, which stands for no character (line 2, column 2)"
    assert refused(parse, f'{{\n "{half}": 1}}') == message
    assert refused(parse, f'{{"a":\n "{half}"}}') == message


def test_numbers_that_python_does_not_take() -> None:
    message = "an integer of more digits than can be kept (line 1, column 7)"
    assert refused(parse, f'{{"a": {"9" * 5000}}}') == message


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting(opening: str, closing: str) -> None:
    inside = '{"a":' + opening * 99 + "1" + closing * 99 + "}"
    assert json.loads(inside) == parse(inside)
    column = 6 + 99 * len(opening)
    message = f"nested deeper than 100 levels (line 1, column {column})"
    assert refused(parse, '{"a":' + opening * 100 + "1" + closing * 100 + "}") == message
    assert refused(parse, '{"a":' + opening * 100_000) == message


# What an edit writes. Every pair of texts is read both ways: put makes the second of the first, drop the first again.

LAYOUTS = {
    "spaces": (
        """\
{
  "log-driver": "journald",
  "labels": ["größe=ß",   "x"]
}
""",
        """\
{
  "log-driver": "journald",
  "labels": ["größe=ß",   "x"],
  "runtimes": {
    "runsc": {
      "path": "/usr/bin/runsc",
      "runtimeArgs": [
        "--debug"
      ]
    }
  }
}
""",
    ),
    "tabs, and the parent is there": (
        """\
{
\t"runtimes": {
\t\t"crun": {"path":"/usr/bin/crun"}
\t},
\t"debug": true
}""",
        """\
{
\t"runtimes": {
\t\t"crun": {"path":"/usr/bin/crun"},
\t\t"runsc": {
\t\t\t"path": "/usr/bin/runsc",
\t\t\t"runtimeArgs": [
\t\t\t\t"--debug"
\t\t\t]
\t\t}
\t},
\t"debug": true
}""",
    ),
    "carriage returns and a byte order mark": (
        BOM
        + """\
{\r
   "debug": true\r
}\r
""",
        BOM
        + """\
{\r
   "debug": true,\r
   "runtimes": {\r
      "runsc": {\r
         "path": "/usr/bin/runsc",\r
         "runtimeArgs": [\r
            "--debug"\r
         ]\r
      }\r
   }\r
}\r
""",
    ),
    "one line": (
        '{"debug": true}\n',
        '{"debug": true, "runtimes": {"runsc": {"path": "/usr/bin/runsc", "runtimeArgs": ["--debug"]}}}\n',
    ),
    "one line, spaces inside": (
        '{ "debug": true }',
        '{ "debug": true, "runtimes": {"runsc": {"path": "/usr/bin/runsc", "runtimeArgs": ["--debug"]}} }',
    ),
    "compact": (
        '{"debug":true}',
        '{"debug":true,"runtimes":{"runsc":{"path":"/usr/bin/runsc","runtimeArgs":["--debug"]}}}',
    ),
    "compact, spaces after the commas": (
        '{"debug":true,  "icc":false}',
        '{"debug":true,  "icc":false,  "runtimes":{"runsc":{"path":"/usr/bin/runsc","runtimeArgs":["--debug"]}}}',
    ),
    "compact and empty": (
        '{"runtimes":{}}',
        '{"runtimes":{"runsc":{"path":"/usr/bin/runsc","runtimeArgs":["--debug"]}}}',
    ),
    "one line among many": (
        """\
{
  "runtimes": {"crun": {}},
  "debug": true
}""",
        """\
{
  "runtimes": {"crun": {}, "runsc": {"path": "/usr/bin/runsc", "runtimeArgs": ["--debug"]}},
  "debug": true
}""",
    ),
    "many lines in one": (
        """\
{"runtimes": {
   "crun": 1 }}""",
        """\
{"runtimes": {
   "crun": 1,
   "runsc": {
      "path": "/usr/bin/runsc",
      "runtimeArgs": [
         "--debug"
      ]
   } }}""",
    ),
    "empty among many lines": (
        """\
{
  "runtimes": {}
}""",
        """\
{
  "runtimes": {
    "runsc": {
      "path": "/usr/bin/runsc",
      "runtimeArgs": [
        "--debug"
      ]
    }
  }
}""",
    ),
    "empty with a space": (
        """\
{
  "runtimes": { }
}""",
        """\
{
  "runtimes": { "runsc": {"path": "/usr/bin/runsc", "runtimeArgs": ["--debug"]} }
}""",
    ),
    "empty with a line break": (
        """\
{
  "debug": true, "runtimes": {

}
}""",
        """\
{
  "debug": true, "runtimes": {


    "runsc": {
      "path": "/usr/bin/runsc",
      "runtimeArgs": [
        "--debug"
      ]
    }
  }
}""",
    ),
    "nothing in it": (
        "{}\n",
        """\
{
    "runtimes": {
        "runsc": {
            "path": "/usr/bin/runsc",
            "runtimeArgs": [
                "--debug"
            ]
        }
    }
}
""",
    ),
    "its members stand no deeper than the document": (
        """\
  {
  "runtimes" :{
    "x" :1
  }}""",
        """\
  {
  "runtimes" :{
    "x" :1,
    "runsc":{
      "path":"/usr/bin/runsc",
      "runtimeArgs":[
        "--debug"
      ]
    }
  }}""",
    ),
}


@pytest.mark.parametrize(("before", "after"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_new_member_is_written_like_those_around(before: str, after: str) -> None:
    path = ["runtimes", "runsc"]
    assert put(before, path, RUNSC) == after
    assert put(after, path, RUNSC) == after
    assert drop(after, path if "runtimes" in parse(before) else path[:1]) == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"a": 1}', '{"a": 1, "b": 2}'),
        ('{"a":1}', '{"a":1,"b":2}'),
        ('{"a": 1,"c":2}', '{"a": 1,"c":2,"b":2}'),
        ('{"a":\t1}', '{"a":\t1, "b": 2}'),
        ('{ "a": 1,"c": [\n] }', '{ "a": 1,"c": [\n],"b": 2 }'),
        ('{"a": 1\n}', '{"a": 1, "b": 2\n}'),
        ('{\n"a": 1\n}', '{\n"a": 1,\n"b": 2\n}'),
        ('{\n  "a": 1, "c": 2}', '{\n  "a": 1, "c": 2,\n  "b": 2}'),
        ('{"a": 1,\n "c": 2}', '{"a": 1,\n "c": 2,\n "b": 2}'),
        ('{\n\n  "a": 1,\n\n\t"c": 2 \n\n}', '{\n\n  "a": 1,\n\n\t"c": 2,\n\t"b": 2 \n\n}'),
        ("{\n}", '{\n\n    "b": 2\n}'),
        ("{ }", '{ "b": 2 }'),
        ("\t{}", '\t{\n\t    "b": 2\n\t}'),
        ("{}\r\n", '{\r\n    "b": 2\r\n}\r\n'),
        ("{\n\r}", '{\n\r\r\n    "b": 2\r\n}'),
    ],
)
def test_small_documents(before: str, after: str) -> None:
    assert put(before, ["b"], 2) == after
    assert drop(after, ["b"]) == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{\n"a": 1\n}', '{\n"a": 1,\n"b": {\n    "x": {\n        "y": 2\n    }\n}\n}'),
        ('{\n "a": 1,\n\t"c": 2\n}', '{\n "a": 1,\n\t"c": 2,\n\t"b": {\n\t\t"x": {\n\t\t\t"y": 2\n\t\t}\n\t}\n}'),
        ('{\n "b": {\n    "c": 1\n }\n}', '{\n "b": {\n    "c": 1,\n    "x": {\n       "y": 2\n    }\n }\n}'),
        ('{"a":\n [1],\n"b": {\n}}', '{"a":\n [1],\n"b": {\n\n "x": {\n  "y": 2\n }\n}}'),
    ],
)
def test_the_nearest_members_tell_the_indentation(before: str, after: str) -> None:
    assert put(before, ["b", "x", "y"], 2) == after
    assert drop(after, ["b", "x"] if "b" in parse(before) else ["b"]) == before


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("", '{\n    "a": {\n        "größe": []\n    }\n}\n'),
        ("\n\n ", '{\n    "a": {\n        "größe": []\n    }\n}\n'),
        ("\r\n", '{\r\n    "a": {\r\n        "größe": []\r\n    }\r\n}\r\n'),
        (BOM, BOM + '{\n    "a": {\n        "größe": []\n    }\n}\n'),
    ],
)
def test_blank_text_is_replaced(text: str, after: str) -> None:
    assert put(text, ["a", "größe"], []) == after


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ('{"a": 1, "x" : "old" , "b": 2}', "ß\n", '{"a": 1, "x" : "ß\\n" , "b": 2}'),
        ('{"x":1}', {"b": 2, "c": [3, 4]}, '{"x":{"b":2,"c":[3,4]}}'),
        ('{"x": {"a":\n1}}', None, '{"x": null}'),
        ('{\n  "x": 1,\n  "y": 2\n}', [1, 2], '{\n  "x": [\n    1,\n    2\n  ],\n  "y": 2\n}'),
        ('{\n  "x": [1,  2],\n  "y": 2\n}', [1, {"a": 2}], '{\n  "x": [1, {"a": 2}],\n  "y": 2\n}'),
        ('{\n  "x": {"y": [1]}\n}', {"y": [2]}, '{\n  "x": {"y": [2]}\n}'),
        ('{\n  "x": {}\n}', {"y": 2}, '{\n  "x": {\n    "y": 2\n  }\n}'),
        ('{"x": [\n\t1\n]}', [2], '{"x": [\n\t2\n]}'),
        ('{\r\n\t"x":\r\n\t\t[\r\n\t\t1]}', [2], '{\r\n\t"x":\r\n\t\t[\r\n\t\t\t2\r\n\t\t]}'),
        ('{"x": [\n\t1\n]}', {}, '{"x": {}}'),
    ],
)
def test_a_value_is_replaced_where_it_stands(before: str, value: object, after: str) -> None:
    assert put(before, ["x"], value) == after


def test_only_the_value_that_is_meant_is_replaced() -> None:
    text = '{"x": 1, "a": {"x": 1, "a": {"x": 1, "y": 1}}, "y": [{"x": 1}]}'
    assert put(text, ["a", "x"], 2) == '{"x": 1, "a": {"x": 2, "a": {"x": 1, "y": 1}}, "y": [{"x": 1}]}'
    assert put(text, ["a"], 2) == '{"x": 1, "a": 2, "y": [{"x": 1}]}'


def test_a_key_is_found_however_it_is_escaped() -> None:
    text = '{"runt\\u0069mes": {"\\ud83d\\ude00": 1}}'
    assert put(text, ["runtimes", "😀"], 2) == '{"runt\\u0069mes": {"\\ud83d\\ude00": 2}}'
    assert drop(text, ["runtimes", "😀"]) == '{"runt\\u0069mes": {}}'


def test_a_key_is_escaped_where_it_must_be() -> None:
    assert put('{"a": 1}', ['"\\\n', "größe"], 2) == '{"a": 1, "\\"\\\\\\n": {"größe": 2}}'


def test_what_is_there_already_is_left_byte_for_byte() -> None:
    text = '{ "x":{"b" :[1.0,  true ,"\\u0061"],\n"a":1e2 }}'
    assert put(text, ["x"], {"a": 100.0, "b": [1.0, True, "a"]}) == text


_KINDS_OF_ONE = [1, 1.0, True, "1", [1], None]


@pytest.mark.parametrize("old", _KINDS_OF_ONE, ids=repr)
@pytest.mark.parametrize("new", _KINDS_OF_ONE, ids=repr)
def test_types_tell_values_apart(old: object, new: object) -> None:
    text = f'{{"x": [{json.dumps(old)} ]}}'
    after = put(text, ["x"], [new])
    assert (after == text) == (old is new)
    assert json.dumps(parse(after)) == json.dumps({"x": [new]})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (["a", "b", "c"], "a.b: expected an object, not an array (line 2, column 12)"),
        (["a", "c", "d", "e"], "a.c: expected an object, not a string (line 3, column 6)"),
        (["a", "d", "e"], "a.d: expected an object, not null (line 3, column 16)"),
    ],
)
def test_a_parent_that_is_no_object(path: list[str], message: str) -> None:
    text = '{\n"a": {"b": [{}],\n"c": "x", "d": null}}'
    assert refused(put, text, path, 1) == message
    assert drop(text, path) == text


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        ('{"a": 1, "b": 2 , "c": 3 }', ["a"], '{"b": 2 , "c": 3 }'),
        ('{"a": 1, "b": 2 , "c": 3 }', ["b"], '{"a": 1 , "c": 3 }'),
        ('{"a": 1, "b": 2 , "c": 3 }', ["c"], '{"a": 1, "b": 2 }'),
        ('{\n  "a": 1,\n  "b": 2\n}', ["a"], '{\n  "b": 2\n}'),
        ('{\n  "a": 1,\n  "b": 2\n}', ["b"], '{\n  "a": 1\n}'),
        ('{\n  "a": {\n    "b": 2\n  }\n}\n', ["a", "b"], '{\n  "a": {}\n}\n'),
        ('{\n  "a": {\n    "b": 2\n  }\n}\n', ["a"], "{}\n"),
        (BOM + '{"a": 1}', ["a"], BOM + "{}"),
        ('{ "a": 1 }', ["a"], "{ }"),
        ('{\n\n"a": 1\n}', ["a"], "{\n}"),
        ('{"a": 1}', ["b"], '{"a": 1}'),
        ('{"a": 1}', ["b", "a"], '{"a": 1}'),
        ('{"a": 1}', ["A"], '{"a": 1}'),
    ],
)
def test_drop(before: str, path: list[str], after: str) -> None:
    assert drop(before, path) == after


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": 1,}', '{"a": NaN}', "// x"])
def test_a_broken_document_is_not_edited(text: str) -> None:
    assert refused(put, text, ["b"], 1) == refused(drop, text, ["b"]) == refused(parse, text)


@pytest.mark.parametrize("value", [math.nan, -math.inf, {"a": {1, 2}}])
def test_a_value_that_json_does_not_have_is_never_written(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        put("{}", ["a"], value)


def test_long_documents_are_edited_fast() -> None:
    lines = [f'    "key-{number}": {{"path": "/usr/bin/{number}", "args": [1, 2]}}' for number in range(10_000)]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    start = time.process_time()
    after = put(text, ["key-7", "path"], RUNSC)
    assert drop(put(after, ["runtimes"], RUNSC), ["runtimes"]) == after
    # Three edits of 10,000 lines; with a quadratic step they would take minutes.
    assert time.process_time() - start < 5


# Any document in any layout


@st.composite
def edits(draw: st.DrawFn) -> tuple[Document, list[str], Any]:
    """A document, a path that starts in it as often as not, and a value, which stands there now and then."""
    document = draw(documents())
    known = draw(st.sampled_from(list(document.spans)))
    path = [*known, *draw(st.lists(keys, min_size=0 if known else 1, max_size=3))]
    value = draw(values)
    if tuple(path) in document.spans and draw(st.booleans()):
        value = _at(document.data, path)
    return document, path, value


def _at(data: Any, path: Sequence[str]) -> Any:
    for key in path:
        data = data[key]
    return data


def _prefix(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def same(one: object, other: object) -> bool:
    """Equal in type and in the order of keys too."""
    return json.dumps(one) == json.dumps(other)


def model(data: dict[str, Any], path: Sequence[str], value: object) -> dict[str, Any] | None:
    """What `put` does, to a dictionary; None when a parent is in the way."""
    after = copy.deepcopy(data)
    holder: Any = after
    for key in path[:-1]:
        holder = holder.setdefault(key, {})
        if not isinstance(holder, dict):
            return None
    old = holder.get(path[-1], ...)
    if old is ... or json.dumps(old, sort_keys=True) != json.dumps(value, sort_keys=True):
        holder[path[-1]] = value
    return after


@given(documents())
def test_any_document_means_what_the_library_says(document: Document) -> None:
    assert same(parse(document.text), document.data)
    assert same(json.loads(document.text.removeprefix(BOM)), document.data)


@settings(max_examples=300)
@given(edits())
def test_any_edit(edit: tuple[Document, list[str], Any]) -> None:
    document, path, value = edit
    text = document.text
    expected = model(document.data, path, value)
    if expected is None:
        parent = next(
            path[:length] for length in range(1, len(path)) if not isinstance(_at(document.data, path[:length]), dict)
        )
        assert refused(put, text, path, value).startswith(".".join(parent) + ": expected an object, not ")
        assert drop(text, path) == text
        return
    after = put(text, path, value)
    assert same(parse(after), expected)
    assert put(after, path, value) == after
    if same(expected, document.data):
        assert after == text
    elif tuple(path) in document.spans:
        start, end = document.spans[tuple(path)]
        assert after.startswith(text[:start])
        assert after.endswith(text[end:])
        assert len(after) >= len(text) - (end - start)
    else:
        missing = next(length for length in range(1, len(path) + 1) if tuple(path[:length]) not in document.spans)
        assert _prefix(text, after) + _prefix(text[::-1], after[::-1]) >= len(text)
        start, end = document.spans[tuple(path[: missing - 1])]
        assert after.startswith(text[: start + 1])
        assert after.endswith(text[end - 1 :])
        assert drop(after, path[:missing]) == text


@given(documents(), st.data())
def test_any_member_can_be_dropped(document: Document, data: st.DataObject) -> None:
    paths = [path for path in document.spans if path]
    if not paths:
        return
    path = data.draw(st.sampled_from(paths))
    expected = copy.deepcopy(document.data)
    del _at(expected, path[:-1])[path[-1]]
    after = drop(document.text, path)
    assert same(parse(after), expected)
    assert drop(after, path) == after
    start, end = document.spans[path[:-1]]
    assert after.startswith(document.text[: start + 1])
    assert after.endswith(document.text[end - 1 :])


@given(
    objects.filter(bool),
    st.sampled_from([1, 2, 3, 4, 8, "\t", "\t\t", None]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([": ", ":"]),
    st.data(),
)
def test_a_document_as_the_library_writes_it_stays_one(
    before: dict[str, Any], indent: int | str | None, newline: str, colon: str, data: st.DataObject
) -> None:
    def write(value: object) -> str:
        comma = "," if indent is not None else "," + colon[1:]
        text = json.dumps(value, indent=indent, separators=(comma, colon), ensure_ascii=False)
        return text.replace("\n", newline)

    known = data.draw(st.sampled_from([[], *([key] for key in before)]))
    path = [*known, *data.draw(st.lists(keys, min_size=0 if known else 1, max_size=3))]
    value = data.draw(values)
    after = model(before, path, value)
    if after is not None:
        assert put(write(before), path, value) == write(after)


def _strict(text: str) -> object:
    """What the library reads, without what it lets pass."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    value = json.loads(text.removeprefix(BOM), object_pairs_hook=unique)
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    assert isinstance(value, dict)
    return value


@settings(max_examples=300)
@given(documents(), st.data())
def test_a_damaged_document_is_refused_as_the_library_refuses_it(document: Document, data: st.DataObject) -> None:
    text = document.text
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 2, len(text))))
    piece = data.draw(st.text("{}[]:,\"'\\u0d8e+-.1 \n\x00\xa0/#tN" + BOM, max_size=2))
    text = text[:start] + piece + text[end:]
    try:
        expected = _strict(text)
    except (ValueError, AssertionError):
        if text.removeprefix(BOM).strip(" \t\r\n"):
            refused(parse, text)
    else:
        assert same(parse(text), expected)
