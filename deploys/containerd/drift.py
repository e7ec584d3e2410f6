"""What of containerd is not as described: its files, the running daemon, its unit, and the containers. Pure, no I/O."""

from __future__ import annotations

import json
import shlex
from typing import Any

from bulkhead.drift import units
from bulkhead.drift.comparison import Comparison, told
from bulkhead.inventory import InventoryHost
from bulkhead.look import Command, Look, Need
from bulkhead.runtime import RUNC, Runtime
from bulkhead.templates import render
from deploys.containerd import facts, files, settings
from deploys.containerd.decision import Decision, decide, has, shim
from deploys.containerd.distributions import CONTAINERD, distributions

NAME = "containerd"

KUBERNETES = "k8s.io"
"""The namespace of CRI's containers. Where pods that name no runtime get the engine's own, a cluster's own are there,
with the host's network and all rights: whether a pod may have these is the cluster's to say."""


def watches(host: InventoryHost) -> list[Need]:
    """The daemon's unit, and the containers that run."""
    names = [unit for distribution in distributions(settings.of(host)) for unit in distribution.units]
    return [units.watch(NAME, names), Command("containerd.tasks", render("containerd/tasks.sh.j2"))]


def drift(compared: Comparison, host: InventoryHost, look: Look) -> None:
    """What a deploy would change, and what weakens what is there."""
    decided = decide(host, look)
    compared.unit(units.read(NAME, look), decided.there.unit)
    _files(compared, decided, look)
    _live(compared, decided)
    _generation(compared, decided)
    _containers(compared, decided, told(look, "containerd.tasks", "what containers run"))


def _files(compared: Comparison, decided: Decision, look: Look) -> None:
    for write in decided.registered:
        form = files.form_of(write.path)
        before, after = (
            form.parse(content.decode() if content else "")
            for content in (write.found and write.found.content, write.content)
        )
        if write.changes:
            known = len(compared.findings)
            if write.found:
                compared.document(write.path, before, after)
            if len(compared.findings) == known:
                actual = "another text" if write.found else ""
                compared.add(write.path, expected="the file with our runtimes in it", actual=actual)
        compared.loose(write.path, write.found)
    for write in decided.options:
        if write.backup and write.found:
            # One that a user put there may hold anything.
            compared.add(write.path, expected=(write.content or b"").decode(), actual="a file that is not Bulkhead's")
        else:
            compared.own_file(write)
    for path in sorted({*decided.ledger.options} - {*decided.after.options}):
        compared.add(path, actual="options of a runtime that has left", severity="warning")
    noted = decided.after if decided.ledger.generation else decided.after.model_copy(update={"generation": 0})
    # What is to be noted follows from what is to be written.
    follows = _crossed(decided) or any(write.changes for write in decided.registered)
    compared.record(noted.write(facts.LEDGER, look.files[facts.LEDGER]), content=not follows)


def _live(compared: Comparison, decided: Decision) -> None:
    if decided.there.cri is None:
        if decided.runtimes and decided.there.running:
            compared.add(
                "containerd CRI",
                expected="answers",
                actual="does not answer",
                mend=f"journalctl -u {decided.there.unit}; {compared.deploy}",
            )
        return
    for runtime in decided.runtimes:
        live = decided.live.get(runtime.name)
        if live is None or not has(live, runtime):
            compared.add(
                f"containerd runtime {runtime.name}",
                expected=_wanted(runtime),
                actual="" if live is None else _shown(live, runtime),
            )
    default = decided.there.cri.get("containerd", {}).get("defaultRuntimeName")
    if decided.default not in (None, default):
        compared.add("containerd default runtime", expected=str(decided.default), actual=str(default or ""))
    ours = {RUNC, *(runtime.name for runtime in decided.runtimes)}
    for name in sorted(decided.live.keys() - ours):
        compared.add(
            f"containerd runtime {name}",
            actual=str(decided.live[name].get("runtimeType", "")),
            # k3s and its like register what they find on a host.
            severity="critical" if decided.there.distribution.name == CONTAINERD else "warning",
            mend=compared.deploy
            if name in decided.gone
            else f"describe {name} in the inventory's runtimes, or take it out of containerd's files and restart it",
        )


def _wanted(runtime: Runtime) -> str:
    entry: dict[str, Any] = {"runtimeType": runtime.runtime_type}
    entry |= {"options": dict(runtime.options)} if runtime.options else {}
    entry |= {
        key: runtime.handler[key] for key in ("pod_annotations", "container_annotations") if runtime.handler.get(key)
    }
    return json.dumps(entry, sort_keys=True)


def _shown(live: dict[str, Any], runtime: Runtime) -> str:
    """The same of the daemon's handler, and of its options those that ours has."""
    options = live.get("options") or {}
    entry: dict[str, Any] = {"runtimeType": live.get("runtimeType")}
    entry |= {"options": {key: options.get(key) for key in runtime.options}} if runtime.options else {}
    annotations = {"pod_annotations": "PodAnnotations", "container_annotations": "ContainerAnnotations"}
    entry |= {name: live[key] for name, key in annotations.items() if live.get(key)}
    return json.dumps(entry, sort_keys=True)


def _crossed(decided: Decision) -> bool:
    """Whether containerd reads another version of configurations than when its files were written last."""
    return decided.ledger.generation not in (0, decided.after.generation)


def _generation(compared: Comparison, decided: Decision) -> None:
    """What was written for the other generation is told beside it, where this one wants it otherwise."""
    if _crossed(decided):
        version = ".".join(map(str, decided.there.version))
        compared.add(
            "containerd generation",
            expected=f"configuration version {decided.ledger.generation}",
            actual=f"configuration version {decided.after.generation} (containerd {version})",
            severity="info",
            mend=f"{compared.deploy}; bulkhead verify INVENTORY",
        )


def programs(decided: Decision) -> set[str]:
    """The shims under which a container may run."""
    shims = {shim(runtime.runtime_type) for runtime in decided.runtimes}
    return shims | {str(runtime.handler.get("runtime_path", "")).rpartition("/")[2] for runtime in decided.runtimes}


def _containers(compared: Comparison, decided: Decision, text: str) -> None:
    names = {runtime.name for runtime in decided.runtimes}
    shims = programs(decided)
    for line in text.splitlines():
        kind, namespace, name, *said = line.split("\t")
        if not names or (namespace == KUBERNETES and decided.default not in names):
            continue
        subject = f"container {namespace}/{name}"
        client = f"{decided.there.distribution.ctr} --namespace {shlex.quote(namespace)}"
        mend = f"{client} tasks rm --force {shlex.quote(name)}; {client} containers rm {shlex.quote(name)}"
        if kind == "shim" and said[0] not in shims:
            compared.add(f"{subject}: runtime", expected=" or ".join(sorted(names)), actual=said[0], mend=mend)
        if kind == "task" and said[0] == "host":
            compared.add(f"{subject}: network", expected="its own", actual="the host's", mend=mend)
        if kind == "task" and said[1] == "all":
            compared.add(f"{subject}: privileged", expected="no", actual="yes", mend=mend)
