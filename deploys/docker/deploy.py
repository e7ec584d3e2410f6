"""Register the runtimes with Docker: a reload where that is enough, which the running daemon itself shows."""

from __future__ import annotations

import json

from bulkhead import put
from bulkhead.capability import Capability, register
from bulkhead.hosts import announce, converges, run
from bulkhead.inventory import GVISOR_HOSTS, InventoryHost, engines
from bulkhead.look import Look
from bulkhead.runtime import Runtime
from bulkhead.structure import changes
from bulkhead.templates import render
from deploys.docker import daemon, facts, settings
from deploys.gvisor import runtime as gvisor

CAPABILITY = register(
    Capability(
        name="Docker",
        groups=frozenset({GVISOR_HOSTS}),
        validate=settings.of,
        needs=lambda _: facts.needs(),
        wanted=lambda host: "docker" in engines(host),
    )
)


@converges(CAPABILITY)
def deploy(host: InventoryHost, look: Look) -> None:
    """Bring `daemon.json` and the running daemon to what the inventory says."""
    there = facts.found(look)
    wanted = settings.of(host)
    runtime = gvisor.runsc(host, look)
    main = look.files[daemon.PATH]
    put.refuse_odd(daemon.PATH, main)
    before = main.text(daemon.PATH) if main else ""
    merged = daemon.merge(before, [runtime], wanted.default_runtime)
    write = put.user_file(daemon.PATH, merged.encode(), main)
    effective = not write.changes and in_effect(there, runtime, wanted.default_runtime)
    announce(
        changes(daemon.parse(before), daemon.parse(merged))
        + ([] if effective else ["~ docker is reloaded, and restarted only if a reload is not enough"])
    )
    values = {
        "info": facts.INFO,
        "runtime": evidence(runtime),
        "default_runtime": f'"DefaultRuntime":{json.dumps(wanted.default_runtime)}',
        "allow_restart": wanted.allow_restart,
    }
    change = put.Change(
        writes=[write],
        check=render("docker/check.sh.j2", proof=runtime.proof),
        activate=render("docker/activate.sh.j2", **values),
        prove=render("docker/prove.sh.j2", **values),
        restore=render("docker/restore.sh.j2"),
    )
    run(name=f"Register {runtime.name} with Docker", script=None if effective else put.script(change))


def in_effect(there: facts.FoundDocker, runtime: Runtime, default: str) -> bool:
    """Whether the running daemon already has the runtime, as it reports itself."""
    live = there.runtimes.get(runtime.name, {})
    return (
        live.get("path") == runtime.binary
        and (live.get("runtimeArgs") or []) == list(runtime.arguments)
        and there.default_runtime == default
    )


def evidence(runtime: Runtime) -> str:
    """The piece of the daemon's answer, as it prints it, that shows the runtime."""
    compact = json.dumps(daemon.entry(runtime), separators=(",", ":"), ensure_ascii=False)
    return f"{json.dumps(runtime.name)}:{compact[:-1]}"
