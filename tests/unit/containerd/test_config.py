"""containerd's configuration after the merge means what it meant before, and our runtime."""

import tomllib
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead.errors import BulkheadError
from bulkhead.runtime import Runtime
from deploys.containerd.config import entry, merge
from tests.unit.helpers import RUNSC

V2, V3 = "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"

OURS = {
    "runtime_type": "io.containerd.runsc.v1",
    "options": {"TypeUrl": "io.containerd.runsc.v1.options", "ConfigPath": "/etc/containerd/runsc.toml"},
}
RUNC = {"runtime_type": "io.containerd.runc.v2"}

DEBIAN = f"""\
version = 2

[plugins]
  [plugins."{V2}"]
    [plugins."{V2}".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd"
"""
"""What Debian's package installs."""

OLD, NEW = [(1, 6), (1, 7)], [(2, 0), (2, 1), (2, 2), (2, 3)]


def merged(text: str, version: tuple[int, int], default: str | None = None) -> dict[str, Any]:
    """What the merged text means; merging it again changes nothing."""
    after = merge(text, [RUNSC], default, version)
    assert merge(after, [RUNSC], default, version) == after
    return tomllib.loads(after)


def refused(text: str, version: tuple[int, int]) -> BulkheadError:
    with pytest.raises(BulkheadError) as error:
        merge(text, [RUNSC], None, version)
    assert error.value.message.startswith("/etc/containerd/config.toml: ")
    return error.value


# No file, or one that says nothing


@pytest.mark.parametrize("version", OLD)
@pytest.mark.parametrize("text", ["", "\n", "# nothing here\n", "# nothing here"])
def test_an_empty_file_for_an_old_daemon_keeps_runc(text: str, version: tuple[int, int]) -> None:
    assert merged(text, version) == {
        "version": 2,
        "plugins": {V2: {"containerd": {"runtimes": {"runc": RUNC, "runsc": OURS}}}},
    }


@pytest.mark.parametrize("version", NEW)
@pytest.mark.parametrize("text", ["", "\n", "# nothing here\n", "# nothing here"])
def test_an_empty_file_for_a_new_daemon(text: str, version: tuple[int, int]) -> None:
    assert merged(text, version) == {"version": 3, "plugins": {V3: {"containerd": {"runtimes": {"runsc": OURS}}}}}


def test_a_new_file_as_it_is_written() -> None:
    assert (
        merge("", [RUNSC], "runsc", (1, 7))
        == f"""\
version = 2

[plugins."{V2}".containerd]
  default_runtime_name = "runsc"

# containerd before 2.0 forgets its built-in runc as soon as another handler is named.
[plugins."{V2}".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."{V2}".containerd.runtimes.runsc]
  runtime_type = "io.containerd.runsc.v1"
  [plugins."{V2}".containerd.runtimes.runsc.options]
    TypeUrl = "io.containerd.runsc.v1.options"
    ConfigPath = "/etc/containerd/runsc.toml"
"""
    )


# Debian's own file


@pytest.mark.parametrize("version", OLD)
def test_debian_s_file_keeps_its_lines_and_runc(version: tuple[int, int]) -> None:
    assert merge(DEBIAN, [RUNSC], None, version).startswith(DEBIAN)
    after = merged(DEBIAN, version)
    assert after["plugins"][V2] == {
        "cni": {"bin_dir": "/usr/lib/cni", "conf_dir": "/etc/cni/net.d"},
        "containerd": {"runtimes": {"runc": RUNC, "runsc": OURS}},
    }
    assert after["plugins"]["io.containerd.internal.v1.opt"] == {"path": "/var/lib/containerd"}


@pytest.mark.parametrize("version", NEW)
def test_debian_s_file_stays_version_2_under_a_new_daemon(version: tuple[int, int]) -> None:
    after = merged(DEBIAN, version)
    assert after["version"] == 2
    assert after["plugins"][V2]["containerd"] == {"runtimes": {"runsc": OURS}}
    assert V3 not in after["plugins"]


def test_a_default_for_pods_that_name_none() -> None:
    engine = merged(DEBIAN, (1, 7), default="runsc")["plugins"][V2]["containerd"]
    assert engine["default_runtime_name"] == "runsc"


# Versions


