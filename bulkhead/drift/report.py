"""What one drift check found on all hosts, and its JSON, which a later check reads to say since when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from bulkhead.drift.finding import SEVERITIES, Finding, Severity, comparison
from bulkhead.errors import BulkheadError

NO_DRIFT, ERROR, DRIFT = 0, 1, 2
"""Exit statuses, as those of `terraform plan -detailed-exitcode`."""


State = Literal["clean", "drift", "error"]
"""What became of a host: as described, not as described, or not looked at."""

STATES: tuple[State, ...] = get_args(State)


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Seen(_Stored):
    """A finding with the time of the first check in a row that found it."""

    finding: Finding
    since: datetime


class HostReport(_Stored):
    """One host: `error` says why nothing is known of it, and is empty for one that was looked at.

    `gone` are findings of the check before that are no more; `seconds` is how long the host took to answer.
    `looked_at` is when it was last looked at, None for never as far as the checks in a row tell.
    """

    name: str
    error: str = ""
    looked_at: datetime | None = None
    seconds: float = 0.0
    findings: tuple[Seen, ...] = ()
    gone: tuple[Seen, ...] = ()

    @property
    def state(self) -> State:
        """What became of the host; what changed upstream alone is no drift."""
        if self.error:
            return "error"
        return "drift" if any(not seen.finding.upstream for seen in self.findings) else "clean"

    @property
    def severities(self) -> dict[Severity, int]:
        """How many findings of each severity are known of it."""
        found = [seen.finding.severity for seen in self.findings]
        return {severity: found.count(severity) for severity in SEVERITIES}


class Report(_Stored):
    """One check of a fleet; `seconds` is how long all of it took.

    `limit` says which hosts of the inventory it was about, as --limit does, empty for all of them.
    `format` is the version of the JSON; it changes when a reader of the old one would misread the new.
    """

    format: Literal[1] = 1
    inventory: str
    limit: tuple[str, ...] = ()
    started: datetime
    seconds: float
    hosts: tuple[HostReport, ...]

    @property
    def exit_status(self) -> int:
        """ERROR if any host could not be looked at, else DRIFT if any differs; no host at all is an ERROR."""
        states = {host.state for host in self.hosts}
        if "error" in states or not states:
            return ERROR
        return DRIFT if "drift" in states else NO_DRIFT

    @property
    def states(self) -> dict[State, int]:
        """How many hosts are in each state."""
        found = [host.state for host in self.hosts]
        return {state: found.count(state) for state in STATES}

    @property
    def severities(self) -> dict[Severity, int]:
        """How many findings of each severity there are on the hosts that were looked at."""
        found = [host.severities for host in self.hosts if not host.error]
        return {severity: sum(counts[severity] for counts in found) for severity in SEVERITIES}

    @property
    def worst_first(self) -> list[HostReport]:
        """The hosts: those that were not looked at, then those with most critical findings, then most warnings."""
        return sorted(self.hosts, key=lambda host: (not host.error, *(-number for number in host.severities.values())))

    def to_json(self) -> str:
        """This report for programs, and for `read`."""
        return self.model_dump_json(indent=1) + "\n"


MOST = 500
"""Findings of one host that a report has: a host that was taken over could make any number of them."""

FURTHER = Finding(
    capability="drift",
    subject="further findings",
    expected="",
    actual=f"more than {MOST} differences, of which the worst are shown",
    severity="critical",
    mend="Take the host out of service, and set it up anew.",
)


def host_report(
    name: str, findings: Sequence[Finding], at: datetime, seconds: float, before: HostReport | None
) -> HostReport:
    """The report of a host that was looked at `at`, worst findings first, each with the time since when it is known.

    `before` is what the check before said of the host. Where it could not be looked at then, what it carried on from
    earlier still counts; and so does what is known of a capability that could not be compared now.
    """
    known = {_key(seen.finding): seen for seen in before.findings} if before else {}
    subjects = {(finding.capability, finding.subject) for finding in findings}
    carried = [
        seen.finding
        for seen in known.values()
        if (seen.finding.capability, comparison(seen.finding.capability)) in subjects
        and (seen.finding.capability, seen.finding.subject) not in subjects
    ]
    ordered = sorted(
        {*findings, *carried}, key=lambda one: (SEVERITIES.index(one.severity), one.capability, one.subject)
    )
    too_many = len(ordered) > MOST
    if too_many:
        # What could not be compared stays first: what is known of it is carried on by that.
        ordered.sort(key=lambda one: one.subject != comparison(one.capability))
        ordered = [*ordered[: MOST - 1], FURTHER]
    now = {_key(finding) for finding in ordered}
    return HostReport(
        name=name,
        looked_at=at,
        seconds=seconds,
        findings=tuple(
            Seen(finding=one, since=known[_key(one)].since if _key(one) in known else at) for one in ordered
        ),
        # Of what was left out nobody can say that it went.
        gone=() if too_many else tuple(seen for key, seen in known.items() if key not in now),
    )


def failed_report(name: str, error: str, seconds: float, before: HostReport | None) -> HostReport:
    """The report of a host of which nothing can be said; what was found before is carried on, as nobody saw it go."""
    return HostReport(
        name=name,
        error=error,
        looked_at=before.looked_at if before else None,
        seconds=seconds,
        findings=before.findings if before else (),
    )


def read(path: Path) -> Report:
    """The report that an earlier check wrote as JSON.

    Raises BulkheadError naming the file when it can't be read or is no such report.
    """
    try:
        return TypeAdapter(Report).validate_json(path.read_bytes())
    except OSError as error:
        raise BulkheadError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BulkheadError(
            f"{path}: no report of 'bulkhead drift --format json' ({place + ': ' if place else ''}{first['msg']})"
        ) from error


def _key(finding: Finding) -> tuple[str, str, str]:
    """What makes two findings the same; another value in the same place is another finding."""
    return finding.capability, finding.subject, finding.actual
