"""Register the runtimes with Docker: a reload where that is enough, which the running daemon itself shows."""

from __future__ import annotations

from collections.abc import Sequence

from bulkhead import probe, put
from bulkhead.capability import Capability, register, runtimes_of
from bulkhead.errors import BulkheadError
from bulkhead.go_json import compact
from bulkhead.hosts import announce, converges, run
from bulkhead.inventory import GVISOR_HOSTS, InventoryHost, allow_running, engines
from bulkhead.look import Look
from bulkhead.registration import Record, ledger_of
from bulkhead.runtime import Runtime, to_prove
from bulkhead.structure import changes
from bulkhead.templates import render
from deploys.docker import daemon, facts, settings


def files(host: InventoryHost) -> dict[str, bytes]:
    """The daemon's file, as it is made where there is none; where there is one, our settings are merged into it."""
    runtimes, default = runtimes_of(host, "docker"), settings.default_runtime(host)
    path = settings.of(host).config_file
    text, _ = daemon.merge(None, runtimes, default, path=path)
    return {} if text is None else {path: text.encode()}


CAPABILITY = register(
    Capability(
        name="Docker",
        groups=frozenset({GVISOR_HOSTS}),
        validate=settings.of,
        needs=facts.needs,
        wanted=lambda host: "docker" in engines(host),
        files=files,
    )
)


@converges(CAPABILITY)
def deploy(host: InventoryHost, look: Look) -> None:
    """Bring `daemon.json` and the running daemon to what the inventory says."""
    there = facts.found(look)
    wanted = settings.of(host)
    path = wanted.config_file
    runtimes = runtimes_of(host, "docker", look)
    default = settings.default_runtime(host)
    main, recorded = look.files[path], look.files[facts.LEDGER]
    put.refuse_odd(path, main)
    ledger = ledger_of(look, "docker")
    record = ledger.files.get(path, Record())
    before = main.text(path) if main else None
    merged, updated = daemon.merge(before, runtimes, default, docker=there.version, record=record, path=path)
    old, new = daemon.parse(before, path), daemon.parse(merged, path)
    _refuse_command_line(there, path, new)
    registered = ledger.entries(daemon.RUNTIMES)
    gone = sorted(registered.keys() - {runtime.name for runtime in runtimes})
    changed = [
        runtime
        for runtime in runtimes
        if registered.get(runtime.name) != daemon.entry(runtime) or not _has(there, runtime)
    ]
    after = ledger.after({path: updated})
    file = put.user_file(path, None if merged is None else merged.encode(), main)
    effective = not file.changes and in_effect(there, runtimes, default, gone)
    announce(
        changes(old, new)
        + ([] if effective else ["~ docker is reloaded, and restarted only if a reload is not enough"])
    )
    pieces = evidence(runtimes, default)
    values = {
        "scratch": put.SCRATCH,
        "socket": facts.SOCKET,
        "info": facts.INFO,
        "containers": facts.api("/containers/json"),
        "container": facts.api('"/containers/$id/json"'),
        "evidence": pieces,
        "absent": traces(runtimes, gone, old.get(daemon.DEFAULT), new.get(daemon.DEFAULT)),
        "fresh": [piece for piece in pieces if piece not in there.info],
        "gone": gone,
        "proved": [runtime.name for runtime in to_prove(runtimes, changed)],
        "proofs": [runtime.proof for runtime in changed if runtime.proof],
        "allow_running": allow_running(host),
        "allow_restart": wanted.allow_restart,
        "restart": daemon.needing_restart(old, new),
        **probe.values(look.outputs[probe.ARCHITECTURE.name].text),
    }
    change = put.Change(
        writes=[ledger.until(after).write(facts.LEDGER, recorded), file],
        check=render("docker/check.sh.j2", **values),
        activate="" if effective else render("docker/activate.sh.j2", **values),
        prove="" if effective else render("docker/prove.sh.j2", **values),
        restore="" if effective else render("docker/restore.sh.j2", **values),
        settled=[after.write(facts.LEDGER, recorded)],
    )
    names = ", ".join(runtime.name for runtime in runtimes)
    title = f"Register {names} with Docker" if names else f"Take {', '.join(gone) or 'our runtimes'} out of Docker"
    run(name=title, script=None if effective and not change.changes else put.script(change))


def _refuse_command_line(there: facts.FoundDocker, path: str, wanted: dict[str, object]) -> None:
    """dockerd's flags go before its file, and one that says the same as a key of the file keeps it from starting."""
    named = there.config_file
    if named not in (None, path):
        raise BulkheadError(
            f"dockerd reads {named} (--config-file), not {path}",
            hint=f"Set docker.config_file = {named!r} in the inventory.",
        )
    conflicts = daemon.conflicts(there.arguments, wanted)
    if conflicts:
        raise BulkheadError(
            f"dockerd is started with {', '.join(conflicts)}, which {path} would say too: it would not start again",
            hint="Take the flag out of its unit (systemctl cat docker.service).",
        )


def in_effect(there: facts.FoundDocker, runtimes: Sequence[Runtime], default: str | None, gone: Sequence[str]) -> bool:
    """Whether the running daemon already has what it should, as it reports itself."""
    return (
        there.running
        and all(_has(there, runtime) for runtime in runtimes)
        and default in (None, there.default_runtime)
        and not {*gone} & {*there.runtimes, there.default_runtime}
    )


def _has(there: facts.FoundDocker, runtime: Runtime) -> bool:
    """Of a runtime that is a shim the daemon tells the name alone (26.1)."""
    live = there.runtimes.get(runtime.name)
    if live is None or not runtime.binary:
        return live is not None
    return {key: value for key, value in live.items() if value and key != "status"} == daemon.entry(runtime)


def evidence(runtimes: Sequence[Runtime], default: str | None) -> list[str]:
    """The pieces of the daemon's answer, as it prints it, that show what `in_effect` asks for."""
    pieces = [
        f"{compact(runtime.name)}:{compact(daemon.entry(runtime), escape_html=False)[:-1] if runtime.binary else '{'}"
        for runtime in runtimes
    ]
    return pieces + ([f'"DefaultRuntime":{compact(default)}'] if default else [])


def traces(runtimes: Sequence[Runtime], gone: Sequence[str], old_default: object, default: object) -> list[str]:
    """The pieces of the daemon's answer that show what it has to forget, which a reload alone may not make it do."""
    bare = [runtime for runtime in runtimes if runtime.binary and not runtime.arguments]
    pieces = [f'{piece},"runtimeArgs"' for piece in evidence(bare, None)]
    pieces += [f"{compact(name)}:{{" for name in gone]
    return pieces + ([f'"DefaultRuntime":{compact(old_default)}'] if old_default not in (None, default) else [])
