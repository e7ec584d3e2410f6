"""Is Docker hardened where agents share the host's kernel: what the daemon says, and what a container really gets?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from testinfra.host import Host

from bulkhead.inventory import InventoryHost
from tests.host import expectations, questions
from tests.host.containers import DockerProbes, given

pytestmark = pytest.mark.usefixtures("with_docker", "legacy_host")

SLICE = "bulkhead-agents.slice"
CGROUP = f"/bulkhead.slice/{SLICE}"
SHOWN = ("MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec", "TasksMax")


@pytest.fixture(scope="module")
def info(host: Host) -> dict[str, Any]:
    """What the running daemon says of itself."""
    found: dict[str, Any] = json.loads(host.check_output("docker info --format '{{json .}}'"))
    return found


@dataclass(frozen=True)
class Expected:
    """The baseline with what the inventory says otherwise."""

    described: InventoryHost

    def __getitem__(self, key: str) -> Any:
        """The value that `key` has to have; skips where it is left to the host."""
        said = expectations.docker_overrides(self.described).get(key)
        if said is None:
            return expectations.DOCKER.get(key)
        if said["value"] is None:
            pytest.skip(f"the inventory leaves {key} to the host: {said['reason']}")
        return said["value"]

    def slice(self, key: str) -> Any:
        """What the inventory says of the agents' slice; skips where agents are in another one."""
        if self["cgroup-parent"] != SLICE:
            pytest.skip(f"the inventory puts agents into {self['cgroup-parent']}")
        return ((self.described.data.get("docker") or {}).get("slice") or {}).get(key)


@pytest.fixture(scope="module")
def expected(described: InventoryHost) -> Expected:
    """What has to be."""
    return Expected(described)


@dataclass(frozen=True)
class Agent:
    """A container as an agent's would be: nothing is asked for but its program."""

    host: Host
    name: str
    pid: int

    def proc(self, file: str) -> str:
        """What the kernel says of its process."""
        return str(self.host.check_output(f"cat /proc/{self.pid}/{file}"))

    def status(self, key: str) -> str:
        """A line of /proc/PID/status."""
        return dict(line.split(":\t", 1) for line in self.proc("status").splitlines() if ":\t" in line)[key]


@pytest.fixture(scope="module")
def agent(host: Host, docker_probes: DockerProbes) -> Agent:
    """One that runs."""
    return Agent(host, *docker_probes.plain())


def test_overrides(host: Host, described: InventoryHost) -> None:
    """The inventory sets nothing otherwise than the baseline."""
    # Nothing is said of a host that does not answer.
    host.check_output("true")
    lines = expectations.docker_override_lines(described)
    if lines:
        pytest.skip("overridden in the inventory:\n" + "\n".join(lines))


def test_runc_alone(info: dict[str, Any], expected: Expected) -> None:
    """Agents run under runc, and gVisor is not registered."""
    assert "runsc" not in info["Runtimes"]
    assert info["DefaultRuntime"] == (expected["default-runtime"] or "runc")


def test_default_network(host: Host, expected: Expected) -> None:
    """Containers of the default network do not reach each other."""
    value = host.check_output(
        "docker network inspect --format '{{index .Options \"com.docker.network.bridge.enable_icc\"}}' bridge"
    )
    assert value == str(expected["icc"]).lower()


def test_live_restore(info: dict[str, Any], expected: Expected) -> None:
    """Agents run on while the daemon restarts."""
    assert info["LiveRestoreEnabled"] is expected["live-restore"]


def test_default_seccomp_profile(info: dict[str, Any], expected: Expected, agent: Agent) -> None:
    """A container's system calls go through Docker's own seccomp profile."""
    assert expected["seccomp-profile"] is None
    profiles = [option for option in info["SecurityOptions"] if option.startswith("name=seccomp")]
    assert profiles in (["name=seccomp,profile=builtin"], ["name=seccomp,profile=default"])
    # 2 is a filter (proc_pid_status(5)).
    assert agent.status("Seccomp") == "2"


def test_apparmor(host: Host, info: dict[str, Any], agent: Agent) -> None:
    """A container is confined by AppArmor."""
    if host.run("cat /sys/module/apparmor/parameters/enabled").stdout.strip() != "Y":
        pytest.skip("the host's kernel has no AppArmor")
    assert "name=apparmor" in info["SecurityOptions"]
    assert agent.proc("attr/current").strip("\0\n") == "docker-default (enforce)"


def test_no_tcp_socket(host: Host, expected: Expected) -> None:
    """The daemon listens on no TCP port."""
    assert expected["hosts"] is None
    listening = host.check_output("ss -Hltnp").splitlines()
    assert [line for line in listening if '"dockerd"' in line] == []
    # A socket that systemd holds for it shows as systemd's.
    sockets = host.check_output("systemctl show --property Listen --value docker.socket").splitlines()
    assert [line for line in sockets if line and not line.removeprefix("Listen=").startswith(("/", "@"))] == []


def test_registries_are_asked_over_tls(info: dict[str, Any]) -> None:
    """No registry is trusted without TLS but one on the host itself."""
    registries = info["RegistryConfig"]
    assert [name for name, index in registries["IndexConfigs"].items() if not index["Secure"]] == []
    assert set(registries["InsecureRegistryCIDRs"]) <= {"127.0.0.0/8", "::1/128"}


