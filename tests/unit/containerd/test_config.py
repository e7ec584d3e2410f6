"""The texts that containerd's configuration becomes; what the daemons make of them is in test_generations.py."""

import tomllib
from dataclasses import replace
from typing import Any

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.registration import Ledger, Record
from bulkhead.runtime import Runtime
from deploys.containerd.config import PATH, Merged, Source, entry, load_order, merge, plan
from tests.unit.containerd.cases import DEBIAN, DOCKER
from tests.unit.containerd.effective import ETC, KATA, V1, V2, V3
from tests.unit.helpers import RUNSC

OLD, NEW = [(1, 6), (1, 7)], [(2, 0), (2, 1), (2, 2), (2, 3)]

OURS = {
    "runtime_type": "io.containerd.runsc.v1",
    "options": {"TypeUrl": "io.containerd.runsc.v1.options", "ConfigPath": "/etc/containerd/runsc.toml"},
}
RUNC = {"runtime_type": "io.containerd.runc.v2"}
KATAS = {
    "runtime_type": "io.containerd.kata.v2",
    "privileged_without_host_devices": True,
    "pod_annotations": ["io.katacontainers.*"],
    "options": {"ConfigPath": "/etc/kata-containers/configuration.toml"},
}


def section(plugin: str) -> str:
    return f"""
[plugins."{plugin}".containerd.runtimes.runsc]
  # Registered by Bulkhead from its inventory.
  runtime_type = "io.containerd.runsc.v1"
  [plugins."{plugin}".containerd.runtimes.runsc.options]
    TypeUrl = "io.containerd.runsc.v1.options"
    ConfigPath = "/etc/containerd/runsc.toml"
"""


RUNC_SECTION = f"""
[plugins."{V2}".containerd.runtimes.runc]
  # containerd before 2.0 forgets its built-in runc as soon as another runtime is named.
  runtime_type = "io.containerd.runc.v2"
"""


def text_of(merged: Merged) -> str:
    assert merged.text is not None
    return merged.text


def refused(text: str | None, version: tuple[int, int], default: str | None = None) -> BulkheadError:
    with pytest.raises(BulkheadError) as error:
        merge(text, [RUNSC], default, version)
    assert error.value.message.startswith(PATH)
    return error.value


# What is written


def test_a_new_file_for_1_6() -> None:
    assert merge(None, [RUNSC], None, (1, 6)).text == "version = 2\n" + RUNC_SECTION + section(V2)


def test_a_new_file_for_1_7_with_a_default() -> None:
    text = merge(None, [RUNSC], "runsc", (1, 7)).text
    runc = RUNC_SECTION + '  sandbox_mode = "podsandbox"\n'
    default = f'\n[plugins."{V2}".containerd]\n  default_runtime_name = "runsc"\n'
    assert text == "version = 2\n" + runc + section(V2) + default


@pytest.mark.parametrize("version", NEW)
def test_a_new_file_for_2(version: tuple[int, int]) -> None:
    assert merge(None, [RUNSC], None, version).text == "version = 3\n" + section(V3)


@pytest.mark.parametrize("version", NEW)
def test_debian_s_file_stays_version_2_under_2(version: tuple[int, int]) -> None:
    assert merge(DEBIAN, [RUNSC], None, version).text == DEBIAN + section(V2)


def test_debian_s_file_under_1_6() -> None:
    assert merge(DEBIAN, [RUNSC], None, (1, 6)).text == DEBIAN + RUNC_SECTION + section(V2)


def test_a_file_with_carriage_returns_gets_them() -> None:
    text = merge(DEBIAN.replace("\n", "\r\n"), [RUNSC], None, (2, 1)).text
    assert text == (DEBIAN + section(V2)).replace("\n", "\r\n")


def test_docker_s_file_with_cri_switched_on() -> None:
    merged = merge(DOCKER, [RUNSC], None, (2, 1), enable_cri=True)
    on = DOCKER.replace('disabled_plugins = ["cri"]', "disabled_plugins = []").replace("#root", "version = 3\n#root", 1)
    assert sorted(text_of(merged).splitlines()) == sorted((on + section(V3)).splitlines())
    assert tomllib.loads(text_of(merged)) == {
        "version": 3,
        "disabled_plugins": [],
        "plugins": {V3: {"containerd": {"runtimes": {"runsc": OURS}}}},
    }
    assert merge(merged.text, [], None, (2, 1), record=merged.record).text == DOCKER


