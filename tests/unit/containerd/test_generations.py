"""Every generation of containerd, asked itself, for every kind of configuration: all that was in effect stays.

A combination is taken (`holds` says what that means), or refused with the message that stands here by hand, or is one
that the daemon itself doesn't take. None is left out: what stands in no table has to be taken.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.runtime import Runtime
from tests.oracles.containerd import NAMES, Containerd, Refused
from tests.unit.containerd.cases import DEBIAN, DOCKER, IMPORTS, ONE_FILE
from tests.unit.containerd.effective import KATA, V2, V3, Texts, daemon, dump, engine, flat, holds, planned, with_ours
from tests.unit.helpers import RUNSC

CASES: dict[str, Texts | None] = {**ONE_FILE, **IMPORTS, "upstream's default": None}

ALL, OLD, NEW = "1.6 1.7 2.1 2.2 2.3", "1.6 1.7", "2.1 2.2 2.3"
MAIN, DROP_IN = "/etc/containerd/config.toml: ", "/etc/containerd/conf.d/a.toml: "

NOT_TAKEN = {
    "Debian, byte order mark": NEW,
    "version 3": "1.7",
    "version 3, runc and crun": "1.7",
    "version 3, SystemdCgroup alone": "1.7",
    "version 3, own runsc": "1.7",
    "version 3, version 2 key": "1.7",
    "version 3, runtimes under the key of version 2": "1.7",
    "version 3, CRI off": "1.7",
    "version 4": "1.7 2.1 2.2",
    "version 4, own runsc": "1.7 2.1 2.2",
    "version 4, runtimes under the key of version 2": "1.7 2.1 2.2",
    "version 5": "1.7 2.1 2.2 2.3",
    "version as text": ALL,
    "broken": ALL,
    "key twice": ALL,
    "header into an inline table": ALL,
    "plugins no table": ALL,
    "runtimes no table": ALL,
    "control character": NEW,
    "glob, version 3, without a match": "1.7",
    "a file that is not there": OLD,
    "a drop-in with crun, version 3": "1.7",
    "a drop-in with crun, version 3, no version": "1.7",
    "two drop-ins, version 3": "1.7",
    "a drop-in with runsc, version 3": "1.7",
    "runsc in both, version 3": "1.7",
    "a drop-in with the default, version 3": "1.7",
    "the default in both, version 3": "1.7",
    "main 2, drop-in 3": "1.7",
    "main 2, drop-in 4": "1.7 2.1 2.2",
    "main 4, drop-in 3": "1.7",
    "main 4, drop-in without version, key of version 2": "1.7 2.1 2.2",
    "main 2, drop-in 3 of no plugin": "1.7",
    "imports only, drop-in 3": "1.7",
    "version 1, drop-in 2": OLD,
    "a path, not clean": "1.7",
    "a path with a question mark": "1.7",
    "a dotfile": "1.7",
    "a file in a deeper directory": "1.7",
    "a nested import, version 3": "1.7",
    "a nested import of the default": "1.7",
    "a file imported twice": "1.7",
    "a drop-in that is broken": ALL,
    "a drop-in with a byte order mark": "1.7 2.1 2.2 2.3",
    "imports no list": ALL,
}
"""Case → the generations that don't take it as it is. Without a message below, the host's check finds that out."""


def newer(version: int, path: str = MAIN, generations: str = OLD) -> dict[str, str]:
    """What is said to a version 3 or 4."""
    up_to_2 = f"{path}is a configuration of version {version}, but containerd {{daemon}} reads up to version 2"
    return {generations: up_to_2} | ({"2.1 2.2": up_to_2[:-1] + "3"} if version == 4 and generations == OLD else {})


def off(plugin: str, path: str = MAIN, generations: str = ALL) -> dict[str, str]:
    return {
        generations: f"{path}disabled_plugins switches CRI off ({plugin}), as Docker's package does: "
        "no handler has effect"
    }


def first(path: str = MAIN, said: str = " (it names none)") -> dict[str, str]:
    return {
        "2.1 2.2": f"{path}is a configuration of version 1{said}, of which containerd {{daemon}} ignores the part on "
        "runtimes"
    }


def not_found(name: str, generations: str = "1.7") -> dict[str, str]:
    return {generations: f"{MAIN}imports /etc/containerd/{name}, which containerd does not find or can't read"}


def twice(key: str) -> dict[str, str]:
    return {NEW: f"{key} stands in /etc/containerd/conf.d/a.toml and in /etc/containerd/config.toml"}


MARK = "begins with a byte order mark, which containerd 2 refuses"

REFUSED: dict[str, dict[str, str]] = {
    "Debian, byte order mark": {ALL: MAIN + MARK},
    "Docker": off("cri"),
    "Docker, version 2": off(V2),
    "another plugin off, no version": first(),
    "no version, proxy plugin": first(),
    "no version, version 2 key": first(),
    "no version, own runsc alone under the key of version 2": first(),
    "version 1, own runsc alone": first(),
    "version 1": first(),
    "version 1, drop-in 2": first(),
    "version 1, said": first(said=""),
    "version 1, said, the key of version 2": first(said=""),
    "version 1, said, runtimes under the key of version 2": first(said=""),
    "version 1, said, runtimes under the key of version 3": first(said=""),
    "version 1, nothing of CRI": first(said=""),
    "no version, the keys of version 1 and 2": first()
    | {"2.3": f"{MAIN}has tables for cri and for {V2}, of which containerd takes one by chance"},
    "version 0": {ALL: f"{MAIN}version: expected one of 1, 2, 3, 4, found 0"},
    "version 2, CRI off": off(V2),
    "version 2, own runsc under one key, runc under the other": {
        NEW: f"{MAIN}runtimes under {V2} are hidden by runsc under {V3}"
    },
    "version 3": newer(3),
    "version 3, runc and crun": newer(3),
    "version 3, SystemdCgroup alone": newer(3),
    "version 3, own runsc": newer(3),
    "version 3, version 2 key": newer(3),
    "version 3, runtimes under the key of version 2": newer(3),
    "version 3, CRI off": newer(3) | off(V3, generations=NEW),
    "version 4": newer(4),
    "version 4, own runsc": newer(4),
    "version 4, runtimes under the key of version 2": newer(4),
    "version 5": {ALL: f"{MAIN}version: expected one of 1, 2, 3, 4, found 5"},
    "version as text": {ALL: f"{MAIN}version: expected one of 1, 2, 3, 4, found '2'"},
    "broken": {ALL: f"{MAIN}not valid TOML: Expected ']' at the end of a table declaration (at line 2, column 9)"},
    "key twice": {ALL: f"{MAIN}not valid TOML: Cannot overwrite a value (at line 2, column 12)"},
    "header into an inline table": {
        ALL: f"{MAIN}not valid TOML: Cannot declare ('plugins', '{V2}', 'containerd', 'runtimes', 'runc') twice "
        "(at line 3, column 62)"
    },
    "plugins no table": {ALL: f"{MAIN}{V2}: its parent is no table"},
    "runtimes no table": {ALL: f"{MAIN}runsc: its parent is no table"},
    "control character": {ALL: rf"{MAIN}not valid TOML: Found invalid character '\x07' (at line 1, column 15)"},
    "glob, version 3, without a match": newer(3),
    "a file that is not there": not_found("gone.toml", ALL),
    "a drop-in with crun, version 3": newer(3),
    "a drop-in with crun, version 3, no version": newer(3),
    "two drop-ins, version 3": newer(3),
    "a drop-in with runsc, version 3": newer(3),
    "runsc in both": twice("runtimes.runsc"),
    "runsc in both, version 3": newer(3) | twice("runtimes.runsc"),
    "a drop-in with the default, version 3": newer(3),
    "the default in both, version 3": newer(3),
    "main 2, drop-in 3": newer(3, DROP_IN, "1.6"),
    "main 3, drop-in 2": newer(3),
    "main 2, drop-in 4": newer(4, DROP_IN, "1.6"),
    "main 4, drop-in 3": newer(4),
    "main 4, drop-in 2": newer(4),
    "main 4, drop-in without version, key of version 2": newer(4),
    "main 2, drop-in 3 of no plugin": newer(3, DROP_IN, "1.6"),
    "main 3, drop-in 2 of no plugin": newer(3),
    "imports only, drop-in 3": newer(3, DROP_IN, "1.6"),
    "no version, drop-in of version 1": first(DROP_IN),
    "main 2, drop-in of version 1": first(DROP_IN, ""),
    "main 3, drop-in of version 1": newer(3) | first(DROP_IN, ""),
    "version 3, drop-in 2, runsc under the other key": newer(3),
    # 1.7 does not say what it would read: it refuses the version first.
    "a path, not clean": newer(3, generations="1.6") | not_found("own.toml"),
    "a path with a question mark": newer(3, generations="1.6") | not_found("own?.toml"),
    "a nested import, version 3": newer(3, generations="1.6") | not_found("own.toml"),
    "a nested import of the default": newer(3, generations="1.6") | not_found("own.toml"),
    "a file imported twice": newer(3, generations="1.6") | not_found("conf.d/b.toml"),
    "a dotfile": newer(3),
    "a file in a deeper directory": newer(3),
    "a drop-in with a byte order mark": {"1.6": DROP_IN + MARK} | newer(3, generations="1.7"),
    "a drop-in that switches CRI off": off(V2, DROP_IN),
}
"""Case → generations → the message."""

REFUSED_DEFAULT: dict[str, dict[str, str]] = {
    "version 2, legacy default": {OLD: f"{MAIN}the table default_runtime goes before default_runtime_name"},
    "the default in both, version 3": twice("default_runtime_name"),
}
"""What is refused besides when a default is asked for."""

HEALED = {
    "version 1, own runsc alone",
    "version 2, empty runtimes",
    "version 2, inline empty runtimes",
    "version 2, own runsc alone",
    "version 2, image keys and own runsc",
    "a drop-in with runsc alone",
}
"""Where containerd 1.x has no runc, so that CRI does not load: there it comes with ours."""

OWN_RUNSC = {
    *(name for name in CASES if "runsc" in name),
    "version 1, said, the key of version 2",
    *("a path, not clean", "a path with a question mark", "a dotfile", "a nested import", "a nested import, version 3"),
    *("no version, drop-in of version 1", "main 4, drop-in without version, key of version 2"),
}
"""Where a runsc of the user's stands, which ours replaces."""

