"""The templates from which k3s and RKE2 make containerd's configuration, with our runtimes in them. Pure, no I/O.

Such a file is TOML with actions of Go's text/template in it, `{{ template "base" . }}` above all, which brings the
distribution's own configuration. For the edit each action is covered by TOML of the same length, so that what stands
around it keeps its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bulkhead import toml_text
from bulkhead.errors import BulkheadError
from bulkhead.registration import Format, Record, Setting, apply, common, in_file
from bulkhead.runtime import Runtime
from deploys.containerd.config import COMMENT, CRI_PLUGIN, Merged, entry

BASE = '{{ template "base" . }}\n'
"""What every template begins with: without it the distribution's own settings are lost (rancher/rke2#10293)."""

_ACTION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_NO_TOML = re.compile(r"\s*(?:\{\{.*?\}\}\s*)*(?:#.*|\{\{(?!.*\}\}).*)?")
"""A rest of a line that holds only actions, the last of which may go on below, and a comment."""


def covered(text: str) -> str:
    """`text` with each action covered: as a comment where it stands on lines of its own, else as part of a string.

    Raises BulkheadError when an action has no end.
    """
    pieces, line, end = [], "", 0
    for action in _ACTION.finditer(text):
        before = text[end : action.start()]
        # The line up to here, as it is covered.
        line = (line + before).rpartition("\n")[2]
        after = text[action.end() : (text + "\n").index("\n", action.end())]
        comment = "#" in line or (not line.strip() and _NO_TOML.fullmatch(after) is not None)
        cover = _cover(action.group(), comment=comment, string=_inside_string(line))
        pieces += [before, cover]
        line += cover
        end = action.end()
    rest = text[end:]
    if "{{" in rest:
        line_number = text.count("\n", 0, end + rest.index("{{")) + 1
        raise BulkheadError(f"an action has no end (line {line_number})", hint="Correct it, then run again.")
    return "".join([*pieces, rest])


def _inside_string(line: str) -> bool:
    return line.count('"') % 2 == 1 or line.count("'") % 2 == 1


def _cover(action: str, *, comment: bool, string: bool) -> str:
    if string:
        return re.sub(r"[^\n]", "_", action)
    if comment:
        return "\n".join("#" * len(line) for line in action.split("\n"))
    return f'"{"_" * (len(action) - 2)}"'


def _put(text: str, path: Sequence[str], value: Any, comment: str) -> str:
    return _transplanted(text, lambda cover: toml_text.put(cover, path, value, comment))


def _drop(text: str, path: Sequence[str]) -> str:
    return _transplanted(text, lambda cover: toml_text.drop(cover, path))


def _transplanted(text: str, edit: Callable[[str], str]) -> str:
    """Make in `text` the one change that `edit` makes in its covered form, which has the same length."""
    cover = covered(text)
    edited = edit(cover)
    start = common(cover, edited)
    end = common(cover[start:][::-1], edited[start:][::-1])
    return text[:start] + edited[start : len(edited) - end] + text[len(text) - end :]


TEMPLATE = Format(lambda text: toml_text.parse(covered(text)), _put, _drop)


def merge(
    text: str | None,
    rendered: str,
    runtimes: Sequence[Runtime],
    default: str | None,
    *,
    version: int,
    record: Record | None = None,
    path: str,
) -> Merged:
    """The template `text` (None for none) with `runtimes` in it; all else as in `deploys.containerd.config.plan`.

    `rendered` is what the distribution made of its templates last, `version` that of the configuration.

    Raises BulkheadError naming `path` when the text is broken, or when what is asked can't be said in a template since
    the distribution says it already.
    """
    record = record or Record()
    engine = ("plugins", CRI_PLUGIN[version], "containerd")

    with in_file(path):
        # In what the distribution made last, these come from the template as it is or was.
        known = {*_at(TEMPLATE.parse(text or ""), (*engine, "runtimes")), *record.names("runtimes")}

    def wanted(base: Mapping[str, Any]) -> list[Setting]:
        own, effective = _at(base, engine), _at(toml_text.parse(rendered), engine)
        for runtime in runtimes:
            if runtime.name in _at(effective, ("runtimes",)) and runtime.name not in known:
                raise BulkheadError(
                    f"the distribution registers a runtime {runtime.name} by itself", hint="Give ours another name."
                )
        settings = [Setting((*engine, "runtimes", runtime.name), entry(runtime), COMMENT) for runtime in runtimes]
        if default is None:
            return settings
        recorded = {setting.path[-1] for setting in record.settings}
        # A table of the distribution's own can't be named again in what follows it.
        if not own.keys() - {"runtimes"} and effective.keys() - {"runtimes"} - recorded:
            raise BulkheadError(
                "the distribution's part has a table for containerd, so the template can't set default_runtime_name",
                hint="Leave containerd.default_runtime unset, or use a release that reads drop-ins.",
            )
        return [*settings, Setting((*engine, "default_runtime_name"), default, returns=True)]

    with in_file(path):
        return Merged(*apply(TEMPLATE, text, wanted, record, initial=BASE))


def _at(table: Mapping[str, Any], keys: Sequence[str]) -> Mapping[str, Any]:
    for key in keys:
        inner = table.get(key)
        table = inner if isinstance(inner, Mapping) else {}
    return table
