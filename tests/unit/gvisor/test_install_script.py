"""The script that installs a release, run by a real shell against a real web server: refusals change nothing."""

import bz2
import hashlib
import io
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bulkhead import probe
from deploys.gvisor import facts, release
from deploys.gvisor.release import FoundGvisor, Plan
from deploys.gvisor.settings import GvisorSettings
from tests.unit.helpers import Site, broken_off, looked, sh, website

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="needs root: what is installed belongs to root"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the stand-in for runsc is a program for x86_64"),
    pytest.mark.skipif(not shutil.which("curl"), reason="needs curl"),
]

SHIM = "containerd-shim-runsc-v1"
OLD, NEW = "20270810.0", "20270817.0"


def elf(script: str) -> bytes:
    """A real program that hands its arguments to the shell with `script`: execve("/bin/sh", {sh, -c, script, …})."""
    shell, dash_c, text = b"/bin/sh\0", b"-c\0", script.encode() + b"\0"
    data = len(CODE)

    def at(position: int, target: int) -> bytes:
        return (target - position - 4).to_bytes(4, "little", signed=True)

    code = bytearray(CODE)
    # Where the instructions hold a distance: to the script, to "-c", to "/bin/sh" as its own name, and as the file.
    for position, target in ((12, len(shell) + len(dash_c)), (23, len(shell)), (31, 0), (42, 0)):
        code[position : position + 4] = at(position, data + target)
    body = bytes(code) + shell + dash_c + text
    head = bytearray(probe.program("x86_64")[:120])
    for position in (96, 104):
        head[position : position + 8] = (120 + len(body)).to_bytes(8, "little")
    return bytes(head) + body


CODE = bytes.fromhex(
    "488b0c24"  # mov rcx, [rsp]: the number of arguments
    "488d54cc10"  # lea rdx, [rsp+rcx*8+16]: the environment
    "488d0500000000"  # lea rax, [rip+script]
    "48890424"  # mov [rsp], rax
    "488d0500000000"  # lea rax, [rip+"-c"]
    "50"  # push rax
    "488d0500000000"  # lea rax, [rip+"/bin/sh"]
    "50"  # push rax
    "4889e6"  # mov rsi, rsp
    "488d3d00000000"  # lea rdi, [rip+"/bin/sh"]
    "b83b000000"  # mov eax, 59: execve
    "0f05"  # syscall
)


def runsc(name: str = NEW, run: str = "exit 42") -> bytes:
    """A stand-in for runsc: says its version, and as a sandbox does what `run` says."""
    return elf(f'[ "$1" != --version ] || {{ echo "runsc version release-{name}"; exit 0; }}; {run}')


def digest(content: bytes) -> str:
    return hashlib.sha512(content).hexdigest()


