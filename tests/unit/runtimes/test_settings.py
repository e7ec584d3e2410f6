"""Runtimes that the inventory describes: what is wrong is named with host and key before anything connects."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import pytest

from bulkhead import capability, toml_text
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.runtime import Runtime
from deploys.runtimes import CAPABILITY
from deploys.runtimes.settings import of, runtimes
from tests.unit.helpers import gvisor_host

KATA = {"runtime_type": "io.containerd.kata.v2"}


def host(runtimes: object, **data: Any) -> InventoryHost:
    return gvisor_host(runtimes=runtimes, **data)


def refused(runtimes: object, **data: Any) -> BulkheadError:
    with pytest.raises(BulkheadError) as error:
        of(host(runtimes, **data))
    return error.value


def message(**changed: Any) -> str:
    """What is said of Kata with something changed, without the host and the key."""
    found = refused({"kata": {**KATA, **changed}}).message
    assert found.startswith("agents-1: runtimes.kata")
    return found.removeprefix("agents-1: runtimes.kata").removeprefix(".").removeprefix(": ")


@pytest.mark.parametrize("data", [{}, {"runtimes": None}, {"runtimes": {}}])
def test_a_host_without_runtimes(data: dict[str, Any]) -> None:
    assert of(gvisor_host(**data)) == {}
    assert runtimes(gvisor_host(**data)) == []


def test_a_shim_is_enough() -> None:
    assert runtimes(host({"kata": KATA})) == [
        Runtime(name="kata", runtime_type="io.containerd.kata.v2", engines=frozenset({"containerd", "docker"}))
    ]


def test_all_that_a_runtime_may_say() -> None:
    described = {
        "runtime_type": "io.containerd.kata-fc.v2",
        "runtime_path": "/opt/kata/bin/containerd-shim-kata-v2",
        "options": {"ConfigPath": "/etc/kata/fc.toml", "deep": {"list": [1, 2.5, True, "x", {"a": []}]}},
        "pod_annotations": ["io.katacontainers.*"],
        "container_annotations": ["x"],
        "privileged_without_host_devices": True,
        "snapshotter": "devmapper",
        "binary": "/usr/bin/crun",
        "arguments": ["--debug", ""],
        "engines": ["containerd"],
    }
    assert runtimes(host({"kata-fc": described})) == [
        Runtime(
            name="kata-fc",
            runtime_type="io.containerd.kata-fc.v2",
            binary="/usr/bin/crun",
            arguments=("--debug", ""),
            options=described["options"],  # type: ignore[arg-type]
            handler={
                "runtime_path": "/opt/kata/bin/containerd-shim-kata-v2",
                "pod_annotations": ["io.katacontainers.*"],
                "container_annotations": ["x"],
                "privileged_without_host_devices": True,
                "snapshotter": "devmapper",
            },
            engines=frozenset({"containerd"}),
        )
    ]
    (runtime,) = runtimes(host({"kata-fc": described}))
    assert (runtime.default, runtime.proof, runtime.config_path, runtime.config) == (False, "", "", {})
    # Both formats hold them.
    text = toml_text.put("", ["options"], runtime.options)
    assert toml_text.parse(text)["options"] == json.loads(json.dumps(runtime.options)) == described["options"]


@pytest.mark.parametrize(("value", "kind"), [([], "list"), ("", "str"), ([KATA], "list"), (False, "bool"), (3, "int")])
def test_something_else_than_a_dictionary(value: object, kind: str) -> None:
    error = refused(value)
    assert error.message == f"agents-1: runtimes: expected a dictionary, not {kind}"
    assert error.hint == 'Write runtimes = {"kata": {...}} in the inventory or in group_data.'
    if value:
        assert refused({"kata": value}).message.startswith("agents-1: runtimes.kata: expected a dictionary, not ")


@pytest.mark.parametrize(
    "name", ["runc", "runsc", "Kata", "a b", "a_b", "a.b", "-a", "a-", "", "a" * 64, "größe", "a\n", 3, None, ("a",)]
)
def test_a_name_that_can_t_be_a_handler_s(name: object) -> None:
    error = refused({name: KATA})
    assert error.message == f"agents-1: runtimes.{name}: can't be a handler's name"
    assert error.hint == "Lower case letters, digits and '-'; runc is the engines' own, runsc is gVisor's."


@pytest.mark.parametrize("name", ["a", "0", "kata-fc", "a" * 63, "runsc-2", "9p"])
def test_a_name_that_can(name: str) -> None:
    assert list(of(host({name: KATA}))) == [name]


def test_the_shim_must_be_said() -> None:
    assert refused({"kata": None}).message == "agents-1: runtimes.kata.runtime_type: field required (found {})"


@pytest.mark.parametrize(
    "shim",
    [
        *("kata", "io.containerd.kata", "io.containerd.kata.2", "io.containerd..v2", "/usr/bin/shim", ""),
        *("io.containerd.a_b.v1", "io.containerd.kata.v2 ", "io.containerd.kata.v2\n", "IO.containerd.kata.v2"),
        "x.io.containerd.kata.v2",
    ],
)
def test_a_shim_s_name_that_is_none(shim: str) -> None:
    assert message(runtime_type=shim) == (f"runtime_type: {shim!r} is not a shim's name such as io.containerd.kata.v2")


@pytest.mark.parametrize("shim", ["io.containerd.runsc.v1", "io.containerd.runsc.v2"])
def test_gvisor_has_profiles_for_that(shim: str) -> None:
    assert message(runtime_type=shim) == (
        "runtime_type: another set of flags for gVisor is a profile: use gvisor.profiles"
    )


@pytest.mark.parametrize("key", ["runtime_path", "binary"])
@pytest.mark.parametrize("path", ["crun", "", "~/crun", "/usr/bin/a b", "/a\n", "/a/../b", "/a/./b", "/a//b", "/a/"])
def test_a_path_that_is_none(key: str, path: str) -> None:
    assert message(**{key: path}) == f"{key}: {path!r} is not an absolute path"


def test_arguments_without_a_binary() -> None:
    assert message(arguments=["--debug"]) == "arguments have no meaning without binary"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"binary": 3}, "binary: input should be a valid string (found 3)"),
        ({"arguments": "--debug", "binary": "/b"}, "arguments: input should be a valid list (found '--debug')"),
        ({"arguments": [1], "binary": "/b"}, "arguments.0: input should be a valid string (found 1)"),
        ({"pod_annotations": "x"}, "pod_annotations: input should be a valid list (found 'x')"),
        ({"container_annotations": [None]}, "container_annotations.0: input should be a valid string (found None)"),
        (
            {"privileged_without_host_devices": "yes"},
            "privileged_without_host_devices: input should be a valid boolean (found 'yes')",
        ),
        ({"snapshotter": 1}, "snapshotter: input should be a valid string (found 1)"),
        ({"options": []}, "options: input should be a valid dictionary (found [])"),
        ({"options": {1: 2}}, "options.1.[key]: input should be a valid string (found 1)"),
        ({"engines": "docker"}, "engines: input should be a valid list (found 'docker')"),
        ({"engines": ["podman"]}, "engines: 'podman' is none of containerd, docker"),
    ],
)
def test_a_wrong_kind(changed: dict[str, Any], said: str) -> None:
    assert message(**changed) == said


@pytest.mark.parametrize(
    "value", [None, {1, 2}, datetime.date(2026, 1, 1), math.nan, math.inf, b"x", (1,), {1: 2}, {"a": [None]}]
)
def test_options_that_not_both_formats_have(value: object) -> None:
    assert message(options={"ConfigPath": "/etc/a", "x": value}) == (
        f"options: x is {value!r}, which TOML and JSON don't both have"
    )


def test_an_unknown_key_is_named_with_those_that_are_known() -> None:
    assert message(path="/usr/bin/crun") == (
        "path: unknown setting (known: runtime_type, runtime_path, options, pod_annotations, container_annotations, "
        "privileged_without_host_devices, snapshotter, binary, arguments, engines)"
    )


def test_an_engine_that_the_host_has_not_got() -> None:
    both = {"kata": {**KATA, "engines": ["containerd", "docker"]}}
    assert refused(both, engines=["docker"]).message == "agents-1: runtimes.kata.engines: the host has no containerd"
    assert list(of(host({"kata": KATA}, engines=["docker"]))) == ["kata"]
    assert list(of(host({"kata": {**KATA, "engines": []}}, engines=["docker"]))) == ["kata"]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    error = refused(
        {"Kata": KATA, "crun": {"runtime_type": "crun", "binary": "crun"}, "ok": KATA, "x": {**KATA, "y": 1}}
    )
    assert [line.partition(": ")[2].partition(": ")[0] for line in error.message.splitlines()] == [
        *("runtimes.Kata", "runtimes.crun.runtime_type", "runtimes.crun.binary", "runtimes.x.y")
    ]
    assert error.hint.splitlines() == [
        "Lower case letters, digits and '-'; runc is the engines' own, runsc is gVisor's.",
        "  Correct the inventory; nothing was connected.",
    ]


def test_the_capability_is_of_gvisor_hosts_and_looks_at_nothing() -> None:
    described = host({"kata": KATA})
    assert CAPABILITY in capability.discover()
    assert CAPABILITY.applies(described)
    assert not CAPABILITY.applies(InventoryHost("old", frozenset({"legacy_hosts"}), described.data))
    assert CAPABILITY.needs(described) == []
    assert CAPABILITY.runtimes(described, None) == runtimes(described)
    with pytest.raises(BulkheadError, match=r"^agents-1: runtimes\.kata\.x: unknown setting"):
        capability.check_inventory([host({"kata": {**KATA, "x": 1}})])
