"""What a capability is to the rest of Bulkhead, and the list of those that `deploys/` holds.

A capability registers itself when its package is imported: for which groups it is, how its settings are read and what
it needs to know of a host. `discover` imports them all, so that an inventory can be checked before anything connects
and one look can serve every capability of a host.
"""

from __future__ import annotations

import difflib
import importlib
import itertools
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from bulkhead.drift import accepted
from bulkhead.drift.comparison import Comparison
from bulkhead.drift.finding import Finding, comparison
from bulkhead.drift.pins import Check
from bulkhead.errors import BulkheadError
from bulkhead.inventory import (
    ALLOW_RUNNING,
    GROUPS,
    InventoryHost,
    allow_running,
    refuse_mixed_groups,
    refuse_sudo_password,
)
from bulkhead.look import Look, Need
from bulkhead.runtime import RUNC, Runtime


@dataclass(frozen=True)
class Capability:
    """One folder of `deploys/`.

    `validate` reads the settings of a host and raises BulkheadError for what is wrong in them; `needs` says what a
    look at the host must bring, and is only called for hosts on which `applies` is true. `across` raises BulkheadError
    for what is wrong among hosts of which each is right. `files` is path → content of what it writes on a host that has
    no such file yet, as far as the inventory alone decides that. `watches` is what a look must bring besides `needs`
    for `drift`, which adds to a comparison what on the host is not as described, by such a look; it is pure, and raises
    BulkheadError where the look does not tell. `upstream` asks the world outside, once for all hosts, and says by their
    names what has changed there; it gets what it found on them in the check before, for when nobody answers. `pins` is
    what of `drift` a host can compare by itself (see `bulkhead.drift.pins`), from the look of the run that brings it
    about.
    """

    name: str
    groups: frozenset[str]
    validate: Callable[[InventoryHost], object]
    needs: Callable[[InventoryHost], Sequence[Need]]
    wanted: Callable[[InventoryHost], bool] = lambda _: True
    files: Callable[[InventoryHost], Mapping[str, bytes]] = lambda host: {}  # noqa: ARG005
    across: Callable[[Sequence[InventoryHost]], None] = lambda hosts: None  # noqa: ARG005
    runtimes: Callable[[InventoryHost, Look | None], Sequence[Runtime]] = lambda host, look: ()  # noqa: ARG005
    watches: Callable[[InventoryHost], Sequence[Need]] = lambda host: ()  # noqa: ARG005
    drift: Callable[[Comparison, InventoryHost, Look], None] = lambda compared, host, look: None  # noqa: ARG005
    upstream: Callable[[Sequence[InventoryHost], Sequence[Finding]], Mapping[str, Sequence[Finding]]] = (
        lambda hosts, before: {}  # noqa: ARG005
    )
    pins: Callable[[InventoryHost, Look], Sequence[Check]] = lambda host, look: ()  # noqa: ARG005

    def applies(self, host: InventoryHost) -> bool:
        """Whether `host` gets this capability: by its group, and by its settings where these can leave it out."""
        return bool(self.groups & host.groups) and self.wanted(host)


KEYS = (
    *("engines", "gvisor", "containerd", "docker", "runtimes", "hardening", "egress", "watch", "self_check"),
    *(accepted.KEY, ALLOW_RUNNING),
)
"""The keys of the inventory that Bulkhead reads; all others are pyinfra's, or a deploy's of the user's own."""

_registered: dict[str, Capability] = {}


def register(capability: Capability) -> Capability:
    """Add a capability to the list; called once by its package."""
    _registered[capability.name] = capability
    return capability


def discover() -> list[Capability]:
    """Import every package of `deploys/` and return their capabilities."""
    _import_all()
    return list(_registered.values())


@cache
def _import_all() -> None:
    """Once: this is asked several times for every host of a fleet."""
    import deploys

    for module in pkgutil.iter_modules(deploys.__path__):
        importlib.import_module(f"deploys.{module.name}")


def check_inventory(hosts: Iterable[InventoryHost]) -> None:
    """Read every setting of every host, without connecting.

    Raises BulkheadError with all that is wrong, host by host.
    """
    hosts = list(hosts)
    refuse_mixed_groups(hosts)
    problems: list[str] = []
    hints: list[str] = []
    checks: list[Callable[[], object]] = []
    capabilities = discover()
    for host in hosts:
        problems += _misspelled(host)
        applying = [capability.validate for capability in capabilities if capability.groups & host.groups]
        checks += [
            partial(validate, host) for validate in (*applying, accepted.of, allow_running, refuse_sudo_password)
        ]
    checks += [partial(capability.across, hosts) for capability in capabilities]
    for check in checks:
        try:
            check()
        except BulkheadError as error:
            problems += [line for line in error.message.splitlines() if line not in problems]
            hints += [error.hint] if error.hint and error.hint not in hints else []
    if problems:
        raise BulkheadError("\n".join(problems), hint="\n  ".join(hints))


