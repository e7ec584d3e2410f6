"""Tables of others, as a real nft lists them: which go round ours, and which can't."""

from __future__ import annotations

import re

import pytest

from bulkhead.errors import BulkheadError
from deploys.egress.others import COMMAND, HOOKS, Bypass, bypasses, parse
from tests.unit.egress.namespaces import needs_nft, nft
from tests.unit.egress.test_live import rules


def told(*others: str) -> list[tuple[str, str, bool]]:
    """What is found in a kernel that has our table and these."""
    # nft of Debian 12 wants a line for each statement.
    lines = re.sub(r"(?<=[{};]) | (?=\})", "\n", "\n".join(others))
    done = nft(f"load 1; load 2; {COMMAND}", rules(), lines)
    assert done.returncode == 0, done.stderr
    return [(one.table, one.does, one.opens) for one in bypasses(done.stdout)]


HARMLESS = {
    "nothing else": "",
    "a filter after ours that accepts all": (
        "table inet other { chain a { type filter hook forward priority 0; policy accept; accept; } }"
    ),
    "a firewall of the operator's": (
        "table inet mine { set s { type ipv4_addr; elements = { 192.0.2.1 } }\n chain in { type filter hook input"
        ' priority filter + 5; ip saddr @s log prefix "dnat to redirect fwd to " drop; icmp type redirect drop;'
        ' ct status dnat accept comment "tproxy"; } }'
    ),
    "what Docker has": (
        "table ip nat { chain DOCKER { tcp dport 8080 dnat to 172.17.0.2:80; }\n"
        " chain PREROUTING { type nat hook prerouting priority dstnat; fib daddr type local jump DOCKER; }\n"
        " chain OUTPUT { type nat hook output priority -100; }\n"
        " chain POSTROUTING { type nat hook postrouting priority srcnat; ip saddr 172.17.0.0/16 masquerade; } }\n"
        "table ip filter { chain FORWARD { type filter hook forward priority filter; policy drop; accept; } }\n"
        "table ip raw { chain PREROUTING { type filter hook prerouting priority raw; ip daddr 172.17.0.2 drop; } }"
    ),
    "an address rewritten after ours": (
        "table ip nat { chain a { type nat hook prerouting priority -100; dnat to 192.0.2.1; } }"
    ),
    "marks that route": "table ip mangle { chain a { type route hook output priority mangle; meta mark set 7; } }",
}

BYPASSES: dict[str, tuple[str, list[tuple[str, str, bool]]]] = {
    "hooked before ours": (
        "table inet evil { chain a { type filter hook prerouting priority -300; accept; } }",
        [("inet evil", "is hooked before ours (prerouting -300)", False)],
    ),
    "hooked before ours in forward": (
        "table ip evil { chain a { type filter hook forward priority -11; } }",
        [("ip evil", "is hooked before ours (forward -11)", False)],
    ),
    "hooked at a device": (
        'table netdev evil { chain a { type filter hook ingress device "lo" priority 0; } }',
        [("netdev evil", "is hooked before ours (ingress 0)", False)],
    ),
    "addresses rewritten in a table of its own": (
        "table ip evil { chain a { type nat hook prerouting priority -199; dnat to 169.254.169.254; } }",
        [("ip evil", "rewrites addresses", True)],
    ),
    "addresses rewritten before ours in the engines' table": (
        "table ip nat { chain a { type nat hook prerouting priority -190; dnat to 192.0.2.1; } }",
        [("ip nat", "is hooked before ours (prerouting -190)", True)],
    ),
    "packets rewritten after ours": (
        "table ip filter { chain a { type filter hook forward priority 5; ip daddr set 169.254.169.254; } }",
        [("ip filter", "rewrites packets", True)],
    ),
    "not tracked": (
        "table ip raw { chain a { type filter hook prerouting priority raw; udp dport 53 notrack; } }",
        [("ip raw", "keeps packets from being tracked", True)],
    ),
    "sent on at the device": (
        'table netdev evil { chain a { type filter hook ingress device "lo" priority 0; fwd to "lo"; } }',
        [("netdev evil", "sends packets past the filter", True)],
    ),
    "sent twice": (
        "table ip mangle { chain a { type filter hook prerouting priority mangle; dup to 192.0.2.9; } }",
        [("ip mangle", "sends packets past the filter", True)],
    ),
    "flows marked": (
        "table ip mangle { chain a { type filter hook prerouting priority mangle; ct mark set 1; } }",
        [("ip mangle", "changes what is known of flows", True)],
    ),
    "handed to a process": (
        "table ip mangle { chain a { type filter hook prerouting priority mangle; tcp dport 80 tproxy to :8080; } }",
        [("ip mangle", "hands packets to a process", True)],
    ),
    "in a chain that another one jumps to": (
        "table inet evil { chain b { tcp dport 80 redirect to :8080; }\n"
        " chain a { type nat hook output priority 0; jump b; } }",
        [("inet evil", "rewrites addresses", True)],
    ),
}


