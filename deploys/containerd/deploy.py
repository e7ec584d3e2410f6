"""Register the runtimes with containerd, and restart it only when its live configuration lacks them."""

from __future__ import annotations

from collections.abc import Sequence

from bulkhead import probe, put
from bulkhead.capability import Capability, register, runtimes_of
from bulkhead.errors import BulkheadError
from bulkhead.go_json import compact
from bulkhead.hosts import announce, converges, run
from bulkhead.inventory import GVISOR_HOSTS, InventoryHost, allow_running, engines
from bulkhead.look import Look
from bulkhead.runtime import to_prove
from bulkhead.structure import changes
from bulkhead.templates import render
from deploys.containerd import config, drift, facts, files, pins, settings
from deploys.containerd.decision import decide, evidence, options_file, shim, toml


def files_of(host: InventoryHost) -> dict[str, bytes]:
    """The shims' options, where the engine does not drive cgroups by systemd, and the daemon's file for containerd 2.0
    as it is made where there is none; where there is one, our handlers are merged into it in the version that it has.
    """
    runtimes, wanted = runtimes_of(host, "containerd"), settings.of(host)
    options = {
        runtime.config_path: options_file(runtime, runtime.config) for runtime in runtimes if runtime.config_path
    }
    path = wanted.config_file or config.PATH
    merged = config.merge(None, runtimes, wanted.default_runtime, (2, 0), enable_cri=wanted.enable_cri, path=path)
    return options | ({} if merged.text is None else {path: merged.text.encode()})


CAPABILITY = register(
    Capability(
        name="containerd",
        groups=frozenset({GVISOR_HOSTS}),
        validate=settings.of,
        needs=facts.needs,
        wanted=lambda host: "containerd" in engines(host),
        files=files_of,
        watches=drift.watches,
        drift=drift.drift,
        pins=pins.of,
    )
)


@converges(CAPABILITY)
def deploy(host: InventoryHost, look: Look) -> None:
    """Bring the configuration, the shims' options and the running daemon to what the inventory says."""
    decided = decide(host, look)
    there, plan, runtimes = decided.there, decided.plan, decided.runtimes
    options, registered, gone, effective = decided.options, decided.registered, decided.gone, decided.effective
    wanted = settings.of(host)
    recorded = look.files[facts.LEDGER]
    if not effective and there.running and not there.keeps_containers and not wanted.allow_restart:
        raise BulkheadError(
            f"{there.unit} has to be restarted, and (KillMode) would kill every container with it",
            hint="Set KillMode=process in the unit, as its own packages do, or containerd.allow_restart = True.",
        )
    announce(_lines(plan, options, registered) + ([] if effective else [f"~ {there.unit} is restarted"]))
    kept = {runtime.runtime_type for runtime in runtimes}
    values = {
        "scratch": put.SCRATCH,
        "distribution": there.distribution,
        "unit": there.unit,
        "live": facts.live(there.distribution),
        "runtimes": runtimes,
        "proved": to_prove(runtimes, decided.changed),
        "proofs": [runtime.proof for runtime in decided.changed if runtime.proof],
        "gone": gone,
        # A shim that no other runtime needs.
        "gone_shims": sorted({shim(kind) for kind in gone.values() if kind not in kept}),
        "evidence": evidence(runtimes, wanted.default_runtime, answered=there.cri is not None),
        "absent": [f'{compact(name)}:{{"runtimeType"' for name in gone],
        "preview": None if plan.preview is None else plan.preview.encode(),
        "started_anew": plan.started_anew,
        "placed": [
            (f"$candidate_{number}", write)
            for number, write in enumerate(registered, start=1 + len(options))
            if write.changes
        ],
        # k0s makes the daemon's file from drop-ins only when it starts.
        "comparable": not plan.started_anew and any(write.changes for write in registered),
        "cri_comes": any(_cri_comes(write, plan) for write in registered),
        "allow_running": allow_running(host),
        **probe.values(look.outputs[probe.ARCHITECTURE.name].text),
    }
    change = put.Change(
        writes=[decided.ledger.until(decided.after).write(facts.LEDGER, recorded), *options, *registered],
        check=render("containerd/check.sh.j2", **values),
        activate="" if effective else render("containerd/activate.sh.j2", **values),
        prove="" if effective else render("containerd/prove.sh.j2", **values),
        restore="" if effective else render("containerd/restore.sh.j2", **values),
        obsolete=sorted(set(decided.ledger.options) - set(decided.after.options)),
        settled=[decided.after.write(facts.LEDGER, recorded)],
    )
    names = ", ".join(runtime.name for runtime in runtimes)
    leaving = ", ".join(gone) or "our runtimes"
    title = f"Register {names} with containerd" if names else f"Take {leaving} out of containerd"
    run(name=title, script=None if effective and not change.changes else put.script(change))


def _cri_comes(write: put.Write, plan: files.Plan) -> bool:
    """Whether the file switches CRI on, which brings all of its settings with it."""
    form = files.form_of(write.path)
    before, after = (
        set(map(str, form.parse(text or "").get("disabled_plugins") or ()))
        for text in (write.found.text(write.path) if write.found else None, plan.files[write.path].text)
    )
    return bool((before - after) & {*config.CRI_NAMES})


def _lines(plan: files.Plan, options: Sequence[put.Write], registered: Sequence[put.Write]) -> list[str]:
    """What changes, for `--diff`."""
    lines = []
    for write in registered:
        before = write.found.text(write.path) if write.found else ""
        after = plan.files[write.path].text or ""
        prefix = f"{write.path}: " if len(registered) > 1 else ""
        form = files.form_of(write.path)
        lines += [f"{prefix}{line}" for line in changes(form.parse(before), form.parse(after))]
    for write in options:
        old, new = (toml(content) for content in (write.found.content if write.found else None, write.content))
        lines += [f"{write.path}: {line}" for line in changes(old, new)]
    return lines
