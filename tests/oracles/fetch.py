"""Get daemons' binaries without installing anything: out of Debian's packages, or built from Go modules.

Each binary is kept in `oracles` of Bulkhead's cache, below its version. What is kept is used without network; removing
a folder there fetches anew, Debian's then current version included. A binary is renamed into place when it is whole,
and a lock keeps two test runs from building the same one side by side.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bulkhead import files
from bulkhead.errors import BulkheadError
from bulkhead.lab import apt_sources, packages, paths
from bulkhead.lab.gvisor_origin import GO_MINIMUM, go_version
from bulkhead.progress import run

OS_RELEASE = Path("/etc/os-release")

# The machine's own apt configuration is read before this one and stays in force (proxies, credentials), but for what
# would reach outside of the private root, or hide a package (pins), or weaken the check of signatures.
APT_CONFIGURATION = """\
Dir::State "{root}/state";
Dir::State::status "/dev/null";
Dir::Cache "{root}/cache";
Dir::Etc::sourcelist "{root}/debian.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
Acquire::Languages "none";
Acquire::AllowInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
APT::Update::Error-Mode "any";
"""
APT_HINT = (
    "It needs this machine's Debian mirror. If apt lacks the public key of a newer release, bring the package "
    "debian-archive-keyring up to date: its updates carry the keys of the releases after it."
)

GO_ENVIRONMENT = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}


@dataclass(frozen=True)
class Binary:
    """A binary that is kept, and the version that its package or module says."""

    path: Path
    version: str


@dataclass(frozen=True)
class Source:
    """A program that a Go module has: its name, its package below `module`, and how to build it."""

    program: str
    module: str
    package: str
    version_symbol: str = ""
    """The variable that the linker gives the version, where there is one."""

    tags: str = ""


def from_debian(suite: str, package: str, program: str) -> Binary:
    """`program` out of the Debian release `suite`'s `package`, from this machine's own mirror; apt checks signatures.

    Raises BulkheadError when nothing is kept and it can't be fetched.
    """
    folder = _oracles() / "debian" / suite / package
    if kept := _kept(folder, program):
        return kept
    with _locked():
        if kept := _kept(folder, program):
            return kept
        with tempfile.TemporaryDirectory(prefix=".apt-", dir=_oracles()) as private:
            version, unpacked = _unpack(suite, package, Path(private))
            # Debian 12's packages still hold /bin and /sbin apart.
            folders = (unpacked / "usr", unpacked)
            # Network plugins are programs, too.
            patterns = (f"*bin/{program}", f"lib/cni/{program}")
            found = [
                path
                for folder in folders
                for pattern in patterns
                for path in sorted(folder.glob(pattern))
                if path.is_file()
            ]
            if not found:
                raise BulkheadError(f"{package} {version} of Debian {suite} has no program {program}")
            return _keep(found[0], folder / version / program)


def from_module(module: Path, source: Source) -> Binary | None:
    """A program built from the Go module whose go.mod and go.sum lie in `module`; None without a Go that can.

    Raises BulkheadError when the module doesn't pin the program's, or the build fails.
    """
    requirements = (module / "go.mod").read_text()
    match = re.search(rf"{re.escape(source.module)} (v\d+\.\d+\.\d+\S*)", requirements)
    if match is None:
        raise BulkheadError(f"{module / 'go.mod'} does not require {source.module}", hint="Restore the file.")
    recipe = hashlib.sha256((requirements + (module / "go.sum").read_text() + source.tags).encode()).hexdigest()[:12]
    target = _oracles() / "go" / recipe / match[1] / source.program
    if target.exists():
        return Binary(target, match[1])
    if not _go_can(module):
        return None
    version = f" -X {source.version_symbol}={match[1]}" if source.version_symbol else ""
    with _locked():
        if not target.exists():
            with files.replacing(target) as partial:
                run(
                    [
                        *("go", "build", "-mod=readonly", "-trimpath", "-tags", source.tags, "-o", partial),
                        *("-ldflags", f"-s -w{version}", f"{source.module}/{source.package}"),
                    ],
                    log=_log(),
                    cwd=module,
                    env=GO_ENVIRONMENT,
                    hint="The build needs the modules that go.mod names, from wherever this machine's Go gets them.",
                )
    return Binary(target, match[1])


def _oracles() -> Path:
    return paths.cache() / "oracles"


def _log() -> Path:
    return _oracles() / "fetch.log"


@contextmanager
def _locked() -> Iterator[None]:
    _oracles().mkdir(parents=True, exist_ok=True)
    with (_oracles() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _kept(folder: Path, program: str) -> Binary | None:
    """The one that was kept last, if any."""
    there = sorted(folder.glob(f"*/{program}"), key=lambda path: path.stat().st_mtime)
    return Binary(there[-1], there[-1].parent.name) if there else None


def _keep(source: Path, target: Path) -> Binary:
    with files.replacing(target) as partial:
        shutil.copyfile(source, partial)
        partial.chmod(0o755)
    return Binary(target, target.parent.name)


def _unpack(suite: str, package: str, private: Path) -> tuple[str, Path]:
    """The version of `suite`'s `package` and where it is unpacked, all below `private`."""
    codename = packages.codename(OS_RELEASE.read_text())
    source = apt_sources.for_suite(apt_sources.read(), codename, suite)[0]
    for folder in ("state/lists/partial", "cache/archives/partial", "package"):
        (private / folder).mkdir(parents=True)
    (private / "debian.sources").write_text(packages.deb822(source))
    configuration = private / "apt.conf"
    configuration.write_text(APT_CONFIGURATION.format(root=private))
    apt_get = ("apt-get", "--quiet", "--config-file", configuration)
    run([*apt_get, "update"], log=_log(), hint=APT_HINT)
    run([*apt_get, "download", package], log=_log(), cwd=private / "package", hint=APT_HINT)
    (archive,) = (private / "package").glob("*.deb")
    version = run(["dpkg-deb", "--field", archive, "Version"], log=_log()).strip()
    unpacked = private / "unpacked"
    run(["dpkg-deb", "--extract", archive, unpacked], log=_log())
    return version, unpacked


def _go_can(module: Path) -> bool:
    """Whether there is a Go that is new enough for `module`, or that gets itself one that is."""
    if go_version() < GO_MINIMUM:
        return False
    answer = subprocess.run(
        ["go", "list", "-m"], cwd=module, env={**os.environ, **GO_ENVIRONMENT}, capture_output=True, timeout=600
    )
    return answer.returncode == 0
