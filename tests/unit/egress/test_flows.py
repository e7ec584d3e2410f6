"""Real packets against the ruleset, in network namespaces: each denied flow passes without it and not with it."""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bulkhead.inventory import InventoryHost
from deploys.egress.ruleset import ruleset
from tests.egress import prober
from tests.egress.flows import DENIED_TO_AGENTS, FLOWS, POLICY, Flow
from tests.egress.outcome import outcome
from tests.egress.world import World, world

SECONDS = 3.0
"""How long an answer may take before it counts as none, on a machine that is busy with other tests."""


@pytest.fixture(scope="module")
def place(nftables: None) -> Iterator[World]:  # noqa: ARG001
    """The namespaces."""
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
def with_guard(place: World, without: dict[str, str]) -> dict[str, str]:
    """Flow → outcome with it."""
    assert without
    place.load(rules())
    try:
        return {flow.name: outcome(place.places, place.mac, flow, SECONDS) for flow in FLOWS}
    finally:
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
    [
        ("alpha", "203.0.113.66", 443),
        ("alpha", "169.254.169.254", 80),
        ("alpha", "172.30.1.1", 22),
        ("alpha", "2001:db8::2", 22),
        ("host", "203.0.113.66", 443),
    ],
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


def test_a_session_survives_the_first_policy(place: World) -> None:
    """Where nobody tracked connections before, the host's next word in an open session goes out all the same."""
    engine = place.sh("host", "nft list table inet engine")
    place.sh("host", "nft delete table inet engine")
    world = place.places["world"]
    token = uuid.uuid4().hex
    request = {"to": "192.0.2.2", "port": 22, "bind": "198.51.100.1", "seconds": SECONDS}
    try:
        assert world.ask(op="hold", kind="tcp", name=token, token=token, **request) == "passed"
        place.load(rules())
        assert place.places["host"].ask(op="push", token=token) == "pushed"
        assert world.ask(op="receive", name=token, token=token, seconds=SECONDS) == "passed"
    finally:
        place.unload()
        place.load(engine)


def test_what_the_kernel_sends_itself_can_be_named(place: World) -> None:
    """No uid is on what no process sends, such as a tunnel's packets; here VXLAN."""
    tunnel = "ip link add vx0 type vxlan id 7 remote 203.0.113.66 dstport 4789 dev wan0"
    if place.sh("host", f"{tunnel} 2>/dev/null && echo made || :") == "":
        pytest.skip("this kernel has no VXLAN")
    place.sh("host", "ip address add 10.99.0.1/24 dev vx0; ip link set vx0 up")
    named = [{"to": "203.0.113.66", "protocol": "udp", "ports": [4789], "user": "kernel"}]
    ping = [{"to": "10.99.0.2", "protocol": "icmp"}]
    try:
        for host, passes in ((ping, False), ([*named, *ping], True)):
            place.load(rules(host=host))
            with watched(place, "world", "udp dport 4789") as came:
                # The question for the neighbour, which comes first, is the kernel's own.
                place.sh("host", "ip neigh flush dev vx0")
                ask(place, "host", "icmp", "10.99.0.2", 0)
                assert came() == passes
            place.unload()
    finally:
        place.sh("host", "ip link delete vx0")


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
    cases = [
        ("metadata", "alpha", "tcp", "169.254.169.254", 80, {}),
        ("metadata", "alpha", "tcp", "fd00:ec2::254", 80, {}),
        ("metadata", "host", "tcp", "100.100.100.200", 80, {}),
        ("metadata", "host", "tcp", "fd20:ce::254", 80, {}),
        ("range", "alpha", "tcp", "10.66.0.5", 443, {}),
        ("range", "alpha", "tcp", "fd66::5", 443, {}),
        ("tenant", "alpha", "tcp", "192.0.2.2", 8080, {}),
        ("host", "alpha", "tcp", "192.0.2.2", 22, {}),
        ("forward", "alpha", "tcp", "203.0.113.66", 443, {}),
        ("forward", "other", "tcp", "203.0.113.66", 443, {}),
        ("spoofed", "alpha", "raw", "203.0.113.10", 4433, {"source": "172.30.2.2"}),
        ("spoofed", "alpha", "raw", "2001:db8:1::10", 4433, {"source": "fd42:2::2"}),
        ("inbound", "world", "udp", "192.0.2.2", 53, {"bind": "203.0.113.66"}),
        ("outbound", "host", "tcp", "203.0.113.66", 443, {}),
    ]
    for reason, sender, op, to, port, more in cases:
        place.load(rules())
        token = uuid.uuid4().hex
        place.places[sender].ask(op=op, to=to, port=port, token=token, seconds=SECONDS, **more)
        listed = place.sh("host", "nft list counters table inet bulkhead")
        counted = {name for name, number in re.findall(r"counter (\w+) \{\s+packets (\d+)", listed) if number != "0"}
        # Now and then a neighbour looks for routers, which counts as inbound.
        assert reason in counted, to
        assert counted <= {reason, "inbound"}, to
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


