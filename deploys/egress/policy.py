"""A host's egress settings as the sets of the ruleset: which packet may pass, as plain values. Pure, no I/O."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import collapse_addresses
from typing import Generic, TypeVar

from deploys.egress.ranges import BARE, DENIED, METADATA, Endpoint, Network
from deploys.egress.settings import AgentSettings, EgressSettings, interface

PROXY_PORT = 3128
"""Where the egress proxy listens on every gateway."""

PROXY_UID = 13
"""The user `proxy` of Debian and Ubuntu, whose number is fixed (base-passwd)."""

DNS_PORT, NTP_PORT = 53, 123

K = TypeVar("K", bound=Hashable)
Interval = tuple[int, int]


@dataclass(frozen=True)
class Rule(Generic[K]):
    """Addresses and ports under one key, such as an interface with a protocol."""

    network: Network
    ports: Interval
    key: K


def disjoint(rules: Iterable[Rule[K]], version: int) -> list[Rule[K]]:
    """The same permissions by rules of which no two overlap, sorted, of one IP version.

    A set of nftables with intervals in a concatenation refuses elements that overlap (nft(8), Sets).
    """
    by_key: dict[K, list[Rule[K]]] = {}
    for rule in rules:
        if rule.network.version == version:
            by_key.setdefault(rule.key, []).append(rule)
    result = []
    for key, group in by_key.items():
        spans: dict[Network, list[Interval]] = {}
        for (first, last), there in _by_ports(group):
            for network in _collapsed(there):
                known = spans.setdefault(network, [])
                if known and known[-1][1] == first - 1:
                    known[-1] = (known[-1][0], last)
                else:
                    known.append((first, last))
        result += [Rule(network, ports, key) for network, known in spans.items() for ports in known]
    return sorted(result, key=lambda rule: (rule.network.network_address.packed, rule.network.prefixlen, rule.ports))


def _by_ports(rules: Iterable[Rule[K]]) -> Iterator[tuple[Interval, list[Network]]]:
    """Each stretch of ports on which the same rules hold, with their networks, in order: one pass over all ports."""
    begin: dict[int, list[Rule[K]]] = {}
    end: dict[int, list[Rule[K]]] = {}
    for rule in rules:
        begin.setdefault(rule.ports[0], []).append(rule)
        end.setdefault(rule.ports[1] + 1, []).append(rule)
    there: Counter[Network] = Counter()
    for first, after in itertools.pairwise(sorted(begin.keys() | end.keys())):
        there.update(rule.network for rule in begin.get(first, ()))
        for rule in end.get(first, ()):
            there[rule.network] -= 1
            if not there[rule.network]:
                del there[rule.network]
        if there:
            yield (first, after - 1), list(there)


def _collapsed(networks: Iterable[Network]) -> tuple[Network, ...]:
    return tuple(collapse_addresses(networks))  # type: ignore[type-var]


@dataclass(frozen=True)
class Sets:
    """The elements of all sets of one IP version, as nft writes them.

    The order of the fields puts the most selective first, which keeps the cost of a look-up constant (measured).
    """

    subnets: list[str]
    """source network . interface: which source may appear on which bridge."""

    gateways: list[str]
    """gateway . interface . protocol . port: services of the host for an agent."""

    gateway_addresses: list[str]
    """address . interface: the host's own on each bridge, as which no agent sends."""

    carved: list[str]
    """network . interface . protocol . ports: exceptions from the denied ranges."""

    allowed: list[str]
    """The same for all that an agent may reach."""

    carved_pinged: list[str]
    """network . interface: exceptions from the denied ranges for echo requests."""

    pinged: list[str]
    """network . interface: what an agent may send echo requests to."""

    published: list[str]
    """source . interface . protocol . port."""

    inbound: list[str]
    """source . protocol . port: services of the host for others, ssh first of all."""

    inbound_bare: list[str]
    """source . number of a protocol without ports: what peers may send the host."""

    management: list[str]

    shared: list[str]
    """network . protocol . port: what all of the host's own users may reach."""

    kernel: list[str]
    """network . protocol . ports of what no process sends."""

    endpoints: list[str]
    """address . protocol . port: metadata that root may reach."""

    outbound: list[str]
    """network . protocol . ports . uid."""

    outbound_pinged: list[str]
    """network . uid."""

    outbound_bare: list[str]
    """network . number of a protocol without ports: what the host may send, by root or the kernel."""

    denied: list[str]
    metadata: list[str]


