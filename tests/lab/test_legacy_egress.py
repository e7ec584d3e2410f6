"""The egress policy on a real machine: real containers, Docker, boots, and operators who lock themselves out."""

from __future__ import annotations

import re
import subprocess
import time
import uuid
from collections.abc import Iterator

import pytest

from bulkhead.inventory_file import ROOT
from tests.egress.flows import FLOWS
from tests.lab.container_flows import policy, try_flows
from tests.lab.guest_world import GuestWorld
from tests.lab.machine import Machine, Runs

OPERATIONS = {
    "Load the egress policy",
    "Load the egress policy at boot",
    "Make the agents' networks in Docker",
    "Install squid",
    "Run the egress proxy",
}


AS_NEW = (
    "systemctl disable --now bulkhead-proxy; systemctl disable bulkhead-egress; systemctl unmask nftables\n"
    "rm -rf /etc/bulkhead /etc/systemd/system/bulkhead-egress.service /etc/systemd/system/bulkhead-proxy.service"
    " /etc/squid/bulkhead.conf /etc/logrotate.d/bulkhead-proxy; systemctl daemon-reload\n"
    "docker network rm alpha beta; nft delete table inet bulkhead"
)
"""Takes away what an earlier run, such as the demo's, has made."""


def of_egress(operations: set[str]) -> set[str]:
    """Those that are not of hardening or of Docker's own options."""
    return {name for name in operations if not name.startswith(("Harden", "Set", "Install auditd"))}


@pytest.fixture(scope="module")
def guarded(legacy: Machine, legacy_runs: Runs) -> Machine:
    """The machine after a deploy of the flows' policy."""
    legacy_runs.deploy(**policy(legacy_runs)).expect_success()
    return legacy


@pytest.fixture(scope="module")
def world(guarded: Machine) -> Iterator[GuestWorld]:
    """The world and the agents' containers."""
    made = GuestWorld(guarded)
    made.make()
    made.start()
    try:
        yield made
    finally:
        made.remove()


def test_first_and_second_run(legacy: Machine, legacy_runs: Runs) -> None:
    """The lab's own policy: all of it is predicted, done, verified, and left alone by the second run."""
    legacy.run(AS_NEW)
    there = {"Install squid"} if legacy.run("command -v squid").returncode == 0 else set()
    dry = legacy_runs.deploy("--dry").expect_success()
    assert legacy.run("nft list table inet bulkhead").returncode != 0
    assert of_egress(dry.predicted) == OPERATIONS - there
    assert legacy_runs.deploy().expect_success().changed == dry.predicted
    with legacy.way_out():
        outcomes = legacy_runs.verify()
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "passed"} == {}
    assert sum(name.startswith("egress.") for name in outcomes) == 14
    mark = uuid.uuid4().hex
    legacy.sh(f"logger -t sudo {mark}")
    assert legacy_runs.deploy().expect_success().changed == set()
    log = legacy.sh("journalctl --no-pager --output=cat SYSLOG_IDENTIFIER=sudo | grep -e COMMAND= -e " + mark)
    assert log.rpartition(mark)[2].count("COMMAND=") - 1 == 1, log.rpartition(mark)[2]


def test_flows_of_real_containers(world: GuestWorld) -> None:
    """Each denied flow passes without the guard, unless Docker denies it too, and not with it; allowed ones pass."""
    tried = try_flows(world)
    assert tried.not_proven == {}
    assert tried.wrong == {}
    assert tried.proving >= 220


@pytest.mark.long
@pytest.mark.parametrize("what", ["systemctl restart docker", "docker network create extra && docker network rm extra"])
def test_the_engine_does_not_undo_it(world: GuestWorld, guarded: Machine, what: str) -> None:
    """After Docker has written its rules anew the same flows are denied and allowed."""
    world.close()
    guarded.sh(what)
    guarded.sh("docker start alpha twin beta other")
    world.open()
    for flow in FLOWS:
        if flow.name in (
            "alpha tcp allowed 203.0.113.10 443",
            "alpha tcp public 203.0.113.66 443",
            "alpha tcp AWS 169.254.169.254 80",
            "alpha tcp gateway 172.30.1.1 2375",
        ):
            assert (world.result(flow) == "passed") == flow.allowed, flow.name


RELOADS = 50
FLOOD_SECONDS = 120


