"""Where gVisor comes from, and what the machines are served."""

import hashlib
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.lab import gvisor_origin
from bulkhead.lab.gvisor_origin import find, from_directory, from_module, from_site, publish, release_of
from bulkhead.lab.release_server import server
from bulkhead.progress import Step

RUNSC = '#!/bin/sh\necho "runsc version release-20260914.0"\necho "spec: 1.2.1"\n'
SHIM = "the shim\n"


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step("Find gVisor", tmp_path / "log")


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(gvisor_origin.DIRECTORY_VARIABLE, raising=False)


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    folder = tmp_path / "loose"
    folder.mkdir()
    for name, text in (("runsc", RUNSC), ("containerd-shim-runsc-v1", SHIM)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@contextmanager
def served(root: Path) -> Iterator[str]:
    """The URL of a real release server of `root`."""
    http = server(root, "127.0.0.1", 0)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.fixture
def fetch() -> Callable[[str], bytes]:
    def get(url: str) -> bytes:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bytes(answer.read())

    return get


def status(url: str, method: str = "GET") -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def sha512(data: bytes) -> str:
    return hashlib.sha512(data).hexdigest()


# --- a directory that the user names ---------------------------------------------------------------------------------


def test_loose_directory_is_served_as_the_release_site_does(
    loose: Path, tmp_path: Path, step: Step, fetch: Callable[[str], bytes]
) -> None:
    root = tmp_path / "releases"
    with served(root) as url:
        state = publish(from_directory(loose, step), root, url)
        base = f"{url}/release/20260914.0/x86_64"
        assert fetch(f"{base}/runsc") == RUNSC.encode()
        assert fetch(f"{base}/containerd-shim-runsc-v1") == SHIM.encode()
        assert fetch(f"{base}/runsc.sha512").decode() == f"{sha512(RUNSC.encode())}  runsc\n"
        assert status(f"{base}/gvisor.tar.bz2") == 404
    assert (state.origin, state.release, state.layout, state.base_url) == ("directory", "20260914.0", "loose", url)
    assert state.sha512 == {"runsc": sha512(RUNSC.encode()), "containerd-shim-runsc-v1": sha512(SHIM.encode())}


def test_sidecars_make_it_a_tarball(loose: Path, tmp_path: Path, step: Step, fetch: Callable[[str], bytes]) -> None:
    (loose / "gvisor-bin").mkdir()
    (loose / "gvisor-bin" / "gvisor_sentry").write_text("the sentry\n")
    root = tmp_path / "releases"
    with served(root) as url:
        state = publish(from_directory(loose, step), root, url)
        data = fetch(f"{url}/release/20260914.0/x86_64/gvisor.tar.bz2")
        assert fetch(f"{url}/release/20260914.0/x86_64/gvisor.tar.bz2.sha512").decode().split()[0] == sha512(data)
        assert status(f"{url}/release/20260914.0/x86_64/runsc") == 404
    assert state.layout == "tarball"
    assert state.sha512 == {"gvisor.tar.bz2": sha512(data)}
    (tmp_path / "got.tar.bz2").write_bytes(data)
    with tarfile.open(tmp_path / "got.tar.bz2", "r:bz2") as archive:
        assert sorted(member.name for member in archive if member.isfile()) == [
            "containerd-shim-runsc-v1",
            "gvisor-bin/gvisor_sentry",
            "runsc",
        ]


def test_a_release_tarball_is_served_as_it_is(loose: Path, tmp_path: Path, step: Step) -> None:
    folder = tmp_path / "download"
    folder.mkdir()
    with tarfile.open(folder / "gvisor.tar.bz2", "w:bz2") as archive:
        archive.add(loose, ".")
    found = from_directory(folder, step)
    assert (found.state.release, found.state.layout) == ("20260914.0", "tarball")
    assert found.artefacts == {"gvisor.tar.bz2": folder / "gvisor.tar.bz2"}


def test_a_tarball_without_runsc_is_refused(loose: Path, tmp_path: Path, step: Step) -> None:
    folder = tmp_path / "download"
    folder.mkdir()
    with tarfile.open(folder / "gvisor.tar.bz2", "w:bz2") as archive:
        archive.add(loose / "containerd-shim-runsc-v1", "containerd-shim-runsc-v1")
    with pytest.raises(BulkheadError, match="no runsc in it"):
        from_directory(folder, step)


def test_a_directory_without_the_shim_says_what_is_missing(loose: Path, step: Step) -> None:
    (loose / "containerd-shim-runsc-v1").unlink()
    with pytest.raises(BulkheadError, match="has no containerd-shim-runsc-v1") as error:
        from_directory(loose, step)
    assert "gvisor.tar.bz2" in error.value.hint


def test_the_named_directory_comes_first(loose: Path, step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gvisor_origin.DIRECTORY_VARIABLE, str(loose))
    assert find("trixie", step).state.origin == "directory"


def test_a_runsc_that_names_no_release_is_refused(loose: Path) -> None:
    (loose / "runsc").write_text("#!/bin/sh\necho runsc version VERSION_MISSING\n")
    with pytest.raises(BulkheadError) as error:
        release_of(loose / "runsc")
    assert error.value.message == f"{loose}/runsc: 'runsc --version' names no release"
    assert "release-20260817.0+ours" in error.value.hint


# --- the release site ------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site" / "release" / "20260817.0" / "x86_64"
    folder.mkdir(parents=True)
    (folder / "runsc").write_text(RUNSC)
    (folder / "containerd-shim-runsc-v1").write_text(SHIM)
    return tmp_path / "site"


PINNED = {"runsc": sha512(RUNSC.encode()), "containerd-shim-runsc-v1": sha512(SHIM.encode())}


def test_the_newest_pinned_release_is_fetched_once(site: Path, step: Step) -> None:
    pins = {"20260706.0": {"x86_64": dict.fromkeys(PINNED, "0" * 128)}, "20260817.0": {"x86_64": PINNED}}
    with served(site) as url:
        found = from_site(pins, url, step)
    assert found is not None
    assert (found.state.origin, found.state.release, found.state.layout) == ("release site", "20260817.0", "loose")
    assert found.artefacts["runsc"].read_text() == RUNSC
    again = from_site(pins, "http://127.0.0.1:9", step)
    assert again is not None
    assert again.artefacts == found.artefacts


def test_what_does_not_match_its_pin_is_refused_and_not_kept(site: Path, step: Step, tmp_path: Path) -> None:
    pins = {"20260817.0": {"x86_64": {**PINNED, "runsc": "0" * 128}}}
    with served(site) as url, pytest.raises(BulkheadError, match=r"not what bulkhead/pins\.json pins"):
        from_site(pins, url, step)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_no_site_is_no_error(step: Step) -> None:
    assert from_site({"20260817.0": {"x86_64": PINNED}}, "http://127.0.0.1:9", step) is None


def test_a_release_that_the_site_lacks_is_no_error(site: Path, step: Step) -> None:
    with served(site) as url:
        assert from_site({"20260818.0": {"x86_64": PINNED}}, url, step) is None


# --- the Go module and the distribution ------------------------------------------------------------------------------


@pytest.fixture
def nothing_but_the_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(gvisor_origin, "OFFICIAL_SITE", "http://127.0.0.1:9")


@pytest.mark.usefixtures("nothing_but_the_distribution")
def test_without_go_there_is_no_build(step: Step) -> None:
    assert from_module(step) is None


@pytest.mark.usefixtures("nothing_but_the_distribution")
def test_the_distribution_is_last_and_only_where_it_works(step: Step) -> None:
    state = find("bookworm", step).state
    assert (state.origin, state.release, state.base_url, state.sha512) == ("distribution", "", "", {})
    with pytest.raises(BulkheadError, match="no gVisor for the lab's trixie machines") as error:
        find("trixie", step)
    assert "BULKHEAD_GVISOR_DIR" in error.value.hint


def test_a_too_old_go_does_not_build(tmp_path: Path, step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    go = tmp_path / "bin" / "go"
    go.write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")
    assert gvisor_origin.go_version() == (1, 19)
    assert from_module(step) is None


def test_the_build_is_called_with_the_release_in_it(
    tmp_path: Path, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    go = tmp_path / "bin" / "go"
    go.write_text('#!/bin/sh\n[ "$1" = version ] && echo go1.26.3 && exit\necho "$@" > "$5"\n')
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")
    found = from_module(step)
    assert found is not None
    assert (found.state.release, found.state.layout) == ("20260905.0+go", "loose")
    assert found.state.detail == "gvisor.dev/gvisor@v0.0.0-20260905035102-160fafc42237"
    arguments = found.artefacts["runsc"].read_text()
    assert "-X gvisor.dev/gvisor/runsc/version.version=release-20260905.0+go gvisor.dev/gvisor/runsc" in arguments
    go.write_text("#!/bin/sh\nexit 1\n")
    assert from_module(step) == found


# --- the server ------------------------------------------------------------------------------------------------------


def test_the_server_shows_files_of_its_folder_only(tmp_path: Path) -> None:
    root = tmp_path / "releases"
    (root / "release").mkdir(parents=True)
    (root / "release" / "file").write_text("content")
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    with served(root) as url:
        assert status(f"{url}/release/file") == 200
        assert status(f"{url}/release/file", "HEAD") == 200
        assert [status(f"{url}/{path}") for path in ("", "release", "release/", "link", "%2e%2e/secret")] == [404] * 5
        assert [status(f"{url}/release/file", method) for method in ("PUT", "POST", "DELETE")] == [501] * 3
    assert (root / "release" / "file").read_text() == "content"
