"""An edit of a TOML document changes what it says it changes: generated documents, then examples with whole texts."""

import datetime
import math
import tomllib
from collections.abc import Callable, Mapping
from copy import deepcopy
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead import toml_text
from bulkhead.errors import BulkheadError
from bulkhead.toml_text import dotted, drop, parse, put, render, same
from tests.unit.toml_documents import CRI, ENGINE, NAMES, RUNTIMES, Keys, comments, documents, paths, tables

Case = tuple[str, Keys, Any]


def generated(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[[int], None]]:
    """The function as a test of some hundred generated cases, and of thousands among the tests that take long."""

    def as_test(holds: Callable[..., None]) -> Callable[[int], None]:
        @pytest.mark.parametrize("count", [400, pytest.param(8000, marks=pytest.mark.long)])
        def test(count: int) -> None:
            settings(max_examples=count)(given(*strategies)(holds))()

        test.__doc__ = holds.__doc__
        return test

    return as_test


# What is put where

_scalars = st.sampled_from(
    [
        *("io.containerd.runsc.v1", "", 'a "quoted" # \n\\ \x00', 2, -1, 0, True, 1.0, 1e300, math.inf, math.nan),
        *(["cri"], [], [["x"], [1]], [{"a": 1, "b c": []}], datetime.date(2026, 1, 2), datetime.time(1, 2, 3)),
        datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC),
    ]
)
_keys = st.sampled_from(["path", "runtime_type", "TypeUrl", "with.dot", "", "new\n", "é"])
_tables = st.dictionaries(_keys, _scalars | st.dictionaries(_keys, _scalars, max_size=2), max_size=3)
_entries = st.fixed_dictionaries(
    {
        "runtime_type": st.just("io.containerd.runsc.v1"),
        "options": st.dictionaries(st.sampled_from(["TypeUrl", "ConfigPath"]), _scalars, max_size=2),
    },
    optional={"privileged_without_host_devices": st.booleans()},
)
_entry_paths = st.sampled_from(NAMES).map(lambda name: (*RUNTIMES, name))
_ours: st.SearchStrategy[tuple[Keys, Any]] = st.one_of(
    st.tuples(_entry_paths, _entries),
    st.tuples(st.just((*ENGINE, "default_runtime_name")), st.sampled_from(NAMES)),
    st.tuples(st.just(("version",)), st.sampled_from([2, 3])),
    st.tuples(st.just(("disabled_plugins",)), st.lists(st.sampled_from(["cri", "zfs"]), max_size=2)),
)


@st.composite
def _cases(draw: st.DrawFn) -> Case:
    """A document, and something to put: what we put, or anything at any path."""
    text = draw(documents)
    if draw(st.booleans()):
        path, value = draw(_ours)
        return text, path, value
    document = tomllib.loads(text)
    places = paths(document) or [("new",)]
    if draw(st.booleans()):
        places = [(*table, *new) for table in tables(document) for new in [("new",), ("a new", "b", "c")]]
    return text, draw(st.sampled_from(places)), draw(_scalars | _tables)


def _at(document: Mapping[str, Any], path: Keys) -> list[Any]:
    """What stands at `path`, in a list, which is empty for nothing; fails where the path leads into something else."""
    there: Any = document
    for key in path:
        assert isinstance(there, dict), "expected a table"
        if key not in there:
            return []
        there = there[key]
    return [there]


def _leads_through_tables(document: Mapping[str, Any], path: Keys) -> bool:
    try:
        _at(document, path)
    except AssertionError:
        return False
    return True


def _with(document: Mapping[str, Any], path: Keys, value: Any) -> dict[str, Any]:
    after = deepcopy(dict(document))
    table = after
    for key in path[:-1]:
        table = table.setdefault(key, {})
    table[path[-1]] = value
    return after


def _without(document: Mapping[str, Any], path: Keys) -> dict[str, Any]:
    """`document` without `path`, nor the tables around it that hold nothing else."""
    after = deepcopy(dict(document))
    around = [after]
    for key in path[:-1]:
        if key not in around[-1]:
            break
        around.append(around[-1][key])
    else:
        around[-1].pop(path[-1], None)
    for table, key, inner in reversed(list(zip(around, path, around[1:], strict=False))):
        if not inner:
            del table[key]
    return after


