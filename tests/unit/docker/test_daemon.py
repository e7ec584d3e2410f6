"""daemon.json holds our runtimes and default, byte for byte what it held before besides, and can be given back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.registration import Record
from bulkhead.runtime import Runtime
from deploys.docker import daemon
from deploys.docker.daemon import conflicts, entry, merge, needing_restart, parse
from tests.unit.docker.cases import CRUN_VM, ENTRIES, KATA, STRICT
from tests.unit.helpers import RUNSC

PATH = "/etc/docker/daemon.json"


def merged(text: str | None, default: str | None = "runsc", *runtimes: Runtime, record: Record | None = None) -> str:
    after, _ = merge(text, runtimes or [RUNSC], default, record=record)
    assert after is not None
    return after


def refused(text: str, **how: Any) -> BulkheadError:
    with pytest.raises(BulkheadError) as error:
        merge(text, [RUNSC], "runsc", **how)
    return error.value


# What is written

NEW = """\
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


@pytest.mark.parametrize("text", [None, "", "\n", "  \n"])
def test_a_file_that_is_not_there_or_blank(text: str | None) -> None:
    assert merge(text, [], None) == (text, Record())
    after, record = merge(text, [RUNSC], "runsc")
    assert after == NEW
    assert record.created == (text is None)
    assert merge(after, [RUNSC], "runsc", record=record) == (after, record)
    assert merge(after, [], None, record=record) == (text, Record())


@pytest.mark.parametrize("text", ["{}", "{}\n", "\ufeff{}\r\n", "{ }", "{\n}\n"])
def test_an_empty_object_comes_back_as_it_was(text: str) -> None:
    after, record = merge(text, [RUNSC, KATA], "runsc")
    assert json.loads((after or "").removeprefix("\ufeff")) == {
        "runtimes": {"runsc": ENTRIES["runsc"], "kata": ENTRIES["kata"]},
        "default-runtime": "runsc",
    }
    assert merge(after, [], None, record=record) == (text, Record())


USERS = """\
{
  "log-driver": "journald",
  "runtimes": {
    "crun": {"path":"/usr/bin/crun"}
  },
  "default-runtime" : "crun",

  "labels": ["größe=ß",   "x"]
}
"""


def test_every_byte_of_the_user_stays() -> None:
    after, record = merge(USERS, [KATA, RUNSC], "runsc")
    assert (
        after
        == """\
{
  "log-driver": "journald",
  "runtimes": {
    "crun": {"path":"/usr/bin/crun"},
    "kata": {
      "runtimeType": "io.containerd.kata.v2",
      "options": {
        "TypeUrl": "runtimeoptions.v1.Options",
        "ConfigPath": "/etc/kata.toml"
      }
    },
    "runsc": {
      "path": "/usr/local/bin/runsc",
      "runtimeArgs": [
        "--network=sandbox"
      ]
    }
  },
  "default-runtime" : "runsc",

  "labels": ["größe=ß",   "x"]
}
"""
    )
    assert merge(after, [], None, record=record) == (USERS, Record())


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (
            '{\n\t"debug": true\n}',
            '{\n\t"debug": true,\n\t"runtimes": {\n\t\t"crun-vm": {\n\t\t\t"path": "/usr/bin/crun-vm"\n\t\t}\n\t},\n'
            '\t"default-runtime": "crun-vm"\n}',
        ),
        (
            '{\r\n  "debug": true\r\n}\r\n',
            '{\r\n  "debug": true,\r\n  "runtimes": {\r\n    "crun-vm": {\r\n      "path": "/usr/bin/crun-vm"\r\n'
            '    }\r\n  },\r\n  "default-runtime": "crun-vm"\r\n}\r\n',
        ),
        (
            '{"debug": true}',
            '{"debug": true, "runtimes": {"crun-vm": {"path": "/usr/bin/crun-vm"}}, "default-runtime": "crun-vm"}',
        ),
        (
            '\ufeff{"debug":true}\n',
            '\ufeff{"debug":true,"runtimes":{"crun-vm":{"path":"/usr/bin/crun-vm"}},"default-runtime":"crun-vm"}\n',
        ),
    ],
    ids=["tabs", "CRLF", "one line", "compact with BOM"],
)
def test_layout_newlines_and_byte_order_mark(text: str, after: str) -> None:
    assert merged(text, "crun-vm", CRUN_VM) == after