def test_other_plugins_stay_off_when_cri_is_switched_on() -> None:
    text = f'version = 2\ndisabled_plugins = ["a", "{V2}", "b"]\n'
    after = tomllib.loads(text_of(merge(text, [RUNSC], None, (1, 7), enable_cri=True)))
    assert after["disabled_plugins"] == ["a", "b"]


CRUN = f"""\
version = 2 # of 1.7
# ours
[plugins."{V2}".containerd]
  default_runtime_name = "crun"   # faster
  [plugins."{V2}".containerd.runtimes.crun]
    runtime_type = "io.containerd.runc.v2"
    [plugins."{V2}".containerd.runtimes.crun.options]
      BinaryName = "/usr/bin/crun"
"""


@pytest.mark.parametrize("version", OLD + NEW)
def test_runtimes_of_the_user_stay_and_runc_is_not_added(version: tuple[int, int]) -> None:
    assert merge(CRUN, [RUNSC], None, version).text == CRUN + section(V2)


def test_a_default_is_changed_in_its_line_and_comes_back() -> None:
    merged = merge(CRUN, [RUNSC], "runsc", (1, 7))
    assert merged.text == CRUN.replace('"crun"   #', '"runsc"   #') + section(V2)
    assert merge(merged.text, [RUNSC], None, (1, 7), record=merged.record).text == CRUN + section(V2)


def test_two_runtimes() -> None:
    after = tomllib.loads(text_of(merge(DEBIAN, [RUNSC, KATA], None, (2, 1))))
    assert after["plugins"][V2]["containerd"] == {"runtimes": {"runsc": OURS, "kata": KATAS}}


def test_a_runtime_without_options_has_none() -> None:
    assert entry(Runtime(name="crun", runtime_type="io.containerd.runc.v2")) == RUNC


def test_a_change_of_the_entry_is_brought_in() -> None:
    first = merge(DEBIAN, [RUNSC], None, (2, 1))
    moved = replace(RUNSC, options={**RUNSC.options, "ConfigPath": "/etc/containerd/other.toml"})
    second = merge(first.text, [moved], None, (2, 1), record=first.record)
    assert second.text == DEBIAN + section(V2).replace("runsc.toml", "other.toml")
    assert merge(second.text, [], None, (2, 1), record=second.record).text == DEBIAN


# The user's own runsc

OWN = f"""\
version = 2
[plugins."{V2}".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."{V2}".containerd.runtimes.runsc] # by hand
  runtime_type = "io.containerd.runsc.v1"
  pod_annotations = ["dev.gvisor.*"]
  runtime_path = "/home/dev/shim"
  [plugins."{V2}".containerd.runtimes.runsc.options]
    TypeUrl = "io.containerd.runsc.v1.options"
    ConfigPath = "/home/dev/runsc.toml"
    Extra = "x"

# the end
[debug]
  level = "info"
"""


@pytest.mark.parametrize("version", OLD + NEW)
def test_an_entry_of_our_name_becomes_ours_and_goes_with_us(version: tuple[int, int]) -> None:
    merged = merge(OWN, [RUNSC], None, version)
    lines = [line for line in OWN.splitlines() if not any(w in line for w in ("annotations", "/shim", "Extra"))]
    assert text_of(merged).splitlines() == [line.replace("/home/dev", "/etc/containerd") for line in lines]
    assert merge(merged.text, [RUNSC], None, version, record=merged.record) == merged
    gone = merge(merged.text, [], None, version, record=merged.record)
    assert gone.record == Record()
    assert tomllib.loads(text_of(gone)) == {
        "version": 2,
        "plugins": {V2: {"containerd": {"runtimes": {"runc": RUNC}}}},
        "debug": {"level": "info"},
    }


def test_an_entry_that_is_ours_already_is_left_byte_for_byte() -> None:
    text = (
        f'version = 2\n[plugins."{V2}".containerd]\nruntimes = {{ runc = {{ runtime_type = "io.containerd.runc.v2" }},'
        ' runsc = { runtime_type = "io.containerd.runsc.v1", options = {'
        ' ConfigPath = "/etc/containerd/runsc.toml", TypeUrl = "io.containerd.runsc.v1.options" } } }\n'
    )
    assert merge(text, [RUNSC], None, (1, 7)).text == text


