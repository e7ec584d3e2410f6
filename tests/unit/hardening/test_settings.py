"""The inventory's part: what a host may say otherwise, and what is refused before anything connects."""

from typing import Any

import pytest

from bulkhead.errors import BulkheadError
from deploys.hardening import settings
from tests.unit.hardening.cases import KINDS, host, override


def refused(kind: str = "gvisor_hosts", data: dict[str, Any] | None = None, **hardening: Any) -> str:
    with pytest.raises(BulkheadError) as error:
        settings.of(host(kind, data, **hardening))
    return error.value.message


def test_without_a_word_in_the_inventory_a_host_gets_the_baseline() -> None:
    wanted = settings.of(host())
    assert len(wanted.values) == 10
    assert wanted.overridden == ()
    assert wanted.values["memory"] == {"ksm": "off"}


def test_an_override_replaces_adds_or_leaves_alone_and_is_shown() -> None:
    wanted = settings.of(
        host(
            sysctl={
                "net.ipv4.conf.*.rp_filter": override(2),
                "kernel.sysrq": override(None),
                "kernel.panic": override("10"),
            },
            mounts={"/tmp": override("nodev,nosuid")},
            memory={"swap": override("off")},
            off={"audit": "an agent of ours owns the rules"},
        )
    )
    sysctl = wanted.values["sysctl"]
    assert (sysctl["net.ipv4.conf.*.rp_filter"], sysctl["kernel.panic"]) == ("2", "10")
    assert "kernel.sysrq" not in sysctl
    assert wanted.values["mounts"]["/tmp"] == "nodev,nosuid"
    assert wanted.of("audit") is None
    assert wanted.overridden == (
        "audit is left out: an agent of ours owns the rules",
        "sysctl: net.ipv4.conf.*.rp_filter = 2 (baseline 1): two uplinks",
        "sysctl: kernel.sysrq left as the host has it (baseline 0): two uplinks",
        "sysctl: kernel.panic = 10 (baseline none): two uplinks",
        "mounts: /tmp = nodev,nosuid (baseline nodev,nosuid,noexec): two uplinks",
        "memory: swap = off (baseline none): two uplinks",
    )


