"""containerd's configuration with our runtimes in it: which file gets them, under which names; all else stays. Pure.

What the generations of containerd make of a file was tried with the binaries of 1.6.20, 1.7.24, 2.1.9, 2.2 and 2.3
(`containerd config dump`); `tests/unit/containerd/test_generations.py` asks them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any

from bulkhead.errors import BulkheadError
from bulkhead.registration import TOML, Keys, Ledger, Record, Setting, apply, in_file, undo
from bulkhead.runtime import RUNC, RUNC_TYPE, Runtime

PATH = "/etc/containerd/config.toml"

CRI_V1, CRI_V2, CRI_V3 = "cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"
CRI_PLUGIN = {1: CRI_V1, 2: CRI_V2, 3: CRI_V3, 4: CRI_V3}
"""Config version → the plugin that holds the runtimes (containerd, docs/cri/config.md)."""

CRI_NAMES = (CRI_V1, CRI_V2, CRI_V3, "io.containerd.cri.v1.images")
"""What `disabled_plugins` calls CRI or a half of it."""

IMAGE_KEYS = frozenset({"snapshotter", "disable_snapshot_annotations", "discard_unpacked_layers"})
"""Keys of a version 2 file that containerd 2 moves to another plugin, but only once the file names a runtime."""

OLDEST = (1, 6)
"""The oldest containerd whose configuration is known here."""

BUILT_IN_RUNC: dict[tuple[int, int], dict[str, Any]] = {
    (1, 6): {"runtime_type": RUNC_TYPE},
    (1, 7): {"runtime_type": RUNC_TYPE, "sandbox_mode": "podsandbox"},
}
"""The runc that containerd 1.x has as long as its configuration names no runtime at all, as its own dump shows it."""

VERSION = ("version",)
RUNC_COMMENT = "containerd before 2.0 forgets its built-in runc as soon as another runtime is named."
COMMENT = "Registered by Bulkhead from its inventory."
_CORRECT = "Correct it, then run again."


@dataclass(frozen=True)
class Source:
    """One file that the daemon reads; `text` is None where there is none."""

    path: str
    text: str | None


@dataclass(frozen=True)
class Merged:
    """What one file becomes (None: it goes, or does not come), and the record of what we put into it."""

    text: str | None
    record: Record


@dataclass(frozen=True)
class _Part:
    """A file without anything of ours: what it means, and how the daemon reads it.

    `runtimes` and `default` are the tables that hold the runtimes and the default's name; `versioned` says that the
    version, which decides on them, is named or need not be.
    """

    path: str
    document: Mapping[str, Any]
    record: Record
    version: int
    versioned: bool
    runtimes: Keys
    default: Keys

    @property
    def has_plugin(self) -> bool:
        """Whether the file has a table for CRI's plugin, or had one when it got our runtimes."""
        plugins = self.document.get("plugins")
        there = isinstance(plugins, Mapping) and self.runtimes[1] in plugins
        return there or _put_earlier([self.record]).get("runtimes") == self.runtimes[1]

    def standing(self, path: Keys) -> Any:
        """What stands at `path`; None where nothing does."""
        value: Any = self.document
        for key in path:
            if not isinstance(value, Mapping):
                raise BulkheadError(f"{self.path}: {key}: its parent is no table", hint=_CORRECT)
            value = value.get(key)
            if value is None:
                return None
        return value


def merge(
    text: str | None,
    runtimes: Sequence[Runtime],
    default: str | None,
    containerd: tuple[int, int],
    *,
    record: Record | None = None,
    enable_cri: bool = False,
    path: str = PATH,
) -> Merged:
    """`plan` for a configuration of one file."""
    ledger = Ledger(files={path: record} if record else {})
    return plan([Source(path, text)], runtimes, default, containerd, ledger=ledger, enable_cri=enable_cri)[path]


