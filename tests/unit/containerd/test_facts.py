"""The running containerd's own word, read from the bytes that it sends."""

import io
import json
import re
import tarfile
from dataclasses import replace
from typing import Any

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.look import Command, Look, Output
from deploys.containerd import facts
from deploys.containerd.decision import evidence, in_effect, systemd_cgroup
from deploys.containerd.distributions import distributions
from deploys.containerd.facts import FoundContainerd, found
from deploys.containerd.settings import ContainerdSettings
from tests.unit.helpers import RUNSC, gvisor_host, sh


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


def unit(name: str, kill_mode: str = "process", pid: int = 1) -> str:
    return f"KillMode={kill_mode}\nId={name}\nLoadState=loaded\nMainPID={pid}\n"


CONTAINERD = unit("containerd.service")
HOST = gvisor_host()


def answered(
    live: bytes,
    version: str = "",
    *,
    status: int = 0,
    units: str = CONTAINERD,
    name: str = "containerd",
    arguments: str = "/usr/bin/containerd\n",
    imported: bytes = b"",
) -> Look:
    """A look at containerd: its answer, and what its program says of its version where it gives none."""
    return Look(
        {},
        {
            f"containerd.live.{name}": Output(status, live, version.encode()),
            "containerd.units": Output(0, units.encode(), b""),
            "containerd.arguments": Output(0, arguments.encode(), b""),
            "containerd.imported": Output(0, imported, b""),
        },
    )


def expected(version: tuple[int, int], running: bool, cri: dict[str, Any] | None) -> FoundContainerd:
    (distribution,) = distributions(ContainerdSettings(distribution="containerd"))
    return FoundContainerd(distribution, version, "containerd.service", running, True, cri, {})


def refused(look: Look, **settings: Any) -> BulkheadError:
    with pytest.raises(BulkheadError) as error:
        found(gvisor_host(containerd=settings), look)
    return error.value


def test_version_and_live_configuration() -> None:
    there = found(HOST, answered(VERSION + status(CRI, ("golang", '"go1.22"'), ("lastCNILoadStatus", "not ready"))))
    assert there == expected((1, 7), True, CRI)


def test_a_daemon_whose_cri_does_not_answer() -> None:
    assert found(HOST, answered(VERSION)) == expected((1, 7), True, None)
    assert found(HOST, answered(VERSION + frame(b""))) == expected((1, 7), True, None)


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
    assert found(HOST, answered(b"", text)) == expected(version, False, None)


@pytest.mark.parametrize("text", ["", "sh: 1: containerd: not found\n"])
def test_a_host_without_containerd(text: str) -> None:
    error = refused(answered(b"", text, units="Id=containerd.service\nLoadState=not-found\n"))
    assert error.message == "the inventory's engines name containerd, but the host has none"
    assert error.hint == "Install containerd on it, or take containerd out of engines."


@pytest.mark.parametrize(
    "live",
    [VERSION[:-1], VERSION + b"\0\0", b"<html>not grpc</html>", VERSION + frame(b"\x0b"), frame(b"\x0a\x01\xff")],
)
def test_an_answer_that_cannot_be_read(live: bytes) -> None:
    message = refused(answered(live)).message
    assert message.startswith("containerd's answer on /run/containerd/containerd.sock can't be read: ")


# Which containerd


@pytest.mark.parametrize(
    ("units", "name", "unit_name"),
    [
        (unit("k3s.service"), "k3s", "k3s.service"),
        (unit("rke2-agent.service"), "rke2", "rke2-agent.service"),
        (unit("k0sworker.service"), "k0s", "k0sworker.service"),
        (unit("k3s.service", pid=0) + "\n" + unit("k3s-agent.service"), "k3s", "k3s-agent.service"),
    ],
)
def test_the_distribution_is_known_by_its_unit(units: str, name: str, unit_name: str) -> None:
    there = found(HOST, answered(VERSION, units=units, name=name))
    assert (there.distribution.name, there.unit) == (name, unit_name)


def test_several_containerds() -> None:
    look = answered(VERSION, units=CONTAINERD + "\n" + unit("k3s.service"))
    error = refused(look)
    assert error.message == "the host has several containerds: containerd, k3s"
    assert error.hint == 'Say which one runs agents: containerd.distribution = "k3s" in the inventory.'
    assert found(gvisor_host(containerd={"distribution": "containerd"}), look).distribution.name == "containerd"


@pytest.mark.parametrize("arguments", ["containerd\n--config\n/srv/c.toml", "x\n-c\n/srv/c.toml", "x\n-c=/srv/c.toml"])
def test_a_daemon_that_reads_another_file(arguments: str) -> None:
    error = refused(answered(VERSION, arguments=arguments))
    assert error.message == "containerd reads /srv/c.toml (--config), not /etc/containerd/config.toml"
    assert error.hint == "Set containerd.config_file = '/srv/c.toml' in the inventory."
    there = gvisor_host(containerd={"config_file": "/srv/c.toml"})
    assert found(there, answered(VERSION, arguments=arguments)).distribution.config_file == "/srv/c.toml"


def test_imported_files_come_as_an_archive() -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as opened:
        member = tarfile.TarInfo("etc/containerd/conf.d/a.toml")
        member.size = 3
        opened.addfile(member, io.BytesIO(b"a=1"))
    imported = found(HOST, answered(VERSION, imported=archive.getvalue())).imported
    assert {path: file.content for path, file in imported.items()} == {"/etc/containerd/conf.d/a.toml": b"a=1"}