def test_what_stays_decided_when_only_our_name_was_there() -> None:
    """The user's runsc decides on version and key; without it, a later run has to decide the same."""
    text = f'version = 2\n[plugins."{V2}".containerd]\nsnapshotter = "native"\nruntimes.runsc.runtime_type = "x"\n'
    merged = merge(text, [RUNSC], None, (2, 1))
    assert list(tomllib.loads(text_of(merged))["plugins"]) == [V2]
    assert merge(merged.text, [RUNSC], None, (2, 1), record=merged.record) == merged


# Afterwards


def test_what_the_user_adds_beside_ours_stays() -> None:
    merged = merge(None, [RUNSC], None, (1, 7))
    added = f'\n[plugins."{V2}".containerd.runtimes.crun]\n  runtime_type = "io.containerd.runc.v2"\n'
    after = merge(text_of(merged) + added, [RUNSC], None, (1, 7), record=merged.record)
    runtimes = tomllib.loads(text_of(after))["plugins"][V2]["containerd"]["runtimes"]
    assert runtimes == {"runc": {**RUNC, "sandbox_mode": "podsandbox"}, "crun": RUNC, "runsc": OURS}
    # Their crun alone would leave 1.7 without runc, so that stays.
    left = merge(after.text, [], None, (1, 7), record=after.record)
    runtimes = {"runc": {**RUNC, "sandbox_mode": "podsandbox"}, "crun": RUNC}
    assert tomllib.loads(text_of(left)) == {"version": 2, "plugins": {V2: {"containerd": {"runtimes": runtimes}}}}


def test_a_version_on_which_something_of_the_user_s_depends_now_stays() -> None:
    merged = merge(None, [RUNSC], None, (2, 1))
    added = f'\n[plugins."{V3}".cni]\n  conf_dir = "/srv/cni"\n'
    left = merge(text_of(merged) + added, [], None, (2, 1), record=merged.record)
    assert tomllib.loads(text_of(left)) == {"version": 3, "plugins": {V3: {"cni": {"conf_dir": "/srv/cni"}}}}


def test_an_edit_of_our_entry_is_brought_back() -> None:
    merged = merge(DEBIAN, [RUNSC], None, (2, 1))
    edited = text_of(merged).replace("/etc/containerd/runsc.toml", "/tmp/runsc.toml")
    assert tomllib.loads(text_of(merge(edited, [RUNSC], None, (2, 1), record=merged.record))) == tomllib.loads(
        text_of(merged)
    )


def test_a_default_that_the_user_changed_since_stays_without_us() -> None:
    merged = merge(CRUN, [RUNSC], "runsc", (1, 7))
    edited = text_of(merged).replace('default_runtime_name = "runsc"', 'default_runtime_name = "runc"')
    left = tomllib.loads(text_of(merge(edited, [], None, (1, 7), record=merged.record)))
    assert left["plugins"][V2]["containerd"]["default_runtime_name"] == "runc"


def test_a_default_that_named_our_runtime_before_does_not_come_back() -> None:
    text = f'version = 2\n[plugins."{V2}".containerd]\ndefault_runtime_name = "runsc"\n'
    merged = merge(text, [RUNSC], "runsc", (2, 1))
    left = text_of(merge(merged.text, [], None, (2, 1), record=merged.record))
    assert "default_runtime_name" not in left


def test_nothing_wanted_and_nothing_there() -> None:
    assert merge(None, [], None, (2, 1)) == Merged(None, Record())
    assert merge(DEBIAN, [], None, (1, 7)) == Merged(DEBIAN, Record())
    assert merge(DOCKER, [], None, (1, 7)) == Merged(DOCKER, Record())


# Layouts that take an edit in place

IN_PLACE = {
    "inline plugins": (
        f'version = 2\nplugins = {{ "{V2}" = {{ sandbox_image = "x" }} }} # end\n',
        f'version = 2\nplugins = {{ "{V2}" = {{ sandbox_image = "x", containerd.runtimes.runsc = OURS }} }} # end\n',
    ),
    "inline plugin": (
        f'version = 2\n[plugins]\n"{V2}" = {{}}\n[debug]\n',
        f'version = 2\n[plugins]\n"{V2}" = {{ containerd.runtimes.runsc = OURS }}\n[debug]\n',
    ),
    "dotted from the top": (
        f'version = 2\nplugins."{V2}".containerd.snapshotter = "native"\n'
        f'plugins."{V2}".containerd.runtimes.a.runtime_type = "x"\nroot = "/srv"\n',
        f'version = 2\nplugins."{V2}".containerd.snapshotter = "native"\n'
        f'plugins."{V2}".containerd.runtimes.a.runtime_type = "x"\n'
        f'plugins."{V2}".containerd.runtimes.runsc.runtime_type = "io.containerd.runsc.v1"\n'
        f'plugins."{V2}".containerd.runtimes.runsc.options.TypeUrl = "io.containerd.runsc.v1.options"\n'
        f'plugins."{V2}".containerd.runtimes.runsc.options.ConfigPath = "/etc/containerd/runsc.toml"\nroot = "/srv"\n',
    ),
}
INLINE = (
    '{ runtime_type = "io.containerd.runsc.v1", options = { TypeUrl = "io.containerd.runsc.v1.options", '
    'ConfigPath = "/etc/containerd/runsc.toml" } }'
)


