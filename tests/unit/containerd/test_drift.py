"""A containerd as a deploy leaves it drifts in nothing, and each tamper is its own finding."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulkhead.capability import needs_of
from bulkhead.drift.finding import Finding
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Command, FoundFile, Look, Output
from deploys.containerd import drift
from deploys.containerd.decision import decide
from deploys.containerd.drift import watches
from tests.unit.containerd.test_facts import CRI, VERSION, field, frame, status
from tests.unit.helpers import answered, as_root, compared, gvisor_host, own, sh, unit

HOST = gvisor_host(engines=["containerd"])
CONFIG = 'version = 2\n[proxy]\npassword = "hunter2"\n'
UNIT = unit("containerd.service", FragmentPath="/usr/lib/systemd/system/containerd.service")
OURS = ("/etc/containerd/config.toml", "/etc/containerd/runsc.toml", "/var/lib/bulkhead/containerd.json")


def fresh(host: InventoryHost, cri: Any = CRI) -> Look:
    """A look at a host with a file of the user's, before the first deploy."""
    said: dict[str, str | bytes] = {
        "containerd.live.containerd": VERSION + status(cri),
        "containerd.units": f"{UNIT}KillMode=process\nMainPID=7\n",
        "containerd.watched": f"{UNIT}\n---\n",
        "containerd.arguments": "/usr/bin/containerd\n",
        "host.architecture": "x86_64",
        "gvisor.host": "x86_64\n",
    }
    return answered([*needs_of(host), *watches(host)], {"/etc/containerd/config.toml": CONFIG}, said)


def clean(host: InventoryHost = HOST, cri: Any = CRI) -> Look:
    """The same after it."""
    look = fresh(host, cri)
    decided = decide(host, look)
    files: dict[str, FoundFile | None] = {
        write.path: own(write.content, write.mode)
        for write in (*decided.registered, *decided.options, decided.after.write(OURS[2], None))
        if write.content is not None
    }
    assert sorted(files) == sorted(OURS)
    return replace(look, files={**look.files, **files})


def said(look: Look, name: str, answer: bytes | str) -> Look:
    assert name in look.outputs
    output = Output(0, answer.encode() if isinstance(answer, str) else answer, b"")
    return replace(look, outputs={**look.outputs, name: output})


def edited(look: Look, path: str, change: Callable[[str], str], **more: Any) -> Look:
    found = look.files[path]
    assert found
    text = change(found.content.decode())
    return replace(look, files={**look.files, path: replace(found, content=text.encode(), **more)})


def live(look: Look, change: Callable[[dict[str, Any]], None]) -> Look:
    cri = deepcopy(CRI)
    change(cri["containerd"])
    return said(look, "containerd.live.containerd", VERSION + status(cri))


def findings(look: Look, host: InventoryHost = HOST) -> list[tuple[str, str, str, str]]:
    found: list[Finding] = compared(drift.drift, host, look, "containerd")
    assert "hunter2" not in str(found)
    assert all(one.capability == "containerd" and one.mend for one in found)
    return [(one.subject, one.expected, one.actual, one.severity) for one in found]


def test_as_a_deploy_leaves_it() -> None:
    assert findings(clean()) == []
    assert decide(HOST, clean()).effective


def taken(old: str, new: str = "") -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


RUNSC = 'plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc'
MAIN, SHIM, LEDGER = OURS
HANDLER = (
    '{"options": {"ConfigPath": "/etc/containerd/runsc.toml", "TypeUrl": "io.containerd.runsc.v1.options"}, '
    '"runtimeType": "io.containerd.runsc.v1"}'
)


def test_the_handler_s_shim_changed_in_the_file_only() -> None:
    look = edited(clean(), MAIN, taken('"io.containerd.runsc.v1"', '"io.containerd.runc.v2"'))
    assert findings(look) == [
        (f"{MAIN}: {RUNSC}.runtime_type", '"io.containerd.runsc.v1"', '"io.containerd.runc.v2"', "critical")
    ]


def test_the_handler_changed_in_the_daemon_only() -> None:
    def change(engine: dict[str, Any]) -> None:
        engine["runtimes"]["runsc"]["runtimeType"] = "io.containerd.runc.v2"

    changed = HANDLER.replace('"io.containerd.runsc.v1"}', '"io.containerd.runc.v2"}')
    assert findings(live(clean(), change)) == [("containerd runtime runsc", HANDLER, changed, "critical")]


