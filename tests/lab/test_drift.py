"""Drift: each tamper on a real machine is found, named, and gone after a converge; a clean machine has none, ever."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.lab.machine import TIMEOUT, Machine, Runs

IMAGE = "bulkhead.invalid/test:1"
RUN = "docker run --detach --name tamper"
SLEEP = f"{IMAGE} sleep 1000000"
REMOVE = "docker rm --force tamper"
UNITS = "/etc/systemd/system"
SSHD = "/etc/ssh/sshd_config.d"
CONTAINERD = "/etc/containerd/config.toml"
CRI = 'plugins."io.containerd.grpc.v1.cri".containerd'
DOCKER = "/etc/docker/daemon.json"
BOOT = "/etc/bulkhead/egress.nft"
TABLE = "nft table inet bulkhead"
NOT_ACCEPTED: dict[str, Any] = {"drift": {}}


@dataclass(frozen=True)
class Tamper:
    """What is done to a machine, and the subjects that are found then, as patterns of which each matches something.

    `undo` takes away what a converge leaves: what is not Bulkhead's. `image` says that the script needs an image.
    """

    machine: str
    script: str
    capability: str
    subjects: tuple[str, ...]
    undo: str = ""
    image: bool = False
    also: tuple[tuple[str, str], ...] = ()
    overrides: dict[str, Any] = field(default_factory=dict)
    quick: bool = False

    @property
    def expected(self) -> set[tuple[str, str]]:
        """Capability and pattern of each finding."""
        return {*((self.capability, subject) for subject in self.subjects), *self.also}


def dropped(unit: str) -> str:
    """The script that lays a harmless drop-in over a unit; its value must not show anywhere."""
    directory = f"{UNITS}/{unit}.d"
    return (
        f"mkdir -p {directory}; printf '[Unit]\\nDescription=TOKEN=hunter2\\n' >{directory}/tamper.conf;"
        " systemctl daemon-reload"
    )


def taken_off(unit: str) -> str:
    """The script that takes it off again."""
    directory = f"{UNITS}/{unit}.d"
    return f"rm {directory}/tamper.conf; rmdir --ignore-fail-on-non-empty {directory}; systemctl daemon-reload"


def drop_in(unit: str) -> tuple[str]:
    """The subject of it."""
    return (f"unit {unit}: drop-in {UNITS}/{unit}.d/tamper.conf",)


def in_daemon_only(change: str, reload: str = "systemctl reload docker; sleep 3") -> str:
    """The script that lets dockerd read another file than the one that stands there afterwards."""
    return f"cp -p {DOCKER} /root/kept.json; sed -i '{change}' {DOCKER}; {reload}; mv /root/kept.json {DOCKER}"


RELOAD = "systemctl reload docker; sleep 3"

TAMPERS = {
    # Hardening
    "a sysctl, live only": Tamper(
        "gvisor", "sysctl -w kernel.kptr_restrict=0", "hardening", ("sysctl kernel.kptr_restrict",), quick=True
    ),
    "a sysctl of one interface, live only": Tamper(
        "legacy",
        "sysctl -w net.ipv4.conf.eth0.accept_redirects=1",
        "hardening",
        ("sysctl net.ipv4.conf.eth0.accept_redirects",),
    ),
    "a line of the sysctl file": Tamper(
        "gvisor",
        "sed -i /kptr/d /etc/sysctl.d/zz-bulkhead.conf",
        "hardening",
        ("/etc/sysctl.d/zz-bulkhead.conf",),
    ),
    "a sysctl file that is read after ours": Tamper(
        "legacy",
        "echo kernel.sysrq = 1 >/etc/sysctl.d/zzz.conf",
        "hardening",
        ("/etc/sysctl.d/zzz.conf: kernel.sysrq",),
        undo="rm /etc/sysctl.d/zzz.conf",
    ),
    "a file that others can write to": Tamper(
        "gvisor",
        "chmod 0666 /etc/modprobe.d/00-bulkhead.conf",
        "hardening",
        ("/etc/modprobe.d/00-bulkhead.conf: mode",),
    ),
    "a file that is another's": Tamper(
        "legacy",
        "chown nobody /etc/modprobe.d/00-bulkhead.conf",
        "hardening",
        ("/etc/modprobe.d/00-bulkhead.conf: owner",),
    ),
    "the file of blocked modules": Tamper(
        "gvisor", "rm /etc/modprobe.d/00-bulkhead.conf", "hardening", ("/etc/modprobe.d/00-bulkhead.conf",)
    ),
    "programs let run in shared memory": Tamper(
        "gvisor", "mount -o remount,bind,exec /dev/shm", "hardening", ("mount /dev/shm",)
    ),
    "the mounts' unit disabled": Tamper(
        "legacy", "systemctl disable bulkhead-mounts", "hardening", ("unit bulkhead-mounts.service",)
    ),
    "an audit rule deleted": Tamper(
        "gvisor", "auditctl -W /etc/sudoers -p wa -k bulkhead-sudoers", "hardening", ("audit rule sudoers",)
    ),
    "auditing switched off": Tamper("legacy", "auditctl -e 0", "hardening", ("audit",)),
    "an audit rule that suppresses": Tamper(
        "legacy",
        "auditctl -a never,task",
        "hardening",
        ("audit rule -a never,task",),
        undo="auditctl -d never,task",
    ),
    "auditd's unit masked": Tamper(
        "gvisor",
        "systemctl mask auditd",
        "hardening",
        ("unit auditd.service",),
    ),
    "AppArmor's unit disabled": Tamper("gvisor", "systemctl disable apparmor", "hardening", ("unit apparmor.service",)),
    "the timers of upgrades masked": Tamper(
        "gvisor",
        ":",
        "hardening",
        ("unit apt-daily.timer", "unit apt-daily-upgrade.timer", "kernel command line"),
        # As they always are in the lab, and so is a machine without a boot loader, which its inventory accepts: after
        # the test it does again.
        overrides=NOT_ACCEPTED,
    ),
    "sshd's file": Tamper(
        "gvisor",
        f"sed -i 's/^PermitRootLogin.*/PermitRootLogin yes/' {SSHD}/00-bulkhead.conf",
        "hardening",
        (f"{SSHD}/00-bulkhead.conf", "sshd permitrootlogin"),
    ),
    "sshd's file read before ours": Tamper(
        "legacy",
        f"echo X11Forwarding yes >{SSHD}/00-a.conf",
        "hardening",
        (f"{SSHD}/00-a.conf", "sshd x11forwarding"),
        undo=f"rm {SSHD}/00-a.conf",
    ),
    "sshd told otherwise for one user": Tamper(
        "gvisor",
        f"printf 'Match User nobody\\n\\tX11Forwarding yes\\n' >{SSHD}/zz-tamper.conf",
        "hardening",
        (f"{SSHD}/zz-tamper.conf: Match User nobody: X11Forwarding",),
        undo=f"rm {SSHD}/zz-tamper.conf",
    ),
    "a drop-in on sshd": Tamper(
        "legacy", dropped("ssh.service"), "hardening", drop_in("ssh.service"), undo=taken_off("ssh.service")
    ),
    "what upgrades leave alone": Tamper(
        "legacy",
        "sed -i /Blacklist/,/}/d /etc/apt/apt.conf.d/zz-bulkhead",
        "hardening",
        ("/etc/apt/apt.conf.d/zz-bulkhead", "apt Unattended-Upgrade::Package-Blacklist"),
    ),
    "pages shared": Tamper("gvisor", "echo 1 >/sys/kernel/mm/ksm/run", "hardening", ("/sys/kernel/mm/ksm/run",)),
    "core dumps": Tamper(
        "legacy",
        "rm /etc/security/limits.d/zz-bulkhead.conf",
        "hardening",
        ("/etc/security/limits.d/zz-bulkhead.conf",),
    ),
    # gVisor
    "runsc of another build": Tamper(
        "gvisor",
        "cd /opt/gvisor/current/ && sed s/release-20/release-21/ runsc >new && chmod 755 new && mv new runsc",
        "gVisor",
        ("/opt/gvisor/*/runsc",),
    ),
    "a shim that can't be executed": Tamper(
        "gvisor", "chmod 0644 /opt/gvisor/current/containerd-shim-runsc-v1", "gVisor", ("/opt/gvisor/*: mode",)
    ),
    "another release": Tamper(
        "gvisor",
        "mkdir /opt/gvisor/tamper && ln -sfn tamper /opt/gvisor/current",
        "gVisor",
        ("/opt/gvisor/current",),
        undo="rmdir /opt/gvisor/tamper",
    ),
    "runsc's link to elsewhere": Tamper(
        "gvisor", "ln -sfn /bin/true /usr/local/bin/runsc", "gVisor", ("/usr/local/bin/runsc",)
    ),
    "another runsc before ours": Tamper(
        "gvisor",
        "cp /bin/true /usr/local/sbin/runsc",
        "gVisor",
        ("/usr/local/sbin/runsc",),
        undo="rm /usr/local/sbin/runsc",
        quick=True,
    ),
    "another shim before ours": Tamper(
        "gvisor",
        "cp /bin/true /usr/local/sbin/containerd-shim-runsc-v1",
        "gVisor",
        ("/usr/local/sbin/containerd-shim-runsc-v1",),
        undo="rm /usr/local/sbin/containerd-shim-runsc-v1",
    ),
    "a sandbox with another flag": Tamper(
        "gvisor",
        f"cp -p {DOCKER} /root/kept.json; sed -i s/--net-raw=false/--net-raw=true/ {DOCKER}; {RELOAD};"
        f" {RUN} {SLEEP}; mv /root/kept.json {DOCKER}; {RELOAD}",
        "gVisor",
        ("sandbox *: --net-raw",),
        undo=REMOVE,
        image=True,
    ),
    # containerd
    "the shim's options": Tamper(
        "gvisor",
        "echo 'debug = \"true\"' >>/etc/containerd/runsc.toml",
        "containerd",
        ("/etc/containerd/runsc.toml",),
    ),
    "the handler gone from the file": Tamper(
        "gvisor",
        f"sed -i '/runtimes.runsc/,$d' {CONTAINERD}",
        "containerd",
        (f"{CONTAINERD}: {CRI}.runtimes.runsc",),
    ),
    "the handler's shim changed in the file only": Tamper(
        "gvisor",
        f'sed -i \'s/"io.containerd.runsc.v1"/"io.containerd.runc.v2"/\' {CONTAINERD}',
        "containerd",
        (f"{CONTAINERD}: {CRI}.runtimes.runsc.runtime_type",),
    ),
    "the handler gone from the daemon only": Tamper(
        "gvisor",
        f"cp -p {CONTAINERD} /root/kept.toml; sed -i '/runtimes.runsc/,$d' {CONTAINERD}; systemctl restart containerd;"
        f" mv /root/kept.toml {CONTAINERD}",
        "containerd",
        ("containerd runtime runsc",),
    ),
    "another handler": Tamper(
        "gvisor",
        f"cp -p {CONTAINERD} /root/kept.toml; printf '\\n[{CRI}.runtimes.evil]\\n  runtime_type ="
        f' "io.containerd.runc.v2"\\n\' >>{CONTAINERD}; systemctl restart containerd; sleep 3',
        "containerd",
        # The record of what stands beside ours in the file is of another file now.
        ("containerd runtime evil", "/var/lib/bulkhead/containerd.json"),
        undo=f"mv /root/kept.toml {CONTAINERD}; systemctl restart containerd; sleep 3",
    ),
    "containerd's file that others can write to": Tamper(
        "gvisor",
        f"chmod 0666 {CONTAINERD}",
        "containerd",
        (f"{CONTAINERD}: mode",),
        undo=f"chmod 0644 {CONTAINERD}",
    ),
    "a drop-in on containerd": Tamper(
        "gvisor",
        dropped("containerd.service"),
        "containerd",
        drop_in("containerd.service"),
        undo=taken_off("containerd.service"),
    ),
    "the record that others can read": Tamper(
        "gvisor",
        "chmod 0644 /var/lib/bulkhead/containerd.json",
        "containerd",
        ("/var/lib/bulkhead/containerd.json: mode",),
    ),
    # Docker on a gVisor host
    "runtimeArgs in the file only": Tamper(
        "gvisor",
        f"sed -i s/--net-raw=false/--net-raw=true/ {DOCKER}",
        "Docker",
        (f"{DOCKER}: runtimes.runsc.runtimeArgs",),
    ),
    "runtimeArgs in the daemon only": Tamper(
        "gvisor", in_daemon_only("s/--net-raw=false/--net-raw=true/"), "Docker", ("docker runtime runsc",)
    ),
    "the default runtime in the file only": Tamper(
        "gvisor",
        f'sed -i \'s/"default-runtime": "runsc"/"default-runtime": "runc"/\' {DOCKER}',
        "Docker",
        (f"{DOCKER}: default-runtime",),
    ),
    "the default runtime in the daemon only": Tamper(
        "gvisor",
        in_daemon_only('s/"default-runtime": "runsc"/"default-runtime": "runc"/'),
        "Docker",
        ("docker default runtime",),
    ),
    "another runtime": Tamper(
        "gvisor",
        f"cp -p {DOCKER} /root/kept.json;"
        f' sed -i \'s,"runtimes": {{,&"evil": {{"path": "/usr/bin/true"}}\\,,\' {DOCKER}; {RELOAD}',
        "Docker",
        ("docker runtime evil", "/var/lib/bulkhead/docker.json"),
        undo=f"mv /root/kept.json {DOCKER}; systemctl restart docker; sleep 3",
    ),
    "a drop-in on Docker's socket": Tamper(
        "gvisor",
        dropped("docker.socket"),
        "Docker",
        drop_in("docker.socket"),
        undo=taken_off("docker.socket"),
    ),
    "Docker's unit masked": Tamper(
        "gvisor",
        "systemctl mask docker.service",
        "Docker",
        ("unit docker.service",),
        undo="systemctl unmask docker.service",
    ),
    "a container under runc among sandboxes": Tamper(
        "gvisor", f"{RUN} --runtime runc {SLEEP}", "Docker", ("container tamper: runtime",), undo=REMOVE, image=True
    ),
    "a privileged sandbox": Tamper(
        "gvisor", f"{RUN} --privileged {SLEEP}", "Docker", ("container tamper: privileged",), undo=REMOVE, image=True
    ),
    # Docker on a legacy host
    "an option in the file only": Tamper(
        "legacy", f'sed -i \'s/"icc": false/"icc": true/\' {DOCKER}', "Docker", (f"{DOCKER}: icc",)
    ),
    "an option in the daemon only": Tamper(
        "legacy",
        in_daemon_only('s/"live-restore": true/"live-restore": false/'),
        "Docker",
        ("docker option live-restore",),
    ),
    "the agents' slice": Tamper(
        "legacy",
        f"sed -i s/^TasksMax=.*/TasksMax=infinity/ {UNITS}/bulkhead-agents.slice",
        "Docker",
        (f"{UNITS}/bulkhead-agents.slice",),
    ),
    "a drop-in on the agents' slice": Tamper(
        "legacy",
        dropped("bulkhead-agents.slice"),
        "Docker",
        drop_in("bulkhead-agents.slice"),
        undo=taken_off("bulkhead-agents.slice"),
    ),
    "a privileged container": Tamper(
        "legacy",
        f"{RUN} --privileged --userns host {SLEEP}",
        "Docker",
        ("container tamper: privileged", "container tamper: user namespace"),
        undo=REMOVE,
        image=True,
    ),
    "a container on the host's network": Tamper(
        "legacy",
        f"{RUN} --network host --userns host {SLEEP}",
        "Docker",
        ("container tamper: network", "container tamper: user namespace"),
        undo=REMOVE,
        image=True,
    ),
    "a container outside of the slice": Tamper(
        "legacy",
        f"{RUN} --cgroup-parent system.slice {SLEEP}",
        "Docker",
        ("container tamper: cgroup",),
        undo=REMOVE,
        image=True,
    ),
    "a container without seccomp": Tamper(
        "legacy",
        f"{RUN} --security-opt seccomp=unconfined {SLEEP}",
        "Docker",
        ("container tamper: seccomp",),
        undo=REMOVE,
        image=True,
    ),
    "a container with the engine's socket": Tamper(
        "legacy",
        f"{RUN} --volume /run/docker.sock:/s --env TOKEN=hunter2 {SLEEP}",
        "Docker",
        ("container tamper: engine's socket",),
        undo=REMOVE,
        image=True,
    ),
    # Egress
    "a rule inserted": Tamper(
        "legacy", "nft insert rule inet bulkhead forward accept", "egress", (f"{TABLE}: chain forward",), quick=True
    ),
    "a set widened": Tamper(
        "legacy",
        "nft add element inet bulkhead management4 '{ 192.0.2.77 }'",
        "egress",
        (f"{TABLE}: set management4",),
    ),
    "the policy of a chain": Tamper(
        "legacy", "nft add chain inet bulkhead input '{ policy accept; }'", "egress", (f"{TABLE}: chain input",)
    ),
    "the table gone": Tamper("legacy", "nft delete table inet bulkhead", "egress", (TABLE,)),
    "a table hooked before ours": Tamper(
        "legacy",
        "nft add table inet tamper; nft add chain inet tamper a '{ type filter hook prerouting priority -300; }'",
        "egress",
        ("nft table inet tamper: is hooked before ours (prerouting -300)",),
        undo="nft delete table inet tamper",
        quick=True,
    ),
    "a table that rewrites addresses": Tamper(
        "legacy",
        "nft add table ip tamper; nft add chain ip tamper a '{ type nat hook prerouting priority -190; }';"
        " nft add rule ip tamper a ip daddr 192.0.2.1 dnat to 192.0.2.2",
        "egress",
        ("nft table ip tamper: rewrites addresses",),
        undo="nft delete table ip tamper",
    ),
    "a table that keeps packets from being tracked": Tamper(
        "legacy",
        "nft add table ip tamper; nft add chain ip tamper a '{ type filter hook prerouting priority -300; }';"
        " nft add rule ip tamper a ip daddr 192.0.2.1 notrack",
        "egress",
        ("nft table ip tamper: keeps packets from being tracked",),
        undo="nft delete table ip tamper",
    ),
    "a remark in the policy's file": Tamper("legacy", f"echo '# x' >>{BOOT}", "egress", (BOOT,)),
    "the policy's file that others can write to": Tamper("legacy", f"chmod 0666 {BOOT}", "egress", (f"{BOOT}: mode",)),
    "the policy's unit disabled": Tamper(
        "legacy",
        "systemctl disable bulkhead-egress",
        "egress",
        (
            "unit bulkhead-egress.service",
            "unit docker.service: Requires",
            "unit containerd.service: Requires",
        ),
    ),
    "an engine that starts without the policy": Tamper(
        "legacy",
        f"rm {UNITS}/docker.service.requires/bulkhead-egress.service; systemctl daemon-reload",
        "egress",
        ("unit docker.service: Requires",),
    ),
    "a drop-in on the policy's unit": Tamper(
        "legacy",
        dropped("bulkhead-egress.service"),
        "egress",
        drop_in("bulkhead-egress.service"),
        undo=taken_off("bulkhead-egress.service"),
    ),
    "the stock unit that flushes": Tamper("legacy", "systemctl unmask nftables", "egress", ("unit nftables.service",)),
    "an agent's network": Tamper("legacy", "docker network rm beta", "egress", ("network beta",)),
    "the proxy's list": Tamper(
        "legacy",
        "echo http_access allow all >>/etc/squid/bulkhead.conf",
        "egress",
        ("/etc/squid/bulkhead.conf",),
    ),
    "the proxy stopped": Tamper("legacy", "systemctl stop bulkhead-proxy", "egress", ("unit bulkhead-proxy.service",)),
    "a policy taken back": Tamper(
        "legacy",
        "mkdir -p /var/lib/bulkhead/egress; touch /var/lib/bulkhead/egress/rolled-back",
        "egress",
        ("/var/lib/bulkhead/egress/rolled-back",),
    ),
    # Bulkhead itself
    "Bulkhead's directory": Tamper("gvisor", "chmod 0755 /var/lib/bulkhead", "leftovers", ("/var/lib/bulkhead: mode",)),
}


@dataclass(frozen=True)
class Place:
    """A machine after a deploy, and runs against it."""

    machine: Machine
    runs: Runs


@pytest.fixture(scope="module")
def clean() -> set[str]:
    """The machines of which it is known that nothing is left of a tamper."""
    return set()


@pytest.fixture
def place(request: pytest.FixtureRequest, case: Tamper, clean: set[str]) -> Place:
    """The machine that a tamper is for, clean."""
    prefix = "" if case.machine == "gvisor" else "legacy_"
    runs: Runs = request.getfixturevalue(f"{prefix}runs")
    machine: Machine = request.getfixturevalue("converged" if case.machine == "gvisor" else "legacy_converged")
    if case.machine not in clean and runs.drift():
        runs.deploy().expect_success()
        assert runs.drift() == set()
    clean.discard(case.machine)
    return Place(machine, runs)


@pytest.fixture(scope="module")
def legacy_converged(legacy: Machine, legacy_runs: Runs) -> Machine:
    """The machine for legacy agents after a deploy from the lab's own inventory."""
    legacy_runs.deploy().expect_success()
    return legacy