# What holds for every document


@generated(_cases())
def test_what_was_put_is_there_and_all_else_means_what_it_meant(case: Case) -> None:
    text, path, value = case
    before = tomllib.loads(text)
    if not _leads_through_tables(before, path):
        with pytest.raises(BulkheadError, match="expected a table"):
            put(text, path, value)
        return
    after = put(text, path, value)
    assert same(tomllib.loads(after), _with(before, path, value))
    assert put(after, path, value) == after
    if same(_at(before, path), [value]):
        assert after == text


@generated(_cases())
def test_what_is_new_is_one_piece_more(case: Case) -> None:
    """It is whole lines, or a part of one line inside an inline table; every other byte stays."""
    text, path, value = case
    before = tomllib.loads(text)
    if not _leads_through_tables(before, path) or _at(before, path):
        return
    after = put(text, path, value)
    assert after.count("\r\n") == (after.count("\n") if "\r\n" in text else 0)
    old, new = text.replace("\r\n", "\n").split("\n"), after.replace("\r\n", "\n").split("\n")
    if len(old) == len(new):
        number = next(number for number in range(len(old)) if old[number] != new[number])
        assert old[number + 1 :] == new[number + 1 :]
        old, new = list(old[number]), list(new[number])
    assert _is_one_piece_more(old, new)


def _is_one_piece_more(old: list[str], new: list[str]) -> bool:
    start = 0
    while start < len(old) and old[start] == new[start]:
        start += 1
    rest = len(old) - start
    return len(new) > len(old) and old[start:] == new[len(new) - rest :]


@generated(_cases())
def test_what_is_replaced_keeps_its_surroundings(case: Case) -> None:
    text, path, value = case
    before = tomllib.loads(text)
    if not _leads_through_tables(before, path) or not (there := _at(before, path)):
        return
    after = put(text, path, value)
    written = toml_text._innermost(text, path)
    if not isinstance(there[0], dict) and written and not same(there, [value]):
        assert after == text[: written.value] + render(value) + text[written.stop :]
    lost = set(comments(text)) - set(comments(after))
    assert lost <= _may_be_lost(text, path, there[0], value)


def _may_be_lost(text: str, path: Keys, there: Any, value: Any) -> set[str]:
    """The comments that stand inside what does not survive when `there` is brought to `value`."""
    if same(there, value):
        return set()
    if not isinstance(there, dict) or not isinstance(value, dict) or not value:
        return set(comments(text)) - set(comments(drop(text, path)))
    lost: set[str] = set()
    for key in there:
        lost |= _may_be_lost(text, (*path, key), there[key], value.get(key))
    return lost


@generated(_cases())
def test_what_is_dropped_is_gone_and_all_else_means_what_it_meant(case: Case) -> None:
    text, path, _ = case
    before = tomllib.loads(text)
    after = drop(text, path)
    if not _leads_through_tables(before, path) or not (there := _at(before, path)):
        assert after == text
        return
    meaning = tomllib.loads(after)
    assert not _leads_through_tables(meaning, path) or not _at(meaning, path)
    assert same(_without(meaning, path), _without(before, path))
    assert drop(after, path) == after
    if not isinstance(there[0], dict | list):
        assert len(comments(text)) - len(comments(after)) <= 1


@generated(documents, _entry_paths, _entries)
def test_an_entry_that_is_put_and_dropped_leaves_no_trace(text: str, path: Keys, entry: dict[str, Any]) -> None:
    before = tomllib.loads(text)
    if not _leads_through_tables(before, path) or _at(before, path):
        return
    with_entry = put(text, path, entry, "why")
    after = drop(with_entry, path)
    assert same(_without(tomllib.loads(after), path), _without(before, path))
    if text.endswith("\n") and with_entry.count("\n") > text.count("\n"):
        assert after == text