@pytest.mark.long
def test_reloads_under_load_let_nothing_through(world: GuestWorld) -> None:
    """In the middle of a container's flood, each with another policy: what arrives without the guard never does."""
    alpha, outside = world.places["alpha"], world.places["world"]
    flood = {"op": "flood", "to": "203.0.113.66", "port": 4433}
    world.machine.sh("nft delete table inet bulkhead")
    try:
        token = uuid.uuid4().hex
        sent = int(alpha.ask(token=token, seconds=1, **flood))
        assert 0 < int(outside.ask(op="count", token=token)) <= sent
    finally:
        world.machine.sh("nft --file /etc/bulkhead/egress.nft")
    token = uuid.uuid4().hex
    began = time.monotonic()
    alpha.send(token=token, seconds=FLOOD_SECONDS, **flood)
    try:
        world.machine.sh(
            f"for one in $(seq {RELOADS}); do\n"
            'sed "s/198\\.51\\.100\\.123/198.51.100.$one/g" /etc/bulkhead/egress.nft | nft --file - || exit 1\n'
            "done; nft list set inet bulkhead shared4 | grep -q 198.51.100.50"
        )
        assert time.monotonic() - began < FLOOD_SECONDS
        sent = int(alpha.answer())
    finally:
        world.machine.sh("nft --file /etc/bulkhead/egress.nft")
    assert sent > 1_000
    assert outside.ask(op="count", token=token) == "0"


WITHOUT_DNS = (
    "import json; path = '/etc/docker/daemon.json'; said = json.load(open(path)); del said['dns'];"
    " json.dump(said, open(path, 'w'))"
)


@pytest.mark.long
def test_docker_passes_on_no_question(world: GuestWorld, guarded: Machine) -> None:
    """Names carry nothing out past the policy; without `dns`, and with a resolver on loopback, they do."""
    again = "docker restart --time 1 alpha twin beta other"
    world.close()
    guarded.sh(
        "cp -a /etc/docker/daemon.json /root/daemon.json; cp -P /etc/resolv.conf /root/resolv.conf 2>/dev/null || :\n"
        f'rm -f /etc/resolv.conf; echo nameserver 127.0.0.1 >/etc/resolv.conf; python3 -c "{WITHOUT_DNS}"\n'
        f"systemctl restart docker; {again}"
    )
    try:
        world.open()
        assert world.asked("alpha") == "passed"
    finally:
        world.close()
        guarded.sh(
            f"mv /root/daemon.json /etc/docker/daemon.json; systemctl restart docker; {again}\n"
            "rm /etc/resolv.conf; [ ! -e /root/resolv.conf ] || mv /root/resolv.conf /etc/resolv.conf"
        )
        world.open()
    assert world.asked("alpha") in ("refused", "silent")


@pytest.mark.parametrize(
    ("agent", "name", "port", "expected"),
    [
        ("alpha", "api.example.com", 443, "passed"),
        ("alpha", "api.example.com", 80, "refused 403"),
        ("alpha", "other.example.com", 443, "refused 403"),
        ("alpha", "203.0.113.10", 443, "refused 403"),
        ("alpha", "10.66.0.5", 443, "refused 403"),
        ("alpha", "169.254.169.254", 443, "refused 403"),
        ("alpha", "private.example.com", 443, "refused 403"),
        ("beta", "api.example.com", 443, "refused"),
    ],
)
def test_names_through_the_proxy(world: GuestWorld, agent: str, name: str, port: int, expected: str) -> None:
    """A name on the list is reached; no other, no address, none that leads to a private one."""
    gateway = {"alpha": "172.30.1.1", "beta": "172.30.2.1"}[agent]
    request = {"op": "proxy", "to": gateway, "port": 3128, "name": name, "name_port": port, "seconds": 15}
    assert world.places[agent].ask(token=uuid.uuid4().hex, **request) == expected


ASKS = """import socket, sys
with socket.create_connection(("172.30.1.1", 3128), 15) as stream:
    stream.sendall(sys.argv[1].encode() + b" HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    print(stream.recv(65536).split()[1].decode())
"""