LEFT_WITHOUT: dict[str, dict[tuple[str, ...], str]] = {
    "version 2, image keys and own runsc": {("plugins", "io.containerd.cri.v1.images", "snapshotter"): "overlayfs"}
}
"""What 2.x takes once the user's runsc has gone with ours: without a runtime it ignores their key (its own bug)."""


@pytest.fixture(params=NAMES)
def containerd(request: pytest.FixtureRequest) -> Containerd:
    return daemon(request.param)


def of(case: str, containerd: Containerd) -> Texts:
    texts = CASES[case]
    if texts is None:
        command = [str(containerd.path), "config", "default"]
        texts = {"config.toml": subprocess.run(command, capture_output=True, text=True, check=True).stdout}
    return texts


def expected(table: dict[str, dict[str, str]], case: str, containerd: Containerd) -> str | None:
    name = "{}.{}".format(*containerd.version)
    messages = [text for generations, text in table.get(case, {}).items() if name in generations.split()]
    return messages[0].format(daemon=name) if messages else None


def built_in_runc(containerd: Containerd) -> dict[tuple[str, ...], str]:
    table = (*engine(containerd.version), "runtimes", "runc")
    mode = {(*table, "sandbox_mode"): "podsandbox"} if containerd.version >= (1, 7) else {}
    return {(*table, "runtime_type"): "io.containerd.runc.v2", **mode}