@pytest.mark.parametrize(("version", "number"), [((2, 0), 3), ((2, 2), 3), ((2, 3), 3), ((2, 3), 4)])
def test_newer_configurations_use_the_newer_plugin(version: tuple[int, int], number: int) -> None:
    text = f'version = {number}\n[plugins."{V3}".containerd.runtimes.crun]\nruntime_type = "io.containerd.runc.v2"\n'
    assert merged(text, version) == {
        "version": number,
        "plugins": {V3: {"containerd": {"runtimes": {"crun": RUNC, "runsc": OURS}}}},
    }


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


@pytest.mark.parametrize("text", ['root = "/srv"\n', "version = 1\n", '[plugins.cri]\nsandbox_image = "x"\n'])
def test_a_configuration_of_version_1(text: str) -> None:
    error = refused(text, (1, 7))
    assert error.message == (
        "/etc/containerd/config.toml: is a configuration of version 1, "
        "which containerd 1.7 converts by itself but Bulkhead does not"
    )
    assert error.hint.startswith("Convert it with 'containerd config migrate'")


@pytest.mark.parametrize("version", ["5", "0", '"2"', "-1"])
def test_a_version_that_nobody_knows(version: str) -> None:
    assert "is a configuration of version" in refused(f"version = {version}\n", (2, 3)).message


# What cannot be merged


def test_a_file_that_is_broken_is_named_with_line_and_column() -> None:
    error = refused("version = 2\n[plugins\n", (1, 7))
    assert error.message.startswith("/etc/containerd/config.toml: not valid TOML: ")
    assert "(at line 2, column 9)" in error.message
    assert error.hint == "Correct it, then run again."


@pytest.mark.parametrize(
    ("text", "version", "plugin"),
    [
        ('version = 2\ndisabled_plugins = ["cri"]\n', (1, 7), "cri"),
        (f'version = 2\ndisabled_plugins = ["{V2}"]\n', (1, 6), V2),
        (f'version = 2\ndisabled_plugins = ["{V2}"]\n', (2, 1), V2),
        (f'version = 3\ndisabled_plugins = ["x", "{V3}"]\n', (2, 1), V3),
    ],
)
def test_cri_that_is_switched_off(text: str, version: tuple[int, int], plugin: str) -> None:
    error = refused(text, version)
    assert error.message == (
        f"/etc/containerd/config.toml: disabled_plugins switches CRI off ({plugin}): no handler has effect"
    )
    assert error.hint == (
        "Take it out of disabled_plugins if pods are to run here, or leave containerd out of engines."
    )


def test_another_plugin_that_is_switched_off() -> None:
    text = 'version = 2\ndisabled_plugins = ["io.containerd.snapshotter.v1.btrfs"]\n'
    assert merged(text, (1, 7))["disabled_plugins"] == ["io.containerd.snapshotter.v1.btrfs"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('version = 2\nplugins = "none"\n', "plugins"),
        (f'version = 2\n[plugins]\n"{V2}" = 1\n', V2),
        (f'version = 2\n[plugins."{V2}"]\ncontainerd = []\n', "containerd"),
        (f'version = 2\n[plugins."{V2}".containerd]\nruntimes = "runc"\n', "runtimes"),
    ],
)
def test_something_else_where_a_table_is_expected(text: str, key: str) -> None:
    assert refused(text, (1, 7)).message == f"/etc/containerd/config.toml: {key}: expected a table"


@pytest.mark.parametrize("value", ['"cri"', "[[1]]", "[1]", "{}", "5"])
def test_disabled_plugins_of_another_kind_are_the_daemon_s_to_refuse(value: str) -> None:
    assert "runsc" in merge(f"version = 2\ndisabled_plugins = {value}\n", [RUNSC], None, (1, 7))


# The user's own runtimes

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
    assert merge(CRUN, [RUNSC], None, version).startswith(CRUN)
    assert merged(CRUN, version)["plugins"][V2]["containerd"] == {
        "default_runtime_name": "crun",
        "runtimes": {"crun": {**RUNC, "options": {"BinaryName": "/usr/bin/crun"}}, "runsc": OURS},
    }


def test_a_default_is_changed_in_its_line() -> None:
    after = merge(CRUN, [RUNSC], "runsc", (1, 7))
    assert 'default_runtime_name = "runsc"' in after
    assert 'default_runtime_name = "crun"' not in after
    for line in CRUN.splitlines():
        assert "default_runtime_name" in line or line in after