def plan(
    sources: Sequence[Source],
    runtimes: Sequence[Runtime],
    default: str | None,
    containerd: tuple[int, int],
    *,
    ledger: Ledger,
    enable_cri: bool = False,
    alone: bool = True,
) -> dict[str, Merged]:
    """What each of `sources` becomes: the main file first, then those that it imports, in the order of loading.

    `runtimes` are registered, with `default` for pods that name none (None leaves what is there); what the records of
    `ledger` put in earlier and is not wanted any more goes. A text that means all that already stays byte for byte.
    `containerd` is the daemon's version: it decides which config versions are read and which file has the last word.
    Where `sources` are not `alone`, a distribution's own files name runc.

    Raises BulkheadError naming the file when one is broken or of a version that this daemon doesn't take, when CRI is
    switched off (unless `enable_cri`), and when a handler stands in several files.
    """
    if containerd < OLDEST:
        raise BulkheadError(
            f"containerd {containerd[0]}.{containerd[1]} is too old",
            hint=f"Upgrade it to {OLDEST[0]}.{OLDEST[1]} or later.",
        )
    names = frozenset(runtime.name for runtime in runtimes)
    parts = _parts(sources, ledger, containerd, names)
    wanted = {part.path: _with_cri(part, enable_cri, runtimes) for part in parts}
    readers = _read_by(parts, containerd)
    target = readers[-1]
    if alone and containerd < (2, 0) and _lost_runc(target, runtimes):
        built_in = BUILT_IN_RUNC[max(version for version in BUILT_IN_RUNC if version <= containerd)]
        wanted[target.path].append(Setting((*target.runtimes, RUNC), built_in, RUNC_COMMENT))
    for runtime in runtimes:
        part = _owner(readers, runtime.name)
        wanted[part.path].append(Setting((*part.runtimes, runtime.name), entry(runtime), COMMENT))
    if default is not None:
        part = _owner(readers)
        if containerd < (2, 0) and part.standing((*part.default[:-1], "default_runtime", "runtime_type")):
            raise BulkheadError(
                f"{part.path}: the table default_runtime goes before default_runtime_name",
                hint="Turn it into a table below runtimes, or leave containerd.default_runtime unset.",
            )
        # A default that names what is ours would dangle without us.
        ours = part.standing(part.default) in [*names]
        wanted[part.path].append(Setting(part.default, default, returns=not ours))
    merged = {}
    for source, part in zip(sources, parts, strict=True):
        settings = wanted[part.path]
        if not part.versioned and (settings or _depends_on_version(part.document)):
            settings.insert(0, Setting(VERSION, part.version))
        with in_file(source.path):
            merged[source.path] = Merged(*apply(TOML, source.text, partial(_all, settings), part.record))
            _refuse_dangling(merged[source.path].text, part, ledger.entries("runtimes").keys() - {*names, RUNC})
    return merged


def _refuse_dangling(text: str | None, part: _Part, gone: Set[str]) -> None:
    """Raise BulkheadError when the file's own default runtime is one of those that leave: CRI would not load."""
    left: Any = TOML.parse(text or "")
    for key in part.default:
        left = left.get(key) if isinstance(left, Mapping) else None
    if left in [*gone]:
        raise BulkheadError(
            f"default_runtime_name is {left!r}, which has to go: CRI would not load without it",
            hint="Take it out of the file, or set containerd.default_runtime in the inventory.",
        )


def _all(settings: Sequence[Setting], _: Mapping[str, Any]) -> Sequence[Setting]:
    return settings


def parse(text: str, path: str = PATH) -> dict[str, Any]:
    """What `text` means. Raises BulkheadError naming `path` when it is not TOML."""
    with in_file(path):
        return TOML.parse(text)


def entry(runtime: Runtime) -> dict[str, Any]:
    """The table of one runtime, as CRI reads it."""
    return {
        "runtime_type": runtime.runtime_type,
        **runtime.handler,
        **({"options": dict(runtime.options)} if runtime.options else {}),
    }


