"""Reading an inventory file as pyinfra does, group data included, without connecting to anything."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
from pathlib import Path

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost

ROOT = Path(__file__).resolve().parent.parent
"""The top of the repository: where `config.py` and `tests/host` lie."""


def load(inventory: str, limit: tuple[str, ...] = ()) -> list[InventoryHost]:
    """The hosts of `inventory` with their groups and data, checked as before a deploy.

    `limit` keeps hosts whose name, or one of whose groups, matches one of the patterns, as pyinfra's `--limit` does.
    pyinfra's own command line reads the file, in a process of its own since it patches the standard library.

    Raises BulkheadError with pyinfra's message when the inventory can't be read or is wrong, has no host, or none for
    one of the patterns.
    """
    command = [sys.executable, "-m", "pyinfra", _absolute(inventory), "debug-inventory", "--json"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        raise BulkheadError(f"{inventory}: the inventory can't be used\n{_reason(result.stderr)}")
    hosts = [InventoryHost(host["name"], frozenset(host["groups"]), host["data"]) for host in json.loads(result.stdout)]
    # A group that has another name since would otherwise be looked at no more, without a word.
    idle = [pattern for pattern in limit if not any(_fits(host, pattern) for host in hosts)]
    if idle or not hosts:
        what = f"no host matches --limit {' '.join(idle)}" if hosts else "there is no host in it"
        raise BulkheadError(
            f"{inventory}: {what}", hint="Look at the inventory with 'pyinfra INVENTORY debug-inventory'."
        )
    return [host for host in hosts if not limit or any(_fits(host, pattern) for pattern in limit)]


def load_one(inventory: str, name: str) -> InventoryHost:
    """The host `name` of `inventory`.

    Raises BulkheadError as `load` does, and when the host is not there.
    """
    hosts = load(inventory)
    for host in hosts:
        if host.name == name:
            return host
    raise BulkheadError(f"{inventory} has no host {name!r}", hint=f"It has {', '.join(host.name for host in hosts)}.")


def _fits(host: InventoryHost, pattern: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for name in (host.name, *host.groups))


def from_root(path: object) -> str:
    """A path in the data of a host as pyinfra takes it, which is run from the top of the repository."""
    return str(ROOT / Path(str(path)).expanduser())


def _absolute(inventory: str) -> str:
    path = Path(inventory)
    if path.suffix == ".py" and not path.exists():
        raise BulkheadError(f"{inventory}: no such file", hint="Name an inventory, such as inventories/production.py.")
    return str(path.resolve()) if path.exists() else inventory


def _reason(stderr: str) -> str:
    """What pyinfra said, without its progress."""
    lines = stderr.splitlines()
    start = next((number for number, line in enumerate(lines) if "error" in line or "exception" in line.lower()), 0)
    return re.sub(r"^--> pyinfra error[^:]*: ", "", "\n".join(lines[start:]).strip())