@pytest.mark.parametrize("layout", IN_PLACE)
def test_a_layout_is_continued(layout: str) -> None:
    text, wanted = IN_PLACE[layout]
    merged = merge(text, [RUNSC], None, (2, 1))
    assert merged.text == wanted.replace("OURS", INLINE)
    assert merge(merged.text, [], None, (2, 1), record=merged.record).text == text


# Versions and plugins


@pytest.mark.parametrize(
    ("text", "version", "number", "plugin"),
    [
        ("", (1, 7), 2, V2),
        ("root = '/srv'", (2, 3), 3, V3),
        ("version = 2", (2, 3), 2, V2),
        ("version = 3", (2, 1), 3, V3),
        ("version = 4", (2, 3), 4, V3),
        ("version = 1", (1, 7), 1, V1),
        ("version = 1", (2, 3), 1, V1),
        ("[plugins.cri]", (1, 6), None, V1),
        ("[plugins.cri]", (2, 3), None, V1),
        (f"[plugins.'{V2}']", (2, 3), None, V2),
        (f"[plugins.'{V3}']", (2, 1), None, V3),
        (f"version = 2\n[plugins.'{V2}'.containerd]\nsnapshotter = 'native'", (1, 7), 2, V2),
        (f"version = 2\n[plugins.'{V2}'.containerd]\nsnapshotter = 'native'", (2, 1), 2, V3),
        (f"version = 2\n[plugins.'{V2}'.containerd]\ndiscard_unpacked_layers = true", (2, 1), 2, V3),
        (f"version = 2\n[plugins.'{V2}'.containerd]\ndisable_snapshot_annotations = false", (2, 3), 2, V3),
        (f"version = 2\n[plugins.'{V2}'.containerd]\nno_pivot = true", (2, 1), 2, V2),
        (f"version = 2\n[plugins.'{V2}'.containerd.runtimes.a]", (2, 1), 2, V2),
        (f"version = 2\n[plugins.'{V3}'.containerd.runtimes.a]", (2, 1), 2, V3),
        (f"version = 2\n[plugins.'{V3}'.containerd.runtimes.a]", (1, 7), 2, V2),
        (f"version = 3\n[plugins.'{V2}'.containerd.runtimes.a]", (2, 1), 3, V3),
        (f"version = 3\n[plugins.'{V2}'.containerd.runtimes.a]", (2, 3), 3, V2),
        (f"version = 4\n[plugins.'{V2}'.containerd.runtimes.a]", (2, 3), 4, V3),
    ],
)
def test_where_our_runtime_goes(text: str, version: tuple[int, int], number: int | None, plugin: str) -> None:
    after: dict[str, Any] = tomllib.loads(text_of(merge(text, [RUNSC], None, version)))
    assert after.get("version") == number
    assert [name for name, table in after["plugins"].items() if "runsc" in str(table)] == [plugin]


@pytest.mark.parametrize(
    ("number", "version", "newest"),
    [(3, (1, 6), 2), (3, (1, 7), 2), (4, (1, 7), 2), (4, (2, 0), 3), (4, (2, 2), 3)],
)
def test_a_configuration_that_is_newer_than_the_daemon(number: int, version: tuple[int, int], newest: int) -> None:
    error = refused(f"version = {number}\n", version)
    assert error.message == (
        f"/etc/containerd/config.toml: is a configuration of version {number}, "
        f"but containerd {version[0]}.{version[1]} reads up to version {newest}"
    )
    assert error.hint == "Upgrade containerd, or bring back the file that belongs to it."


@pytest.mark.parametrize("version", [(2, 0), (2, 2)])
def test_a_configuration_of_version_1(version: tuple[int, int]) -> None:
    error = refused('[plugins.cri]\nsandbox_image = "x"\n', version)
    assert error.message == (
        "/etc/containerd/config.toml: is a configuration of version 1 (it names none), "
        f"of which containerd {version[0]}.{version[1]} ignores the part on runtimes"
    )
    assert error.hint == "Convert it with 'containerd config migrate', review the result and put it there."


