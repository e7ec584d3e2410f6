"""The egress policy in the inventory: what is wrong is named with its place before anything connects."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from bulkhead.capability import check_inventory
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from deploys.egress import settings
from deploys.egress.ranges import BARE
from tests.unit.helpers import gvisor_host

KNOWN_METADATA = (
    "alibaba, aws, aws-ecs-tasks, azure, azure-wire-server, eks-pod-identity, google, openstack, oracle, scaleway, "
    "tencent"
)


def legacy(name: str = "old", **egress: Any) -> InventoryHost:
    """A legacy host with this policy; the management source is there unless it is said."""
    return InventoryHost(
        name, frozenset({"legacy_hosts"}), {"engines": ["docker"], "egress": {"management": ["192.0.2.0/24"], **egress}}
    )


def refused(host: InventoryHost) -> list[str]:
    """What is said of a host, which must be the same before a run and on reading the host alone."""
    with pytest.raises(BulkheadError) as alone:
        settings.of(host)
    with pytest.raises(BulkheadError) as before:
        check_inventory([host])
    assert before.value.message == alone.value.message
    return alone.value.message.splitlines()


def agent(**values: Any) -> InventoryHost:
    """A host with one agent `x`."""
    return legacy(agents={"x": {"subnet4": "172.30.1.0/24", **values}})


def allowing(**destination: Any) -> InventoryHost:
    """A host whose agent `x` may reach one destination, TCP port 443 unless something else is said."""
    return agent(allow=[{"ports": [443], **destination}])


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("203.0.113.300", "'203.0.113.300' is not an address or a CIDR range"),
        ("203.0.113.0/33", "'203.0.113.0/33' is not an address or a CIDR range"),
        ("203.0.113.0/x", "'203.0.113.0/x' is not an address or a CIDR range"),
        ("203.0.113", "'203.0.113' is not an address or a CIDR range"),
        ("2001:db8::/129", "'2001:db8::/129' is not an address or a CIDR range"),
        ("2001:db8:::1", "'2001:db8:::1' is not an address or a CIDR range"),
        ("api.example.com", "'api.example.com' is not an address or a CIDR range"),
        ("203.0.113.1 ", "'203.0.113.1 ' is not an address or a CIDR range"),
        ("203.0.113.1\n", r"'203.0.113.1\n' is not an address or a CIDR range"),
        ("203.0.113.1-203.0.113.9", "'203.0.113.1-203.0.113.9' is not an address or a CIDR range"),
        ("", "'' is not an address or a CIDR range"),
        (5, "5 is not an address or a CIDR range"),
        (None, "None is not an address or a CIDR range"),
        (True, "True is not an address or a CIDR range"),
        ("203.0.113.7/24", "'203.0.113.7/24' has bits set behind its prefix (did you mean 203.0.113.0/24?)"),
        ("2001:db8::7/64", "'2001:db8::7/64' has bits set behind its prefix (did you mean 2001:db8::/64?)"),
    ],
)
def test_a_range_that_is_none(value: object, why: str) -> None:
    assert refused(legacy(management=[value])) == [f"old: egress.management.0: {why}"]
    assert refused(legacy(resolvers=["198.51.100.53", value])) == [f"old: egress.resolvers.1: {why}"]
    assert refused(legacy(time_servers=[value])) == [f"old: egress.time_servers.0: {why}"]
    assert refused(legacy(host=[{"to": value, "ports": [443]}])) == [f"old: egress.host.0.to: {why}"]
    assert refused(allowing(to=value)) == [f"old: egress.agents.x.allow.0.to: {why}"]
    assert refused(agent(subnet4=value)) == [f"old: egress.agents.x.subnet4: {why}"]
    published = [{"port": 80, "sources": [value]}]
    assert refused(agent(published=published)) == [f"old: egress.agents.x.published.0.sources.0: {why}"]


@pytest.mark.parametrize(
    "port",
    [
        *(0, -1, 65536, True, False, None, 443.0, [443]),
        *("", "x", "443-", "-443", "443-80", "0-80", "80-65536", "1-2-3", "http", "80,443", "80:443"),
    ],
)
def test_a_port_that_is_none(port: object) -> None:
    why = f"{port!r} is not a port (1 to 65535) or a range such as '8000-8100'"
    assert refused(allowing(to="203.0.113.10", ports=[443, port])) == [f"old: egress.agents.x.allow.0.ports.1: {why}"]
    assert refused(legacy(host=[{"to": "203.0.113.80", "ports": [port]}])) == [f"old: egress.host.0.ports.0: {why}"]


PLAIN_PORTS = [
    (0, "input should be greater than or equal to 1 (found 0)"),
    (65536, "input should be less than or equal to 65535 (found 65536)"),
    (True, "input should be a valid integer (found True)"),
    ("443", "input should be a valid integer (found '443')"),
]


@pytest.mark.parametrize(("port", "why"), PLAIN_PORTS)
def test_a_single_port_that_is_none(port: object, why: str) -> None:
    assert refused(legacy(management_ports=[port])) == [f"old: egress.management_ports.0: {why}"]
    service = {"port": port, "sources": ["192.0.2.9"]}
    assert refused(legacy(services=[service])) == [f"old: egress.services.0.port: {why}"]
    assert refused(agent(published=[{"port": port}])) == [f"old: egress.agents.x.published.0.port: {why}"]
    names = {"api.example.com": [443, port]}
    assert refused(agent(names=names)) == [f"old: egress.agents.x.names.api.example.com.1: {why}"]


NO_NAME = "is not a host name such as 'api.example.com', or '.example.com' for all below it (lower case)"


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "localhost", ".com", "API.example.com", "api.example.com.", "api..example.com", "..example.com"),
        *("-api.example.com", "api-.example.com", "*.example.com", "api.example.com:443", "https://api.example.com"),
        *("api example.com", "bücher.example.com", "2001:db8::1", "a" * 64 + ".example.com"),
        *("a." * 126 + "example", "203.0.113.0/24"),
    ],
)
def test_a_name_that_is_none(name: str) -> None:
    assert refused(agent(names={name: [443]})) == [f"old: egress.agents.x.names.{name}.[key]: {name!r} {NO_NAME}"]


def test_a_name_with_a_line_feed() -> None:
    assert refused(agent(names={"api.example.com\n": [443]}))[-1] == rf".[key]: 'api.example.com\n' {NO_NAME}"


@pytest.mark.parametrize("name", ["203.0.113.10", "127.1", "169.254.169.254", ".0.0.1"])
def test_an_address_as_a_name(name: str) -> None:
    (message,) = refused(agent(names={name: [443]}))
    assert message == f"old: egress.agents.x.names.{name}.[key]: {name!r} is an address: say it under allow"


@pytest.mark.parametrize("name", ["api.example.com", ".example.com", "a.b", "x_y.example.com", "xn--bcher-kva.example"])
def test_names_that_are_right(name: str) -> None:
    assert list(settings.of(agent(names={name: [443, 8443]})).agents["x"].names) == [name]


def two(one: dict[str, Any], other: dict[str, Any]) -> InventoryHost:
    """A host with the agents `beta` and `alpha`."""
    return legacy(agents={"beta": other, "alpha": one})


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (
            {"subnet4": "172.30.1.0/24"},
            {"subnet4": "172.30.1.0/24"},
            "the networks of alpha (172.30.1.0/24) and beta (172.30.1.0/24) overlap",
        ),
        (
            {"subnet4": "172.30.0.0/16"},
            {"subnet4": "172.30.1.0/24"},
            "the networks of alpha (172.30.0.0/16) and beta (172.30.1.0/24) overlap",
        ),
        (
            {"subnet4": "172.30.1.8/29"},
            {"subnet4": "172.30.1.0/24"},
            "the networks of alpha (172.30.1.8/29) and beta (172.30.1.0/24) overlap",
        ),
        (
            {"subnet4": "172.30.1.0/24", "subnet6": "fd42::/48"},
            {"subnet4": "172.30.2.0/24", "subnet6": "fd42:0:0:1::/64"},
            "the networks of alpha (fd42::/48) and beta (fd42:0:0:1::/64) overlap",
        ),
    ],
)
def test_networks_that_overlap(one: dict[str, Any], other: dict[str, Any], why: str) -> None:
    assert refused(two(one, other)) == [f"old: egress: agents: {why}"]


def test_networks_side_by_side_are_right() -> None:
    found = settings.of(
        two(
            {"subnet4": "172.30.1.0/25", "subnet6": "fd42::/65"},
            {"subnet4": "172.30.1.128/25", "subnet6": "fd42:0:0:0:8000::/65"},
        )
    )
    assert found.agents["beta"].gateways == (ip_address("172.30.1.129"), ip_address("fd42:0:0:0:8000::1"))


@pytest.mark.parametrize(
    ("to", "network"),
    [
        ("172.30.2.0/24", "172.30.2.0/24"),
        ("172.30.2.7", "172.30.2.0/24"),
        ("fd42:2::7", "fd42:2::/64"),
    ],
)
def test_the_network_of_another_agent_as_a_destination(to: str, network: str) -> None:
    one = {
        "subnet4": "172.30.1.0/24",
        "subnet6": "fd42:1::/64",
        "allow": [{"to": to, "ports": [443], "carve_out": "they work together"}],
    }
    other = {"subnet4": "172.30.2.0/24", "subnet6": "fd42:2::/64"}
    assert refused(two(one, other)) == [
        f"old: egress: agents.alpha.allow: {to if '/' in to else str(ip_network(to))} lies in {network}, "
        "the network of beta"
    ]


@pytest.mark.parametrize(
    ("to", "own"),
    [
        ("172.30.9.1", "172.30.9.0/24"),
        ("172.30.9.0/25", "172.30.9.0/24"),
        ("fd42:9::1", "fd42:9::/64"),
        ("127.0.0.1", "127.0.0.0/8"),
        ("::1", "::1/128"),
    ],
)
def test_no_agent_is_told_that_it_reaches_the_host(to: str, own: str) -> None:
    """By a setting that would be loaded and have no effect."""
    host = agent(
        subnet4="172.30.9.0/24", subnet6="fd42:9::/64", allow=[{"to": to, "ports": [22], "carve_out": "to manage it"}]
    )
    assert refused(host) == [
        f"old: egress.agents.x: allow: {ip_network(to)} lies in {own}, where the agent itself and this host are: an "
        "agent reaches no service of the host, and all of its own network without being allowed"
    ]


@pytest.mark.parametrize(
    ("to", "shown", "denied"),
    [
        ("10.9.0.0/24", "10.9.0.0/24", "10.0.0.0/8"),
        ("10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/8"),
        ("172.31.255.255", "172.31.255.255/32", "172.16.0.0/12"),
        ("192.168.0.0/17", "192.168.0.0/17", "192.168.0.0/16"),
        ("127.0.0.1", "127.0.0.1/32", "127.0.0.0/8"),
        ("0.0.0.0", "0.0.0.0/32", "0.0.0.0/8"),
        ("100.127.0.0/16", "100.127.0.0/16", "100.64.0.0/10"),
        ("169.254.1.1", "169.254.1.1/32", "169.254.0.0/16"),
        ("192.0.0.192", "192.0.0.192/32", "192.0.0.0/24"),
        ("198.19.0.0/16", "198.19.0.0/16", "198.18.0.0/15"),
        ("224.0.0.251", "224.0.0.251/32", "224.0.0.0/3"),
        ("255.255.255.255", "255.255.255.255/32", "224.0.0.0/3"),
        ("::1", "::1/128", "::/96"),
        ("::ffff:203.0.113.10", "::ffff:203.0.113.10/128", "::ffff:0:0/96"),
        ("64:ff9b::203.0.113.10", "64:ff9b::cb00:710a/128", "64:ff9b::/96"),
        ("64:ff9b:1::/64", "64:ff9b:1::/64", "64:ff9b:1::/48"),
        ("2001::1", "2001::1/128", "2001::/32"),
        ("2002:a00::/24", "2002:a00::/24", "2002::/16"),
        ("fd66::/64", "fd66::/64", "fc00::/7"),
        ("fe80::1", "fe80::1/128", "fe80::/10"),
        ("ff02::fb", "ff02::fb/128", "ff00::/8"),
    ],
)
@pytest.mark.parametrize("reason", [{}, {"carve_out": ""}, {"carve_out": "  \t"}])
def test_a_denied_destination_without_a_reason(to: str, shown: str, denied: str, reason: dict[str, str]) -> None:
    host = agent(subnet6="fd42:1::/64", allow=[{"to": to, "ports": [443], **reason}])
    (message,) = refused(host)
    assert message.replace(str(ip_network(to)), shown) == (
        f"old: egress.agents.x: allow: {shown} lies in {denied}, which agents are denied; "
        "say why it is an exception with carve_out"
    )


@pytest.mark.parametrize("to", ["203.0.113.10", "0.0.0.0/0", "172.0.0.0/8", "2001:db8::/32", "::/0"])
def test_an_exception_from_nothing(to: str) -> None:
    host = agent(subnet6="fd42:1::/64", allow=[{"to": to, "ports": [443], "carve_out": "to be safe"}])
    assert refused(host) == [f"old: egress.agents.x: allow: {ip_network(to)} is no exception: leave carve_out out"]


@pytest.mark.parametrize(
    ("to", "name"),
    [
        ("169.254.169.254", "aws"),
        ("169.254.0.0/16", "aws"),
        ("169.254.169.0/24", "aws"),
        ("169.254.170.2", "aws-ecs-tasks"),
        ("169.254.170.23", "eks-pod-identity"),
        ("169.254.42.0/24", "scaleway"),
        ("169.254.0.0/24", "tencent"),
        ("168.63.129.16", "azure-wire-server"),
        ("100.64.0.0/10", "alibaba"),
        ("fd00:ec2::/32", "aws"),
        ("fd00:ec2::23", "eks-pod-identity"),
        ("fd20:ce::254", "google"),
        ("fe80::/10", "openstack"),
        ("fd00:c1::a9fe:a9fe", "oracle"),
        ("fd00:42::/64", "scaleway"),
    ],
)
@pytest.mark.parametrize("reason", [{}, {"carve_out": "we need it"}])
def test_no_exception_opens_metadata(to: str, name: str, reason: dict[str, str]) -> None:
    host = agent(subnet6="fd42:1::/64", allow=[{"to": to, "ports": [80], **reason}])
    assert refused(host) == [
        f"old: egress.agents.x: allow: {ip_network(to)} holds the metadata endpoint {name}: no carve_out opens it; "
        "narrow the range, or name the endpoint under metadata if it is one for workloads"
    ]


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ({"protocol": "icmp", "ports": [443]}, "ports: icmp has none"),
        ({"protocol": "tcp", "ports": []}, "ports: say which ports of 203.0.113.10/32 (tcp)"),
        ({"ports": []}, "ports: say which ports of 203.0.113.10/32 (tcp)"),
        ({"protocol": "udp", "ports": []}, "ports: say which ports of 203.0.113.10/32 (udp)"),
    ],
)
def test_ports_where_there_are_none_and_none_where_there_are(destination: dict[str, Any], why: str) -> None:
    assert refused(allowing(to="203.0.113.10", **destination)) == [f"old: egress.agents.x.allow.0: {why}"]
    assert refused(legacy(host=[{"to": "203.0.113.10", **destination}])) == [f"old: egress.host.0: {why}"]


@pytest.mark.parametrize("protocol", ["sctp", "TCP", "", 6])
def test_another_protocol(protocol: object) -> None:
    assert refused(allowing(to="203.0.113.10", protocol=protocol)) == [
        f"old: egress.agents.x.allow.0.protocol: input should be 'tcp', 'udp' or 'icmp' (found {protocol!r})"
    ]
    assert refused(agent(published=[{"port": 80, "protocol": protocol}])) == [
        f"old: egress.agents.x.published.0.protocol: input should be 'tcp' or 'udp' (found {protocol!r})"
    ]


def test_an_ipv6_destination_of_an_agent_without_ipv6() -> None:
    assert refused(allowing(to="2001:db8::1")) == [
        "old: egress.agents.x: allow: 2001:db8::1/128 is IPv6, but the agent has no subnet6"
    ]


@pytest.mark.parametrize(
    ("networks", "why"),
    [
        ({"subnet4": "fd42:1::/64"}, "subnet4: fd42:1::/64 is not IPv4"),
        ({"subnet6": "172.30.2.0/24"}, "subnet6: 172.30.2.0/24 is not IPv6"),
        ({"subnet4": "172.30.1.0/30"}, "subnet4: 172.30.1.0/30 is too small: at most /29"),
        ({"subnet4": "172.30.1.1"}, "subnet4: 172.30.1.1/32 is too small: at most /29"),
        ({"subnet6": "fd42:1::/126"}, "subnet6: fd42:1::/126 is too small: at most /125"),
    ],
)
def test_a_network_that_is_none_for_an_agent(networks: dict[str, str], why: str) -> None:
    assert refused(agent(**networks)) == [f"old: egress.agents.x: {why}"]


def test_the_smallest_networks() -> None:
    found = settings.of(agent(subnet4="172.30.1.8/29", subnet6="fd42:1::8/125")).agents["x"]
    assert found.gateways == (ip_address("172.30.1.9"), ip_address("fd42:1::9"))


def test_an_agent_without_a_network() -> None:
    assert refused(legacy(agents={"x": {}})) == ["old: egress.agents.x.subnet4: field required (found {})"]


@pytest.mark.parametrize("name", ["a" * 13, "agent-of-the-team"])
def test_an_interface_name_that_is_too_long(name: str) -> None:
    assert refused(legacy(agents={name: {"subnet4": "172.30.1.0/24"}})) == [
        f"old: egress: agents: {name!r}: its interface bh-{name} would be longer than Linux allows: "
        "at most 12 characters"
    ]


@pytest.mark.parametrize("name", ["", "Alpha", "1a", "-a", "a-", "a_b", "a.b", "a b", 'a"b', "a/b", "a*", "a\n", "ä"])
def test_a_name_that_no_agent_has(name: str) -> None:
    assert refused(legacy(agents={name: {"subnet4": "172.30.1.0/24"}})) == [
        f"old: egress: agents: {name!r} is not a name of lower case letters, digits and hyphens"
    ]


@pytest.mark.parametrize("name", ["a", "a1", "a-1", "a--b", "a" * 12])
def test_names_of_agents_that_are_right(name: str) -> None:
    assert list(settings.of(legacy(agents={name: {"subnet4": "172.30.1.0/24"}})).agents) == [name]
    assert settings.interface(name) == "bh-" + name


def test_an_agent_on_both_kinds_of_host() -> None:
    egress: dict[str, Any] = {"management": ["192.0.2.0/24"], "agents": {"x": {"subnet4": "172.30.1.0/24"}}}
    with pytest.raises(BulkheadError) as error:
        check_inventory([gvisor_host(egress=egress), legacy(**egress)])
    assert error.value.message == "egress.agents.x: lives on agents-1 (gvisor_hosts) and on old (legacy_hosts)"
    assert error.value.hint == (
        "An agent that can run under gVisor does so everywhere; give the other one a name of its own."
    )


def test_an_agent_on_two_hosts_of_one_kind_is_right() -> None:
    agents = {"x": {"subnet4": "172.30.1.0/24"}}
    check_inventory([legacy("old", agents=agents), legacy("older", agents=agents)])


@pytest.mark.parametrize("egress", [None, [], {"agents": None}, {"agents": ["x"]}])
def test_odd_data_of_one_host_is_no_agent_of_another(egress: object) -> None:
    odd = InventoryHost("odd", frozenset({"gvisor_hosts"}), {"engines": ["docker"], "egress": egress})
    settings.refuse_agents_on_both_kinds([odd, legacy(agents={"x": {"subnet4": "172.30.1.0/24"}})])


def test_no_management_source() -> None:
    assert refused(legacy(management=[])) == [
        "old: egress: management: without management sources the host would lock everybody out"
    ]
    without = InventoryHost("old", frozenset({"legacy_hosts"}), {"engines": ["docker"], "egress": {}})
    assert refused(without) == ["old: egress: management: without management sources the host would lock everybody out"]


def gvisor(**egress: Any) -> InventoryHost:
    return InventoryHost("agents", frozenset({"gvisor_hosts"}), {"engines": ["docker"], "egress": egress})


def test_a_gvisor_host_may_have_no_policy_with_a_reason() -> None:
    assert settings.of(gvisor(off="a cluster's node")).off == "a cluster's node"
    for empty in ("", " "):
        with pytest.raises(BulkheadError) as error:
            settings.of(gvisor(off=empty))
        assert error.value.message == "agents: egress: off: say why the host has no policy, or leave it out"
    with pytest.raises(BulkheadError) as error:
        settings.of(gvisor(off="a cluster's node", management=["192.0.2.0/24"]))
    assert error.value.message == "agents: egress: off: a host without a policy has no management"


def test_a_legacy_host_always_has_a_policy() -> None:
    host = InventoryHost("old", frozenset({"legacy_hosts"}), {"engines": ["docker"], "egress": {"off": "a test"}})
    assert refused(host) == ["old: egress.off: agents of a legacy host have no sandbox: nothing else would hold them"]


@pytest.mark.parametrize("kind", ["legacy_hosts", "gvisor_hosts"])
def test_a_host_without_a_policy(kind: str) -> None:
    host = InventoryHost("old", frozenset({kind}), {"engines": ["docker"], "gvisor": {"release": "20260817.0"}})
    assert refused(host) == ["old: egress: missing: without management sources the host would lock everybody out"]
    with pytest.raises(BulkheadError) as error:
        settings.of(host)
    assert error.value.hint == ("Write egress = {'management': ['192.0.2.0/24'], ...}: at least who may reach its ssh.")


def test_a_gvisor_host_that_is_losing_gvisor_keeps_its_policy() -> None:
    with pytest.raises(BulkheadError) as error:
        check_inventory([gvisor_host(gvisor={"state": "absent"}, egress=None)])
    assert error.value.message == (
        "agents-1: egress: management: without management sources the host would lock everybody out"
    )


@pytest.mark.parametrize("value", [[], "allow", 5])
def test_a_policy_that_is_no_dictionary(value: object) -> None:
    host = InventoryHost("old", frozenset({"legacy_hosts"}), {"engines": ["docker"], "egress": value})
    assert refused(host) == [f"old: egress: expected a dictionary, not {type(value).__name__}"]


def test_settings_that_are_unknown() -> None:
    assert refused(legacy(managment=["192.0.2.1"])) == [
        "old: egress.managment: unknown setting (known: off, management, management_ports, services, resolvers, "
        "time_servers, host, metadata, agents, confirm_seconds, probes)"
    ]


@pytest.mark.parametrize(
    ("host", "place"),
    [
        (agent(subnet="172.30.2.0/24"), "agents.x.subnet"),
        (allowing(to="203.0.113.10", port=443), "agents.x.allow.0.port"),
        (agent(published=[{"port": 80, "to": "203.0.113.10"}]), "agents.x.published.0.to"),
        (legacy(host=[{"to": "203.0.113.10", "ports": [80], "carve_out": "no"}]), "host.0.carve_out"),
    ],
)
def test_settings_that_are_unknown_further_in(host: InventoryHost, place: str) -> None:
    (message,) = refused(host)
    assert message.startswith(f"old: egress.{place}: unknown setting (known: ")


def test_metadata_that_nobody_knows() -> None:
    assert refused(legacy(metadata=["aws", "ibm"])) == [f"old: egress: metadata: 'ibm' is none of {KNOWN_METADATA}"]
    assert refused(agent(metadata={"ibm": "reads its region"})) == [
        f"old: egress.agents.x: metadata: 'ibm' is none of {KNOWN_METADATA}"
    ]


MACHINES = ("alibaba", "aws", "azure", "azure-wire-server", "google", "openstack", "oracle", "scaleway", "tencent")


@pytest.mark.parametrize("name", MACHINES)
def test_the_machine_s_metadata_is_for_no_agent(name: str) -> None:
    assert refused(agent(metadata={name: "reads its region"})) == [
        f"old: egress.agents.x: metadata: {name} holds the machine's own credentials: no agent gets it"
    ]


@pytest.mark.parametrize("reason", ["", " ", "\t\n"])
def test_metadata_for_an_agent_without_a_reason(reason: str) -> None:
    assert refused(agent(metadata={"eks-pod-identity": reason})) == [
        "old: egress.agents.x: metadata: eks-pod-identity: say why the agent needs it"
    ]


@pytest.mark.parametrize(
    ("seconds", "why"),
    [
        (19, "input should be greater than or equal to 20 (found 19)"),
        (3601, "input should be less than or equal to 3600 (found 3601)"),
        (True, "input should be a valid integer (found True)"),
        ("60", "input should be a valid integer (found '60')"),
    ],
)
def test_how_long_nobody_waits(seconds: object, why: str) -> None:
    assert refused(legacy(confirm_seconds=seconds)) == [f"old: egress.confirm_seconds: {why}"]


@pytest.mark.parametrize("user", [-1, 2**32 - 1, "_apt", True])
def test_a_user_that_is_no_number(user: object) -> None:
    why = f"{user!r} is neither a uid (a number) nor 'kernel'"
    host = legacy(host=[{"to": "203.0.113.80", "ports": [80], "user": user}])
    assert refused(host) == [f"old: egress.host.0.user: {why}"]


def test_a_service_for_nobody() -> None:
    assert refused(legacy(services=[{"port": 9100, "sources": []}])) == [
        "old: egress.services.0.sources: list should have at least 1 item after validation, not 0 (found [])"
    ]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    host = legacy(management=["x"], confirm_seconds=1, agents={"x": {"subnet4": "172.30.1.0/24", "allow": [{"to": 5}]}})
    assert [message.split(": ")[1] for message in refused(host)] == [
        "egress.management.0",
        "egress.agents.x.allow.0.to",
        "egress.confirm_seconds",
    ]


@pytest.mark.parametrize(
    ("to", "is_"),
    [
        ("203.0.113.10", "203.0.113.10/32"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("172.0.0.0/8", "172.0.0.0/8"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
    ],
)
def test_destinations_that_are_right(to: str, is_: str) -> None:
    host = agent(subnet6="fd42:1::/64", allow=[{"to": to, "ports": [443]}])
    assert settings.of(host).agents["x"].allow[0].to == ip_network(is_)
    check_inventory([host])


@pytest.mark.parametrize(
    ("port", "is_"), [(1, (1, 1)), (65535, (65535, 65535)), ("443", (443, 443)), ("1-65535", (1, 65535))]
)
def test_ports_that_are_right(port: object, is_: tuple[int, int]) -> None:
    assert settings.of(allowing(to="203.0.113.10", ports=[port])).agents["x"].allow[0].ports == [is_]


def test_an_exception_with_its_reason() -> None:
    found = settings.of(allowing(to="10.9.0.0/24", carve_out="the database")).agents["x"].allow[0]
    assert (found.to, found.carve_out) == (ip_network("10.9.0.0/24"), "the database")


def test_what_nobody_says() -> None:
    found = settings.of(legacy())
    assert (found.management_ports, found.confirm_seconds, found.agents, found.metadata) == ([22], 60, {}, [])
    one = settings.of(agent(published=[{"port": 80}])).agents["x"]
    assert one.published[0].protocol == "tcp"
    assert one.published[0].sources == [ip_network("0.0.0.0/0"), ip_network("::/0")]
    assert one.networks == (ip_network("172.30.1.0/24"),)


@pytest.mark.parametrize("ports", [(9000, 80), (0, 70000), (-1, 5)])
def test_a_range_of_ports_as_a_pair(ports: tuple[int, int]) -> None:
    """An inventory is Python: a pair is checked like a text, or (9000, 80) would silently allow nothing."""
    (message,) = refused(allowing(to="203.0.113.10", ports=[ports]))
    assert "is not a port (1 to 65535) or a range" in message


@pytest.mark.parametrize("port", ["8_0", " 80", "+80", "٨٠", "80 - 90"])
def test_a_number_that_only_python_reads(port: str) -> None:
    (message,) = refused(allowing(to="203.0.113.10", ports=[port]))
    assert "is not a port (1 to 65535) or a range" in message


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(legacy(management_ports=[]), id="no port to manage by: a lock-out"),
        pytest.param(agent(names={"api.example.com": []}), id="a name without ports"),
        pytest.param(agent(published=[{"port": 80, "sources": []}]), id="published for nobody"),
        pytest.param(agent(subnet4="0.0.0.0/0"), id="the whole Internet as an agent's network"),
        pytest.param(agent(subnet4="169.254.169.0/24"), id="metadata in an agent's network"),
        pytest.param(agent(subnet6="fd00:ec2::/64"), id="metadata in an agent's IPv6 network"),
        pytest.param(agent(subnet4="127.0.0.0/8"), id="loopback as an agent's network"),
        pytest.param(agent(subnet4="224.0.0.0/24"), id="multicast as an agent's network"),
        pytest.param(agent(subnet6="fe80::/64"), id="link-local as an agent's network"),
        pytest.param(legacy(management=["fe80::1%eth0"]), id="an interface in an address"),
        pytest.param(
            legacy(host=[{"to": "169.254.169.254", "ports": [80], "user": 1000}]), id="metadata by its address"
        ),
    ],
)
def test_what_can_only_be_a_mistake(host: InventoryHost) -> None:
    assert refused(host)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (
            allowing(to="203.0.113.10", protocol="esp"),
            "egress.agents.x.allow.0.protocol: esp has no ports, by which an agent's flows would be told apart behind "
            "the host's address; the host alone can be given it (egress.host, egress.services)",
        ),
        (
            legacy(host=[{"to": "203.0.113.10", "protocol": "esp", "ports": [500]}]),
            "egress.host.0: ports: esp has none",
        ),
        (
            legacy(host=[{"to": "203.0.113.10", "protocol": "gre", "user": 0}]),
            "egress.host.0: user: gre is sent by root or the kernel alone: leave user out",
        ),
        (
            legacy(host=[{"to": "203.0.113.10", "protocol": "ESP"}]),
            "egress.host.0.protocol: 'ESP' is none of tcp, udp, icmp, igmp, ipencap, ipv6, gre, esp, ah, eigrp, ospf, "
            "ipip, etherip, pim, ipcomp, vrrp, l2tp",
        ),
        (
            legacy(host=[{"to": "2001:db8::/32", "protocol": "ah"}]),
            "egress.host.0: to: 2001:db8::/32: ah is for IPv4 alone: over IPv6 it is a header in front of another "
            "protocol, by which nftables takes the packet",
        ),
        (
            legacy(services=[{"protocol": "igmp", "sources": ["10.0.0.0/8", "::/0"]}]),
            "egress.services.0: sources: ::/0: igmp is for IPv4 alone: IPv6 has ICMPv6 in its place",
        ),
        (
            legacy(services=[{"protocol": "vrrp", "port": 112, "sources": ["10.0.0.0/8"]}]),
            "egress.services.0: port: vrrp has none",
        ),
        (legacy(services=[{"sources": ["10.0.0.0/8"]}]), "egress.services.0: port: say which port (tcp)"),
        (
            legacy(services=[{"protocol": "icmp", "sources": ["10.0.0.0/8"]}]),
            "egress.services.0: protocol: echo requests are answered to management sources, and to nobody else",
        ),
        (
            legacy(host=[{"to": "169.254.169.254", "protocol": "gre"}]),
            "egress.host.0: to: 169.254.169.254/32 holds the metadata endpoint aws: name it under metadata instead",
        ),
    ],
)
def test_protocols_without_ports_that_are_wrong(host: InventoryHost, message: str) -> None:
    assert refused(host) == [f"old: {message}"]


def test_protocols_without_ports_have_the_numbers_of_this_machine() -> None:
    names = [line.split() for line in Path("/etc/protocols").read_text().splitlines()]
    known = {fields[0]: int(fields[1]) for fields in names if len(fields) > 1 and fields[1].isdigit()}
    assert {name: known[name] for name in BARE} == BARE
