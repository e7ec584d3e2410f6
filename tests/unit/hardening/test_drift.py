"""A hardened host drifts in nothing, and each tamper is its own finding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bulkhead import trial
from bulkhead.drift.finding import Finding
from bulkhead.look import Command, FoundFile, Look, Output
from deploys.hardening import (
    audit,
    boot,
    core_dumps,
    drift,
    facts,
    memory,
    modules,
    mounts,
    settings,
    sshd,
    sysctl,
    upgrades,
)
from tests.unit.hardening.cases import KINDS, host
from tests.unit.helpers import answered, compared, own, unit

MAIN = "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n"
UNITS = ("ssh.service", "auditd.service", "apparmor.service", *upgrades.TIMERS, "bulkhead-mounts.service")


def clean(kind: str = "gvisor_hosts") -> Look:
    """A look at a host as a deploy leaves it."""
    described = host(kind)
    values = settings.of(described).values
    live = {"kernel/yama/ptrace_scope": "1" if kind == "gvisor_hosts" else "2", "kernel/core_pattern": "|/bin/false"}
    live |= {"net/ipv4/conf/all/rp_filter": "1", "net/ipv4/conf/eth0/rp_filter": "1", "kernel/sysrq": "0"}
    apt = mounts.apt(values["mounts"])
    assert apt
    rules = [f"{rule} -k bulkhead-{name}" for name, rule in values["audit"].items()]
    mounted = [f"x {target} tmpfs rw,{options} 0 0" for target, options in values["mounts"].items()]
    return answered(
        [*facts.needs(settings.of(described)), *drift.watches(described)],
        {
            sysctl.PATH: sysctl.content(values["sysctl"]),
            modules.PATH: modules.content(values["modules"]),
            mounts.PATH: mounts.unit(values["mounts"]),
            mounts.APT: apt,
            core_dumps.LIMITS: core_dumps.limits(),
            core_dumps.SYSTEMD: core_dumps.systemd(),
            memory.TMPFILES: memory.tmpfiles(),
            upgrades.PATH: upgrades.content(values["upgrades"]),
            audit.PATH: own(audit.content(values["audit"]), 0o640),
            audit.TMPFILES: audit.tmpfiles(values["audit"]),
            sshd.MAIN: MAIN,
            sshd.PATH: sshd.content(values["sshd"]),
        },
        {
            "hardening.packages": "apparmor\nauditd\nunattended-upgrades\n/usr/bin/apt-get",
            "hardening.sysctl": "\n".join(f"{path}:{value}" for path, value in live.items()),
            "hardening.grub": Output(1, b"", b""),
            "hardening.cmdline": " ".join(["root=/dev/vda", *boot.parameters(values["kernel_parameters"])]),
            "hardening.sshd": "port 22\n"
            + "\n".join(f"{name.lower()} {value}" for name, value in values["sshd"].items()),
            "hardening.sshd.first": "00-bulkhead.conf\nlab.conf",
            "hardening.user": "ops",
            "hardening.apt": "\n".join(upgrades.evidence(values["upgrades"])),
            "hardening.timers": "enabled\nenabled",
            "hardening.timers.run": "active\nactive",
            "hardening.audit": "\n".join(rules),
            "hardening.audit.status": "enabled 1\nfailure 1",
            "hardening.auditd": "active\nenabled",
            "hardening.container": "none",
            "hardening.mounts": "\n".join(mounted),
            "hardening.mounts.unit": "enabled",
            "hardening.apparmor": "Y",
            "hardening.apparmor.unit": "enabled\nactive",
            "hardening.ksm": "2",
            "hardening.watched": "\n".join(unit(name) for name in UNITS) + "\n---\n",
        },
    )


def said(look: Look, name: str, text: str | Output) -> Look:
    assert name in look.outputs
    output = text if isinstance(text, Output) else Output(0, text.encode(), b"")
    return replace(look, outputs={**look.outputs, name: output})


def edited(look: Look, name: str, old: str, new: str) -> Look:
    text = look.outputs[name].stdout.decode()
    assert old in text
    return said(look, name, text.replace(old, new))


def placed(look: Look, path: str, change: Callable[[FoundFile], FoundFile | None] | FoundFile) -> Look:
    before = look.files[path]
    if isinstance(change, FoundFile):
        return replace(look, files={**look.files, path: change})
    assert before
    return replace(look, files={**look.files, path: change(before)})


def without(look: Look, path: str, line: str) -> Look:
    def taken(file: FoundFile) -> FoundFile:
        assert line.encode() in file.content
        return replace(file, content=file.content.replace(line.encode(), b""))

    return placed(look, path, taken)


def findings(look: Look, kind: str = "gvisor_hosts") -> list[Finding]:
    return compared(drift.drift, host(kind), look, "hardening")


@pytest.mark.parametrize("kind", KINDS)
def test_a_hardened_host_drifts_in_nothing(kind: str) -> None:
    assert findings(clean(kind), kind) == []


TAMPERS: dict[str, tuple[Callable[[Look], Look], set[tuple[str, str]]]] = {
    "a line taken out of the sysctl file": (
        lambda look: without(look, sysctl.PATH, "-kernel.sysrq = 0\n"),
        {("/etc/sysctl.d/zz-bulkhead.conf", "critical")},
    ),
    "a sysctl changed live": (
        lambda look: edited(look, "hardening.sysctl", "kernel/yama/ptrace_scope:1", "kernel/yama/ptrace_scope:0"),
        {("sysctl kernel.yama.ptrace_scope", "critical")},
    ),
    "a sysctl of one interface changed live": (
        lambda look: edited(look, "hardening.sysctl", "eth0/rp_filter:1", "eth0/rp_filter:0"),
        {("sysctl net.ipv4.conf.eth0.rp_filter", "critical")},
    ),
    "a sysctl file read after ours": (
        lambda look: said(look, "hardening.sysctl.files", "# /etc/sysctl.d/zzz.conf\nkernel.sysrq = 1\n"),
        {("/etc/sysctl.d/zzz.conf: kernel.sysrq", "critical")},
    ),
    "a file of ours gone": (
        lambda look: placed(look, modules.PATH, lambda _: None),
        {("/etc/modprobe.d/00-bulkhead.conf", "critical")},
    ),
    "a file of ours that others can write to": (
        lambda look: placed(look, modules.PATH, lambda file: replace(file, mode=0o666)),
        {("/etc/modprobe.d/00-bulkhead.conf: mode", "critical")},
    ),
    "a file of ours that is another's": (
        lambda look: placed(look, modules.PATH, lambda file: replace(file, owner="eve")),
        {("/etc/modprobe.d/00-bulkhead.conf: owner", "critical")},
    ),
    "a link in place of a file": (
        lambda look: placed(look, modules.PATH, lambda file: replace(file, kind="link", target="/dev/null")),
        {("hardening modules", "critical")},
    ),
    "a module loaded": (
        lambda look: said(look, "hardening.modules", "ext4\nusb_storage\nsctp\n"),
        {("module usb-storage", "critical"), ("module sctp", "critical")},
    ),
    "programs let run on a mount": (
        lambda look: edited(look, "hardening.mounts", "x /dev/shm tmpfs rw,nodev,nosuid,noexec", "x /dev/shm tmpfs rw"),
        {("mount /dev/shm", "critical")},
    ),
    "the mounts' unit disabled": (
        lambda look: edited(
            said(look, "hardening.mounts.unit", "disabled"),
            "hardening.watched",
            unit("bulkhead-mounts.service"),
            unit("bulkhead-mounts.service", enabled="disabled"),
        ),
        {("unit bulkhead-mounts.service", "critical")},
    ),
    "audit rules deleted": (
        lambda look: edited(look, "hardening.audit", "-w /usr/bin/runc -p wa -k bulkhead-runc\n", ""),
        {("audit rule runc", "critical")},
    ),
    "an audit rule that suppresses": (
        lambda look: said(look, "hardening.audit", "-a never,task\n" + look.outputs["hardening.audit"].text),
        {("audit rule -a never,task", "critical")},
    ),
    "auditing switched off": (
        lambda look: said(look, "hardening.audit.status", "enabled 0\nfailure 1"),
        {("audit", "critical")},
    ),
    "auditd stopped": (
        lambda look: edited(
            said(look, "hardening.auditd", "inactive\nenabled"),
            "hardening.watched",
            unit("auditd.service"),
            unit("auditd.service", "inactive"),
        ),
        {("unit auditd.service", "critical")},
    ),
    "auditd removed": (
        lambda look: edited(look, "hardening.packages", "auditd\n", ""),
        {("package auditd", "critical")},
    ),
    "a program that makes units": (
        lambda look: said(look, "hardening.generators", "/etc/systemd/system-generators/x"),
        {("systemd generator /etc/systemd/system-generators/x", "warning")},
    ),
    "a timer stopped": (
        lambda look: edited(
            said(look, "hardening.timers.run", "inactive\nactive"),
            "hardening.watched",
            unit("apt-daily.timer"),
            unit("apt-daily.timer", "inactive"),
        ),
        {("unit apt-daily.timer", "critical")},
    ),
    "a timer masked": (
        lambda look: edited(
            said(said(look, "hardening.timers.run", "active\ninactive"), "hardening.timers", "enabled\nmasked"),
            "hardening.watched",
            unit("apt-daily-upgrade.timer"),
            unit("apt-daily-upgrade.timer", "inactive", "masked", "masked"),
        ),
        {("unit apt-daily-upgrade.timer", "critical")},
    ),
    "more than security updates": (
        lambda look: said(
            look, "hardening.apt", look.outputs["hardening.apt"].text + '\nUnattended-Upgrade::Allowed-Origins:: "*:*";'
        ),
        {("apt Unattended-Upgrade::Allowed-Origins", "critical")},
    ),
    "KSM switched on": (
        lambda look: said(look, "hardening.ksm", "1"),
        {("/sys/kernel/mm/ksm/run", "critical")},
    ),
    "AppArmor's unit masked": (
        lambda look: edited(
            look,
            "hardening.watched",
            unit("apparmor.service"),
            unit("apparmor.service", "inactive", "masked", "masked"),
        ),
        {("unit apparmor.service", "critical")},
    ),
    "sshd's file read before ours": (
        lambda look: said(
            edited(look, "hardening.sshd", "passwordauthentication no", "passwordauthentication yes"),
            "hardening.sshd.first",
            "00-a.conf\n00-bulkhead.conf",
        ),
        {("/etc/ssh/sshd_config.d/00-a.conf", "critical"), ("sshd passwordauthentication", "critical")},
    ),
    "sshd's main file says it before it reads ours": (
        lambda look: edited(
            placed(look, sshd.MAIN, own("PermitTunnel yes\n" + MAIN)),
            "hardening.sshd",
            "permittunnel no",
            "permittunnel yes",
        ),
        {("/etc/ssh/sshd_config", "critical"), ("sshd permittunnel", "critical")},
    ),
    "sshd's files broken": (
        lambda look: said(look, "hardening.sshd", Output(255, b"", b"/etc/ssh/sshd_config: line 3: Bad x\nmore")),
        {("hardening sshd", "critical")},
    ),
    "sshd told otherwise for one user": (
        lambda look: said(
            look,
            "hardening.sshd.match",
            "/etc/ssh/sshd_config:9:Match User eve\n/etc/ssh/sshd_config:10:  AuthenticationMethods = any\n"
            "/etc/ssh/sshd_config:11:\tX11Forwarding no\n/etc/ssh/sshd_config.d/a.conf:1:X11Forwarding yes\n",
        ),
        {("/etc/ssh/sshd_config: Match User eve: AuthenticationMethods", "critical")},
    ),
    "a drop-in on sshd": (
        lambda look: said(
            look,
            "hardening.watched",
            unit("ssh.service", DropInPaths="/etc/systemd/system/ssh.service.d/x.conf")
            + "\n"
            + look.outputs["hardening.watched"].stdout.decode().partition("\n\n")[2],
        ),
        {("unit ssh.service: drop-in /etc/systemd/system/ssh.service.d/x.conf", "critical")},
    ),
    "a kernel that another boot loader started without them": (
        lambda look: said(look, "hardening.cmdline", "root=/dev/vda"),
        {("kernel command line", "warning")},
    ),
    "the command line of a kernel that waits for its reboot": (
        lambda look: said(
            said(look, "hardening.grub", "linux /vmlinuz root=/dev/vda"), "hardening.cmdline", "root=/dev/vda"
        ),
        {
            ("/etc/default/grub.d/zz-bulkhead.cfg", "critical"),
            ("/boot/grub/grub.cfg", "critical"),
            ("kernel command line", "warning"),
        },
    ),
}


@pytest.mark.parametrize(("tamper", "expected"), TAMPERS.values(), ids=list(TAMPERS))
def test_each_tamper_is_its_own_finding(tamper: Callable[[Look], Look], expected: set[tuple[str, str]]) -> None:
    there = findings(tamper(clean()))
    assert {(one.subject, one.severity) for one in there} == expected
    assert len(there) == len(expected)
    assert all(one.capability == "hardening" and one.mend and one.expected != one.actual for one in there)


def test_expected_and_actual() -> None:
    look = edited(clean(), "hardening.sshd", "passwordauthentication no", "passwordauthentication yes")
    (found,) = findings(look)
    assert (found.expected, found.actual) == ("passwordauthentication no", "passwordauthentication yes")
    (found,) = findings(edited(clean(), "hardening.sysctl", "kernel/sysrq:0", "kernel/sysrq:438"))
    assert (found.expected, found.actual) == ("0", "438")
    assert found.mend == "pyinfra INVENTORY deploy.py --limit agents-1"
    (found,) = findings(without(clean(), modules.PATH, "install udf /bin/false\n"))
    assert "-install udf /bin/false" in found.diff


def test_what_was_taken_back() -> None:
    mark = trial.rolled_back("hardening")
    assert [(one.subject, one.severity) for one in findings(placed(clean(), mark, own("x")))] == [(mark, "warning")]


def test_what_would_cut_off_a_way_in_is_told_beside_what_is_wrong() -> None:
    one, other = "net/ipv4/conf/eth0/rp_filter", "net/ipv4/conf/eth1/rp_filter"
    look = said(clean(), "hardening.routes", "default via 192.0.2.1 dev eth0\ndefault via 198.51.100.1 dev eth1\n")
    look = edited(look, "hardening.sysctl", "net/ipv4/conf/all/rp_filter:1", "net/ipv4/conf/all/rp_filter:0")
    look = edited(look, "hardening.sysctl", f"{one}:1", f"{one}:1\n{other}:0")
    assert {one.subject for one in findings(look)} == {
        "hardening sysctl",
        "sysctl net.ipv4.conf.all.rp_filter",
        "sysctl net.ipv4.conf.eth1.rp_filter",
    }


def test_an_area_that_can_t_be_compared_hides_no_other() -> None:
    look = said(edited(clean(), "hardening.sysctl", "kernel/sysrq:0", "kernel/sysrq:1"), "hardening.apparmor", "N")
    assert [(one.subject, one.actual) for one in findings(look)] == [
        ("sysctl kernel.sysrq", "1"),
        ("hardening apparmor", "AppArmor is not enabled in the running kernel"),
    ]


def test_what_the_inventory_leaves_alone_is_not_looked_at() -> None:
    described = host(off=dict.fromkeys(("sshd", "audit", "mounts", "upgrades", "apparmor"), "a test"))
    assert [need.name for need in drift.watches(described) if isinstance(need, Command)] == ["hardening.generators"]
    wanted = settings.of(described)
    names = {need.path for need in facts.needs(wanted) if hasattr(need, "path")}
    look = clean()
    outputs = {name: one for name, one in look.outputs.items() if "sshd" not in name}
    assert compared(drift.drift, described, Look({path: look.files[path] for path in names}, outputs)) == []


@pytest.mark.parametrize("name", ["ssh.service", "ssh.socket"])
def test_whichever_unit_starts_sshd(name: str) -> None:
    look = clean()
    text = look.outputs["hardening.watched"].stdout.decode().replace(unit("ssh.service"), unit(name))
    masked = unit("ssh.service" if name == "ssh.socket" else "ssh.socket", "inactive", "masked", "masked")
    assert findings(said(look, "hardening.watched", f"{masked}\n{text}")) == []