def test_no_container_has_the_hosts_rights(host: Host, described: InventoryHost) -> None:
    """No container that runs is privileged, in a namespace of the host's, or has the engine's socket."""
    expectations.refuse(described, [(name, what) for name, what in given(host) if what != "network"])


def test_no_new_privileges(agent: Agent, expected: Expected) -> None:
    """A container's programs gain no privileges."""
    assert agent.status("NoNewPrivs") == str(int(expected["no-new-privileges"]))


def test_user_namespace(info: dict[str, Any], agent: Agent, expected: Expected) -> None:
    """Root in a container is an unprivileged user of the host."""
    remapped = bool(expected["userns-remap"])
    assert ("name=userns" in info["SecurityOptions"]) is remapped
    inside, outside, count = (int(number) for number in agent.proc("uid_map").split()[:3])
    assert inside == 0
    assert (outside > 65535 and count < 2**32 - 1) if remapped else outside == 0
    assert agent.status("Uid").split() == [str(outside)] * 4


def test_in_the_slice(agent: Agent, expected: Expected) -> None:
    """A container runs inside the agents' slice."""
    expected.slice("tasks_max")
    assert agent.proc("cgroup").strip().startswith(f"0::{CGROUP}/docker-")


def test_slice_is_capped(host: Host, expected: Expected, agent: Agent) -> None:
    """All agents together are held to the slice's memory, CPU and processes, by systemd and by the kernel."""
    assert agent.pid
    tasks = expected.slice("tasks_max") or 8192
    said = host.check_output(f"systemctl show --property {','.join(SHOWN)} {SLICE}").splitlines()
    shown = dict(line.split("=", 1) for line in said)
    assert shown["TasksMax"] == str(tasks)
    assert "infinity" not in (shown["MemoryMax"], shown["CPUQuotaPerSecUSec"])
    kernel = {
        name: host.check_output(f"cat /sys/fs/cgroup{CGROUP}/{name}").split()
        for name in ("memory.max", "cpu.max", "pids.max")
    }
    assert kernel["memory.max"] == [shown["MemoryMax"]]
    assert kernel["pids.max"] == [str(tasks)]
    # A kernel without swap has no file for it.
    swap = host.run(f"cat /sys/fs/cgroup{CGROUP}/memory.swap.max")
    assert swap.rc != 0 or swap.stdout.strip() == shown["MemorySwapMax"] != "infinity"
    share = int(kernel["cpu.max"][0]) / int(kernel["cpu.max"][1])
    given = expected.slice("cpu_quota")
    cores = int(host.check_output("nproc --all"))
    assert share == pytest.approx(int(given.removesuffix("%")) / 100 if given else 0.9 * cores, rel=0.01)
    if expected.slice("memory_max") is None:
        total = int(host.check_output("awk '/^MemTotal:/ { print $2 * 1024 }' /proc/meminfo"))
        assert int(shown["MemoryMax"]) == pytest.approx(0.8 * total, rel=0.05)


def test_limits(agent: Agent, expected: Expected) -> None:
    """A container gets limited numbers of open files and processes."""
    lines = {line[:26].strip(): line[26:].split()[:2] for line in agent.proc("limits").splitlines()}
    names = {"nofile": "Max open files", "nproc": "Max processes"}
    for name, limit in expected["default-ulimits"].items():
        soft, hard = (limit["Soft"], limit["Hard"]) if isinstance(limit, dict) else limit
        if name in names:
            assert lines[names[name]] == [str(soft), str(hard)]


def test_output_is_rotated(host: Host, info: dict[str, Any], agent: Agent, expected: Expected) -> None:
    """A container's output goes to files that are rotated."""
    assert info["LoggingDriver"] == expected["log-driver"]
    found = json.loads(host.check_output("docker inspect --format '{{json .HostConfig.LogConfig}}' %s", agent.name))
    assert found["Type"] == expected["log-driver"]
    assert found["Config"] == expected["log-opts"]


def test_no_process_in_between(host: Host, docker_probes: DockerProbes, expected: Expected) -> None:
    """Traffic of a published port passes no process as root."""
    docker_probes.plain("--publish 127.0.0.1::9")
    assert (host.run("pgrep -x docker-proxy").rc == 0) is expected["userland-proxy"]


def test_name_servers(host: Host, described: InventoryHost, docker_probes: DockerProbes, expected: Expected) -> None:
    """Docker asks no name server for an agent itself, past the agent's policy: the question leaves by the agent's
    bridge, or not at all."""
    assert expected["dns"]
    agents = described.data["egress"].get("agents") or {}
    there = [name for name in agents if host.run("docker network inspect %s", name).rc == 0]
    if not there:
        pytest.skip("Docker has no agent's network")
    name, pid = docker_probes.plain(f"--network {there[0]}")
    assert questions.answers(host, pid, name) == 1, "Docker's name server does not know the container itself"
    assert questions.passed_on_by_the_host(host, pid) == 0
    running = host.check_output("docker ps --quiet --no-trunc").split()
    files = host.check_output(f"docker inspect --format '{{{{.ResolvConfPath}}}}' {' '.join(running)}").split()
    # Since 26 Docker writes which servers it asks from the host; a container that live-restore kept has its old ones.
    assert host.run(f"grep -H 'ExtServers:.*host(' {' '.join(files)}").stdout == ""