def alpha_may(**settings: object) -> str:
    """The ruleset with other settings of alpha."""
    return rules(agents={**POLICY["agents"], "alpha": {**POLICY["agents"]["alpha"], **settings}})


ANYWHERE = [
    {"to": to, **what}
    for to in ("0.0.0.0/0", "::/0")
    for what in (
        {"ports": ["1-65535"]},
        {"protocol": "udp", "ports": ["1-65535"]},
        {"protocol": "icmp"},
    )
]


def ask(place: World, sender: str, op: str, to: str, port: int, **more: object) -> str:
    """What a sender is told."""
    return place.places[sender].ask(op=op, to=to, port=port, token=uuid.uuid4().hex, seconds=SECONDS, **more)


def arrives(place: World, sender: str, receiver: str, to: str, port: int, **more: object) -> bool:
    """Whether a UDP packet made by hand arrives."""
    token = uuid.uuid4().hex
    place.places[sender].ask(op="raw", to=to, port=port, token=token, **more)
    for _ in range(6):
        place.sh("host", "sleep 0.05")
        if place.places[receiver].ask(op="count", token=token) != "0":
            return True
    return False


def test_a_range_of_everything_holds_nothing_that_is_denied(place: World) -> None:
    """Whoever may go anywhere goes to public addresses only, and to no neighbour by its published port."""
    denied = [flow for flow in DENIED_TO_AGENTS if flow.sender == "alpha" and _goes_nowhere(flow.request["to"])]
    assert len(denied) > 80
    place.load(alpha_may(allow=ANYWHERE))
    try:
        for op, to in (("tcp", "203.0.113.66"), ("icmp", "203.0.113.66"), ("udp", "2001:db8:1::66")):
            assert ask(place, "alpha", op, to, 443) == "passed", to
        assert [flow.name for flow in denied if outcome(place.places, place.mac, flow, SECONDS / 5) == "passed"] == []
    finally:
        place.unload()


def _goes_nowhere(to: str) -> bool:
    """Whether a destination is not public, or is the host or behind it."""
    return not to.startswith(("203.0.113.", "198.51.100.", "2001:db8:1:", "2001:db8:2:"))


def test_what_was_open_to_the_denied_ends_though_everything_is_allowed(place: World) -> None:
    """The denied ranges hold for flows that are open, too."""
    alpha = place.places["alpha"]
    names = ("169.254.169.254", "fd00:ec2::254", "10.66.0.5", "fd66::5")
    for name in names:
        held = alpha.ask(op="hold", kind="tcp", name=name, to=name, port=80, token=name, seconds=SECONDS)
        assert held == "passed"
    place.load(alpha_may(allow=ANYWHERE))
    try:
        for name in names:
            assert alpha.ask(op="use", name=name, token=name, seconds=SECONDS) in ("refused", "silent"), name
    finally:
        place.unload()


@pytest.mark.parametrize(
    ("sender", "to"),
    [("alpha", "203.0.113.10"), ("alpha", "2001:db8:1::10"), ("host", "203.0.113.80"), ("host", "2001:db8:1::10")],
)
def test_errors_come_back(place: World, sender: str, to: str) -> None:
    """An ICMP error about what is allowed arrives, as path MTU discovery needs; here: a port where nobody listens."""
    closed = [{"to": to, "protocol": "udp", "ports": [4434]}]
    place.load(alpha_may(allow=closed) if sender == "alpha" else rules(host=closed))
    try:
        assert ask(place, sender, "udp", to, 4434) == "refused"
    finally:
        place.unload()


