"""Bring runtimes and options into Docker: a reload where that is enough, which the running daemon itself shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bulkhead import probe, put
from bulkhead.capability import Capability, register, runtimes_of
from bulkhead.hosts import announce, converges, run, warn
from bulkhead.inventory import GVISOR_HOSTS, LEGACY_HOSTS, InventoryHost, allow_running, engines
from bulkhead.look import Look
from bulkhead.runtime import RUNC, Runtime, to_prove
from bulkhead.structure import changes
from bulkhead.templates import render
from deploys.docker import agents_slice, daemon, drift, facts, hardened, pins, settings
from deploys.docker.decision import REMAP, decide, evidence, refuse, traces
from deploys.docker.options import DNS


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
        watches=drift.watches,
        drift=drift.drift,
        pins=pins.of,
    )
)


@converges(CAPABILITY)
def deploy(host: InventoryHost, look: Look) -> None:
    """Bring `daemon.json` and the running daemon to what the inventory says."""
    decided = decide(host, look)
    refuse(host, look, decided)
    there, runtimes, options = decided.there, decided.runtimes, decided.options
    old, new, gone, effective = decided.old, decided.new, decided.gone, decided.effective
    wanted = settings.of(host)
    recorded = look.files[facts.LEDGER]
    if settings.legacy(host):
        for line in hardened.warnings(look, there):
            warn(line)
    if decided.slice:
        agents_slice.write(decided.slice, wanted.slice, look.outputs["docker.slice"].text)
    announce(
        changes(old, new)
        + ([] if effective else ["~ docker is reloaded, and restarted only if a reload is not enough"])
    )
    pieces = [*evidence(runtimes, decided.default), *decided.shown.values()]
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
        "proved": [runtime.name for runtime in to_prove(runtimes, decided.changed)] or ([RUNC] if options else []),
        "proofs": [runtime.proof for runtime in decided.changed if runtime.proof],
        "allow_running": allow_running(host),
        "allow_restart": wanted.allow_restart,
        "restart": decided.restart,
        "what": "what its file says" if options else "the runtimes or the default as configured",
        "network": [
            *(["icc"] if any("enable_icc" in one and one not in there.info for one in decided.shown.values()) else []),
            # Until they are restarted, containers have dockerd ask for them as it did when they were started.
            *([DNS] if DNS in decided.restart and not old.get(DNS) else []),
        ],
        "moves": REMAP in decided.restart or decided.moves_data,
        "data_root": str(old.get("data-root", "/var/lib/docker")),
        "invocation": there.invocation,
        **hardened.stamp_values(options, new),
        **probe.values(look.outputs[probe.ARCHITECTURE.name].text),
    }
    change = put.Change(
        writes=[decided.ledger.until(decided.after).write(facts.LEDGER, recorded), decided.file],
        check=render("docker/check.sh.j2", **values),
        activate="" if effective else render("docker/activate.sh.j2", **values),
        prove="" if effective else render("docker/prove.sh.j2", **values),
        restore="" if effective else render("docker/restore.sh.j2", **values),
        settled=[decided.after.write(facts.LEDGER, recorded)],
    )
    run(
        name=_title(host, runtimes, gone, options),
        script=None if effective and not change.changes else put.script(change),
    )
    if settings.legacy(host) and not wanted.uses_slice:
        agents_slice.remove(look.files[agents_slice.PATH])


def _title(host: InventoryHost, runtimes: Sequence[Runtime], gone: Sequence[str], options: Mapping[str, object]) -> str:
    if runtimes:
        return f"Register {', '.join(runtime.name for runtime in runtimes)} with Docker"
    if options:
        return "Set Docker's options"
    ours = "our options" if settings.legacy(host) else "our runtimes"
    return f"Take {', '.join(gone) or ours} out of Docker"