def tarball(*members: tuple[str, bytes | tarfile.TarInfo]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in members:
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.name = name
            if isinstance(content, bytes):
                member.size = len(content)
                member.mode = 0o600
                tar.addfile(member, io.BytesIO(content))
            else:
                tar.addfile(member)
    return raw.getvalue()


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo()
    member.type, member.linkname = kind, target
    return member


def target(path: Path) -> str:
    return str(path.readlink())


class Host:
    """A host's directories in the test's own, and the site that it fetches from."""

    def __init__(self, root: Path, bin_: Path, site: Site) -> None:
        self.root, self.bin, self.site = root, bin_, site

    def settings(self, digests: dict[str, str], name: str = NEW) -> GvisorSettings:
        return GvisorSettings(release=name, base_url=self.site.url, sha512={"x86_64": digests})

    def found(self, settings: GvisorSettings) -> FoundGvisor:
        return release.found(looked(*facts.needs(settings)))

    def plan(self, digests: dict[str, str], name: str = NEW) -> Plan:
        settings = self.settings(digests, name)
        return release.plan(settings, self.found(settings))

    def publish(self, name: str = NEW, **artefacts: bytes) -> dict[str, str]:
        """Serve artefacts (`_` for what a keyword can't hold is spelt in `names`) and give their digests."""
        names = {"runsc": "runsc", "shim": SHIM, "bz2": "gvisor.tar.bz2", "zstd": "gvisor.tar.zstd"}
        for short, content in artefacts.items():
            self.site.pages[self.path(names[short], name)] = content
        return {names[short]: digest(content) for short, content in artefacts.items()}

    def path(self, artefact: str, name: str = NEW) -> str:
        return f"/release/{name}/x86_64/{artefact}"

    def install(self, digests: dict[str, str], name: str = NEW) -> tuple[int, str]:
        script = self.plan(digests, name).script
        assert script is not None
        result = sh(script)
        return result.returncode, result.stderr

    def tree(self) -> dict[str, tuple[str, int, int, bytes]]:
        """Everything below the root and the links to it: kind and target, mode, time of change, content."""
        return {
            str(path): (
                target(path) if path.is_symlink() else "",
                path.lstat().st_mode,
                path.lstat().st_mtime_ns,
                path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
            )
            for folder in (self.root, self.bin)
            for path in sorted(folder.rglob("*"))
        }


@pytest.fixture
def new_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    root, bin_ = tmp_path / "opt" / "gvisor", tmp_path / "bin"
    bin_.mkdir()
    links = {f"{bin_}/runsc": f"{root}/current/runsc", f"{bin_}/{SHIM}": f"{root}/current/{SHIM}"}
    for module in (release, facts):
        monkeypatch.setattr(module, "ROOT", str(root))
        monkeypatch.setattr(module, "CURRENT", f"{root}/current")
        monkeypatch.setattr(module, "LINKS", links)
    probes = set(Path("/run").glob("bulkhead-probe.*"))
    with website() as site:
        yield Host(root, bin_, site)
    assert set(Path("/run").glob("bulkhead-probe.*")) == probes
    assert not [path.name for path in root.glob(".*")]


@pytest.fixture
def host(new_host: Host) -> Host:
    """A host on which an older release is installed."""
    digests = new_host.publish(OLD, runsc=runsc(OLD), shim=elf("exit 0"))
    nothing = FoundGvisor("x86_64", frozenset({"curl"}), None, dict.fromkeys(release.LINKS), {}, {}, {}, False, None)
    script = release.plan(new_host.settings(digests, OLD), nothing).script
    assert script is not None
    assert sh(script).stderr == ""
    return new_host


def assert_refused(host: Host, digests: dict[str, str], message: str) -> None:
    before = host.tree()
    status, said = host.install(digests)
    assert said == f"bulkhead: {message}; the installation is as it was\n"
    assert status == 1
    assert host.tree() == before
    assert target(host.root / "current") == OLD


# What is fetched


def test_a_file_with_another_hash(host: Host) -> None:
    digests = host.publish(runsc=runsc(), shim=elf("exit 0"))
    digests["runsc"] = "0" * 128
    url = host.site.url + host.path("runsc")
    assert_refused(
        host,
        digests,
        f"{url} has the wrong sha512 (file of {len(runsc())} bytes, sha512 {digest(runsc())}, pinned {'0' * 128})",
    )


def test_a_second_file_with_another_hash(host: Host) -> None:
    digests = host.publish(runsc=runsc(), shim=b"\x7fELF other")
    digests[SHIM] = "0" * 128
    url = host.site.url + host.path(SHIM)
    assert_refused(
        host,
        digests,
        f"{url} has the wrong sha512 (file of 10 bytes, sha512 {digest(b'ELF other'.rjust(10, bytes([127])))}, "
        f"pinned {'0' * 128})",
    )


def test_a_file_that_is_not_there(host: Host) -> None:
    digests = host.publish(runsc=runsc(), shim=elf("exit 0"))
    del host.site.pages[host.path(SHIM)]
    url = host.site.url + host.path(SHIM)
    assert_refused(host, digests, f"cannot fetch {url}: curl: (22) The requested URL returned error: 404")


@pytest.mark.parametrize("page", [b"<!DOCTYPE html>\n<title>Not found</title>", b"\n  <HTML><body>Sign in</body>"])
def test_a_page_of_html_with_status_200(host: Host, page: bytes) -> None:
    digests = host.publish(runsc=runsc(), shim=elf("exit 0"))
    host.site.pages[host.path("runsc")] = page
    url = host.site.url + host.path("runsc")
    assert_refused(host, digests, f"{url} answered with an HTML page, not with a file")


def test_a_file_that_is_cut_off(host: Host) -> None:
    digests = host.publish(runsc=runsc(), shim=elf("exit 0"))
    size = len(runsc())
    host.site.pages[host.path("runsc")] = broken_off(runsc()[:100], size)
    url = host.site.url + host.path("runsc")
    before = host.tree()
    status, said = host.install(digests)
    assert status == 1
    assert said.startswith(f"bulkhead: cannot fetch {url}: curl: (18) ")
    assert host.tree() == before


def test_a_site_that_does_not_answer(host: Host) -> None:
    digests = host.publish(runsc=runsc(), shim=elf("exit 0"))
    script = host.plan(digests).script
    assert script is not None
    before = host.tree()
    # Nothing listens on port 1; without the wait between attempts.
    result = sh(script.replace(host.site.url, "http://127.0.0.1:1").replace("--retry 3", "--retry 0"))
    assert result.returncode == 1
    assert result.stderr.startswith(
        "bulkhead: cannot fetch http://127.0.0.1:1/release/20270817.0/x86_64/runsc: curl: (7)"
    )
    assert host.tree() == before


# What is in it


def test_a_program_for_another_architecture(host: Host) -> None:
    digests = host.publish(runsc=probe.program("aarch64"), shim=elf("exit 0"))
    assert_refused(host, digests, "runsc is for another architecture (ELF machine 0x00b7, this host's is 0x003e)")


def test_a_shim_for_another_architecture(host: Host) -> None:
    digests = host.publish(runsc=runsc(), shim=probe.program("aarch64"))
    assert_refused(host, digests, f"{SHIM} is for another architecture (ELF machine 0x00b7, this host's is 0x003e)")


def test_a_script_instead_of_a_program(host: Host) -> None:
    digests = host.publish(runsc=b"#!/bin/sh\necho runsc version release-20270817.0\n", shim=elf("exit 0"))
    assert_refused(host, digests, "runsc is not a program")


def test_another_version_than_was_asked_for(host: Host) -> None:
    digests = host.publish(runsc=runsc("20270706.0"), shim=elf("exit 0"))
    assert_refused(
        host,
        digests,
        "runsc says 'runsc version release-20270706.0', not 'runsc version release-20270817.0'",
    )


def test_a_runsc_that_cannot_start_a_sandbox(host: Host) -> None:
    kernel = platform.release()
    digests = host.publish(runsc=runsc(run="echo 'unknown platform: systrap' >&2; exit 128"), shim=elf("exit 0"))
    assert_refused(
        host,
        digests,
        f"runsc 20270817.0 cannot start a sandbox on this host's kernel ({kernel}): unknown platform: systrap",
    )


@pytest.mark.parametrize("status", [0, 41])
def test_a_sandbox_that_ends_otherwise_is_no_sandbox(host: Host, status: int) -> None:
    digests = host.publish(runsc=runsc(run=f"echo odd; exit {status}"), shim=elf("exit 0"))
    kernel = platform.release()
    assert_refused(host, digests, f"runsc 20270817.0 cannot start a sandbox on this host's kernel ({kernel}): odd")


def test_the_sandbox_is_started_as_the_engines_will(host: Host, tmp_path: Path) -> None:
    run = f'case $* in *" run "*) printf "%s\\n" "$@" >{tmp_path}/arguments;; esac; exit 42'
    assert host.install(host.publish(runsc=runsc(run=run), shim=elf("exit 0"))) == (0, "")
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[0] == "--root"
    assert {"--network=sandbox", "--host-uds=none", "--oci-seccomp=false", "run", "--bundle"} <= set(arguments)
    assert "--sidecar-usage-policy=STRICT" not in arguments


# Tarballs


def test_a_tarball_of_a_whole_release(host: Host) -> None:
    content = tarball(("runsc", runsc()), (SHIM, elf("exit 0")), ("gvisor-bin/gvisor_sentry", elf("exit 1")))
    digests = host.publish(bz2=bz2.compress(content))
    assert host.install(digests) == (0, "")
    assert (host.root / NEW / "gvisor-bin" / "gvisor_sentry").stat().st_mode & 0o7777 == 0o755
    assert sorted(path.name for path in (host.root / NEW).iterdir()) == [
        ".installed",
        "SHA512SUMS",
        SHIM,
        "gvisor-bin",
        "runsc",
    ]
    assert host.plan(digests).script is None


@pytest.mark.skipif(not shutil.which("zstd"), reason="needs zstd")
def test_a_tarball_packed_with_zstd(host: Host, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(tarball(("./runsc", runsc()), (f"./{SHIM}", elf("exit 0"))))
    packed = subprocess.run(["zstd", "-c", tmp_path / "t"], capture_output=True, check=True).stdout
    assert host.install(host.publish(zstd=packed)) == (0, "")
    assert (host.root / "current" / "runsc").read_bytes() == runsc()


REST: tuple[tuple[str, bytes], ...] = (("runsc", runsc()), (SHIM, elf("exit 0")))


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("../evil", b"x"), "gvisor.tar.bz2 holds a path that escapes: ../evil"),
        (("gvisor-bin/../../evil", b"x"), "gvisor.tar.bz2 holds a path that escapes: gvisor-bin/../../evil"),
        (("gvisor-bin/..", b"x"), "gvisor.tar.bz2 holds a path that escapes: gvisor-bin/.."),
        (("/tmp/bulkhead-test-evil", b"x"), "gvisor.tar.bz2 holds a path that escapes: /tmp/bulkhead-test-evil"),
    ],
)
def test_a_path_that_escapes(host: Host, member: tuple[str, bytes], message: str) -> None:
    assert_refused(host, host.publish(bz2=bz2.compress(tarball(*REST, member))), message)
    assert not Path("/tmp/bulkhead-test-evil").exists()
    assert not list(host.root.parent.rglob("evil"))