def test_an_agent_stops_answering(place: World) -> None:
    """What came in past the engine before goes on in neither direction; not even on a port that is published."""
    beta = {**POLICY["agents"]["beta"], "published": [{"port": 9000, "protocol": "udp"}]}
    guarded = rules(agents={**POLICY["agents"], "beta": beta})
    for asker, its in (("198.51.100.9", "172.30.2.2"), ("2001:db8:3::1", "fd42:2::2")):
        ways = (
            ("world", "beta", its, 9000, {"source": asker, "sport": 9000}),
            ("beta", "world", asker, 9000, {"source": its, "sport": 9000}),
        )
        for sender, receiver, to, port, more in ways:
            assert arrives(place, sender, receiver, to, port, **more)
        place.load(guarded)
        try:
            for sender, receiver, to, port, more in ways:
                assert not arrives(place, sender, receiver, to, port, **more), (sender, to)
        finally:
            place.unload()


def test_nobody_goes_on_answering_an_agent(place: World) -> None:
    """What an agent asked before and may not ask now is not answered either."""
    asks = {"source": "172.30.1.2", "sport": 9000}
    answers = {"source": "203.0.113.66", "sport": 4433}
    assert arrives(place, "alpha", "world", "203.0.113.66", 4433, **asks)
    assert arrives(place, "world", "alpha", "192.0.2.2", 9000, **answers)
    place.load(rules())
    try:
        assert not arrives(place, "alpha", "world", "203.0.113.66", 4433, **asks)
        assert not arrives(place, "world", "alpha", "192.0.2.2", 9000, **answers)
    finally:
        place.unload()


def test_the_host_s_own_uses_of_an_agent_are_for_root(place: World) -> None:
    """Health checks are the engine's, which runs as root."""
    place.load(rules())
    try:
        assert ask(place, "host", "tcp", "172.30.2.2", 8080) == "passed"
        assert ask(place, "host", "tcp", "172.30.2.2", 8080, uid=1000) in ("refused", "silent")
    finally:
        place.unload()


@pytest.mark.parametrize(
    ("to", "sport", "port", "passes"),
    [
        ("203.0.113.66", 68, 67, True),
        ("203.0.113.66", 40000, 67, False),
        ("fe80::9", 546, 547, True),
        ("2001:db8:1::66", 546, 547, False),
        ("fe80::9", 40000, 547, False),
    ],
)
def test_the_host_asks_for_its_address(place: World, to: str, sport: int, port: int, passes: bool) -> None:
    """DHCP from its own port alone, and DHCPv6 on the link alone. What passes is not counted as denied."""
    place.load(rules())
    sends = (
        f"import socket; s = socket.socket(socket.AF_INET6 if ':' in '{to}' else socket.AF_INET, socket.SOCK_DGRAM);"
        f"s.bind(('', {sport})); s.sendto(b'x', ('{to}', {port}, 0, socket.if_nametoindex('wan0')) if ':' in '{to}'"
        f" else ('{to}', {port}))"
    )
    try:
        place.sh("host", f'{sys.executable} -c "{sends}" 2>/dev/null || :')
        listed = place.sh("host", "nft list counter inet bulkhead outbound")
        assert ("packets 0 " in listed) == passes
    finally:
        place.unload()


@contextmanager
def watched(place: World, where: str, rule: str) -> Iterator[Callable[[], bool]]:
    """Whether packets that match a rule have come to a namespace since."""
    place.sh(
        where,
        "nft -f - <<'END'\ntable inet watched {\n chain in {\n  type filter hook input priority 0;\n"
        f"  {rule} counter\n }}\n}}\nEND",
    )
    try:
        yield (
            lambda: "packets 0 " not in place.sh("host", "sleep 0.05") + place.sh(where, "nft list table inet watched")
        )
    finally:
        place.sh(where, "nft delete table inet watched")


@pytest.mark.parametrize(("kind", "passes"), [(8, True), (13, False), (17, False), (3, False)])
def test_only_echo_requests_are_pings(place: World, kind: int, passes: bool) -> None:
    """Where pings are allowed, another ICMP message is not, such as a timestamp request (RFC 792)."""
    program = (
        "import socket, struct; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1);"
        f"s.sendto(struct.pack('!BBHHH12x', {kind}, 0, 0xffff - {kind} * 256 - 1 - 1, 1, 1), ('203.0.113.10', 0))"
    )
    with watched(place, "world", f"icmp type {kind} ip saddr 192.0.2.2") as came:
        if kind != 3:
            place.sh("alpha", f'{sys.executable} -c "{program}"')
            assert came()
    place.load(rules())
    try:
        with watched(place, "world", f"icmp type {kind} ip saddr 192.0.2.2") as came:
            place.sh("alpha", f'{sys.executable} -c "{program}" 2>/dev/null || :')
            assert came() == passes
    finally:
        place.unload()


