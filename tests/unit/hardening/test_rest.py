"""Core dumps, AppArmor, memory and packages, and all areas of a host together."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bulkhead.capability import needs_of
from bulkhead.errors import BulkheadError
from bulkhead.look import Command, File, Look
from deploys.hardening import apparmor, area, core_dumps, facts, memory, packages, settings
from deploys.hardening.plans import plans
from deploys.hardening.table import AREAS
from tests.unit.hardening.cases import KINDS, calls, host, look, override, stub, with_stubs
from tests.unit.helpers import as_root, sh

# Core dumps

DUMPS = {"limits": "0", "systemd": "none"}


def test_core_dumps() -> None:
    there = look({core_dumps.LIMITS: core_dumps.limits(), core_dumps.SYSTEMD: core_dumps.systemd()})
    assert core_dumps.plan(DUMPS, there) == area.Plan()
    assert "* hard core 0\nroot hard core 0\n" in core_dumps.limits()
    plan = core_dumps.plan({"limits": "0"}, there)
    assert plan.change
    assert [write.content for write in plan.change.writes if write.changes] == [None]


def test_apport_does_not_set_core_pattern_again() -> None:
    there = look(apport="LoadState=loaded\nActiveState=active")
    plan = core_dumps.plan(DUMPS, there)
    assert plan.change
    assert "systemctl stop apport.service" in plan.change.activate
    assert [write.path for write in plan.change.writes][-1] == "/etc/systemd/system/apport.service.d/zz-bulkhead.conf"
    assert plan.change.writes[-1].content
    alone = core_dumps.plan({"limits": "0"}, there)
    assert alone.change
    assert "stop" not in alone.change.activate


# AppArmor

ON = {"enforced": "yes"}
CONFINED = json.dumps({"SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin"]})
BARE = json.dumps({"SecurityOptions": ["name=seccomp,profile=builtin"]})


def armed(**said: str | tuple[int, str]) -> Look:
    there: dict[str, str | tuple[int, str]] = {"apparmor": "Y", "apparmor_unit": "enabled\nactive"}
    return look(None, **{**there, "docker_info": (7, ""), **said})


@pytest.mark.parametrize("docker", [(7, ""), CONFINED, "{", "[]"])
def test_apparmor_that_is_in_force(docker: str | tuple[int, str]) -> None:
    assert apparmor.plan(ON, armed(docker_info=docker), allow_restart=False) == area.Plan()


def test_a_docker_that_started_without_apparmor_is_restarted_but_kills_no_container() -> None:
    plan = apparmor.plan(ON, armed(docker_info=BARE), allow_restart=False)
    assert plan.lines == ("~ docker is restarted, to confine containers",)
    assert plan.change
    assert "may_restart || return 1\nsystemctl restart docker.service" in plan.change.activate
    assert "would kill running containers" in plan.change.activate
    assert "would kill" not in str(apparmor.plan(ON, armed(docker_info=BARE), allow_restart=True).change)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"apparmor": (1, "")}, "AppArmor is not enabled in the running kernel"),
        ({"apparmor": "N"}, "AppArmor is not enabled in the running kernel"),
        ({"apparmor_unit": "masked\ninactive"}, "apparmor.service is masked"),
    ],
)
def test_a_host_on_which_apparmor_can_t_be(said: dict[str, str | tuple[int, str]], message: str) -> None:
    with pytest.raises(BulkheadError, match=message) as error:
        apparmor.plan(ON, armed(**said), allow_restart=False)
    assert 'hardening = {"off": {"apparmor": "the reason"}}' in error.value.hint
    assert apparmor.plan({}, armed(**said), allow_restart=False) == area.Plan()


@as_root
@pytest.mark.parametrize("confines", [True, False])
def test_apparmor_is_proved_by_docker_and_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, confines: bool
) -> None:
    bin_, profiles = tmp_path / "bin", tmp_path / "profiles"
    monkeypatch.setattr("bulkhead.put.PATH", with_stubs(bin_))
    profiles.write_text("docker-default (enforce)\n" if confines else "docker-default (complain)\n")
    stub(bin_, "systemctl", "")
    # Docker: no container runs, and after its restart it says that it confines them.
    stub(
        bin_, "curl", f"case $* in *containers/json*) echo '[]' ;; *) echo '{CONFINED}' ;; esac".replace('": [', '":[')
    )
    plan = apparmor.plan(ON, armed(apparmor_unit="disabled\ninactive", docker_info=BARE), allow_restart=False)
    assert plan.script
    result = sh(plan.script.replace("/sys/kernel/security/apparmor/profiles", str(profiles)))
    assert result.returncode == (0 if confines else 1), result.stderr
    assert confines or "the kernel has no profile docker-default in force" in result.stderr
    assert "systemctl --quiet enable --now apparmor.service" in calls(bin_)
    assert "systemctl restart docker.service" in calls(bin_)


@as_root
def test_a_docker_with_containers_is_not_restarted_for_apparmor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_ = tmp_path / "bin"
    monkeypatch.setattr("bulkhead.put.PATH", with_stubs(bin_))
    stub(bin_, "systemctl", "")
    stub(
        bin_,
        "curl",
        """case $* in *containers/json*) echo '[{"Id":"1f","Names":["/agent-1"]}]' ;; *) echo '{}' ;; esac""",
    )
    plan = apparmor.plan(ON, armed(docker_info=BARE), allow_restart=False)
    assert plan.script
    result = sh(plan.script)
    assert result.returncode == 1
    assert "a restart of docker is needed, and would kill running containers: agent-1" in result.stderr
    assert "systemctl restart docker.service" not in calls(bin_)


# Memory

KSM = {"ksm": "off"}


def test_memory_that_is_as_it_should_be() -> None:
    for run in ("0", "2", ""):
        assert memory.plan(KSM, look({memory.TMPFILES: memory.tmpfiles()}, ksm=run)) == area.Plan()


def test_pages_that_are_shared_are_taken_apart() -> None:
    plan = memory.plan(KSM, look({memory.TMPFILES: memory.tmpfiles()}, ksm="1"))
    assert plan.lines == ("~ /sys/kernel/mm/ksm/run: 1 → 2",)


def test_swap_is_named_and_goes_only_when_asked_for() -> None:
    there = look({memory.TMPFILES: memory.tmpfiles()}, swap="/dev/vdb\n/swap")
    assert memory.plan(KSM, there).notes == ("memory: agents' memory may land on /dev/vdb, /swap",)
    assert memory.plan(KSM, there).script is None
    plan = memory.plan({**KSM, "swap": "off"}, there)
    assert plan.notes == ()
    assert plan.lines[-1] == "~ swap: /dev/vdb, /swap → off"


def test_the_files_are_what_systemd_takes(tmp_path: Path) -> None:
    plan = memory.plan({**KSM, "swap": "off"}, look())
    assert plan.change
    path = tmp_path / memory.UNIT
    path.write_bytes(plan.change.writes[1].content or b"")
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
    assert memory.UNIT not in result.stderr, result.stderr


@as_root
def test_sharing_ends_and_is_as_before_when_swap_can_t_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ksm, bin_ = tmp_path / "run", tmp_path / "bin"
    monkeypatch.setattr(memory, "KSM", str(ksm))
    monkeypatch.setattr(memory, "TMPFILES", str(tmp_path / "tmpfiles" / "zz.conf"))
    monkeypatch.setattr(memory, "PATH", str(tmp_path / "unit"))
    monkeypatch.setattr("bulkhead.put.PATH", with_stubs(bin_))
    stub(bin_, "systemctl", "case $* in restart*) exit 1 ;; esac")
    stub(bin_, "swapon", "")
    ksm.write_text("1\n")
    there = look(ksm="1", swap="/no-such-swap")
    there.files.update({memory.TMPFILES: None, memory.PATH: None})
    failing = memory.plan({**KSM, "swap": "off"}, there)
    assert failing.script
    assert sh(failing.script).returncode == 1
    assert ksm.read_text() == "1\n"
    assert calls(bin_)[-1] == "swapon /no-such-swap"
    assert not (tmp_path / "unit").exists()
    alone = memory.plan(KSM, there)
    assert alone.script
    assert sh(alone.script).returncode == 0
    assert ksm.read_text() == "2\n"
    assert (tmp_path / "tmpfiles" / "zz.conf").read_text().endswith(f"w {ksm} - - - - 2\n")


@as_root
def test_core_dump_files_are_put_and_apport_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bin_ = tmp_path / "bin"
    for name in ("LIMITS", "SYSTEMD", "APPORT"):
        monkeypatch.setattr(core_dumps, name, str(tmp_path / name))
    monkeypatch.setattr("bulkhead.put.PATH", with_stubs(bin_))
    stub(bin_, "systemctl", "")
    there = look(apport="LoadState=loaded\nActiveState=active")
    there.files.update({str(tmp_path / name): None for name in ("LIMITS", "SYSTEMD", "APPORT")})
    plan = core_dumps.plan(DUMPS, there)
    assert plan.script
    assert sh(plan.script).returncode == 0
    assert calls(bin_) == ["systemctl daemon-reload", "systemctl stop apport.service"]
    assert f"ConditionPathExists=!{tmp_path}/APPORT" in (tmp_path / "APPORT").read_text()


# Packages


def installed(*names: str, apt: bool = True) -> Look:
    return look(packages="\n".join([*names, *(["/usr/bin/apt-get"] if apt else [])]))


def test_which_packages_are_missing() -> None:
    wanted = settings.of(host())
    assert packages.missing(wanted, installed()) == ["apparmor", "auditd", "unattended-upgrades"]
    assert packages.missing(wanted, installed("apparmor", "auditd", "unattended-upgrades", apt=False)) == []
    without = settings.of(host(off={"audit": "x"}, apparmor={"enforced": override(None)}))
    assert packages.missing(without, installed()) == ["unattended-upgrades"]
    assert packages.script([]) is None


def test_a_host_without_apt_is_refused_with_the_packages() -> None:
    with pytest.raises(BulkheadError) as error:
        packages.missing(settings.of(host()), installed("apparmor", apt=False))
    assert error.value.message == "the host lacks auditd, unattended-upgrades, and has no apt-get to install it"
    assert '"audit": "the reason", "upgrades": "the reason"' in error.value.hint


@as_root
@pytest.mark.parametrize(
    ("apt", "asked", "status"),
    [
        ("exit 0", ["install"], 0),
        ("[ -e {0}/updated ] && exit 0; case $* in *update*) touch {0}/updated ;; *) exit 100 ;; esac", None, 0),
        ("echo 'E: Unable to locate package auditd' >&2; exit 100", ["install", "update"], 1),
    ],
)
def test_installing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apt: str, asked: list[str] | None, status: int
) -> None:
    monkeypatch.setattr("bulkhead.put.PATH", with_stubs(tmp_path / "bin"))
    stub(tmp_path / "bin", "apt-get", apt.replace("{0}", str(tmp_path)))
    script = packages.script(["auditd"])
    assert script
    result = sh(script)
    assert result.returncode == status, result.stderr
    what = [next(word for word in call.split() if word in ("install", "update")) for call in calls(tmp_path / "bin")]
    assert what == (asked or ["install", "update", "install"])
    assert status == 0 or "E: Unable to locate package auditd\nbulkhead: cannot install auditd" in result.stderr


# All together


@pytest.mark.parametrize("kind", KINDS)
def test_one_look_serves_all_areas_and_scripts_are_shell(kind: str) -> None:
    described = host(kind, memory={"swap": override("off")})
    wanted = settings.of(described)
    there = look(
        {"/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n"},
        sysctl="kernel/sysrq:1\nnet/ipv4/conf/all/rp_filter:0",
        apparmor="Y",
        docker_info=BARE,
        ksm="1",
        swap="/swap",
        grub="linux root=1",
        apport="LoadState=loaded\nActiveState=active",
    )
    planned = plans(described, wanted, there, ["auditd"])
    assert list(planned) == list(AREAS)
    for name, plan in planned.items():
        assert plan.script, name
        checked = subprocess.run(["sh", "-n"], input=plan.script, capture_output=True, text=True)
        assert checked.returncode == 0, f"{name}: {checked.stderr}"


def test_of_an_area_that_is_left_out_nothing_is_asked_and_nothing_done() -> None:
    described = host(off=dict.fromkeys(AREAS, "somebody else does this"))
    wanted = settings.of(described)
    names = [need.name for need in facts.needs(wanted) if isinstance(need, Command)]
    assert names == ["hardening.packages", "hardening.trial"]
    there = look()
    assert set(plans(described, wanted, there, []).values()) == {area.Plan()}
    assert packages.missing(wanted, installed(apt=False)) == []


def test_a_host_is_asked_in_the_one_look() -> None:
    for kind, data in (
        ("gvisor_hosts", {"gvisor": {"release": "20260817.0"}, "egress": {"management": ["192.0.2.0/24"]}}),
        ("legacy_hosts", {"egress": {"management": ["192.0.2.0/24"]}}),
    ):
        needs = needs_of(host(kind, data))
        assert File("/etc/sysctl.d/zz-bulkhead.conf") in needs
        assert "hardening.sshd" in [need.name for need in needs if isinstance(need, Command)]