@needs_nft
@pytest.mark.parametrize("other", HARMLESS.values(), ids=list(HARMLESS))
def test_what_goes_round_nothing(other: str) -> None:
    assert told(other) == []


@needs_nft
@pytest.mark.parametrize(("other", "expected"), BYPASSES.values(), ids=list(BYPASSES))
def test_what_goes_round(other: str, expected: list[tuple[str, str, bool]]) -> None:
    assert told(other) == expected


@needs_nft
def test_each_is_told_beside_the_others() -> None:
    both = "in a chain that another one jumps to", "not tracked"
    found = told(*(BYPASSES[name][0] for name in both), HARMLESS["what Docker has"].partition("table ip raw")[0])
    assert sorted(found) == sorted(one for name in both for one in BYPASSES[name][1])


@needs_nft
def test_the_priorities_are_those_of_our_table() -> None:
    done = nft(f"load 1; {COMMAND}", rules().replace("inet bulkhead", "inet ours"))
    (ours,) = parse(done.stdout)
    assert dict(ours.chains) == HOOKS


@pytest.mark.parametrize(
    ("target", "does"),
    [
        ("CT", "keeps packets from being tracked"),
        ("TEE", "sends packets past the filter"),
        ("DNAT", "rewrites addresses"),
    ],
)
def test_what_iptables_alone_understands(target: str, does: str) -> None:
    """As an nft that knows iptables' extensions lists them."""
    listing = f'table ip raw {{\n\tchain PREROUTING {{\n\t\tcounter xt target "{target}"\n\t}}\n}}\n'
    assert list(bypasses(listing)) == [Bypass("ip raw", does, opens=True)]


def test_flows_taken_past_the_hooks() -> None:
    """As nft lists what not every kernel has."""
    listing = (
        "table inet evil {\n\tflowtable f {\n\t\thook ingress priority 0\n\t\tdevices = { lo }\n\t}\n\n"
        "\tchain a {\n\t\ttype filter hook forward priority 5; policy accept;\n"
        "\t\tip protocol tcp flow add @f\n\t}\n}\n"
    )
    assert [one.does for one in bypasses(listing)] == ["has the flow table f", "takes flows past the filter"]


def test_a_table_of_a_program() -> None:
    listing = "table inet bulkhead {\n}\ntable inet other { # progname firewalld\n\tchain a {\n\t\tnotrack\n\t}\n}\n"
    assert [one.table for one in bypasses(listing)] == ["inet other"]


def test_a_chain_that_can_t_be_understood_is_never_harmless() -> None:
    with pytest.raises(BulkheadError, match="nft table inet x: a chain that can't be understood"):
        list(bypasses("table inet x {\n\tchain a {\n\t\ttype filter hook input priority filter\n\t}\n}\n"))
