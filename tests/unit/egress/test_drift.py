"""A guarded host drifts in nothing, and each tamper is its own finding; the kernel's tables are those of a real nft."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.look import FoundFile, Look, Output
from deploys.egress import drift, facts, networks, proxy
from deploys.egress.drift import watches
from deploys.egress.ruleset import ruleset
from tests.egress.flows import POLICY
from tests.unit.egress.namespaces import needs_nft, nft
from tests.unit.helpers import answered, compared, gvisor_host, legacy_host, unit

HOST = legacy_host(egress=POLICY)
MARK = "---listing---\n"
ENGINES = (
    f"Id=docker.service\nLoadState=loaded\nRequires=system.slice {facts.UNIT}\n\nId=k3s.service\nLoadState=not-found\n"
)

pytestmark = needs_nft


@cache
def listings(change: str = ":") -> tuple[str, str]:
    """Our table and all tables after a shell command, as the real nft prints them."""
    asked = {need.name: need.script for need in watches(HOST) if not hasattr(need, "path")}
    done = nft(
        f"load 1; {change}\nnft --json list table inet bulkhead || :\n"
        f"printf '%s\\n' {MARK.strip()}; {asked['egress.tables']}",
        ruleset(HOST),
    )
    assert done.returncode == 0, done.stderr
    live, _, tables = done.stdout.partition(MARK)
    return live, tables


def docker_networks() -> list[dict[str, Any]]:
    """What Docker lists: its own, and those that were asked for, with more that it adds."""
    return [{"Name": "bridge", "Driver": "bridge"}, *({**one, "Id": "7"} for one in networks.docker(HOST).values())]


def clean(change: str = ":") -> Look:
    """A look at a host as a deploy leaves it, but for a change to the kernel's tables."""
    live, tables = listings(change)
    files: dict[str, str | bytes | FoundFile | None] = {
        facts.BOOT_FILE: ruleset(HOST),
        facts.UNIT_FILE: facts.unit(),
        "/etc/passwd": "proxy:x:13:13::/:\n",
        **proxy.files(HOST),
    }
    assert proxy.CONFIG in files
    said = {
        "egress.live": live,
        "egress.fresh": listings()[0],
        "egress.tables": tables,
        "egress.networks": json.dumps(docker_networks()),
        "egress.enabled": "enabled\nactive",
        "egress.engines": ENGINES,
        "egress.stock": "masked",
        "egress.proxy": "enabled\nactive",
        "egress.watched": f"{unit(facts.UNIT)}\n{unit(proxy.UNIT)}\n---\n",
    }
    return answered([*facts.needs(HOST), *watches(HOST)], files, said)


def said(name: str, answer: str | Output) -> Callable[[Look], Look]:
    output = answer if isinstance(answer, Output) else Output(0, answer.encode(), b"")

    def change(look: Look) -> Look:
        assert name in look.outputs
        return replace(look, outputs={**look.outputs, name: output})

    return change


def placed(path: str, change: Callable[[FoundFile], FoundFile | None]) -> Callable[[Look], Look]:
    def placing(look: Look) -> Look:
        found = look.files[path]
        assert found
        return replace(look, files={**look.files, path: change(found)})

    return placing


def present(path: str) -> Callable[[Look], Look]:
    def placing(look: Look) -> Look:
        return replace(look, files={**look.files, path: FoundFile("file", b"x", 0o644, "root", "root")})

    return placing


def appended(path: str, text: bytes) -> Callable[[Look], Look]:
    return placed(path, lambda file: replace(file, content=file.content + text))


def network(change: Callable[[dict[str, Any]], object]) -> Callable[[Look], Look]:
    listed = docker_networks()
    change(listed[1])
    return said("egress.networks", json.dumps([one for one in listed if one]))


def findings(look: Look) -> list[tuple[str, str, str, str]]:
    found = compared(drift.drift, HOST, look, "egress")
    assert all(one.capability == "egress" and one.mend and one.expected != one.actual for one in found)
    return [(one.subject, one.expected, one.actual, one.severity) for one in found]


