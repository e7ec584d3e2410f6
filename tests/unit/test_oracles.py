"""The oracles are what they say they are, and can tell good from bad."""

import subprocess
from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.lab import apt_sources
from tests.oracles import containerd, dockerd, fetch
from tests.oracles.containerd import Containerd, Refused
from tests.oracles.dockerd import Dockerd


@pytest.fixture(params=containerd.NAMES)
def daemon(request: pytest.FixtureRequest) -> Containerd:
    found = containerd.named(request.param)
    return found or pytest.skip(f"containerd {request.param}: no Go here that can build it")


@pytest.fixture(params=dockerd.NAMES)
def docker(request: pytest.FixtureRequest) -> Dockerd:
    return dockerd.named(request.param)


def said(program: Path) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout


def test_containerd_says_its_version(daemon: Containerd) -> None:
    major, minor = daemon.version
    assert f" {major}.{minor}." in said(daemon.path).replace(" v", " ")


def test_containerd_accepts_version_2_and_tells_what_it_means(daemon: Containerd) -> None:
    plugin = "io.containerd.grpc.v1.cri" if daemon.version < (2, 0) else "io.containerd.cri.v1.runtime"
    engine = daemon.dump(b"version = 2\n")["plugins"][plugin]["containerd"]
    assert engine["default_runtime_name"] == "runc"
    assert engine["runtimes"]["runc"]["runtime_type"] == "io.containerd.runc.v2"


def test_containerd_refuses_broken_toml(daemon: Containerd) -> None:
    with pytest.raises(Refused, match=r"/etc/containerd/config\.toml"):
        daemon.dump(b"version = \n")


def test_containerd_reads_the_files_beside_its_own(daemon: Containerd) -> None:
    main = b'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n'
    dropin = b'version = 2\nroot = "/srv/containerd"\n'
    assert daemon.dump(main, {"conf.d/root.toml": dropin})["root"] == "/srv/containerd"


def test_containerd_without_a_file(daemon: Containerd) -> None:
    assert daemon.dump(None)["root"] == "/var/lib/containerd"


def test_dockerd_says_its_version(docker: Dockerd) -> None:
    major, minor = docker.version
    assert f" {major}.{minor}." in said(docker.path)


def test_dockerd_accepts_an_empty_object_and_refuses_broken_json(docker: Dockerd) -> None:
    if not docker.validates:
        pytest.skip(f"dockerd of {docker.name} has no --validate")
    assert docker.check(b"{}") is None
    assert "/etc/docker/daemon.json" in (docker.check(b"{") or "")


def test_what_is_kept_needs_no_network(daemon: Containerd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert containerd.named(daemon.name) == daemon


@pytest.mark.parametrize("release", [None, "Suite: bookworm\nComponents: main\nArchitectures: amd64\n"])
def test_a_mirror_that_is_not_there_or_not_signed(
    release: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dist = tmp_path / "debian" / "dists" / "bookworm"
    dist.mkdir(parents=True)
    if release is not None:
        (dist / "Release").write_text(release)
    source = apt_sources.Source(f"file:{tmp_path}/debian", "bookworm")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setattr(apt_sources, "for_suite", lambda *_: [source])
    with pytest.raises(BulkheadError, match=r"apt-get .* update") as error:
        fetch.from_debian("bookworm", "containerd", "containerd")
    assert ("is not signed" if release else "does not have a Release file") in error.value.message
    assert [path.name for path in (tmp_path / "bulkhead" / "oracles").iterdir() if path.is_dir()] == []
