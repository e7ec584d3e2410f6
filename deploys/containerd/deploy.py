"""Register the runtimes with containerd, and restart it only when its live configuration lacks them."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from typing import Any

from bulkhead import put
from bulkhead.capability import Capability, register
from bulkhead.errors import BulkheadError
from bulkhead.hosts import announce, converges, run
from bulkhead.inventory import GVISOR_HOSTS, InventoryHost, engines
from bulkhead.look import Look
from bulkhead.runtime import Runtime
from bulkhead.structure import changes
from bulkhead.templates import render
from deploys.containerd import config, facts, settings
from deploys.gvisor import runtime as gvisor

CAPABILITY = register(
    Capability(
        name="containerd",
        groups=frozenset({GVISOR_HOSTS}),
        validate=settings.of,
        needs=lambda _: facts.needs(),
        wanted=lambda host: "containerd" in engines(host),
    )
)


@converges(CAPABILITY)
def deploy(host: InventoryHost, look: Look) -> None:
    """Bring `config.toml`, the shim's options and the running daemon to what the inventory says."""
    there = facts.found(look)
    wanted = settings.of(host)
    default = wanted.default_runtime
    runtime = _with_cgroups(gvisor.runsc(host, look), there)
    main = look.files[config.PATH]
    put.refuse_odd(config.PATH, main)
    before = main.text(config.PATH) if main else ""
    merged = config.merge(before, [runtime], default, there.version)
    options = look.files[runtime.config_path]
    put.refuse_odd(runtime.config_path, options)
    wanted_options = render("containerd/runsc.toml.j2", name=runtime.name, binary=runtime.binary, config=runtime.config)
    writes = [
        put.user_file(config.PATH, merged.encode(), main),
        put.Write(runtime.config_path, wanted_options.encode(), options, backup=True),
    ]
    effective = not writes[0].changes and in_effect(there.cri, runtime, default)
    if not effective and there.running and not there.keeps_containers and not wanted.allow_restart:
        raise BulkheadError(
            "containerd has to be restarted, and its unit (KillMode) would kill every container with it",
            hint="Set KillMode=process in the unit, as its own packages do, or containerd.allow_restart = True.",
        )
    announce(
        changes(tomllib.loads(before), tomllib.loads(merged))
        + [f"{runtime.config_path}: {line}" for line in changes(_toml(options), tomllib.loads(wanted_options))]
        + ([] if effective else ["~ containerd is restarted"])
    )
    change = put.Change(
        writes=writes,
        check=render("containerd/check.sh.j2", path=config.PATH, proof=runtime.proof),
        activate="" if effective else render("containerd/activate.sh.j2"),
        prove=""
        if effective
        else render("containerd/prove.sh.j2", live=facts.live(), evidence=evidence(runtime, default)),
        restore="" if effective else render("containerd/restore.sh.j2"),
    )
    unchanged = effective and not any(write.changes for write in writes)
    run(name=f"Register {runtime.name} with containerd", script=None if unchanged else put.script(change))


def in_effect(cri: dict[str, Any] | None, runtime: Runtime, default: str | None) -> bool:
    """Whether the running daemon already has the runtime, as CRI itself reports it."""
    engine = (cri or {}).get("containerd", {})
    live = engine.get("runtimes", {}).get(runtime.name, {})
    return (
        live.get("runtimeType") == runtime.runtime_type
        and (live.get("options") or {}).get("ConfigPath", "") == runtime.config_path
        and default in (None, engine.get("defaultRuntimeName"))
    )


def evidence(runtime: Runtime, default: str | None) -> list[str]:
    """The pieces of CRI's live configuration, as it prints it, that show what `in_effect` asks for."""
    pieces = [f'{json.dumps(runtime.name)}:{{"runtimeType":{json.dumps(runtime.runtime_type)}']
    if runtime.config_path:
        pieces.append(f'"ConfigPath":{json.dumps(runtime.config_path)}')
    if default is not None:
        pieces.append(f'"defaultRuntimeName":{json.dumps(default)}')
    return pieces


def _with_cgroups(runtime: Runtime, there: facts.FoundContainerd) -> Runtime:
    """runsc must drive cgroups as the engine does: where runc uses systemd, kubelet hands out systemd's paths."""
    runc = (there.cri or {}).get("containerd", {}).get("runtimes", {}).get("runc", {}).get("options") or {}
    if not runc.get("SystemdCgroup") or "systemd-cgroup" in runtime.config:
        return runtime
    return replace(runtime, config=dict(sorted({**runtime.config, "systemd-cgroup": "true"}.items())))


def _toml(options: Any) -> dict[str, Any]:
    try:
        return tomllib.loads(options.content.decode()) if options else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}
