"""A legacy host: what its look says decides whether something is done, and whether it may be done."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import FoundFile, Look, Output
from bulkhead.registration import Ledger, Record
from bulkhead.templates import render
from deploys.docker import agents_slice, daemon, options
from deploys.docker import deploy as package
from deploys.docker.decision import decide
from deploys.docker.facts import LEDGER, STAMP
from deploys.docker.settings import SliceSettings, managed, of
from tests.unit.docker.test_options import EXPECTED, override
from tests.unit.helpers import gvisor_host, legacy_host

PATH = "/etc/docker/daemon.json"
SECURITY = ["name=apparmor", "name=seccomp,profile=builtin", "name=userns", "name=cgroupns", "name=no-new-privileges"]
INFO: dict[str, Any] = {
    "Containers": 0,
    "Runtimes": {"runc": {"path": "runc"}},
    "DefaultRuntime": "runc",
    "LiveRestoreEnabled": True,
    "LoggingDriver": "local",
    "CgroupDriver": "systemd",
    "CgroupVersion": "2",
    "SecurityOptions": SECURITY,
}
STOCK = {**INFO, "LiveRestoreEnabled": False, "LoggingDriver": "json-file", "SecurityOptions": SECURITY[:2]}
ICC = "com.docker.network.bridge.enable_icc"
UNIT = b"""\
# Bulkhead: what all agents of this host may take together. Its values are docker.slice in the inventory.
[Unit]
Description=Containers of agents, capped as a whole
Before=slices.target

