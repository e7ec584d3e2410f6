"""Generated JSON: documents in every layout that an operator may have chosen, among them those that dockerd reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle, product
from typing import Any

from hypothesis import strategies as st

BOM = "\ufeff"

keys = st.sampled_from(["runtimes", "runsc", "a", "größe", "x.y", "😀", "", 'q"\\\n']) | st.text(max_size=3)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, 10**30])
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
objects = st.recursive(
    st.dictionaries(keys, values, max_size=3), lambda inner: st.dictionaries(keys, inner | values, max_size=4)
)
_blanks = st.sampled_from(["", " ", "\n", "\r\n", "\n  ", "\n\t", "\r\n    ", "\n\n"]) | st.text(" \t\r\n", max_size=4)


@dataclass
class Document:
    """A document, what it means, and where in its text the value at each path stands."""

    data: dict[str, Any]
    text: str
    spans: dict[tuple[str, ...], tuple[int, int]] = field(default_factory=dict)


@st.composite
def documents(draw: st.DrawFn, data: st.SearchStrategy[dict[str, Any]] = objects) -> Document:
    """Documents with any whitespace between any two tokens, and any characters of their strings escaped."""
    blanks = cycle(draw(st.lists(_blanks, min_size=1, max_size=7)))
    escaped = cycle(draw(st.lists(st.booleans(), min_size=1, max_size=5)))
    document = Document(draw(data), draw(st.sampled_from(["", BOM])))

    def write(value: object, path: tuple[str, ...] | None) -> None:
        """A path of None is inside an array, where no path leads."""
        start = len(document.text)
        if isinstance(value, dict):
            document.text += "{"
            for number, (key, child) in enumerate(value.items()):
                document.text += "," * (number > 0) + next(blanks) + _string(key, escaped) + next(blanks) + ":"
                document.text += next(blanks)
                write(child, None if path is None else (*path, key))
                document.text += next(blanks)
            document.text += "}" if value else next(blanks) + "}"
        elif isinstance(value, list):
            document.text += "["
            for number, child in enumerate(value):
                document.text += "," * (number > 0) + next(blanks)
                write(child, None)
                document.text += next(blanks)
            document.text += "]" if value else next(blanks) + "]"
        else:
            document.text += _string(value, escaped) if isinstance(value, str) else json.dumps(value)
        if path is not None:
            document.spans[path] = start, len(document.text)

    document.text += next(blanks)
    write(document.data, ())
    document.text += next(blanks)
    return document


def _string(value: str, escaped: Iterator[bool]) -> str:
    def character(one: str) -> str:
        if not next(escaped):
            return json.dumps(one, ensure_ascii=False)[1:-1]
        units = one.encode("utf-16-be")
        return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

    return '"' + "".join(map(character, value)) + '"'


# Files that dockerd reads

FOREIGN = ["runc", "crun", "nvidia", ""]
"""Names of runtimes that only users give."""

PLAUSIBLE: dict[str, list[Any]] = {
    "log-driver": ["json-file", "journald", "local"],
    "log-opts": [{"max-size": "10m", "max-file": "3"}, {"tag": "{{.Name}}/größe"}, {}],
    "labels": [["größe=ß"], ["a=1", "b=<&>"], []],
    "exec-opts": [["native.cgroupdriver=systemd"]],
    "storage-driver": ["overlay2"],
    "storage-opts": [["overlay2.size=10G"]],
    "data-root": ["/srv/docker"],
    "dns": [["10.0.0.2", "2001:db8::1"]],
    "bip": ["10.17.0.1/16"],
    "mtu": [1400],
    "debug": [True, False],
    "live-restore": [True, False],
    "icc": [False],
    "userland-proxy": [False],
    "no-new-privileges": [True],
    "registry-mirrors": [["https://mirror.example.net"], []],
    "insecure-registries": [["10.0.0.5:5000"]],
    "default-address-pools": [[{"base": "172.30.0.0/16", "size": 24}, {"base": "172.31.0.0/16", "size": 24}]],
    "default-ulimits": [{"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 64000}}],
    "max-concurrent-downloads": [3, 10],
    "shutdown-timeout": [60],
    "features": [{"buildkit": True}, {"containerd-snapshotter": False}],
    "metrics-addr": ["127.0.0.1:9323"],
    "builder": [{"gc": {"enabled": True, "defaultKeepStorage": "20GB"}}],
    "hosts": [["unix:///var/run/docker.sock"]],
    "log-level": ["warn", None],
}
"""Keys of dockerd with values that it takes."""

_plausible_runtimes = st.dictionaries(
    st.sampled_from(FOREIGN),
    st.sampled_from(
        [
            {"path": "/usr/bin/nvidia-container-runtime", "runtimeArgs": []},
            {"path": "crun"},
            {"path": "/opt/bin/x", "runtimeArgs": ["--a=b c", "ß"]},
            {"runtimeType": "io.containerd.kata.v2", "options": {"TypeUrl": "x", "ConfigPath": "/etc/x.toml"}},
        ]
    ),
    max_size=3,
)
_odd_keys = keys.filter(lambda key: key not in ("runtimes", "default-runtime", *PLAUSIBLE))
_odd_values = st.none() | st.sampled_from([0, 1, True, [], {}, "x", [{"path": "a"}]]) | values
_odd_runtimes = st.dictionaries(
    st.sampled_from(FOREIGN) | keys.filter(lambda key: key != "runsc"), _odd_values, max_size=3
)


_plausible_members = [(key, value) for key, choice in PLAUSIBLE.items() for value in choice]


@st.composite
def daemon_data(draw: st.DrawFn, *, odd: bool = True) -> dict[str, Any]:
    """What a daemon.json may mean, with nothing of ours in it; `odd` also what dockerd would not take."""
    members: st.SearchStrategy[tuple[str, Any]] = st.sampled_from(_plausible_members)
    if odd:
        members = st.one_of(members, members, st.tuples(_odd_keys, values))
    items = draw(st.lists(members, max_size=5, unique_by=lambda member: member[0]))
    if draw(st.booleans()):
        runtimes = _plausible_runtimes | _odd_runtimes if odd else _plausible_runtimes
        items.insert(draw(st.integers(0, len(items))), ("runtimes", draw(runtimes)))
    if draw(st.booleans()):
        default = draw(st.sampled_from([*FOREIGN, *([None, 7, ["crun"]] if odd else [])]))
        items.insert(draw(st.integers(0, len(items))), ("default-runtime", default))
    return dict(items)


_LAYOUTS = list(product([None, 1, 2, 3, 4, "\t"], [": ", ":"], [True, False], ["\n", "\r\n"], ["", BOM], ["", "\n"]))


def _as_a_library_writes(layout: tuple[int | str | None, str, bool, str, str, str], data: dict[str, Any]) -> str:
    indent, colon, ascii_only, newline, bom, end = layout
    comma = "," if indent is not None else "," + colon[1:]
    text = json.dumps(data, indent=indent, separators=(comma, colon), ensure_ascii=ascii_only)
    return bom + (text + end).replace("\n", newline)


def daemon_texts(data: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[str]:
    """Files that mean `data`: as programs write them, and with any whitespace and any escapes."""
    written = st.builds(_as_a_library_writes, st.sampled_from(_LAYOUTS), data)
    return written | documents(data).map(lambda document: document.text)


blank_files = st.sampled_from(
    [None, "", "\n", " \t\r\n\n", BOM, BOM + "\n", "{}", "{}\n", "{ }", "{\n}\n", "{\r\n\r\n}"]
)
"""Files that say nothing, among them the one that isn't there."""