def matches(found: set[tuple[str, str]], expected: set[tuple[str, str]]) -> bool:
    """Whether each finding is expected, and each that is expected is there."""

    def alike(one: tuple[str, str], pattern: tuple[str, str]) -> bool:
        return one[0] == pattern[0] and (one[1] == pattern[1] or fnmatchcase(one[1], pattern[1]))

    return all(any(alike(one, pattern) for pattern in expected) for one in found) and all(
        any(alike(one, pattern) for one in found) for pattern in expected
    )


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{case.machine}: {name}", marks=[] if case.quick else [pytest.mark.long])
        for name, case in TAMPERS.items()
    ],
)
def test_each_tamper_is_found_and_gone_after_a_converge(case: Tamper, place: Place, clean: set[str]) -> None:
    """Exactly what was tampered with is named, and nothing is left of it."""
    machine, runs = place.machine, place.runs
    if case.image:
        machine.image()
    try:
        machine.sh(case.script)
        found = runs.drift(**case.overrides)
        assert matches(found, case.expected), found
    finally:
        if case.undo:
            machine.run(case.undo)
        runs.deploy().expect_success()
        if case.image:
            machine.run(f"docker rmi {IMAGE}")
    assert runs.drift() == set()
    clean.add(case.machine)


# A clean machine

