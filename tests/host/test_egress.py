"""Is what agents and the host may reach really what the inventory says, and all else denied?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from testinfra.host import Host

from bulkhead.capability import files_of
from bulkhead.inventory import InventoryHost, engines
from tests.host import expectations
from tests.host.agent_namespace import AgentNamespace, asked, in_url
from tests.host.containers import given, on_the_hosts_network

METADATA = {4: "http://169.254.169.254/", 6: "http://[fd00:ec2::254]/"}
# TEST-NET-1 (RFC 5737) and documentation (RFC 3849): nobody is there, and no inventory should name it.
NOWHERE = {4: "192.0.2.1", 6: "2001:db8:ffff::1"}
NOBODY = {4: "192.0.2.77", 6: "2001:db8:ffff::77"}


@pytest.fixture(scope="module", autouse=True)
def in_force(described: InventoryHost) -> None:
    """A gVisor host may have no policy, with a reason."""
    reason = described.data["egress"].get("off")
    if reason:
        pytest.skip(f"the inventory says that the host has no egress policy: {reason}")


@pytest.fixture(scope="module")
def policy(described: InventoryHost) -> dict[str, Any]:
    """The inventory's egress policy."""
    return dict(described.data["egress"])


@pytest.fixture(scope="module")
def namespaces(host: Host, policy: dict[str, Any]) -> Iterator[list[AgentNamespace]]:
    """A namespace on the bridge of each agent that has one by now."""
    made = []
    try:
        for name, agent in policy.get("agents", {}).items():
            if bridged(host, name):
                made.append(AgentNamespace(host, name, agent).__enter__())
        if not made:
            pytest.skip("the inventory names no agents, or none has a network by now")
        yield made
    finally:
        for namespace in made:
            namespace.__exit__()


def bridged(host: Host, agent: str) -> bool:
    """Whether an agent has its bridge: Docker makes it with the network, CNI for the first container."""
    return bool(host.run("test -d /sys/class/net/bh-%s/bridge", agent).rc == 0)


def test_every_agent_has_its_network(host: Host, described: InventoryHost, policy: dict[str, Any]) -> None:
    """Each agent of the inventory has a bridge of its own, by which the policy knows it."""
    lacking = [name for name in policy.get("agents", {}) if not bridged(host, name)]
    if "docker" in engines(described):
        assert lacking == []
    if lacking:
        conflists = [f"/etc/cni/net.d/90-bh-{name}.conflist" for name in lacking]
        assert [path for path in conflists if not host.file(path).exists] == []
        pytest.skip(f"not probed, as CNI makes a bridge for the first container: {', '.join(lacking)}")


def test_every_way_is_denied_by_default(host: Host) -> None:
    """Whatever no rule allows is dropped: forwarded, into the host and out of it, before other tables accept it."""
    table = json.loads(host.check_output("nft --json list table inet bulkhead"))["nftables"]
    chains = [entry["chain"] for entry in table if "chain" in entry and "hook" in entry["chain"]]
    found = {chain["hook"]: (chain["policy"], chain["prio"]) for chain in chains}
    assert {hook: policy for hook, (policy, _) in found.items()} == {
        "prerouting": "accept",
        "forward": "drop",
        "input": "drop",
        "output": "drop",
    }
    assert found["prerouting"][1] < -100, "destinations are judged after DNAT"
    assert all(priority < 0 for _, priority in found.values())


def test_the_file_is_that_of_the_inventory(host: Host, described: InventoryHost) -> None:
    """The policy that is loaded at boot is what the inventory is rendered to."""
    boot_file = "/etc/bulkhead/egress.nft"
    assert _statements(host.check_output(f"cat {boot_file}")) == _statements(files_of(described)[boot_file].decode())


def _statements(ruleset: str) -> list[str]:
    """What nft reads of a file; an operator's remark in it changes nothing."""
    return [line for line in map(str.strip, ruleset.splitlines()) if line and not line.startswith("#")]


def test_the_loaded_table_is_that_of_the_file(host: Host) -> None:
    """The kernel has what the confirmed file says, rule by rule."""
    listing = "nft --stateless list table inet bulkhead"
    live = host.check_output(listing)
    fresh = host.check_output(f"unshare --net sh -c 'nft --file /etc/bulkhead/egress.nft && {listing}'")
    assert _lines(live) == _lines(fresh)


def _lines(listing: str) -> tuple[list[str], list[str]]:
    """The rules in their order, and all elements of sets in none; without what packets themselves add (`logged_…`)."""
    rules: list[str] = []
    elements: list[str] = []
    name, inside = "", False
    for line in (line.strip() for line in listing.splitlines()):
        if line.startswith("set "):
            name = line.split()[1]
        if line.startswith("elements = {"):
            inside = True
        if not inside:
            rules.append(line)
        elif not name.startswith("logged_"):
            bare = line.removeprefix("elements = {").removesuffix("}").replace(" . ", ".")
            elements += [f"{name} {element.strip()}" for element in bare.split(",") if element.strip()]
        if inside and line.endswith("}"):
            inside = False
    return rules, sorted(elements)


