"""What has to be done to a host's Docker, decided from its settings and its look. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulkhead import put
from bulkhead.capability import runtimes_of
from bulkhead.errors import BulkheadError
from bulkhead.go_json import compact
from bulkhead.inventory import InventoryHost
from bulkhead.look import Look
from bulkhead.registration import Ledger, Record, ledger_of
from bulkhead.runtime import Runtime
from deploys.docker import agents_slice, daemon, facts, hardened, settings
from deploys.docker.options import shown

REMAP = "userns-remap"


@dataclass(frozen=True)
class Decision:
    """What is there, what it becomes, and what is noted of it.

    `old` and `new` are what the daemon's `file` means before and after; `changed` are the runtimes of which something
    is new, `gone` those that leave. `restart` are the keys that need one, `stale` says that the daemon started with
    other options than its file has; `shown` is key → piece of the daemon's answers that shows it. `slice` is the
    agents' slice where there has to be one. `effective` says that daemon and file have it all already.
    """

    there: facts.FoundDocker
    runtimes: Sequence[Runtime]
    default: str | None
    options: Mapping[str, Any]
    ledger: Ledger
    after: Ledger
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    file: put.Write
    slice: put.Write | None
    changed: Sequence[Runtime]
    gone: Sequence[str]
    restart: Sequence[str]
    stale: bool
    shown: Mapping[str, str]
    effective: bool

    @property
    def moves_data(self) -> bool:
        """Whether the restart gives the daemon another data directory, with other containers, images and networks.

        Each mapping of user namespaces has one of its own (Docker's manual, userns-remap).
        """
        restarts = self.there.running and (self.restart or REMAP in self.options)
        return bool(restarts) and bool(self.new.get(REMAP)) != ("name=userns" in self.there.security)


def decide(host: InventoryHost, look: Look) -> Decision:
    """Decide for one host, whatever stands in its way; see `refuse`.

    Raises BulkheadError when there is no Docker, or a file of it can't be understood.
    """
    there = facts.found(look)
    wanted = settings.of(host)
    path = wanted.config_file
    runtimes = runtimes_of(host, "docker", look)
    default = settings.default_runtime(host)
    options = settings.managed(host)
    main = look.files[path]
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
    registered = ledger.entries(daemon.RUNTIMES)
    gone = sorted(registered.keys() - {runtime.name for runtime in runtimes})
    changed = [
        runtime
        for runtime in runtimes
        if registered.get(runtime.name) != daemon.entry(runtime) or not has(there, runtime)
    ]
    stale = settings.legacy(host) and hardened.stale(look, there, main, old, hardened.keys(options, record))
    restart = daemon.needing_restart(old, new) or (["what its file says"] if stale else [])
    file = put.user_file(path, None if merged is None else merged.encode(), main)
    evident = shown(options, new, there.version)
    effective = (
        not file.changes
        and not restart
        and in_effect(there, runtimes, default, gone)
        and all(piece in there.info for piece in evident.values())
    )
    return Decision(
        there=there,
        runtimes=runtimes,
        default=default,
        options=options,
        ledger=ledger,
        after=ledger.after({path: updated}),
        old=old,
        new=new,
        file=file,
        slice=_slice(wanted, look) if settings.legacy(host) and wanted.uses_slice else None,
        changed=changed,
        gone=gone,
        restart=restart,
        stale=stale,
        shown=evident,
        effective=effective,
    )


def _slice(wanted: settings.DockerSettings, look: Look) -> put.Write:
    return agents_slice.file(wanted.slice, look.files[agents_slice.PATH], look.outputs["docker.slice"].text)


def refuse(host: InventoryHost, look: Look, decided: Decision) -> None:
    """Raise BulkheadError when the daemon would not start with its file, or is opened or loosened by others' words."""
    _refuse_command_line(decided.there, decided.file.path, decided.new)
    if settings.legacy(host):
        hardened.refuse(look, decided.there, settings.of(host), decided.new)


def _refuse_command_line(there: facts.FoundDocker, path: str, wanted: Mapping[str, Any]) -> None:
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
        and all(has(there, runtime) for runtime in runtimes)
        and default in (None, there.default_runtime)
        and not {*gone} & {*there.runtimes, there.default_runtime}
    )


def has(there: facts.FoundDocker, runtime: Runtime) -> bool:
    """Whether the running daemon has it as it should; of one that is a shim it tells the name alone (26.1)."""
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