@dataclass(frozen=True)
class Grant:
    """An endpoint for whoever sends on an interface."""

    interface: str
    endpoint: Endpoint


@dataclass(frozen=True)
class Policy:
    """All that the ruleset says beyond its fixed part."""

    interfaces: list[str]
    same: list[str]
    """interface . interface: containers of one agent among themselves, where bridged packets pass the hooks too."""

    v4: Sets
    v6: Sets
    granted: list[Grant]
    """Metadata endpoints that agents have been given."""

    published_ports: list[str]
    """interface . protocol . port: what root on the host may ask for, such as health checks."""

    proxy_ports: list[int]
    """Ports that the egress proxy may connect to; empty where no agent names a host."""


def policy(settings: EgressSettings) -> Policy:
    """The sets that `settings` mean."""
    agents = dict(sorted(settings.agents.items()))
    return Policy(
        interfaces=[interface(name) for name in agents],
        same=[f'"{interface(name)}" . "{interface(name)}"' for name in agents],
        v4=_sets(settings, agents, 4),
        v6=_sets(settings, agents, 6),
        granted=[
            Grant(interface(name), endpoint)
            for name, agent in agents.items()
            for granted in agent.metadata
            for endpoint in METADATA[granted].endpoints
        ],
        published_ports=sorted(
            {
                f'"{interface(name)}" . {one.protocol} . {one.port}'
                for name, agent in agents.items()
                for one in agent.published
            }
        ),
        proxy_ports=sorted({port for agent in agents.values() for ports in agent.names.values() for port in ports}),
    )


def _sets(settings: EgressSettings, agents: dict[str, AgentSettings], version: int) -> Sets:
    def addressed(rules: Sequence[Rule[tuple[str, str]]]) -> list[str]:
        return [
            f'{_text(rule.network)} . "{rule.key[0]}" . {rule.key[1]} . {_span(rule.ports)}'
            for rule in disjoint(rules, version)
        ]

    def served(rules: Sequence[Rule[str]]) -> list[str]:
        return [f"{_text(rule.network)} . {rule.key} . {_span(rule.ports)}" for rule in disjoint(rules, version)]

    def echoed(rules: Sequence[Rule[str]]) -> list[str]:
        return [f'{_text(rule.network)} . "{rule.key}"' for rule in disjoint(rules, version)]

    def numbered(rules: Sequence[Rule[int]]) -> list[str]:
        return [f"{_text(rule.network)} . {rule.key}" for rule in disjoint(rules, version)]

    carved, allowed, carved_pinged, pinged, published, gateways = _of_agents(agents)
    inbound: list[Rule[str]] = [
        Rule(source, (port, port), protocol)
        for protocol, port, sources in (
            *(("tcp", port, settings.management) for port in settings.management_ports),
            *((service.protocol, service.port, service.sources) for service in settings.services if service.port),
        )
        for source in sources
    ]
    inbound_bare = [
        Rule(source, (0, 0), BARE[service.protocol])
        for service in settings.services
        if service.protocol in BARE
        for source in service.sources
    ]
    outbound_bare = [Rule(one.to, (0, 0), BARE[one.protocol]) for one in settings.host if one.protocol in BARE]
    shared, endpoints, kernel, outbound, outbound_pinged = _of_host(settings)
    return Sets(
        subnets=[
            f'{network} . "{interface(name)}"'
            for name, agent in agents.items()
            for network in agent.networks
            if network.version == version
        ],
        gateways=addressed(gateways),
        gateway_addresses=[
            f'{gateway} . "{interface(name)}"'
            for name, agent in agents.items()
            for gateway in agent.gateways
            if gateway.version == version
        ],
        carved=addressed(carved),
        allowed=addressed([*allowed, *carved]),
        carved_pinged=echoed(carved_pinged),
        pinged=echoed([*pinged, *carved_pinged]),
        published=addressed(published),
        inbound=served(inbound),
        inbound_bare=numbered(inbound_bare),
        management=_plain(settings.management, version),
        shared=served(shared),
        endpoints=served(endpoints),
        kernel=served(kernel),
        outbound=[
            f"{_text(rule.network)} . {rule.key[0]} . {_span(rule.ports)} . {rule.key[1]}"
            for rule in disjoint(outbound, version)
        ],
        outbound_pinged=numbered(outbound_pinged),
        outbound_bare=numbered(outbound_bare),
        denied=_DENIED[version],
        metadata=_METADATA[version],
    )


