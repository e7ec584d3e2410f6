"""Containers to look into: an image made on the host, started through Docker or containerd under a chosen runtime."""

from __future__ import annotations

import json
import shlex
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from testinfra.host import Host

BOUNDS = """{"name": {{json .Name}}, "privileged": {{json .HostConfig.Privileged}},
"network": {{json .HostConfig.NetworkMode}}, "processes": {{json .HostConfig.PidMode}},
"shared memory": {{json .HostConfig.IpcMode}}, "user namespace": {{json .HostConfig.UsernsMode}},
"sources": [{{range $number, $mount := .Mounts}}{{if $number}}, {{end}}{{json $mount.Source}}{{end}}]}"""
"""Of what `docker inspect` says, what the host gives a container, and nothing that could be a secret."""

SOCKETS = ("/docker.sock", "/containerd.sock")

IMAGE_SCRIPT = Path(__file__).with_name("image.sh").read_text()


@dataclass(frozen=True)
class Container:
    """A running container: what it says of itself, and what the host sees of it."""

    kernel: str
    """`uname -r` inside."""
    messages: str
    """The kernel's messages, as `dmesg` prints them inside."""
    host_kernel: str
    """`uname -r` on the host."""
    process: str
    """The command line of the host's process that the engine names as the container's own."""
    seen: tuple[str, ...]
    """Processes of the host whose command line is exactly the container's program."""


def given(host: Host) -> list[tuple[str, str]]:
    """Each of Docker's running containers with what it has of the host: its network, its namespaces, its rights."""
    running = host.check_output("docker ps --quiet --no-trunc").split()
    found: list[tuple[str, str]] = []
    for container in running:
        # One that has ended meanwhile has nothing.
        answer = host.run("docker inspect --format %s %s", BOUNDS.replace("\n", " "), container)
        said = json.loads(answer.stdout) if answer.rc == 0 else {}
        name = str(said.get("name", "")).removeprefix("/")
        found += [(name, what) for what, value in said.items() if value == "host"]
        found += [(name, "privileged")] if said.get("privileged") else []
        found += [(name, "engine's socket") for path in said.get("sources", []) if path.endswith(SOCKETS)]
    return found


def on_the_hosts_network(host: Host) -> list[str]:
    """containerd's containers, as namespace/id, whose first process is in the host's network.

    Those of Docker are asked of Docker; whether a cluster's pod may be there is the cluster's to say.
    """
    said = host.check_output(
        "find /run -xdev -maxdepth 6 -path '*/io.containerd.runtime.v2.task/*/*/init.pid' 2>/dev/null |"
        " while read -r file; do"
        ' [ "$(readlink "/proc/$(cat "$file" 2>/dev/null)/ns/net")" != "$(readlink /proc/self/ns/net)" ] ||'
        ' echo "$file"; done'
    )
    found = ["/".join(path.split("/")[-3:-1]) for path in said.splitlines()]
    return [name for name in found if not name.startswith(("moby/", "k8s.io/"))]


