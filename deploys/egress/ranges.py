"""Where no agent may go unless the inventory says so by name: private and special ranges, and metadata endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

Network = IPv4Network | IPv6Network
Protocol = Literal["tcp", "udp", "icmp"]

BARE = {
    "igmp": 2,
    "ipencap": 4,
    "ipv6": 41,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "eigrp": 88,
    "ospf": 89,
    "ipip": 94,
    "etherip": 97,
    "pim": 103,
    "ipcomp": 108,
    "vrrp": 112,
    "l2tp": 115,
}
"""Protocols right above IP that have no ports, by their names in Debian's /etc/protocols (IANA, protocol numbers). The
ruleset has the numbers, since a host without that file (package netbase) knows no names."""

ONLY_IPV4 = {
    "igmp": "IPv6 has ICMPv6 in its place",
    "ah": "over IPv6 it is a header in front of another protocol, by which nftables takes the packet",
}
"""The ones of `BARE` that mean nothing over IPv6 → why."""

DENIED: dict[Network, str] = {
    ip_network(range_): reason
    for range_, reason in (
        ("0.0.0.0/8", "this network (RFC 791)"),
        ("10.0.0.0/8", "private (RFC 1918)"),
        ("100.64.0.0/10", "shared by carriers, clouds' own services (RFC 6598)"),
        ("127.0.0.0/8", "loopback (RFC 1122)"),
        ("168.63.129.16/32", "Azure's wire server"),
        ("169.254.0.0/16", "link-local, metadata (RFC 3927)"),
        ("172.16.0.0/12", "private (RFC 1918)"),
        ("192.0.0.0/24", "protocol assignments, Oracle's metadata (RFC 6890)"),
        ("192.168.0.0/16", "private (RFC 1918)"),
        ("198.18.0.0/15", "benchmarks of network devices (RFC 2544)"),
        ("224.0.0.0/3", "multicast, reserved, broadcast (RFC 5771, RFC 1112)"),
        ("::/96", "unspecified, loopback, IPv4-compatible (RFC 4291)"),
        ("::ffff:0:0/96", "IPv4-mapped (RFC 4291)"),
        ("64:ff9b::/96", "translated to IPv4 (RFC 6052)"),
        ("64:ff9b:1::/48", "translated to IPv4 locally (RFC 8215)"),
        ("100::/64", "discard (RFC 6666)"),
        ("2001::/32", "Teredo, holds an IPv4 address (RFC 4380)"),
        ("2002::/16", "6to4, holds an IPv4 address (RFC 3056)"),
        ("fc00::/7", "unique local, metadata (RFC 4193)"),
        ("fe80::/10", "link-local (RFC 4291)"),
        ("fec0::/10", "site-local (RFC 3879)"),
        ("ff00::/8", "multicast (RFC 4291)"),
    )
}
"""Range → why agents, and the egress proxy on their behalf, never reach it, whatever a name resolves to. No two
overlap."""


def within(network: Network, others: Iterable[Network]) -> Network | None:
    """The one of `others` that `network` lies in; None where it lies in none of them as a whole."""
    return next((other for other in others if _covers(other, network)), None)


def _covers(outer: Network, inner: Network) -> bool:
    return (
        outer.version == inner.version
        and outer.network_address <= inner.network_address  # type: ignore[operator]
        and inner.broadcast_address <= outer.broadcast_address  # type: ignore[operator]
    )


@dataclass(frozen=True)
class Endpoint:
    """One address and port where a cloud gives out instance data or credentials."""

    address: Network
    protocol: Protocol
    port: int


@dataclass(frozen=True)
class Metadata:
    """A cloud's endpoints under one name. `reference` says where the cloud documents them.

    `agents` tells whether an agent may ever be given them: what they hold is then meant for workloads, not for the
    machine.
    """

    endpoints: tuple[Endpoint, ...]
    reference: str
    agents: bool = False


def _http(*addresses: str, ports: tuple[int, ...] = (80,)) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(ip_network(address), "tcp", port) for address in addresses for port in ports)


METADATA: dict[str, Metadata] = {
    "alibaba": Metadata(_http("100.100.100.200"), "Alibaba Cloud ECS, instance metadata"),
    "aws": Metadata(_http("169.254.169.254", "fd00:ec2::254"), "Amazon EC2, instance metadata service"),
    "aws-ecs-tasks": Metadata(_http("169.254.170.2"), "Amazon ECS, task IAM roles", agents=True),
    "azure": Metadata(_http("169.254.169.254"), "Azure, instance metadata service"),
    "azure-wire-server": Metadata(
        (
            *_http("168.63.129.16", ports=(80, 32526)),
            *(Endpoint(ip_network("168.63.129.16"), protocol, 53) for protocol in ("tcp", "udp")),
        ),
        "Azure, what is IP address 168.63.129.16",
    ),
    "eks-pod-identity": Metadata(
        _http("169.254.170.23", "fd00:ec2::23"), "Amazon EKS, pod identity agent", agents=True
    ),
    "google": Metadata(_http("169.254.169.254", "fd20:ce::254"), "Google Compute Engine, metadata server"),
    "openstack": Metadata(_http("169.254.169.254", "fe80::a9fe:a9fe"), "OpenStack Nova, metadata service"),
    "oracle": Metadata(_http("169.254.169.254", "fd00:c1::a9fe:a9fe"), "Oracle Cloud, instance metadata service"),
    "scaleway": Metadata(_http("169.254.42.42", "fd00:42::42"), "Scaleway, metadata API"),
    "tencent": Metadata(_http("169.254.0.23"), "Tencent Cloud CVM, instance metadata"),
}
"""Name → endpoints. All lie in `DENIED`; only the one that the inventory names is let through, and only to its uid."""


def metadata_in(network: Network) -> str | None:
    """The name of a metadata endpoint that lies in `network`, which holds nothing but denied addresses."""
    return next(
        (
            name
            for name, metadata in METADATA.items()
            for endpoint in metadata.endpoints
            if _covers(network, endpoint.address)
        ),
        None,
    )