def test_the_handler_gone_from_the_daemon() -> None:
    look = live(clean(), lambda engine: engine["runtimes"].pop("runsc"))
    assert findings(look) == [("containerd runtime runsc", HANDLER, "", "critical")]


def test_annotations_passed_on() -> None:
    look = live(clean(), lambda engine: engine["runtimes"]["runsc"].update(PodAnnotations=["dev.gvisor.*"]))
    ((subject, _, actual, _),) = findings(look)
    assert subject == "containerd runtime runsc"
    assert json.loads(actual)["pod_annotations"] == ["dev.gvisor.*"]


def test_another_handler() -> None:
    look = live(clean(), lambda engine: engine["runtimes"].update(evil={"runtimeType": "io.containerd.runc.v2"}))
    assert findings(look) == [("containerd runtime evil", "", "io.containerd.runc.v2", "critical")]
    described = gvisor_host(engines=["containerd"], runtimes={"evil": {"runtime_type": "io.containerd.runc.v2"}})
    cri = deepcopy(CRI)
    cri["containerd"]["runtimes"]["evil"] = {"runtimeType": "io.containerd.runc.v2"}  # type: ignore[index]
    assert findings(clean(described, cri), described) == []


def test_another_default() -> None:
    host = gvisor_host(engines=["containerd"], containerd={"default_runtime": "runsc"})
    cri = deepcopy(CRI)
    cri["containerd"]["defaultRuntimeName"] = "runsc"
    look = clean(host, cri)
    assert findings(look, host) == []
    assert findings(said(look, "containerd.live.containerd", VERSION + status(CRI)), host) == [
        ("containerd default runtime", "runsc", "runc", "critical")
    ]
    assert findings(
        edited(look, MAIN, taken('default_runtime_name = "runsc"', 'default_runtime_name = "runc"')), host
    ) == [
        (
            f'{MAIN}: plugins."io.containerd.grpc.v1.cri".containerd.default_runtime_name',
            '"runsc"',
            '"runc"',
            "critical",
        )
    ]


def test_a_daemon_whose_cri_does_not_answer() -> None:
    look = said(clean(), "containerd.live.containerd", VERSION + frame(field(1, b"")))
    assert findings(look) == [("containerd CRI", "answers", "does not answer", "critical")]


def test_the_file_gone() -> None:
    look = clean()
    assert findings(replace(look, files={**look.files, MAIN: None})) == [
        (MAIN, "the file with our runtimes in it", "", "critical")
    ]


def test_flags_of_the_shim() -> None:
    ((subject, expected, actual, _),) = findings(edited(clean(), SHIM, taken('net-raw = "false"', 'net-raw = "true"')))
    assert subject == SHIM
    assert expected.replace('net-raw = "false"', 'net-raw = "true"') == actual


def test_a_file_of_the_user_s_in_place_of_the_shim_s() -> None:
    look = edited(clean(), LEDGER, taken(f'"options": [\n  "{SHIM}"\n ]', '"options": []'))
    look = edited(look, SHIM, lambda _: 'password = "hunter2"\n')
    assert [(subject, actual) for subject, _, actual, _ in findings(look)] == [
        (SHIM, "a file that is not Bulkhead's"),
        (LEDGER, "something else"),
    ]


def test_modes() -> None:
    look = edited(clean(), MAIN, lambda text: text, mode=0o646)
    look = edited(look, SHIM, lambda text: text, mode=0o666)
    look = edited(look, LEDGER, lambda text: text, mode=0o644)
    assert [(subject, actual) for subject, _, actual, _ in findings(look)] == [
        (f"{MAIN}: mode", "root:root 0646"),
        (f"{SHIM}: mode", "0666"),
        (f"{LEDGER}: mode", "0644"),
    ]


def test_the_record_altered() -> None:
    look = edited(clean(), LEDGER, taken('"created": false', '"created": true'))
    assert findings(look) == [(LEDGER, "what Bulkhead noted", "something else", "warning")]


def test_a_generation_crossed() -> None:
    newer = frame(field(1, b"2.1.9") + field(2, b"2.1.9-1"))
    look = said(clean(), "containerd.live.containerd", newer + status(CRI))
    crossed = ("containerd generation", "configuration version 2", "configuration version 3 (containerd 2.1)", "info")
    found = findings(look)
    assert found[-1] == crossed
    # containerd 2 keeps its runc by itself, so that a deploy takes ours out again.
    assert [subject for subject, *_ in found[:-1]] == [f"{MAIN}: {RUNSC.removesuffix('runsc')}runc"]
    # A record of before generations were noted tells none.
    assert crossed not in findings(edited(look, LEDGER, taken(',\n "generation": 2')))


