"""Bring runtimes and options into Docker: a reload where that is enough, which the running daemon itself shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bulkhead import probe, put
from bulkhead.capability import Capability, register, runtimes_of
from bulkhead.errors import BulkheadError
from bulkhead.go_json import compact
from bulkhead.hosts import announce, converges, run, warn
from bulkhead.inventory import GVISOR_HOSTS, LEGACY_HOSTS, InventoryHost, allow_running, engines
from bulkhead.look import Look
from bulkhead.registration import Record, ledger_of
from bulkhead.runtime import RUNC, Runtime, to_prove
from bulkhead.structure import changes
from bulkhead.templates import render
from deploys.docker import agents_slice, daemon, facts, hardened, settings
from deploys.docker.options import DNS
from deploys.docker.options import evidence as option_evidence


def files(host: InventoryHost) -> dict[str, bytes]:
    """The daemon's file, as it is made where there is none; where there is one, our settings are merged into it.

    On legacy hosts the agents' slice as well; how many cores it gets is only known on the host.
    """
    runtimes, default = runtimes_of(host, "docker"), settings.default_runtime(host)
    wanted = settings.of(host)
    text, _ = daemon.merge(None, runtimes, default, options=settings.managed(host), path=wanted.config_file)
    made = {} if text is None else {wanted.config_file: text.encode()}
    if settings.legacy(host) and wanted.uses_slice:
        made[agents_slice.PATH] = agents_slice.unit(wanted.slice, None)
    return made


CAPABILITY = register(
    Capability(
        name="Docker",
        groups=frozenset({GVISOR_HOSTS, LEGACY_HOSTS}),
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
    options = settings.managed(host)
    main, recorded = look.files[path], look.files[facts.LEDGER]
    put.refuse_odd(path, main)
    ledger = ledger_of(look, "docker")
    record = ledger.files.get(path, Record())
    before = main.text(path) if main else None
    merged, updated = daemon.merge(
        before,
        runtimes,
        default,
        options=options,
        yielding=settings.yielding(host),
        docker=there.version,
        record=record,
        path=path,
    )
    old, new = daemon.parse(before, path), daemon.parse(merged, path)
    _refuse_command_line(there, path, new)
    registered = ledger.entries(daemon.RUNTIMES)
    gone = sorted(registered.keys() - {runtime.name for runtime in runtimes})
    changed = [
        runtime
        for runtime in runtimes
        if registered.get(runtime.name) != daemon.entry(runtime) or not _has(there, runtime)
    ]
    restart = daemon.needing_restart(old, new)
    slice_file = None
    if settings.legacy(host):
        hardened.refuse(look, there, wanted, new)
        for line in hardened.warnings(look, there):
            warn(line)
        if hardened.stale(look, there, main, old, hardened.keys(options, record)):
            restart = restart or ["what its file says"]
        slice_file = look.files[agents_slice.PATH]
        if wanted.uses_slice:
            agents_slice.write(wanted.slice, slice_file, look.outputs["docker.slice"].text)
    after = ledger.after({path: updated})
    file = put.user_file(path, None if merged is None else merged.encode(), main)
    shown = option_evidence(options, new, there.version)
    effective = (
        not file.changes
        and not restart
        and in_effect(there, runtimes, default, gone)
        and all(piece in there.info for piece in shown)
    )
    announce(
        changes(old, new)
        + ([] if effective else ["~ docker is reloaded, and restarted only if a reload is not enough"])
    )
    pieces = evidence(runtimes, default) + shown
    values = {
        "scratch": put.SCRATCH,
        "socket": facts.SOCKET,
        "info": facts.answers(host),
        "containers": facts.api("/containers/json"),
        "all_containers": facts.api("'/containers/json?all=1'"),
        "container": facts.api('"/containers/$id/json"'),
        "evidence": pieces,
        "absent": traces(runtimes, gone, old.get(daemon.DEFAULT), new.get(daemon.DEFAULT)),
        "fresh": [piece for piece in pieces if piece not in there.info],
        "gone": gone,
        "proved": [runtime.name for runtime in to_prove(runtimes, changed)] or ([RUNC] if options else []),
        "proofs": [runtime.proof for runtime in changed if runtime.proof],
        "allow_running": allow_running(host),
        "allow_restart": wanted.allow_restart,
        "restart": restart,
        "what": "what its file says" if options else "the runtimes or the default as configured",
        "network": [
            *(["icc"] if any("enable_icc" in piece and piece not in there.info for piece in shown) else []),
            # Until they are restarted, containers have dockerd ask for them as it did when they were started.
            *([DNS] if DNS in restart and not old.get(DNS) else []),
        ],
        "moves": "userns-remap" in restart or hardened.moves_data(there, options),
        "data_root": str(old.get("data-root", "/var/lib/docker")),
        "invocation": there.invocation,
        **hardened.stamp_values(options, new),
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
    run(
        name=_title(host, runtimes, gone, options),
        script=None if effective and not change.changes else put.script(change),
    )
    if settings.legacy(host) and not wanted.uses_slice:
        agents_slice.remove(slice_file)


def _title(host: InventoryHost, runtimes: Sequence[Runtime], gone: Sequence[str], options: Mapping[str, object]) -> str:
    if runtimes:
        return f"Register {', '.join(runtime.name for runtime in runtimes)} with Docker"
    if options:
        return "Set Docker's options"
    ours = "our options" if settings.legacy(host) else "our runtimes"
    return f"Take {', '.join(gone) or ours} out of Docker"


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
