"""Real packets against the ruleset, in network namespaces: each denied flow passes without it and not with it."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.lab import packages
from bulkhead.progress import Steps
from deploys.egress.ruleset import ruleset
from tests.egress.flows import FLOWS, POLICY, Flow
from tests.egress.outcome import outcome
from tests.egress.world import World, world

# They install packages where some are missing, as the lab does.
pytestmark = pytest.mark.xdist_group("machine")

SECONDS = 3.0
"""How long an answer may take before it counts as none, on a machine that is busy with other tests."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The namespaces; skipped by name where there may be none."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        with Steps(tmp_path_factory.mktemp("logs"))("Check the Debian packages") as step:
            packages.ensure(packages.codename(Path("/etc/os-release").read_text()), step)
    except BulkheadError as error:
        pytest.skip(error.message)
    with world() as made:
        yield made


def rules(**changes: object) -> str:
    """The ruleset of a legacy host with the flows' policy, some of it replaced."""
    return ruleset(
        InventoryHost("host", frozenset({"legacy_hosts"}), {"engines": ["docker"], "egress": {**POLICY, **changes}})
    )


@pytest.fixture(scope="module")
def without(place: World) -> dict[str, str]:
    """Flow → outcome on a host without the guard."""
    return {flow.name: outcome(place.places, place.mac, flow, SECONDS) for flow in FLOWS}


@pytest.fixture(scope="module")
def with_guard(place: World, without: dict[str, str]) -> Iterator[dict[str, str]]:
    """Flow → outcome with it."""
    assert without
    place.load(rules())
    yield {flow.name: outcome(place.places, place.mac, flow, SECONDS) for flow in FLOWS}
    place.unload()


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_flow(flow: Flow, without: dict[str, str], with_guard: dict[str, str]) -> None:
    """What is denied passes without the guard, or it would prove nothing; what is allowed passes with it."""
    assert without[flow.name] == "passed"
    if flow.allowed:
        assert with_guard[flow.name] == "passed"
    else:
        assert with_guard[flow.name] in ("refused", "silent")


def test_there_are_many_and_no_two_are_the_same() -> None:
    """The figure that the documentation gives."""
    assert len({flow.name for flow in FLOWS}) == len(FLOWS)
    assert len(FLOWS) >= 120


TIGHTER = {**POLICY["agents"], "alpha": {**POLICY["agents"]["alpha"], "allow": []}}


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_open_flows_end_when_the_policy_tightens(place: World, kind: str) -> None:
    """A flow that was open before goes on under a ruleset that allows it, and ends under one that does not."""
    port = {"tcp": 443, "udp": 4433}[kind]
    alpha = place.places["alpha"]
    place.load(rules())
    try:
        token = uuid.uuid4().hex
        opened = alpha.ask(op="hold", kind=kind, name=kind, to="203.0.113.10", port=port, token=token, seconds=SECONDS)
        assert opened == "passed"
        place.load(rules())
        assert alpha.ask(op="use", name=kind, token=token, seconds=SECONDS) == "passed"
        place.load(rules(agents=TIGHTER))
        assert alpha.ask(op="use", name=kind, token=token, seconds=SECONDS) in ("refused", "silent")
    finally:
        place.unload()


@pytest.mark.parametrize(
    ("sender", "to", "port"),
    [("alpha", "203.0.113.66", 443), ("alpha", "169.254.169.254", 80), ("host", "203.0.113.66", 443)],
)
def test_what_was_open_without_the_guard_ends_with_it(place: World, sender: str, to: str, port: int) -> None:
    """Connections from before the guard was loaded are judged like new ones."""
    sending = place.places[sender]
    token = uuid.uuid4().hex
    opened = sending.ask(op="hold", kind="tcp", name=token, to=to, port=port, token=token, seconds=SECONDS)
    assert opened == "passed"
    place.load(rules())
    try:
        assert sending.ask(op="use", name=token, token=token, seconds=SECONDS) in ("refused", "silent")
    finally:
        place.unload()


def test_a_session_into_the_host_survives(place: World) -> None:
    """So that whoever loads a ruleset without access for himself can still take it back."""
    world = place.places["world"]
    token = uuid.uuid4().hex
    opened = world.ask(op="hold", kind="tcp", name=token, to="192.0.2.2", port=22, token=token, seconds=SECONDS)
    assert opened == "passed"
    place.load(rules(management=["198.51.100.200"]))
    try:
        assert world.ask(op="use", name=token, token=token, seconds=SECONDS) == "passed"
        again = world.ask(op="tcp", to="192.0.2.2", port=22, token=token, seconds=SECONDS)
        assert again in ("refused", "silent")
    finally:
        place.unload()


def test_reloads_under_load_let_nothing_through(place: World) -> None:
    """Fifty reloads in the middle of a flood: not one forbidden datagram arrives; without the guard they do."""
    alpha, world = place.places["alpha"], place.places["world"]
    flood = {"op": "flood", "to": "203.0.113.66", "port": 4433}
    token = uuid.uuid4().hex
    sent = int(alpha.ask(token=token, seconds=0.3, **flood))
    assert 0 < int(world.ask(op="count", token=token)) <= sent
    place.load(rules())
    try:
        token = uuid.uuid4().hex
        alpha.send(token=token, seconds=8, **flood)
        for number in range(50):
            place.load(rules(time_servers=[f"198.51.100.{100 + number}"]))
        sent = int(alpha.answer())
        assert sent > 1_000
        assert world.ask(op="count", token=token) == "0"
    finally:
        place.unload()


def test_the_reason_is_counted(place: World) -> None:
    """Each denial counts under its reason."""
    cases = {
        "metadata": ("alpha", "tcp", "169.254.169.254", 80, {}),
        "range": ("alpha", "tcp", "10.66.0.5", 443, {}),
        "tenant": ("alpha", "tcp", "192.0.2.2", 8080, {}),
        "host": ("alpha", "tcp", "192.0.2.2", 22, {}),
        "forward": ("alpha", "tcp", "203.0.113.66", 443, {}),
        "spoofed": ("alpha", "raw", "203.0.113.10", 4433, {"source": "172.30.2.2"}),
        "inbound": ("world", "udp", "192.0.2.2", 53, {"bind": "203.0.113.66"}),
        "outbound": ("host", "tcp", "203.0.113.66", 443, {}),
    }
    for reason, (sender, op, to, port, more) in cases.items():
        place.load(rules())
        token = uuid.uuid4().hex
        place.places[sender].ask(op=op, to=to, port=port, token=token, seconds=SECONDS, **more)
        listed = place.sh("host", "nft list counters table inet bulkhead")
        counted = {name for name, number in re.findall(r"counter (\w+) \{\s+packets (\d+)", listed) if number != "0"}
        assert counted == {reason}, reason
    place.unload()


def test_others_stay(place: World) -> None:
    """Loading and loading again leaves every other table as it is, and ours once."""
    before = place.sh("host", "nft list table inet engine")
    place.load(rules())
    place.load(rules())
    try:
        assert place.sh("host", "nft list table inet engine") == before
        assert place.sh("host", "nft list tables").split("\n").count("table inet bulkhead") == 1
    finally:
        place.unload()
