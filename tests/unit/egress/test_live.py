"""The table in the kernel against the one of the file, by real listings of a real nft."""

from __future__ import annotations

import json
import sys

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from deploys.egress.live import differences, same
from deploys.egress.ruleset import ruleset
from tests.egress.flows import POLICY
from tests.unit.egress.namespaces import needs_nft, nft

MARK = "---listing---"
LIST = f"echo {MARK}; nft --json list table inet bulkhead;"
TABLE = "inet bulkhead"


def rules(**changes: object) -> str:
    """The ruleset of the flows' policy, some of it replaced."""
    return ruleset(
        InventoryHost("old", frozenset({"legacy_hosts"}), {"engines": ["docker"], "egress": {**POLICY, **changes}})
    )


def listed(script: str, *rulesets: str) -> list[str]:
    """The listings that a script makes with LIST, after `load 1`."""
    done = nft(script, *rulesets)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(MARK)[1:]


def before_and_after(change: str) -> tuple[str, str]:
    """Listings before and after a shell command, in one kernel."""
    before, after = listed(f"load 1; {LIST} {change}\n {LIST}", rules())
    assert json.loads(before)["nftables"]
    return before, after


@needs_nft
def test_the_same_file_in_two_kernels() -> None:
    (one,) = listed(f"load 1; {LIST}", rules())
    (other,) = listed(f"load 1; {LIST}", rules())
    assert same(one, other)
    assert same(one, one)


UNTOUCHED = {
    "loaded twice": "load 1;",
    # The handles are others afterwards.
    "a rule inserted and deleted": (
        f"nft insert rule {TABLE} input accept;"
        f"nft delete rule {TABLE} input handle $(nft -a list chain {TABLE} input | sed -n '4s/.*handle //p');"
    ),
    "another table beside it": "nft add table inet other;",
    "counters counted up": (
        "ip link add veth0 type veth peer name veth1; ip address add 192.0.2.1/24 dev veth0; ip link set veth0 up;"
        "ip neighbour add 192.0.2.9 lladdr 02:00:00:00:00:09 dev veth0;"
        f'{sys.executable} -c \'import socket; socket.socket(2, 2).sendto(b"x", ("192.0.2.9", 9))\' 2>/dev/null || :;'
        f"nft list counter {TABLE} outbound | grep -q 'packets [1-9]';"
    ),
    "the set filled by packets": (
        f"nft add element {TABLE} logged_metadata '{{ \"bh-alpha\" limit rate 6/minute burst 10 packets }}';"
    ),
    "elements in another order": (
        f"nft delete element {TABLE} management4 '{{ 198.51.100.1 }}';"
        f"nft add element {TABLE} management4 '{{ 198.51.100.1 }}';"
        f"nft delete element {TABLE} agents '{{ bh-alpha }}'; nft add element {TABLE} agents '{{ bh-alpha }}';"
    ),
}


@needs_nft
@pytest.mark.parametrize("change", UNTOUCHED.values(), ids=list(UNTOUCHED))
def test_what_changes_nothing(change: str) -> None:
    before, after = before_and_after(change)
    assert same(before, after)
    assert differences(after, before) == {}


