"""The hardened machine: what is altered is found and mended, and what it is hardened against is shown to work without.

Every test leaves the machine as a deploy leaves it, also those that lock everybody out of it.
"""

from __future__ import annotations

import subprocess
import time
from typing import Any

import pytest

from bulkhead.inventory_file import ROOT
from tests.lab.machine import Machine, Runs

pytestmark = pytest.mark.long

OPERATIONS = {
    "Harden core dumps",
    "Harden the kernel (modules)",
    "Harden mounts",
    "Harden memory",
    "Harden by upgrades",
    "Harden by auditing",
    "Harden the kernel (sysctl) and sshd",
}
"""Those that change something on a machine without a boot loader, on which AppArmor is in force already."""

OURS = (
    "/etc/sysctl.d/zz-bulkhead.conf /etc/modprobe.d/00-bulkhead.conf /etc/systemd/system/bulkhead-mounts.service"
    " /etc/apt/apt.conf.d/00bulkhead-tmp /etc/apt/apt.conf.d/zz-bulkhead /etc/security/limits.d/zz-bulkhead.conf"
    " /etc/systemd/coredump.conf.d/zz-bulkhead.conf /etc/tmpfiles.d/zz-bulkhead.conf"
    " /etc/tmpfiles.d/zz-bulkhead-audit.conf /etc/audit/rules.d/50-bulkhead.rules"
    " /etc/ssh/sshd_config.d/00-bulkhead.conf"
)

CRASH = (
    "cd $(mktemp -d /var/tmp/crash.XXXXXX) && { ulimit -c unlimited; sh -c 'kill -SEGV $$'; } 2>/dev/null;"
    " ls; rm -r $PWD"
)
PROGRAM = (
    "printf '#!/bin/sh\\necho ran\\n' >/tmp/program && chmod 755 /tmp/program; /tmp/program; echo $?; rm /tmp/program"
)


def hardening_checks(outcomes: dict[str, str], outcome: str) -> set[str]:
    """The hardening checks with this outcome."""
    return {name for name, found in outcomes.items() if name.startswith("hardening.") and found == outcome}


def override(value: str | int | None) -> dict[str, Any]:
    return {"value": value, "reason": "a test"}


def test_first_run_is_predicted_and_the_second_changes_nothing(converged: Machine, runs: Runs) -> None:
    """Without our files each area is hardened anew, as a dry run says; then nothing is, and no daemon is restarted."""
    converged.sh(f"rm {OURS}")
    predicted = runs.deploy("--dry").expect_success().predicted
    assert predicted == OPERATIONS
    assert runs.deploy().expect_success().changed == predicted
    units = "ssh auditd apparmor docker containerd bulkhead-mounts"
    show = f"systemctl show --property MainPID --property ActiveEnterTimestampMonotonic {units}"
    before = converged.sh(show)
    assert runs.deploy().expect_success().changed == set()
    assert converged.sh(show) == before
    assert hardening_checks(runs.verify("--only", "hardening.*"), "failed") == set()


@pytest.mark.parametrize(
    ("alter", "check", "operation"),
    [
        ("sysctl -w kernel.kptr_restrict=0", "kernel_settings", "Harden the kernel (sysctl)"),
        ("sysctl -w net.ipv4.conf.eth0.rp_filter=0", "kernel_settings", "Harden the kernel (sysctl)"),
        (
            "sed -i '/kptr/d' /etc/sysctl.d/zz-bulkhead.conf",
            "kernel_settings_persist",
            "Harden the kernel (sysctl)",
        ),
        ("rm /etc/tmpfiles.d/zz-bulkhead-audit.conf", "audit", "Harden by auditing"),
        ("sed -i '/udf/d' /etc/modprobe.d/00-bulkhead.conf", "modules", "Harden the kernel (modules)"),
        ("mount -o remount,bind,exec /dev/shm", "mounts", "Harden mounts"),
        ("auditctl -D", "audit", "Harden by auditing"),
        ("sed -i /Blacklist/,/}/d /etc/apt/apt.conf.d/zz-bulkhead", "upgrades", "Harden by upgrades"),
        (
            "sed -i s/^PermitRootLogin.*/PermitRootLogin\\ yes/ /etc/ssh/sshd_config.d/00-bulkhead.conf",
            "sshd",
            "Harden sshd",
        ),
    ],
)
def test_what_is_altered_is_found_and_mended(
    converged: Machine, runs: Runs, alter: str, check: str, operation: str
) -> None:
    """The matching check fails, a deploy changes just that area, and the check passes again."""
    converged.sh(alter)
    try:
        assert hardening_checks(runs.verify("--only", "hardening.*"), "failed") == {f"hardening.{check}"}
    finally:
        changed = runs.deploy().expect_success().changed
    assert changed == {operation}
    assert hardening_checks(runs.verify("--only", "hardening.*"), "failed") == set()