@pytest.mark.parametrize(
    "asked",
    [
        "GET cache_object://api.example.com:443/client_list",
        "GET http://api.example.com:443/squid-internal-mgr/client_list",
        "GET http://bulkhead:3128/squid-internal-mgr/client_list",
        "GET ftp://api.example.com:443/",
        "GET urn:api.example.com:443",
    ],
)
def test_the_proxy_tells_no_agent_of_others(world: GuestWorld, asked: str) -> None:
    """Its own pages list who asks for what; an allowed name and port in the address are no way to them.

    squid 5 (Debian 12, Ubuntu 22.04) answers the first unless `manager` is denied; Debian 13's refuses it by itself.
    """
    asks = f"docker exec --interactive alpha /usr/bin/python3 - '{asked}' <<'END'\n{ASKS}END"
    assert world.machine.sh(asks) in ("400", "403")


def test_an_agent_that_fills_its_log_stops_nobody(world: GuestWorld) -> None:
    """What comes after the limit is not written down; the proxy goes on, and so does the log once it is rotated."""
    log = "/var/log/bulkhead-proxy/alpha.log"
    pids = "pgrep --uid proxy --full squid"
    limits = world.machine.sh(f"cat /proc/$({pids} | tail -n 1)/limits")
    assert re.search(r"^Max file size +268435456 ", limits, re.MULTILINE)
    assert re.search(r"^Max open files +65536 ", limits, re.MULTILINE)

    def asks(name: str) -> str:
        request = {"op": "proxy", "to": "172.30.1.1", "port": 3128, "name": name, "name_port": 443, "seconds": 15}
        return world.places["alpha"].ask(token=uuid.uuid4().hex, **request)

    before = world.machine.sh(pids)
    limit = int(world.machine.sh(f"stat --format %s {log}")) + 200
    world.machine.sh(f"for one in $({pids}); do prlimit --pid $one --fsize={limit}; done")
    try:
        for number in range(12):
            assert asks(f"other-{number}.example.com") == "refused 403"
        assert asks("api.example.com") == "passed"
        assert limit - 200 < int(world.machine.sh(f"stat --format %s {log}")) <= limit
        world.machine.sh(f"truncate --size 0 {log}")
        assert asks("rotated.example.com") == "refused 403"
    finally:
        world.machine.sh(f"for one in $({pids}); do prlimit --pid $one --fsize=268435456; done")
    assert world.machine.sh(pids) == before
    deadline = time.monotonic() + 30
    while "rotated.example.com" not in (text := world.machine.sh(f"cat {log}")):
        assert time.monotonic() < deadline, text
        time.sleep(1)


FLOOD = """
import socket
for number in range(60):
    one = socket.socket()
    one.settimeout(1)
    one.connect_ex(("203.0.113.10", 9))
"""


def test_denials_are_logged_by_agent_and_no_flood_hides_another(world: GuestWorld) -> None:
    """Of sixty from one agent ten are written down, with its bridge; the other's single one is, too."""
    world.machine.sh("nft flush set inet bulkhead logged_forward")
    logged = "journalctl --dmesg --no-pager --output cat | grep 'bulkhead forward: IN=bh-' || :"
    before = len(world.machine.sh(logged).splitlines())
    world.machine.sh(f"docker exec --interactive alpha /usr/bin/python3 -S - <<'END'\n{FLOOD}END")
    world.machine.sh(f"docker exec --interactive beta /usr/bin/python3 -S - <<'END'\n{FLOOD.replace('60', '1')}END")
    world.machine.sh("journalctl --sync")
    lines = world.machine.sh(logged).splitlines()[before:]
    assert all(" DST=203.0.113.10 " in line and " DPT=9 " in line for line in lines), lines
    found = [re.search(r"IN=(\S+)", line) for line in lines]
    bridges = [one[1] for one in found if one]
    # Ten at once and six a minute (nft(8), limit): the flood takes far less than a minute, retries and all.
    assert 10 <= bridges.count("bh-alpha") <= 14, lines
    assert bridges.count("bh-beta") == 1, lines


@pytest.mark.long
def test_a_name_that_rebinds(world: GuestWorld) -> None:
    """A name that leads to a public and then to a private address never reaches the private one."""
    request = {"op": "proxy", "to": "172.30.1.1", "port": 3128, "name": "rebinding.example.com", "name_port": 443}
    for _ in range(4):
        token = uuid.uuid4().hex
        said = world.places["alpha"].ask(token=token, seconds=15, **request)
        assert said in ("passed", "refused 403", "refused 503"), said
        time.sleep(1.5)
    log = world.machine.sh("tail -n 4 /var/log/bulkhead-proxy/alpha.log").splitlines()
    assert all("rebinding.example.com" in line for line in log)
    assert not any(line.endswith(" 10.66.0.5") for line in log)