def load_order(main: Source, imported: Sequence[Source]) -> list[Source]:
    """The main file and those that it imports, in the order of loading, in which the last has the last word.

    `imported` are the files that the daemon says it would read, and maybe others. containerd 2.2 prints `conf.d` among
    the imports of files that don't name it, and does not read it.

    Source: containerd, cmd/containerd/server/config (`LoadConfig`: breadth first, each file once; `resolveImports`:
    patterns in their order, each one's files by name, and only a `*` makes a pattern).

    Raises BulkheadError when a file is broken, or names one that is not there, with which no containerd starts.
    """
    files = {source.path: source for source in sorted(imported, key=lambda source: source.path)} | {main.path: main}
    order = [main.path]
    for path in order:
        names = _parse(files[path]).get("imports")
        for name in names if isinstance(names, list) else []:
            pattern = normpath(PurePosixPath(path).parent / str(name))
            matching = [file for file in files if _matches(file, pattern)]
            if not matching and "*" not in pattern:
                raise BulkheadError(
                    f"{path}: imports {pattern}, which containerd does not find or can't read",
                    hint="Put it there or take it out of imports; 'containerd config dump' may say more.",
                )
            order += [file for file in matching if file not in order]
    return [files[path] for path in order]


def _matches(path: str, pattern: str) -> bool:
    return PurePosixPath(path).match(pattern) if "*" in pattern else path == pattern


def _parse(source: Source) -> dict[str, Any]:
    with in_file(source.path):
        if source.text is not None and source.text.startswith("\ufeff"):
            raise BulkheadError(
                "begins with a byte order mark, which containerd 2 refuses", hint="Remove it, then run again."
            )
        return TOML.parse(source.text or "")


def _parts(
    sources: Sequence[Source], ledger: Ledger, containerd: tuple[int, int], names: frozenset[str]
) -> list[_Part]:
    records = [ledger.files.get(source.path, Record()) for source in sources]
    documents = [_without_ours(*pair, containerd) for pair in zip(sources, records, strict=True)]
    # From 2.3 on each file is migrated by itself; before, all of them are laid one over the other as they are.
    alone = containerd >= (2, 3)
    whole = reduce(_over, documents)
    saying = [source.path for source, document in zip(sources, documents, strict=True) if "version" in document]
    parts = []
    for source, record, document in zip(sources, records, documents, strict=True):
        read = document if alone else whole
        earlier = _put_earlier([record] if alone else records)
        with in_file(source.path if alone or not saying else saying[-1]):
            version, versioned = _version(read, containerd, earlier)
            tables = _tables(read, version, containerd, earlier, names)
        ours = any(recorded.path == VERSION for recorded in record.settings)
        parts.append(_Part(source.path, document, record, version, versioned and not ours, *tables))
    return parts


def _without_ours(source: Source, record: Record, containerd: tuple[int, int]) -> dict[str, Any]:
    """What a file means without anything of ours, but for a version of ours on which something in it depends now."""
    document = _parse(source)
    with in_file(source.path):
        if record.settings:
            document = TOML.parse(undo(TOML, source.text, record) or "")
        ours = [recorded.value for recorded in record.settings if recorded.path == VERSION]
        if ours and "version" not in document and _depends_on_version(document):
            document = {**document, "version": ours[0]}
        _refuse_newer(document, containerd)
        named = document["plugins"] if _is_table(document, "plugins") else {}
        if containerd >= (2, 0) and CRI_V1 in named and document.get("version", 1) == 1:
            # It is renamed to the name of version 2; where that is there too, chance decides which of them counts.
            if containerd < (2, 3):
                raise _of_version_1(document, containerd)
            if CRI_V2 in named:
                raise BulkheadError(
                    f"has tables for {CRI_V1} and for {CRI_V2}, of which containerd takes one by chance",
                    hint="Move all that they hold into one of them, then run again.",
                )
    return document


