"""What this machine's own apt sources say about where Debian's packages come from.

Bulkhead names no mirror: another suite is fetched from wherever this machine gets its own
(formats: sources.list(5), one line per source or deb822).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bulkhead.errors import BulkheadError


@dataclass(frozen=True)
class Source:
    """One suite of one archive, as configured."""

    uri: str
    suite: str
    signed_by: str = ""

    @property
    def line(self) -> str:
        """The source in the one-line format, restricted to `main`."""
        return f"deb {self.uri} {self.suite} main"


def read(etc_apt: Path = Path("/etc/apt")) -> list[Source]:
    """All enabled binary sources under `etc_apt`, those of sources.list first."""
    parts = sorted((etc_apt / "sources.list.d").glob("*"))
    sources: list[Source] = []
    for path in [etc_apt / "sources.list", *parts]:
        if path.suffix == ".sources":
            sources += parse_deb822(path.read_text())
        elif path.suffix == ".list" and path.is_file():
            sources += parse_lines(path.read_text())
    return sources


def parse_lines(text: str) -> list[Source]:
    """The sources of a file in the one-line format."""
    sources = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[(?P<options>[^]]*)]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)", line)
        if match:
            options = dict(option.partition("=")[::2] for option in (match["options"] or "").split())
            sources.append(Source(match["uri"].rstrip("/"), match["suite"], options.get("signed-by", "")))
    return sources


def parse_deb822(text: str) -> list[Source]:
    """The sources of a file in the deb822 format."""
    sources = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0].isspace():
                fields[key] = f"{fields.get(key, '')}\n{line.strip()}"
            else:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        signed_by = fields.get("signed-by", "")
        sources += [
            Source(uri.rstrip("/"), suite, signed_by if signed_by.startswith("/") else "")
            for uri in fields.get("uris", "").split()
            for suite in fields.get("suites", "").split()
        ]
    return sources


def for_suite(sources: Iterable[Source], codename: str, suite: str) -> list[Source]:
    """The sources of the Debian release `suite` from the mirrors that serve this machine's own release `codename`.

    The release itself, its updates and its security updates, as far as this machine has them for its own release.
    Raises BulkheadError if it has no source for its own release.
    """
    derived = []
    for ending in ("", "-updates", "-security"):
        own = next((source for source in sources if source.suite == codename + ending), None)
        if own is not None:
            derived.append(Source(own.uri, suite + ending, own.signed_by))
        elif not ending:
            raise BulkheadError(
                f"apt has no source for {codename}, this machine's own Debian release",
                hint="The lab takes its packages from this machine's mirror: see /etc/apt/sources.list and "
                "/etc/apt/sources.list.d.",
            )
    return derived


def backports(sources: Iterable[Source], codename: str) -> Source:
    """Where the backports of this machine's own release are: beside the release itself."""
    own = for_suite(sources, codename, codename)[0]
    return Source(own.uri, f"{codename}-backports", own.signed_by)
