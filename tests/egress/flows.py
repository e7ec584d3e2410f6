"""The flows: what is sent from where to where, and whether the policy below lets it pass. Written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

POLICY: dict[str, Any] = {
    "management": ["198.51.100.1", "2001:db8:3::/64"],
    "services": [
        {"port": 9100, "sources": ["198.51.100.9"]},
        {"protocol": "vrrp", "sources": ["198.51.100.9"]},
        {"protocol": "esp", "sources": ["2001:db8:3::/64"]},
    ],
    "resolvers": ["198.51.100.53", "2001:db8:2::53"],
    "time_servers": ["198.51.100.123"],
    "host": [
        {"to": "203.0.113.80", "ports": [80]},
        {"to": "203.0.113.80", "ports": [443], "user": 1001},
        {"to": "203.0.113.80", "protocol": "icmp"},
        {"to": "203.0.113.80", "protocol": "esp"},
        {"to": "203.0.113.80", "protocol": "ah"},
        {"to": "203.0.113.80", "protocol": "gre"},
        {"to": "2001:db8:2::53", "protocol": "esp"},
        {"to": "0.0.0.0/0", "protocol": "vrrp"},
    ],
    "metadata": ["aws", "azure-wire-server"],
    "agents": {
        "alpha": {
            "subnet4": "172.30.1.0/24",
            "subnet6": "fd42:1::/64",
            "allow": [
                {"to": "203.0.113.10", "ports": [443, "8000-8100"]},
                {"to": "203.0.113.10", "protocol": "udp", "ports": [4433]},
                {"to": "203.0.113.10", "protocol": "icmp"},
                {"to": "2001:db8:1::10", "ports": [443]},
                {"to": "2001:db8:1::10", "protocol": "udp", "ports": [4433]},
                {"to": "2001:db8:1::10", "protocol": "icmp"},
                {"to": "10.9.0.0/24", "ports": [5432], "carve_out": "the database of the team"},
            ],
            "names": {"api.example.com": [443]},
        },
        "beta": {
            "subnet4": "172.30.2.0/24",
            "subnet6": "fd42:2::/64",
            "published": [{"port": 8080, "sources": ["198.51.100.0/24", "10.66.0.0/24", "2001:db8:3::/64"]}],
            "metadata": {"eks-pod-identity": "signs its uploads"},
        },
    },
}


@dataclass(frozen=True)
class Flow:
    """One thing that is sent. `receiver` is asked whether it came where the sender can't tell."""

    name: str
    sender: str
    request: dict[str, Any]
    allowed: bool
    receiver: str = "world"


def _each(
    sender: str, addresses: dict[str, str], kinds: str, port: int, *, allowed: bool = False, receiver: str = "world"
) -> Iterator[Flow]:
    for what, address in addresses.items():
        for kind in kinds.split():
            to = "" if kind == "icmp" else f" {port}"
            yield Flow(
                f"{sender} {kind} {what} {address}{to}",
                sender,
                {"op": kind, "to": address, "port": port},
                allowed,
                receiver,
            )


def _one(
    name: str, sender: str, op: str, to: str, port: int, allowed: bool, receiver: str = "world", **more: Any
) -> Flow:
    return Flow(f"{sender} {name}", sender, {"op": op, "to": to, "port": port, **more}, allowed, receiver)


# Nothing in such packets tells two flows between the same addresses apart, so each needs addresses of its own.
NUMBERS = {"igmp": 2, "gre": 47, "esp": 50, "ah": 51, "vrrp": 112}


def _bare(sender: str, names: str, to: str, allowed: bool, receiver: str = "world", **more: Any) -> Iterator[Flow]:
    for name in names.split():
        where = f"{to}, from {more['bind']}" if more else to
        yield _one(f"{name} {where}", sender, "bare", to, 0, allowed, receiver, protocol=NUMBERS[name], **more)