def test_a_configuration_that_is_not_json() -> None:
    broken = frame(field(2, field(1, b"config") + field(2, b"{")))
    assert "can't be read: " in refused(answered(VERSION + broken)).message


def commands() -> list[Command]:
    return [need for need in facts.needs(HOST) if isinstance(need, Command)]


def test_the_questions_are_valid_shell() -> None:
    assert len(commands()) > 6
    for command in commands():
        assert sh(f"sh -n <<'END_OF_TEST'\n{command.script}\nEND_OF_TEST\n").stderr == ""


def test_the_question_for_details_is_one_frame(tmp_path: Any) -> None:
    """StatusRequest{verbose: true} and an empty VersionRequest, as gRPC frames them."""
    (distribution,) = distributions(ContainerdSettings(distribution="containerd"))
    prepare = re.search(r"^printf.*$", facts.live(distribution), re.MULTILINE)
    assert prepare is not None
    assert sh(f"d={tmp_path}\n{prepare.group()}\n").returncode == 0
    assert (tmp_path / "containerd.empty").read_bytes() == b"\0\0\0\0\0"
    assert (tmp_path / "containerd.verbose").read_bytes() == b"\0\0\0\0\x02\x08\x01"


@pytest.mark.parametrize(
    ("kill_mode", "kept"), [("process", True), ("control-group", False), ("mixed", False), ("", False)]
)
def test_a_unit_that_kills_containers_with_the_daemon(kill_mode: str, kept: bool) -> None:
    look = answered(VERSION, units=unit("containerd.service", kill_mode))
    assert found(HOST, look).keeps_containers is kept


def test_a_host_without_curl() -> None:
    error = refused(answered(b"", "containerd 1.7.24\n", status=127))
    assert error.message == "the host has no curl"
    assert error.hint == "Install curl on it, then run again."


BY_SYSTEMD = {"runtimes": {"runc": {"options": {"SystemdCgroup": True}}}}


@pytest.mark.parametrize(
    ("cri", "documents", "written", "expected"),
    [
        # A daemon that answers has the word, whatever its files say.
        ({"containerd": BY_SYSTEMD}, [], None, True),
        ({"containerd": {"runtimes": {"runc": {"options": {"SystemdCgroup": False}}}}}, [], None, False),
        (
            {"containerd": {"runtimes": {"runc": {"options": None}}}},
            [{"plugins": {"x": {"containerd": BY_SYSTEMD}}}],
            None,
            False,
        ),
        ({}, [], b"[runsc_config]\nsystemd-cgroup = 'true'\n", False),
        # One that does not answer at the moment changes nothing of what was written while it did.
        (None, [], b"[runsc_config]\nsystemd-cgroup = 'true'\n", True),
        (None, [], b"[runsc_config]\nsystemd-cgroup = 'false'\n", False),
        (None, [{"plugins": {"io.containerd.grpc.v1.cri": {"containerd": BY_SYSTEMD}}}], None, True),
        (None, [{"plugins": {"io.containerd.grpc.v1.cri": {"containerd": {}}, "odd": 3}}, {}], b"broken [", False),
    ],
)
def test_runsc_drives_cgroups_as_runc_does(
    cri: dict[str, Any] | None, documents: list[dict[str, Any]], written: bytes | None, expected: bool
) -> None:
    assert systemd_cgroup(cri, documents, written) is expected


# In effect


def without(*path: str) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(CRI))
    table = changed
    for key in path[:-1]:
        table = table[key]
    del table[path[-1]]
    return changed


def test_a_runtime_that_is_in_effect() -> None:
    assert in_effect(CRI, [RUNSC], None)
    assert in_effect(CRI, [RUNSC], "runc")


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
    assert not in_effect(cri, [RUNSC], None)


def test_a_runtime_that_is_to_go_must_be_gone() -> None:
    assert not in_effect(CRI, [], None, ["runsc"])
    assert in_effect(without("containerd", "runtimes", "runsc"), [], None, ["runsc"])


@pytest.mark.parametrize(
    ("key", "ours"), [("PodAnnotations", "pod_annotations"), ("ContainerAnnotations", "container_annotations")]
)
def test_annotations_that_reach_the_shim_must_be_ours(key: str, ours: str) -> None:
    changed = json.loads(json.dumps(CRI))
    changed["containerd"]["runtimes"]["runsc"][key] = ["dev.gvisor.*"]
    assert not in_effect(changed, [RUNSC], None)
    assert in_effect(changed, [replace(RUNSC, handler={ours: ["dev.gvisor.*"]})], None)


def test_another_default_is_not_in_effect() -> None:
    assert not in_effect(CRI, [RUNSC], "runsc")


def test_the_evidence_is_what_the_daemon_prints() -> None:
    printed = json.dumps(CRI, separators=(",", ":"))
    assert evidence([RUNSC], "runc") == [
        '"defaultRuntimeName":',
        '"runsc":{"runtimeType":"io.containerd.runsc.v1"',
        '"TypeUrl":"io.containerd.runsc.v1.options"',
        '"ConfigPath":"/etc/containerd/runsc.toml"',
        '"defaultRuntimeName":"runc"',
    ]
    assert all(piece in printed for piece in evidence([RUNSC], "runc"))
    assert evidence([replace(RUNSC, options={})], None, answered=False) == [
        '"runsc":{"runtimeType":"io.containerd.runsc.v1"'
    ]
