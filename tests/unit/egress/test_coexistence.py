"""The policy next to what engines load: Docker 29 with either backend of its firewall, and real CNI plugins.

Each world is made by the real thing from what the deploy hands it. Every flow is sent without the policy and with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from bulkhead.inventory import InventoryHost
from deploys.egress import live
from deploys.egress.ruleset import ruleset
from tests.egress import cni_world, docker_world
from tests.egress.cni_world import CniWorld
from tests.egress.docker_world import DockerWorld
from tests.egress.flows import FLOWS
from tests.egress.outcome import outcome
from tests.egress.world import World
from tests.oracles import cni, dockerd

SECONDS = 3.0
"""How long an answer may take before it counts as none, on a machine that is busy with other tests."""

NEIGHBOURS = {
    *(f"alpha {kind} neighbour 172.30.2.2{port}" for kind, port in (("tcp", " 9000"), ("udp", " 9000"), ("icmp", ""))),
    *(
        f"alpha {kind} neighbour v6 fd42:2::2{port}"
        for kind, port in (("tcp", " 9000"), ("udp", " 9000"), ("icmp", ""))
    ),
    *(f"beta {kind} neighbour 172.30.1.2{port}" for kind, port in (("tcp", " 9000"), ("udp", " 9000"), ("icmp", ""))),
    *(f"beta {kind} neighbour v6 fd42:1::2{port}" for kind, port in (("tcp", " 9000"), ("udp", " 9000"), ("icmp", ""))),
    "other tcp agent 172.30.1.2 9000",
}
BY_DOCKER = NEIGHBOURS | {"world asks the agent past what is published", "world asks another port of the agent"}
"""What Docker itself denies between its networks and to what it does not publish; by CNI, all of it passes."""


@pytest.fixture(scope="module", params=["nftables", "iptables"])
def docker(request: pytest.FixtureRequest, nftables: None) -> Iterator[DockerWorld]:  # noqa: ARG001
    """Docker 29 with a backend."""
    if dockerd.newest() is None:
        pytest.skip("Docker 29: no Go here that can build it")
    with DockerWorld(dockerd.NEWEST, request.param) as made:
        yield made


@pytest.fixture(scope="module")
def plugins(nftables: None) -> Iterator[CniWorld]:  # noqa: ARG001
    """CNI's plugins."""
    if cni.tool() is None:
        pytest.skip("CNI's library: no Go here that can build it")
    with CniWorld() as made:
        yield made


def wrong(place: World, host: InventoryHost, denied_anyway: set[str]) -> list[str]:
    """Flows that do not pass without the policy though no engine denies them, or go otherwise than it says with it."""

    def all_of_them() -> dict[str, str]:
        return {flow.name: outcome(place.places, place.mac, flow, SECONDS) for flow in FLOWS}

    without = all_of_them()
    place.load(ruleset(host))
    try:
        with_policy = all_of_them()
    finally:
        place.unload()
    return [
        f"{flow.name}: {without[flow.name]}, with the policy {with_policy[flow.name]}"
        for flow in FLOWS
        if (without[flow.name] == "passed") == (flow.name in denied_anyway)
        or (with_policy[flow.name] == "passed") != flow.allowed
    ]


def passes(place: World, sender: str, to: str, port: int, **more: object) -> bool:
    """Whether a connection comes about."""
    token = uuid.uuid4().hex
    return place.places[sender].ask(op="tcp", to=to, port=port, token=token, seconds=SECONDS, **more) == "passed"


def holds(place: World) -> None:
    """Assert what the policy is about, in short."""
    for to, port, allowed in (
        ("203.0.113.10", 443, True),
        ("2001:db8:1::10", 443, True),
        ("203.0.113.66", 443, False),
        ("2001:db8:1::66", 443, False),
        ("169.254.169.254", 80, False),
        ("172.30.1.1", 22, False),
    ):
        assert passes(place, "alpha", to, port) == allowed, to
    for source, allowed in (("198.51.100.9", True), ("203.0.113.66", False)):
        assert passes(place, "world", "192.0.2.2", 8080, bind=source) == allowed, source