@pytest.mark.parametrize(
    ("number", "found"), [("5", "5"), ("0", "0"), ('"2"', "'2'"), ("-1", "-1"), ("true", "True"), ("2.0", "2.0")]
)
def test_a_version_that_nobody_knows(number: str, found: str) -> None:
    error = refused(f"version = {number}\n", (2, 3))
    assert error.message == f"/etc/containerd/config.toml: version: expected one of 1, 2, 3, 4, found {found}"


# What is refused


@pytest.mark.parametrize(
    ("text", "version", "plugin"),
    [
        ('version = 2\ndisabled_plugins = ["cri"]\n', (1, 7), "cri"),
        (f'version = 2\ndisabled_plugins = ["{V2}"]\n', (2, 1), V2),
        (f'version = 3\ndisabled_plugins = ["x", "{V3}"]\n', (2, 1), V3),
        ('disabled_plugins = ["io.containerd.cri.v1.images"]\n', (2, 1), "io.containerd.cri.v1.images"),
    ],
)
def test_cri_that_is_switched_off(text: str, version: tuple[int, int], plugin: str) -> None:
    error = refused(text, version)
    assert error.message == (
        f"/etc/containerd/config.toml: disabled_plugins switches CRI off ({plugin}), as Docker's package does: "
        "no handler has effect"
    )
    assert error.hint == (
        "If pods are to run here set containerd.enable_cri = True (--enable-cri); else leave containerd out of engines."
    )


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('version = 2\nplugins = "none"\n', V2),
        (f'version = 2\n[plugins]\n"{V2}" = 1\n', "containerd"),
        (f'version = 2\n[plugins."{V2}"]\ncontainerd = []\n', "runtimes"),
        (f'version = 2\n[plugins."{V2}".containerd]\nruntimes = "runc"\n', "runsc"),
    ],
)
@pytest.mark.parametrize("version", [(1, 7), (2, 1), (2, 3)])
def test_something_else_where_a_table_is_expected(text: str, key: str, version: tuple[int, int]) -> None:
    assert refused(text, version).message == f"/etc/containerd/config.toml: {key}: its parent is no table"


@pytest.mark.parametrize("value", ['"cri"', "[[1]]", "[1]", "{}", "5"])
@pytest.mark.parametrize("first", ["", "version = 2\n"])
def test_disabled_plugins_of_another_kind_are_the_daemon_s_to_refuse(value: str, first: str) -> None:
    assert "runsc" in text_of(merge(f"{first}disabled_plugins = {value}\n", [RUNSC], None, (1, 7)))


@pytest.mark.parametrize("empty", [False, True])
def test_a_legacy_default_goes_before_ours_unless_it_is_empty(empty: bool) -> None:
    """`containerd config default` of 1.x writes the table, with nothing in it."""
    text = f'version = 2\n[plugins."{V2}".containerd.default_runtime]\nruntime_type = "{"" if empty else "x"}"\n'
    if empty:
        assert 'default_runtime_name = "runsc"' in text_of(merge(text, [RUNSC], "runsc", (1, 7)))
    else:
        error = refused(text, (1, 7), "runsc")
        assert error.message == (
            "/etc/containerd/config.toml: the table default_runtime goes before default_runtime_name"
        )
        assert error.hint == "Turn it into a table below runtimes, or leave containerd.default_runtime unset."
        assert "runsc" in text_of(merge(text, [RUNSC], None, (1, 7)))


# Imports


def order(files: dict[str, str]) -> list[str]:
    main, *imported = [Source(ETC + name, text) for name, text in files.items()]
    return [source.path.removeprefix(ETC) for source in load_order(main, imported)]


def test_files_are_loaded_breadth_first_and_globs_by_name() -> None:
    files = {
        "config.toml": 'imports = ["z.toml", "/etc/containerd/conf.d/*.toml", "z.toml"]',
        "conf.d/b.toml": "",
        "conf.d/10.toml": "",
        "conf.d/9.toml": 'imports = ["../config.toml", "inner/*.toml"]',
        "conf.d/inner/a.toml": "",
        "conf.d/.hidden.toml": "",
        "z.toml": 'imports = ["last.toml"]',
        "last.toml": "",
        "nobody.toml": "",
    }
    assert order(files) == [
        *("config.toml", "z.toml", "conf.d/.hidden.toml", "conf.d/10.toml", "conf.d/9.toml", "conf.d/b.toml"),
        *("last.toml", "conf.d/inner/a.toml"),
    ]


