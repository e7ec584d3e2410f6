"""A host's state against its description: the findings of one capability, in one form. Pure, no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bulkhead import secrets
from bulkhead.drift.finding import Finding, Severity
from bulkhead.drift.units import Unit
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import FoundFile, Look
from bulkhead.put import Write
from bulkhead.structure import differences, dotted


class Comparison:
    """Gathers what is not as it should be. Where nothing else is said a deploy mends it."""

    def __init__(self, capability: str, host: InventoryHost) -> None:
        self.capability = capability
        self.deploy = f"pyinfra INVENTORY deploy.py --limit {host.name}"
        self.findings: list[Finding] = []

    def add(
        self, subject: str, *, expected: str = "", actual: str = "", severity: Severity = "critical", mend: str = ""
    ) -> None:
        """One difference; see `Finding`."""
        self.findings.append(Finding(self.capability, subject, expected, actual, severity, mend or self.deploy))

    def refusal(self, subject: str, error: BulkheadError) -> None:
        """Something because of which a deploy would refuse to go on."""
        self.add(
            subject,
            expected="as described",
            actual=error.message,
            mend=error.hint or f"Put it right, then: {self.deploy}",
        )

    def own_file(self, write: Write, severity: Severity = "critical") -> None:
        """A file of Bulkhead's own: its content, owner and mode."""
        found, content = write.found, write.content
        if found is None or content is None or found.kind != "file":
            if found is not None or content is not None:
                kind = "" if found is None else f"a {found.kind}"
                self.add(write.path, expected=_text(content or b""), actual=kind, severity=severity)
            return
        if found.content != content:
            self.add(write.path, expected=_text(content), actual=_text(found.content), severity=severity)
        self._kept(write.path, found, write.mode, (write.owner, write.group), self.deploy)

    def record(self, write: Write, *, content: bool = True) -> None:
        """A file that may hold pieces of the user's, so that nothing of it is shown; its `content` may not matter."""
        found = write.found
        if found and write.content is not None and found.kind == "file":
            if content and found.content != write.content:
                self.add(write.path, expected="what Bulkhead noted", actual="something else", severity="warning")
            self._kept(write.path, found, write.mode, (write.owner, write.group), self.deploy)
        elif write.changes:
            expected, actual = ("", "a file") if found else ("what Bulkhead notes", "")
            self.add(write.path, expected=expected, actual=actual, severity="warning")

    def document(self, path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """A file of the user's with settings of ours in it: those of its keys alone that a deploy would change."""
        for keys, old, new in differences(before, after, whole=True):
            self.add(f"{path}: {dotted(keys)}", expected=_shown(keys, new), actual=_shown(keys, old))

    def loose(self, path: str, found: FoundFile | None) -> None:
        """A file of the user's, whose owner and mode are the user's, that others than root can write to."""
        if found is not None and (found.mode & 0o022 or found.owner not in ("root", "0")):
            self.add(
                f"{path}: mode",
                expected="root's, and no others can write to it",
                actual=f"{found.owner}:{found.group} {found.mode:04o}",
                mend=f"chown root {path}; chmod go-w {path}",
            )

    def _kept(self, path: str, found: FoundFile, mode: int, owner: tuple[str, str], mend: str) -> None:
        if (found.owner, found.group) != owner:
            self.add(f"{path}: owner", expected=":".join(owner), actual=f"{found.owner}:{found.group}", mend=mend)
        if found.mode != mode:
            # What others can read or do less is no hole.
            severity: Severity = "critical" if found.mode & ~mode else "warning"
            self.add(f"{path}: mode", expected=f"{mode:04o}", actual=f"{found.mode:04o}", severity=severity, mend=mend)

    def unit(
        self, units: Mapping[str, Unit], name: str, *, enabled: bool = False, runs: bool = True, mend: str = ""
    ) -> None:
        """A unit that has to be there: it runs, starts at boot where it is `enabled`, and is what its own file says."""
        unit = units.get(name)
        wanted = " ".join(word for word, needed in (("enabled", enabled), ("active", runs)) if needed)
        start = mend or f"systemctl {'enable --now' if enabled else 'start'} {name}"
        if unit is None:
            self.add(f"unit {name}", expected=wanted or "there", mend=mend or self.deploy)
            return
        if unit.load == "masked":
            self.add(
                f"unit {name}", expected=wanted or "there", actual="masked", mend=f"systemctl unmask {name}; {start}"
            )
        elif enabled and unit.enabled not in ("enabled", "alias"):
            self.add(f"unit {name}", expected=wanted, actual=f"{unit.enabled} {unit.active}", mend=start)
        elif runs and not unit.runs:
            self.add(f"unit {name}", expected=wanted, actual=unit.active, mend=start)
        self.additions(unit)

    def additions(self, unit: Unit) -> None:
        """What somebody laid over a unit."""
        for path, keys in unit.dropped.items():
            self.add(
                f"unit {unit.name}: drop-in {path}",
                actual=f"sets {', '.join(keys.split())}" if keys.strip() else "a file",
                mend=f"rm {path}; systemctl daemon-reload; systemctl restart {unit.name}",
            )
        if unit.shadowed:
            self.add(
                f"unit {unit.name}: {unit.fragment}",
                expected=unit.shadowed,
                actual=f"{unit.fragment} in its place",
                mend=f"rm {unit.fragment}; systemctl daemon-reload; systemctl restart {unit.name}",
            )


def told(look: Look, name: str, what: str) -> str:
    """What the command `name` of a look printed.

    Raises BulkheadError when it failed: then nothing is known of `what`.
    """
    answer = look.outputs[name]
    if answer.status != 0:
        reason = answer.stderr.decode(errors="replace").strip().splitlines()
        why = reason[-1] if reason else f"status {answer.status}"
        raise BulkheadError(f"the host does not tell {what} ({why})", hint="Look at the host itself, then check again.")
    return answer.text


def _text(content: bytes) -> str:
    return content.decode(errors="replace")


def _shown(keys: Sequence[str], values: Sequence[Any]) -> str:
    """A value under `keys` in JSON, unless it is a secret; empty for none."""
    if not values:
        return ""
    value = secrets.at(keys, values[0])
    return secrets.WITHHELD if value == secrets.WITHHELD else json.dumps(value, ensure_ascii=False, default=str)