@pytest.mark.parametrize(
    ("member", "shown"),
    [
        (link("/etc/passwd"), "gvisor-bin -> /etc/passwd"),
        (link("runsc", tarfile.LNKTYPE), "gvisor-bin link to runsc"),
        (link("", tarfile.FIFOTYPE), "gvisor-bin"),
    ],
)
def test_a_link_or_a_device(host: Host, member: tarfile.TarInfo, shown: str) -> None:
    digests = host.publish(bz2=bz2.compress(tarball(*REST, ("gvisor-bin", member))))
    before = host.tree()
    status, said = host.install(digests)
    assert status == 1
    assert said.startswith("bulkhead: gvisor.tar.bz2 holds a link or a device: ")
    assert said.endswith(f" {shown}; the installation is as it was\n")
    assert host.tree() == before


@pytest.mark.parametrize(
    ("members", "missing"),
    [([(SHIM, elf(""))], "runsc"), ([("runsc", runsc())], SHIM), ([("bin/runsc", b"")], "runsc")],
)
def test_a_tarball_that_lacks_a_program(host: Host, members: list[tuple[str, bytes]], missing: str) -> None:
    digests = host.publish(bz2=bz2.compress(tarball(*members)))
    assert_refused(host, digests, f"the release holds no {missing}")


