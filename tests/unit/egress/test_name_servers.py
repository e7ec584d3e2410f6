"""Real Dockers ask name servers on behalf of agents: past the policy without our `dns`, and not with it."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from deploys.docker.settings import managed
from deploys.egress import networks
from deploys.egress.ruleset import ruleset
from tests.egress.world import PROBER, Place, World, world
from tests.oracles import dockerd, engine
from tests.unit.helpers import legacy_host

pytestmark = pytest.mark.usefixtures("nftables")

RESOLVER, RESOLVER6 = "198.51.100.53", "2001:db8:2::53"
EGRESS: dict[str, Any] = {
    "management": ["198.51.100.1"],
    "resolvers": [RESOLVER, RESOLVER6],
    "agents": {
        "gamma": {"subnet4": "172.30.3.0/24"},
        "delta": {
            "subnet4": "172.30.4.0/24",
            "allow": [{"to": RESOLVER, "protocol": protocol, "ports": [53]} for protocol in ("udp", "tcp")],
        },
    },
}

# What a machine's resolv.conf says, and the Dockers that then ask from the host (as tried).
HOSTS = {
    "a resolver on loopback": ("nameserver 127.0.0.1\n", ("bookworm", "trixie", "forky")),
    "a resolver by IPv4": (f"nameserver {RESOLVER}\n", ("forky",)),
    "a resolver by IPv6": (f"nameserver {RESOLVER6}\n", ("trixie", "forky")),
}


# On loopback all of them do; the others take their time.
KINDS = [pytest.param(kind, marks=[] if "loopback" in kind else [pytest.mark.long]) for kind in HOSTS]


@pytest.fixture(scope="module")
def place() -> Iterator[World]:
    """A host with a resolver on loopback, and resolvers in the world."""
    with world({"known.example.com": ["203.0.113.10"]}) as made:
        yield made


def arrives(place: World, agent: int) -> bool:
    """Whether what an agent asks Docker's own name server for comes to a resolver, in the world or on loopback."""
    token = uuid.uuid4().hex
    inside = Place(["nsenter", f"--net=/proc/{agent}/ns/net", sys.executable, "-S", str(PROBER)])
    try:
        said = inside.ask(op="name", to="127.0.0.11", port=53, token=token, seconds=3)
    finally:
        inside.close()
    question = f"dns:{token}.example.com"
    came = any(place.places[where].ask(op="count", token=question) != "0" for where in ("world", "host"))
    assert came == (said == "passed"), said
    return came


@contextlib.contextmanager
def agents(place: World, suite: str, resolv_conf: str, options: dict[str, Any]) -> Iterator[dict[str, int]]:
    """A container of each agent on its network as the deploy describes it, under the policy."""
    host = legacy_host(egress=EGRESS)
    with engine.running(suite, place.namespace("host"), resolv_conf, options) as docker:
        place.load(ruleset(host))
        try:
            made = {}
            for name, description in networks.docker(host).items():
                docker.call("POST", "/networks/create", description)
                made[name] = docker.container(f"agent-{name}", name)
            yield made
        finally:
            place.unload()


def ours(**more: Any) -> dict[str, Any]:
    """What Bulkhead says in daemon.json of name servers."""
    return {"dns": managed(legacy_host(egress={**EGRESS, **more}))["dns"]}


@pytest.mark.parametrize("suite", dockerd.NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_without_servers_of_its_own_docker_asks_past_the_policy(place: World, suite: str, kind: str) -> None:
    """An agent that may reach nothing sends by names what it likes, wherever dockerd asks from the host."""
    resolv_conf, asking_from_the_host = HOSTS[kind]
    with agents(place, suite, resolv_conf, {}) as there:
        assert arrives(place, there["gamma"]) == (suite in asking_from_the_host)


@pytest.mark.parametrize("suite", dockerd.NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_with_ours_the_policy_decides(place: World, suite: str, kind: str) -> None:
    """The same question goes nowhere; one by an agent that may reach a resolver is answered."""
    with agents(place, suite, HOSTS[kind][0], ours()) as there:
        assert not arrives(place, there["gamma"])
        assert arrives(place, there["delta"])


@pytest.mark.long
@pytest.mark.parametrize("suite", dockerd.NAMES)
def test_a_policy_without_resolvers(place: World, suite: str) -> None:
    """Then nobody is asked."""
    assert ours(resolvers=[]) == {"dns": ["0.0.0.0"]}
    with agents(place, suite, HOSTS["a resolver on loopback"][0], ours(resolvers=[])) as there:
        assert not arrives(place, there["gamma"])
        assert not arrives(place, there["delta"])


@pytest.mark.long
@pytest.mark.parametrize("suite", dockerd.NAMES)
def test_servers_of_the_user_s_own_are_as_good(place: World, suite: str) -> None:
    """Also on loopback, which then is the container's: that is why they may stay."""
    with agents(place, suite, HOSTS["a resolver on loopback"][0], {"dns": ["127.0.0.1"]}) as there:
        assert not arrives(place, there["gamma"])