@generated(documents)
def test_the_scanner_finds_what_tomllib_finds(text: str) -> None:
    found: list[tuple[Keys, str]] = []
    for statement in toml_text._statements(text):
        assert not statement.start or text[statement.start - 1] == "\n"
        assert statement.end == len(text) or text[statement.end - 1] == "\n"
        if not statement.is_header:
            found += _scanned(text, statement)
    assert sorted(found) == sorted(_leaves((), tomllib.loads(text)))


def _scanned(text: str, pair: toml_text._Pair) -> list[tuple[Keys, str]]:
    written = text[pair.value : pair.stop]
    assert written == written.strip()
    if written.startswith("{"):
        return [leaf for member in toml_text._members(text, pair) for leaf in _scanned(text, member)]
    return _leaves(pair.keys, tomllib.loads(f"it = {written}")["it"])


def _leaves(path: Keys, value: Any) -> list[tuple[Keys, str]]:
    """The values below a path, with their own; an array of tables has them all at the path of the array."""
    if isinstance(value, dict):
        return [leaf for key in value for leaf in _leaves((*path, key), value[key])]
    if isinstance(value, list) and value and all(isinstance(inner, dict) for inner in value):
        return [leaf for inner in value for leaf in _leaves(path, inner)]
    return [(path, repr(value))]


# Texts that are broken, or odd

_ODD = [*"\0\r\n\t[]{}=.,#\"'\\ \ufeff\ud800", '"""', "'''", "[[", "]]", "\r\r\n", "= 1\n", "\\u00", "9" * 5000]


@st.composite
def _broken(draw: st.DrawFn) -> str:
    """A document cut off, or with something odd in it."""
    text, odd = draw(documents), draw(st.sampled_from(_ODD))
    start, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    broken: str = draw(st.sampled_from([text[:end], text[start:], text[:start] + odd + text[end:]]))
    return broken


@generated(st.text() | st.text(alphabet="ab.=[]{},#\"'\\\r\n 1") | _broken(), _ours)
def test_any_text_is_edited_or_refused(text: str, ours: tuple[Keys, Any]) -> None:
    path, value = ours
    try:
        before = tomllib.loads(text)
    except ValueError:
        _refused(text, path, value)
        return
    if _leads_through_tables(before, path):
        assert same(tomllib.loads(put(text, path, value)), _with(before, path, value))
        drop(text, path)


def _refused(text: str, path: Keys, value: Any) -> None:
    edits: list[Callable[[], object]] = [
        lambda: parse(text),
        lambda: put(text, path, value),
        lambda: drop(text, path),
    ]
    for edit in edits:
        with pytest.raises(BulkheadError, match="not valid TOML") as error:
            edit()
        assert error.value.hint == "Correct it, then run again."


HUGE = 5000