METADATA = {
    "AWS": "169.254.169.254",
    "ECS, which DNAT leads elsewhere": "169.254.170.2",
    "Azure": "168.63.129.16",
    "Alibaba": "100.100.100.200",
    "Scaleway": "169.254.42.42",
    "Tencent": "169.254.0.23",
    "Oracle": "192.0.0.192",
    "AWS v6": "fd00:ec2::254",
    "Google v6": "fd20:ce::254",
    "Oracle v6": "fd00:c1::a9fe:a9fe",
    "Scaleway v6": "fd00:42::42",
}
PRIVATE = {
    "private 10": "10.66.0.5",
    "private 172": "172.20.0.5",
    "private 192": "192.168.77.5",
    "carrier": "100.64.0.9",
    "benchmark": "198.18.0.9",
    "unique local": "fd66::5",
    "NAT64": "64:ff9b::a42:5",
    "6to4": "2002:a42:5::1",
}
PUBLIC = {"public": "203.0.113.66", "public v6": "2001:db8:1::66"}
RESOLVERS = {
    "the host's resolver": "198.51.100.53",
    "another resolver": "203.0.113.53",
    "the host's resolver v6": "2001:db8:2::53",
    "another resolver v6": "2001:db8:1::53",
}
OWN = {"allowed": "203.0.113.10", "allowed v6": "2001:db8:1::10"}
HOST = {
    "gateway": "172.30.1.1",
    "gateway v6": "fd42:1::1",
    "gateway of another": "172.30.2.1",
    "gateway of another v6": "fd42:2::1",
    "outer address": "192.0.2.2",
    "outer address v6": "2001:db8::2",
    "link-local gateway": "fe80::1%eth0",
    "link-local metadata": "fe80::a9fe:a9fe%eth0",
}

DENIED_TO_AGENTS = [
    *_each("alpha", METADATA, "tcp icmp", 80),
    *_each("alpha", {"AWS": "169.254.169.254", "AWS v6": "fd00:ec2::254"}, "udp", 80),
    *_each("alpha", {"Azure": "168.63.129.16"}, "tcp", 32526),
    *_each("alpha", {"EKS": "169.254.170.23", "EKS v6": "fd00:ec2::23"}, "tcp icmp", 80, receiver="host"),
    *_each("alpha", PRIVATE, "tcp udp icmp", 443),
    *_each("alpha", PUBLIC, "tcp udp icmp", 443),
    *_each("alpha", OWN, "tcp", 80),
    *_each("alpha", OWN, "udp", 443),
    *_each("alpha", {"carve-out": "10.9.0.5"}, "tcp", 22),
    *_each("alpha", {"carve-out": "10.9.0.5"}, "udp icmp", 5432),
    *_each("alpha", RESOLVERS, "tcp udp", 53),
    *_each("alpha", RESOLVERS, "tcp", 853),
    *_each("alpha", RESOLVERS, "tcp", 443),
    *_each("alpha", {"neighbour": "172.30.2.2", "neighbour v6": "fd42:2::2"}, "tcp udp icmp", 9000, receiver="beta"),
    *_each("beta", {"neighbour": "172.30.1.2", "neighbour v6": "fd42:1::2"}, "tcp udp icmp", 9000, receiver="alpha"),
    *_each("beta", OWN, "tcp icmp", 443),
    *_each("beta", {"carve-out of another": "10.9.0.5"}, "tcp", 5432),
    *_each("beta", {"gateway": "172.30.2.1", "gateway v6": "fd42:2::1"}, "tcp", 3128, receiver="host"),
    *_each("alpha", HOST, "tcp", 22, receiver="host"),
    *_each("alpha", HOST, "tcp", 2375, receiver="host"),
    *_each("alpha", HOST, "udp", 53, receiver="host"),
    *_each("alpha", HOST, "icmp", 0, receiver="host"),
    *_each(
        "alpha", {"a published port": "192.0.2.2", "a published port v6": "2001:db8::2"}, "tcp", 8080, receiver="beta"
    ),
    *_each("other", OWN, "tcp icmp", 443),
    *_each("other", {"agent": "172.30.1.2"}, "tcp", 9000, receiver="alpha"),
    _one("fragments", "alpha", "udp", "203.0.113.66", 4433, False, size=4000),
    _one("fragments v6", "alpha", "udp", "2001:db8:1::66", 4433, False, size=4000),
    _one("raw", "alpha", "raw", "203.0.113.66", 443, False, source="172.30.1.2"),
    _one("raw v6", "alpha", "raw", "2001:db8:1::66", 443, False, source="fd42:1::2"),
    _one("spoofs its neighbour", "alpha", "raw", "203.0.113.10", 4433, False, source="172.30.2.2"),
    _one("spoofs another", "alpha", "raw", "203.0.113.10", 4433, False, source="203.0.113.99"),
    _one("spoofs its neighbour v6", "alpha", "raw", "2001:db8:1::10", 4433, False, source="fd42:2::2"),
    _one("spoofs another v6", "alpha", "raw", "2001:db8:1::10", 4433, False, source="2001:db8:7::9"),
    _one("frame", "alpha", "frame", "203.0.113.66", 443, False, source="172.30.1.2"),
    _one("frame v6", "alpha", "frame", "2001:db8:1::66", 443, False, source="fd42:1::2"),
    _one("frame, spoofed", "alpha", "frame", "203.0.113.10", 4433, False, source="172.30.2.2"),
    _one("frame to metadata", "alpha", "frame", "169.254.169.254", 80, False, source="172.30.1.2"),
    *_bare("alpha", "esp ah gre vrrp igmp", "203.0.113.10", False),
    *_bare("alpha", "esp gre", "2001:db8:1::10", False),
    *_bare("alpha", "esp vrrp", "172.30.1.1", False, "host"),
    _one("frame to the host", "alpha", "frame", "192.0.2.2", 53, False, "host", source="172.30.1.2"),
]

