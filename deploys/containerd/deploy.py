"""Register the runtimes with containerd, and restart it only when its live configuration lacks them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from bulkhead import probe, put
from bulkhead.capability import Capability, register, runtimes_of
from bulkhead.errors import BulkheadError
from bulkhead.go_json import compact
from bulkhead.hosts import announce, converges, run
from bulkhead.inventory import GVISOR_HOSTS, InventoryHost, allow_running, engines
from bulkhead.look import Look
from bulkhead.registration import Ledger, ledger_of
from bulkhead.runtime import RUNC, Runtime, to_prove
from bulkhead.structure import changes
from bulkhead.templates import render
from deploys.containerd import config, facts, files, settings


def files_of(host: InventoryHost) -> dict[str, bytes]:
    """The shims' options, where the engine does not drive cgroups by systemd, and the daemon's file for containerd 2.0
    as it is made where there is none; where there is one, our handlers are merged into it in the version that it has.
    """
    runtimes, wanted = runtimes_of(host, "containerd"), settings.of(host)
    options = {
        runtime.config_path: _options_file(runtime, runtime.config) for runtime in runtimes if runtime.config_path
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
    )
)


@converges(CAPABILITY)
def deploy(host: InventoryHost, look: Look) -> None:
    """Bring the configuration, the shims' options and the running daemon to what the inventory says."""
    there = facts.found(host, look)
    wanted = settings.of(host)
    recorded = look.files[facts.LEDGER]
    ledger = ledger_of(look, "containerd")
    runtimes = runtimes_of(host, "containerd", look)
    decided = files.plan(there, look, runtimes, wanted.default_runtime, ledger, enable_cri=wanted.enable_cri)
    plan = files.withdrawn(decided, ledger)
    documents = [files.form_of(path).parse(merged.text or "") for path, merged in plan.files.items()]
    options = [_options(runtime, look, ledger, there, documents) for runtime in runtimes if runtime.config_path]
    registered = [
        put.user_file(path, None if merged.text is None else merged.text.encode(), plan.found.get(path))
        for path, merged in plan.files.items()
    ]
    entries = ledger.entries("runtimes")
    gone = {
        name: str(entry["runtime_type"])
        for name, entry in entries.items()
        if name not in {RUNC, *(runtime.name for runtime in runtimes)}
    }
    live = (there.cri or {}).get("containerd", {}).get("runtimes", {})
    rewritten = {write.path for write in options if write.changes}
    changed = [
        runtime
        for runtime in runtimes
        if entries.get(runtime.name) != config.entry(runtime)
        or runtime.config_path in rewritten
        or not _has(live.get(runtime.name, {}), runtime)
    ]
    effective = not any(write.changes for write in registered) and in_effect(
        there.cri, runtimes, wanted.default_runtime, list(gone)
    )
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
        "proved": to_prove(runtimes, changed),
        "proofs": [runtime.proof for runtime in changed if runtime.proof],
        "gone": gone,
        # A shim that no other runtime needs: `io.containerd.kata.v2` is `containerd-shim-kata-v2`.
        "gone_shims": sorted({_shim(kind) for kind in gone.values() if kind not in kept}),
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
    after = ledger.after(
        {path: merged.record for path, merged in plan.files.items()}, [write.path for write in options]
    )
    change = put.Change(
        writes=[ledger.until(after).write(facts.LEDGER, recorded), *options, *registered],
        check=render("containerd/check.sh.j2", **values),
        activate="" if effective else render("containerd/activate.sh.j2", **values),
        prove="" if effective else render("containerd/prove.sh.j2", **values),
        restore="" if effective else render("containerd/restore.sh.j2", **values),
        obsolete=sorted(set(ledger.options) - set(after.options)),
        settled=[after.write(facts.LEDGER, recorded)],
    )
    names = ", ".join(runtime.name for runtime in runtimes)
    leaving = ", ".join(gone) or "our runtimes"
    title = f"Register {names} with containerd" if names else f"Take {leaving} out of containerd"
    run(name=title, script=None if effective and not change.changes else put.script(change))