def loaded(place: World) -> str:
    """The policy as the kernel has it."""
    return place.sh("host", "nft --json list table inet bulkhead")


@pytest.mark.long
def test_flows_beside_docker(docker: DockerWorld) -> None:
    assert wrong(docker, docker_world.HOST, BY_DOCKER) == []


@pytest.mark.long
def test_flows_beside_cni(plugins: CniWorld) -> None:
    assert wrong(plugins, cni_world.HOST, set()) == []


@pytest.mark.long
def test_docker_is_the_one_that_is_meant(docker: DockerWorld) -> None:
    """Docker 29 speaks version 1.52 of the API or a later one, and has loaded its rules by this backend."""
    version = docker.docker.call("GET", "/version")["ApiVersion"]
    assert tuple(map(int, version.split("."))) >= (1, 52)
    tables = docker.sh("host", "nft list tables").split("\n")
    assert ("table ip docker-bridges" in tables) == (docker.backend == "nftables")
    assert ("table ip nat" in tables) == (docker.backend == "iptables")


@pytest.mark.long
def test_docker_restarts_beside_the_policy(docker: DockerWorld) -> None:
    """The policy is as it was, while the daemon is away and after it came back with its rules; containers run on."""
    docker.load(ruleset(docker_world.HOST))
    try:
        before = loaded(docker)
        holds(docker)
        docker.docker.stop()
        assert not passes(docker, "alpha", "203.0.113.66", 443)
        assert not passes(docker, "alpha", "169.254.169.254", 80)
        docker.docker.start()
        assert live.same(loaded(docker), before)
        holds(docker)
    finally:
        docker.unload()


@pytest.mark.long
def test_docker_starts_anew_where_its_rules_were_lost(docker: DockerWorld) -> None:
    """As after `flush ruleset`: Docker's rules come back by its restart, and ours, loaded first, stays in force."""
    docker.docker.stop()
    docker.load("flush ruleset")
    docker.load(ruleset(docker_world.HOST))
    try:
        before = loaded(docker)
        docker.docker.start()
        assert live.same(loaded(docker), before)
        holds(docker)
    finally:
        docker.unload()


@pytest.mark.long
def test_networks_of_docker_come_and_go_beside_the_policy(docker: DockerWorld) -> None:
    """Another network's container has no way out, and nothing of ours changes."""
    docker.load(ruleset(docker_world.HOST))
    try:
        before = loaded(docker)
        made = docker.docker.call("POST", "/networks/create", {"Name": "passing", "Driver": "bridge"})["Id"]
        assert live.same(loaded(docker), before)
        holds(docker)
        docker.docker.call("DELETE", f"/networks/{made}")
        assert live.same(loaded(docker), before)
        holds(docker)
    finally:
        docker.unload()


@pytest.mark.long
def test_docker_routes_ipv6_by_itself_with_iptables_only(docker: DockerWorld) -> None:
    """With nftables it refuses a network on a host that does not, and says which setting it wants."""
    network = {
        "Name": "second",
        "Driver": "bridge",
        "EnableIPv6": True,
        "IPAM": {"Driver": "default", "Config": [{"Subnet": "fd42:18::/64"}]},
    }
    docker.sh("host", "sysctl -qw net.ipv6.conf.all.forwarding=0")
    try:
        if docker.backend == "nftables":
            with pytest.raises(
                AssertionError, match=r"IPv6 global forwarding is disabled.*net\.ipv6\.conf\.all\.forwarding=1"
            ):
                docker.docker.call("POST", "/networks/create", network)
        else:
            made = docker.docker.call("POST", "/networks/create", network)["Id"]
            assert docker.sh("host", "sysctl -n net.ipv6.conf.all.forwarding").strip() == "1"
            docker.docker.call("DELETE", f"/networks/{made}")
    finally:
        docker.sh("host", "sysctl -qw net.ipv6.conf.all.forwarding=1")


