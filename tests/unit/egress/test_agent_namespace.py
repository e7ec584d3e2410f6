"""The verification's place on an agent's bridge: with real neighbours, who keep their addresses."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from deploys.egress.ruleset import ruleset
from tests.egress.flows import POLICY
from tests.egress.world import World, world
from tests.host import test_egress as checks
from tests.host.agent_namespace import AgentNamespace
from tests.unit.helpers import legacy_host

pytestmark = pytest.mark.usefixtures("nftables")

SMALL = {"subnet4": "172.30.1.0/29", "subnet6": "fd42:1::/125"}
"""Five addresses behind the gateway of IPv4, six of IPv6; alpha and its twin have the first two of both."""


class Inside:
    """What testinfra's host is for the checks: commands on the world's host, whose network alone is its own."""

    def __init__(self, namespace: str) -> None:
        self._enter = ("nsenter", f"--net={namespace}", "sh", "-c")

    def run(self, command: str, *arguments: str) -> Any:
        """As testinfra.host.Host.run."""
        text = command % tuple(map(shlex.quote, arguments)) if arguments else command
        done = subprocess.run([*self._enter, text], capture_output=True, text=True, timeout=60)

        class Result:
            rc, stdout, stderr = done.returncode, done.stdout, done.stderr

        return Result

    def check_output(self, command: str, *arguments: str) -> str:
        """As testinfra.host.Host.check_output."""
        result = self.run(command, *arguments)
        assert result.rc == 0, result.stderr
        return str(result.stdout.rstrip("\n"))


@pytest.fixture(scope="module")
def place() -> Iterator[World]:
    """The namespaces."""
    with world() as made:
        yield made


@pytest.fixture
def host(place: World) -> Any:
    """The world's host."""
    return Inside(place.namespace("host"))


def addresses(namespace: AgentNamespace) -> set[str]:
    """The addresses that a namespace has got."""
    said = namespace.host.check_output(f"ip -n {namespace._name} -o address show dev eth0 scope global")
    return {line.split()[3] for line in said.splitlines()}


def test_it_takes_the_last_free_addresses(host: Any) -> None:
    with AgentNamespace(host, "alpha", SMALL) as namespace:
        assert addresses(namespace) == {"172.30.1.6/29", "fd42:1::7/125"}
        assert namespace.gateways == ["172.30.1.1", "[fd42:1::1]"]


def test_an_agent_without_ipv6(host: Any) -> None:
    with AgentNamespace(host, "alpha", {"subnet4": "172.30.1.0/29"}) as namespace:
        assert addresses(namespace) == {"172.30.1.6/29"}


def test_it_takes_nobody_s_address(place: World, host: Any) -> None:
    """Those that answer are left alone, also where no engine knows of them."""
    place.sh("twin", "ip address add 172.30.1.6/24 dev eth0; ip address add fd42:1::7/64 dev eth0 nodad")
    try:
        with AgentNamespace(host, "alpha", SMALL) as namespace:
            assert addresses(namespace) == {"172.30.1.5/29", "fd42:1::6/125"}
    finally:
        place.sh("twin", "ip address delete 172.30.1.6/24 dev eth0; ip address delete fd42:1::7/64 dev eth0")


def test_it_takes_none_that_an_engine_has_given_out(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AgentNamespace, "_known", lambda self: {"172.30.1.6", "172.30.1.5", "fd42:1::7"})  # noqa: ARG005
    with AgentNamespace(host, "alpha", SMALL) as namespace:
        assert addresses(namespace) == {"172.30.1.4/29", "fd42:1::6/125"}


def test_no_address_is_free(place: World, host: Any) -> None:
    taken = ["172.30.1.4", "172.30.1.5", "172.30.1.6"]
    place.sh("twin", "; ".join(f"ip address add {one}/24 dev eth0" for one in taken))
    try:
        with pytest.raises(AssertionError) as error, AgentNamespace(host, "alpha", SMALL):
            pass
        assert str(error.value) == (
            "bh-alpha: no address of 172.30.1.0/29 is free, and the agent's egress can't be probed without one: "
            "stop one of its containers, or give the agent a larger network"
        )
        assert "bhv-" not in host.check_output("ip netns; ip link")
    finally:
        place.sh("twin", "; ".join(f"ip address delete {one}/24 dev eth0" for one in taken))


CHECKS = (
    checks.test_agents_reach_no_metadata,
    checks.test_agents_do_not_reach_the_host,
    checks.test_agents_do_not_reach_each_other,
    checks.test_agents_send_as_nobody_else,
)


@pytest.mark.parametrize("check", [*CHECKS, checks.test_agents_reach_nothing_that_is_not_named])
def test_the_checks_pass_under_the_policy_and_fail_without(place: World, host: Any, check: Any) -> None:
    """Over both IP versions: they fail as well where IPv6 alone is let through."""
    given = () if check in CHECKS else (host,)
    counters = "".join(f" counter {name} {{ }}\n" for name in ("metadata", "range", "tenant", "host", "forward"))
    with (
        AgentNamespace(host, "alpha", POLICY["agents"]["alpha"]) as alpha,
        AgentNamespace(host, "beta", POLICY["agents"]["beta"]) as beta,
    ):
        try:
            place.load(ruleset(legacy_host(egress=POLICY)))
            check(*given, [alpha, beta])
            for chain in ("agent_sent", "forward", "input"):
                place.sh("host", f"nft insert rule inet bulkhead {chain} meta nfproto ipv6 accept")
            with pytest.raises(AssertionError):
                check(*given, [alpha, beta])
            place.unload()
            place.load(f"table inet bulkhead {{\n{counters}}}\n")
            with pytest.raises(AssertionError):
                check(*given, [alpha, beta])
        finally:
            place.unload()