def test_a_glob_without_a_match_is_nothing() -> None:
    assert order({"config.toml": 'imports = ["/etc/containerd/conf.d/*.toml", "x/*/y.toml"]'}) == ["config.toml"]


def test_a_file_that_is_not_there_would_keep_containerd_from_starting() -> None:
    with pytest.raises(BulkheadError) as error:
        order({"config.toml": 'imports = ["own.toml"]', "own.toml": 'imports = ["gone?.toml"]', "gone1.toml": ""})
    assert error.value.message == (
        "/etc/containerd/own.toml: imports /etc/containerd/gone?.toml, which containerd does not find or can't read"
    )
    assert error.value.hint == "Put it there or take it out of imports; 'containerd config dump' may say more."


def test_a_broken_drop_in_is_named() -> None:
    with pytest.raises(BulkheadError, match=r"^/etc/containerd/own\.toml: not valid TOML: .* line 2"):
        order({"config.toml": 'imports = ["own.toml"]', "own.toml": "a = 1\nb = \n"})


def test_a_runtime_stays_in_the_file_in_which_it_was_put() -> None:
    main, own = Source(PATH, 'version = 3\nimports = ["own.toml"]\n'), ETC + "own.toml"
    drop_in = Source(own, f'version = 3\n[plugins."{V3}".containerd.runtimes.runsc]\nruntime_type = "x"\n')
    merged = plan([main, drop_in], [RUNSC], None, (2, 1), ledger=Ledger())
    assert merged[PATH] == Merged(main.text, Record())
    assert tomllib.loads(text_of(merged[own]))["plugins"][V3]["containerd"]["runtimes"] == {"runsc": OURS}
    again = plan(
        [main, Source(own, merged[own].text)], [RUNSC], None, (2, 1), ledger=Ledger(files={own: merged[own].record})
    )
    assert again == merged


# What can't be


@pytest.mark.parametrize("version", [(0, 2), (1, 4), (1, 5)])
def test_a_daemon_that_is_too_old(version: tuple[int, int]) -> None:
    with pytest.raises(BulkheadError) as error:
        merge("", [RUNSC], None, version)
    assert error.value.message == f"containerd {version[0]}.{version[1]} is too old"
    assert error.value.hint == "Upgrade it to 1.6 or later."


def test_a_default_of_the_user_s_that_would_dangle() -> None:
    """The user's file names our handler as default, and the handler has to go: CRI would be dead."""
    text = f'version = 2\n[plugins."{V2}".containerd]\ndefault_runtime_name = "runsc"\n'
    merged = merge(text, [RUNSC], None, (1, 7))
    with pytest.raises(BulkheadError) as error:
        merge(merged.text, [], None, (1, 7), record=merged.record)
    assert error.value.message == (
        "/etc/containerd/config.toml: default_runtime_name is 'runsc', which has to go: CRI would not load without it"
    )
    assert merge(merged.text, [], "runc", (1, 7), record=merged.record).text == text.replace('"runsc"', '"runc"')


def test_a_default_in_another_file_would_dangle_too() -> None:
    main = Source("/etc/containerd/config.toml", 'version = 3\nimports = ["/etc/containerd/a.toml"]\n')
    own = f'version = 3\n[plugins."{V3}".containerd]\ndefault_runtime_name = "runsc"\n'
    drop_in = Source("/etc/containerd/a.toml", own)
    merged = plan([main, drop_in], [RUNSC], None, (2, 1), ledger=Ledger())
    assert merged[drop_in.path].text == own
    now = Source(main.path, merged[main.path].text)
    ledger = Ledger(files={path: one.record for path, one in merged.items()})
    with pytest.raises(
        BulkheadError, match=r"^/etc/containerd/a\.toml: default_runtime_name is 'runsc', which has to go"
    ):
        plan([now, drop_in], [], None, (2, 1), ledger=ledger)


@pytest.mark.parametrize("odd", ['["x"]', "{ a = 1 }", "3"])
def test_a_default_of_an_odd_kind(odd: str) -> None:
    text = f'version = 2\n[plugins."{V2}".containerd]\ndefault_runtime_name = {odd}\n'
    assert 'default_runtime_name = "runsc"' in (merge(text, [RUNSC], "runsc", (2, 1)).text or "")