def test_no_engine_starts_without_it(host: Host) -> None:
    """The policy is loaded at boot before the network, and the engines require it."""
    assert host.check_output("systemctl is-enabled bulkhead-egress.service") == "enabled"
    assert host.check_output("systemctl is-active bulkhead-egress.service") == "active"
    before = host.check_output("systemctl show --property Before --value bulkhead-egress.service").split()
    assert "network-pre.target" in before
    for engine in ("docker.service", "containerd.service"):
        if host.run("systemctl cat %s", engine).rc == 0:
            required = host.check_output("systemctl show --property Requires --value %s", engine).split()
            assert "bulkhead-egress.service" in required, engine
            assert engine in before


def test_no_stock_unit_flushes_it(host: Host) -> None:
    """Debian's nftables.service, whose file begins with 'flush ruleset', can't be started."""
    assert host.run("systemctl is-enabled nftables.service").stdout.strip() in ("masked", "not-found", "")


def test_agents_reach_no_metadata(namespaces: list[AgentNamespace]) -> None:
    """A request for instance metadata from an agent's network is refused, and counted as what it is."""
    for namespace in namespaces:
        for version in namespace.versions():
            answer = namespace.get(METADATA[version])
            assert answer.refused, METADATA[version]
            assert answer.denied.get("metadata"), answer


def _routed(host: Host) -> list[int]:
    """The IP versions by which the host reaches others; what has no way out comes to no rule."""
    found = [version for version, address in NOWHERE.items() if host.run("ip route get %s", address).rc == 0]
    if not found:
        pytest.skip("the host has no route to anywhere")
    return found


def test_agents_reach_nothing_that_is_not_named(host: Host, namespaces: list[AgentNamespace]) -> None:
    """A public address that the inventory does not name is refused."""
    routed = _routed(host)
    for namespace in namespaces:
        for version in set(routed) & {*namespace.versions()}:
            answer = namespace.get(f"http://{in_url(ip_address(NOWHERE[version]))}/")
            assert answer.refused, version
            assert answer.denied.get("forward"), answer


def test_agents_do_not_reach_the_host(namespaces: list[AgentNamespace]) -> None:
    """The host's ssh is refused on the agents' gateways."""
    for namespace in namespaces:
        for gateway in namespace.gateways:
            answer = namespace.get(f"http://{gateway}:22/")
            assert answer.refused, gateway
            assert answer.denied.get("host"), answer


def test_agents_do_not_reach_each_other(namespaces: list[AgentNamespace]) -> None:
    """A neighbour's network is refused."""
    if len(namespaces) < 2:
        pytest.skip("there is only one agent")
    for one, other in zip(namespaces, [*namespaces[1:], namespaces[0]], strict=True):
        for network in other.networks:
            if network.version in one.versions():
                answer = one.get(f"http://{in_url(network[-2])}:9/")
                assert answer.refused, network
                assert answer.denied.get("range") or answer.denied.get("tenant"), answer


def test_agents_send_as_nobody_else(namespaces: list[AgentNamespace]) -> None:
    """A packet with an address that is not the agent's is dropped."""
    for namespace in namespaces:
        for version in namespace.versions():
            bits = {4: 32, 6: 128}[version]
            assert namespace.run(f"ip address add {NOBODY[version]}/{bits} dev lo") == 0
            answer = namespace.get(f"http://{in_url(ip_address(NOWHERE[version]))}/", f"--interface {NOBODY[version]}")
            assert answer.refused, version
            assert answer.denied.get("spoofed"), answer


def test_the_proxy_knows_its_names(namespaces: list[AgentNamespace], policy: dict[str, Any]) -> None:
    """The egress proxy refuses names that are not the agent's, and addresses."""
    naming = [name for name, agent in policy.get("agents", {}).items() if agent.get("names")]
    if not naming:
        pytest.skip("no agent names a host")
    for namespace in namespaces:
        for gateway in namespace.gateways if namespace.agent in naming else ():
            for target in ("https://not-on-the-list.invalid/", "https://169.254.169.254/", "https://10.0.0.1/"):
                answer = namespace.get(target, f"--proxy http://{gateway}:3128")
                assert answer.code == "000 403", (target, answer)


def test_users_reach_no_metadata(host: Host) -> None:
    """An ordinary user of the host gets no instance metadata."""
    for version in _routed(host):
        answer = asked(host, "setpriv --reuid=65534 --regid=65534 --clear-groups", METADATA[version])
        assert answer.refused, version
        assert answer.denied.get("metadata"), answer


def test_no_container_shares_the_hosts_network(host: Host, described: InventoryHost) -> None:
    """No container runs in the host's own network, where it would be taken for the host itself."""
    found = [(name, "network") for name in on_the_hosts_network(host)]
    if host.run("command -v docker").rc == 0:
        found += [(name, what) for name, what in given(host) if what == "network"]
    expectations.refuse(described, found)
