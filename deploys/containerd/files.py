"""Which files of a host get the runtimes, by the distribution of containerd that it has. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bulkhead.errors import BulkheadError
from bulkhead.look import FoundFile, Look
from bulkhead.put import refuse_odd
from bulkhead.registration import TOML, Format, Ledger, Record, in_file, undo
from bulkhead.runtime import Runtime
from deploys.containerd import config, template
from deploys.containerd.config import Merged, Source
from deploys.containerd.distributions import CONTAINERD, K0S
from deploys.containerd.facts import FoundContainerd, template_files

K0S_MANAGED = "# k0s_managed=true"
"""The first line of a containerd.toml that k0s writes itself (docs.k0sproject.io, runtime)."""


@dataclass(frozen=True)
class Plan:
    """What the files become. `preview` is what the daemon's file will be where that is made from others; `started_anew`
    says that writing alone makes the daemon start again.
    """

    files: dict[str, Merged]
    found: dict[str, FoundFile | None]
    preview: str | None = None
    started_anew: bool = False


def form_of(path: str) -> Format:
    """How a file is written, by its name."""
    return template.TEMPLATE if path.endswith(".tmpl") else TOML


def plan(
    there: FoundContainerd,
    look: Look,
    runtimes: Sequence[Runtime],
    default: str | None,
    ledger: Ledger,
    *,
    enable_cri: bool,
) -> Plan:
    """Decide for one host.

    Raises BulkheadError when a file is broken, something other than a file is in its way, or the distribution can't be
    told what is asked.
    """
    distribution = there.distribution
    found = {**look.files, **there.imported}
    texts = {path: text_of(path, found.get(path)) for path in _read(there)}
    if distribution.name == CONTAINERD:
        main = Source(distribution.config_file, texts[distribution.config_file])
        sources = config.load_order(main, [Source(path, texts[path]) for path in there.imported])
        merged = config.plan(sources, runtimes, default, there.version, ledger=ledger, enable_cri=enable_cri)
        return Plan(merged, found)
    drop_in = distribution.drop_in
    if distribution.name == K0S:
        main_text = texts[distribution.config_file]
        if main_text is not None and not main_text.startswith(K0S_MANAGED):
            raise BulkheadError(
                f"{distribution.config_file}: is not managed by k0s, which then reads no drop-ins",
                hint=f"Move it away, or begin it with the line '{K0S_MANAGED}' and let k0s write it.",
            )
        return Plan(_drop_in(there, drop_in, texts[drop_in], runtimes, default, ledger), found, started_anew=True)
    rendered = texts[distribution.config_file]
    if rendered is None:
        raise BulkheadError(
            f"{distribution.config_file}: is not there, so {distribution.name} has not started yet",
            hint=f"Start {distribution.name} once, then run again.",
        )
    document = config.parse(rendered, distribution.config_file)
    if distribution.imports in (document.get("imports") or []):
        return Plan(_drop_in(there, drop_in, texts[drop_in], runtimes, default, ledger), found)
    return _templated(there, texts, found, rendered, document.get("version"), runtimes, default, ledger)


def withdrawn(decided: Plan, ledger: Ledger) -> Plan:
    """`decided`, and what an earlier run wrote into files that are not the right ones any more goes.

    Raises BulkheadError when such a file is broken.
    """
    left = {}
    for path, record in ledger.files.items():
        if path not in decided.files and decided.found.get(path):
            with in_file(path):
                left[path] = Merged(undo(form_of(path), text_of(path, decided.found[path]), record), Record())
    return replace(decided, files={**decided.files, **left})


def text_of(path: str, file: FoundFile | None) -> str | None:
    """The text of a file that was looked at.

    Raises BulkheadError when it is no regular file, or not UTF-8.
    """
    refuse_odd(path, file)
    return file.text(path) if file else None


def _read(there: FoundContainerd) -> list[str]:
    distribution = there.distribution
    paths = [distribution.config_file, distribution.drop_in, *template_files(distribution).values(), *there.imported]
    return [path for path in paths if path]


def _drop_in(
    there: FoundContainerd,
    path: str,
    text: str | None,
    runtimes: Sequence[Runtime],
    default: str | None,
    ledger: Ledger,
) -> dict[str, Merged]:
    """A file of our own, which the distribution's imports."""
    return config.plan([Source(path, text)], runtimes, default, there.version, ledger=ledger, alone=False)


def _templated(
    there: FoundContainerd,
    texts: dict[str, str | None],
    found: dict[str, FoundFile | None],
    rendered: str,
    version: object,
    runtimes: Sequence[Runtime],
    default: str | None,
    ledger: Ledger,
) -> Plan:
    """The template that the distribution takes: the newest there is, since it ignores the others."""
    templates = template_files(there.distribution)
    if there.version < (2, 0):
        del templates[3]
    newest = next((number for number, path in templates.items() if texts[path] is not None), None)
    number = newest or next((number for number in templates if number == version), max(templates))
    path = templates[number]
    merged = template.merge(
        texts[path], rendered, runtimes, default, version=number, record=ledger.files.get(path, Record()), path=path
    )
    return Plan(
        {path: merged},
        found,
        preview=_preview(rendered, ledger.files.get(path, Record()), merged.record),
    )


def _preview(rendered: str, before: Record, after: Record) -> str:
    """What the distribution will make of its templates: what it made of them last, with our settings as they come."""
    kept = {recorded.path for recorded in after.settings}
    for recorded in before.settings:
        if recorded.path not in kept:
            rendered = TOML.drop(rendered, recorded.path)
    for recorded in after.settings:
        rendered = TOML.put(rendered, recorded.path, recorded.value, "")
    return rendered
