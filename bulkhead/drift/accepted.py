"""The inventory's `drift`: what on a host differs with the operator's knowledge, each with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from bulkhead.drift.finding import Finding
from bulkhead.inventory import InventoryHost, Settings, once, read

KEY = "drift"


def _reason(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("say in a line why this host may differ")
    return text.strip()


class DriftSettings(Settings):
    """What a drift check does not report on a host."""

    accept: dict[str, Annotated[str, AfterValidator(_reason)]] = Field(default_factory=dict)
    """Subject of findings → why they are left out; `*` stands for any text, as in `container metrics-*: privileged`."""

    @field_validator("accept")
    @classmethod
    def _some(cls, accept: dict[str, str]) -> dict[str, str]:
        for subject in accept:
            if not subject.strip("* "):
                raise ValueError(f"{subject!r} would leave out every finding: name what may differ")
        return accept


@once
def of(host: InventoryHost) -> DriftSettings:
    """The drift settings of a host.

    Raises BulkheadError naming the host, the key and the reason for everything that is wrong.
    """
    return read(DriftSettings, host, KEY)


def unaccepted(host: InventoryHost, findings: Sequence[Finding]) -> list[Finding]:
    """The findings whose subjects the inventory does not accept."""
    patterns = of(host).accept
    # Brackets stand for themselves: a path may hold them.
    plain = [pattern.replace("[", "[[]") for pattern in patterns]
    return [finding for finding in findings if not any(fnmatchcase(finding.subject, one) for one in plain)]