class Probes(ABC):
    """Starts at most one container per runtime, when it is first asked for."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.name = f"bulkhead-verify-{uuid.uuid4().hex[:12]}"
        self.image = f"bulkhead.invalid/{self.name}:probe"
        self._containers: dict[str, Container] = {}
        self._failures: dict[str, str] = {}

    def container(self, runtime: str) -> Container:
        """The container under `runtime`; fails with the engine's own words when it can't be started."""
        if runtime in self._failures:
            raise AssertionError(self._failures[runtime])
        if runtime not in self._containers:
            try:
                self._containers[runtime] = self._start(runtime)
            except AssertionError as error:
                self._failures[runtime] = str(error)
                raise
        return self._containers[runtime]

    def _start(self, runtime: str) -> Container:
        assert self._image_loaded
        # No other process of the host sleeps for just this long.
        program = f"sleep {30_000_000 + uuid.uuid4().int % 1_000_000}"
        name = f"{self.name}-{len(self._containers) + len(self._failures)}"
        pid = self._run(name, runtime, program)
        found = self.run(
            f"for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -x '{program} ' ; done; :"
        )
        return Container(
            kernel=self.run(self._inside(name, "uname -r")),
            messages=self.run(self._inside(name, "dmesg")),
            host_kernel=self.run("uname -r"),
            process=self.run(f"tr '\\0' ' ' </proc/{pid}/cmdline"),
            seen=tuple(line.strip() for line in found.splitlines()),
        )

    def run(self, command: str) -> str:
        """What `command` prints on the host; an AssertionError with what it said when it fails."""
        result = self.host.run("timeout 150 sh -c %s", command)
        assert result.rc == 0, f"{command.splitlines()[0]}: {(result.stderr or result.stdout).strip()[-600:]}"
        return str(result.stdout).strip()

    @cached_property
    def _image_loaded(self) -> bool:
        directory = shlex.quote(f"/var/tmp/{self.name}")
        self.run(f"mkdir -m 0700 {directory} && sh -c {shlex.quote(IMAGE_SCRIPT)} image {directory} {self.image}")
        self.run(f"{self._load()} {directory}/image.tar")
        return True

    @abstractmethod
    def _load(self) -> str:
        """The command that loads an image archive."""

    @abstractmethod
    def _run(self, name: str, runtime: str, program: str) -> int:
        """Start `program` in a container in the background; its process id on the host."""

    @abstractmethod
    def _inside(self, name: str, program: str) -> str:
        """The command that runs `program` in a running container."""

    @abstractmethod
    def _removal(self) -> str:
        """The command that removes every container and image made here."""

    def remove(self) -> None:
        """Leave the host as it was found."""
        self.host.run(f"timeout 150 sh -c {shlex.quote(self._removal())}; rm -rf /var/tmp/{self.name}")


class DockerProbes(Probes):
    """Containers of Docker. The runtime `default` is whatever the daemon takes when none is named."""

    def _load(self) -> str:
        return "docker load --quiet --input"

    def _run(self, name: str, runtime: str, program: str) -> int:
        chosen = "" if runtime == "default" else f"--runtime={runtime}"
        # SYSLOG lets the container read its own kernel's messages, and nothing else does.
        self.run(f"docker run --detach --cap-add=SYSLOG --name={name} {chosen} {self.image} {program}")
        return int(self.run(f"docker inspect --format '{{{{.State.Pid}}}}' {name}"))

    def plain(self, options: str = "") -> tuple[str, int]:
        """The name and the host's process id of a new container of which nothing is said but `options`."""
        assert self._image_loaded
        name = f"{self.name}-plain-{uuid.uuid4().hex[:8]}"
        self.run(f"docker run --detach --name={name} {options} {self.image} sleep 30000000")
        return name, int(self.run(f"docker inspect --format '{{{{.State.Pid}}}}' {name}"))

    def _inside(self, name: str, program: str) -> str:
        return f"docker exec {name} {program}"

    def _removal(self) -> str:
        return f"docker ps -aq --filter name={self.name} | xargs -r docker rm --force; docker rmi --force {self.image}"


@dataclass(frozen=True)
class Containerd:
    """A containerd of a host: the socket on which it listens, and its client."""

    socket: str
    client: str


CONTAINERDS = {
    "containerd": Containerd("/run/containerd/containerd.sock", "ctr"),
    "k3s": Containerd("/run/k3s/containerd/containerd.sock", "k3s ctr"),
    "rke2": Containerd("/run/k3s/containerd/containerd.sock", "/var/lib/rancher/rke2/bin/ctr"),
    "k0s": Containerd("/run/k0s/containerd.sock", "k0s ctr"),
}
"""By the distribution that brings it (docs.k3s.io, docs.rke2.io, docs.k0sproject.io)."""


class ContainerdProbes(Probes):
    """Containers of containerd, in a namespace of their own. The runtime is a shim's name, `io.containerd.runc.v2`."""

    def __init__(self, host: Host, containerd: Containerd) -> None:
        super().__init__(host)
        self._client = f"{containerd.client} --address {containerd.socket}"
        self._ctr = f"{self._client} --namespace {self.name}"

    def _load(self) -> str:
        return f"{self._ctr} images import"

    def _run(self, name: str, runtime: str, program: str) -> int:
        options = "--runtime-config-path /etc/containerd/runsc.toml" if "runsc" in runtime else ""
        # As CRI starts the first container of a pod. The shim of September 2026 waits forever for a container that is
        # no pod's and has no terminal: it reads the output of 'runsc create' to its end, which the sandbox holds open.
        pod = "--null-io --annotation io.kubernetes.cri.container-type=sandbox"
        self.run(
            f"{self._ctr} run --detach {pod} --cap-add CAP_SYSLOG --runtime {runtime} {options} "
            f"{self.image} {name} {program}"
        )
        return int(self.run(f"{self._ctr} task ls | awk '$1 == \"{name}\" {{ print $2 }}'"))

    def _inside(self, name: str, program: str) -> str:
        return f"{self._ctr} task exec --exec-id {uuid.uuid4().hex[:8]} {name} {program}"

    def _removal(self) -> str:
        return (
            f"for c in $({self._ctr} containers ls -q); do "
            f"{self._ctr} task rm --force $c; {self._ctr} containers rm $c; done; "
            f"{self._ctr} images rm --sync {self.image}; "
            # A namespace goes only when it is empty; blobs and snapshots may be collected a moment later.
            f"for i in 1 2 3 4 5; do {self._client} namespaces rm {self.name} && break; sleep 1; done; "
            # containerd leaves the cgroup of a namespace behind.
            f"rmdir /sys/fs/cgroup/{self.name} /sys/fs/cgroup/*/{self.name}"
        )