Addressed = list[Rule[tuple[str, str]]]


def _of_agents(
    agents: dict[str, AgentSettings],
) -> tuple[Addressed, Addressed, list[Rule[str]], list[Rule[str]], Addressed, Addressed]:
    carved: Addressed = []
    allowed: Addressed = []
    carved_pinged: list[Rule[str]] = []
    pinged: list[Rule[str]] = []
    published: Addressed = []
    gateways: Addressed = []
    for name, agent in agents.items():
        on = interface(name)
        for one in agent.allow:
            if one.protocol == "icmp":
                (carved_pinged if one.carve_out else pinged).append(Rule(one.to, (0, 0), on))
            else:
                target = carved if one.carve_out else allowed
                target += [Rule(one.to, ports, (on, one.protocol)) for ports in one.ports]
        endpoints = [endpoint for granted in agent.metadata for endpoint in METADATA[granted].endpoints]
        # An endpoint may be an address of the host itself or lie behind it.
        carved += [_rule(endpoint, on) for endpoint in endpoints]
        gateways += [_rule(endpoint, on) for endpoint in endpoints]
        if agent.names:
            gateways += [Rule(_single(network), (PROXY_PORT, PROXY_PORT), (on, "tcp")) for network in agent.networks]
        published += [
            Rule(source, (one.port, one.port), (on, one.protocol)) for one in agent.published for source in one.sources
        ]
    return carved, allowed, carved_pinged, pinged, published, gateways


def _of_host(
    settings: EgressSettings,
) -> tuple[list[Rule[str]], list[Rule[str]], list[Rule[str]], list[Rule[tuple[str, int]]], list[Rule[int]]]:
    shared: list[Rule[str]] = []
    for server in settings.resolvers:
        shared += [Rule(server, (DNS_PORT, DNS_PORT), protocol) for protocol in ("tcp", "udp")]
    shared += [Rule(server, (NTP_PORT, NTP_PORT), "udp") for server in settings.time_servers]
    kernel: list[Rule[str]] = []
    outbound: list[Rule[tuple[str, int]]] = []
    pinged: list[Rule[int]] = []
    for one in settings.host:
        if isinstance(one.user, str):
            kernel += [Rule(one.to, ports, one.protocol) for ports in one.ports]
            continue
        if one.protocol == "icmp":
            pinged.append(Rule(one.to, (0, 0), one.user))
        outbound += [Rule(one.to, ports, (one.protocol, one.user)) for ports in one.ports]
    endpoints: list[Rule[str]] = [
        Rule(endpoint.address, (endpoint.port, endpoint.port), endpoint.protocol)
        for name in settings.metadata
        for endpoint in METADATA[name].endpoints
    ]
    return shared, endpoints, kernel, outbound, pinged


def _rule(endpoint: Endpoint, on: str) -> Rule[tuple[str, str]]:
    return Rule(endpoint.address, (endpoint.port, endpoint.port), (on, endpoint.protocol))


def _single(network: Network) -> Network:
    """The gateway of a network, as a network of its own."""
    return type(network)(network[1])


def _text(network: Network) -> str:
    """An address alone where the network has but one."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _span(interval: Interval) -> str:
    return str(interval[0]) if interval[0] == interval[1] else f"{interval[0]}-{interval[1]}"


def _plain(networks: Iterable[Network], version: int) -> list[str]:
    return [_text(network) for network in _collapsed(one for one in networks if one.version == version)]


_DENIED = {version: _plain(DENIED, version) for version in (4, 6)}
_METADATA = {
    version: _plain((endpoint.address for one in METADATA.values() for endpoint in one.endpoints), version)
    for version in (4, 6)
}
"""IP version → elements that are the same on every host."""
