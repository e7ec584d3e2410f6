"""What containerd makes of files, before our runtimes come and after: the invariant, and the binaries that judge it.

Before and after are compared flattened, key by key. A zero value ("", 0, false, [], {}) says what an absent key says.
`version` and `imports` name files and forms, not settings.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import pytest

from bulkhead.registration import Ledger, Record
from bulkhead.runtime import Runtime
from deploys.containerd.config import PATH, Merged, Source, load_order, plan
from tests.oracles.containerd import Containerd, named
from tests.unit.helpers import RUNSC

V1, V2, V3 = "cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"
ETC = "/etc/containerd/"

KATA = Runtime(
    name="kata",
    runtime_type="io.containerd.kata.v2",
    options={"ConfigPath": "/etc/kata-containers/configuration.toml"},
    handler={"privileged_without_host_devices": True, "pod_annotations": ["io.katacontainers.*"]},
)

ENTRIES: dict[str, dict[str, Any]] = {
    "runsc": {
        "runtime_type": "io.containerd.runsc.v1",
        "options.TypeUrl": "io.containerd.runsc.v1.options",
        "options.ConfigPath": "/etc/containerd/runsc.toml",
    },
    "kata": {
        "runtime_type": "io.containerd.kata.v2",
        "privileged_without_host_devices": True,
        "pod_annotations": ["io.katacontainers.*"],
        "options.ConfigPath": "/etc/kata-containers/configuration.toml",
    },
}
"""The runtimes of these tests as containerd has to have them. It fills in no more: its defaults for the other keys of
an entry are all zero (2.x prints `runtime_path = ""`, `pod_annotations = []`, `sandboxer = ""` and the like)."""

Flat = dict[tuple[str, ...], Any]


def daemon(name: str) -> Containerd:
    """The containerd `name`; without it the test is skipped."""
    return named(name) or pytest.skip(f"containerd {name}: no Go here that can build it")


def engine(containerd: tuple[int, int]) -> tuple[str, ...]:
    """Where a dump shows the runtimes."""
    return ("plugins", V2 if containerd < (2, 0) else V3, "containerd")


def flat(document: Mapping[str, Any]) -> Flat:
    """Path → value of all that a dump says."""
    return {path: value for path, value in _leaves((), document) if path[:1] not in (("version",), ("imports",))}


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves((*path, key), inner)
    elif value:
        yield path, value


def with_ours(before: Flat, runtimes: Sequence[Runtime], default: str | None, containerd: tuple[int, int]) -> Flat:
    """What has to be in effect where `before` was: no more and no less."""
    table = engine(containerd)
    names = {runtime.name for runtime in runtimes}
    wanted = {
        path: value
        for path, value in before.items()
        if path[: len(table) + 1] != (*table, "runtimes") or path[len(table) + 1] not in names
    }
    for runtime in runtimes:
        for key, value in ENTRIES[runtime.name].items():
            wanted[(*table, "runtimes", runtime.name, *key.split("."))] = value
    if default is not None:
        wanted[(*table, "default_runtime_name")] = default
    return wanted


Texts = dict[str, str | None]
"""Name below /etc/containerd → text."""


def dump(containerd: Containerd, texts: Texts) -> dict[str, Any]:
    """What `containerd` takes from these files. Raises Refused."""
    return _dump(containerd, tuple(texts.items()))


@lru_cache(maxsize=64)
def _dump(containerd: Containerd, items: tuple[tuple[str, str | None], ...]) -> dict[str, Any]:
    texts = dict(items)
    main = texts.get("config.toml")
    beside = {name: text.encode() for name, text in texts.items() if name != "config.toml" and text is not None}
    return containerd.dump(None if main is None else main.encode(), beside)


def sources(texts: Texts, imports: Sequence[str]) -> list[Source]:
    """The files as a look finds them: the main one, and those that the patterns of its dump name."""
    patterns = [posixpath.normpath(posixpath.join(ETC, pattern)) for pattern in imports]
    imported = [
        Source(ETC + name, text)
        for name, text in texts.items()
        if name != "config.toml"
        and any(ETC + name == pattern or PurePosixPath(ETC + name).match(pattern) for pattern in patterns)
    ]
    return load_order(Source(PATH, texts.get("config.toml")), imported)


def planned(
    containerd: Containerd,
    texts: Texts,
    imports: Sequence[str],
    runtimes: Sequence[Runtime],
    default: str | None,
    records: Mapping[str, Record],
    enable_cri: bool = False,
) -> tuple[Texts, dict[str, Record]]:
    """The files and the records after a run."""
    merged: dict[str, Merged] = plan(
        sources(texts, imports),
        runtimes,
        default,
        containerd.version,
        ledger=Ledger(files=dict(records)),
        enable_cri=enable_cri,
    )
    after = {**texts, **{path.removeprefix(ETC): one.text for path, one in merged.items()}}
    return after, {path: one.record for path, one in merged.items() if one.record.settings}


def holds(
    containerd: Containerd,
    texts: Texts,
    runtimes: Sequence[Runtime] = (RUNSC,),
    default: str | None = None,
    *,
    switched_on: Texts | None = None,
    healed: Mapping[tuple[str, ...], Any] | None = None,
    replaced: Sequence[str] = (),
    left: Mapping[tuple[str, ...], Any] | None = None,
) -> Texts:
    """Fail unless the invariant holds for these files: what is effective after is what was before, and ours.

    `healed` is what comes besides (a runc without which CRI would not load). An entry `replaced`, which the user had
    under a name of ours, does not come back, and `left` is in effect then; all other bytes do. The result is the files
    with our runtimes.

    Raises Refused where the daemon doesn't take the files as they are, BulkheadError where the merge doesn't.
    """
    raw, enable_cri = dump(containerd, texts), switched_on is not None
    before, imports = flat(dump(containerd, switched_on or texts)), raw.get("imports", [])
    after, records = planned(containerd, texts, imports, runtimes, default, {}, enable_cri)
    wanted = with_ours(before, runtimes, default, containerd.version) | dict(healed or {})
    assert flat(dump(containerd, after)) == wanted

    again, kept = planned(containerd, after, imports, runtimes, default, records, enable_cri)
    assert again == after
    assert kept == records

    removed, nothing = planned(containerd, after, imports, [], None, records)
    assert nothing == {}
    if not replaced:
        assert removed == texts
    else:
        rest = flat(dump(containerd, removed))
        # Without any runtimes named, 1.x has its own runc again.
        back = dict(healed or {}) | (dict(left or {}) if containerd.version >= (2, 0) else {})
        table = (*engine(containerd.version), "runtimes")
        gone = {(*table, name) for name in replaced}
        assert rest == {key: value for key, value in before.items() if key[: len(table) + 1] not in gone} | back
    return after