ALLOWED_TO_AGENTS = [
    *_each("alpha", OWN, "tcp", 443, allowed=True),
    *_each("alpha", {"range": "203.0.113.10"}, "tcp", 8000, allowed=True),
    *_each("alpha", {"end of range": "203.0.113.10"}, "tcp", 8100, allowed=True),
    *_each("alpha", OWN, "udp icmp", 4433, allowed=True),
    *_each("alpha", {"carve-out": "10.9.0.5"}, "tcp", 5432, allowed=True),
    *_each("alpha", {"proxy": "172.30.1.1", "proxy v6": "fd42:1::1"}, "tcp", 3128, allowed=True, receiver="host"),
    *_each(
        "alpha",
        {"its twin": "172.30.1.3", "its twin v6": "fd42:1::3"},
        "tcp udp icmp",
        9000,
        allowed=True,
        receiver="twin",
    ),
    *_each("beta", {"EKS": "169.254.170.23", "EKS v6": "fd00:ec2::23"}, "tcp", 80, allowed=True, receiver="host"),
    _one("fragments to the allowed", "alpha", "udp", "203.0.113.10", 4433, True, size=4000),
    _one("fragments to the allowed v6", "alpha", "udp", "2001:db8:1::10", 4433, True, size=4000),
    _one("raw to the allowed", "alpha", "raw", "203.0.113.10", 4433, True, source="172.30.1.2"),
    _one("frame to the allowed", "alpha", "frame", "203.0.113.10", 4433, True, source="172.30.1.2"),
]

OF_THE_HOST = [
    *_each("host", RESOLVERS | {"none": "203.0.113.66"}, "tcp", 443),
    *_each("host", {"resolver": "198.51.100.53", "resolver v6": "2001:db8:2::53"}, "tcp udp", 53, allowed=True),
    *_each("host", {"another resolver": "203.0.113.53", "another resolver v6": "2001:db8:1::53"}, "tcp udp", 53),
    *_each("host", {"time": "198.51.100.123"}, "udp", 123, allowed=True),
    *_each("host", {"mirror": "203.0.113.80"}, "tcp icmp", 80, allowed=True),
    *_each("host", {"mirror": "203.0.113.80"}, "tcp", 443),
    *_each("host", {"metadata": "169.254.169.254", "metadata v6": "fd00:ec2::254"}, "tcp", 80, allowed=True),
    *_each("host", {"wire server": "168.63.129.16"}, "tcp", 32526, allowed=True),
    *_each("host", {"metadata of another cloud": "100.100.100.200"}, "tcp", 80),
    _one("as a user to the resolver", "host", "udp", "198.51.100.53", 53, True, uid=1000),
    _one("as a user of a container to the resolver", "host", "udp", "198.51.100.53", 53, False, uid=100000),
    _one("as a user to the mirror", "host", "tcp", "203.0.113.80", 80, False, uid=1000),
    _one("as the user it is for", "host", "tcp", "203.0.113.80", 443, True, uid=1001),
    _one("as a user to the metadata", "host", "tcp", "169.254.169.254", 80, False, uid=1000),
    _one("as a user to the metadata v6", "host", "tcp", "fd00:ec2::254", 80, False, uid=1000),
    _one("as the proxy to anything public", "host", "tcp", "203.0.113.66", 443, True, uid=13),
    _one("as the proxy to anything public v6", "host", "tcp", "2001:db8:1::66", 443, True, uid=13),
    _one("as the proxy to a port of no name", "host", "tcp", "203.0.113.66", 25, False, uid=13),
    _one("as the proxy to a private address", "host", "tcp", "10.66.0.5", 443, False, uid=13),
    _one("as the proxy to a private address v6", "host", "tcp", "fd66::5", 443, False, uid=13),
    _one("as the proxy to an address in disguise", "host", "tcp", "64:ff9b::a42:5", 443, False, uid=13),
    _one("asks a published port, for its health", "host", "tcp", "172.30.2.2", 8080, True, "beta"),
    *_bare("host", "esp ah gre vrrp", "203.0.113.80", True),
    *_bare("host", "igmp", "203.0.113.80", False),
    *_bare("host", "esp ah gre", "203.0.113.66", False),
    *_bare("host", "esp", "2001:db8:2::53", True),
    *_bare("host", "gre", "2001:db8:2::53", False),
    *_bare("host", "esp", "2001:db8:1::66", False),
    *_bare("host", "vrrp", "203.0.113.66", True),
    *_bare("host", "vrrp", "169.254.169.254", False),
    _one("asks another port of an agent", "host", "tcp", "172.30.2.2", 9000, False, "beta"),
]