def test_what_the_kernel_begins_by_itself_is_denied(place: World) -> None:
    """It belongs to no user. Here: the report that a group of listeners has a member (IGMP, RFC 3376)."""
    place.load(rules())
    program = (
        "import socket, struct, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "s.setsockopt(0, socket.IP_ADD_MEMBERSHIP, socket.inet_aton('239.1.2.3') + socket.inet_aton('192.0.2.2'));"
        "time.sleep(0.3)"
    )
    try:
        with watched(place, "world", "meta l4proto igmp") as came:
            place.sh("host", f'{sys.executable} -c "{program}"')
            assert not came()
        assert "packets 0 " not in place.sh("host", "nft list counter inet bulkhead outbound")
    finally:
        place.unload()


@pytest.mark.parametrize("to", ["169.254.169.254", "100.100.100.200", "fd00:ec2::254"])
def test_a_wide_destination_of_the_host_holds_no_metadata(place: World, to: str) -> None:
    """A user that may go anywhere gets no credentials of the machine."""
    ask(place, "host", "tcp", "203.0.113.66", 443)
    host = [{"to": wide, "ports": [80], "user": 1001} for wide in ("0.0.0.0/0", "::/0")]
    place.load(rules(host=host))
    try:
        assert ask(place, "host", "tcp", to, 80, uid=1001) in ("refused", "silent")
    finally:
        place.unload()


@pytest.mark.parametrize("to", ["127.0.0.1", "192.0.2.2", "172.30.1.1", "169.254.170.23", "::1", "2001:db8::2"])
def test_the_proxy_reaches_nothing_of_its_own_host(place: World, to: str) -> None:
    """A name that resolves to an address of the host itself goes by the loopback interface."""
    place.load(alpha_may(names={"api.example.com": [80, 2375]}))
    try:
        for port in (80, 2375):
            assert ask(place, "host", "tcp", to, port, uid=13) in ("refused", "silent")
    finally:
        place.unload()


def test_the_proxy_reaches_no_agent(place: World) -> None:
    """An agent's network may be public, which a name of another agent may resolve to."""
    place.sh("host", "ip address add 2001:db8:42::1/64 dev bh-beta nodad")
    place.sh("beta", "ip address add 2001:db8:42::2/64 dev eth0 nodad")
    agents = {
        "alpha": {**POLICY["agents"]["alpha"], "names": {"api.example.com": [9000]}},
        "beta": {**POLICY["agents"]["beta"], "subnet6": "2001:db8:42::/64"},
    }
    place.load(rules(agents=agents))
    try:
        assert ask(place, "host", "tcp", "2001:db8:42::2", 9000, uid=13) in ("refused", "silent")
    finally:
        place.unload()
        place.sh("host", "ip address delete 2001:db8:42::1/64 dev bh-beta")
        place.sh("beta", "ip address delete 2001:db8:42::2/64 dev eth0")


ELSEWHERE = """table ip elsewhere {{
 chain pre {{
  type nat hook prerouting priority dstnat - 1;
  ip daddr {} tcp dport {} dnat to {}
 }}
}}
"""


@pytest.mark.parametrize("to", ["172.17.0.2:9000", "10.66.0.5:9000"])
def test_what_is_published_leads_into_no_denied_range(place: World, to: str) -> None:
    """A port of the host that the engine leads to a private address, such as a container that is no agent."""
    place.load(alpha_may(allow=ANYWHERE) + ELSEWHERE.format("192.0.2.2", 9000, to))
    try:
        assert ask(place, "alpha", "tcp", "192.0.2.2", 9000) in ("refused", "silent")
    finally:
        place.unload()
        place.load("delete table ip elsewhere")


def test_an_exception_for_pings(place: World) -> None:
    """What is carved out for echo requests passes."""
    place.load(alpha_may(allow=[{"to": "10.9.0.0/24", "protocol": "icmp", "carve_out": "watches the database"}]))
    try:
        assert ask(place, "alpha", "icmp", "10.9.0.5", 0) == "passed"
    finally:
        place.unload()


