"""Where the lab's gVisor comes from, and the folder from which the machines get it.

Tried in this order: a directory that the user names, the official release site, a build of the Go module, Debian's own
package. The first three are laid out as the release site lays them out (`release/<release>/<architecture>/…`, each
artefact with its `.sha512` beside it), so that the machines install them by the same code as in production.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from bulkhead import files, pins
from bulkhead.errors import BulkheadError
from bulkhead.lab import paths
from bulkhead.lab.state import GvisorState, Layout
from bulkhead.pins import LOOSE, OFFICIAL_SITE, TARBALLS
from bulkhead.progress import Step

DIRECTORY_VARIABLE = "BULKHEAD_GVISOR_DIR"
SITE_SECONDS = 5.0
ARCHITECTURE = "x86_64"
SIDECARS = "gvisor-bin"
TARBALL, ZSTD_TARBALL = TARBALLS

# Its go.mod and go.sum pin gVisor and all that it is made of.
MODULE = Path(__file__).with_name("gvisor_module")
MODULE_VERSION = re.compile(r"gvisor\.dev/gvisor (v0\.0\.0-(\d{8})\d{6}-[0-9a-f]{12})")
GO_PACKAGES = {"runsc": "gvisor.dev/gvisor/runsc", "containerd-shim-runsc-v1": "gvisor.dev/gvisor/shim"}
VERSION_SYMBOL = "gvisor.dev/gvisor/runsc/version.version"
# The first that fetches a newer version of itself when a module asks for one.
GO_MINIMUM = (1, 21)

# The guests whose own runsc package can start a sandbox on their own kernel.
DISTRIBUTION_SUITES = {"bookworm": "Debian 12's package runsc, without containerd's shim"}


@dataclass
class Found:
    """gVisor found somewhere: the files to serve by artefact name, still where they were found."""

    state: GvisorState
    artefacts: dict[str, Path] = field(default_factory=dict)


def find(suite: str, step: Step) -> Found:
    """gVisor from the first origin that has it, for machines of the Debian `suite`.

    Raises BulkheadError if an origin is there but wrong (a directory without runsc, a download that doesn't match its
    pin), or if none is there.
    """
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named:
        return from_directory(Path(named).expanduser(), step)
    found = from_site(pins.load(), OFFICIAL_SITE, step) or from_module(step)
    if found is not None:
        return found
    if suite in DISTRIBUTION_SUITES:
        return Found(GvisorState(origin="distribution", detail=DISTRIBUTION_SUITES[suite]))
    raise BulkheadError(
        f"no gVisor for the lab's {suite} machines: the release site can't be reached, and there is no Go to build it",
        hint=f"Name a directory with runsc and containerd-shim-runsc-v1 in {DIRECTORY_VARIABLE}, or install Go "
        f"({'.'.join(map(str, GO_MINIMUM))} or newer), or use bookworm machines, whose own package works.",
    )


def publish(found: Found, root: Path, base_url: str) -> GvisorState:
    """Lay out `found` under `root` as the release site does; its state with the URL and the digests."""
    if not found.artefacts:
        return found.state
    folder = root / "release" / found.state.release / ARCHITECTURE
    digests = {}
    for name, source in found.artefacts.items():
        target = folder / name
        if not (target.exists() and target.stat().st_mtime_ns == source.stat().st_mtime_ns):
            with files.replacing(target) as partial:
                shutil.copy2(source, partial)
                partial.chmod(0o644)
        digests[name] = sha512(target)
        files.write(folder / f"{name}.sha512", f"{digests[name]}  {name}\n")
    return found.state.model_copy(update={"base_url": base_url, "sha512": digests})


def still_published(state: GvisorState, root: Path, base_url: str) -> bool:
    """Whether what `state` describes is laid out under `root` and nothing asks for something else."""
    folder = root / "release" / state.release / ARCHITECTURE
    return (
        not os.environ.get(DIRECTORY_VARIABLE)
        and state.origin in ("release site", "go module")
        and state.base_url == base_url
        and all((folder / name).is_file() and (folder / f"{name}.sha512").is_file() for name in state.sha512)
    )


def from_directory(directory: Path, step: Step) -> Found:
    """gVisor from a directory that holds a release tarball, or runsc and its shim, and perhaps the sidecars.

    Raises BulkheadError naming what is missing.
    """
    state = {"origin": "directory", "detail": str(directory)}
    tarball = next((directory / name for name in (TARBALL, ZSTD_TARBALL) if (directory / name).is_file()), None)
    if tarball is None:
        missing = [name for name in LOOSE if not (directory / name).is_file()]
        if missing:
            raise BulkheadError(
                f"{DIRECTORY_VARIABLE}: {directory} has no {' and no '.join(missing)}",
                hint=f"It needs {' and '.join(LOOSE)} (with {SIDECARS}/ if the release has it), or {TARBALL}.",
            )
        release = release_of(directory / "runsc")
        if not (directory / SIDECARS).is_dir():
            return _found(state, release, "loose", {name: directory / name for name in LOOSE})
        step.note("packing the release tarball")
        packed = paths.cache() / "gvisor" / "directory" / TARBALL
        with files.replacing(packed) as partial, tarfile.open(partial, "w:bz2", compresslevel=1) as archive:
            for name in (*LOOSE, SIDECARS):
                archive.add(directory / name, name)
        return _found(state, release, "tarball", {TARBALL: packed})
    if tarball.name == ZSTD_TARBALL:
        step.note("packing the tarball anew")
        packed = paths.cache() / "gvisor" / "directory" / TARBALL
        with files.replacing(packed) as partial:
            step.run(["sh", "-ec", 'zstd -dcq "$0" | bzip2 -1 > "$1"', tarball, partial], hint="Is zstd installed?")
        tarball = packed
    runsc = paths.cache() / "gvisor" / "directory" / "runsc"
    with files.replacing(runsc) as partial, tarfile.open(tarball) as archive:
        member = next((m for m in archive if m.isfile() and m.name.removeprefix("./") == "runsc"), None)
        content = archive.extractfile(member) if member is not None else None
        if content is None:
            raise BulkheadError(f"{tarball}: no runsc in it", hint="Get the release's tarball again.")
        with partial.open("wb") as target:
            shutil.copyfileobj(content, target)
        partial.chmod(0o755)
    return _found(state, release_of(runsc), "tarball", {TARBALL: tarball})


def from_site(pinned: pins.Pins, site: str, step: Step) -> Found | None:
    """The newest pinned release from the official site; None if the site can't be reached or doesn't have it.

    Raises BulkheadError if what it sends isn't what is pinned.
    """
    releases = [release for release in pinned if ARCHITECTURE in pinned[release]]
    if not releases:
        return None
    release = max(releases, key=pins.release_key)
    digests = pinned[release][ARCHITECTURE]
    names = (TARBALL,) if TARBALL in digests else LOOSE
    base = f"{site}/release/{release}/{ARCHITECTURE}"
    kept = paths.cache() / "gvisor" / "site" / release / ARCHITECTURE
    missing = [name for name in names if not (kept / name).is_file() or sha512(kept / name) != digests[name]]
    if missing and not reachable(f"{base}/{missing[0]}"):
        return None
    for name in missing:
        step.note(f"fetching {name}")
        with files.replacing(kept / name) as partial:
            download(f"{base}/{name}", partial)
            if sha512(partial) != digests[name]:
                raise BulkheadError(
                    f"{base}/{name} is not what bulkhead/pins.json pins (sha512)",
                    hint="Someone or something on the way changed it, or the pin is wrong: don't use it.",
                )
    state = {"origin": "release site", "detail": site}
    return _found(state, release, "tarball" if TARBALL in names else "loose", {name: kept / name for name in names})


def from_module(step: Step) -> Found | None:
    """A build of the pinned Go module, kept by its version; None without a Go that can build it.

    Loose files: the module has no sources for the sidecars, and its runsc does their work itself. Such a build slows
    down at starting sandboxes, and `--sidecar-usage-policy=STRICT` refuses it.
    """
    requirements = (MODULE / "go.mod").read_text()
    match = MODULE_VERSION.search(requirements)
    if match is None:
        raise BulkheadError(f"{MODULE / 'go.mod'} pins no version of gvisor.dev/gvisor", hint="Restore the file.")
    release = f"{match[2]}.0+go"
    state = {"origin": "go module", "detail": f"gvisor.dev/gvisor@{match[1]}"}
    recipe = hashlib.sha256((requirements + (MODULE / "go.sum").read_text() + release).encode()).hexdigest()[:12]
    kept = paths.cache() / "gvisor" / "go" / f"{match[1]}-{recipe}"
    built = {name: kept / name for name in LOOSE}
    if all(path.exists() for path in built.values()):
        return _found(state, release, "loose", built)
    if go_version() < GO_MINIMUM:
        return None
    for name, package in GO_PACKAGES.items():
        step.note(f"building {name} with Go")
        with files.replacing(kept / name) as partial:
            step.run(
                [
                    *("go", "build", "-mod=readonly", "-trimpath", "-o", partial),
                    *("-ldflags", f"-s -w -X {VERSION_SYMBOL}=release-{release}", package),
                ],
                cwd=MODULE,
                env={"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "", "GOOS": "linux", "GOARCH": "amd64"},
            )
    return _found(state, release, "loose", built)


def go_version() -> tuple[int, ...]:
    """Go's version as numbers, `(0,)` if there is none."""
    try:
        output = subprocess.run(["go", "version"], capture_output=True, text=True, timeout=60).stdout
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return (0,)
    match = re.search(r"go(\d+)\.(\d+)", output)
    return (int(match[1]), int(match[2])) if match else (0,)


