"""containerd's `config.toml` with our runtimes in it: a structural merge that keeps all else as it is. Pure, no I/O."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, MutableMapping, Sequence
from copy import deepcopy
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError

from bulkhead.errors import BulkheadError
from bulkhead.runtime import Runtime
from bulkhead.templates import render

PATH = "/etc/containerd/config.toml"

CRI_PLUGIN = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime", 4: "io.containerd.cri.v1.runtime"}
"""Config version → the plugin that holds the runtimes (containerd, docs/cri/config.md)."""

RUNC_TYPE = "io.containerd.runc.v2"


def merge(text: str, runtimes: Sequence[Runtime], default: str | None, containerd: tuple[int, int]) -> str:
    """`text` with `runtimes` registered; byte for byte the same text when they already are.

    `containerd` is the daemon's version: it decides which config versions the daemon understands. An entry of the same
    name is replaced as a whole, since a key that stayed in it (`pod_annotations`, say) could open the sandbox. New
    entries are appended, so that the user's own lines stay as they are; where the layout doesn't allow that (inline
    tables, dotted keys, an entry to replace), the document is edited in place.

    Raises BulkheadError when the file is broken, of a version that this daemon can't read, or switches CRI off.
    """
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BulkheadError(f"{PATH}: not valid TOML: {error}", hint="Correct it, then run again.") from error
    version = _version(before, containerd)
    plugin = CRI_PLUGIN[version]
    _refuse_without_cri(before, plugin)
    if "version" not in before:
        text = f"version = {version}\n{text}"
    expected = _expected({"version": version, **before}, plugin, runtimes, default, containerd)
    if expected == before:
        return text
    for candidate in (_append, _edit):
        merged = candidate(text, before, expected, plugin, runtimes)
        if merged is not None and _means(merged, expected):
            return merged
    raise BulkheadError(
        f"{PATH}: its layout could not be merged without changing other settings",
        hint="Please report the file's layout; nothing was changed.",
    )


def entry(runtime: Runtime) -> dict[str, Any]:
    """The table of one runtime, as CRI reads it."""
    options = {"TypeUrl": runtime.options_type, "ConfigPath": runtime.config_path}
    return {"runtime_type": runtime.runtime_type, **({"options": options} if runtime.config_path else {})}


def _expected(
    before: Mapping[str, Any],
    plugin: str,
    runtimes: Sequence[Runtime],
    default: str | None,
    containerd: tuple[int, int],
) -> dict[str, Any]:
    """What the merged file must mean: what was there, our runtimes, and what naming them would otherwise lose."""
    after = deepcopy(dict(before))
    engine = after
    for key in ("plugins", plugin, "containerd"):
        engine = engine.setdefault(key, {})
        if not isinstance(engine, dict):
            raise BulkheadError(f"{PATH}: {key}: expected a table", hint="Correct it, then run again.")
    # Up to 1.7 a table of runtimes replaces the built-in one instead of adding to it, and with it runc, without which
    # CRI does not load at all. Seen with the binaries of 1.6.20 and 1.7.24; 2.1.9 merges the two.
    if "runtimes" not in engine and containerd < (2, 0):
        engine["runtimes"] = {"runc": {"runtime_type": RUNC_TYPE}}
    table = engine.setdefault("runtimes", {})
    if not isinstance(table, dict):
        raise BulkheadError(f"{PATH}: runtimes: expected a table", hint="Correct it, then run again.")
    for runtime in runtimes:
        table[runtime.name] = entry(runtime)
    if default is not None:
        engine["default_runtime_name"] = default
    return after


def _engine(configuration: Mapping[str, Any], plugin: str) -> Mapping[str, Any]:
    engine = configuration.get("plugins", {}).get(plugin, {}).get("containerd", {})
    return cast(Mapping[str, Any], engine)


def _append(
    text: str, before: Mapping[str, Any], expected: Mapping[str, Any], plugin: str, runtimes: Sequence[Runtime]
) -> str | None:
    there, wanted = _engine(before, plugin), _engine(expected, plugin)
    added = set(wanted["runtimes"]) - set(there.get("runtimes", {}))
    default = wanted.get("default_runtime_name")
    block = render(
        "containerd/handlers.toml.j2",
        plugin=plugin,
        default=default if default != there.get("default_runtime_name") else None,
        runc=RUNC_TYPE if "runc" in added else None,
        runtimes=[runtime for runtime in runtimes if runtime.name in added],
    )
    return text + ("" if text.endswith("\n") else "\n") + block


def _edit(
    text: str,
    before: Mapping[str, Any],  # noqa: ARG001
    expected: Mapping[str, Any],
    plugin: str,
    runtimes: Sequence[Runtime],  # noqa: ARG001
) -> str | None:
    try:
        document = tomlkit.parse(text)
        _overlay(document, {"plugins": {plugin: {"containerd": _engine(expected, plugin)}}})
        return tomlkit.dumps(document)
    except TOMLKitError:
        return None


def _overlay(table: MutableMapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Bring `table` to hold what `wanted` holds, touching only what differs."""
    for key, value in wanted.items():
        there = table.get(key)
        if isinstance(value, Mapping) and isinstance(there, MutableMapping):
            for gone in set(there) - set(value) if key in ("options",) or "runtime_type" in value else ():
                del there[gone]
            _overlay(there, value)
        elif there != value:
            table[key] = value


def _means(text: str, expected: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == expected
    except tomllib.TOMLDecodeError:
        return False


def _version(before: Mapping[str, Any], containerd: tuple[int, int]) -> int:
    newest = 2 if containerd < (2, 0) else 3 if containerd < (2, 3) else 4
    daemon = f"containerd {containerd[0]}.{containerd[1]}"
    if not before:
        return min(newest, 3)
    version = before.get("version", 1)
    if not isinstance(version, int) or version not in CRI_PLUGIN:
        raise BulkheadError(
            f"{PATH}: is a configuration of version {version}, which {daemon} converts by itself but Bulkhead does not",
            hint=f"Convert it with 'containerd config migrate', review the result and put it in {PATH}.",
        )
    if version > newest:
        raise BulkheadError(
            f"{PATH}: is a configuration of version {version}, but {daemon} reads up to version {newest}",
            hint="Upgrade containerd, or bring back the file that belongs to it.",
        )
    return version


def _refuse_without_cri(before: Mapping[str, Any], plugin: str) -> None:
    listed = before.get("disabled_plugins")
    names = {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()
    disabled = {"cri", plugin, *CRI_PLUGIN.values()} & names
    if disabled:
        raise BulkheadError(
            f"{PATH}: disabled_plugins switches CRI off ({', '.join(sorted(disabled))}): no handler has effect",
            hint="Take it out of disabled_plugins if pods are to run here, or leave containerd out of engines.",
        )