def test_a_guarded_host_drifts_in_nothing() -> None:
    assert findings(clean()) == []


TABLE = "nft table inet bulkhead"
LIVE = {
    "a rule inserted": ("nft insert rule inet bulkhead forward accept", f"{TABLE}: chain forward"),
    "a set widened": (
        "nft add element inet bulkhead management4 '{ 192.0.2.77 }'",
        f"{TABLE}: set management4",
    ),
    "a chain's policy": ("nft add chain inet bulkhead input '{ policy accept; }'", f"{TABLE}: chain input"),
    "gone": ("nft delete table inet bulkhead", TABLE),
}


@pytest.mark.parametrize(("change", "subject"), LIVE.values(), ids=list(LIVE))
def test_what_is_changed_in_the_kernel_alone(change: str, subject: str) -> None:
    ((found, _, _, severity),) = findings(clean(change))
    assert (found, severity) == (subject, "critical")


def test_which_address_a_set_was_widened_by() -> None:
    ((_, expected, actual, _),) = findings(clean(LIVE["a set widened"][0]))
    assert set(actual.splitlines()) - set(expected.splitlines()) == {"192.0.2.77"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            "nft add table inet evil; nft add chain inet evil a '{ type filter hook prerouting priority -300; }'",
            ("nft table inet evil: is hooked before ours (prerouting -300)", "warning"),
        ),
        (
            "nft add table ip evil; nft add chain ip evil a '{ type filter hook forward priority 0; }';"
            " nft add rule ip evil a ip daddr set 192.0.2.1",
            ("nft table ip evil: rewrites packets", "critical"),
        ),
    ],
)
def test_tables_of_others(change: str, expected: tuple[str, str]) -> None:
    assert [(subject, severity) for subject, _, _, severity in findings(clean(change))] == [expected]


UNIT = f"unit {facts.UNIT}"
PROXY = f"unit {proxy.UNIT}"
WATCHED = f"{unit(facts.UNIT)}\n{unit(proxy.UNIT)}\n---\n"
TAMPERS: dict[str, tuple[Callable[[Look], Look], set[str]]] = {
    "a remark in the policy's file": (appended(facts.BOOT_FILE, b"# x\n"), {facts.BOOT_FILE}),
    "the policy's file changed and loaded": (
        appended(facts.BOOT_FILE, b"add rule inet bulkhead input accept\n"),
        {facts.BOOT_FILE, TABLE},
    ),
    "the policy's file gone": (
        lambda look: said("egress.fresh", "")(placed(facts.BOOT_FILE, lambda _: None)(look)),
        {facts.BOOT_FILE},
    ),
    "its mode": (
        placed(facts.BOOT_FILE, lambda file: replace(file, mode=0o666)),
        {f"{facts.BOOT_FILE}: mode"},
    ),
    "the unit's file": (appended(facts.UNIT_FILE, b"# x\n"), {facts.UNIT_FILE}),
    "the unit disabled": (
        said("egress.watched", f"{unit(facts.UNIT, enabled='disabled')}\n{unit(proxy.UNIT)}\n---\n"),
        {UNIT},
    ),
    "the unit masked": (
        said("egress.watched", f"{unit(facts.UNIT, 'active', 'masked', 'masked')}\n{unit(proxy.UNIT)}\n---\n"),
        {UNIT},
    ),
    "a drop-in on the unit": (
        said(
            "egress.watched", f"{unit(facts.UNIT, DropInPaths='/run/systemd/system/x.conf')}\n{unit(proxy.UNIT)}\n---\n"
        ),
        {f"{UNIT}: drop-in /run/systemd/system/x.conf"},
    ),
    "an engine that does not require it": (
        said("egress.engines", ENGINES.replace(facts.UNIT, "sysinit.target")),
        {"unit docker.service: Requires"},
    ),
    "the stock unit enabled": (said("egress.stock", "enabled"), {"unit nftables.service"}),
    "the stock unit unmasked": (said("egress.stock", "disabled"), {"unit nftables.service"}),
    "a policy taken back": (present(facts.ROLLED_BACK), {facts.ROLLED_BACK}),
    "a network gone": (network(lambda one: one.clear()), {"network alpha"}),
    "a network with another bridge": (
        network(lambda one: one.update(Options={"com.docker.network.bridge.name": "docker0"})),
        {"network alpha"},
    ),
    "a network of somebody else's": (network(lambda one: one.update(Labels={})), {"network alpha"}),
    "a network of no agent": (
        said(
            "egress.networks",
            json.dumps([*docker_networks(), {"Name": "evil", "Labels": {networks.LABEL: "evil"}}]),
        ),
        {"network evil"},
    ),
    "Docker that does not answer": (said("egress.networks", Output(7, b"", b"")), {"agents' networks"}),
    "another CNI network of ours": (
        said("egress.cni", "/etc/cni/net.d/90-bh-evil.conflist"),
        {"/etc/cni/net.d/90-bh-evil.conflist"},
    ),
    "the proxy's list widened": (appended(proxy.CONFIG, b"http_access allow all\n"), {proxy.CONFIG}),
    "the proxy stopped": (
        said("egress.watched", f"{unit(facts.UNIT)}\n{unit(proxy.UNIT, 'inactive')}\n---\n"),
        {PROXY},
    ),
    "squid removed": (said("egress.squid", Output(127, b"", b"")), {"package squid"}),
    "another squid beside it": (said("egress.squid_service", "enabled"), {"unit squid.service"}),
    "a cloud that the policy cuts off": (said("egress.cloud", "gce"), {"egress policy"}),
}


