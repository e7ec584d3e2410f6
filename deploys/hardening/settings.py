"""The inventory's `hardening` settings: what of the baseline differs on a host, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from bulkhead.errors import BulkheadError
from bulkhead.inventory import GVISOR_HOSTS, InventoryHost, Settings, once, read
from bulkhead.trial import Seconds
from deploys.hardening.conflicts import conflict, locked_out
from deploys.hardening.table import AREAS, TABLE, Area

KEY = "hardening"
RUNSC_RELEASES = "runsc-releases"
"""The row of the table that only a host with gVisor gets, for there is no such directory elsewhere."""


def _value(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise ValueError(f"expected a text, a number, or None for what is to be left alone, found {value!r}")
    return value


def _reason(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("say in a line why this host differs: it is shown wherever the setting is")
    return text.strip()


Reason = Annotated[str, AfterValidator(_reason)]


class Override(Settings):
    """A value of this host's own; None leaves the setting as the host has it."""

    value: Annotated[str | int | None, BeforeValidator(_value)]
    reason: Reason


Overrides = dict[str, Override]


class HardeningSettings(Settings):
    """Name → override for each area of the table, and the areas that are left out."""

    sysctl: Overrides = Field(default_factory=dict)
    modules: Overrides = Field(default_factory=dict)
    kernel_parameters: Overrides = Field(default_factory=dict)
    sshd: Overrides = Field(default_factory=dict)
    audit: Overrides = Field(default_factory=dict)
    mounts: Overrides = Field(default_factory=dict)
    core_dumps: Overrides = Field(default_factory=dict)
    upgrades: Overrides = Field(default_factory=dict)
    apparmor: Overrides = Field(default_factory=dict)
    memory: Overrides = Field(default_factory=dict)
    off: dict[Area, Reason] = Field(default_factory=dict)
    """Areas that Bulkhead leaves alone on this host, each with the reason."""

    confirm_seconds: Seconds = 60
    """Seconds after which what nobody confirmed over a new connection is taken back (sysctl and sshd)."""

    def overrides(self, area: Area) -> Overrides:
        """The overrides of one area."""
        found: Overrides = getattr(self, area)
        return found


@dataclass(frozen=True)
class Wanted:
    """What a host is to have: area → name → value, in the table's order; an area that is left out is not there.

    `overridden` says what differs from the baseline, a line each; `named` is which settings the inventory itself names.
    """

    values: Mapping[Area, Mapping[str, str]]
    overridden: tuple[str, ...] = ()
    named: Mapping[Area, frozenset[str]] = field(default_factory=dict)
    confirm_seconds: int = 60

    def of(self, area: Area) -> Mapping[str, str] | None:
        """The values of one area; None where the area is left out."""
        return self.values.get(area)


@once
def of(host: InventoryHost) -> Wanted:
    """What the baseline and the inventory make of `host`.

    Raises BulkheadError naming the host, the key and the reason for everything that is wrong.
    """
    settings = read(HardeningSettings, host, KEY)
    problems = []
    for area in AREAS:
        for name, override in settings.overrides(area).items():
            why = conflict(host, area, name, None if override.value is None else str(override.value))
            if why:
                problems.append(f"{host.name}: {KEY}.{area}.{name}: {why}")
    if "sshd" not in settings.off and (why := locked_out(host.data)):
        problems.append(f"{host.name}: {KEY}.sshd: {why}")
    if problems:
        raise BulkheadError("\n".join(problems), hint="Correct the inventory; nothing was connected.")
    values = {area: _values(host, settings, area) for area in AREAS if area not in settings.off}
    named = {area: frozenset(settings.overrides(area)) for area in values}
    return Wanted(values, tuple(_overridden(host, settings)), named, settings.confirm_seconds)


def baseline(host: InventoryHost, area: Area) -> dict[str, str]:
    """What the table says for the host's kind."""
    gvisor = GVISOR_HOSTS in host.groups
    rows = {row.name: row.gvisor if gvisor else row.legacy for row in TABLE if row.area == area}
    described = host.data.get("gvisor")
    if isinstance(described, Mapping) and described.get("state") == "absent":
        rows.pop(RUNSC_RELEASES, None)
    found = {name: value for name, value in rows.items() if value is not None}
    if found.get("PermitRootLogin") and host.data.get("ssh_user") == "root":
        # Who logs in as root must still be able to, by key.
        found["PermitRootLogin"] = "prohibit-password"
    return found


def _values(host: InventoryHost, settings: HardeningSettings, area: Area) -> dict[str, str]:
    values = baseline(host, area)
    for name, override in settings.overrides(area).items():
        if override.value is None:
            values.pop(name, None)
        else:
            values[name] = str(override.value)
    return values


def _overridden(host: InventoryHost, settings: HardeningSettings) -> list[str]:
    lines = [f"{area} is left out: {reason}" for area, reason in settings.off.items()]
    for area in AREAS:
        overrides = settings.overrides(area)
        there = baseline(host, area) if overrides else {}
        for name, override in overrides.items():
            chosen = "left as the host has it" if override.value is None else f"= {override.value}"
            lines.append(f"{area}: {name} {chosen} (baseline {there.get(name, 'none')}): {override.reason}")
    return lines