def test_a_candidate_that_sshd_refuses_never_counts(converged: Machine, runs: Runs) -> None:
    """The old file stays, sshd goes on, and the message is sshd's own."""
    path = "/etc/ssh/sshd_config.d/00-bulkhead.conf"
    before = converged.sh(f"cat {path}; systemctl show --property MainPID ssh")
    failed = runs.deploy(hardening={"sshd": {"NoSuchOption": override("yes")}})
    assert failed.status != 0
    assert "Bad configuration option: NoSuchOption" in failed.output
    assert "the new configuration was refused; nothing was changed" in failed.output
    assert converged.sh(f"cat {path}; systemctl show --property MainPID ssh") == before
    assert "publickey" in converged.login_methods()


def test_a_setting_that_the_kernel_refuses_brings_the_others_back(converged: Machine, runs: Runs) -> None:
    """One wrong value, and none of those that came with it stays."""
    wrong = {"kernel.panic": override(7), "net.ipv4.tcp_syncookies": override("many")}
    before = converged.sh("cat /proc/sys/kernel/panic /etc/sysctl.d/zz-bulkhead.conf")
    failed = runs.deploy(hardening={"sysctl": wrong})
    assert failed.status != 0
    assert "the kernel does not take: net/ipv4/tcp_syncookies" in failed.output
    assert converged.sh("cat /proc/sys/kernel/panic /etc/sysctl.d/zz-bulkhead.conf") == before


def test_an_override_is_in_force_and_shown(converged: Machine, runs: Runs) -> None:
    """What the inventory says otherwise passes its check, and the check of overrides names it."""
    hardening = {"sysctl": {"kernel.sysrq": override(176)}, "off": {"memory": "a test"}}
    try:
        runs.deploy(hardening=hardening).expect_success()
        assert converged.sh("cat /proc/sys/kernel/sysrq") == "176"
        outcomes = runs.verify("--only", "hardening.*", hardening=hardening)
        assert hardening_checks(outcomes, "failed") == set()
        assert hardening_checks(outcomes, "skipped") == {"hardening.overridden", "hardening.memory"}
    finally:
        assert runs.deploy().expect_success().changed == {"Harden the kernel (sysctl)"}
    assert converged.sh("cat /proc/sys/kernel/sysrq") == "0"


def test_a_package_that_is_missing_is_installed(converged: Machine, runs: Runs) -> None:
    """With the host's own apt, and nothing is asked."""
    converged.sh("DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes remove auditd")
    changed = runs.deploy().expect_success().changed
    assert {"Install auditd", "Harden by auditing"} <= changed
    assert hardening_checks(runs.verify("--only", "hardening.*"), "failed") == set()


# What it is hardened against


def test_modules_that_nobody_needs(converged: Machine) -> None:
    """One can be loaded past our file, and can't with it."""
    module = converged.sh(
        "for name in udf cramfs hfsplus dccp tipc sctp; do"
        " modinfo -n $name >/dev/null 2>&1 && { echo $name; break; }; done; :"
    )
    if not module:
        pytest.skip("the lab's kernel has none of the modules that are blocked")
    assert converged.sh(f"modprobe --ignore-install {module} && grep -c '^{module} ' /proc/modules") == "1"
    converged.sh(f"modprobe --remove {module}")
    assert converged.run(f"modprobe {module}").returncode != 0
    assert converged.sh(f"grep -c '^{module} ' /proc/modules; :") == "0"


def test_core_dumps(converged: Machine, runs: Runs) -> None:
    """A crash leaves the memory on the disk with the kernel's own pattern, and nothing with ours."""
    assert converged.sh(CRASH) == ""
    converged.sh("echo core >/proc/sys/kernel/core_pattern")
    assert converged.sh(CRASH).startswith("core")
    assert "hardening.core_dumps" in hardening_checks(runs.verify("--only", "hardening.*"), "failed")
    assert runs.deploy().expect_success().changed == {"Harden the kernel (sysctl)"}
    assert converged.sh(CRASH) == ""


def test_programs_where_anyone_may_write(converged: Machine, runs: Runs) -> None:
    """A program in /tmp runs on a mount without our options, and does not with them."""
    assert converged.sh(PROGRAM) == "126"
    converged.sh("mount -o remount,bind,exec /tmp")
    assert converged.sh(PROGRAM) == "ran\n0"
    assert runs.deploy().expect_success().changed == {"Harden mounts"}
    assert converged.sh(PROGRAM) == "126"


def test_logins_by_a_password(converged: Machine, runs: Runs) -> None:
    """Offered by an sshd without our file and the lab's own, and not with ours alone."""
    assert converged.login_methods() == {"publickey"}
    folder = "/etc/ssh/sshd_config.d"
    converged.sh(
        f"rm {folder}/00-bulkhead.conf && sed -i s/^PasswordAuthentication.*/PasswordAuthentication\\ yes/"
        f" {folder}/lab.conf && systemctl reload ssh && sleep 2"
    )
    try:
        assert "password" in converged.login_methods()
        assert runs.deploy().expect_success().changed == {"Harden sshd"}
        assert converged.login_methods() == {"publickey"}
    finally:
        converged.sh(
            f"sed -i s/^PasswordAuthentication.*/PasswordAuthentication\\ no/ {folder}/lab.conf && systemctl reload ssh"
        )


