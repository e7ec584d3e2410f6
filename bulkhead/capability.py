"""What a capability is to the rest of Bulkhead, and the list of those that `deploys/` holds.

A capability registers itself when its package is imported: for which groups it is, how its settings are read and what
it needs to know of a host. `discover` imports them all, so that an inventory can be checked before anything connects
and one look can serve every capability of a host.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bulkhead.errors import BulkheadError
from bulkhead.inventory import GVISOR_HOSTS, LEGACY_HOSTS, InventoryHost, refuse_mixed_groups
from bulkhead.look import Need


@dataclass(frozen=True)
class Capability:
    """One folder of `deploys/`.

    `validate` reads the settings of a host and raises BulkheadError for what is wrong in them; `needs` says what a
    look at the host must bring, and is only called for hosts on which `applies` is true.
    """

    name: str
    groups: frozenset[str]
    validate: Callable[[InventoryHost], object]
    needs: Callable[[InventoryHost], Sequence[Need]]
    wanted: Callable[[InventoryHost], bool] = lambda _: True

    def applies(self, host: InventoryHost) -> bool:
        """Whether `host` gets this capability: by its group, and by its settings where these can leave it out."""
        return bool(self.groups & host.groups) and self.wanted(host)


KEYS = ("engines", "gvisor", "containerd", "docker")
"""The keys of the inventory that Bulkhead reads; all others are pyinfra's, or a deploy's of the user's own."""

_registered: dict[str, Capability] = {}


def register(capability: Capability) -> Capability:
    """Add a capability to the list; called once by its package."""
    _registered[capability.name] = capability
    return capability


def discover() -> list[Capability]:
    """Import every package of `deploys/` and return their capabilities."""
    import deploys

    for module in pkgutil.iter_modules(deploys.__path__):
        importlib.import_module(f"deploys.{module.name}")
    return list(_registered.values())


def check_inventory(hosts: Iterable[InventoryHost]) -> None:
    """Read every setting of every host, without connecting.

    Raises BulkheadError with all that is wrong, host by host.
    """
    hosts = list(hosts)
    refuse_mixed_groups(hosts)
    problems: list[str] = []
    hints: list[str] = []
    capabilities = discover()
    for host in hosts:
        problems += _misspelled(host)
        for capability in capabilities:
            if not capability.groups & host.groups:
                continue
            try:
                capability.validate(host)
            except BulkheadError as error:
                problems += [line for line in error.message.splitlines() if line not in problems]
                hints += [error.hint] if error.hint and error.hint not in hints else []
    if problems:
        raise BulkheadError("\n".join(problems), hint="\n  ".join(hints))


def _misspelled(host: InventoryHost) -> list[str]:
    """A host that no group makes anything of, and keys that are almost ours: both would silently do nothing."""
    problems = []
    if not {GVISOR_HOSTS, LEGACY_HOSTS} & host.groups:
        groups = ", ".join(sorted(host.groups - {"all"})) or "no group"
        problems.append(f"{host.name}: is in {groups}, but neither in {GVISOR_HOSTS} nor in {LEGACY_HOSTS}")
    for key in host.data:
        near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.8)
        if near and key not in KEYS:
            problems.append(f"{host.name}: {key}: unknown setting (did you mean {near[0]}?)")
    return problems


def needs_of(host: InventoryHost) -> list[Need]:
    """All that one look at `host` must bring for the capabilities that apply to it."""
    return [need for capability in discover() if capability.applies(host) for need in capability.needs(host)]
