"""AppArmor, in the kernel and in Docker. Pure, no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bulkhead.errors import BulkheadError
from bulkhead.look import Command, Look, Need
from bulkhead.templates import render
from deploys.docker.facts import INFO, api
from deploys.hardening import area

PACKAGE = "apparmor"
PROFILE = "docker-default"
HINT = 'Boot it with apparmor=1 security=apparmor, or leave it out: hardening = {"off": {"apparmor": "the reason"}}.'


def needs() -> list[Need]:
    """The kernel's word, its profiles, the unit, and what Docker says of itself (as its own capability asks it)."""
    return [
        Command("hardening.apparmor", "cat /sys/module/apparmor/parameters/enabled"),
        Command(
            "hardening.apparmor.unit", "systemctl is-enabled apparmor.service; systemctl is-active apparmor.service; :"
        ),
        Command("docker.info", INFO),
    ]


def plan(values: Mapping[str, str], look: Look, *, allow_restart: bool) -> area.Plan:
    """The unit that loads profiles at each boot, and a Docker that uses them: it looks for AppArmor when it starts.

    Raises BulkheadError where the kernel runs without it.
    """
    if not values:
        return area.Plan()
    if look.outputs["hardening.apparmor"].text != "Y":
        raise BulkheadError("AppArmor is not enabled in the running kernel", hint=HINT)
    unit = look.outputs["hardening.apparmor.unit"].text.split()
    if unit[:1] == ["masked"]:
        raise BulkheadError(
            "apparmor.service is masked: no profile would be loaded at the next boot",
            hint="Unmask it (systemctl unmask apparmor.service), or leave it out: "
            'hardening = {"off": {"apparmor": "the reason"}}.',
        )
    enabled = unit == ["enabled", "active"]
    docker = _docker(look)
    lacking = docker is not None and "name=apparmor" not in (docker.get("SecurityOptions") or [])
    wrong = []
    if not enabled:
        wrong.append(
            area.Wrong("unit apparmor.service", "enabled active", " ".join(unit), "~ apparmor.service is enabled")
        )
    if lacking:
        line = "~ docker is restarted, to confine containers"
        wrong.append(area.Wrong("docker and AppArmor", "containers are confined", "they are not", line))
    fill = {
        "lacking": lacking,
        "allow_restart": allow_restart,
        "network": False,
        "docker": docker is not None,
        "info": INFO,
        "containers": api("/containers/json"),
        "container": api('"/containers/$id/json"'),
        "profile": PROFILE,
    }
    return area.plan(
        [],
        wrong=wrong,
        activate=render("hardening/apparmor_activate.sh.j2", **fill),
        prove=render("hardening/apparmor_prove.sh.j2", **fill),
        restore=":",
    )


def _docker(look: Look) -> dict[str, Any] | None:
    """What a running Docker says of itself."""
    answer = look.outputs["docker.info"]
    try:
        said = json.loads(answer.stdout) if answer.status == 0 else None
    except ValueError:
        return None
    return said if isinstance(said, dict) and "SecurityOptions" in said else None