def test_the_unit() -> None:
    look = said(clean(), "containerd.watched", unit("containerd.service", "inactive", "masked", "masked") + "\n---\n")
    look = said(said(look, "containerd.live.containerd", b""), "containerd.units", "")
    assert [(subject, actual) for subject, _, actual, _ in findings(with_version(look))] == [
        ("unit containerd.service", "masked")
    ]


def with_version(look: Look) -> Look:
    """A daemon that does not run, whose program tells the version."""
    answer = Output(0, b"", b"containerd github.com/containerd/containerd 1.7.24~ds1\n")
    return replace(look, outputs={**look.outputs, "containerd.live.containerd": answer})


# Containers

RUNC_SHIM = "containerd-shim-runc-v2"


def containers(*lines: str, host: InventoryHost = HOST, look: Look | None = None) -> list[tuple[str, str, str]]:
    found = findings(said(look or clean(host), "containerd.tasks", "\n".join(lines)), host)
    return [(subject, expected, actual) for subject, expected, actual, _ in found]


def test_containers_as_they_should_be() -> None:
    assert containers("shim\tk8s.io\tpod\tcontainerd-shim-runsc-v1", "task\tdefault\ta\town\tsome") == []
    # A cluster's own, where pods that name no runtime get runc.
    assert containers(f"shim\tk8s.io\tproxy\t{RUNC_SHIM}", "task\tk8s.io\tproxy\thost\tall") == []


def test_containers_on_the_wrong_runtime_or_without_bounds() -> None:
    assert containers(f"shim\tdefault\ta\t{RUNC_SHIM}") == [("container default/a: runtime", "runsc", RUNC_SHIM)]
    assert containers("task\tdefault\ta\thost\tall") == [
        ("container default/a: network", "its own", "the host's"),
        ("container default/a: privileged", "no", "yes"),
    ]


def test_a_host_that_does_not_tell_of_its_containers_is_never_clean() -> None:
    look = replace(clean(), outputs={**clean().outputs, "containerd.tasks": Output(1, b"", b"")})
    with pytest.raises(BulkheadError, match="what containers run"):
        findings(look)


def test_pods_where_gvisor_is_the_default() -> None:
    host = gvisor_host(engines=["containerd"], containerd={"default_runtime": "runsc"})
    cri = deepcopy(CRI)
    cri["containerd"]["defaultRuntimeName"] = "runsc"
    assert containers(f"shim\tk8s.io\ta\t{RUNC_SHIM}", host=host, look=clean(host, cri)) == [
        ("container k8s.io/a: runtime", "runsc", RUNC_SHIM)
    ]


@as_root
def test_a_real_look_at_shims_and_first_processes(tmp_path: Path) -> None:
    """Programs that are called as shims, each in the directory of its container, and what the kernel says of them."""
    sleep = Path("/bin/sleep").resolve()
    script = ["set -e"]
    for namespace, name, shim, within in (
        ("default", "apart", "containerd-shim-runsc-v1", "unshare --net setpriv --bounding-set=-all --"),
        ("default", "open", "containerd-shim-runc-v2", "env"),
        ("moby", "docker", "containerd-shim-runc-v2", "env"),
    ):
        bundle, program = tmp_path / namespace / name, tmp_path / shim
        bundle.mkdir(parents=True)
        program.write_bytes(sleep.read_bytes())
        program.chmod(0o755)
        script.append(f'cd {bundle}; {program} 30 & pids="$pids $!"')
        script.append(f'{within} sleep 30 & echo $! >init.pid; pids="$pids $!"')
    (asked,) = (need.script for need in watches(HOST) if isinstance(need, Command) and need.name == "containerd.tasks")
    done = sh("\n".join([*script, f"d={tmp_path}; export d; sleep 0.5; set +e", asked, "kill $pids"]))
    lines = set(done.stdout.splitlines())
    assert "shim\tdefault\tapart\tcontainerd-shim-runsc-v1" in lines
    assert "shim\tdefault\topen\tcontainerd-shim-runc-v2" in lines
    # On some machines that run tests, root has not all rights itself.
    status = Path("/proc/self/status").read_text()
    full = f"CapEff:\t{(2 << int(Path('/proc/sys/kernel/cap_last_cap').read_text())) - 1:016x}\n" in status
    assert f"task\tdefault\topen\thost\t{'all' if full else 'some'}" in lines
    assert "task\tdefault\tapart\town\tsome" in lines
    assert not [line for line in lines if "moby" in line]