def test_what_is_there_already_is_left_byte_for_byte_and_becomes_ours() -> None:
    text = (
        '{"default-runtime":"runsc",  "runtimes": {"runsc":'
        ' {"runtimeArgs": ["--network=sandbox"], "path": "/usr/local/bin/runsc"}}, "debug":true}'
    )
    after, record = merge(text, [RUNSC], "runsc")
    assert after == text
    assert merge(after, [RUNSC], "runsc", record=record) == (text, record)
    # The table was there before, so it stays; the default would name what is gone.
    assert merge(text, [], None, record=record) == ('{"runtimes": {}, "debug":true}', Record())


def test_an_entry_under_our_name_is_replaced_where_it_stands() -> None:
    text = '{"runtimes": {"runsc": {"path": "/home/dev/runsc", "options": {"x": 1}}, "crun": null}, "debug": true}'
    assert merged(text, None) == (
        '{"runtimes": {"runsc": {"path": "/usr/local/bin/runsc", "runtimeArgs": ["--network=sandbox"]}, "crun": null},'
        ' "debug": true}'
    )


@pytest.mark.parametrize("odd", ["null", "{}", '"x"', '{"path": "", "runtimeType": "x"}', '{"Path": 1}', "[]"])
@pytest.mark.parametrize("name", ["crun", "", "runc", "with blank", "RunSC"])
def test_an_odd_runtime_of_the_user_is_none_of_our_business(odd: str, name: str) -> None:
    text = f'{{"runtimes": {{"{name}": {odd}}}}}'
    after, record = merge(text, [RUNSC], None)
    assert after is not None
    assert f'"{name}": {odd}' in after
    assert merge(after, [], None, record=record) == (text, Record())


def test_what_an_entry_holds() -> None:
    assert {runtime.name: entry(runtime) for runtime in (RUNSC, STRICT, KATA, CRUN_VM)} == ENTRIES
    assert entry(replace(RUNSC, arguments=())) == {"path": "/usr/local/bin/runsc"}
    assert entry(replace(KATA, options={})) == {"runtimeType": "io.containerd.kata.v2"}
    # Docker's documentation: a shim outside of the search path is given by its path.
    shim = "/opt/kata/bin/containerd-shim-kata-v2"
    assert entry(replace(KATA, options={}, handler={"runtime_path": shim})) == {"runtimeType": shim}


# The record, and what leaves the inventory


def test_what_left_the_inventory_goes_and_what_a_user_added_stays() -> None:
    text = '{\n  "runtimes": {\n    "crun": {"path": "crun"}\n  }\n}\n'
    both, record = merge(text, [KATA, RUNSC], None)
    assert both is not None
    edited = both.replace('"crun": {"path": "crun"},', '"crun": {"path": "crun"},\n    "mine": {"path": "/mine"},')
    one, record = merge(edited, [RUNSC], None, record=record)
    assert parse(one)["runtimes"] == {"crun": {"path": "crun"}, "mine": {"path": "/mine"}, "runsc": ENTRIES["runsc"]}
    assert record.names("runtimes") == ["runsc"]
    assert merge(one, [], None, record=record)[0] == (
        '{\n  "runtimes": {\n    "crun": {"path": "crun"},\n    "mine": {"path": "/mine"}\n  }\n}\n'
    )


def test_an_edit_inside_our_entry_is_put_right_and_goes_with_it() -> None:
    after, record = merge('{"debug": true}', [RUNSC], "runsc")
    assert after is not None
    edited = after.replace("--network=sandbox", "--network=host")
    assert merge(edited, [RUNSC], "runsc", record=record)[0] == after
    assert merge(edited, [], None, record=record) == ('{"debug": true}', Record())


def test_a_file_that_was_made_by_us_goes_unless_a_user_wrote_into_it() -> None:
    after, record = merge(None, [RUNSC], "runsc")
    assert after is not None
    other = json.dumps(json.loads(after), indent="\t")
    assert merge(other, [], None, record=record) == (None, Record())
    edited = after.replace('"default-runtime": "runsc"', '"default-runtime": "runsc",\n    "debug": true')
    assert merge(edited, [], None, record=record) == ('{\n    "debug": true\n}\n', Record())


def test_a_file_that_went_meanwhile_is_made_again_or_left_alone() -> None:
    _, record = merge(USERS, [RUNSC], "runsc")
    assert merge(None, [RUNSC], "runsc", record=record)[0] == NEW
    assert merge(None, [], None, record=record) == (None, Record())