def test_a_tarball_that_is_none(host: Host) -> None:
    digests = host.publish(bz2=b"BZh9 not really")
    before = host.tree()
    status, said = host.install(digests)
    assert status == 1
    assert said.startswith("bulkhead: gvisor.tar.bz2 cannot be read: ")
    assert host.tree() == before


def test_a_sidecar_that_is_not_a_program(host: Host) -> None:
    digests = host.publish(bz2=bz2.compress(tarball(*REST, ("gvisor-bin/README", b"text"))))
    assert_refused(host, digests, "gvisor-bin/README is not a program")


def test_sidecars_that_do_not_match(host: Host) -> None:
    """runsc says so itself, since it is told to be strict wherever a release has sidecars."""
    run = 'case $* in *--sidecar-usage-policy=STRICT*) echo "sidecar of another release" >&2; exit 1;; esac; exit 42'
    members = (("runsc", runsc(run=run)), (SHIM, elf("")), ("gvisor-bin/gvisor_sentry", elf("")))
    kernel = platform.release()
    assert_refused(
        host,
        host.publish(bz2=bz2.compress(tarball(*members))),
        f"runsc 20270817.0 cannot start a sandbox on this host's kernel ({kernel}): sidecar of another release",
    )


# What is done when all is well


def test_a_first_installation(new_host: Host) -> None:
    digests = new_host.publish(runsc=runsc(), shim=elf("exit 0"))
    assert new_host.install(digests) == (0, "")
    assert target(new_host.root / "current") == NEW
    assert target(new_host.bin / "runsc") == f"{new_host.root}/current/runsc"
    assert subprocess.run([new_host.bin / "runsc", "--version"], capture_output=True, text=True).stdout == (
        "runsc version release-20270817.0\n"
    )
    for path in (new_host.root, new_host.root / NEW, new_host.root / NEW / "runsc", new_host.root / NEW / SHIM):
        assert path.stat().st_mode & 0o7777 == 0o755
        assert (path.owner(), path.group()) == ("root", "root")
    manifest = (new_host.root / NEW / "SHA512SUMS").read_text()
    assert manifest == (
        f"# {digests['runsc']}  runsc\n# {digests[SHIM]}  {SHIM}\n{digests[SHIM]}  {SHIM}\n{digests['runsc']}  runsc\n"
    )
    assert new_host.plan(digests) == Plan("runsc 20270817.0")


def test_an_upgrade_keeps_the_previous_release_and_going_back_fetches_nothing(host: Host) -> None:
    old = {name: digest(content) for name, content in (("runsc", runsc(OLD)), (SHIM, elf("exit 0")))}
    assert host.install(host.publish(runsc=runsc(), shim=elf("exit 0"))) == (0, "")
    assert target(host.root / "current") == NEW
    assert (host.root / OLD / "runsc").read_bytes() == runsc(OLD)
    host.site.asked.clear()
    assert host.install(old, OLD) == (0, "")
    assert target(host.root / "current") == OLD
    assert host.site.asked == []