BOTH = ([RUNSC, KATA], "runsc")
"""Runtimes and default of the normal run."""

LONG = {name: [] if name in ("trixie", "forky", "2.3") else [pytest.mark.long] for name in NAMES}
"""One generation of each kind is in the normal run; 1.6 and 2.2, so near to 1.7 and 2.1, are in the long one."""


@pytest.mark.parametrize(
    ("name", "runtimes", "default"),
    [
        *(pytest.param(name, *BOTH, id=f"{name}-two", marks=LONG[name]) for name in NAMES),
        *(pytest.param(name, [RUNSC], None, id=f"{name}-one", marks=pytest.mark.long) for name in NAMES),
    ],
)
@pytest.mark.parametrize("case", CASES)
def test_all_that_was_in_effect_stays(case: str, name: str, runtimes: Sequence[Runtime], default: str | None) -> None:
    containerd = daemon(name)
    texts = of(case, containerd)
    taken = "{}.{}".format(*containerd.version) not in NOT_TAKEN.get(case, "").split()
    message = expected(REFUSED, case, containerd)
    if default is not None and message is None:
        message = expected(REFUSED_DEFAULT, case, containerd)
    imports: list[str] = []
    if taken:
        imports = dump(containerd, texts).get("imports", [])
    else:
        with pytest.raises(Refused):
            dump(containerd, texts)
    if message is not None:
        with pytest.raises(BulkheadError) as error:
            planned(containerd, texts, imports, runtimes, default, {})
        assert error.value.message == message
        assert error.value.hint
    elif taken:
        healed = built_in_runc(containerd) if case in HEALED and containerd.version < (2, 0) else None
        own = ["runsc"] if case in OWN_RUNSC else []
        holds(containerd, texts, runtimes, default, healed=healed, replaced=own, left=LEFT_WITHOUT.get(case))


