"""The sets of the ruleset: none overlaps, none says more or less than the settings, and nft takes them all."""

from __future__ import annotations

import itertools
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead.inventory import InventoryHost
from deploys.egress import policy as module
from deploys.egress.policy import Policy, Rule, disjoint
from deploys.egress.ranges import DENIED, METADATA, Network, within
from deploys.egress.ruleset import ruleset
from deploys.egress.settings import of
from tests.unit.egress.namespaces import check, needs_nft


def host(**egress: Any) -> InventoryHost:
    """A legacy host with this policy."""
    return InventoryHost(
        "old",
        frozenset({"legacy_hosts"}),
        {"engines": ["docker"], "egress": {"management": ["192.0.2.0/24"], **egress}},
    )


def made(**egress: Any) -> Policy:
    return module.policy(of(host(**egress)))


# Sixteen addresses and eight ports: small enough to look at each of them.
FIRST = {4: int(ip_address("203.0.113.0")), 6: int(ip_address("2001:db8::"))}


@st.composite
def small_rules(draw: st.DrawFn, version: int) -> Rule[str]:
    length = draw(st.integers(0, 4))
    bits = {4: 32, 6: 128}[version]
    size = 1 << (4 - length)
    start = FIRST[version] + draw(st.integers(0, (1 << length) - 1)) * size
    network: Network = ip_network(f"{ip_address(start)}/{bits - 4 + length}")
    first, last = sorted(draw(st.tuples(st.integers(1, 8), st.integers(1, 8))))
    return Rule(network, (first, last), draw(st.sampled_from("ab")))


def members(rules: list[Rule[str]], version: int) -> set[tuple[int, int, str]]:
    """Each address, port and key that a rule of this version holds."""
    return {
        (int(address), port, rule.key)
        for rule in rules
        if rule.network.version == version
        for address in rule.network
        for port in range(rule.ports[0], rule.ports[1] + 1)
    }


@settings(max_examples=300)
@given(rules=st.lists(st.one_of(small_rules(4), small_rules(6)), max_size=8), version=st.sampled_from((4, 6)))
def test_disjoint_says_the_same_without_an_overlap(rules: list[Rule[str]], version: int) -> None:
    result = disjoint(rules, version)
    assert members(result, version) == members(rules, version)
    assert {rule.network.version for rule in result} <= {version}
    for one, other in itertools.combinations(result, 2):
        if one.key == other.key and one.network.overlaps(other.network):
            assert one.ports[1] < other.ports[0] or other.ports[1] < one.ports[0]


@given(rules=st.lists(small_rules(4), max_size=8), data=st.data())
def test_disjoint_does_not_depend_on_the_order(rules: list[Rule[str]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rules))
    assert set(disjoint(shuffled, 4)) == set(disjoint(rules, 4))
    assert disjoint(disjoint(rules, 4), 4) == disjoint(rules, 4)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], []),
        ([("203.0.113.1", 443, 443)], [("203.0.113.1/32", 443, 443)]),
        ([("203.0.113.1", 443, 443), ("203.0.113.1", 443, 443)], [("203.0.113.1/32", 443, 443)]),
        ([("203.0.113.1", 1, 4), ("203.0.113.1", 5, 9)], [("203.0.113.1/32", 1, 9)]),
        ([("203.0.113.1", 1, 4), ("203.0.113.1", 6, 9)], [("203.0.113.1/32", 1, 4), ("203.0.113.1/32", 6, 9)]),
        ([("203.0.113.0", 1, 9), ("203.0.113.1", 1, 9)], [("203.0.113.0/31", 1, 9)]),
        (
            [("203.0.113.0/24", 443, 443), ("203.0.113.1", 400, 500)],
            [("203.0.113.0/24", 443, 443), ("203.0.113.1/32", 400, 442), ("203.0.113.1/32", 444, 500)],
        ),
        (
            # One ends where another of the same address begins, and a third lies across.
            [("203.0.113.1", 1, 4), ("203.0.113.1", 4, 9), ("203.0.113.1", 3, 5), ("203.0.113.2", 5, 5)],
            [("203.0.113.1/32", 1, 9), ("203.0.113.2/32", 5, 5)],
        ),
        (
            # Two halves that are one on the ports that both have.
            [("203.0.113.0/25", 1, 5), ("203.0.113.128/25", 4, 9)],
            [("203.0.113.0/24", 4, 5), ("203.0.113.0/25", 1, 3), ("203.0.113.128/25", 6, 9)],
        ),
        ([("203.0.113.1", 65535, 65535), ("203.0.113.1", 1, 65535)], [("203.0.113.1/32", 1, 65535)]),
    ],
)
def test_disjoint_by_hand(rules: list[tuple[str, int, int]], expected: list[tuple[str, int, int]]) -> None:
    result = disjoint([Rule(ip_network(to), (first, last), "a") for to, first, last in rules], 4)
    assert [(str(rule.network), *rule.ports) for rule in result] == expected