def test_a_ruleset_that_locks_out_is_taken_back(guarded: Machine, legacy_runs: Runs) -> None:
    """Without access for who loads it, it goes again within its time, the run fails, and the next one says so."""
    before = guarded.sh("sha256sum /etc/bulkhead/egress.nft")
    locked = legacy_runs.deploy(**policy(legacy_runs, management=["198.51.100.77"]))
    assert locked.status == 1
    assert "the new egress policy is taken back: no new connection comes through" in locked.output
    assert "the policy from before is in force again" in locked.output
    assert guarded.sh("sha256sum /etc/bulkhead/egress.nft") == before
    assert "198.51.100.77" not in guarded.sh("nft list table inet bulkhead")
    again = legacy_runs.deploy(**policy(legacy_runs)).expect_success()
    assert "was not confirmed and was taken back" in again.output


@pytest.mark.long
def test_a_probe_that_fails_takes_it_back(guarded: Machine, legacy_runs: Runs) -> None:
    """The operator's own probe decides too, and the message names it."""
    failed = legacy_runs.deploy(**policy(legacy_runs, probes=["test -e /no/such/file"], time_servers=[]))
    assert failed.status == 1
    assert "this probe failed: test -e /no/such/file" in failed.output
    assert "198.51.100.123" in guarded.sh("nft list set inet bulkhead shared4")
    legacy_runs.deploy(**policy(legacy_runs)).expect_success()


@pytest.mark.long
def test_a_controller_that_vanishes(guarded: Machine, legacy_runs: Runs) -> None:
    """Killed between loading and confirming, with a ruleset that locks everybody out: the host helps itself."""
    run = subprocess.Popen(
        legacy_runs.command(**policy(legacy_runs, management=["198.51.100.78"])),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # The shared connection was open before, so it sees what happens.
    loaded = "nft list set inet bulkhead management4 | grep -q 198.51.100.78"
    guarded.sh(f"for try in $(seq 300); do {loaded} && exit 0; sleep 0.2; done; exit 1")
    run.kill()
    run.wait()
    began = time.monotonic()
    guarded.wait()
    assert time.monotonic() - began < 45 + 30
    assert guarded.run(loaded).returncode != 0
    again = legacy_runs.deploy(**policy(legacy_runs)).expect_success()
    assert "was not confirmed and was taken back" in again.output


@pytest.mark.long
def test_no_engine_without_it(guarded: Machine) -> None:
    """With a policy that can't be loaded the engines stay down; with it they come up again."""
    guarded.sh("cp -p /etc/bulkhead/egress.nft /root/egress.nft; echo nonsense >>/etc/bulkhead/egress.nft; sync")
    try:
        guarded.reset()
        guarded.wait()
        guarded.run("systemctl is-system-running --wait")
        assert guarded.run("systemctl is-active docker containerd").stdout.split() == ["inactive", "inactive"]
        assert guarded.run("systemctl start docker").returncode != 0
    finally:
        guarded.sh("mv /root/egress.nft /etc/bulkhead/egress.nft; systemctl reset-failed; systemctl start docker")
    assert guarded.sh("systemctl is-active docker") == "active"


@pytest.mark.long
def test_in_force_before_the_first_container(guarded: Machine) -> None:
    """After a hard reset it is loaded before the network and before an engine runs a container."""
    guarded.image()
    guarded.sh(
        "docker run --detach --name early --restart always --network alpha bulkhead.invalid/test:1 sleep 1000000; sync"
    )
    try:
        guarded.reset()
        guarded.wait()
        guarded.sh("for try in $(seq 60); do docker ps | grep -q early && exit 0; sleep 2; done; exit 1")
        at = {
            unit: int(guarded.sh(f"systemctl show --property {what} --value {unit}"))
            for unit, what in (
                ("bulkhead-egress.service", "ExecMainExitTimestampMonotonic"),
                ("systemd-networkd.service", "ExecMainStartTimestampMonotonic"),
                ("containerd.service", "ExecMainStartTimestampMonotonic"),
                ("docker.service", "ExecMainStartTimestampMonotonic"),
            )
        }
        assert all(at["bulkhead-egress.service"] <= moment for moment in at.values()), at
        assert "chain agent_sent" in guarded.sh("nft list table inet bulkhead")
    finally:
        guarded.sh("docker rm --force early; docker rmi bulkhead.invalid/test:1")