def test_every_table_names_cases() -> None:
    named = {*NOT_TAKEN, *REFUSED, *REFUSED_DEFAULT, *HEALED, *OWN_RUNSC, *LEFT_WITHOUT, *ON}
    assert named <= CASES.keys()


ON: dict[str, Texts] = {
    "Docker": {"config.toml": DOCKER.replace('"cri"', "")},
    "Docker, version 2": {"config.toml": "version = 2\ndisabled_plugins = []\n"},
    "version 2, CRI off": {"config.toml": 'version = 2\ndisabled_plugins = ["io.containerd.snapshotter.v1.zfs"]\n'},
    "version 3, CRI off": {"config.toml": "version = 3\ndisabled_plugins = []\n"},
    "a drop-in that switches CRI off": {
        **IMPORTS["a drop-in that switches CRI off"],
        "conf.d/a.toml": "version = 2\ndisabled_plugins = []\n",
    },
}


@pytest.mark.parametrize("case", ON)
def test_cri_is_switched_on_where_that_is_asked(case: str, containerd: Containerd) -> None:
    if case == "version 3, CRI off" and containerd.version < (2, 0):
        with pytest.raises(BulkheadError, match=r"is a configuration of version 3, but containerd 1\.\d reads up to"):
            planned(containerd, of(case, containerd), [], [RUNSC], None, {}, enable_cri=True)
        return
    holds(containerd, of(case, containerd), switched_on=ON[case])


@pytest.mark.parametrize("texts", [{"config.toml": None}, {"config.toml": DEBIAN}], ids=["no file", "Debian"])
def test_a_runtime_that_is_wanted_no_more_goes(texts: Texts, containerd: Containerd) -> None:
    imports = dump(containerd, texts).get("imports", [])
    before = flat(dump(containerd, texts))
    both, records = planned(containerd, texts, imports, [RUNSC, KATA], "kata", {})
    one, records = planned(containerd, both, imports, [RUNSC], None, records)
    assert flat(dump(containerd, one)) == with_ours(before, [RUNSC], None, containerd.version)
    assert planned(containerd, one, imports, [RUNSC], None, records) == (one, records)
    other, records = planned(containerd, one, imports, [KATA], None, records)
    assert flat(dump(containerd, other)) == with_ours(before, [KATA], None, containerd.version)
    assert planned(containerd, other, imports, [], None, records) == (texts, {})


def test_an_upgrade_from_1_to_2_keeps_all(containerd: Containerd) -> None:
    """What was written for 1.7 is what this containerd takes, and is taken out again under it."""
    old = daemon("trixie")
    texts: Texts = {"config.toml": DEBIAN}
    written, records = planned(old, texts, [], [RUNSC, KATA], "runsc", {})
    if containerd.version >= (2, 0):
        before = flat(dump(containerd, texts))
        assert flat(dump(containerd, written)) == with_ours(before, [RUNSC, KATA], "runsc", containerd.version)
        again, records = planned(containerd, written, [], [RUNSC, KATA], "runsc", records)
        assert flat(dump(containerd, again)) == with_ours(before, [RUNSC, KATA], "runsc", containerd.version)
        assert planned(containerd, again, [], [], None, records) == (texts, {})
