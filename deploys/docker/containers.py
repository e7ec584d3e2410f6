"""Running containers, and what of their bounds is not as it has to be. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from bulkhead.errors import BulkheadError

CAPABILITIES = {"ALL", "BPF", "DAC_READ_SEARCH", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO"}
"""Those with which a container that shares the host's kernel gets out of its bounds."""

_SOCKET = re.compile(r"(^|/)(docker|containerd)\.sock$|^/(var|run|var/run|(var/)?run/containerd)?/?$")
"""What a container must not have of the host's files: the engines' sockets, and the directories that they are in."""


@dataclass(frozen=True)
class Container:
    """One that runs. Each key holds all values that stand in the daemon's answer, since a label of the container's may
    be called as a key: what is wrong in any of them counts."""

    name: str
    said: dict[str, tuple[str, ...]]

    def values(self, key: str) -> tuple[str, ...]:
        """What is said for a key."""
        return self.said.get(key, ())


@dataclass(frozen=True)
class Breach:
    """One thing about a container that is not as it has to be."""

    what: str
    expected: str
    actual: str


def parse(text: str) -> list[Container]:
    """The answer to `docker/inspected.sh.j2`; a container that has ended meanwhile is none.

    Raises BulkheadError where a container has neither a name nor a runtime.
    """
    found = []
    for block in text.split("container\n")[1:]:
        said: dict[str, tuple[str, ...]] = {}
        for line in block.splitlines():
            key, colon, value = line.partition(":")
            if colon:
                said[key.strip('"')] = (*said.get(key.strip('"'), ()), value.strip('"'))
        if "Id" not in said:
            continue
        # The first of several: those of restart policies, drivers and networks follow.
        name = next((value.removeprefix("/") for value in said.get("Name", ()) if value.startswith("/")), "")
        if not name or not said.get("Runtime"):
            raise BulkheadError(f"docker does not say what bounds the container {said['Id'][0][:12]}")
        found.append(Container(name, said))
    return found


def breaches(
    container: Container, runtimes: Collection[str], sandboxes: Collection[str], parents: Collection[str]
) -> Iterator[Breach]:
    """What is wrong with one. It has to run under one of `runtimes` (none for any), of which `sandboxes` keep rights
    within; and in one of the cgroups `parents` (none for any).
    """
    wrong = [name for name in container.values("Runtime") if runtimes and name not in runtimes]
    if wrong:
        yield Breach("runtime", " or ".join(sorted(runtimes)), wrong[0])
    if container.values("Privileged"):
        yield Breach("privileged", "no", "yes")
    if "host" in container.values("NetworkMode"):
        yield Breach("network", "its own", "the host's")
    for source in container.values("Source"):
        if _SOCKET.search(source):
            yield Breach("engine's socket", "", source)
    if {*container.values("Runtime")} <= {*sandboxes}:
        return
    for key, what in (("PidMode", "processes"), ("IpcMode", "shared memory"), ("UsernsMode", "user namespace")):
        if "host" in container.values(key):
            yield Breach(what, "its own", "the host's")
    # A colon is Docker's former spelling, which it still takes.
    for option in re.findall(r'"(\w+)[=:]unconfined"', " ".join(container.values("SecurityOpt"))):
        yield Breach(option, "confined", "unconfined")
    added = {name.removeprefix("CAP_") for name in re.findall(r'"(\w+)', " ".join(container.values("CapAdd")))}
    if added & CAPABILITIES:
        yield Breach("capabilities", "", ", ".join(sorted(added & CAPABILITIES)))
    outside = [name for name in container.values("CgroupParent") if name and name not in parents]
    outside += [path for path in container.values("Cgroup") if not {*path.split("/")} & {*parents}]
    if parents and outside:
        yield Breach("cgroup", " or ".join(sorted(parents)), outside[0])