HANDLE = "handle $(nft -a list chain inet bulkhead {chain} | sed -n 's/^\\t\\t{rule}.*# handle //p')"
CHANGED = {
    "a rule put first": f"nft insert rule {TABLE} input accept;",
    "a rule put last": f"nft add rule {TABLE} output accept;",
    "a rule deleted": f"nft delete rule {TABLE} output {HANDLE.format(chain='output', rule='goto deny_outbound')};",
    "a rule replaced": (
        f"nft replace rule {TABLE} output {HANDLE.format(chain='output', rule='goto deny_outbound')} accept;"
    ),
    "a rule moved to the front": (
        f"nft delete rule {TABLE} agent_sent {HANDLE.format(chain='agent_sent', rule='ip daddr @denied4')};"
        f"nft insert rule {TABLE} agent_sent ip daddr @denied4 goto deny_range;"
    ),
    "two rules swapped": (
        f"nft replace rule {TABLE} agent_sent {HANDLE.format(chain='agent_sent', rule='ip daddr @denied4')} counter;"
        f"nft replace rule {TABLE} agent_sent {HANDLE.format(chain='agent_sent', rule='ip daddr @metadata4')}"
        " ip daddr @denied4 goto deny_range;"
        f"nft replace rule {TABLE} agent_sent {HANDLE.format(chain='agent_sent', rule='counter')}"
        " ip daddr @metadata4 goto deny_metadata;"
    ),
    "an element added": f"nft add element {TABLE} allowed4 '{{ 198.18.7.7 . \"bh-alpha\" . tcp . 22 }}';",
    "an element deleted": f"nft delete element {TABLE} denied4 '{{ 10.0.0.0/8 }}';",
    "a whole set emptied": f"nft flush set {TABLE} metadata6;",
    "an interface no agent's any more": f"nft delete element {TABLE} agents '{{ bh-alpha }}';",
    "a chain flushed": f"nft flush chain {TABLE} agent_sent;",
    "the policy of a chain": f"nft add chain {TABLE} forward '{{ policy accept; }}';",
    "a chain more": f"nft add chain {TABLE} more;",
    "a base chain more": f"nft add chain {TABLE} more '{{ type filter hook input priority -200; }}';",
    "a set more": f"nft add set {TABLE} more '{{ type ipv4_addr; }}';",
    "a counter more": f"nft add counter {TABLE} more;",
    "dormant": f"nft add table {TABLE} '{{ flags dormant; }}';",
    "gone": f"nft delete table {TABLE}; nft add table {TABLE};",
}


@needs_nft
@pytest.mark.parametrize("change", CHANGED.values(), ids=list(CHANGED))
def test_what_somebody_changed(change: str) -> None:
    before, after = before_and_after(change)
    assert not same(before, after)
    assert not same(after, before)
    wrong = differences(after, before)
    assert wrong
    assert all(expected != actual for expected, actual in wrong.values())


@needs_nft
@pytest.mark.parametrize(
    ("change", "part", "added", "gone"),
    [
        ("a rule put first", ("chain", "input"), ['{"expr": [{"accept": null}]}'], []),
        ("an element added", ("set", "allowed4"), ["198.18.7.7 . bh-alpha . tcp . 22"], []),
        ("an element deleted", ("set", "denied4"), [], ["10.0.0.0/8"]),
        ("a counter more", ("counter", "more"), ["{}"], [""]),
        ("gone", ("chain", "forward"), [""], []),
    ],
)
def test_which_part_and_what_in_it(change: str, part: tuple[str, str], added: list[str], gone: list[str]) -> None:
    before, after = before_and_after(CHANGED[change])
    wrong = differences(after, before)
    expected, actual = (text.split("\n") for text in wrong[part])
    assert [line for line in actual if line not in expected] == added
    if change != "gone":
        assert [line for line in expected if line not in actual] == gone
        assert list(wrong) == [part]


@needs_nft
def test_another_policy_is_another_table() -> None:
    (one,) = listed(f"load 1; {LIST}", rules())
    (other,) = listed(f"load 1; {LIST}", rules(resolvers=["198.51.100.54"]))
    assert not same(one, other)


@needs_nft
def test_no_table_is_not_the_table() -> None:
    (one,) = listed(f"load 1; {LIST}", rules())
    assert not same("", one)
    assert not same(one, "\n")


def test_nothing_is_nothing() -> None:
    assert same("", " \n")


@pytest.mark.parametrize(
    "text",
    [
        *("{", "table inet bulkhead {\n}", "[]", "5", '"x"', "null", "{}", '{"nftables": 5}', '{"nftables": null}'),
        *('{"nftables": [5]}', '{"nftables": [{"set": 5}]}', '{"nftables": [{"set": {}}]}', '{"nftables": [[]]}'),
    ],
)
def test_what_is_no_listing(text: str) -> None:
    with pytest.raises(BulkheadError) as error:
        same(text, "")
    assert error.value.message == "the host's answer is no listing of nft"
    assert error.value.hint == "Does its nft have JSON support?"
