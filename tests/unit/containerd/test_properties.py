"""Any configuration with our runtimes in it means what it meant, and ours; without them it is what it was.

Generated configurations: judged by `tomllib`, and a sample of them by the daemons themselves.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead.errors import BulkheadError
from bulkhead.registration import Record
from bulkhead.runtime import Runtime
from deploys.containerd.config import PATH, merge
from tests.oracles.containerd import NAMES, Refused
from tests.unit.containerd.effective import KATA, V1, V2, V3, daemon, dump, engine, flat, with_ours
from tests.unit.helpers import RUNSC
from tests.unit.toml_documents import comments, documents

Case = tuple[str, tuple[int, int], list[Runtime], str | None]
Keys = tuple[str, ...]

ENTRIES: dict[str, dict[str, Any]] = {
    "runsc": {
        "runtime_type": "io.containerd.runsc.v1",
        "options": {"TypeUrl": "io.containerd.runsc.v1.options", "ConfigPath": "/etc/containerd/runsc.toml"},
    },
    "kata": {
        "runtime_type": "io.containerd.kata.v2",
        "privileged_without_host_devices": True,
        "pod_annotations": ["io.katacontainers.*"],
        "options": {"ConfigPath": "/etc/kata-containers/configuration.toml"},
    },
}

DEFAULT = ("containerd", "default_runtime_name")

ESCAPED_HEADER = re.compile(r"^[ \t]*\[.*\\", re.MULTILINE)
"""To containerd 1.x a key such as "\\u0061" in a header is no "a": what it then misses, the proof on the host finds."""

texts = st.tuples(documents, st.sampled_from([V2, V2, V3, V1]), st.sampled_from(["3", "3", "4", "1"])).map(
    lambda drawn: drawn[0].replace(V2, drawn[1]).replace("version = 3", f"version = {drawn[2]}")
)
"""Under the key of any version, also where another one is named."""

cases = st.tuples(
    texts,
    st.sampled_from([(1, 6), (1, 7), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4)]),
    st.sampled_from([[RUNSC], [RUNSC, KATA], [KATA]]),
    st.sampled_from([None, "runsc", "runc"]),
)


@pytest.mark.parametrize("count", [2000, pytest.param(50_000, marks=pytest.mark.long)])
def test_a_merge_loses_nothing_and_can_be_taken_back(count: int) -> None:
    seen: Counter[str] = Counter()
    settings(max_examples=count)(given(cases)(lambda case: seen.update([check(*case)])))()
    # Were nearly all refused, nothing would be tested.
    assert seen["merged"] > count / 3, seen
    assert set(seen) == {"merged", "refused"}


def check(text: str, version: tuple[int, int], runtimes: list[Runtime], default: str | None) -> str:
    """Fail unless the merge of one configuration keeps its promises."""
    try:
        merged = merge(text, runtimes, default, version)
    except BulkheadError as error:
        return "refused" if error.message.startswith(PATH) and error.hint else "refused without a reason"
    assert merged.text is not None
    paths = {recorded.path for recorded in merged.record.settings}
    before, after = tomllib.loads(text), tomllib.loads(merged.text)
    for runtime in runtimes:
        (path,) = (path for path in paths if path[2:] == ("containerd", "runtimes", runtime.name))
        assert at(after, path) == ENTRIES[runtime.name]
    if default is not None:
        (path,) = (path for path in paths if path[3:] == ("default_runtime_name",))
        assert at(after, path) == default
    assert plain(without(after, paths)) == plain(without(before, paths))

    assert merge(merged.text, runtimes, default, version, record=merged.record) == merged

    # The user's own default would dangle. Whether one under another name of the plugin is in force, depends.
    dangling = {
        plugin
        for plugin in (V1, V2, V3)
        if default is None and at(before, ("plugins", plugin, *DEFAULT)) in names(runtimes)
    }
    try:
        removed = merge(merged.text, [], None, version, record=merged.record)
    except BulkheadError as error:
        return "merged" if dangling and "which has to go" in error.message else "removal refused"
    assert not dangling & {path[1] for path in paths if path[3:4] == ("runtimes",)}
    adopted = [path for path in paths if path[3:4] == ("runtimes",) and at(before, path) is not None]
    named = [path for path in paths if path[3:] == ("default_runtime_name",) and at(before, path) in names(runtimes)]
    if adopted or named:
        # What stood under our names stays away.
        assert removed.text is not None
        assert plain(without(tomllib.loads(removed.text), paths)) == plain(without(before, paths))
        assert all(at(tomllib.loads(removed.text), path) is None for path in (*adopted, *named))
        return "merged"
    assert set(comments(text)) <= set(comments(merged.text))
    assert removed.text == text
    assert removed.record == Record()
    return "merged"


def names(runtimes: Sequence[Runtime]) -> set[str]:
    return {runtime.name for runtime in runtimes}


def at(document: Mapping[str, Any], path: Keys) -> Any:
    value: Any = document
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def without(document: Mapping[str, Any], paths: set[Keys]) -> dict[str, Any]:
    """`document` without what stands at `paths`, and without tables that are empty then or were before."""
    left = {}
    for key, value in document.items():
        if (key,) in paths:
            continue
        below = {path[1:] for path in paths if path[:1] == (key,)}
        inner = without(value, below) if isinstance(value, dict) else value
        if inner != {} or not below:
            left[key] = inner
    return left


def plain(value: object) -> str:
    """Text that two values share only when they are the same, also nan, -0.0 and 1.0 beside 1."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {plain(value[key])}' for key in sorted(value))}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(plain, value))}]"
    return repr(value)


@pytest.mark.parametrize("count", [40, pytest.param(1200, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", NAMES)
def test_the_daemon_takes_what_it_took_before(name: str, count: int) -> None:
    """About every second generated file is one that the daemon takes (of 1.x every third)."""
    containerd = daemon(name)
    seen: Counter[str] = Counter()

    def judge(text: str, runtimes: list[Runtime], default: str | None) -> None:
        if containerd.version < (2, 0) and ESCAPED_HEADER.search(text):
            seen["escaped"] += 1
            return
        try:
            before = flat(dump(containerd, {"config.toml": text}))
        except Refused:
            seen["not taken"] += 1
            return
        try:
            merged = merge(text, runtimes, default, containerd.version)
        except BulkheadError:
            seen["refused"] += 1
            return
        after = flat(dump(containerd, {"config.toml": merged.text}))
        wanted = with_ours(before, runtimes, default, containerd.version)
        table = (*engine(containerd.version), "runtimes")
        handlers = {path[len(table)] for path in wanted if path[: len(table)] == table}
        if containerd.version < (2, 0) and handlers <= names(runtimes):
            # Without a runtime but ours CRI does not load: runc comes along.
            after = {path: value for path, value in after.items() if path[: len(table) + 1] != (*table, "runc")}
        assert plain(after) == plain(wanted)
        seen["merged"] += 1

    settings(max_examples=count)(
        given(texts, *(st.sampled_from(x) for x in ([[RUNSC], [RUNSC, KATA]], [None, "runsc"])))(judge)
    )()
    assert seen["merged"] >= count / 10, seen
