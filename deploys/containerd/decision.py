"""What has to be done to a host's containerd, decided from its settings and its look. Pure, no I/O."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulkhead import put
from bulkhead.capability import runtimes_of
from bulkhead.go_json import compact
from bulkhead.inventory import InventoryHost
from bulkhead.look import Look
from bulkhead.registration import Ledger, ledger_of
from bulkhead.runtime import RUNC, Runtime
from bulkhead.templates import render
from deploys.containerd import config, facts, files, settings


@dataclass(frozen=True)
class Decision:
    """What is there, what it becomes, and what is noted of it.

    `options` are the files of the shims, `registered` those of the daemon; `changed` are the runtimes of which
    something is new, `gone` is name → shim of those that leave. `effective` says that daemon and files have it already.
    """

    there: facts.FoundContainerd
    runtimes: Sequence[Runtime]
    default: str | None
    ledger: Ledger
    after: Ledger
    plan: files.Plan
    options: Sequence[put.Write]
    registered: Sequence[put.Write]
    changed: Sequence[Runtime]
    gone: Mapping[str, str]
    effective: bool

    @property
    def live(self) -> dict[str, Any]:
        """Name → handler of the running daemon."""
        live: dict[str, Any] = (self.there.cri or {}).get("containerd", {}).get("runtimes", {})
        return live


def decide(host: InventoryHost, look: Look) -> Decision:
    """Decide for one host.

    Raises BulkheadError where it can't be brought to what the inventory says.
    """
    there = facts.found(host, look)
    wanted = settings.of(host)
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
        or not has(live.get(runtime.name, {}), runtime)
    ]
    effective = not any(write.changes for write in registered) and in_effect(
        there.cri, runtimes, wanted.default_runtime, list(gone)
    )
    after = ledger.after(
        {path: merged.record for path, merged in plan.files.items()},
        [write.path for write in options],
        config.newest_version(there.version),
    )
    return Decision(
        there=there,
        runtimes=runtimes,
        default=wanted.default_runtime,
        ledger=ledger,
        after=after,
        plan=plan,
        options=options,
        registered=registered,
        changed=changed,
        gone=gone,
        effective=effective,
    )


def in_effect(
    cri: dict[str, Any] | None, runtimes: Sequence[Runtime], default: str | None, gone: Sequence[str] = ()
) -> bool:
    """Whether the running daemon already has what it should, as CRI itself reports it."""
    if cri is None:
        return not runtimes and not gone and default is None
    engine = cri.get("containerd", {})
    live = engine.get("runtimes", {})
    return (
        all(has(live.get(runtime.name, {}), runtime) for runtime in runtimes)
        and default in (None, engine.get("defaultRuntimeName"))
        and not set(gone) & set(live)
    )


def has(live: dict[str, Any], runtime: Runtime) -> bool:
    """Whether the running daemon's handler is this runtime."""
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


def shim(runtime_type: str) -> str:
    """The program of a shim: `io.containerd.kata.v2` is `containerd-shim-kata-v2`."""
    return f"containerd-shim-{'-'.join(runtime_type.split('.')[-2:])}"


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
    return put.Write(path, options_file(runtime, flags), found, backup=path not in ledger.options)


def options_file(runtime: Runtime, flags: Mapping[str, str]) -> bytes:
    """The file that the shim of `runtime` reads."""
    values = {"name": runtime.name, "binary": runtime.binary, "config": dict(sorted(flags.items()))}
    return render("containerd/runsc.toml.j2", **values).encode()


def systemd_cgroup(cri: dict[str, Any] | None, documents: Sequence[dict[str, Any]], written: bytes | None) -> bool:
    """Whether runsc has to drive cgroups by systemd, as the engine does: kubelet then hands out systemd's paths.

    Where CRI does not answer at the moment, its files (`documents`) have the word, and what was `written` before.
    """
    if cri is not None:
        tables = [cri.get("containerd", {}).get("runtimes", {})]
    elif toml(written).get("runsc_config", {}).get("systemd-cgroup") == "true":
        return True
    else:
        plugins = [plugin for document in documents for plugin in document.get("plugins", {}).values()]
        tables = [plugin.get("containerd", {}).get("runtimes", {}) for plugin in plugins if isinstance(plugin, dict)]
    return any((table.get(RUNC, {}).get("options") or {}).get("SystemdCgroup") is True for table in tables)


def toml(content: bytes | None) -> dict[str, Any]:
    """What a file means; nothing where it is broken."""
    try:
        return tomllib.loads((content or b"").decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}