def _misspelled(host: InventoryHost) -> list[str]:
    """A host that no group makes anything of, and keys that are almost ours: both would silently do nothing."""
    problems = []
    if not {*GROUPS} & host.groups:
        groups = ", ".join(sorted(host.groups - {"all"})) or "no group"
        problems.append(f"{host.name}: is in {groups}, but in none of {', '.join(GROUPS)}")
    for key in host.data:
        if not isinstance(key, str):
            problems.append(f"{host.name}: {key!r}: a setting's name is a text")
            continue
        near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.8)
        if near and key not in KEYS:
            problems.append(f"{host.name}: {key}: unknown setting (did you mean {near[0]}?)")
    return problems


def needs_of(host: InventoryHost) -> list[Need]:
    """All that one look at `host` must bring for the capabilities that apply to it."""
    return [need for capability in discover() if capability.applies(host) for need in capability.needs(host)]


def watched(host: InventoryHost) -> list[Need]:
    """All that one look at `host` must bring for `findings_of`: what a deploy needs, and what drift sees besides."""
    watches = [need for capability in discover() if capability.applies(host) for need in capability.watches(host)]
    return [*needs_of(host), *watches]


def findings_of(host: InventoryHost, look: Look) -> list[Finding]:
    """What on `host` is not as the inventory describes it, by a look that answered `watched`.

    A capability that can't tell is a critical finding of its own: what can't be compared is never as it should be, and
    the others are compared all the same, and so counts what it told before that. Nothing in the findings looks like a
    secret, and none is what the inventory accepts.
    """
    findings: list[Finding] = []
    for capability in discover():
        if not capability.applies(host):
            continue
        compared = Comparison(capability.name, host)
        try:
            capability.drift(compared, host, look)
        except BulkheadError as error:
            compared.findings.append(_incomparable(capability, error.message, error.hint))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # Its message may hold what the host said.
            why = f"the host's answer can't be read ({type(error).__name__})"
            compared.findings.append(_incomparable(capability, why, ""))
        findings += compared.findings
    return accepted.unaccepted(host, [finding.presentable for finding in findings])


def upstream_of(hosts: Sequence[InventoryHost], before: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Host → what has changed in the world outside since it was described, but for what the inventory accepts.

    `before` are the findings of the check before, on all hosts.
    """
    found: dict[str, list[Finding]] = {host.name: [] for host in hosts}
    for capability in discover():
        known = [finding for finding in before if finding.upstream and finding.capability == capability.name]
        applying = [host for host in hosts if capability.applies(host)]
        for name, findings in capability.upstream(applying, known).items():
            found[name] += findings
    return {host.name: accepted.unaccepted(host, found[host.name]) for host in hosts}


def pins_of(host: InventoryHost, look: Look) -> list[Check]:
    """All that `host` can compare by itself, from the look of a run that converges it.

    Raises BulkheadError where a run would not converge it either.
    """
    return [pin for capability in discover() if capability.applies(host) for pin in capability.pins(host, look)]


def _incomparable(capability: Capability, why: str, hint: str) -> Finding:
    return Finding(
        capability=capability.name,
        subject=comparison(capability.name),
        expected="the host can be compared with its description",
        actual=why,
        severity="critical",
        mend=hint or "Look at what it concerns on the host itself, then check again.",
    )


def files_of(host: InventoryHost) -> dict[str, bytes]:
    """Path → content of what `host` would get if it had none of these files, in the order of the paths."""
    files: dict[str, bytes] = {}
    for capability in discover():
        if capability.applies(host):
            files |= capability.files(host)
    return dict(sorted(files.items()))


def runtimes_of(host: InventoryHost, engine: str, look: Look | None = None) -> list[Runtime]:
    """The runtimes that `engine` gets on `host`, from all capabilities that apply to it, in the order of their names.

    Raises BulkheadError when two of them have the same name.
    """
    brought = [
        runtime
        for capability in discover()
        if capability.applies(host)
        for runtime in capability.runtimes(host, look)
        if engine in runtime.engines
    ]
    names = sorted(runtime.name for runtime in brought)
    for one, next_ in itertools.pairwise(names):
        if one == next_:
            raise BulkheadError(f"{host.name}: two runtimes are named {one!r}", hint="Give one of them another name.")
    return sorted(brought, key=lambda runtime: runtime.name)


def refuse_unknown_runtime(host: InventoryHost, engine: str, name: str | None) -> None:
    """Raise BulkheadError when `host` has no runtime `name`, which the inventory makes the default of `engine`."""
    known = [RUNC, *(runtime.name for runtime in runtimes_of(host, engine))]
    if name not in (None, *known):
        raise BulkheadError(
            f"{host.name}: {engine}.default_runtime: {name!r} is not a runtime of this host ({', '.join(known)})"
        )