TIMES = 20


@pytest.mark.long
@pytest.mark.parametrize("kind", ["gvisor", "legacy"])
def test_a_clean_machine_has_no_drift(kind: str, request: pytest.FixtureRequest) -> None:
    """As often as one looks."""
    runs: Runs = request.getfixturevalue("runs" if kind == "gvisor" else "legacy_runs")
    request.getfixturevalue("converged" if kind == "gvisor" else "legacy_converged")
    assert [runs.drift() for _ in range(TIMES)] == [set()] * TIMES


@pytest.mark.long
@pytest.mark.parametrize("kind", ["gvisor", "legacy"])
def test_nor_after_a_reboot(kind: str, request: pytest.FixtureRequest) -> None:
    """As soon as the machine says that it is up."""
    runs: Runs = request.getfixturevalue("runs" if kind == "gvisor" else "legacy_runs")
    machine: Machine = request.getfixturevalue("converged" if kind == "gvisor" else "legacy_converged")
    machine.sh("sync")
    machine.reset()
    machine.wait()
    machine.run("systemctl is-system-running --wait")
    assert runs.drift() == set()


@pytest.mark.long
@pytest.mark.parametrize("kind", ["gvisor", "legacy"])
def test_nor_while_agents_come_and_go(kind: str, request: pytest.FixtureRequest) -> None:
    """Containers that are started and ended all the time, some of them while one looks."""
    runs: Runs = request.getfixturevalue("runs" if kind == "gvisor" else "legacy_runs")
    machine: Machine = request.getfixturevalue("converged" if kind == "gvisor" else "legacy_converged")
    machine.image()
    busy = f"while [ -e /run/busy ]; do docker run --rm {IMAGE} sleep 1; done"
    machine.sh("touch /run/busy")
    agents = [
        subprocess.Popen(machine.command(f"sh -c {busy!r}"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    try:
        found = [runs.drift() for _ in range(10)]
        assert all(agent.poll() is None for agent in agents)
    finally:
        machine.run("rm -f /run/busy")
        for agent in agents:
            agent.wait(TIMEOUT)
        machine.run(f"docker rmi {IMAGE}")
    assert found == [set()] * 10