def test_our_table_goes_although_a_user_deleted_one_of_two_entries() -> None:
    _, record = merge('{"debug": true}', [KATA, RUNSC], None)
    for name in ("kata", "runsc"):
        rest = {key: value for key, value in ENTRIES.items() if key in ("kata", "runsc") and key != name}
        edited = json.dumps({"debug": True, "runtimes": rest})
        assert merge(edited, [], None, record=record) == ('{"debug": true}', Record())


def test_the_user_s_default_comes_back() -> None:
    after, record = merge(USERS, [RUNSC], "runsc")
    assert merge(after, [RUNSC], None, record=record)[0] == USERS.replace(
        '{"path":"/usr/bin/crun"}',
        '{"path":"/usr/bin/crun"},\n    "runsc": {\n      "path": "/usr/local/bin/runsc",\n      "runtimeArgs": [\n'
        '        "--network=sandbox"\n      ]\n    }',
    )


@pytest.mark.parametrize("value", ['"crun"', '""', "null", "7", '["x"]'])
def test_any_default_of_the_user_comes_back_as_it_was(value: str) -> None:
    text = f'{{"default-runtime":   {value}, "debug": true}}'
    after, record = merge(text, [RUNSC], "runsc")
    assert parse(after)["default-runtime"] == "runsc"
    assert merge(after, [], None, record=record) == (text, Record())


def test_a_default_that_the_user_set_meanwhile_stays() -> None:
    after, record = merge('{"debug": true}', [RUNSC], "runsc")
    assert after is not None
    edited = after.replace('"default-runtime": "runsc"', '"default-runtime": "crun"')
    assert merge(edited, [], None, record=record)[0] == '{"debug": true, "default-runtime": "crun"}'
    again, record = merge(edited, [RUNSC], "runsc", record=record)
    assert parse(again)["default-runtime"] == "runsc"
    assert merge(again, [], None, record=record)[0] == '{"debug": true, "default-runtime": "crun"}'


def test_a_default_that_would_name_what_is_gone_does_not_come_back() -> None:
    text = '{"default-runtime": "runsc", "runtimes": {"runsc": {"path": "/home/dev/runsc"}}}'
    after, record = merge(text, [RUNSC], "runsc")
    assert merge(after, [], None, record=record) == ('{"runtimes": {}}', Record())
    after, record = merge(text, [RUNSC], None)
    other, record = merge(after, [], "runc", record=record)
    assert merge(other, [], None, record=record)[0] == '{"runtimes": {}}'


def test_one_of_ours_that_the_user_made_the_default_does_not_go() -> None:
    after, record = merge('{"default-runtime": "runsc"}', [RUNSC], None)
    with pytest.raises(BulkheadError) as error:
        merge(after, [], None, record=record)
    assert error.value.message == f"{PATH}: default-runtime is 'runsc', which has to go: dockerd would not start again"
    assert error.value.hint == "Take default-runtime out of the file, or set docker.default_runtime in the inventory."
    assert merge(after, [], "runc", record=record)[0] == '{"default-runtime": "runc"}'


def test_without_the_record_what_is_there_counts_as_the_user_s() -> None:
    before, _ = merge(USERS, [KATA, RUNSC], "runsc")
    after, record = merge(before, [RUNSC], "runsc", record=None)
    assert after == before
    left, _ = merge(after, [], None, record=record)
    assert sorted(parse(left)["runtimes"]) == ["crun", "kata"]
    assert "default-runtime" not in parse(left)


# Refusals


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{\n  "debug": true,\n}',
            "not valid JSON: expected a key in double quotes after a comma, found '}' (line 3, column 1)",
        ),
        (
            '{\n  // why\n  "debug": true\n}',
            "not valid JSON: expected a key in double quotes, found a comment; JSON has no comments, dockerd would "
            "refuse the file (line 2, column 3)",
        ),
        (
            '{\n  "debug": true, "debug": true\n}',
            "the key 'debug' stands twice in one object (line 2, column 3 and line 2, column 18)",
        ),
        (
            '{"runtimes": {"x": {}},\n"runtimes": {}}',
            "the key 'runtimes' stands twice in one object (line 1, column 2 and line 2, column 1)",
        ),
        ("\ufeff\ufeff{}", "not valid JSON: expected a value, found '\\ufeff' (line 1, column 1)"),
        ("null", "expected an object, not null (line 1, column 1)"),
        ("[]", "expected an object, not an array (line 1, column 1)"),
        ('{}\n"x"', "not valid JSON: expected the end of the text, found '\"' (line 2, column 1)"),
        ('{"runtimes": null}', "runtimes: expected an object, not null (line 1, column 14)"),
        ('{\n"runtimes": [{}]}', "runtimes: expected an object, not an array (line 2, column 13)"),
        ("{\x00}", "not valid JSON: expected a key in double quotes, found '\\x00' (line 1, column 2)"),
    ],
)
def test_a_file_that_is_broken_is_named_with_the_place(text: str, message: str) -> None:
    error = refused(text)
    assert error.message == f"{PATH}: {message}"
    assert error.hint == "Correct it, then run again."


