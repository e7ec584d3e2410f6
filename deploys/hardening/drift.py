"""What on a host is not as it was hardened: files, live values, and what was added that weakens it. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from bulkhead import trial
from bulkhead.drift import units
from bulkhead.drift.comparison import Comparison, told
from bulkhead.drift.finding import Severity
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Command, Look, Need
from deploys.hardening import area, mounts, packages, settings, sshd, sshd_match, sysctl, upgrades
from deploys.hardening.area import Plan, Wrong
from deploys.hardening.plans import by_area
from deploys.hardening.settings import Wanted
from deploys.hardening.table import Area

NAME = settings.KEY

UNITS: Mapping[Area, Sequence[str]] = {
    "sshd": ("ssh.service", "sshd.service", "ssh.socket"),
    "audit": ("auditd.service",),
    "apparmor": ("apparmor.service",),
    "upgrades": upgrades.TIMERS,
    "mounts": (mounts.UNIT,),
}
"""Area → the units without which it is not in force, or through which it could be undone."""

GENERATORS = (
    "find /etc/systemd/system-generators /usr/local/lib/systemd/system-generators /run/systemd/system-generators"
    " -mindepth 1 ! -lname /dev/null 2>/dev/null; :"
)
"""Programs that make units and drop-ins at each boot, and that no package brought: all of packages' lie below /usr/lib,
and a link to /dev/null switches one of them off (systemd.generator(7))."""

_NEVER = re.compile(r"-a (never,\w+|\w+,never)\b")


def watches(host: InventoryHost) -> list[Need]:
    """The units of the areas that are wanted, and what could make others of all units."""
    wanted = settings.of(host)
    watched = [unit for one, names in UNITS.items() if one in wanted.values for unit in names]
    generators = Command("hardening.generators", GENERATORS)
    return [generators, units.watch(NAME, watched)] if watched else [generators]


def drift(compared: Comparison, host: InventoryHost, look: Look) -> None:
    """Each area by itself: one that can't be compared hides no other."""
    wanted = settings.of(host)
    if trial.found(look, NAME).rolled_back:
        compared.add(
            trial.rolled_back(NAME), actual="was not confirmed, and what was before is in force", severity="warning"
        )
    _units(compared, wanted, look)
    for path in told(look, "hardening.generators", "what makes units at each boot").splitlines():
        compared.add(
            f"systemd generator {path}",
            actual="may change every unit at the next boot",
            severity="warning",
            mend=f"rm {path}, or accept it (drift.accept)",
        )
    missing = _missing(compared, wanted, look)
    plans = by_area(host, wanted, look, missing)
    special: dict[Area, Callable[[], Plan]] = {
        "sysctl": lambda: _sysctl(compared, wanted.values["sysctl"], look),
        "sshd": lambda: _sshd(compared, wanted, look),
    }
    for name in wanted.values:
        if packages.BY_AREA.get(name) in missing:
            continue
        try:
            plan = special.get(name, plans[name])()
        except BulkheadError as error:
            compared.refusal(f"hardening {name}", error)
            continue
        for write in plan.change.writes if plan.change else ():
            compared.own_file(write)
        _add(compared, plan.wrong)
        # What a reboot brings was never in force, so that nothing was undone.
        _add(compared, plan.beyond, severity="warning" if name == "kernel_parameters" else "critical")
    if "audit" in wanted.values:
        for rule in look.outputs["hardening.audit"].text.splitlines():
            if _NEVER.match(rule):
                mend = f"auditctl {rule.replace('-a', '-d', 1)}, and take it out of /etc/audit/rules.d"
                compared.add(f"audit rule {rule}", actual="suppresses records", mend=mend)


def _add(compared: Comparison, wrong: Sequence[Wrong], severity: Severity = "critical", mend: str = "") -> None:
    """What is found by its unit already is not said again."""
    known = {finding.subject for finding in compared.findings}
    for one in wrong:
        if one.subject not in known:
            compared.add(one.subject, expected=one.expected, actual=one.actual, severity=severity, mend=mend)


def _units(compared: Comparison, wanted: Wanted, look: Look) -> None:
    watched = [one for one in UNITS if one in wanted.values]
    found = units.read(NAME, look) if watched else {}
    for one in watched:
        if one == "sshd":
            # Which of them runs depends on the distribution; that one does, the look came through it.
            for unit in {found[name].name: found[name] for name in UNITS[one] if name in found}.values():
                compared.additions(unit)
        else:
            for name in UNITS[one]:
                compared.unit(found, name, enabled=True)


def _missing(compared: Comparison, wanted: Wanted, look: Look) -> list[str]:
    try:
        missing = packages.missing(wanted, look)
    except BulkheadError as error:
        compared.refusal("packages", error)
        return []
    for package in missing:
        compared.add(f"package {package}", expected="installed")
    return missing


def _sysctl(compared: Comparison, values: Mapping[str, str], look: Look) -> Plan:
    """Where a deploy would not go on, what the kernel has is told all the same."""
    for one in sysctl.others(values, look):
        path = one.subject.partition(":")[0]
        compared.add(
            one.subject,
            expected=one.expected,
            actual=one.actual,
            mend=f"take it out of {path}, then: {compared.deploy}",
        )
    try:
        sysctl.refuse_asymmetric(values, look)
    except BulkheadError as error:
        compared.refusal("hardening sysctl", error)
    for write in area.own_files(look, sysctl.files(values)):
        compared.own_file(write)
    _add(compared, list(sysctl.wrong(values, sysctl.live(look)).values()))
    return Plan()


def _sshd(compared: Comparison, wanted: Wanted, look: Look) -> Plan:
    """Where others' files keep a deploy from going on, what sshd makes of them is told all the same."""
    values = wanted.values["sshd"]
    if look.outputs["hardening.sshd"].status == 127:
        return Plan()
    for name in sshd.files_before(look):
        path = f"{sshd.DIRECTORY}/{name}"
        compared.add(path, actual=f"is read before {sshd.PATH}", mend=f"rm {path}, or give it a later name")
    try:
        sshd.refuse_unread(look, values)
    except BulkheadError as error:
        compared.refusal(sshd.MAIN, error)
    for write in area.own_files(look, sshd.files(sshd.wanted(values, look))):
        compared.own_file(write)
    _add(compared, sshd.effective(values, look))
    named = wanted.named.get("sshd", frozenset())
    kept = {name: value for name, value in sshd.wanted(values, look).items() if name not in named}
    for one, name, value in sshd_match.weaker(kept, look.outputs["hardening.sshd.match"].text):
        compared.add(
            f"{one.place.rpartition(':')[0]}: Match {one.criteria}: {name}",
            expected=value,
            actual=one.value,
            mend="take the block out of the file; systemctl reload ssh",
        )
    return Plan()