@pytest.mark.parametrize(
    "text",
    [
        *(
            "\0",
            "\ufeffversion = 2\n",
            "version = 2\r",
            "a = 1\rb = 2\n",
            "a = 1\r\r\n",
            "# \r",
            'a = "\r"\n',
            "\ud800",
        ),
        *(
            "a",
            "a =",
            "= 1",
            "[a",
            "[[a]",
            "[]",
            "a = [",
            "a = {",
            "a = {b = 1,}",
            'a = "',
            'a = """',
            "a = '''",
            'a = "\\',
        ),
        *(
            "a = 1\na = 2\n",
            "a = 1\n[a]\n",
            "[a]\n[a]\n",
            "a = {}\n[a.b]\n",
            "a = []\n[[a]]\n",
            "a.b = 1\n[a]\n",
            "a = 08",
        ),
        *(
            f"a = {'9' * HUGE}\n",
            f"a = -{'9' * HUGE}\n",
            "a = 2026-02-30",
            "a = 25:00:00",
            'a = "\\uD800"',
            "a = 1 b = 2",
        ),
        *("a = " + "[" * 10_000, "a = " + "{a = " * 10_000, "[" * 10_000),
        "a = " + "[" * 10_000 + "]" * 10_000 + "\n",
        "a = " + "[" * 150 + "]" * 150 + "\n",
        "a = " + "{a = " * 10_000 + "1" + "}" * 10_000 + "\n",
        ".".join("a" * 2000) + " = 1\n",
        f"[{'.'.join('a' * 10_000)}]\n",
        f"[[{'.'.join('a' * 10_000)}]]\n",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    _refused(text, ("x", "y"), 1)


@pytest.mark.parametrize(
    "text",
    [
        f"a = 0x{'f' * HUGE}\n",
        f"a = '{'#' * 1_000_000}'\n",
        "a = '''" + "x\n" * 100_000 + "'''\n",
        'a = """' + "\\\\" * 100_000 + '"""\n',
        "a = " + "[" * 98 + "]" * 98 + "\n",
        "a = " + "{a = " * 98 + "1" + "}" * 98 + "\n",
        ".".join("a" * 100) + " = 1\n",
        "a = nan\nb = [nan, { c = -nan }]\n",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_odd_but_valid_is_edited(text: str) -> None:
    after = put(text, ["x", "y"], {"z": 1})
    assert after == f"{text}\n[x.y]\n  z = 1\n"
    assert drop(after, ["x", "y"]) == text
    assert drop(text, ["a"]) in ("", "b = [nan, { c = -nan }]\n")
    assert parse(put(text, ["a"], 1))["a"] == 1


def test_a_number_of_thousands_of_digits_is_told_and_written_too() -> None:
    text = f"a = 0x{'f' * HUGE}\n"
    with pytest.raises(BulkheadError, match="a: expected a table, found 0xffff"):
        put(text, ["a", "b"], 1)
    assert parse(put("", ["b"], parse(text)["a"])) == {"b": 16**HUGE - 1}


# Examples

P = f'plugins."{CRI}"'
RUNSC = (*RUNTIMES, "runsc")
DEFAULT = (*ENGINE, "default_runtime_name")
OURS = {"runtime_type": "io.containerd.runsc.v1", "options": {"ConfigPath": "/etc/containerd/runsc.toml"}}

SECTIONS = f"""\
[{P}.containerd.runtimes.runsc]
  runtime_type = "io.containerd.runsc.v1"
  [{P}.containerd.runtimes.runsc.options]
    ConfigPath = "/etc/containerd/runsc.toml"
"""
INLINE = '{ runtime_type = "io.containerd.runsc.v1", options = { ConfigPath = "/etc/containerd/runsc.toml" } }'

DEBIAN = f"""\
version = 2

[plugins]
  [{P}]
    [{P}.cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd"
"""
SEVERAL = f"""\
# Ansible managed ]

[{P}.containerd.runtimes.kata]  # kata
runtime_type = "io.containerd.kata.v2"

[{P}.containerd]
default_runtime_name = "runc"   # "runsc"?

[{P}.containerd.runtimes]
crun.runtime_type = "io.containerd.runc.v2"
# [{P}.containerd.runtimes.runsc]

[debug]
level = "info"
"""
MIXED = f"""\
[{P}.containerd]
runtimes.crun.runtime_type = "io.containerd.runc.v2" # crun
snapshotter = "native"
[{P}.containerd.runtimes.kata]
runtime_type = "io.containerd.kata.v2"
"""
SEVERAL_INLINE = f"""\
[{P}.containerd]
runtimes = {{ runc = {{ runtime_type = "io.containerd.runc.v2" }}, crun = {{}} }}  # {{ all }}
snapshotter = "native"
"""
DOTTED = f"""\
version = 2
{P}.containerd.snapshotter = "native"
  {P}.containerd.runtimes.runc . runtime_type = "io.containerd.runc.v2" # runc
root = "/srv"
[debug]
level = "info"
"""
BY_HAND = f"""\
version = 2

# gVisor
[{P}.containerd.runtimes.runsc] # by hand
  # the shim
  runtime_type = "io.containerd.runsc.v1" # v1
  pod_annotations = ["dev.gvisor.*"]
  # end of runsc

  [{P}.containerd.runtimes.runsc.options]
    TypeUrl = "io.containerd.runsc.v1.options"
    ConfigPath = '/home/dev/runsc.toml' # mine

# the end
[debug]
  level = "info"
"""

EXAMPLES: dict[str, tuple[str, Keys, Any, str]] = {
    "no text": ("", RUNSC, OURS, SECTIONS),
    "no text, a value at the top": ("", ("version",), 2, "version = 2\n"),
    "no text, a value in a table": ("", DEFAULT, "runsc", f'[{P}.containerd]\n  default_runtime_name = "runsc"\n'),
    "Debian's file": (DEBIAN, RUNSC, OURS, f"{DEBIAN}\n{SECTIONS}"),
    "no newline at the end": (DEBIAN.removesuffix("\n"), RUNSC, OURS, f"{DEBIAN}\n{SECTIONS}"),
    "CRLF": (DEBIAN.replace("\n", "\r\n"), RUNSC, OURS, f"{DEBIAN}\n{SECTIONS}".replace("\n", "\r\n")),
    "several runtimes": (SEVERAL, RUNSC, OURS, f"{SEVERAL}\n{SECTIONS}"),
    "several runtimes, both dotted and in sections": (
        MIXED,
        RUNSC,
        OURS,
        f"""\
[{P}.containerd]
runtimes.crun.runtime_type = "io.containerd.runc.v2" # crun
runtimes.runsc.runtime_type = "io.containerd.runsc.v1"
runtimes.runsc.options.ConfigPath = "/etc/containerd/runsc.toml"
snapshotter = "native"
[{P}.containerd.runtimes.kata]
runtime_type = "io.containerd.kata.v2"
""",
    ),
    "several runtimes, inline": (
        SEVERAL_INLINE,
        RUNSC,
        OURS,
        f"""\
[{P}.containerd]
runtimes = {{ runc = {{ runtime_type = "io.containerd.runc.v2" }}, crun = {{}}, runsc = {INLINE} }}  # {{ all }}
snapshotter = "native"
""",
    ),
    "plugins inline": (
        f'plugins = {{"{CRI}"={{sandbox_image="x"}}}} # {{}}',
        RUNSC,
        OURS,
        f'plugins = {{"{CRI}"={{sandbox_image="x", containerd.runtimes.runsc = {INLINE}}}}} # {{}}',
    ),
    "an empty inline table": (
        f"[{P}]\ncontainerd = {{}}\n",
        RUNSC,
        OURS,
        f"[{P}]\ncontainerd = {{ runtimes.runsc = {INLINE} }}\n",
    ),
    "an empty inline table with some space": ("a = {\t  }\n", ("a", "b"), 1, "a = { b = 1\t  }\n"),
    "dotted keys": (
        DOTTED,
        RUNSC,
        OURS,
        f"""\
version = 2
{P}.containerd.snapshotter = "native"
  {P}.containerd.runtimes.runc . runtime_type = "io.containerd.runc.v2" # runc
  {P}.containerd.runtimes.runsc.runtime_type = "io.containerd.runsc.v1"
  {P}.containerd.runtimes.runsc.options.ConfigPath = "/etc/containerd/runsc.toml"
root = "/srv"
[debug]
level = "info"
""",
    ),
    "dotted keys to the end, without a newline": (
        f'[{P}]\ncontainerd.snapshotter = "native"',
        DEFAULT,
        "runsc",
        f'[{P}]\ncontainerd.snapshotter = "native"\ncontainerd.default_runtime_name = "runsc"',
    ),
    "dotted keys, then a section below them": (
        f'[{P}]\ncontainerd.snapshotter = "native"\n[{P}.containerd.runtimes.runc]\n\truntime_type = "x"\n',
        RUNSC,
        OURS,
        f'[{P}]\ncontainerd.snapshotter = "native"\n[{P}.containerd.runtimes.runc]\n\truntime_type = "x"\n\n{SECTIONS}',
    ),
    "an array of tables as the last section": (
        f"[{P}]\n[[stream]]\nx.y = 1\n[stream.sub]\n",
        RUNSC,
        OURS,
        f"[{P}]\n[[stream]]\nx.y = 1\n[stream.sub]\n\n{SECTIONS}",
    ),
    "a value at the top that is new": (
        "# mine\n[debug]\nversion = 1\n",
        ("version",),
        2,
        "version = 2\n# mine\n[debug]\nversion = 1\n",
    ),
    "a value below others at the top": (
        'root = """\n[x]\n""" # r\n# more\n[debug]\n',
        ("version",),
        2,
        'root = """\n[x]\n""" # r\nversion = 2\n# more\n[debug]\n',
    ),
    "a default where there is one": (
        SEVERAL,
        DEFAULT,
        "runsc",
        SEVERAL.replace('default_runtime_name = "runc"   #', 'default_runtime_name = "runsc"   #'),
    ),
    "a default below a header": (
        f"\t[{P}.containerd] # c\n\t# d\n",
        DEFAULT,
        "runsc",
        f'\t[{P}.containerd] # c\n\t  default_runtime_name = "runsc"\n\t# d\n',
    ),
    "a default among dotted keys": (
        DOTTED,
        DEFAULT,
        "runsc",
        DOTTED.replace("# runc\n", f'# runc\n  {P}.containerd.default_runtime_name = "runsc"\n'),
    ),
    "a default in an inline table": (
        f"[{P}]\ncontainerd = {{default_runtime_name='runc',runtimes={{}}}}\n",
        DEFAULT,
        "runsc",
        f'[{P}]\ncontainerd = {{default_runtime_name="runsc",runtimes={{}}}}\n',
    ),
    "a default where only a table below has a header": (
        f"[{P}.containerd.runtimes.runc]\n",
        DEFAULT,
        "runsc",
        f'[{P}.containerd.runtimes.runc]\n\n[{P}.containerd]\n  default_runtime_name = "runsc"\n',
    ),
    "an array over several lines": (
        'disabled_plugins = [ # [\n  "cri", # ]\n] # off\n[debug]\n',
        ("disabled_plugins",),
        [],
        "disabled_plugins = [] # off\n[debug]\n",
    ),
    "an entry of the user's own": (
        BY_HAND,
        RUNSC,
        OURS,
        BY_HAND.replace('  pod_annotations = ["dev.gvisor.*"]\n', "")
        .replace('    TypeUrl = "io.containerd.runsc.v1.options"\n', "")
        .replace("'/home/dev/runsc.toml'", '"/etc/containerd/runsc.toml"'),
    ),
    "an entry of the user's own, without options": (
        BY_HAND,
        RUNSC,
        {"runtime_type": "io.containerd.runsc.v1"},
        f"""\
version = 2

# gVisor
[{P}.containerd.runtimes.runsc] # by hand
  # the shim
  runtime_type = "io.containerd.runsc.v1" # v1
  # end of runsc

# the end
[debug]
  level = "info"
""",
    ),
    "an entry of the user's own, inline": (
        f"[{P}.containerd.runtimes]\nrunsc = {{ a = 1, runtime_type = 'x', b.c = 2, b.d = 3 }} # mine\nrunc.x = 1\n",
        RUNSC,
        OURS,
        f"[{P}.containerd.runtimes]\n"
        'runsc = { runtime_type = "io.containerd.runsc.v1", '
        'options = { ConfigPath = "/etc/containerd/runsc.toml" } } # mine\nrunc.x = 1\n',
    ),
    "an entry of the user's own, dotted": (
        f"[{P}.containerd.runtimes]\nrunsc.a = 1 # a\nrunc.x = 1\nrunsc.runtime_type = 'x' # t\n",
        RUNSC,
        {"runtime_type": "y", "options": {}},
        f'[{P}.containerd.runtimes]\nrunc.x = 1\nrunsc.runtime_type = "y" # t\nrunsc.options = {{}}\n',
    ),
    "an entry of the user's own, dotted, of which nothing stays": (
        "[runtimes]\nrunsc.a = 1\nrunsc.b = 1\n[debug]\n",
        ("runtimes", "runsc"),
        {"x": 1, "options": {"y": 2}},
        "[runtimes]\nrunsc.x = 1\nrunsc.options.y = 2\n[debug]\n",
    ),
    "a table where a value stood": ("a = 1 # a\nb = 2\n", ("a",), {"x": 1}, "a = { x = 1 } # a\nb = 2\n"),
    "a value where an inline table stood": ("a = { x = 1 } # a\nb = 2\n", ("a",), 1, "a = 1 # a\nb = 2\n"),
    "a value where a section stood": ("b = 2\n\n[a]\nx = 1\n[a.b]\n[c]\n", ("a",), 1, "b = 2\na = 1\n\n[c]\n"),
    "a value where dotted keys stood": ("[t]\na.x = 1\nb = 2\na.y = 1\n", ("t", "a"), 1, "[t]\nb = 2\na = 1\n"),
    "a value where an array of tables stood": ("[[a]]\nx = 1\n[a.y]\n[[a]]\n[b]\n", ("a",), 1, "a = 1\n[b]\n"),
    "an empty table where dotted keys stood": ("[t]\na.b.x = 1\nc = 2\n", ("t", "a"), {}, "[t]\nc = 2\n\n[t.a]\n"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_whole_text_before_and_after(name: str) -> None:
    text, path, value, wanted = EXAMPLES[name]
    assert put(text, path, value) == wanted
    assert put(wanted, path, value) == wanted


def test_a_comment_is_written_into_a_section_that_is_new() -> None:
    text = put("[a]\n", ["b", "c"], {"x": 1, "t": {"y": 2}}, "as it must be")
    assert text == "[a]\n\n[b.c]\n  # as it must be\n  x = 1\n  [b.c.t]\n    y = 2\n"
    assert put(text, ["b", "c"], {"x": 2, "t": {"y": 2}}, "again") == text.replace("x = 1", "x = 2")


def test_the_text_is_the_same_whatever_order_the_value_has() -> None:
    assert put("[a]\nx = 1\ny = { a = 1, b = 2 }\n", ["a"], {"y": {"b": 2, "a": 1}, "x": 1}) == (
        "[a]\nx = 1\ny = { a = 1, b = 2 }\n"
    )


DROPPED: dict[str, tuple[str, Keys, str]] = {
    "nothing is there": (DEBIAN, RUNSC, DEBIAN),
    "the path leads into a value": (DEBIAN, ("version", "x"), DEBIAN),
    "the path leads into an array of tables": ("[[a]]\nx = 1\n", ("a", "x"), "[[a]]\nx = 1\n"),
    "sections at the end": (f"{DEBIAN}\n{SECTIONS}", RUNSC, DEBIAN),
    "sections at the end, with CRLF": (
        f"{DEBIAN}\n{SECTIONS}".replace("\n", "\r\n"),
        RUNSC,
        DEBIAN.replace("\n", "\r\n"),
    ),
    "nothing else is there": (SECTIONS, RUNSC, ""),
    "sections in the middle": (
        BY_HAND,
        RUNSC,
        'version = 2\n\n# gVisor\n\n# the end\n[debug]\n  level = "info"\n',
    ),
    "sections apart": (
        "[a.b]\nx = 1\n\n[c]\n\n[a]\ny = 1\n\n[a.b.d]\n# d\n\n[e]\n",
        ("a", "b"),
        "\n[c]\n\n[a]\ny = 1\n\n# d\n\n[e]\n",
    ),
    "a section that follows closely": ("[a]\n\n[b]\nx = 1\n[c]\n", ("b",), "[a]\n\n[c]\n"),
    "a value": ("a = 1 # a\n# b\nb = [\n  1, # one\n] # b\nc = 1\n", ("b",), "a = 1 # a\n# b\nc = 1\n"),
    "the last value, without a newline": ("a = 1\nb = 2", ("b",), "a = 1\n"),
    "the only value of a section": ("[a]\nx = 1\n", ("a", "x"), "[a]\n"),
    "dotted keys": ("a.x = 1\nb = 2\n  a.y = 3 # y\n[c]\n", ("a",), "b = 2\n[c]\n"),
    "an array of tables": ("[[a]]\nx = 1\n[[a.b]]\n\n[c]\n", ("a",), "\n[c]\n"),
    "an inline table": ("a = { x = 1 } # a\nb = 2\n", ("a",), "b = 2\n"),
    "the first in an inline table": ("a = { x = 1, y = 2, z = 3 }\n", ("a", "x"), "a = { y = 2, z = 3 }\n"),
    "the middle of an inline table": ("a = { x = 1, y = 2, z = 3 }\n", ("a", "y"), "a = { x = 1, z = 3 }\n"),
    "the last in an inline table": ("a = { x = 1, y = 2, z = 3 }\n", ("a", "z"), "a = { x = 1, y = 2 }\n"),
    "the only one in an inline table": ("a = { x = 1 }\n", ("a", "x"), "a = {  }\n"),
    "several in an inline table": ("a = {x.a=1,y=2,x.b=3,x.c=4,z=5}\n", ("a", "x"), "a = {y=2,z=5}\n"),
    "deep in inline tables": (
        "a.b = { c = { d.e = [{ d = 1 }], f = 1 } }\n",
        ("a", "b", "c", "d"),
        "a.b = { c = { f = 1 } }\n",
    ),
}


@pytest.mark.parametrize("name", DROPPED)
def test_a_whole_text_without_something(name: str) -> None:
    text, path, wanted = DROPPED[name]
    assert drop(text, path) == wanted


# What else there is


def test_a_place_inside_something_else_is_refused() -> None:
    with pytest.raises(BulkheadError) as error:
        put("[a]\nb = [1]\n", ["a", "b", "c"], 1)
    assert error.value.message == "a.b: expected a table, found [1]"
    with pytest.raises(BulkheadError, match=r'"x.y": expected a table, found \[{ z = 1 }\]'):
        put('[["x.y"]]\nz = 1\n', ["x.y", "z"], 2)


@pytest.mark.parametrize("edited", ["[x]\n", "a = 1\nb = 3\n", "broken"])
def test_an_edit_that_goes_wrong_is_not_handed_out(edited: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toml_text, "_brought", lambda *_: edited)
    with pytest.raises(BulkheadError, match="b: the file's layout leaves no way to change this"):
        put("a = 1\n", ["b"], 2)
    monkeypatch.setattr(toml_text, "_without", lambda *_: edited)
    with pytest.raises(BulkheadError, match="b: the file's layout leaves no way to change this"):
        drop("b = 2\n", ["b"])


def test_values_are_the_same_when_they_are_of_one_type_too() -> None:
    assert same({"a": [1, (2.0, "x")], "b": math.nan}, {"b": math.nan, "a": (1, [2.0, "x"])})
    for one, other in [(1, True), (1, 1.0), (0, False), ([1], [1, 2]), ({"a": 1}, {"b": 1}), ({}, []), ("1", 1)]:
        assert not same(one, other)


@given(st.dictionaries(st.text(max_size=5), _scalars | _tables | st.text() | st.integers() | st.floats(), max_size=3))
def test_a_value_is_written_on_one_line_that_means_it(value: dict[str, Any]) -> None:
    assert "\n" not in render(value)
    assert same(parse(f"x = {render(value)}")["x"], value)
    for key in value:
        assert parse(f"[{dotted([key, 'x'])}]") == {key: {"x": {}}}


def test_a_file_of_many_lines_is_edited_in_no_time() -> None:
    """The time grows with the size and not with its square: a file of 2,000 lines takes less than 0.1 s."""
    text = "".join(f'[{P}.containerd.runtimes.r{n}] # {n}\n\n  a = ["x"]\n  b = {{ c = 1 }}\n\n' for n in range(4000))
    start = process_time()
    after = put(text, RUNSC, OURS)
    assert after == f"{text}\n{SECTIONS}"
    assert drop(after, RUNSC) == text
    assert drop(after, ("plugins",)) == ""
    assert process_time() - start < 10
