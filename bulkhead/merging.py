"""What an engine's configuration file would become, without a host: the same merge as in a deploy."""

from __future__ import annotations

import difflib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from bulkhead import inventory_file, pins
from bulkhead.capability import runtimes_of
from bulkhead.errors import BulkheadError
from bulkhead.inventory import ENGINES, GVISOR_HOSTS, InventoryHost, engines
from deploys.containerd import config
from deploys.containerd import settings as containerd
from deploys.docker import daemon
from deploys.docker import settings as docker

OLDEST_READER = {1: (1, 7), 2: (1, 7), 3: (2, 0), 4: (2, 3)}
"""Config version → the containerd that a file is taken for if nobody says which; 1.7 stands for all before 2.0."""


@dataclass(frozen=True)
class Source:
    """The file to merge into: its name for messages, and its content."""

    name: str
    text: str

    @classmethod
    def read(cls, path: str) -> Source:
        """The file at `path`, standard input for `-`.

        Raises BulkheadError when it can't be read or is not UTF-8.
        """
        name = "standard input" if path == "-" else path
        try:
            content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
            return cls(name, content.decode())
        except OSError as error:
            hint = "Give a file, or - for standard input."
            raise BulkheadError(f"{name}: {error.strerror}", hint=hint) from error
        except UnicodeDecodeError as error:
            raise BulkheadError(
                f"{name}: not UTF-8 (byte {error.start})", hint="Correct it, then run again."
            ) from error


def described(inventory: str | None, name: str | None) -> InventoryHost | None:
    """The host of an inventory whose settings count; None where neither is given.

    Raises BulkheadError when only one of the two is, when the host is not there, or when the inventory is wrong.
    """
    if inventory is None and name is None:
        return None
    if inventory is None or name is None:
        raise BulkheadError("--inventory and --host belong together", hint="Give both, or neither.")
    return inventory_file.load_one(inventory, name)


def version(text: str | None) -> tuple[int, int] | None:
    """A version such as `1.7`, `v2.1.9` or `26.1.5+dfsg1` as numbers.

    Raises BulkheadError when it is anything else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"v?(\d+)\.(\d+)([.~+-].*)?", text)
    if not match:
        raise BulkheadError(f"--engine-version: {text!r} is not a version", hint="Give one such as 1.7 or 28.5.1.")
    return int(match.group(1)), int(match.group(2))


def merged(
    engine: str, source: Source, host: InventoryHost | None, engine_version: tuple[int, int] | None, *, enable_cri: bool
) -> str:
    """The whole file with the runtimes of `host` in it; without a host with the handler `runsc` and its usual options.

    Raises BulkheadError when the file is broken, or when this version of the engine can't take the result.
    """
    if host is not None and engine not in engines(host):
        raise BulkheadError(f"{host.name} has no {engine}", hint="Its engines are in the inventory.")
    runtimes = runtimes_of(host or _any_host(), engine)
    if engine == "docker":
        text, _ = daemon.merge(
            source.text,
            runtimes,
            docker.default_runtime(host) if host else None,
            options=docker.managed(host) if host else daemon.NO_OPTIONS,
            yielding=docker.yielding(host) if host else (),
            docker=engine_version or daemon.SHIM_VERSION,
            path=source.name,
        )
        return text or ""
    wanted = containerd.of(host) if host else containerd.ContainerdSettings()
    if engine_version is None:
        engine_version = _reader(source)
    return (
        config.merge(
            source.text,
            runtimes,
            wanted.default_runtime,
            engine_version,
            enable_cri=enable_cri or wanted.enable_cri,
            path=source.name,
        ).text
        or ""
    )


def difference(source: Source, after: str) -> str:
    """A unified diff of the file before and after."""
    lines = difflib.unified_diff(
        source.text.splitlines(keepends=True), after.splitlines(keepends=True), source.name, f"{source.name} (merged)"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _any_host() -> InventoryHost:
    newest = max(pins.load(), key=pins.release_key)
    data = {"engines": list(ENGINES), "gvisor": {"release": newest}}
    return InventoryHost("any host", frozenset({GVISOR_HOSTS}), data)


def _reader(source: Source) -> tuple[int, int]:
    number = config.parse(source.text, source.name).get("version", 2)
    return OLDEST_READER.get(number if isinstance(number, int) else 2, (1, 7))