def in_effect(
    cri: dict[str, Any] | None, runtimes: Sequence[Runtime], default: str | None, gone: Sequence[str] = ()
) -> bool:
    """Whether the running daemon already has what it should, as CRI itself reports it."""
    if cri is None:
        return not runtimes and not gone and default is None
    engine = cri.get("containerd", {})
    live = engine.get("runtimes", {})
    return (
        all(_has(live.get(runtime.name, {}), runtime) for runtime in runtimes)
        and default in (None, engine.get("defaultRuntimeName"))
        and not set(gone) & set(live)
    )


def _has(live: dict[str, Any], runtime: Runtime) -> bool:
    options = live.get("options") or {}
    return (
        live.get("runtimeType") == runtime.runtime_type
        and all(options.get(key) == value for key, value in runtime.options.items())
        # With some shims an annotation opens the sandbox.
        and all(
            (live.get(key) or []) == runtime.handler.get(name, [])
            for key, name in (("PodAnnotations", "pod_annotations"), ("ContainerAnnotations", "container_annotations"))
        )
    )


def evidence(runtimes: Sequence[Runtime], default: str | None, *, answered: bool = True) -> list[str]:
    """The pieces of CRI's live configuration, as it prints it, that show what `in_effect` asks for.

    A CRI that `answered` before has to answer afterwards, also when nothing else is asked.
    """
    pieces = ['"defaultRuntimeName":'] if answered else []
    for runtime in runtimes:
        pieces.append(f'{compact(runtime.name)}:{{"runtimeType":{compact(runtime.runtime_type)}')
        pieces += [f"{compact(key)}:{compact(value)}" for key, value in runtime.options.items()]
    return pieces + ([f'"defaultRuntimeName":{compact(default)}'] if default is not None else [])


def _shim(runtime_type: str) -> str:
    return f"containerd-shim-{'-'.join(runtime_type.split('.')[-2:])}"


def _cri_comes(write: put.Write, plan: files.Plan) -> bool:
    """Whether the file switches CRI on, which brings all of its settings with it."""
    form = files.form_of(write.path)
    before, after = (
        set(map(str, form.parse(text or "").get("disabled_plugins") or ()))
        for text in (write.found.text(write.path) if write.found else None, plan.files[write.path].text)
    )
    return bool((before - after) & {*config.CRI_NAMES})


def _options(
    runtime: Runtime,
    look: Look,
    ledger: Ledger,
    there: facts.FoundContainerd,
    documents: Sequence[dict[str, Any]],
) -> put.Write:
    """The file that the shim reads; what a user had there is kept when the first one of ours takes its place."""
    path = runtime.config_path
    found = look.files[path]
    put.refuse_odd(path, found)
    by_systemd = systemd_cgroup(there.cri, documents, found.content if found else None)
    flags = {**({"systemd-cgroup": "true"} if by_systemd else {}), **runtime.config}
    return put.Write(path, _options_file(runtime, flags), found, backup=path not in ledger.options)


def _options_file(runtime: Runtime, flags: Mapping[str, str]) -> bytes:
    values = {"name": runtime.name, "binary": runtime.binary, "config": dict(sorted(flags.items()))}
    return render("containerd/runsc.toml.j2", **values).encode()


def systemd_cgroup(cri: dict[str, Any] | None, documents: Sequence[dict[str, Any]], written: bytes | None) -> bool:
    """Whether runsc has to drive cgroups by systemd, as the engine does: kubelet then hands out systemd's paths.

    Where CRI does not answer at the moment, its files (`documents`) have the word, and what was `written` before.
    """
    if cri is not None:
        tables = [cri.get("containerd", {}).get("runtimes", {})]
    elif _toml(written).get("runsc_config", {}).get("systemd-cgroup") == "true":
        return True
    else:
        plugins = [plugin for document in documents for plugin in document.get("plugins", {}).values()]
        tables = [plugin.get("containerd", {}).get("runtimes", {}) for plugin in plugins if isinstance(plugin, dict)]
    return any((table.get(RUNC, {}).get("options") or {}).get("SystemdCgroup") is True for table in tables)


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
        old, new = (_toml(content) for content in (write.found.content if write.found else None, write.content))
        lines += [f"{write.path}: {line}" for line in changes(old, new)]
    return lines


def _toml(content: bytes | None) -> dict[str, Any]:
    try:
        return tomllib.loads((content or b"").decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}