class Ports(tuple[int, int]):
    """Ports that know how often anybody looked at them."""

    looks = 0

    def __getitem__(self, index: Any) -> Any:
        Ports.looks += 1
        return super().__getitem__(index)


def test_disjoint_looks_at_a_rule_only_where_its_ports_are() -> None:
    """Two thousand destinations of a port each: what is done for one of them is not done for each of the others."""
    first = int(ip_address("203.0.0.0"))
    rules = [
        Rule[str](ip_network(first + number), Ports((port, port)), "a") for number, port in enumerate(range(1, 2001))
    ]
    Ports.looks = 0
    result = disjoint(rules, 4)
    assert 2 * len(rules) <= Ports.looks <= 10 * len(rules)
    assert set(result) == set(rules)


def test_protocols_without_ports() -> None:
    found = made(
        host=[
            {"to": "203.0.113.0/25", "protocol": "esp"},
            {"to": "203.0.113.128/25", "protocol": "esp"},
            {"to": "224.0.0.18", "protocol": "vrrp"},
            {"to": "2001:db8::/32", "protocol": "gre"},
        ],
        services=[{"protocol": "vrrp", "sources": ["198.51.100.9", "2001:db8:3::/64"]}],
    )
    assert found.v4.outbound_bare == ["203.0.113.0/24 . 50", "224.0.0.18 . 112"]
    assert found.v6.outbound_bare == ["2001:db8::/32 . 47"]
    assert found.v4.inbound_bare == ["198.51.100.9 . 112"]
    assert found.v6.inbound_bare == ["2001:db8:3::/64 . 112"]
    assert found.v4.outbound == found.v4.kernel == []


def test_the_sets_of_an_example() -> None:
    found = made(
        management=["198.51.100.0/25", "198.51.100.128/25", "198.51.100.7", "2001:db8:3::/64"],
        management_ports=[22, 2222],
        services=[{"port": 9100, "sources": ["198.51.100.9"]}, {"port": 51820, "protocol": "udp", "sources": ["::/0"]}],
        resolvers=["198.51.100.53", "2001:db8:2::53"],
        time_servers=["198.51.100.123"],
        host=[
            {"to": "203.0.113.80", "ports": [80, 443]},
            {"to": "203.0.113.80", "ports": [443], "user": 42},
            {"to": "203.0.113.0/24", "protocol": "icmp", "user": 7},
        ],
        metadata=["aws", "azure-wire-server"],
        agents={
            "beta": {
                "subnet4": "172.30.2.0/24",
                "published": [
                    {"port": 8080, "sources": ["198.51.100.0/24", "2001:db8:3::/64"]},
                    {"port": 53, "protocol": "udp"},
                ],
                "metadata": {"eks-pod-identity": "signs its uploads"},
            },
            "alpha": {
                "subnet4": "172.30.1.0/24",
                "subnet6": "fd42:1::/64",
                "allow": [
                    {"to": "203.0.113.10", "ports": [443, "8000-8100", 8050]},
                    {"to": "203.0.113.0/28", "ports": [443]},
                    {"to": "203.0.113.10", "protocol": "icmp"},
                    {"to": "2001:db8:1::10", "protocol": "udp", "ports": [4433]},
                    {"to": "10.9.0.0/24", "ports": [5432], "carve_out": "the database"},
                ],
                "names": {"api.example.com": [443], "b.example.com": [8443, 443]},
            },
        },
    )
    assert found.interfaces == ["bh-alpha", "bh-beta"]
    assert found.same == ['"bh-alpha" . "bh-alpha"', '"bh-beta" . "bh-beta"']
    assert found.proxy_ports == [443, 8443]
    assert found.published_ports == ['"bh-beta" . tcp . 8080', '"bh-beta" . udp . 53']
    four, six = found.v4, found.v6
    assert four.subnets == ['172.30.1.0/24 . "bh-alpha"', '172.30.2.0/24 . "bh-beta"']
    assert six.subnets == ['fd42:1::/64 . "bh-alpha"']
    assert four.gateways == ['169.254.170.23 . "bh-beta" . tcp . 80', '172.30.1.1 . "bh-alpha" . tcp . 3128']
    # A grant holds the IPv6 address of its endpoint too, which an agent without IPv6 has no source for.
    assert six.gateways == ['fd00:ec2::23 . "bh-beta" . tcp . 80', 'fd42:1::1 . "bh-alpha" . tcp . 3128']
    assert four.carved == ['10.9.0.0/24 . "bh-alpha" . tcp . 5432', '169.254.170.23 . "bh-beta" . tcp . 80']
    assert six.carved == ['fd00:ec2::23 . "bh-beta" . tcp . 80']
    assert four.allowed == [
        '10.9.0.0/24 . "bh-alpha" . tcp . 5432',
        '169.254.170.23 . "bh-beta" . tcp . 80',
        '203.0.113.0/28 . "bh-alpha" . tcp . 443',
        '203.0.113.10 . "bh-alpha" . tcp . 8000-8100',
    ]
    assert six.allowed == ['2001:db8:1::10 . "bh-alpha" . udp . 4433', 'fd00:ec2::23 . "bh-beta" . tcp . 80']
    assert (four.pinged, six.pinged) == (['203.0.113.10 . "bh-alpha"'], [])
    assert four.published == ['0.0.0.0/0 . "bh-beta" . udp . 53', '198.51.100.0/24 . "bh-beta" . tcp . 8080']
    assert six.published == ['::/0 . "bh-beta" . udp . 53', '2001:db8:3::/64 . "bh-beta" . tcp . 8080']
    assert four.management == ["198.51.100.0/24"]
    assert six.management == ["2001:db8:3::/64"]
    assert four.inbound == [
        "198.51.100.0/24 . tcp . 22",
        "198.51.100.0/24 . tcp . 2222",
        "198.51.100.9 . tcp . 9100",
    ]
    assert six.inbound == ["::/0 . udp . 51820", "2001:db8:3::/64 . tcp . 22", "2001:db8:3::/64 . tcp . 2222"]
    assert four.shared == ["198.51.100.53 . tcp . 53", "198.51.100.53 . udp . 53", "198.51.100.123 . udp . 123"]
    assert six.shared == ["2001:db8:2::53 . tcp . 53", "2001:db8:2::53 . udp . 53"]
    assert sorted(four.outbound) == [
        "203.0.113.80 . tcp . 443 . 0",
        "203.0.113.80 . tcp . 443 . 42",
        "203.0.113.80 . tcp . 80 . 0",
    ]
    assert six.outbound == []
    assert sorted(four.endpoints) == [
        "168.63.129.16 . tcp . 32526",
        "168.63.129.16 . tcp . 53",
        "168.63.129.16 . tcp . 80",
        "168.63.129.16 . udp . 53",
        "169.254.169.254 . tcp . 80",
    ]
    assert six.endpoints == ["fd00:ec2::254 . tcp . 80"]
    assert (four.outbound_pinged, six.outbound_pinged) == (["203.0.113.0/24 . 7"], [])
    assert four.denied == [
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"),
    ]
    assert four.metadata == [
        *("100.100.100.200", "168.63.129.16", "169.254.0.23", "169.254.42.42", "169.254.169.254", "169.254.170.2"),
        "169.254.170.23",
    ]


