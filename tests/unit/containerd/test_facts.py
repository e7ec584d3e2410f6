"""The running containerd's own word, read from the bytes that it sends."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.look import Look, Output
from deploys.containerd import facts
from deploys.containerd.deploy import _with_cgroups, evidence, in_effect
from deploys.containerd.facts import FoundContainerd, found
from tests.unit.helpers import RUNSC, sh


def field(number: int, value: bytes) -> bytes:
    """A protobuf field that holds bytes; lengths of two bytes suffice here."""
    assert len(value) < 16384
    length = bytes([len(value)]) if len(value) < 128 else bytes([len(value) & 0x7F | 0x80, len(value) >> 7])
    return bytes([number << 3 | 2]) + length + value


def frame(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


VERSION = frame(field(1, b"1.7.24~ds1") + field(2, b"1.7.24~ds1-6"))

CRI = {
    "containerd": {
        "defaultRuntimeName": "runc",
        "runtimes": {
            "runc": {"runtimeType": "io.containerd.runc.v2", "options": {"SystemdCgroup": True}},
            "runsc": {
                "runtimeType": "io.containerd.runsc.v1",
                "options": {
                    "ConfigPath": "/etc/containerd/runsc.toml",
                    "TypeUrl": "io.containerd.runsc.v1.options",
                },
            },
        },
    }
}


def status(config: object, *others: tuple[str, str]) -> bytes:
    """A verbose StatusResponse: conditions, and a map of JSON texts."""
    pairs = [*others, ("config", json.dumps(config))]
    info = b"".join(field(2, field(1, key.encode()) + field(2, text.encode())) for key, text in pairs)
    return frame(field(1, field(1, b"\x0a\x0cRuntimeReady")) + info)


def answered(live: bytes, version: str = "", *, status: int = 0, kill_mode: str = "process") -> Look:
    """A look at containerd: its answer, and what its program says of its version where it gives none."""
    return Look(
        {},
        {
            "containerd.live": Output(status, live, version.encode()),
            "containerd.unit": Output(0, f"{kill_mode}\n".encode(), b""),
        },
    )


def test_version_and_live_configuration() -> None:
    there = found(answered(VERSION + status(CRI, ("golang", '"go1.22"'), ("lastCNILoadStatus", "cni: not ready"))))
    assert there == FoundContainerd((1, 7), True, True, CRI)


def test_a_daemon_whose_cri_does_not_answer() -> None:
    assert found(answered(VERSION)) == FoundContainerd((1, 7), True, True, None)
    assert found(answered(VERSION + frame(b""))) == FoundContainerd((1, 7), True, True, None)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3\n", (1, 6)),
        ("containerd github.com/containerd/containerd/v2 2.1.9+unknown \n", (2, 1)),
        ("containerd containerd.io v2.10.1 abc\n", (2, 10)),
        ("containerd containerd.io 1.7.27 abc\n", (1, 7)),
    ],
)
def test_a_daemon_that_does_not_run_has_its_program_s_version(text: str, version: tuple[int, int]) -> None:
    assert found(answered(b"", text)) == FoundContainerd(version, False, True, None)


@pytest.mark.parametrize("text", ["", "sh: 1: containerd: not found\n"])
def test_a_host_without_containerd(text: str) -> None:
    with pytest.raises(BulkheadError) as error:
        found(answered(b"", text))
    assert error.value.message == "the inventory's engines name containerd, but the host has none"
    assert error.value.hint == "Install containerd on it, or take containerd out of engines."


@pytest.mark.parametrize("version", ["1.5.18", "1.4.13~ds1", "0.2.9"])
def test_a_daemon_that_is_too_old(version: str) -> None:
    with pytest.raises(BulkheadError) as error:
        found(answered(frame(field(1, version.encode()))))
    assert error.value.message == f"containerd {version.partition('~')[0]} is too old"
    assert error.value.hint == "Upgrade it to 1.6 or later."


@pytest.mark.parametrize(
    "live",
    [VERSION[:-1], VERSION + b"\0\0", b"<html>not grpc</html>", VERSION + frame(b"\x0b"), frame(b"\x0a\x01\xff")],
)
def test_an_answer_that_cannot_be_read(live: bytes) -> None:
    with pytest.raises(BulkheadError) as error:
        found(answered(live))
    assert error.value.message.startswith("containerd's answer on /run/containerd/containerd.sock can't be read: ")


def test_a_configuration_that_is_not_json() -> None:
    broken = frame(field(2, field(1, b"config") + field(2, b"{")))
    with pytest.raises(BulkheadError, match="can't be read: "):
        found(answered(VERSION + broken))


def test_the_questions_are_valid_shell() -> None:
    assert sh(f"sh -n <<'END_OF_TEST'\n{facts.live()}\nEND_OF_TEST\n").stderr == ""


def test_the_question_for_details_is_one_frame(tmp_path: Any) -> None:
    """StatusRequest{verbose: true} and an empty VersionRequest, as gRPC frames them."""
    prepare = re.search(r"^printf.*$", facts.live(), re.MULTILINE)
    assert prepare is not None
    assert sh(f"d={tmp_path}\n{prepare.group()}\n").returncode == 0
    assert (tmp_path / "empty").read_bytes() == b"\0\0\0\0\0"
    assert (tmp_path / "verbose").read_bytes() == b"\0\0\0\0\x02\x08\x01"


@pytest.mark.parametrize(
    ("kill_mode", "kept"), [("process", True), ("control-group", False), ("mixed", False), ("", False)]
)
def test_a_unit_that_kills_containers_with_the_daemon(kill_mode: str, kept: bool) -> None:
    assert found(answered(VERSION, kill_mode=kill_mode)).keeps_containers is kept


def test_a_host_without_curl() -> None:
    with pytest.raises(BulkheadError) as error:
        found(answered(b"", "containerd 1.7.24\n", status=127))
    assert error.value.message == "the host has no curl"
    assert error.value.hint == "Install curl on it, then run again."


@pytest.mark.parametrize(("systemd", "flag"), [(True, "true"), (False, None)])
def test_runsc_drives_cgroups_as_runc_does(systemd: bool, flag: str | None) -> None:
    cri = {"containerd": {"runtimes": {"runc": {"options": {"SystemdCgroup": systemd}}}}}
    runtime = _with_cgroups(RUNSC, FoundContainerd((1, 7), True, True, cri))
    assert runtime.config.get("systemd-cgroup") == flag
    chosen = replace(RUNSC, config={"systemd-cgroup": "false"})
    assert _with_cgroups(chosen, FoundContainerd((1, 7), True, True, cri)).config == {"systemd-cgroup": "false"}


@pytest.mark.parametrize("cri", [None, {}, {"containerd": {"runtimes": {"runc": {"options": None}}}}])
def test_nothing_is_known_of_cgroups(cri: dict[str, Any] | None) -> None:
    assert _with_cgroups(RUNSC, FoundContainerd((1, 7), True, True, cri)) == RUNSC


# In effect


def without(*path: str) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(CRI))
    table = changed
    for key in path[:-1]:
        table = table[key]
    del table[path[-1]]
    return changed


def test_a_runtime_that_is_in_effect() -> None:
    assert in_effect(CRI, RUNSC, None)
    assert in_effect(CRI, RUNSC, "runc")


@pytest.mark.parametrize(
    "cri",
    [
        None,
        {},
        without("containerd"),
        without("containerd", "runtimes"),
        without("containerd", "runtimes", "runsc"),
        without("containerd", "runtimes", "runsc", "runtimeType"),
        without("containerd", "runtimes", "runsc", "options"),
        without("containerd", "runtimes", "runsc", "options", "ConfigPath"),
    ],
)
def test_a_runtime_that_is_not_in_effect(cri: dict[str, Any] | None) -> None:
    assert not in_effect(cri, RUNSC, None)


def test_another_default_is_not_in_effect() -> None:
    assert not in_effect(CRI, RUNSC, "runsc")


def test_the_evidence_is_what_the_daemon_prints() -> None:
    printed = json.dumps(CRI, separators=(",", ":"))
    assert evidence(RUNSC, "runc") == [
        '"runsc":{"runtimeType":"io.containerd.runsc.v1"',
        '"ConfigPath":"/etc/containerd/runsc.toml"',
        '"defaultRuntimeName":"runc"',
    ]
    assert all(piece in printed for piece in evidence(RUNSC, "runc"))
    assert evidence(replace(RUNSC, config_path=""), None) == ['"runsc":{"runtimeType":"io.containerd.runsc.v1"']
