"""Adding a gVisor release to the pins: its digests as two independent places publish them.

A digest beside the artefact protects against a broken download only. Here the digests in the release bucket must agree
with those in the GitHub release's SHA512SUMS, and from then on the repository is what counts.
"""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request

from bulkhead import pins
from bulkhead.errors import BulkheadError
from bulkhead.pins import LOOSE, TARBALLS

GITHUB = "https://github.com/google/gvisor/releases/download"
"""Where GitHub serves the files of a release, below `release-<release>`."""

LATEST = "https://github.com/google/gvisor/releases/latest"
"""Leads to the page of the newest release."""

TIMEOUT = 30
"""Seconds to wait for an answer."""

SHORT_TIMEOUT = 5
"""Seconds to wait for what is only good to know."""

NAMES = {"x86_64": ("x86_64", "amd64"), "aarch64": ("aarch64", "arm64")}
"""Architecture → the names it may have in GitHub's file names."""

_RELEASE = re.compile(r"\d{8}\.\d+")
_LINE = re.compile(r"([0-9a-f]{128}) [ *](\S+)")


def published(release: str, site: str, github: str = GITHUB) -> dict[str, dict[str, str]]:
    """Architecture → artefact → sha512 of `release`: the artefacts for which both places publish the same digest.

    Raises BulkheadError when the release is not exact or not there, a place answers with something else than digests,
    an architecture is missing, the two places disagree, or GitHub confirms nothing for an architecture.
    """
    if not _RELEASE.fullmatch(release):
        raise BulkheadError(
            f"{release!r} is not an exact release",
            hint="Name one, such as 20260817.0; 'latest' and a day alone move and can't be pinned.",
        )
    sums_url = f"{github}/release-{release}/SHA512SUMS"
    sums = fetch(sums_url)
    if sums is None:
        raise BulkheadError(
            f"{sums_url}: not found, so nothing confirms the bucket's digests",
            hint="GitHub has them from 20260817.0 on. Check an older release by hand and add it to bulkhead/pins.json.",
        )
    confirmed = digests(sums, sums_url)
    found: dict[str, dict[str, str]] = {}
    for architecture, names in NAMES.items():
        listed = _of_bucket(f"{site}/release/{release}/{architecture}")
        found[architecture] = {
            artefact: digest
            for artefact, digest in listed.items()
            if _agrees(artefact, digest, confirmed, names, sums_url, architecture)
        }
        if not found[architecture]:
            raise BulkheadError(
                f"{release} on {architecture}: none of {', '.join(listed)} is in {sums_url}",
                hint="Without a second source nothing is pinned.",
            )
    return found


def _of_bucket(folder: str) -> dict[str, str]:
    found = {}
    for artefact in LOOSE + TARBALLS:
        url = f"{folder}/{artefact}.sha512"
        text = fetch(url)
        if text is None:
            continue
        listed = digests(text, url)
        if artefact not in listed:
            raise BulkheadError(f"{url}: does not name {artefact}, but {', '.join(listed) or 'nothing'}")
        found[artefact] = listed[artefact]
    if not found:
        raise BulkheadError(
            f"{folder}: no digest of any artefact there",
            hint="Not every tag reaches the bucket, and one that is too old or mistyped is not there either.",
        )
    return found


def _agrees(
    artefact: str, digest: str, confirmed: dict[str, str], names: tuple[str, ...], url: str, architecture: str
) -> bool:
    stem, dot, ending = artefact.partition(".")
    for name in names:
        other = confirmed.get(f"{stem}-{name}{dot}{ending}")
        if other == digest:
            return True
        if other is not None:
            raise BulkheadError(
                f"{artefact} for {architecture}: the release bucket says sha512 {digest}, {url} says {other}",
                hint="One of the two was changed. Pin nothing, and tell the gVisor project.",
            )
    return False


def latest(url: str) -> str | None:
    """The newest release, by the address to which `url` leads; None where that can't be reached or is no release's."""
    try:
        with urllib.request.urlopen(url, timeout=SHORT_TIMEOUT) as answer:
            match = re.search(r"/release-(\d{8}\.\d+)$", answer.geturl())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return match.group(1) if match else None


def digests(text: str, url: str) -> dict[str, str]:
    """File name → sha512 from the text of a `.sha512` or SHA512SUMS file.

    Raises BulkheadError when a line is anything else, such as a page of HTML.
    """
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = _LINE.fullmatch(line)
        if not match:
            raise BulkheadError(f"{url}: not a list of sha512 digests: {line[:60]!r}")
        found[match.group(2).rsplit("/", 1)[-1]] = match.group(1)
    return found


def fetch(url: str) -> str | None:
    """The text at `url`, or None where it says 404.

    Raises BulkheadError for every other failure.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            text: str = answer.read(1 << 20).decode(errors="replace")
            # What is left of the promised length.
            if answer.length:
                raise BulkheadError(f"{url}: the answer is cut off, or no list of digests", hint="Try again later.")
            return text
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise BulkheadError(f"{url}: answers {error.code} {error.reason}", hint="Try again later.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise BulkheadError(f"{url}: can't be reached: {reason}", hint="Is this computer on the internet?") from error


def add(release: str, found: dict[str, dict[str, str]], known: pins.Pins) -> pins.Pins:
    """`known` with `release` added.

    Raises BulkheadError when it is there already with other digests: a published release never changes.
    """
    if known.get(release, found) != found:
        raise BulkheadError(
            f"{release} is already pinned, with other digests than are published now",
            hint="A release never changes: find out which of the two is wrong before you touch bulkhead/pins.json.",
        )
    return {**known, release: found}