def _depends_on_version(document: Mapping[str, Any]) -> bool:
    """Whether a file that names no version would mean something else with one."""
    names = document.get("disabled_plugins") or []
    return bool(set(document) & {"plugins", "required_plugins", "proxy_plugins"}) or (
        isinstance(names, list) and any(name not in CRI_NAMES for name in names)
    )


def _put_earlier(records: Sequence[Record]) -> dict[str, str]:
    """`runtimes` and `default_runtime_name` → the plugin under which an earlier run put them into files whose version
    was known.

    What decided then may be gone from a file without anything of ours: an entry of the user's under a name of ours.
    """
    paths = [recorded.path for record in records for recorded in record.settings]
    return {} if VERSION in paths else {path[3]: path[1] for path in paths if len(path) > 3}


def _over(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """`other` laid over `one`."""
    both = {key: _over(one[key], other[key]) for key in one if _is_table(one, key) and _is_table(other, key)}
    return {**one, **other, **both}


def _is_table(table: Mapping[str, Any], key: str) -> bool:
    return isinstance(table.get(key), Mapping)


def _refuse_newer(document: Mapping[str, Any], containerd: tuple[int, int]) -> None:
    version = document.get("version", 1)
    newest = newest_version(containerd)
    # A boolean is a number for Python.
    if type(version) is not int or version not in CRI_PLUGIN:
        raise BulkheadError(
            f"version: expected one of {', '.join(map(str, CRI_PLUGIN))}, found {version!r}", hint=_CORRECT
        )
    if version > newest:
        raise BulkheadError(
            f"is a configuration of version {version}, but containerd {containerd[0]}.{containerd[1]} reads up to "
            f"version {newest}",
            hint="Upgrade containerd, or bring back the file that belongs to it.",
        )


def newest_version(containerd: tuple[int, int]) -> int:
    """The newest version of a configuration that this containerd reads."""
    return 2 if containerd < (2, 0) else 3 if containerd < (2, 3) else 4


def _version(document: Mapping[str, Any], containerd: tuple[int, int], earlier: Mapping[str, str]) -> tuple[int, bool]:
    """The config version by which a document is read, and whether it says so itself or need not.

    `earlier` names the plugins that told the version when our settings came under them.
    """
    plugins = document.get("plugins")
    if earlier:
        plugins = {**{plugin: {} for plugin in earlier.values()}, **(plugins if isinstance(plugins, Mapping) else {})}
        document = {**document, "plugins": plugins}
    unknown = "version" not in document or (document["version"] == 1 and containerd >= (2, 3))
    if unknown and isinstance(plugins, Mapping) and containerd >= (2, 0):
        # Read by the names of the plugins in it, on 2.3 also where it says that it is of version 1.
        if CRI_V3 in plugins:
            return 3, True
        if CRI_V2 in plugins and containerd >= (2, 3):
            return 2, True
    if "version" not in document and not _depends_on_version(document):
        return min(newest_version(containerd), 3), False
    version: int = document.get("version", 1)
    if version == 1 and (2, 0) <= containerd < (2, 3):
        raise _of_version_1(document, containerd)
    return version, True


def _of_version_1(document: Mapping[str, Any], containerd: tuple[int, int]) -> BulkheadError:
    return BulkheadError(
        f"is a configuration of version 1{'' if 'version' in document else ' (it names none)'}, of which "
        f"containerd {containerd[0]}.{containerd[1]} ignores the part on runtimes",
        hint="Convert it with 'containerd config migrate', review the result and put it there.",
    )


def _tables(
    document: Mapping[str, Any],
    version: int,
    containerd: tuple[int, int],
    earlier: Mapping[str, str],
    names: frozenset[str],
) -> tuple[Keys, Keys]:
    """The path of the table that holds the runtimes, and that of the default's name; `names` are those of ours."""
    plugin = CRI_PLUGIN[version]
    old, new = (_engine(document, name) for name in (CRI_V2, CRI_V3))
    default = plugin
    if containerd >= (2, 0) and (version == 2 or (version == 3 and containerd >= (2, 3))):
        # Both names are in force. Runtimes under the new one hide all those under the old one.
        if "runtimes" in new:
            if "runtimes" in old and names.issuperset(new["runtimes"]):
                raise BulkheadError(
                    f"runtimes under {CRI_V2} are hidden by {', '.join(new['runtimes'])} under {CRI_V3}",
                    hint="Move them all under one of the two names, then run again.",
                )
            plugin = CRI_V3
        elif "runtimes" in old:
            plugin = CRI_V2
        elif earlier.get("runtimes") in (CRI_V2, CRI_V3):
            plugin = earlier["runtimes"]
        # A runtime under the old name would put these keys in force, which they are not without one.
        elif old.keys() & IMAGE_KEYS or new:
            plugin = CRI_V3
        standing = [name for name, engine in ((CRI_V3, new), (CRI_V2, old)) if "default_runtime_name" in engine]
        kept = [name for name in (CRI_V2, CRI_V3) if earlier.get("default_runtime_name") == name]
        default = [*standing, *kept, plugin][0]
    return ("plugins", plugin, "containerd", "runtimes"), ("plugins", default, "containerd", "default_runtime_name")


def _engine(document: Mapping[str, Any], plugin: str) -> Mapping[str, Any]:
    value: Any = document
    for key in ("plugins", plugin, "containerd"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _read_by(parts: Sequence[_Part], containerd: tuple[int, int]) -> list[_Part]:
    """The files whose runtimes the daemon reads, the one that gets new ones last."""
    main = parts[0]
    if containerd < (2, 0):
        # The CRI plugin of an imported file replaces that of the files before, with all runtimes in it.
        return [part for part in parts if part is main or part.has_plugin][-1:]
    return [*parts[1:], main]


def _owner(readers: Sequence[_Part], name: str | None = None) -> _Part:
    """The file in which the runtime `name`, or the default, has to be set: where it stands already, since what is
    loaded later wins; else where it was put earlier.
    """
    places = {part.path: part.default if name is None else (*part.runtimes, name) for part in readers}
    standing = [part for part in readers if part.standing(places[part.path]) is not None]
    if len(standing) > 1:
        raise BulkheadError(
            f"{'default_runtime_name' if name is None else f'runtimes.{name}'} stands in "
            f"{' and in '.join(part.path for part in standing)}",
            hint="Leave it in one of these files, then run again.",
        )
    put_earlier = [
        part for part in readers if any(places[part.path] == recorded.path for recorded in part.record.settings)
    ]
    return [*standing, *put_earlier, readers[-1]][0]


def _lost_runc(part: _Part, runtimes: Sequence[Runtime]) -> bool:
    """Whether containerd 1.x would be without runc: no runtime but ours is named, or runc is there thanks to us."""
    others = set(part.standing(part.runtimes) or ()) - {runtime.name for runtime in runtimes}
    if not others:
        return bool(runtimes)
    return RUNC not in others and RUNC in part.record.names("runtimes")


def _with_cri(part: _Part, enable_cri: bool, runtimes: Sequence[Runtime]) -> list[Setting]:
    """What switches CRI on, where the file switches it off."""
    listed = part.document.get("disabled_plugins")
    names = listed if isinstance(listed, list) else []
    disabled = [name for name in names if name in CRI_NAMES]
    if not disabled or not runtimes:
        return []
    if not enable_cri:
        raise BulkheadError(
            f"{part.path}: disabled_plugins switches CRI off ({', '.join(disabled)}), as Docker's package does: "
            "no handler has effect",
            hint="If pods are to run here set containerd.enable_cri = True (--enable-cri); else leave containerd out "
            "of engines.",
        )
    return [Setting(("disabled_plugins",), [name for name in names if name not in CRI_NAMES], returns=True)]