def test_the_path_is_the_one_that_was_read() -> None:
    assert refused("[]", path="/srv/docker.json").message.startswith("/srv/docker.json: expected an object")
    with pytest.raises(BulkheadError, match=r"^/srv/docker\.json: expected an object"):
        parse("[]", "/srv/docker.json")


def test_nothing_means_nothing() -> None:
    assert parse(None) == parse("") == parse(" \n") == {}


def test_a_runtime_without_a_binary_needs_docker_23() -> None:
    with pytest.raises(BulkheadError) as error:
        merge(None, [RUNSC, KATA], None, docker=(20, 10))
    assert error.value.message == "Docker 20.10 can't start io.containerd.kata.v2, which kata needs"
    assert error.value.hint == 'Upgrade Docker to 23 or later, or leave "docker" out of runtimes.kata.engines.'
    assert merge(None, [RUNSC, CRUN_VM], None, docker=(20, 10))[0] is not None
    assert merge(None, [RUNSC, KATA], None, docker=(23, 0))[0] is not None


# What a reload doesn't take in, and what the command line says already

# dockerd's reference, "Configuration reload behavior".
RELOADED = (
    *("debug", "labels", "live-restore", "max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts"),
    *("default-runtime", "runtimes", "insecure-registries", "registry-mirrors", "shutdown-timeout", "features"),
)


@pytest.mark.parametrize("key", RELOADED)
def test_keys_that_a_reload_takes_in(key: str) -> None:
    assert needing_restart({}, {key: 1}) == needing_restart({key: 1}, {}) == needing_restart({key: 1}, {key: 2}) == []


@pytest.mark.parametrize("key", ["log-driver", "userns-remap", "icc", "hosts", "dns", "storage-driver", "data-root"])
def test_keys_that_need_a_restart(key: str) -> None:
    assert needing_restart({}, {key: None}) == needing_restart({key: None}, {}) == [key]
    assert needing_restart({key: 1, "debug": False}, {"debug": True, key: 2}) == [key]
    assert needing_restart({key: [1]}, {key: [1]}) == []


def test_our_own_merge_never_needs_a_restart() -> None:
    assert needing_restart(parse(USERS), parse(merged(USERS))) == []


@pytest.mark.parametrize(
    ("arguments", "keys", "flags"),
    [
        ([], ["runtimes", "default-runtime"], []),
        (["-H", "fd://", "--containerd=/run/containerd/containerd.sock"], ["runtimes", "default-runtime"], []),
        (["--add-runtime=crun=/usr/bin/crun"], ["runtimes"], ["--add-runtime"]),
        (["--add-runtime", "crun=/usr/bin/crun"], ["runtimes"], ["--add-runtime"]),
        (["--add-runtime", "crun=/usr/bin/crun"], ["default-runtime"], []),
        (["--default-runtime=crun"], ["debug", "runtimes", "default-runtime"], ["--default-runtime"]),
        (["--default-runtime=crun"], ["debug", "runtimes"], []),
        (
            ["--default-runtime", "crun", "--add-runtime=a=b"],
            ["runtimes", "default-runtime"],
            ["--add-runtime", "--default-runtime"],
        ),
        (["--debug"], ["debug"], []),
    ],
)
def test_flags_that_say_what_the_file_says(arguments: list[str], keys: list[str], flags: list[str]) -> None:
    assert conflicts(arguments, keys) == flags


def test_the_reload_keys_are_those_of_the_reference() -> None:
    """A key that is added to the table by mistake would leave a change without effect."""
    assert frozenset(RELOADED) == daemon.RELOADED