def test_a_host_without_agents() -> None:
    found = made()
    assert (found.interfaces, found.same, found.proxy_ports, found.published_ports) == ([], [], [], [])
    assert (found.v4.subnets, found.v4.allowed, found.v4.gateways) == ([], [], [])
    assert found.v4.inbound == ["192.0.2.0/24 . tcp . 22"]
    assert found.v6.inbound == []


def test_every_metadata_endpoint_is_denied() -> None:
    for metadata in METADATA.values():
        for endpoint in metadata.endpoints:
            assert within(endpoint.address, DENIED), endpoint


@pytest.mark.parametrize("version", [4, 6])
def test_no_two_denied_ranges_overlap(version: int) -> None:
    ranges = [network for network in DENIED if network.version == version]
    assert not [pair for pair in itertools.combinations(ranges, 2) if pair[0].overlaps(pair[1])]


PORTS = st.one_of(
    st.integers(1, 65535),
    st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(lambda ends: f"{min(ends)}-{max(ends)}"),
    st.sampled_from([443, "1-65535", "400-500", "443-8443"]),
)
# Wide and narrow ranges that hold one another, so that most of them overlap.
TO4 = st.one_of(
    st.sampled_from(["0.0.0.0/0", "203.0.113.0/24", "203.0.113.10", "203.0.112.0/23", "128.0.0.0/1", "8.8.8.8"]),
    st.integers(0, 255).map(lambda last: f"203.0.113.{last}"),
)
TO6 = st.sampled_from(["::/0", "2001:db8::/32", "2001:db8::/64", "2001:db8::10", "2600::/12"])
CARVED = st.sampled_from(["10.9.0.0/24", "10.9.0.7", "10.0.0.0/8", "192.168.0.0/16", "172.16.5.0/24"])
DESTINATIONS4 = st.fixed_dictionaries(
    {"to": TO4, "protocol": st.sampled_from(["tcp", "udp"]), "ports": st.lists(PORTS, min_size=1, max_size=3)}
)
DESTINATIONS6 = st.fixed_dictionaries(
    {"to": TO6, "protocol": st.sampled_from(["tcp", "udp"]), "ports": st.lists(PORTS, min_size=1, max_size=3)}
)
PINGS = st.fixed_dictionaries({"to": TO4, "protocol": st.just("icmp")})
EXCEPTIONS = st.fixed_dictionaries(
    {"to": CARVED, "carve_out": st.just("why"), "ports": st.lists(PORTS, min_size=1, max_size=2)}
)
SOURCES = st.lists(st.one_of(TO4, TO6), min_size=1, max_size=4)
PORT = st.integers(1, 65535)


