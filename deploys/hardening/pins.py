"""What of the hardening a host compares by itself. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from bulkhead import trial
from bulkhead.drift import pins
from bulkhead.drift.pins import Check, Pin, Search
from bulkhead.inventory import InventoryHost
from bulkhead.look import Look
from bulkhead.templates import render
from deploys.docker.facts import INFO
from deploys.hardening import (
    area,
    audit,
    boot,
    core_dumps,
    memory,
    packages,
    settings,
    sshd,
    sysctl,
    upgrades,
)
from deploys.hardening.drift import GENERATORS, NAME, UNITS
from deploys.hardening.plans import FILES
from deploys.hardening.settings import Wanted
from deploys.hardening.table import Area

Values = Mapping[str, str]


def of(host: InventoryHost, look: Look) -> list[Check]:
    """Files, units and live values of the areas that are wanted."""
    wanted = settings.of(host)
    rolled_back = pins.own_file(NAME, trial.rolled_back(NAME), None, severity="warning")
    generators = Search(NAME, "hardening generators", render("self_check/generators.sh.j2", find=GENERATORS))
    found: list[Check] = [rolled_back, *_packages(wanted), *_units(wanted), generators]
    asked: Mapping[Area, Callable[[Values], Iterator[Check]]] = {
        "sysctl": _sysctl,
        "modules": _modules,
        "kernel_parameters": lambda values: _boot(values, look),
        "sshd": lambda values: _sshd(sshd.wanted(values, look)),
        "audit": _audit,
        "mounts": _mounts,
        "core_dumps": _core_dumps,
        "upgrades": _upgrades,
        "apparmor": lambda values: _apparmor(values, host),
        "memory": _memory,
    }
    for name, values in wanted.values.items():
        for path, text in _files(name, values, look).items():
            content = None if text is None else text.encode()
            found.append(pins.own_file(NAME, path, content, mode=audit.MODES.get(path, area.MODE)))
        found += asked[name](values)
    return found


def _files(name: Area, values: Values, look: Look) -> Mapping[str, str | None]:
    if name == "sshd":
        return {} if look.outputs["hardening.sshd"].status == 127 else sshd.files(sshd.wanted(values, look))
    if name == "core_dumps":
        return core_dumps.all_files(values, look)
    if name == "kernel_parameters":
        return boot.files(boot.bootable(values, look)) if boot.by_grub(look) else {}
    return FILES[name](values) if name in FILES else {}


def _search(name: str, /, **values: object) -> Search:
    return Search(NAME, f"hardening {name}", render(f"self_check/{name}.sh.j2", **values))


def _packages(wanted: Wanted) -> Iterator[Check]:
    needed = sorted(package for one, package in packages.BY_AREA.items() if wanted.of(one))
    if needed:
        yield _search("packages", packages=needed)


def _units(wanted: Wanted) -> Iterator[Check]:
    running = [(name, True, True) for one in UNITS if one in wanted.values and one != "sshd" for name in UNITS[one]]
    if running or "sshd" in wanted.values:
        yield pins.units(NAME, running, UNITS["sshd"] if "sshd" in wanted.values else ())


def _sysctl(values: Values) -> Iterator[Check]:
    yield _search("sysctl", root=sysctl.ROOT, pairs=sysctl.pairs(values))


def _modules(values: Values) -> Iterator[Check]:
    if values:
        yield _search("modules", names=[name.replace("-", "_") for name in values], blocked=list(values))


def _boot(values: Values, look: Look) -> Iterator[Check]:
    parameters = boot.parameters(boot.bootable(values, look))
    generated = boot.GENERATED if boot.by_grub(look) else ""
    yield _search("boot", generated=generated, parameters=parameters, subject=boot.SUBJECT)


def _sshd(values: Values) -> Iterator[Check]:
    evidence = [line.lower() for line in sshd.evidence(values)]
    name = sshd.PATH.rpartition("/")[2]
    yield _search("sshd", effective=sshd.EFFECTIVE, evidence=evidence, directory=sshd.DIRECTORY, name=name)


def _audit(values: Values) -> Iterator[Check]:
    rules = [(name, rule, audit.pattern(name, rule)) for name, rule in values.items()]
    yield _search("audit", rules=rules)


def _mounts(values: Values) -> Iterator[Check]:
    yield _search("mounts", mounts=values)


def _core_dumps(values: Values) -> Iterator[Check]:
    if "systemd" in values:
        yield _search("apport")


def _upgrades(values: Values) -> Iterator[Check]:
    evidence = [(line, line.partition(" ")[0].rstrip(":")) for line in upgrades.evidence(values)]
    origins = upgrades.ORIGINS if upgrades.ORIGINS in values else ""
    yield _search("upgrades", evidence=evidence, origins=origins, allowed=upgrades.ALLOWED)


def _apparmor(values: Values, host: InventoryHost) -> Iterator[Check]:
    if not values:
        return
    yield Pin(NAME, "hardening apparmor", "cat /sys/module/apparmor/parameters/enabled", "Y")
    if "docker" in host.data.get("engines", ()):
        yield _search("apparmor", info=INFO)


def _memory(values: Values) -> Iterator[Check]:
    if "ksm" in values or "swap" in values:
        yield _search("memory", ksm=memory.KSM if "ksm" in values else "", swap="swap" in values)