def release_of(runsc: Path) -> str:
    """The release that a runsc says it is.

    Raises BulkheadError if it can't be run, or says none: the machines install by the release's name.
    """
    try:
        output = subprocess.run([runsc, "--version"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BulkheadError(f"{runsc} can't be run: {error}", hint="It has to be an executable for x86_64.") from None
    match = re.search(r"release-(\d{8}\.\d+\S*)", output)
    if match is None:
        raise BulkheadError(
            f"{runsc}: 'runsc --version' names no release",
            hint=f"Build it with -ldflags '-X {VERSION_SYMBOL}=release-20260817.0+ours', or take a published one.",
        )
    return match[1]


def reachable(url: str, seconds: float = SITE_SECONDS) -> bool:
    """Whether `url` answers that it is there, within `seconds`."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds) as answer:
            return int(answer.status) == 200
    except (OSError, urllib.error.URLError):
        return False


def download(url: str, target: Path) -> None:
    """Fetch `url` into `target`. Raises BulkheadError if that fails."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (OSError, urllib.error.URLError) as error:
        raise BulkheadError(f"{url}: {error}", hint="Try again.") from None


def sha512(path: Path) -> str:
    """The file's sha512 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest()


def _found(state: dict[str, str], release: str, layout: Layout, artefacts: dict[str, Path]) -> Found:
    return Found(GvisorState.model_validate({**state, "release": release, "layout": layout}), artefacts)