@pytest.mark.parametrize(("tamper", "expected"), TAMPERS.values(), ids=list(TAMPERS))
def test_each_tamper_is_its_own_finding(tamper: Callable[[Look], Look], expected: set[str]) -> None:
    there = [subject for subject, *_ in findings(tamper(clean()))]
    assert set(there) == expected
    assert len(there) == len(expected)


def test_what_the_kernel_should_have_is_not_told_by_a_file_that_is_another() -> None:
    """The file alone is wrong, or the kernel has been given it, too."""
    changed = appended(facts.BOOT_FILE, b"insert rule inet bulkhead input accept\n")(clean())
    other = said("egress.fresh", clean("nft insert rule inet bulkhead input accept").outputs["egress.live"].text)
    assert [subject for subject, *_ in findings(other(changed))] == [facts.BOOT_FILE]


def test_a_kernel_that_can_t_be_asked_is_never_clean() -> None:
    for name, status in (("egress.tables", 1), ("egress.fresh", 1), ("egress.watched", 124)):
        with pytest.raises(BulkheadError):
            findings(said(name, Output(status, b"", b"no"))(clean()))


def test_a_host_whose_agents_name_no_hosts_has_no_proxy() -> None:
    agents = {"alpha": {"subnet4": "172.30.1.0/24"}}
    host = legacy_host(egress={"management": ["192.0.2.0/24"], "agents": agents})
    look = answered(
        [*facts.needs(host), *watches(host)],
        {},
        {"egress.networks": "[]", "egress.watched": WATCHED, "egress.squid_service": "enabled"},
    )
    subjects = [one.subject for one in compared(drift.drift, host, look)]
    assert PROXY in subjects
    assert "unit squid.service" not in subjects


def test_a_host_without_a_policy_drifts_in_what_one_left() -> None:
    without = gvisor_host(egress={"off": "a cluster's node"})
    assert [(found.subject, found.severity) for found in compared(drift.drift, without, clean())] == [
        ("/etc/bulkhead/egress.nft", "warning"),
        ("/etc/systemd/system/bulkhead-egress.service", "warning"),
        ("nft table inet bulkhead", "warning"),
    ]
    gone = clean("nft delete table inet bulkhead")
    files = {**gone.files, facts.BOOT_FILE: None, facts.UNIT_FILE: None}
    assert compared(drift.drift, without, replace(gone, files=files)) == []
