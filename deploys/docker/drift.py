"""What of Docker is not as described: its file, the running daemon, its units, the agents' slice, and the containers.

Pure, no I/O.
"""

from __future__ import annotations

import json
from typing import Any

from bulkhead.drift import units
from bulkhead.drift.comparison import Comparison, told
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Command, Look, Need
from bulkhead.runtime import RUNC, RUNC_TYPE
from bulkhead.templates import render
from deploys.docker import agents_slice, containers, daemon, facts, settings
from deploys.docker.decision import Decision, decide, has, refuse
from deploys.docker.options import SLICE

NAME = "Docker"
UNITS = ("docker.service", "docker.socket")

BUILT_IN = {RUNC, RUNC_TYPE, "io.containerd.runc.v1", "io.containerd.runtime.v1.linux"}
"""The names under which Docker has runc by itself (20.10 to 28)."""


def watches(host: InventoryHost) -> list[Need]:
    """The daemon's units, and what bounds the running containers."""
    wanted = settings.of(host)
    sliced = settings.legacy(host) and wanted.uses_slice
    values = {"socket": facts.SOCKET, "containers": facts.api("/containers/json")}
    return [
        units.watch(NAME, [*UNITS, *([SLICE] if sliced else [])]),
        Command("docker.containers", render("docker/inspected.sh.j2", **values)),
    ]


def drift(compared: Comparison, host: InventoryHost, look: Look) -> None:
    """What a deploy would change, and what weakens what is there."""
    decided = decide(host, look)
    found = units.read(NAME, look)
    compared.unit(found, "docker.service")
    for name in ("docker.socket", SLICE):
        if name in found:
            compared.additions(found[name])
    try:
        refuse(host, look, decided)
    except BulkheadError as error:
        compared.refusal("docker daemon", error)
    _files(compared, decided, look)
    if decided.there.running:
        _live(compared, decided)
    elif "docker.service" in found and found["docker.service"].runs:
        compared.add("docker daemon", expected="answers", actual="does not answer", mend="journalctl -u docker.service")
    if decided.slice:
        _slice(compared, host, decided, look)
    elif settings.legacy(host) and look.files[agents_slice.PATH]:
        compared.add(agents_slice.PATH, actual="a slice into which no agents are put", severity="warning")
    _containers(compared, host, decided, told(look, "docker.containers", "what containers run"))


def _files(compared: Comparison, decided: Decision, look: Look) -> None:
    file = decided.file
    if file.changes:
        known = len(compared.findings)
        if file.found and file.content is not None:
            compared.document(file.path, decided.old, decided.new)
        if len(compared.findings) == known:
            actual = "another text" if file.found else ""
            compared.add(file.path, expected="the file with our settings in it", actual=actual)
    compared.loose(file.path, file.found)
    # What is to be noted follows from what is to be written.
    compared.record(decided.after.write(facts.LEDGER, look.files[facts.LEDGER]), content=not file.changes)


def _live(compared: Comparison, decided: Decision) -> None:
    there = decided.there
    for runtime in decided.runtimes:
        if not has(there, runtime):
            live = there.runtimes.get(runtime.name)
            compared.add(
                f"docker runtime {runtime.name}",
                expected=_shown(daemon.entry(runtime)),
                actual="" if live is None else _shown(live),
            )
    if decided.default not in (None, there.default_runtime):
        compared.add("docker default runtime", expected=str(decided.default), actual=str(there.default_runtime or ""))
    for name in sorted(there.runtimes.keys() - BUILT_IN - {runtime.name for runtime in decided.runtimes}):
        mend = f"describe {name} in the inventory's runtimes, or take it out of {decided.file.path} and reload docker"
        compared.add(
            f"docker runtime {name}",
            actual=str(there.runtimes[name].get("path") or there.runtimes[name].get("runtimeType") or "a shim"),
            mend=compared.deploy if name in decided.gone else mend,
        )
    for key, piece in decided.shown.items():
        # Where the file itself says otherwise, that is told.
        if piece not in there.info and decided.old.get(key) == decided.options[key]:
            compared.add(
                f"docker option {key}", expected=json.dumps(decided.options[key]), actual="not in effect in the daemon"
            )
    # With another file it is no wonder.
    if decided.stale and not decided.file.changes:
        compared.add(
            "docker options",
            expected=f"those of {decided.file.path}",
            actual="the daemon started before they were written there",
        )
    if decided.options and not any(one.startswith("name=seccomp") for one in there.security):
        compared.add("docker seccomp", expected="containers are confined", actual="they are not")


def _shown(entry: dict[str, Any]) -> str:
    """A runtime without what Docker says of its program."""
    return json.dumps({key: value for key, value in entry.items() if value and key != "status"}, sort_keys=True)


def _slice(compared: Comparison, host: InventoryHost, decided: Decision, look: Look) -> None:
    assert decided.slice
    compared.own_file(decided.slice)
    answer = look.outputs["docker.slice"].text
    if not decided.slice.changes and not agents_slice.in_force(answer):
        compared.add(f"unit {SLICE}", expected="as its file says", actual="not read again since it was changed")
    for name, expected, actual in agents_slice.loosened(settings.of(host).slice, answer):
        compared.add(f"{SLICE}: {name}", expected=expected, actual=actual)


def bounds(host: InventoryHost, decided: Decision) -> tuple[set[str], set[str], set[str]]:
    """The runtimes of which a container has to have one, those of them that are sandboxes, and the cgroups that it has
    to be in; none for any (see `containers.breaches`)."""
    ours = {runtime.name for runtime in decided.runtimes}
    if settings.legacy(host):
        lifted = "default-runtime" in settings.of(host).options
        runtimes = set() if lifted else {RUNC, RUNC_TYPE}
    else:
        runtimes = ours if decided.default in ours else ours | BUILT_IN
    sandboxes = {runtime.name for runtime in decided.runtimes if not runtime.shares_kernel}
    return runtimes, sandboxes, {SLICE} if decided.slice else set()


def _containers(compared: Comparison, host: InventoryHost, decided: Decision, text: str) -> None:
    for container in containers.parse(text):
        for breach in containers.breaches(container, *bounds(host, decided)):
            compared.add(
                f"container {container.name}: {breach.what}",
                expected=breach.expected,
                actual=breach.actual,
                mend=f"docker rm --force {container.name}; start it anew within its bounds",
            )
