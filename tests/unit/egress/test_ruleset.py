"""The text of the ruleset: one transaction on one table, and nothing that another machine could read otherwise."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bulkhead.inventory import InventoryHost
from deploys.egress.ruleset import REASONS, TABLE, ruleset
from tests.egress.flows import POLICY
from tests.unit.egress.namespaces import check, needs_nft, nft

BARE: dict[str, Any] = {"management": ["192.0.2.0/24"]}
POLICIES = [pytest.param(POLICY, id="the flows' policy"), pytest.param(BARE, id="no agents")]


def rendered(egress: dict[str, Any]) -> str:
    return ruleset(InventoryHost("old", frozenset({"legacy_hosts"}), {"engines": ["docker"], "egress": egress}))


def statements(egress: dict[str, Any]) -> list[str]:
    """The lines that say something, without their comments."""
    lines = [line.split("#")[0].strip() for line in rendered(egress).splitlines()]
    return [line for line in lines if line]


def chain(name: str) -> list[str]:
    """The rules of a chain under the flows' policy."""
    found = re.search(rf"\n\tchain {name} \{{\n(.*?)\n\t\}}", rendered(POLICY), re.DOTALL)
    assert found, name
    return [line.strip() for line in found[1].splitlines() if not line.strip().startswith("#")]


@pytest.mark.parametrize("egress", POLICIES)
def test_it_replaces_its_table_in_one_transaction(egress: dict[str, Any]) -> None:
    assert rendered(egress).startswith("#!/usr/sbin/nft -f\n")
    assert statements(egress)[:3] == [
        "table inet bulkhead",
        "delete table inet bulkhead",
        "table inet bulkhead {",
    ]
    assert rendered(egress).endswith("\n}\n")


@pytest.mark.parametrize("egress", POLICIES)
def test_it_touches_no_other_table_and_flushes_nothing(egress: dict[str, Any]) -> None:
    assert {line for line in statements(egress) if re.search(r"\btable\b", line)} == {
        "table inet bulkhead",
        "delete table inet bulkhead",
        "table inet bulkhead {",
    }
    for line in statements(egress):
        assert not re.search(r"\b(flush|include|define|destroy|reset ruleset)\b", line), line
    assert TABLE == "inet bulkhead"


@pytest.mark.parametrize("egress", POLICIES)
def test_users_are_numbers(egress: dict[str, Any]) -> None:
    """A name that the machine doesn't know would fail the whole file, at boot too."""
    used = [
        word
        for line in statements(egress)
        for word in re.findall(r"meta sk[ug]id (?!@)(?:!= )?(\S+)", line)
        if not re.match(r"typeof", line)
    ]
    assert used
    for word in used:
        assert re.fullmatch(r"\d+(-\d+)?", word), word
    for name in ("outbound4", "outbound6", "outbound_pinged4"):
        found = re.search(rf"set {name} \{{(.*?)\n\t\}}", rendered(egress), re.DOTALL)
        assert found
        elements = re.findall(r"^\t\t\t(.*),$", found[1], re.MULTILINE)
        assert all(element.split(" . ")[-1].isdigit() for element in elements)


def test_services_are_numbers() -> None:
    for line in statements(POLICY):
        assert not re.search(r"[ds]port [a-z]", re.sub(r"typeof.*", "", line)), line


def test_base_chains_drop_unless_they_only_look() -> None:
    policies = dict(re.findall(r"type filter hook (\w+) priority [^;]+; policy (\w+);", rendered(POLICY)))
    assert policies == {"prerouting": "accept", "forward": "drop", "input": "drop", "output": "drop"}


def test_chains_for_agents_end_in_a_denial() -> None:
    ends = {
        name: chain(name)[-1]
        for name in (
            *("agent_asks", "agent_is_answered", "agent_is_asked", "agent_answers", "agent_asks_host", "forward"),
            *("output", "host_asks", "input"),
        )
    }
    assert ends == {
        "agent_asks": "goto deny_forward",
        "agent_is_answered": "goto deny_forward",
        "agent_is_asked": "goto deny_forward",
        "agent_answers": "goto deny_forward",
        "agent_asks_host": "goto deny_host",
        "forward": "goto deny_forward",
        "output": "goto deny_outbound",
        "host_asks": "goto deny_outbound",
        "input": "counter name inbound drop",
    }


def test_every_reason_is_counted_and_logged_at_a_limit() -> None:
    text = rendered(POLICY)
    assert set(re.findall(r"^\tcounter (\w+) \{ \}$", text, re.MULTILINE)) == set(REASONS)
    for line in statements(POLICY):
        if "log prefix" in line:
            reason = line.split('"bulkhead ')[1].split(":")[0]
            assert line.startswith(f"update @logged_{reason} {{ iifname limit rate 6/minute burst 10 packets }} log ")
    assert set(re.findall(r'log prefix "bulkhead (\w+): "', text)) == set(REASONS) - {"inbound"}


def test_the_proxy_gets_out_only_where_somebody_names_a_host() -> None:
    assert "meta skuid 13" in rendered(POLICY)
    assert "meta skuid 13" not in rendered(BARE)


def test_the_same_settings_are_the_same_text() -> None:
    turned = {**POLICY, "agents": dict(reversed(POLICY["agents"].items()))}
    assert rendered(turned) == rendered(POLICY)


@needs_nft
@pytest.mark.parametrize("egress", POLICIES)
def test_it_loads_where_no_name_is_known(egress: dict[str, Any]) -> None:
    """nft resolves nothing: no user, no service, no host, no interface has to exist."""
    assert check(rendered(egress)) == ""


@needs_nft
def test_a_ruleset_that_is_wrong_leaves_the_one_before() -> None:
    broken = rendered(POLICY).replace("goto deny_host", "goto deny_nothing", 1)
    done = nft(
        "load 1; nft -s list ruleset >/tmp/$$.a; ! load 2 2>/dev/null; nft -s list ruleset >/tmp/$$.b; "
        "cmp /tmp/$$.a /tmp/$$.b; nft list tables; rm /tmp/$$.a /tmp/$$.b",
        rendered(POLICY),
        broken,
    )
    assert (done.returncode, done.stdout) == (0, "table inet bulkhead\n")