@pytest.mark.parametrize(
    ("hardening", "message"),
    [
        ({"sysctl": {"kernel.sysrq": 1}}, "sysctl.kernel.sysrq: "),
        ({"sysctl": {"kernel.sysrq": {"value": 1}}}, "sysctl.kernel.sysrq.reason: field required"),
        ({"sysctl": {"kernel.sysrq": {"value": 1, "reason": " "}}}, "sysctl.kernel.sysrq.reason: say in a line why"),
        ({"sysctl": {"kernel.sysrq": {"value": True, "reason": "x"}}}, "sysctl.kernel.sysrq.value: expected a text"),
        ({"off": {"audit": ""}}, "off.audit: say in a line why"),
        ({"confirm_seconds": 19}, "confirm_seconds: input should be greater than or equal to 20 (found 19)"),
        ({"off": {"auditing": "x"}}, "off.auditing"),
        ({"sysctls": {}}, "sysctls: unknown setting"),
        ({"sysctl": {"a b": {"value": 1, "reason": "x"}}}, "sysctl.a b: unknown setting"),
        (
            {"sysctl": {"net/ipv4/ip_forward": {"value": 1, "reason": "x"}}},
            "sysctl.net/ipv4/ip_forward: unknown setting",
        ),
        ({"sshd": {"passwordauthentication": {"value": "no", "reason": "x"}}}, "write PasswordAuthentication, as"),
        ({"modules": {"usb_storage": {"value": None, "reason": "x"}}}, "write usb-storage, as"),
        ({"upgrades": {"No::Such": {"value": "1", "reason": "x"}}}, "upgrades.No::Such: unknown setting"),
    ],
)
def test_what_is_malformed_is_named_with_its_place(hardening: dict[str, Any], message: str) -> None:
    said = refused(**hardening)
    assert said.startswith("agents-1: hardening.")
    assert message in said


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("area", "name", "value", "why"),
    [
        ("sysctl", "net.ipv4.ip_forward", 0, "container hosts route"),
        ("sysctl", "net.ipv4.conf.all.forwarding", 0, "container hosts route"),
        ("sysctl", "kernel.modules_disabled", 1, "the engines load modules"),
        ("sysctl", "kernel.yama.ptrace_scope", 3, "ptrace_scope: "),
        ("sysctl", "user.max_net_namespaces", 0, "every container has one"),
        ("sysctl", "net.bridge.bridge-nf-call-iptables", 0, "pass by every rule"),
        ("sysctl", "kernel.sysrq", "", "needs a value"),
        ("sysctl", "user.max_*_namespaces", 0, "a pattern is for network interfaces"),
        ("sshd", "LoginGraceTime", "1m", "a number of seconds"),
        ("sshd", "MaxStartups", "20", "START:RATE:FULL"),
        ("audit", "x", "-a exit,always -S reboot", "expected '-w PATH"),
        ("audit", "x", "-a always,exit -S reboot -S mount", "separate the calls by commas"),
        ("audit", "x", "-a always,exit -F path=/etc/x -F perm=wa", "shown as a watch"),
        (
            "upgrades",
            "Unattended-Upgrade::Origins-Pattern",
            "Debian Backports",
            "'Debian Backports' in 'Debian Backports' is not one of o, origin,",
        ),
        ("upgrades", "Unattended-Upgrade::Origins-Pattern", "origin=Debian,x=y", "'x=y' in 'origin=Debian,x=y' is not"),
        ("sysctl", "kernel.core_pattern", "a\nb", "can't be printed"),
        ("modules", "overlay", "blocked", "the engines or the machine itself need"),
        ("modules", "br_netfilter", "blocked", "need this module"),
        ("modules", "nf_tables", "blocked", "need this module"),
        ("modules", "xt-conntrack", "blocked", "need this module"),
        ("modules", "veth", "blocked", "need this module"),
        ("modules", "firewire-core", "off", "expected 'blocked'"),
        ("mounts", "/var/lib/docker", "noexec", "the engines run programs from there"),
        ("mounts", "/run", "noexec", "the engines run programs from there"),
        ("mounts", "/var/tmp", "noexec", "the engines run programs from there"),
        ("mounts", "/home", "noexec", "/tmp"),
        ("mounts", "/tmp", "noexec,size=1g", "expected some of nodev, noexec, nosuid"),
        ("kernel_parameters", "mitigations", "off", "read another's memory"),
        ("kernel_parameters", "nopti", "", "read another's memory"),
        ("kernel_parameters", "apparmor", "0", "confine no container"),
        ("kernel_parameters", "cgroup_disable", "cpu,memory", "no agent's memory"),
        ("kernel_parameters", "slub_debug", "$(reboot)", "can't stand in a boot loader's file"),
        ("sshd", "Port", 2222, "would not find the host again"),
        ("sshd", "PubkeyAuthentication", "no", "nobody could any more"),
        ("sshd", "AuthenticationMethods", "password", "nobody could any more"),
        ("sshd", "AllowUsers", "admin other@192.0.2.1", "logs in as ops, who is not named"),
        ("sshd", "DenyUsers", "ops", "can't be foreseen"),
        ("sshd", "Match", "User a", "no block"),
        ("audit", "x", "-D", "expected '-w PATH"),
        ("audit", "x", "-w /etc/x -p wa -k other", "without a key"),
        ("memory", "swap", "on", "expected 'off'"),
        ("apparmor", "enforced", "no", "expected 'yes'"),
        ("core_dumps", "limits", "1000", "expected None"),
        ("upgrades", "Unattended-Upgrade::Automatic-Reboot", "true; x", "can't stand in a file of apt's"),
    ],
)
def test_what_breaks_a_host_is_refused_with_the_reason(kind: str, area: str, name: str, value: Any, why: str) -> None:
    message = refused(kind, **{area: {name: override(value)}})
    assert message.startswith(f"agents-1: hardening.{area}.{name}: ")
    assert why in message


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("user.max_user_namespaces", 256, 255), ("user.max_user_namespaces", 256, 0), ("kernel.yama.ptrace_scope", 1, 2)],
)
def test_what_gvisor_needs(name: str, good: int, bad: int) -> None:
    assert settings.of(host(sysctl={name: override(good)})).values["sysctl"][name] == str(good)
    assert f"hardening.sysctl.{name}: " in refused(sysctl={name: override(bad)})
    assert settings.of(host("legacy_hosts", sysctl={name: override(bad)})).values["sysctl"][name] == str(bad)


def test_leaving_a_setting_alone_is_always_possible() -> None:
    assert (
        "net.ipv4.ip_forward" not in settings.of(host(sysctl={"net.ipv4.ip_forward": override(None)})).values["sysctl"]
    )


def test_root_is_not_locked_out() -> None:
    root = {"ssh_user": "root"}
    assert "would be locked out" in refused(data=root, sshd={"PermitRootLogin": override("no")})
    assert settings.of(host(data=root)).values["sshd"]["PermitRootLogin"] == "prohibit-password"
    # Without ssh_user it is left to OpenSSH's own configuration who logs in.
    assert "would be locked out" in refused(data={"ssh_user": None}, sshd={"PermitRootLogin": override("no")})
    assert "locked out" not in str(settings.of(host(sshd={"PermitRootLogin": override("no")})))


def test_who_logs_in_by_a_password_is_not_locked_out() -> None:
    assert refused(data={"ssh_password": "s3cret"}) == (
        "agents-1: hardening.sshd: the inventory logs in by a password (ssh_password), "
        "which sshd would not take any more"
    )
    settings.of(host(data={"ssh_password": "s3cret"}, off={"sshd": "no keys yet"}))
    settings.of(host(data={"ssh_password": "s3cret", "ssh_key": "/keys/ops"}))


def test_all_that_is_wrong_is_said_at_once() -> None:
    message = refused(
        sysctl={"net.ipv4.ip_forward": override(0)}, modules={"overlay": override("blocked")}, off={"mounts": "x"}
    )
    assert [line.split(": ")[1] for line in message.splitlines()] == [
        "hardening.sysctl.net.ipv4.ip_forward",
        "hardening.modules.overlay",
    ]