def unlisted_port_is_closed(place: World, host: InventoryHost) -> None:
    """Assert that a port that the engine publishes and the policy does not list is open without it, and not with it."""
    for to, source in (("192.0.2.2", "198.51.100.9"), ("2001:db8::2", "2001:db8:3::1")):
        assert passes(place, "world", to, 8081, bind=source)
    place.load(ruleset(host))
    try:
        for to, source in (("192.0.2.2", "198.51.100.9"), ("2001:db8::2", "2001:db8:3::1")):
            assert not passes(place, "world", to, 8081, bind=source)
            assert passes(place, "world", to, 8080, bind=source)
    finally:
        place.unload()


@pytest.mark.long
def test_what_docker_publishes_needs_the_policy_s_word(docker: DockerWorld) -> None:
    unlisted_port_is_closed(docker, docker_world.HOST)


def test_what_portmap_publishes_needs_the_policy_s_word(plugins: CniWorld) -> None:
    unlisted_port_is_closed(plugins, cni_world.HOST)


def test_cni_gives_out_what_the_inventory_says(plugins: CniWorld) -> None:
    """By host-local in the order of asking, from the agents' own networks; by `isGateway` the host routes both IPs."""
    assert plugins.addresses == {
        "alpha": ["172.30.1.2/24", "fd42:1::2/64"],
        "twin": ["172.30.1.3/24", "fd42:1::3/64"],
        "beta": ["172.30.2.2/24", "fd42:2::2/64"],
        "other": ["172.17.0.2/24", "fd42:17::2/64"],
    }
    assert plugins.sh("host", "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding") == "1\n1\n"


@pytest.mark.parametrize(
    ("to", "seen"), [("203.0.113.10", "ip saddr 192.0.2.2"), ("2001:db8:1::10", "ip6 saddr 2001:db8::2")]
)
def test_cni_masquerades_what_passes(plugins: CniWorld, to: str, seen: str) -> None:
    """`ipMasq`: the world sees the host's address and not the agent's, also where the policy is loaded."""
    plugins.load(ruleset(cni_world.HOST))
    plugins.sh(
        "world",
        "nft 'table inet seen { chain in { type filter hook input priority 0;"
        f" {seen} tcp dport 443 tcp flags syn counter; }}; }}'",
    )
    try:
        assert passes(plugins, "alpha", to, 443)
        assert "packets 1 " in plugins.sh("world", "nft list table inet seen")
    finally:
        plugins.sh("world", "nft delete table inet seen")
        plugins.unload()


@pytest.mark.parametrize("change", ["given out", "another agent's"])
def test_a_container_of_cni_sends_as_its_own_network_only(plugins: CniWorld, change: str) -> None:
    """An agent that takes another agent's address, by configuring it, is mute; its own goes on."""
    given, taken = "172.30.1.2", "172.30.2.7"
    source = given if change == "given out" else taken
    plugins.sh("alpha", f"ip address add {taken}/32 dev eth0")
    # Without the policy, what is sent under either address arrives.
    try:
        for policy in (False, True):
            if policy:
                plugins.load(ruleset(cni_world.HOST))
            token = uuid.uuid4().hex
            sent = {"op": "raw", "to": "203.0.113.10", "port": 4433, "source": source, "token": token}
            assert plugins.places["alpha"].ask(**sent) == "sent"
            plugins.sh("host", "sleep 0.2")
            came = plugins.places["world"].ask(op="count", token=token) != "0"
            assert came == (source == given or not policy)
    finally:
        plugins.unload()
        plugins.sh("alpha", f"ip address delete {taken}/32 dev eth0")


def test_cni_containers_come_and_go_beside_the_policy(plugins: CniWorld) -> None:
    """The plugins add, check and remove a container while the policy is loaded, which holds for it and stays."""
    plugins.load(ruleset(cni_world.HOST))
    try:
        before = loaded(plugins)
        for command in ("check", "del", "add"):
            plugins.call(command, "alpha")
            assert live.same(loaded(plugins), before), command
        holds(plugins)
        # What comes next gets another address of the network, as which it may send.
        assert plugins.addresses["alpha"] == ["172.30.1.4/24", "fd42:1::4/64"]
    finally:
        plugins.unload()
        plugins.anew()
