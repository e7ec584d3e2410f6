"""Docker's `daemon.json` with our runtimes and options in it; every other byte stays as it is. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from bulkhead.errors import BulkheadError
from bulkhead.registration import JSON, Record, Setting, apply, in_file
from bulkhead.runtime import Runtime
from deploys.docker.options import BASELINE

PATH = "/etc/docker/daemon.json"
RUNTIMES, DEFAULT = "runtimes", "default-runtime"

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})

SHIM_VERSION = (23, 0)
"""The first release that can start a containerd shim by itself (Docker Engine 23.0 release notes)."""

RELOADED = frozenset(
    {
        *(RUNTIMES, DEFAULT, "debug", "labels", "live-restore", "max-concurrent-downloads", "max-concurrent-uploads"),
        *("max-download-attempts", "insecure-registries", "registry-mirrors", "features", "shutdown-timeout"),
    }
)
"""Keys that dockerd takes in on SIGHUP; all others need a restart (dockerd's reference, configuration reload). The
default runtime is not in that list, and 20.10 and 26 take it in all the same, as seen on the daemons."""


def merge(
    text: str | None,
    runtimes: Sequence[Runtime],
    default: str | None,
    *,
    options: Mapping[str, Any] = NO_OPTIONS,
    yielding: Collection[str] = (),
    docker: tuple[int, int] = SHIM_VERSION,
    record: Record | None = None,
    path: str = PATH,
) -> tuple[str | None, Record]:
    """`text` (None for no file) with `runtimes` registered and `default` as the default runtime, and the new record.

    `options` are further keys with their values, each as a whole: what the user said there comes back when it goes.
    Those that are `yielding` are only put where the user said nothing.

    The same text when it already has them, None when there is no file and none is needed. `record` says what an earlier
    merge put in: what of it is not wanted any more goes. `docker` is the daemon's version.

    Raises BulkheadError naming `path` when the text is broken, when this daemon can't run one of the runtimes, and when
    the user made one of ours the default that has to go.
    """
    for runtime in runtimes:
        if not runtime.binary and docker < SHIM_VERSION:
            raise BulkheadError(
                f"Docker {docker[0]}.{docker[1]} can't start {runtime.runtime_type}, which {runtime.name} needs",
                hint=f'Upgrade Docker to 23 or later, or leave "docker" out of runtimes.{runtime.name}.engines.',
            )
    record = record or Record()
    names = {runtime.name for runtime in runtimes}
    gone = {*record.names(RUNTIMES)} - names

    def wanted(base: dict[str, Any]) -> list[Setting]:
        settings = [Setting((RUNTIMES, runtime.name), entry(runtime)) for runtime in runtimes]
        if default is not None:
            # A default that names what is ours would dangle without us.
            settings.append(Setting((DEFAULT,), default, returns=base.get(DEFAULT) not in [*names, *gone]))
        return settings + [
            Setting((key,), value, returns=True)
            for key, value in options.items()
            if key not in yielding or not base.get(key)
        ]

    with in_file(path):
        merged, updated = apply(JSON, text, wanted, record)
    left = parse(merged, path).get(DEFAULT)
    if left in [*gone]:
        raise BulkheadError(
            f"{path}: {DEFAULT} is {left!r}, which has to go: dockerd would not start again",
            hint=f"Take {DEFAULT} out of the file, or set docker.default_runtime in the inventory.",
        )
    return merged, updated


def parse(text: str | None, path: str = PATH) -> dict[str, Any]:
    """What `text` means; nothing where there is no file.

    Raises BulkheadError naming `path` when the text is broken.
    """
    with in_file(path):
        return JSON.parse(text or "")


def entry(runtime: Runtime) -> dict[str, Any]:
    """What `runtimes.<name>` holds for one runtime."""
    if not runtime.binary:
        # A shim outside of the search path is named by its path (Docker, alternative container runtimes).
        return {
            "runtimeType": runtime.handler.get("runtime_path", runtime.runtime_type),
            **({"options": dict(runtime.options)} if runtime.options else {}),
        }
    return {
        "path": runtime.binary,
        **({"runtimeArgs": list(runtime.arguments)} if runtime.arguments else {}),
    }


def needing_restart(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The keys that differ and that a reload doesn't take in."""
    missing = object()
    return [
        key
        for key in {**before, **after}
        if before.get(key, missing) != after.get(key, missing) and key not in RELOADED
    ]


FLAGS = {
    RUNTIMES: "--add-runtime",
    DEFAULT: "--default-runtime",
    **{key: option.flag for key, option in BASELINE.items()},
}
"""Key → the flag of dockerd that says the same."""


def conflicts(arguments: Sequence[str], keys: Iterable[str]) -> list[str]:
    """The flags among dockerd's `arguments` that say what `keys` say: with both it does not start."""
    given = {argument.partition("=")[0] for argument in arguments}
    return [FLAGS[key] for key in keys if FLAGS.get(key) in given]
