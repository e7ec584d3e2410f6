"""The inventory's `egress`: who may manage the host, what the host may reach, and what each agent may reach."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from bulkhead.errors import BulkheadError
from bulkhead.inventory import GVISOR_HOSTS, LEGACY_HOSTS, InventoryHost, Settings, engines, once, read
from bulkhead.trial import Seconds
from deploys.egress.ranges import BARE, DENIED, METADATA, ONLY_IPV4, Network, Protocol, metadata_in, within

KEY = "egress"

INTERFACE_PREFIX = "bh-"
CONNECT_SECONDS = 15
"""Seconds that a new connection and the confirmation itself may take, of those that the policy waits for it."""

IFNAMSIZ = 16
"""Bytes of an interface's name with the zero at its end (Linux, include/uapi/linux/if.h)."""

OWN_USERS = (0, 65533)
"""The uids of the host's own users; those of user namespaces begin above (login.defs, SUB_UID_MIN)."""

_WIDEST = {4: 8, 6: 32}
"""IP version → the widest network of an agent, in bits of its prefix."""

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"\.?({_LABEL}\.)+{_LABEL}")
DOCKER_NETWORKS = ("bridge", "default", "host", "none")

_LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))

KERNEL = "kernel"

_DIGITS = re.compile(r"[0-9]{1,5}")
_AGENT = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")


def _network(value: object) -> Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if not isinstance(value, str) or "%" in value:
        raise ValueError(f"{value!r} is not an address or a CIDR range")
    try:
        return ip_network(value)
    except ValueError as error:
        try:
            meant = ip_network(value, strict=False)
        except ValueError:
            raise ValueError(f"{value!r} is not an address or a CIDR range") from error
        raise ValueError(f"{value!r} has bits set behind its prefix (did you mean {meant}?)") from error


def _number(value: object) -> int:
    """A number, or digits that say one; 0 for anything else."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _ports(value: object) -> tuple[int, int]:
    """A port, or a range such as "8000-8100", as its first and last port."""
    given = value if isinstance(value, tuple) else value.split("-") if isinstance(value, str) else (value,)
    numbers = [_number(part) for part in given]
    if len(numbers) not in (1, 2) or not 1 <= numbers[0] <= numbers[-1] <= 65535:
        raise ValueError(f"{value!r} is not a port (1 to 65535) or a range such as '8000-8100'")
    return numbers[0], numbers[-1]


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value) or len(value) > 253:
        raise ValueError(
            f"{value!r} is not a host name such as 'api.example.com', or '.example.com' for all below it (lower case)"
        )
    if value.rpartition(".")[2].isdigit():
        raise ValueError(f"{value!r} is an address: say it under allow")
    return value


def _user(value: object) -> object:
    if value != KERNEL and not (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32 - 1):
        raise ValueError(f"{value!r} is neither a uid (a number) nor {KERNEL!r}")
    return value


def _agents_protocol(value: object) -> object:
    if value in BARE:
        raise ValueError(
            f"{value} has no ports, by which an agent's flows would be told apart behind the host's address; "
            "the host alone can be given it (egress.host, egress.services)"
        )
    return value


def _protocol(value: object) -> str:
    known = (*get_args(Protocol), *BARE)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return value


def _refuse_ipv6(protocol: str, networks: Iterable[Network], key: str) -> None:
    for network in networks:
        if protocol in ONLY_IPV4 and network.version == 6:
            raise ValueError(f"{key}: {network}: {protocol} is for IPv4 alone: {ONLY_IPV4[protocol]}")


Range = Annotated[Network, BeforeValidator(_network)]
Ports = Annotated[tuple[int, int], BeforeValidator(_ports)]
Name = Annotated[str, BeforeValidator(_name)]
User = Annotated[int | Literal["kernel"], BeforeValidator(_user)]


class Destination(Settings):
    """What may be reached: addresses by protocol and ports; `icmp` is echo requests and has no ports."""

    to: Range
    protocol: Annotated[str, BeforeValidator(_protocol)] = "tcp"
    ports: list[Ports] = Field(default_factory=list)

    @model_validator(mode="after")
    def _complete(self) -> Destination:
        portless = self.protocol == "icmp" or self.protocol in BARE
        if portless and self.ports:
            raise ValueError(f"ports: {self.protocol} has none")
        if not portless and not self.ports:
            raise ValueError(f"ports: say which ports of {self.to} ({self.protocol})")
        return self


class AgentDestination(Destination):
    """A destination of an agent. Inside the denied ranges it needs `carve_out`: the reason for the exception.

    A range that holds denied ones, such as `0.0.0.0/0`, is allowed but for these.
    """

    protocol: Annotated[Protocol, BeforeValidator(_agents_protocol)] = "tcp"
    carve_out: str = ""


class HostDestination(Destination):
    """A destination of the host itself, for one user by number: an unknown name would fail the whole ruleset.

    `kernel` is what no process sends: NFS, iSCSI, WireGuard. Protocols without ports, such as `esp`, are for whoever
    sends them, which is root or the kernel: what the kernel wraps has the uid of whoever sent what is inside.
    """

    user: User = 0

    @model_validator(mode="after")
    def _no_metadata(self) -> HostDestination:
        endpoint = metadata_in(self.to) if within(self.to, DENIED) else None
        if endpoint:
            raise ValueError(f"to: {self.to} holds the metadata endpoint {endpoint}: name it under metadata instead")
        if self.user == KERNEL and self.protocol == "icmp":
            raise ValueError("user: the kernel sends no echo requests")
        if self.protocol in BARE and "user" in self.model_fields_set:
            raise ValueError(f"user: {self.protocol} is sent by root or the kernel alone: leave user out")
        _refuse_ipv6(self.protocol, [self.to], "to")
        return self


class Published(Settings):
    """A port that the agent's container listens on and the engine publishes; `sources` may come in."""

    port: Annotated[int, Field(ge=1, le=65535)]
    protocol: Literal["tcp", "udp"] = "tcp"
    sources: list[Range] = Field(
        default_factory=lambda: [ip_network("0.0.0.0/0"), ip_network("::/0")],
        min_length=1,
    )


