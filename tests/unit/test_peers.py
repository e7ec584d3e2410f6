"""The benchmark beside Ansible takes no round for a measurement in which somebody found something."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from benchmarks.peers import QUESTIONS, no_change, questions, recorded
from bulkhead.capability import discover
from bulkhead.inventory import InventoryHost

CLEAN = (
    "gvisor                     : ok=9    changed=0    unreachable=0    failed=0    skipped=1    rescued=0    ignored=0"
)


def host() -> InventoryHost:
    data: dict[str, Any] = {
        "engines": ["containerd", "docker"],
        "gvisor": {"release": "20260817.0"},
        "egress": {"management": ["192.0.2.0/24"], "agents": {"gamma": {"subnet4": "172.30.3.0/24"}}},
    }
    return InventoryHost("gvisor", frozenset({"gvisor_hosts"}), data)


def test_nothing_to_change() -> None:
    """As ansible-core 2.19 says it."""
    assert no_change(f"TASK [Live state]\nok: [gvisor]\n\nPLAY RECAP ****\n{CLEAN}\n")


@pytest.mark.parametrize("counted", ["changed", "unreachable", "failed"])
def test_something_to_change(counted: str) -> None:
    assert not no_change(CLEAN.replace(f"{counted}=0", f"{counted}=1"))


def test_no_end() -> None:
    assert not no_change("TASK [Live state]\nok: [gvisor]\n")


def test_what_is_asked() -> None:
    discover()
    asked = questions(host())
    assert {*QUESTIONS, "docker", "containerd", "nft", "networks"} <= asked.keys()
    assert asked["sshd"].startswith("sshd -T")
    assert asked["networks"] == "docker network inspect gamma"


@pytest.mark.parametrize("command", ["false", "exec date +%N"])
def test_an_answer_that_says_nothing(command: str) -> None:
    """One that is empty would always compare equal, and one that moves never."""
    with pytest.raises(SystemExit, match="asked: the answer is empty, or another one each time"):
        recorded({"asked": command}, shell)


def test_an_answer_by_its_digest() -> None:
    (asked,) = recorded({"asked": "echo 1; echo 2 >&2"}, shell)
    # printf '1\n' | sha256sum
    assert asked["digest"] == "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865  -"
    assert shell(asked["command"]) == asked["digest"]


def test_what_ansible_would_take_for_its_own() -> None:
    with pytest.raises(SystemExit, match="a template of its own"):
        recorded({"asked": "docker info --format '{{json .Runtimes}}'"}, shell)


def shell(script: str) -> str:
    return subprocess.run(["sh"], input=script, check=True, capture_output=True, text=True).stdout.strip()