# Who locks himself out


SECONDS = 45
"""How long the host waits for a confirmation in these drills: an emulated machine takes its time for a new one."""

LOCKS_OUT = {
    "confirm_seconds": SECONDS,
    "sshd": {"AuthorizedKeysFile": {"value": "/etc/ssh/nobody/%u", "reason": "a mistake"}},
}
"""sshd takes it, and nobody has a key in such a file."""

IN_FORCE = "grep -q ^AuthorizedKeysFile /etc/ssh/sshd_config.d/00-bulkhead.conf"
STATE = "cat /etc/ssh/sshd_config.d/00-bulkhead.conf /etc/sysctl.d/zz-bulkhead.conf; systemctl is-enabled ssh"
TAKEN_BACK = "the hardening of an earlier run was not confirmed and was taken back"


def locking_out(converged: Machine, runs: Runs) -> subprocess.Popen[bytes]:
    """A run that is under way, and has locked everybody out."""
    run = subprocess.Popen(
        runs.command(hardening=LOCKS_OUT),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # The shared connection was open before, so it sees what happens.
    converged.sh(f"for try in $(seq 600); do {IN_FORCE} && exit 0; sleep 0.2; done; exit 1")
    return run


def test_an_sshd_that_lets_nobody_in_is_taken_back(converged: Machine, runs: Runs) -> None:
    """The run fails and says why, what was there before is there again, and the next run says so."""
    before = converged.sh(STATE)
    locked = runs.deploy(hardening={**LOCKS_OUT, "sysctl": {"kernel.sysrq": override(176)}})
    assert locked.status == 1
    assert (
        "the new hardening of the kernel (sysctl) and sshd is taken back: no new connection comes thr" in locked.output
    )
    assert "the configuration from before is in force again" in locked.output
    assert converged.sh(STATE) == before
    assert converged.sh("cat /proc/sys/kernel/sysrq") == "0"
    assert converged.lets_in()
    again = runs.deploy().expect_success()
    assert TAKEN_BACK in again.output
    assert again.changed == {"Forget what was taken back"}
    assert TAKEN_BACK not in runs.deploy().expect_success().output
    assert converged.sh("ls /var/lib/bulkhead/hardening | grep -v rollback; :") == ""


def test_a_controller_that_vanishes(converged: Machine, runs: Runs) -> None:
    """Killed between loading and confirming: nobody comes in, another run waits its turn, and the host helps itself."""
    before = converged.sh(STATE)
    run = locking_out(converged, runs)
    run.kill()
    run.wait()
    began = time.monotonic()
    converged.sh(f"for try in $(seq 600); do {IN_FORCE} || exit 0; sleep 0.2; done; exit 1")
    assert time.monotonic() - began < SECONDS + 30
    assert converged.sh(f"sleep 2; {STATE}") == before
    assert converged.lets_in()
    assert TAKEN_BACK in runs.deploy().expect_success().output


def test_a_host_that_is_reset_before_anybody_confirmed(converged: Machine, runs: Runs) -> None:
    """There is no timer any more, and the drop-in lies where sshd reads it: the boot takes it back before that."""
    before = converged.sh(STATE)
    run = locking_out(converged, runs)
    run.kill()
    run.wait()
    assert converged.run(IN_FORCE).returncode == 0
    converged.reset()
    converged.wait()
    assert converged.lets_in()
    assert converged.sh(STATE) == before
    assert "was not confirmed" in converged.sh("journalctl --no-pager --boot --identifier bulkhead")
    assert converged.sh("ls /etc/systemd/system/sysinit.target.wants | grep unconfirmed; :") == ""
    # A deploy wants engines that are up.
    converged.run("systemctl is-system-running --wait")
    assert TAKEN_BACK in runs.deploy().expect_success().output


def test_after_a_reset_all_is_in_force(converged: Machine, runs: Runs) -> None:
    """What was live is live again before anybody logs in; what is watched is the socket that containerd makes then."""
    converged.sh("sync")
    converged.reset()
    converged.wait()
    converged.sh("systemctl is-system-running --wait; chmod 0660 /run/containerd/containerd.sock; sleep 1")
    records = converged.sh("ausearch --input-logs --key bulkhead-containerd-socket --start boot")
    assert 'name="/run/containerd/containerd.sock"' in records
    assert 'comm="chmod"' in records
    assert hardening_checks(runs.verify("--only", "hardening.*"), "failed") == set()
    assert runs.deploy().expect_success().changed == set()
