"""The egress policy on a gVisor host: its sandboxes' packets, and a host that goes without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.egress.world import Place
from tests.lab.container_flows import policy, try_flows
from tests.lab.guest_world import PYTHON, GuestWorld
from tests.lab.machine import Machine, Runs


def test_a_gvisor_host_may_go_without(converged: Machine, runs: Runs) -> None:
    """Nothing of a policy stays, the engines go on and start again; a later run brings it back."""
    off = {"egress": {"off": "a test"}}
    pids = converged.pids()
    try:
        gone = runs.deploy(**off).expect_success()
        assert "Take the egress policy away" in gone.changed
        assert "no egress policy, agents reach what the network lets them: a test" in gone.output
        assert converged.run("nft list table inet bulkhead").returncode != 0
        assert converged.run("ls /etc/bulkhead/egress.nft").returncode != 0
        assert converged.pids() == pids
        assert runs.deploy(**off).expect_success().changed == set()
        outcomes = runs.verify("--only", "egress.*", "--only", "gvisor.*", **off)
        assert {outcome for name, outcome in outcomes.items() if name.startswith("egress.")} == {"skipped"}
        converged.sh("systemctl restart docker")
    finally:
        runs.deploy().expect_success()
    assert "chain agent_sent" in converged.sh("nft list table inet bulkhead")


@pytest.fixture(scope="module")
def sandboxes(converged: Machine, runs: Runs) -> Iterator[GuestWorld]:
    """The same world on the gVisor machine, with the agents' containers under runsc, and a resolver on loopback."""
    runs.deploy(**policy(runs)).expect_success()
    made = GuestWorld(converged)
    converged.sh("cp -P /etc/resolv.conf /root/resolv.conf 2>/dev/null || :; rm -f /etc/resolv.conf")
    try:
        converged.sh("echo nameserver 127.0.0.1 >/etc/resolv.conf")
        made.make()
        made.start("runsc")
        yield made
    finally:
        made.remove()
        converged.sh("rm /etc/resolv.conf; [ ! -e /root/resolv.conf ] || mv /root/resolv.conf /etc/resolv.conf")
        runs.deploy().expect_success()


NOT_SENT_BY_RUNSC = ("icmp", "raw", "frame", "bare")
"""What a sandbox can't send at all: its stack gives out no raw and no packet sockets (runsc, net-raw=false)."""


@pytest.mark.long
def test_flows_of_real_sandboxes(sandboxes: GuestWorld) -> None:
    """As those of containers on the machine for legacy agents."""
    tried = try_flows(sandboxes, NOT_SENT_BY_RUNSC)
    assert tried.sent_all_the_same == set()
    assert tried.not_proven == {}
    assert tried.wrong == {}
    assert tried.proving >= 160


@pytest.mark.long
def test_no_sandbox_reaches_docker_s_name_server(sandboxes: GuestWorld) -> None:
    """It listens in the container's network namespace, where a sandbox's own stack is not: nothing to be set there."""
    key = sandboxes.machine.sh("docker inspect --format '{{.NetworkSettings.SandboxKey}}' alpha")
    sandboxes.places["beside alpha"] = Place(sandboxes.machine.command(f"nsenter --net={key} {PYTHON}"))
    assert sandboxes.asked("beside alpha") == "passed"
    # What listens in the sandbox itself would answer.
    sandboxes.places["alpha"].close()
    sandboxes.places["alpha"] = Place(sandboxes.machine.command(f"docker exec --interactive alpha {PYTHON}"))
    assert sandboxes.asked("alpha") in ("refused", "silent")