def test_going_back_to_a_release_that_no_longer_starts_is_refused(host: Host, tmp_path: Path) -> None:
    run = f"[ ! -e {tmp_path}/broken ] || {{ echo 'no vsyscall'; exit 1; }}; exit 42"
    digests = host.publish(runsc=runsc(run=run), shim=elf("exit 0"))
    assert host.install(digests) == (0, "")
    old = {name: digest(content) for name, content in (("runsc", runsc(OLD)), (SHIM, elf("exit 0")))}
    assert host.install(old, OLD) == (0, "")
    (tmp_path / "broken").touch()
    status, said = host.install(digests)
    assert status == 1
    assert said.endswith(": no vsyscall; the installation is as it was\n")
    assert target(host.root / "current") == OLD


def change_content(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [change_content, remove])
def test_a_release_that_was_altered_is_fetched_again(host: Host, harm: Callable[[Path], None]) -> None:
    digests = host.publish(runsc=runsc(), shim=elf("exit 0"))
    assert host.install(digests) == (0, "")
    harm(host.root / NEW / "runsc")
    assert host.plan(digests).lines[0] == f"+ {host.root}/{NEW}/ from runsc"
    assert host.install(digests) == (0, "")
    assert (host.root / NEW / "runsc").read_bytes() == runsc()
    assert host.plan(digests).script is None


def test_a_mode_that_was_altered_is_put_right_without_fetching(host: Host) -> None:
    digests = host.publish(runsc=runsc(), shim=elf("exit 0"))
    assert host.install(digests) == (0, "")
    (host.root / NEW / SHIM).chmod(0o644)
    host.site.asked.clear()
    assert host.plan(digests).lines == (f"~ {host.root}/{NEW}/: owner and modes of its files",)
    assert host.install(digests) == (0, "")
    assert (host.root / NEW / SHIM).stat().st_mode & 0o7777 == 0o755
    assert host.site.asked == []
    assert host.plan(digests).script is None


def test_a_runsc_of_the_user_s_own_is_kept_beside_the_link(new_host: Host) -> None:
    (new_host.bin / "runsc").write_text("mine")
    assert new_host.install(new_host.publish(runsc=runsc(), shim=elf("exit 0"))) == (0, "")
    assert (new_host.bin / "runsc~bulkhead").read_text() == "mine"
    assert (new_host.bin / "runsc").is_symlink()


def test_a_directory_in_the_way_of_the_link(new_host: Host) -> None:
    (new_host.bin / "runsc").mkdir()
    status, said = new_host.install(new_host.publish(runsc=runsc(), shim=elf("exit 0")))
    assert (status, said) == (
        1,
        f"bulkhead: {new_host.bin}/runsc is a directory: move it away, then run again; the installation is as it was\n",
    )
    assert not (new_host.root / "current").is_symlink()
    assert new_host.site.asked == []


def test_what_an_interrupted_run_left_is_removed(host: Host) -> None:
    (host.root / ".stage.aBc123").mkdir()
    (host.root / ".stage.aBc123" / "runsc").write_text("half")
    (host.root / ".probe.aBc123").mkdir()
    (host.root / ".current").symlink_to("nowhere")
    assert host.install(host.publish(runsc=runsc(), shim=elf("exit 0"))) == (0, "")
    assert not [path.name for path in host.root.glob(".*")]


def test_a_release_that_an_interrupted_run_moved_away_comes_back(host: Host) -> None:
    digests = host.publish(runsc=runsc(), shim=elf("exit 0"))
    assert host.install(digests) == (0, "")
    (host.root / NEW).rename(host.root / f".replaced.{NEW}")
    digests["runsc"] = "0" * 128
    status, said = host.install(digests)
    assert status == 1
    assert "has the wrong sha512" in said
    assert subprocess.run([host.bin / "runsc", "--version"], capture_output=True, text=True).stdout == (
        "runsc version release-20270817.0\n"
    )


def test_a_script_that_is_cut_off_runs_nothing(host: Host) -> None:
    script = host.plan(host.publish(runsc=runsc(), shim=elf("exit 0"))).script
    assert script is not None
    before = host.tree()
    host.site.asked.clear()
    for part in range(1, 12):
        sh(script[: len(script) * part // 12])
    assert host.tree() == before
    assert host.site.asked == []