@st.composite
def agents(draw: st.DrawFn, number: int) -> dict[str, Any]:
    six = draw(st.booleans())
    destinations = [DESTINATIONS4, PINGS, EXCEPTIONS, *([DESTINATIONS6] if six else [])]
    return {
        "subnet4": f"172.30.{number}.0/24",
        **({"subnet6": f"fd42:{number}::/64"} if six else {}),
        "allow": draw(st.lists(st.one_of(destinations), max_size=6)),
        "names": draw(
            st.dictionaries(
                st.sampled_from(["api.example.com", ".example.org"]), st.lists(PORT, min_size=1, max_size=3)
            )
        ),
        "published": draw(
            st.lists(
                st.fixed_dictionaries({"port": PORT, "protocol": st.sampled_from(["tcp", "udp"]), "sources": SOURCES}),
                max_size=3,
            )
        ),
        "metadata": draw(st.dictionaries(st.sampled_from(["eks-pod-identity", "aws-ecs-tasks"]), st.just("needs it"))),
    }


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(["alpha", "beta", "a" * 12]), unique=True))
    users = st.sampled_from([0, 42, 1000, 2**32 - 2])
    return {
        "management": draw(SOURCES),
        "management_ports": draw(st.lists(PORT, min_size=1, max_size=3)),
        "services": draw(st.lists(st.fixed_dictionaries({"port": PORT, "sources": SOURCES}), max_size=3)),
        "resolvers": draw(st.lists(st.one_of(TO4, TO6), max_size=3)),
        "time_servers": draw(st.lists(st.one_of(TO4, TO6), max_size=3)),
        "host": [
            {**one, "user": draw(users)}
            for one in draw(st.lists(st.one_of(DESTINATIONS4, DESTINATIONS6, PINGS), max_size=5))
        ],
        "metadata": draw(st.lists(st.sampled_from(list(METADATA)), max_size=4)),
        "agents": {name: draw(agents(number)) for number, name in enumerate(names)},
    }


@needs_nft
@settings(max_examples=60)
@given(policies())
def test_nft_takes_every_policy(egress: dict[str, Any]) -> None:
    assert check(ruleset(host(**egress))) == ""


AGENT = {"subnet4": "172.30.1.0/24", "subnet6": "fd42:1::/64"}


@needs_nft
@pytest.mark.parametrize(
    "egress",
    [
        pytest.param({}, id="no agents"),
        pytest.param({"agents": {"x": {"subnet4": "172.30.1.0/24"}}}, id="an agent that may reach nothing"),
        pytest.param({"management": ["2001:db8::1"]}, id="managed over IPv6 alone"),
        pytest.param(
            {"management": ["0.0.0.0/0", "::/0"], "services": [{"port": 22, "sources": ["0.0.0.0/0"]}]},
            id="managed from everywhere, and the same port as a service",
        ),
        pytest.param(
            {"agents": {"x": {**AGENT, "allow": [{"to": "0.0.0.0/0", "ports": ["1-65535", 443, "1-1024"]}]}}},
            id="ports that overlap",
        ),
        pytest.param(
            {
                "agents": {
                    "x": {
                        **AGENT,
                        "allow": [
                            {"to": "203.0.113.0/24", "ports": ["400-500"]},
                            {"to": "203.0.113.10", "ports": ["450-600"]},
                            {"to": "0.0.0.0/0", "ports": [443]},
                        ],
                    }
                }
            },
            id="destinations that overlap",
        ),
        pytest.param(
            {"resolvers": ["168.63.129.16"], "metadata": ["azure", "aws", "azure-wire-server", "google"]},
            id="metadata of several clouds at one address",
        ),
    ],
)
def test_nft_takes(egress: dict[str, Any]) -> None:
    assert check(ruleset(host(**egress))) == ""


@needs_nft
def test_nft_takes_two_thousand_destinations() -> None:
    allow = [
        {"to": f"203.{number // 250}.{number % 250}.0/{24 + number % 9}", "ports": [443, 1000 + number % 50]}
        for number in range(2000)
    ]
    found = made(agents={"x": {**AGENT, "allow": allow}})
    assert len(found.v4.allowed) == 4000
    assert check(ruleset(host(agents={"x": {**AGENT, "allow": allow}}))) == ""
