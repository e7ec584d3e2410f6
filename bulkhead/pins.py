"""The pinned digests of gVisor releases: one file, both architectures, never fetched beside the artefact they check."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

from bulkhead.errors import BulkheadError

PINS_FILE = Path(__file__).with_name("pins.json")

OFFICIAL_SITE = "https://storage.googleapis.com/gvisor/releases"
"""Where the gVisor project publishes its releases (https://gvisor.dev/docs/user_guide/install/)."""

ARCHITECTURES = ("x86_64", "aarch64")
LOOSE = ("runsc", "containerd-shim-runsc-v1")
"""The programs of a release, each a file of its own up to 20260817."""
TARBALLS = ("gvisor.tar.bz2", "gvisor.tar.zstd")
"""What a release is packed in since then."""

Pins = dict[str, dict[str, dict[str, str]]]
"""Release → architecture (`x86_64`, `aarch64`) → artefact's file name → sha512 in hexadecimal."""

SHA512 = re.compile(r"[0-9a-f]{128}")


def load(path: Path | None = None) -> Pins:
    """Read the pins.

    Raises BulkheadError naming the file and the entry when it is missing, not JSON or not of the form above.
    """
    path = path or PINS_FILE
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise BulkheadError(f"{path}: {error.strerror}", hint="Restore the file from the repository.") from error
    except ValueError as error:
        raise BulkheadError(f"{path}: not valid JSON: {error}", hint="Restore the file from the repository.") from error
    if not isinstance(data, dict):
        raise BulkheadError(f"{path}: expected an object of releases")
    for release, architectures in data.items():
        if not isinstance(architectures, dict):
            raise BulkheadError(f"{path}: {release}: expected an object of architectures")
        for architecture, artefacts in architectures.items():
            if not isinstance(artefacts, dict) or not artefacts:
                raise BulkheadError(f"{path}: {release}.{architecture}: expected an object of artefacts")
            for artefact, digest in artefacts.items():
                if not isinstance(digest, str) or not SHA512.fullmatch(digest):
                    raise BulkheadError(
                        f"{path}: {release}.{architecture}.{artefact}: not a sha512 digest (128 hexadecimal digits)"
                    )
    return data


def save(pins: Pins, path: Path | None = None) -> None:
    """Write the pins, newest release first, in one atomic step.

    Raises BulkheadError when the file can't be written.
    """
    path = path or PINS_FILE
    ordered = {release: pins[release] for release in sorted(pins, key=release_key, reverse=True)}
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".pins.", delete=False) as staged:
            staged.write(json.dumps(ordered, indent=1) + "\n")
            staged.flush()
            os.fchmod(staged.fileno(), 0o644)
            os.fsync(staged.fileno())
        Path(staged.name).replace(path)
    except OSError as error:
        raise BulkheadError(f"{path}: can't be written: {error.strerror}") from error


def release_key(release: str) -> tuple[int, ...]:
    """Order releases by date and number: `20260914.0` after `20260817.1`."""
    return tuple(int(part) for part in re.findall(r"\d+", release))