INTO_THE_HOST = [
    _one("manages it", "world", "tcp", "192.0.2.2", 22, True, "host", bind="198.51.100.1"),
    _one("manages it v6", "world", "tcp", "2001:db8::2", 22, True, "host", bind="2001:db8:3::1"),
    _one("pings it from there", "world", "icmp", "192.0.2.2", 0, True, "host", bind="198.51.100.1"),
    _one("pings it from elsewhere", "world", "icmp", "192.0.2.2", 0, False, "host", bind="203.0.113.66"),
    _one("pings it from elsewhere v6", "world", "icmp", "2001:db8::2", 0, False, "host", bind="2001:db8:1::66"),
    _one("asks its exporter", "world", "tcp", "192.0.2.2", 9100, True, "host", bind="198.51.100.9"),
    _one("asks its exporter from elsewhere", "world", "tcp", "192.0.2.2", 9100, False, "host", bind="203.0.113.66"),
    _one("logs in from elsewhere", "world", "tcp", "192.0.2.2", 22, False, "host", bind="203.0.113.66"),
    _one("logs in from elsewhere v6", "world", "tcp", "2001:db8::2", 22, False, "host", bind="2001:db8:1::66"),
    *_bare("world", "vrrp", "192.0.2.2", True, "host", bind="198.51.100.9"),
    *_bare("world", "vrrp", "192.0.2.2", False, "host", bind="198.51.100.123"),
    *_bare("world", "esp igmp", "192.0.2.2", False, "host", bind="198.51.100.9"),
    *_bare("world", "esp", "2001:db8::2", True, "host", bind="2001:db8:3::1"),
    *_bare("world", "esp", "2001:db8::2", False, "host", bind="2001:db8:1::53"),
    _one("asks the engine", "world", "tcp", "192.0.2.2", 2375, False, "host", bind="198.51.100.1"),
    _one("asks what is published", "world", "tcp", "192.0.2.2", 8080, True, "beta", bind="198.51.100.9"),
    _one("asks what is published, from within", "world", "tcp", "192.0.2.2", 8080, True, "beta", bind="10.66.0.5"),
    _one("asks what is published v6", "world", "tcp", "2001:db8::2", 8080, True, "beta", bind="2001:db8:3::1"),
    _one(
        "asks what is published from elsewhere", "world", "tcp", "192.0.2.2", 8080, False, "beta", bind="203.0.113.66"
    ),
    _one(
        "asks the agent past what is published", "world", "tcp", "172.30.2.2", 8080, False, "beta", bind="198.51.100.9"
    ),
    _one("asks another port of the agent", "world", "tcp", "172.30.2.2", 9000, False, "beta", bind="198.51.100.9"),
]

FLOWS = [*DENIED_TO_AGENTS, *ALLOWED_TO_AGENTS, *OF_THE_HOST, *INTO_THE_HOST]
