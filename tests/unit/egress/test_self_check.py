"""What a host says of its own packet filter, with a real nft in network namespaces."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bulkhead.capability import needs_of
from bulkhead.drift.pins import FilePin, Search
from bulkhead.inventory import InventoryHost
from deploys.egress import facts, pins
from deploys.egress.ruleset import ruleset
from tests.egress.flows import POLICY
from tests.unit.egress.namespaces import needs_nft
from tests.unit.egress.test_others import BYPASSES, HARMLESS
from tests.unit.helpers import answered
from tests.unit.self_check.running import Run, host

pytestmark = needs_nft

TABLE = "inet bulkhead"
DESCRIBED = InventoryHost("old", frozenset({"legacy_hosts"}), {"engines": ["docker"], "egress": POLICY})
ABOUT = ("egress nft_table", "egress nft_others")


def checked(tmp_path: Path, script: str = ":") -> Run:
    """What is found in a kernel that has the policy after a script."""
    boot = tmp_path / "egress.nft"
    boot.write_text(ruleset(DESCRIBED))
    all_pins = pins.of(DESCRIBED, answered(needs_of(DESCRIBED), {}, {}))
    searches = [one for one in all_pins if isinstance(one, Search) and one.about in ABOUT]
    assert len(searches) == len(ABOUT)
    here = host(tmp_path, *searches, replaced={facts.BOOT_FILE: str(boot)})
    return here.run("unshare", "--net", before=f"set -e; nft -f {boot}\n{script}\nset +e")


def test_the_boot_file_is_pinned_as_it_is_written() -> None:
    all_pins = pins.of(DESCRIBED, answered(needs_of(DESCRIBED), {}, {}))
    (boot,) = (one for one in all_pins if isinstance(one, FilePin) and one.path == "/etc/bulkhead/egress.nft")
    assert (boot.mode, boot.owner, boot.severity) == (0o644, "root:root", "critical")


UNTOUCHED = {
    "as it was loaded": ":",
    "loaded twice": "nft -f {boot}",
    "counted": (
        "ip link add veth0 type veth peer name veth1; ip address add 192.0.2.1/24 dev veth0; ip link set veth0 up;"
        " ip link set veth1 up; ping -c 2 -W 1 192.0.2.9 >/dev/null 2>&1 || :"
    ),
    "filled in by packets": f"nft add element {TABLE} logged_tenant '{{ \"bh-alpha\" limit rate 6/minute }}'",
    "an element taken out and put in again": (
        f"nft delete element {TABLE} agents '{{ bh-alpha }}'; nft add element {TABLE} agents '{{ bh-alpha }}'"
    ),
    "a rule inserted and deleted": (
        f"nft insert rule {TABLE} input accept;"
        f"nft delete rule {TABLE} input handle $(nft -a list chain {TABLE} input | sed -n '4s/.*handle //p')"
    ),
}


@pytest.mark.parametrize("script", UNTOUCHED.values(), ids=UNTOUCHED)
def test_the_table_of_the_file(script: str, tmp_path: Path) -> None:
    run = checked(tmp_path, script.replace("{boot}", str(tmp_path / "egress.nft")))
    assert (run.status, run.said, run.errors) == (0, "", "")


TAMPERS = {
    "a rule inserted": (f"nft insert rule {TABLE} forward accept", ["chain forward"]),
    "a rule deleted": (f"nft flush chain {TABLE} prerouting", ["chain prerouting"]),
    "two rules swapped": (
        f"nft add rule {TABLE} input udp dport 1 drop; nft -f - <<T\n{{}}\nT".replace(
            "{}", f"flush chain {TABLE} input"
        ),
        ["chain input"],
    ),
    "the policy of a chain": (f"nft add chain {TABLE} input '{{ policy accept; }}'", ["chain input"]),
    "a set widened": (f"nft add element {TABLE} management4 '{{ 192.0.2.77 }}'", ["set management4"]),
    "a set of names widened": (f"nft add element {TABLE} agents '{{ eth0 }}'", ["set agents"]),
    "a set narrowed": (f"nft flush set {TABLE} denied4", ["set denied4"]),
    "a long set in which one is another": (
        f"nft delete element {TABLE} metadata4 '{{ 169.254.169.254 }}';"
        f" nft add element {TABLE} metadata4 '{{ 169.254.169.253 }}'",
        ["set metadata4"],
    ),
    "another chain": (f"nft add chain {TABLE} tamper", ["chain tamper"]),
    "another set": (f"nft add set {TABLE} tamper '{{ type ipv4_addr; }}'", ["set tamper"]),
    "two things": (
        f"nft insert rule {TABLE} forward accept; nft flush set {TABLE} denied4",
        ["chain forward", "set denied4"],
    ),
}


@pytest.mark.parametrize(("script", "parts"), TAMPERS.values(), ids=TAMPERS)
def test_a_table_that_was_tampered_with(script: str, parts: list[str], tmp_path: Path) -> None:
    run = checked(tmp_path, script)
    assert (run.status, run.found) == (2, [f"critical egress nft table {TABLE}: {part}" for part in parts])


def test_no_table(tmp_path: Path) -> None:
    run = checked(tmp_path, f"nft delete table {TABLE}")
    assert (run.status, run.found) == (2, [f"critical egress nft table {TABLE}"])


def test_a_file_that_nft_can_t_load_is_an_error(tmp_path: Path) -> None:
    run = checked(tmp_path, f"echo x >>{tmp_path}/egress.nft")
    assert (run.status, run.found) == (1, ["error egress egress nft_table"])


def loaded(ruleset: str) -> str:
    """The script that loads it. nft of Debian 12 wants a line for each statement."""
    lines = re.sub(r"(?<=[{};]) | (?=\})", "\n", ruleset)
    return f"nft -f - <<'T'\n{lines}\nT"


@pytest.mark.parametrize("ruleset", HARMLESS.values(), ids=HARMLESS)
def test_tables_of_others_that_go_round_nothing(ruleset: str, tmp_path: Path) -> None:
    run = checked(tmp_path, loaded(ruleset))
    assert (run.status, run.said, run.errors) == (0, "", "")


@pytest.mark.parametrize(("ruleset", "expected"), BYPASSES.values(), ids=BYPASSES)
def test_tables_that_go_round_ours(ruleset: str, expected: list[tuple[str, str, bool]], tmp_path: Path) -> None:
    run = checked(tmp_path, loaded(ruleset))
    said = [f"{'critical' if opens else 'warning'} egress nft table {table}: {does}" for table, does, opens in expected]
    assert (run.status, run.found) == (2, said)
