"""What the checks expect, written by hand: never taken from the code or the templates that configure the hosts."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

import pytest

from bulkhead.inventory import GVISOR_HOSTS, InventoryHost
from bulkhead.secrets import without_secrets

RUNSC = {"release": "/usr/local/bin/runsc", "distribution": "/usr/bin/runsc"}

# The flags that keep an untrusted tenant in: https://gvisor.dev/docs/user_guide/production/ and runsc's own help.
FLAGS = {
    "network": "sandbox",
    "host-uds": "none",
    "host-fifo": "none",
    "net-raw": "false",
    "allow-packet-socket-write": "false",
    "allow-suid": "false",
    "character-device-policy": "emulated-only",
    "allow-flag-override": "false",
    "oci-seccomp": "false",
    "overlay2": "root:self",
    "host-settings": "enforce",
}

# Those that runsc before 2026 doesn't know, or with other values, as distributions package it.
YOUNG_FLAGS = {"allow-packet-socket-write", "allow-suid", "character-device-policy", "host-settings", "overlay2"}

# What hardens Docker's daemon where agents share the host's kernel: CIS Docker Benchmark, chapter 2; Docker's manual.
DOCKER = {
    "icc": False,
    "no-new-privileges": True,
    "userland-proxy": False,
    "dns": "of its own",
    "live-restore": True,
    "userns-remap": "default",
    "default-ulimits": {"nofile": (1024, 65536), "nproc": (2048, 2048)},
    "log-driver": "local",
    "log-opts": {"max-size": "10m", "max-file": "5"},
    "cgroup-parent": "bulkhead-agents.slice",
}

# What may only be said on a host with a reason.
DOCKER_HAS_NOT = {
    "hosts": "no TCP socket",
    "seccomp-profile": "Docker's own",
    "default-runtime": "runc",
    "insecure-registries": "none",
}


def watch(described: InventoryHost) -> dict[str, Any]:
    """The inventory's settings of a control node, as written there."""
    return dict(described.data.get("watch") or {})


def watched(described: InventoryHost) -> bool:
    """Whether the node is to check the fleet."""
    return bool(watch(described).get("state", "present") == "present")


def at_most_between_checks(described: InventoryHost) -> float:
    """Seconds: three intervals of five minutes where nothing else is said, and half an hour for a check itself."""
    said = watch(described)
    return float(3 * said.get("interval", 300) + said.get("jitter", 0) + said.get("check_seconds", 1800))


def docker_overrides(described: InventoryHost) -> dict[str, dict[str, Any]]:
    """Key of daemon.json → the inventory's own value and the reason."""
    return dict((described.data.get("docker") or {}).get("options") or {})


def docker_override_lines(described: InventoryHost) -> list[str]:
    """What the inventory says otherwise than the baseline, each as a line with its reason."""
    return [
        f"{key} = {'whatever the host says' if said['value'] is None else json.dumps(without_secrets(said['value']))} "
        f"(baseline {json.dumps(DOCKER[key]) if key in DOCKER else DOCKER_HAS_NOT[key]}): {said['reason']}"
        for key, said in sorted(docker_overrides(described).items())
    ]


def gvisor(described: InventoryHost) -> dict[str, object]:
    """The inventory's gVisor settings, as written there."""
    return dict(described.data.get("gvisor") or {})


def source(described: InventoryHost) -> str:
    """`release` or `distribution`."""
    return str(gvisor(described).get("source", "release"))


def runsc(described: InventoryHost) -> str:
    """Where runsc has to be."""
    return RUNSC[source(described)]


def wanted(described: InventoryHost) -> bool:
    """Whether gVisor is to be on the host at all."""
    return GVISOR_HOSTS in described.groups and gvisor(described).get("state", "present") == "present"


def profiles(described: InventoryHost) -> dict[str, dict[str, object]]:
    """Handler → its own flags: `runsc`, and what the inventory names besides; nothing where gVisor has to be gone."""
    if not wanted(described):
        return {}
    named = gvisor(described).get("profiles") or {}
    assert isinstance(named, dict)
    return {"runsc": {}, **{name: dict(profile.get("flags") or {}) for name, profile in named.items()}}


def flags(described: InventoryHost, profile: str = "runsc") -> dict[str, str]:
    """The flags that runsc has to get: the hardened ones, and what the inventory says otherwise."""
    chosen = gvisor(described).get("flags") or {}
    assert isinstance(chosen, dict)
    expected = {
        name: value for name, value in FLAGS.items() if source(described) == "release" or name not in YOUNG_FLAGS
    }
    said = {**chosen, **profiles(described)[profile]}
    return {
        **expected,
        **{name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in said.items()},
    }


def runtimes(described: InventoryHost, engine: str) -> dict[str, dict[str, object]]:
    """Handler → description of the runtimes that the inventory describes by itself, for one engine."""
    return {
        name: dict(said)
        for name, said in (described.data.get("runtimes") or {}).items()
        if engine in said.get("engines", ["containerd", "docker"])
    }


def refuse(described: InventoryHost, found: list[tuple[str, str]]) -> None:
    """Fail for containers and what they have of the host, as (name, what); skip where the inventory accepts all of it.

    The inventory names them as drift does, under `drift.accept`.
    """
    accept = (described.data.get("drift") or {}).get("accept") or {}
    lines = [f"container {name}: {what}" for name, what in found]
    assert [line for line in lines if not any(fnmatchcase(line, pattern) for pattern in accept)] == []
    if lines:
        pytest.skip("accepted in the inventory:\n" + "\n".join(lines))