ANNOTATED = f"""\
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


@pytest.mark.parametrize("version", [(1, 6), (1, 7), (2, 1), (2, 3)])
def test_an_entry_of_the_same_name_is_replaced_as_a_whole(version: tuple[int, int]) -> None:
    after = merge(ANNOTATED, [RUNSC], None, version)
    assert tomllib.loads(after) == {
        "version": 2,
        "plugins": {V2: {"containerd": {"runtimes": {"runc": RUNC, "runsc": OURS}}}},
        "debug": {"level": "info"},
    }
    for gone in ("pod_annotations", "runtime_path", "Extra", "/home/dev"):
        assert gone not in after
    assert "# the end\n[debug]\n" in after


def test_an_entry_that_is_ours_already_is_left_byte_for_byte() -> None:
    text = (
        f'version = 2\n[plugins."{V2}".containerd]\nruntimes = {{ runc = {{ runtime_type = "io.containerd.runc.v2" }},'
        ' runsc = { runtime_type = "io.containerd.runsc.v1", options = {'
        ' ConfigPath = "/etc/containerd/runsc.toml", TypeUrl = "io.containerd.runsc.v1.options" } } }\n'
    )
    assert merge(text, [RUNSC], None, (1, 7)) == text


def test_an_empty_table_of_runtimes_stays_without_runc() -> None:
    """Where the user says that there is no runtime, containerd has none: seen with 1.6.20 and 1.7.24."""
    text = f'version = 2\n[plugins."{V2}".containerd.runtimes]\n'
    assert merged(text, (1, 7))["plugins"][V2]["containerd"]["runtimes"] == {"runsc": OURS}


def test_a_runtime_without_options_has_none() -> None:
    kata = Runtime(name="kata", runtime_type="io.containerd.kata.v2", binary="/opt/kata")
    assert entry(kata) == {"runtime_type": "io.containerd.kata.v2"}
    after = tomllib.loads(merge("", [RUNSC, kata], None, (2, 1)))
    assert after["plugins"][V3]["containerd"]["runtimes"] == {
        "runsc": OURS,
        "kata": {"runtime_type": "io.containerd.kata.v2"},
    }


# Layouts

LAYOUTS = {
    "inline plugins": f'version = 2\nplugins = {{ "{V2}" = {{ sandbox_image = "my/pause:1" }} }}\n',
    "inline plugin": f'version = 2\n[plugins]\n"{V2}" = {{ sandbox_image = "x", stats = {{ a = 1 }} }} # keep\n',
    "inline engine": f'version = 2\n[plugins."{V2}"]\ncontainerd = {{ snapshotter = "native" }}\nsandbox_image = "x"\n',
    "inline runtimes": f'version = 2\n[plugins."{V2}".containerd]\nruntimes = {{ runc = {{ runtime_type = "x" }} }}\n',
    "dotted in the plugin": f'version = 2\n[plugins."{V2}"]\ncontainerd.snapshotter = "native"\nsandbox_image = "x"\n',
    "dotted from the top": f'version = 2\nplugins."{V2}".containerd.snapshotter = "native"\nroot = "/srv"\n',
    "no newline at the end": f'version = 2\n[plugins."{V2}"]\nsandbox_image = "my/pause:1"',
    "CRLF": DEBIAN.replace("\n", "\r\n"),
    "imports": 'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n',
    "quotes and escapes": 'version = 2\n[plugins.\'io.containerd.grpc.v1.cri\']\nsandbox_image = "a\\u00e9\\""\n',
}


@pytest.mark.parametrize("version", [(1, 7), (2, 1), (2, 3)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_keeps_its_meaning(layout: str, version: tuple[int, int]) -> None:
    text = LAYOUTS[layout]
    before, after = tomllib.loads(text), merged(text, version)
    engine = before["plugins"][V2].get("containerd", {}) if "plugins" in before else {}
    runc = {"runc": RUNC} if version < (2, 0) and "runtimes" not in engine else {}
    wanted = deepcopy(before)
    wanted.setdefault("plugins", {}).setdefault(V2, {})["containerd"] = {
        **engine,
        "runtimes": {**engine.get("runtimes", {}), **runc, "runsc": OURS},
    }
    assert after == wanted


def test_a_comment_beside_an_inline_table_stays() -> None:
    assert "# keep" in merge(LAYOUTS["inline plugin"], [RUNSC], None, (1, 7))


def test_a_layout_that_would_be_harmed_is_refused() -> None:
    text = (
        f'version = 2\n[plugins."{V2}".containerd]\nruntimes.runsc.runtime_type = "x"\nruntimes.runc.a = 1\n[debug]\n'
    )
    error = refused(text, (1, 7))
    assert error.message == (
        "/etc/containerd/config.toml: its layout could not be merged without changing other settings"
    )
    assert error.hint == "Please report the file's layout; nothing was changed."


# Any file

_values = st.sampled_from([1, True, "text", 'quo"ted\n', [1, 2], ["a"], 1.5])
_names = st.sampled_from(["runc", "crun", "runsc", "kata-qemu", "with.dot"])
_runtime = st.fixed_dictionaries(
    {"runtime_type": st.just("io.containerd.runc.v2")},
    optional={
        "pod_annotations": st.just(["a.*"]),
        "options": st.dictionaries(st.sampled_from("AB"), _values, max_size=2),
    },
)
_engine = st.fixed_dictionaries(
    {},
    optional={
        "default_runtime_name": _names,
        "snapshotter": st.just("native"),
        "runtimes": st.dictionaries(_names, _runtime, max_size=3),
    },
)


@st.composite
def _configurations(draw: st.DrawFn) -> tuple[str, tuple[int, int]]:
    version, number, plugin = draw(
        st.sampled_from([((1, 6), 2, V2), ((1, 7), 2, V2), ((2, 1), 2, V2), ((2, 1), 3, V3), ((2, 3), 4, V3)])
    )
    cri: dict[str, Any] = {}
    if draw(st.booleans()):
        cri["sandbox_image"] = draw(_values)
    if draw(st.booleans()):
        cri["containerd"] = draw(_engine)
    table: dict[str, Any] = {"version": number, "root": "/srv"}
    if draw(st.booleans()) or cri:
        table["plugins"] = {"io.containerd.other": {"x": draw(_values)}, plugin: cri}
    table["debug"] = {"level": draw(_values)}
    document = tomlkit.document()
    for key, value in table.items():
        document.add(tomlkit.comment(f"about {key}"))
        document.add(key, value)
    return tomlkit.dumps(document), version


@settings(max_examples=200)
@given(_configurations(), st.sampled_from([None, "runsc", "runc"]))
def test_any_file_means_what_it_meant_and_ours(case: tuple[str, tuple[int, int]], default: str | None) -> None:
    text, version = case
    before = tomllib.loads(text)
    plugin = V3 if before["version"] > 2 else V2
    after_text = merge(text, [RUNSC], default, version)
    after = tomllib.loads(after_text)

    engine = before.get("plugins", {}).get(plugin, {}).get("containerd", {})
    old = engine.get("runtimes", {})
    merged_engine = after["plugins"][plugin].pop("containerd")
    runtimes = merged_engine.pop("runtimes")
    assert runtimes.pop("runsc") == OURS
    if "runtimes" not in engine and version < (2, 0):
        assert runtimes.pop("runc") == RUNC
    assert runtimes == {name: table for name, table in old.items() if name != "runsc"}
    assert merged_engine.pop("default_runtime_name", None) == (default or engine.get("default_runtime_name"))
    assert merged_engine == {
        key: value for key, value in engine.items() if key not in ("runtimes", "default_runtime_name")
    }
    # And all that lies around it.
    rest = deepcopy(before)
    rest.setdefault("plugins", {}).setdefault(plugin, {}).pop("containerd", None)
    assert after == rest
    # Once more changes nothing, and what need not be edited is not.
    assert merge(after_text, [RUNSC], default, version) == after_text
    if "runsc" not in old and default in (None, engine.get("default_runtime_name")):
        assert after_text.startswith(text)
    assert after_text.count("# about ") == text.count("# about ")


def test_a_change_of_the_entry_is_brought_in() -> None:
    first = merge(DEBIAN, [RUNSC], None, (1, 7))
    moved = replace(RUNSC, config_path="/etc/containerd/other.toml")
    second = merge(first, [moved], None, (1, 7))
    assert "/etc/containerd/other.toml" in second
    assert "/etc/containerd/runsc.toml" not in second
    assert second.startswith(DEBIAN)