def test_task_roles_of_ecs(place: World) -> None:
    """The ECS agent listens on the host itself, whereto DNAT leads its address."""
    beta = {**POLICY["agents"]["beta"], "metadata": {"aws-ecs-tasks": "its task's role"}}
    place.load(rules(agents={**POLICY["agents"], "beta": beta}))
    place.load(ELSEWHERE.format("169.254.170.2", 80, "172.30.2.1:9000"))
    try:
        assert ask(place, "beta", "tcp", "169.254.170.2", 80) == "passed"
    finally:
        place.unload()
        place.load("delete table ip elsewhere")


ERROR = """
import os, socket, struct
import sys
sys.path.insert(0, {tests!r})
from prober import checksum, udp_packet
inner = udp_packet(dict(to="172.30.1.2", source="203.0.113.66", port=40000, sport=4433, token={token!r}))
head = struct.pack("!BBHI", 3, 3, 0, 0)
message = struct.pack("!BBHI", 3, 3, checksum(head + inner), 0) + inner
socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).sendto(message, ("203.0.113.66", 0))
"""


def test_no_error_message_carries_anything_out(place: World) -> None:
    """An ICMP error about a flow from before holds as much text as one likes."""
    assert arrives(place, "alpha", "world", "203.0.113.66", 4433, source="172.30.1.2", sport=40000)
    program = ERROR.format(tests=str(Path(prober.__file__).parent), token="secret" * 20)
    place.load(rules())
    try:
        with watched(place, "world", "icmp type destination-unreachable ip saddr 192.0.2.2") as came:
            place.sh("alpha", f"{sys.executable} - <<'END'\n{program}\nEND")
            assert not came()
    finally:
        place.unload()


ABOUT_ANOTHER = """
import socket, struct
import sys
sys.path.insert(0, {tests!r})
from prober import checksum, udp_packet
inner = udp_packet(dict(to={resolver!r}, source={host!r}, port=53, sport={sport}, token="x"))
if ":" in {host!r}:
    kinds, protocol, message = socket.AF_INET6, 58, struct.pack("!BBHI", 1, 4, 0, 0) + inner
else:
    head = struct.pack("!BBHI", 3, 3, 0, 0)
    kinds, protocol, message = socket.AF_INET, 1, struct.pack("!BBHI", 3, 3, checksum(head + inner), 0) + inner
socket.socket(kinds, socket.SOCK_RAW, protocol).sendto(message, ({host!r}, 0))
"""


@pytest.mark.parametrize(("host", "resolver"), [("192.0.2.2", "198.51.100.53"), ("2001:db8::2", "2001:db8:2::53")])
def test_no_agent_ends_what_the_host_has_with_others(place: World, host: str, resolver: str) -> None:
    """An ICMP error of an agent's about the host's question to its name server."""
    for guarded, sport in ((False, 45454), (True, 45455)):
        name = uuid.uuid4().hex
        if guarded:
            place.load(rules())
        try:
            asked: dict[str, Any] = {"kind": "udp", "to": resolver, "port": 53, "bind": host, "sport": sport}
            opened = place.places["host"].ask(op="hold", name=name, token=name, seconds=SECONDS, **asked)
            assert opened == "passed"
            tests = str(Path(prober.__file__).parent)
            program = ABOUT_ANOTHER.format(tests=tests, host=host, resolver=resolver, sport=sport)
            place.sh("alpha", f"{sys.executable} - <<'END'\n{program}\nEND")
            place.sh("host", "sleep 0.2")
            said = place.places["host"].ask(op="use", name=name, token=name, seconds=SECONDS)
            assert said == ("passed" if guarded else "refused")
        finally:
            if guarded:
                place.unload()


def test_no_agent_answers_its_neighbour_any_more(place: World) -> None:
    """What one agent sent another before is no way back for the other."""
    asks, answers = {"source": "172.30.2.2", "sport": 9000}, {"source": "172.30.1.2", "sport": 9000}
    assert arrives(place, "beta", "alpha", "172.30.1.2", 9000, **asks)
    beta = {**POLICY["agents"]["beta"], "allow": ANYWHERE[:3]}
    place.load(rules(agents={**POLICY["agents"], "beta": beta}))
    try:
        assert not arrives(place, "alpha", "beta", "172.30.2.2", 9000, **answers)
    finally:
        place.unload()


def test_the_gateway_s_address_is_the_host_s(place: World) -> None:
    """No agent sends as its own gateway; for IPv4 the kernel refuses that by itself."""
    place.load(rules())
    try:
        assert not arrives(place, "alpha", "world", "2001:db8:1::10", 4433, source="fd42:1::1")
    finally:
        place.unload()