[Slice]
MemoryMax=80%
MemorySwapMax=0
CPUQuota=360%
TasksMax=8192
"""


def file(content: bytes | None, mtime: int = 100, mode: int = 0o644) -> FoundFile | None:
    return None if content is None else FoundFile("file", content, mode, "root", "root", mtime=mtime)


def looked(
    text: str | None = None,
    record: Record | None = None,
    info: dict[str, Any] = STOCK,
    *,
    icc: str = "true",
    started: int = 100,
    changed: int = 100,
    stamp: bytes | None = None,
    unit: bytes | None = None,
    **said: str,
) -> Look:
    ledger = Ledger(files={PATH: record}).dump() if record else None
    answers = {
        "docker.info": json.dumps(info, separators=(",", ":")),
        "docker.bridge": json.dumps({"Name": "bridge", "Options": {ICC: icc}}, separators=(",", ":")),
        "docker.installed": "Docker version 26.1.5+dfsg1, build a72d7cd\n",
        "docker.arguments": "/usr/sbin/dockerd\n-H\nfd://\n",
        "docker.start": f"cafe\n{started}\n",
        "docker.listens": "/run/docker.sock (Stream)\n",
        "docker.kernel": "cgroup2fs\nY\n",
        "docker.slice": "LoadState=loaded\nNeedDaemonReload=no\n4\n",
        "host.architecture": "x86_64",
        **{f"docker.{name}": value for name, value in said.items()},
    }
    return Look(
        files={
            PATH: file(text.encode() if text is not None else None, changed),
            LEDGER: file(ledger, mode=0o600),
            STAMP: file(stamp),
            agents_slice.PATH: file(unit),
        },
        outputs={name: Output(0, answer.encode(), b"") for name, answer in answers.items()},
    )


@dataclass
class Run:
    """What a run did: operation → script (None for nothing to do), and what it warned of."""

    scripts: dict[str, str | None] = field(default_factory=dict)
    warned: list[str] = field(default_factory=list)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Run:
    run = Run()

    def operation(name: str, script: str | None) -> None:
        run.scripts[name] = script

    module = __import__("deploys.docker.deploy", fromlist=["deploy"])
    for place in (module, agents_slice):
        monkeypatch.setattr(place, "run", operation)
        monkeypatch.setattr(place, "announce", lambda _: None)
    monkeypatch.setattr(module, "warn", run.warned.append)
    return run


def converge(host: InventoryHost, look: Look) -> None:
    package.__wrapped__(host, look)  # type: ignore[attr-defined]


SLICE, SET = "Set the limits of bulkhead-agents.slice", "Set Docker's options"


def merged(text: str | None = None, **docker: Any) -> tuple[str, Record]:
    after, record = daemon.merge(text, [], None, options=managed(legacy_host(docker=docker)))
    assert after is not None
    return after, record


def test_a_stock_host_gets_everything(ran: Run) -> None:
    converge(legacy_host(), looked())
    script = ran.scripts[SET]
    assert list(ran.scripts) == [SLICE, SET]
    assert script is not None
    for one in (script, ran.scripts[SLICE] or ""):
        assert subprocess.run(["sh", "-n"], input=one.encode(), capture_output=True).stderr == b""
    assert "systemctl restart docker.service" in script
    assert "for runtime in runc; do" in script
    assert "would be out of its sight" in script


def settled(**how: Any) -> Look:
    text, record = merged()
    return looked(text, record, INFO, icc="false", unit=UNIT, **how)


def test_a_second_run_does_nothing(ran: Run) -> None:
    converge(legacy_host(), settled())
    assert ran.scripts == {SLICE: None, SET: None}
    assert ran.warned == []


STALE = f"cafe {options.digest(EXPECTED, EXPECTED.keys() - {'live-restore'})}\n".encode()


@pytest.mark.parametrize(
    ("how", "acts"),
    [
        ({"started": 99}, True),
        ({"started": 101}, False),
        ({"started": 99, "stamp": STALE}, False),
        ({"started": 99, "stamp": STALE.replace(b"cafe", b"beef")}, True),
        ({"started": 99, "stamp": b"\xff"}, True),
        ({"started": 101, "start": "\n"}, True),
        ({"listens": ""}, False),
    ],
)
def test_a_daemon_older_than_its_file_is_restarted(ran: Run, how: dict[str, Any], acts: bool) -> None:
    converge(legacy_host(), settled(**how))
    assert (ran.scripts[SET] is not None) is acts
    if acts:
        assert "    may_restart || return 1\n" in (ran.scripts[SET] or "")
        assert "    systemctl reload" not in (ran.scripts[SET] or "").partition("activate()")[2].partition("prove()")[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [("LiveRestoreEnabled", False), ("LoggingDriver", "json-file"), ("SecurityOptions", SECURITY[:2])],
)
def test_what_the_daemon_says_counts(ran: Run, key: str, value: Any) -> None:
    text, record = merged()
    converge(legacy_host(), looked(text, record, {**INFO, key: value}, icc="false", unit=UNIT))
    assert ran.scripts[SET] is not None
    assert ("would be out of its sight" in (ran.scripts[SET] or "")) is (key == "SecurityOptions")


def test_a_default_network_of_before_counts(ran: Run) -> None:
    text, record = merged()
    converge(legacy_host(), looked(text, record, INFO, icc="true", unit=UNIT))
    assert "icc takes effect in a restart of docker without running containers" in (ran.scripts[SET] or "")


def test_name_servers_of_before_stay_with_running_containers(ran: Run) -> None:
    text, record = merged(options={"dns": override(None)})
    converge(legacy_host(), looked(text, record, INFO, icc="false", unit=UNIT))
    assert "dns takes effect in a restart of docker without running containers" in (ran.scripts[SET] or "")
    converge(legacy_host(), looked(text, record, INFO, icc="true", unit=UNIT))
    assert "icc and dns take effect in a restart of docker without running containers" in (ran.scripts[SET] or "")


def test_other_name_servers_than_before_may_come_while_containers_run(ran: Run) -> None:
    text, record = merged(options={"dns": override(["10.0.0.2"])})
    converge(legacy_host(), looked(text, record, INFO, icc="false", unit=UNIT))
    assert "without running containers" not in (ran.scripts[SET] or "")
    assert "systemctl restart docker.service" in (ran.scripts[SET] or "")


def test_a_change_that_a_reload_takes_in_restarts_nothing(ran: Run) -> None:
    text, record = merged()
    host = legacy_host(docker={"options": {"live-restore": override(False)}})
    converge(host, looked(text, record, INFO, icc="false", unit=UNIT))
    assert "systemctl reload docker.service" in (ran.scripts[SET] or "")


def test_an_edit_of_what_a_reload_takes_in_restarts_nothing(ran: Run) -> None:
    text, record = merged()
    edited = text.replace('"live-restore": true', '"live-restore": false')
    converge(legacy_host(), looked(edited, record, INFO, icc="false", unit=UNIT, started=99, stamp=STALE))
    assert "systemctl reload docker.service" in (ran.scripts[SET] or "")


def test_what_was_taken_out_halfway_needs_a_restart(ran: Run) -> None:
    """The file has lost the option, but the record still holds it: the run was cut off before the restart."""
    after, record = merged(options={"userland-proxy": override(None)})
    _, before = merged()
    host = legacy_host(docker={"options": {"userland-proxy": override(None)}})
    pending = Ledger(files={PATH: before}).until(Ledger(files={PATH: record})).files[PATH]
    look = looked(after, pending, INFO, icc="false", unit=UNIT, started=99, stamp=STALE)
    converge(host, look)
    assert "may_restart || return 1" in (ran.scripts[SET] or "")
    fresh = looked(after, record, INFO, icc="false", unit=UNIT, started=100, stamp=STALE)
    converge(host, fresh)
    assert ran.scripts[SET] is None


def test_a_gvisor_host_goes_without_all_that(ran: Run) -> None:
    host = gvisor_host(gvisor={"state": "absent"})
    look = looked()
    for name in [name for name in look.outputs if name in ("docker.bridge", "docker.start", "docker.slice")]:
        del look.outputs[name]
    converge(host, look)
    assert ran.scripts == {"Take our runtimes out of Docker": None}


# The slice


def test_the_slice_follows_the_cores_unless_told() -> None:
    assert agents_slice.unit(SliceSettings(), 4) == UNIT
    given = agents_slice.unit(
        SliceSettings(memory_max="6G", swap_max="1G", cpu_quota="150%", tasks_max=100), 4
    ).decode()
    assert given.endswith("[Slice]\nMemoryMax=6G\nMemorySwapMax=1G\nCPUQuota=150%\nTasksMax=100\n")
    assert "\n# CPUQuota=90% of each" in agents_slice.unit(SliceSettings(), None).decode()
    assert agents_slice.cores("LoadState=loaded\n12\n") == 12
    assert agents_slice.cores("") == 1


@pytest.mark.parametrize("state", ["LoadState=loaded\nNeedDaemonReload=yes\n4\n", "LoadState=not-found\n4\n"])
def test_a_slice_that_systemd_has_not_read_is_not_in_force(ran: Run, state: str) -> None:
    converge(legacy_host(), settled(slice=state))
    assert ran.scripts[SLICE] is not None


@pytest.mark.parametrize(
    ("limits", "acts"),
    [
        ("MemoryMax=9\nmemory.max=9\ncpu.max=1 100000\npids.max=8192", False),
        ("MemoryMax=9\nmemory.max=max\ncpu.max=1 100000\npids.max=8192", True),
        ("MemoryMax=9\nmemory.max=9\ncpu.max=max 100000\npids.max=8192", True),
        ("MemorySwapMax=0\nmemory.swap.max=0\ncpu.max=1 100000\npids.max=8192", False),
        ("MemorySwapMax=0\nmemory.swap.max=max\ncpu.max=1 100000\npids.max=8192", True),
        ("MemoryMax=9\nmemory.max=9\ncpu.max=1 100000\npids.max=max", True),
    ],
)
def test_limits_that_somebody_took_away_in_the_kernel_come_back(ran: Run, limits: str, acts: bool) -> None:
    converge(legacy_host(), settled(slice=f"LoadState=loaded\nNeedDaemonReload=no\n{limits}\n4\n"))
    assert (ran.scripts[SLICE] is not None) is acts


def test_the_slice_goes_where_no_agent_is_put_into_it(ran: Run) -> None:
    host = legacy_host(docker={"options": {"cgroup-parent": override(None)}})
    text, record = merged()
    converge(host, looked(text, record, INFO, icc="false", unit=UNIT))
    assert list(ran.scripts) == [SET, "Remove bulkhead-agents.slice"]
    assert "rm /etc/systemd/system/bulkhead-agents.slice" in (ran.scripts["Remove bulkhead-agents.slice"] or "")
    ran.scripts.clear()
    converge(host, looked(*merged(options={"cgroup-parent": override(None)}), INFO, icc="false"))
    assert ran.scripts == {SET: None, "Remove bulkhead-agents.slice": None}


@pytest.mark.parametrize(
    ("how", "lacking"),
    [
        ({"kernel": "tmpfs\nY\n"}, "the host has not cgroup v2"),
        ({"info": {**STOCK, "CgroupVersion": "1"}}, "the host has not cgroup v2"),
        ({"info": {**STOCK, "CgroupDriver": "cgroupfs"}}, "docker's cgroup driver is not systemd"),
        ({"text": '{"exec-opts": ["native.cgroupdriver=cgroupfs"]}', "info": {}}, "docker's cgroup driver is not"),
    ],
)
def test_a_host_that_cannot_cap_is_refused(ran: Run, how: dict[str, Any], lacking: str) -> None:
    with pytest.raises(BulkheadError) as error:
        converge(legacy_host(), looked(**how))
    assert error.value.message.startswith(f"docker can't put agents into bulkhead-agents.slice: {lacking}")
    assert ran.scripts == {}
    converge(legacy_host(docker={"options": {"cgroup-parent": override(None)}}), looked(**how))


def test_tcp_is_refused_before_anything_is_written(ran: Run) -> None:
    listens = "Listen=/run/docker.sock (Stream)\n[::]:2375 (Stream)\n"
    with pytest.raises(BulkheadError, match=r"docker says \[::\]:2375 \(ListenStream= of docker.socket\)"):
        converge(legacy_host(), looked(listens=listens))
    assert ran.scripts == {}
    converge(legacy_host(docker={"options": {"hosts": override(None)}}), looked(listens=listens))


def test_a_flag_that_says_the_same_is_refused() -> None:
    with pytest.raises(BulkheadError, match=r"dockerd is started with --icc, which /etc/docker/daemon.json would say"):
        converge(legacy_host(), looked(arguments="dockerd\n--icc=true\n"))


def test_what_no_option_can_bring_is_said(ran: Run) -> None:
    text, record = merged()
    converge(
        legacy_host(),
        looked(text, record, {**INFO, "SecurityOptions": SECURITY[2:]}, icc="false", unit=UNIT),
    )
    assert [line.partition(":")[0] for line in ran.warned] == [
        "docker runs containers without seccomp",
        "docker runs containers without AppArmor, though the kernel has it",
    ]
    ran.warned.clear()
    converge(legacy_host(), looked(info={**STOCK, "SecurityOptions": SECURITY[1:]}, kernel="cgroup2fs\nN\n"))
    assert ran.warned == []


def test_files_without_a_host() -> None:
    module = __import__("deploys.docker.deploy", fromlist=["files"])
    files = module.files(legacy_host())
    assert list(files) == [PATH, "/etc/systemd/system/bulkhead-agents.slice"]
    assert json.loads(files[PATH]) == EXPECTED
    assert b"TasksMax=8192" in files["/etc/systemd/system/bulkhead-agents.slice"]
    assert list(module.files(legacy_host(docker={"options": {"cgroup-parent": override(None)}}))) == [PATH]
    assert of(legacy_host()).uses_slice


# What may be done: the check, by a real shell


def checked(
    tmp_path: Path, *, all_: str = "[]", running: str = "[]", live: bool = False, **values: Any
) -> tuple[int, str]:
    """The check with a daemon that answers so."""
    for name, answer in {
        "all": all_,
        "running": running,
        "info": json.dumps({**STOCK, "LiveRestoreEnabled": live}, separators=(",", ":")),
    }.items():
        (tmp_path / name).write_text(answer)
    bin_ = tmp_path / "bin"
    bin_.mkdir(exist_ok=True)
    active = values.pop("active", True)
    for name, body in {"systemctl": f"exit {0 if active else 3}", "dockerd": "echo none"}.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{body}\n")
        (bin_ / name).chmod(0o755)
    given = {
        "containers": f"cat {tmp_path}/running",
        "all_containers": f"cat {tmp_path}/all",
        "container": "false",
        "info": f"cat {tmp_path}/info",
        "allow_running": False,
        "allow_restart": False,
        "gone": [],
        "proofs": [],
        "moves": False,
        "network": [],
        "restart": [],
        "data_root": str(tmp_path / "data"),
        **values,
    }
    script = "candidate_1=/nonexistent\ncheck() {\n" + render("docker/check.sh.j2", **given) + "\n:\n}\n( check )\n"
    environment = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}"}
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, env=environment)
    return done.returncode, done.stderr


def listed(*names: str) -> str:
    return json.dumps([{"Id": "ab12", "Names": [f"/{name}"], "Image": "x"} for name in names], separators=(",", ":"))


def test_nothing_is_in_the_way(tmp_path: Path) -> None:
    assert checked(tmp_path, moves=True, restart=["icc"], network=["icc"]) == (0, "")
    assert checked(tmp_path, running=listed("a")) == (0, "")
    assert checked(tmp_path, running=listed("a"), live=True, restart=["userland-proxy"]) == (0, "")
    assert checked(tmp_path, running=listed("a"), restart=["userland-proxy"], allow_restart=True) == (0, "")
    assert checked(tmp_path, all_="", moves=True, active=False) == (0, "")


def test_a_restart_that_kills_is_refused(tmp_path: Path) -> None:
    status, error = checked(tmp_path, running=listed("agent-1", "agent-2"), restart=["userland-proxy"])
    assert status == 1
    assert "would kill running containers: agent-1 agent-2\n" in error


def test_a_default_network_in_use_is_refused_with_live_restore_too(tmp_path: Path) -> None:
    status, error = checked(tmp_path, running=listed("agent-1"), live=True, restart=["icc"], network=["icc"])
    assert status == 1
    assert "icc takes effect in a restart of docker without running containers, and there are: agent-1\n" in error


def test_containers_that_would_be_out_of_sight_are_named(tmp_path: Path) -> None:
    status, error = checked(tmp_path, all_=listed("stopped-1"), moves=True, restart=["userns-remap"])
    assert status == 1
    assert "its containers would be out of its sight, as would its images: stopped-1\n" in error
    assert "set docker.allow_restart = True" in error
    assert checked(tmp_path, all_=listed("stopped-1"), moves=True, allow_restart=True) == (0, "")
    status, error = checked(tmp_path, running=listed("a"), live=True, moves=True, allow_restart=True)
    assert (status, "out of its sight, as would its images: a\nremove them or stop them" in error) == (1, True)


def test_a_daemon_that_does_not_say_is_not_moved(tmp_path: Path) -> None:
    for answer in ("", '{"message":"no"}'):
        status, error = checked(tmp_path, all_=answer, moves=True)
        assert (status, "docker does not say which containers there are" in error) == (1, True)


@pytest.mark.parametrize("directory", ["containers/ab12", "165536.165536/containers/ab12"])
def test_containers_of_a_stopped_daemon(tmp_path: Path, directory: str) -> None:
    (tmp_path / "data" / directory).mkdir(parents=True)
    status, error = checked(tmp_path, moves=True, active=False)
    assert (status, f"{directory}/\n" in error) == (1, True)


# Proof and undoing, by a real shell


def acted(tmp_path: Path, template: str, **values: Any) -> tuple[int, list[str], str]:
    """Status, what systemctl was told, and the errors of a snippet; the daemon runs as invocation `cafe`."""
    told = tmp_path / "told"
    told.write_text("")
    (tmp_path / "answer").write_text(values.pop("answer", ""))
    bin_ = tmp_path / "bin"
    bin_.mkdir(exist_ok=True)
    (bin_ / "systemctl").write_text(
        f'#!/bin/sh\ncase $1 in show) echo cafe ;; --quiet) ;; *) echo "$*" >>{told} ;; esac\nexit 0\n'
    )
    (bin_ / "sleep").write_text("#!/bin/sh\n")
    for program in bin_.iterdir():
        program.chmod(0o755)
    given = {
        "info": f"cat {tmp_path}/answer",
        "containers": f"cat {tmp_path}/answer",
        "container": "false",
        "allow_restart": False,
        "network": ["icc"],
        "restart": ["icc"],
        "invocation": "beef",
        "fresh": [],
        "evidence": [],
        "absent": [],
        "proved": [],
        "what": "what its file says",
        "stamp": "",
        "digest": "d1",
        **values,
    }
    script = "f() {\n" + render(template, **given) + "\n}\n( f )\n"
    environment = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}"}
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, env=environment)
    return done.returncode, told.read_text().splitlines(), done.stderr


def test_the_process_that_was_proved_is_written_down(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    assert acted(tmp_path, "docker/prove.sh.j2", evidence=["x"], answer="no", stamp=stamp)[0] == 1
    assert not stamp.exists()
    assert acted(tmp_path, "docker/prove.sh.j2", evidence=["x"], answer="x", stamp=stamp)[0] == 0
    assert stamp.read_text() == "cafe d1\n"


def test_a_daemon_that_started_with_the_new_options_is_restarted_with_the_old(tmp_path: Path) -> None:
    """live-restore keeps containers, also where icc was what could not be proved."""
    forget = "reset-failed docker.service"
    answer = '"LiveRestoreEnabled":true'
    assert acted(tmp_path, "docker/restore.sh.j2", answer=answer) == (0, [forget, "restart docker.service"], "")
    assert acted(tmp_path, "docker/restore.sh.j2", invocation="cafe") == (0, [forget], "")
    status, told, error = acted(tmp_path, "docker/restore.sh.j2", answer=listed("agent-1"))
    assert (status, told) == (1, [forget])
    assert error.endswith("docker keeps the new options until it is restarted\n")
    assert "would kill running containers: agent-1" in error


def test_without_options_a_reload_undoes(tmp_path: Path) -> None:
    status, told, _ = acted(tmp_path, "docker/restore.sh.j2", restart=[], answer="{}")
    assert (status, told) == (0, ["reset-failed docker.service", "reload docker.service"])


def test_the_data_directory_changes_with_the_mapping_of_users() -> None:
    """Also where the key is taken out again."""
    text, record = merged()
    mapped = {**INFO, "SecurityOptions": SECURITY}
    assert "name=userns" in SECURITY
    assert decide(legacy_host(), looked()).moves_data
    assert not decide(legacy_host(), looked(text, record, mapped, icc="false", unit=UNIT)).moves_data
    taken_out = legacy_host(docker={"options": {"userns-remap": {"value": None, "reason": "a test"}}})
    assert decide(taken_out, looked(text, record, mapped, icc="false", unit=UNIT)).moves_data