class Service(Settings):
    """A service of the host itself, such as a metrics exporter, and who may reach it.

    Protocols without ports, such as `vrrp`, have none: whatever its peers send by them comes in.
    """

    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    protocol: Annotated[str, BeforeValidator(_protocol)] = "tcp"
    sources: list[Range] = Field(min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> Service:
        if self.protocol == "icmp":
            raise ValueError("protocol: echo requests are answered to management sources, and to nobody else")
        if self.protocol in BARE and self.port is not None:
            raise ValueError(f"port: {self.protocol} has none")
        if self.protocol not in BARE and self.port is None:
            raise ValueError(f"port: say which port ({self.protocol})")
        _refuse_ipv6(self.protocol, self.sources, "sources")
        return self


class AgentSettings(Settings):
    """One agent: its own network, and all that it may reach. What is not named is denied."""

    subnet4: Range
    subnet6: Range | None = None
    engine: Literal["docker", "containerd"] | None = None
    """Which of the host's engines runs it and makes its network; Docker if the host has that."""

    allow: list[AgentDestination] = Field(default_factory=list)
    names: dict[Name, Annotated[list[Annotated[int, Field(ge=1, le=65535)]], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    """Host name → ports, reached through the egress proxy on the agent's gateway."""

    published: list[Published] = Field(default_factory=list)
    metadata: dict[str, str] = Field(default_factory=dict)
    """Endpoint of the catalogue that is meant for workloads → reason."""

    @model_validator(mode="after")
    def _right(self) -> AgentSettings:
        for key, network, version, longest in (("subnet4", self.subnet4, 4, 29), ("subnet6", self.subnet6, 6, 125)):
            if network is not None and network.version != version:
                raise ValueError(f"{key}: {network} is not IPv{version}")
            if network is not None and network.prefixlen > longest:
                raise ValueError(f"{key}: {network} is too small: at most /{longest}")
            if network is not None and (why := _unfit(network)):
                raise ValueError(f"{key}: {network} can't be an agent's network: {why}")
        for destination in self.allow:
            inside = within(destination.to, DENIED)
            endpoint = metadata_in(destination.to) if inside else None
            if endpoint:
                raise ValueError(
                    f"allow: {destination.to} holds the metadata endpoint {endpoint}: no carve_out opens it; "
                    "narrow the range, or name the endpoint under metadata if it is one for workloads"
                )
            if inside and not destination.carve_out.strip():
                raise ValueError(
                    f"allow: {destination.to} lies in {inside}, which agents are denied; "
                    "say why it is an exception with carve_out"
                )
            if destination.carve_out and not inside:
                raise ValueError(f"allow: {destination.to} is no exception: leave carve_out out")
            if own := within(destination.to, [*self.networks, *_LOOPBACK]):
                raise ValueError(
                    f"allow: {destination.to} lies in {own}, where the agent itself and this host are: an agent "
                    "reaches no service of the host, and all of its own network without being allowed"
                )
            if destination.to.version == 6 and self.subnet6 is None:
                raise ValueError(f"allow: {destination.to} is IPv6, but the agent has no subnet6")
        for name, reason in self.metadata.items():
            _refuse_unknown_metadata(name)
            if not METADATA[name].agents:
                raise ValueError(f"metadata: {name} holds the machine's own credentials: no agent gets it")
            if not reason.strip():
                raise ValueError(f"metadata: {name}: say why the agent needs it")
        return self

    @property
    def networks(self) -> tuple[Network, ...]:
        """The agent's networks: IPv4, and IPv6 where it has one."""
        return (self.subnet4,) if self.subnet6 is None else (self.subnet4, self.subnet6)

    @property
    def gateways(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The addresses of the host on the agent's bridge: the first of each of its networks."""
        return tuple(network[1] for network in self.networks)


def _unfit(network: Network) -> str:
    """Why no agent can have a network; empty when one can. What lies in an agent's own network is not denied to it."""
    if network.prefixlen < _WIDEST[network.version]:
        return f"it is wider than /{_WIDEST[network.version]}"
    if network.is_loopback or network.is_multicast or network.is_link_local or network.is_unspecified:
        return "it is loopback, multicast or link-local"
    endpoint = metadata_in(network)
    return f"it holds the metadata endpoint {endpoint}" if endpoint else ""


class EgressSettings(Settings):
    """The whole policy of one host."""

    off: str = ""
    """Why a gVisor host has none: a node that routes a cluster's own network of pods, say. Nothing is denied there."""

    management: list[Range] = Field(default_factory=list)
    """Who may open an ssh connection to the host. Whoever runs Bulkhead has to be among them."""

    management_ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(default_factory=lambda: [22], min_length=1)
    services: list[Service] = Field(default_factory=list)
    resolvers: list[Range] = Field(default_factory=list)
    """Name servers of the host and of the egress proxy, port 53."""

    time_servers: list[Range] = Field(default_factory=list)
    """NTP servers, port 123/udp."""

    host: list[HostDestination] = Field(default_factory=list)
    """What else the host may reach, such as package mirrors (uid 0, and 42 for Debian's `_apt`)."""

    metadata: list[str] = Field(default_factory=list)
    """Endpoints of the catalogue that root on the host may reach, such as `aws` or `azure-wire-server`."""

    agents: dict[str, AgentSettings] = Field(default_factory=dict)
    confirm_seconds: Seconds = 60
    """Seconds after which a new ruleset that nobody confirmed gives way to the one before."""

    probes: list[str] = Field(default_factory=list)
    """Commands that must succeed on the host under a new ruleset, over a new connection, for it to stay."""

    @model_validator(mode="after")
    def _right(self) -> EgressSettings:
        if self.off.strip():
            if self.model_fields_set != {"off"}:
                raise ValueError(f"off: a host without a policy has no {', '.join(self.model_fields_set - {'off'})}")
            return self
        if "off" in self.model_fields_set:
            raise ValueError("off: say why the host has no policy, or leave it out")
        if not self.management:
            raise ValueError("management: without management sources the host would lock everybody out")
        for name in self.agents:
            _check_name(name)
        for (name, agent), (other_name, other) in itertools.permutations(self.agents.items(), 2):
            for network in other.networks:
                for own in agent.networks:
                    if own.overlaps(network) and name < other_name:
                        raise ValueError(f"agents: the networks of {name} ({own}) and {other_name} ({network}) overlap")
                for destination in agent.allow:
                    if within(destination.to, [network]):
                        raise ValueError(
                            f"agents.{name}.allow: {destination.to} lies in {network}, the network of {other_name}"
                        )
        for name in self.metadata:
            _refuse_unknown_metadata(name)
        if self.probes and probe_seconds(self) < 1:
            raise ValueError(
                f"confirm_seconds: {self.confirm_seconds} seconds are too short for {len(self.probes)} probes; "
                f"at least {CONNECT_SECONDS + len(self.probes)}"
            )
        return self


def interface(agent: str) -> str:
    """The name of the agent's bridge."""
    return INTERFACE_PREFIX + agent


def _check_name(agent: str) -> None:
    longest = IFNAMSIZ - 1 - len(INTERFACE_PREFIX)
    if len(agent) > longest:
        raise ValueError(
            f"agents: {agent!r}: its interface {interface(agent)} would be longer than Linux allows: "
            f"at most {longest} characters"
        )
    if not _AGENT.fullmatch(agent):
        raise ValueError(f"agents: {agent!r} is not a name of lower case letters, digits and hyphens")
    if agent in DOCKER_NETWORKS:
        raise ValueError(f"agents: {agent!r} is the name of a network that Docker has by itself")


def _refuse_unknown_metadata(name: str) -> None:
    if name not in METADATA:
        raise ValueError(f"metadata: {name!r} is none of {', '.join(METADATA)}")


@once
def of(host: InventoryHost) -> EgressSettings:
    """The egress policy of a host.

    Raises BulkheadError naming the host, the key and the reason for everything that is wrong.
    """
    if KEY not in host.data:
        raise BulkheadError(
            f"{host.name}: {KEY}: missing: without management sources the host would lock everybody out",
            hint="Write egress = {'management': ['192.0.2.0/24'], ...}: at least who may reach its ssh.",
        )
    found = read(EgressSettings, host, KEY)
    if found.off and LEGACY_HOSTS in host.groups:
        raise BulkheadError(
            f"{host.name}: {KEY}.off: agents of a legacy host have no sandbox: nothing else would hold them"
        )
    for name in found.agents:
        if _engine(host, found, name) not in engines(host):
            raise BulkheadError(
                f"{host.name}: {KEY}.agents.{name}.engine: {found.agents[name].engine} is not an engine of this host"
            )
    return found


def name_servers(host: InventoryHost) -> list[str]:
    """The addresses of `resolvers`, IPv4 first: a range says who may be asked, and not whom to ask."""
    return [
        str(server.network_address)
        for server in sorted(of(host).resolvers, key=lambda server: server.version)
        if server.prefixlen == server.max_prefixlen
    ]


def probe_seconds(found: EgressSettings) -> int:
    """How long each of the operator's probes may take, in seconds, so that all of them end before the timer does."""
    return (found.confirm_seconds - CONNECT_SECONDS) // max(1, len(found.probes))


def engine_of(host: InventoryHost, agent: str) -> str:
    """The engine that runs an agent of `host`."""
    return _engine(host, of(host), agent)


def _engine(host: InventoryHost, found: EgressSettings, agent: str) -> str:
    return found.agents[agent].engine or ("docker" if "docker" in engines(host) else "containerd")


def refuse_agents_on_both_kinds(hosts: Sequence[InventoryHost]) -> None:
    """Raise BulkheadError for an agent that lives on a gVisor host and on a legacy host: it is of one tier."""
    kinds: dict[str, dict[str, str]] = {}
    for host in hosts:
        egress = host.data.get(KEY)
        agents = egress.get("agents") if isinstance(egress, Mapping) else None
        for kind in {GVISOR_HOSTS, LEGACY_HOSTS} & host.groups:
            for agent in agents if isinstance(agents, Mapping) else ():
                kinds.setdefault(str(agent), {}).setdefault(kind, host.name)
    problems = [
        f"{KEY}.agents.{agent}: lives on " + " and on ".join(f"{places[kind]} ({kind})" for kind in sorted(places))
        for agent, places in sorted(kinds.items())
        if len(places) > 1
    ]
    if problems:
        raise BulkheadError(
            "\n".join(problems),
            hint="An agent that can run under gVisor does so everywhere; give the other one a name of its own.",
        )
