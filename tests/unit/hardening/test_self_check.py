"""What a host says of its own hardening: the real kernel of a network namespace, real mounts, systemd's own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.drift.pins import FilePin, Search
from bulkhead.look import PATH
from deploys.hardening import boot, pins, settings
from deploys.self_check import description
from tests.unit.hardening.cases import KINDS, host
from tests.unit.hardening.test_drift import UNITS, clean
from tests.unit.helpers import as_root, unit
from tests.unit.self_check import running
from tests.unit.self_check.running import Run


def checked(tmp_path: Path, about: str, before: str = ":", *around: str, replaced: dict[str, str] | None = None) -> Run:
    """What one question of the hardening says."""
    searches = [one for one in pins.of(host("legacy_hosts"), clean("legacy_hosts")) if isinstance(one, Search)]
    (search,) = (one for one in searches if one.about == f"hardening{about}")
    return running.host(tmp_path, search, replaced=replaced).run(*around, before=before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_are_those_that_are_written(kind: str) -> None:
    look = clean(kind)
    found = {one.path: one for one in pins.of(host(kind), look) if isinstance(one, FilePin)}
    there = {path: file for path, file in look.files.items() if file and path != "/etc/ssh/sshd_config"}
    assert {path for path, one in found.items() if one.digest != "absent"} == there.keys()
    for path, file in there.items():
        assert (found[path].digest, found[path].mode) == (file.digest, file.mode)
    assert found["/etc/systemd/system/bulkhead-swapoff.service"].digest == "absent"


# The kernel's settings, of which a network namespace has its own

SET = """
for one in /proc/sys/net/ipv4/conf/*; do
    for name in accept_redirects secure_redirects send_redirects accept_source_route; do echo 0 >"$one/$name"; done
    echo 1 >"$one/rp_filter"
done
for one in /proc/sys/net/ipv6/conf/*; do echo 0 >"$one/accept_redirects"; echo 0 >"$one/accept_source_route"; done
echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv4/tcp_syncookies
"""
NETWORK = ("unshare", "--net", "--mount")


@as_root
def test_live_settings(tmp_path: Path) -> None:
    def of_the_network(script: str) -> list[str]:
        run = checked(tmp_path, " sysctl", f"ip link add eth0.7 type veth peer name eth1\n{SET}\n{script}", *NETWORK)
        assert run.errors == ""
        # What the kernel has once for all namespaces is this machine's.
        return [one for one in run.found if "sysctl net.ipv" in one]

    assert of_the_network(":") == []
    assert of_the_network("echo 1 >/proc/sys/net/ipv4/conf/eth0.7/accept_redirects") == [
        "critical hardening sysctl net.ipv4.conf.eth0.7.accept_redirects"
    ]
    assert of_the_network(
        "echo 0 >/proc/sys/net/ipv4/tcp_syncookies; echo 2 >/proc/sys/net/ipv4/conf/all/rp_filter"
    ) == [
        "critical hardening sysctl net.ipv4.conf.all.rp_filter",
        "critical hardening sysctl net.ipv4.tcp_syncookies",
    ]


def test_a_kernel_that_another_boot_loader_started(tmp_path: Path) -> None:
    line = tmp_path / "cmdline"
    wanted = boot.parameters(settings.of(host("legacy_hosts")).values["kernel_parameters"])
    assert "slab_nomerge" in wanted
    line.write_text(f"root=/dev/vda {' '.join(wanted)}\n")
    here = {"/proc/cmdline": str(line)}
    assert checked(tmp_path, " boot", replaced=here).said == ""
    line.write_text(f"root=/dev/vda {' '.join(one for one in wanted if one != 'slab_nomerge')}\n")
    assert checked(tmp_path, " boot", replaced=here).said == (
        "warning hardening kernel command line: expected slab_nomerge, found without it\n"
    )


@as_root
def test_mounts(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    here = {"/proc/1/mounts": str(table)}
    good = "tmpfs /tmp tmpfs rw,nosuid,nodev,noexec 0 0\nshm /dev/shm tmpfs rw,nosuid,nodev,noexec 0 0\n"
    table.write_text(good)
    assert checked(tmp_path, " mounts", replaced=here).said == ""
    table.write_text(f"{good}x /dev/shm tmpfs rw,nosuid,nodev 0 0\n")
    assert checked(tmp_path, " mounts", replaced=here).said == (
        "critical hardening mount /dev/shm: expected nodev,nosuid,noexec, found without noexec\n"
    )
    table.write_text("shm /dev/shm tmpfs rw,nosuid,nodev,noexec 0 0\n")
    assert checked(tmp_path, " mounts", replaced=here).found == ["critical hardening mount /tmp"]


# Programs that only a booted host has: their words as they are, by stand-ins


@pytest.fixture
def bin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose programs come first."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setattr(description, "PATH", f"{path}:{PATH}")
    return path


def says(path: Path, name: str, text: str) -> None:
    """A program that prints this text."""
    (path / f"{name}.said").write_text(text)
    (path / name).write_text(f"#!/bin/sh\ncat {path}/{name}.said\n")
    (path / name).chmod(0o755)


# One that is there below /usr/lib wherever there is systemd.
JOURNALD = "/usr/lib/systemd/system/systemd-journald.service"
BESIDE = "/etc/systemd/system/x.conf"
MASK = "/etc/systemd/system/systemd-journald.service"
GOOD = {name: unit(name) for name in UNITS}
UNIT_CASES: dict[str, tuple[dict[str, str], list[str]]] = {
    "as they have to be": ({}, []),
    "masked": (
        {"auditd.service": unit("auditd.service", "inactive", "masked", "masked", FragmentPath=MASK)},
        ["unit auditd.service: expected enabled active, found masked"],
    ),
    "disabled": (
        {"apparmor.service": unit("apparmor.service", enabled="disabled")},
        ["unit apparmor.service: expected enabled active, found disabled active"],
    ),
    "stopped": (
        {"apt-daily.timer": unit("apt-daily.timer", active="inactive")},
        ["unit apt-daily.timer: expected enabled active, found inactive"],
    ),
    "not there": (
        {"auditd.service": unit("auditd.service", "inactive", "", "not-found")},
        ["unit auditd.service: expected enabled active, found nothing"],
    ),
    "another file in its place": (
        {"auditd.service": unit("auditd.service", FragmentPath=MASK)},
        [f"unit auditd.service: {MASK}: expected {JOURNALD}, found {MASK} in its place"],
    ),
    "drop-ins": (
        {
            "ssh.service": unit(
                "ssh.service",
                DropInPaths=f"{JOURNALD} /run/systemd/generator/x.conf /usr/lib/systemd/x.conf {BESIDE}",
            )
        },
        [
            "unit ssh.service: drop-in /usr/lib/systemd/x.conf: expected nothing, found a file",
            f"unit ssh.service: drop-in {BESIDE}: expected nothing, found a file",
        ],
    ),
    "a generated drop-in on a unit of ours": (
        {
            "bulkhead-mounts.service": unit(
                "bulkhead-mounts.service", DropInPaths=f"{JOURNALD} /run/systemd/generator/x.conf"
            )
        },
        ["unit bulkhead-mounts.service: drop-in /run/systemd/generator/x.conf: expected nothing, found a file"],
    ),
    "sshd not called so": ({"ssh.service": unit("ssh.service", "inactive", "", "not-found")}, []),
}


@pytest.mark.parametrize(("changed", "lines"), UNIT_CASES.values(), ids=UNIT_CASES)
def test_units(changed: dict[str, str], lines: list[str], tmp_path: Path, bin: Path) -> None:
    says(bin, "systemctl", "\n".join({**GOOD, **changed}.values()))
    run = checked(tmp_path, ": units")
    assert (run.said.splitlines(), run.errors) == ([f"critical hardening {line}" for line in lines], "")


def test_a_systemd_that_says_nothing_is_an_error(tmp_path: Path, bin: Path) -> None:
    says(bin, "systemctl", "")
    assert checked(tmp_path, ": units").status == 1


def test_programs_that_make_units(tmp_path: Path) -> None:
    """But for links that switch a packaged one off; where none of the directories is there, nothing is found."""
    above = {"/etc/systemd": tmp_path / "a", "/usr/local/lib/systemd": tmp_path / "b", "/run/systemd": tmp_path / "c"}
    here = {f"{name}/system-generators": str(path) for name, path in above.items()}
    assert checked(tmp_path, " generators", replaced=here).said == ""
    for path in above.values():
        path.mkdir()
        (path / "off").symlink_to("/dev/null")
        (path / "x").touch()
    assert checked(tmp_path, " generators", replaced=here).said.splitlines() == [
        f"warning hardening systemd generator {path}/x: expected nothing, found may change every unit at the next boot"
        for path in above.values()
    ]


def test_sshd(tmp_path: Path, bin: Path) -> None:
    directory = tmp_path / "sshd_config.d"
    directory.mkdir()
    for name in ("00-bulkhead.conf", "50-cloud.conf"):
        (directory / name).touch()
    here = {"/etc/ssh/sshd_config.d": str(directory)}
    look = clean("legacy_hosts").outputs["hardening.sshd"].text
    says(bin, "sshd", look)
    assert checked(tmp_path, " sshd", replaced=here).said == ""
    look = look.replace("permitrootlogin no", "permitrootlogin without-password").replace("maxauthtries 4", "")
    says(bin, "sshd", look)
    (directory / "00-a.conf").touch()
    assert checked(tmp_path, " sshd", replaced=here).said.splitlines() == [
        "critical hardening sshd permitrootlogin: expected permitrootlogin no, found permitrootlogin prohibit-password",
        "critical hardening sshd maxauthtries: expected maxauthtries 4, found nothing",
        f"critical hardening {directory}/00-a.conf: expected nothing, found is read before"
        f" {directory}/00-bulkhead.conf",
    ]


def test_audit(tmp_path: Path, bin: Path) -> None:
    rules = clean("legacy_hosts").outputs["hardening.audit"].text
    (bin / "auditctl").write_text(f'#!/bin/sh\n[ "$1" = -l ] && cat {bin}/rules || cat {bin}/state\n')
    (bin / "auditctl").chmod(0o755)
    (bin / "rules").write_text(rules)
    (bin / "state").write_text("enabled 1\n")
    assert checked(tmp_path, " audit").said == ""
    kept = [line for line in rules.splitlines() if "sudoers -p" not in line]
    (bin / "rules").write_text("\n".join([*kept, "-a never,task", "-a exit,never -S open"]) + "\n")
    (bin / "state").write_text("enabled 0\n")
    assert checked(tmp_path, " audit").found == [
        "critical hardening audit",
        "critical hardening audit rule -a exit,never -S open",
        "critical hardening audit rule -a never,task",
        "critical hardening audit rule sudoers",
    ]


def test_upgrades(tmp_path: Path, bin: Path) -> None:
    said = clean("legacy_hosts").outputs["hardening.apt"].text
    says(bin, "apt-config", said + '\nDir "/";\n')
    assert checked(tmp_path, " upgrades").said == ""
    lines = [line for line in said.splitlines() if "^runc$" not in line]
    says(bin, "apt-config", "\n".join([*lines, 'Unattended-Upgrade::Origins-Pattern:: "origin=*";']) + "\n")
    assert checked(tmp_path, " upgrades").found == [
        "critical hardening apt Unattended-Upgrade::Origins-Pattern",
        "critical hardening apt Unattended-Upgrade::Package-Blacklist",
    ]
