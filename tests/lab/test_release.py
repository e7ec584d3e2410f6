"""Installing releases on a real machine: what is refused leaves the old one alone, and up and down again is safe."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from bulkhead import probe
from tests.lab.machine import Machine, Runs
from tests.lab.site import Site

INSTALLED = "readlink /opt/gvisor/current; ls -A /opt/gvisor; runsc --version; ls -l /usr/local/bin"

HTML = b"<!DOCTYPE html><html><body>The specified key does not exist.</body></html>\n" * 40


def tarball(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A gvisor.tar.bz2 with these members, names as given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return buffer.getvalue()


def wrong_hash(site: Site, release: str) -> dict[str, str]:
    site.put(release, {"runsc": b"not what was pinned", "containerd-shim-runsc-v1": b"x"})
    return {"runsc": "0" * 128, "containerd-shim-runsc-v1": "0" * 128}


def missing(site: Site, release: str) -> dict[str, str]:  # noqa: ARG001
    return {"runsc": "0" * 128, "containerd-shim-runsc-v1": "0" * 128}


def page(site: Site, release: str) -> dict[str, str]:
    site.put(release, {"runsc": HTML})
    return {"runsc": "0" * 128, "containerd-shim-runsc-v1": "0" * 128}


def truncated(site: Site, release: str) -> dict[str, str]:
    whole = site.programs()["runsc"]
    site.put(release, {"runsc.cut": whole[:1_000_000]})
    return {"runsc": hashlib.sha512(whole).hexdigest(), "containerd-shim-runsc-v1": "0" * 128}


def other_architecture(site: Site, release: str) -> dict[str, str]:
    program = probe.program("aarch64")
    return site.put(release, {"runsc": program, "containerd-shim-runsc-v1": program})


def other_version(site: Site, release: str) -> dict[str, str]:
    return site.put(release, site.programs())


def escaping(site: Site, release: str) -> dict[str, str]:
    return site.put(release, {"gvisor.tar.bz2": tarball({"runsc": b"x", "../../../../root/escaped": b"x"})})


def absolute(site: Site, release: str) -> dict[str, str]:
    return site.put(release, {"gvisor.tar.bz2": tarball({"runsc": b"x", "/root/escaped": b"x"})})


def linking(site: Site, release: str) -> dict[str, str]:
    return site.put(release, {"gvisor.tar.bz2": tarball({"runsc": b"x"}, {"gvisor-bin": "/root"})})


def without_shim(site: Site, release: str) -> dict[str, str]:
    return site.put(release, {"gvisor.tar.bz2": tarball({"runsc": probe.program("x86_64")})})


def incomplete_sidecars(site: Site, release: str) -> dict[str, str]:
    files = {**site.programs(release), "gvisor-bin/checkpointgofer": probe.program("x86_64")}
    return site.put(release, {"gvisor.tar.bz2": tarball(files)})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (wrong_hash, "runsc has the wrong sha512 (file of 19 bytes"),
        (missing, "404"),
        (page, "answered with an HTML page"),
        (truncated, "cannot fetch"),
        (other_architecture, "is for another architecture (ELF machine 0x00b7, this host's is 0x003e)"),
        (other_version, "not 'runsc version release-"),
        (escaping, "holds a path that escapes: ../../../../root/escaped"),
        (absolute, "holds a path that escapes: /root/escaped"),
        (linking, "holds a link or a device"),
        (without_shim, "holds no containerd-shim-runsc-v1"),
        (incomplete_sidecars, "gvisor_sentry"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_refused(
    converged: Machine, runs: Runs, site: Site, fault: Callable[[Site, str], dict[str, str]], message: str
) -> None:
    """A release that is not what it should be is refused by a clear message, and the installation stays as it was."""
    before = converged.sh(INSTALLED)
    release = site.other_release()
    pinned = fault(site, release)
    deployed = runs.deploy(gvisor=runs.gvisor(release=release, base_url=site.url, sha512={"x86_64": pinned}))
    assert deployed.status == 1
    assert message in deployed.output
    assert "the installation is as it was" in deployed.output
    assert "Traceback" not in deployed.output
    assert converged.sh(INSTALLED) == before
    assert converged.run("test -e /root/escaped").returncode == 1


@pytest.mark.long
def test_debian_13s_own_package_is_refused(converged: Machine, runs: Runs) -> None:
    """Debian 13's runsc starts no sandbox on Debian 13's kernel: it is tried out before it is installed."""
    before = converged.sh(INSTALLED)
    deployed = runs.deploy(engines=["docker"], gvisor={"source": "distribution"})
    assert deployed.status == 1
    assert "the distribution's runsc cannot start a sandbox on this host's kernel (6.12" in deployed.output
    assert converged.sh(INSTALLED) == before
    assert converged.run("dpkg-query -W runsc").returncode == 1


@pytest.mark.long
def test_an_installed_package_that_starts_nothing_is_refused(converged: Machine, runs: Runs) -> None:
    """The same package, when it is there already, does not become Docker's runtime either."""
    converged.sh("DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install runsc >/dev/null")
    try:
        before = converged.sh("cat /etc/docker/daemon.json")
        deployed = runs.deploy(engines=["docker"], gvisor={"source": "distribution"})
        assert deployed.status == 1
        assert "/usr/bin/runsc cannot start a sandbox with its flags on this host's kernel (6.12" in deployed.output
        assert "the new configuration was refused; nothing was changed" in deployed.output
        assert converged.sh("cat /etc/docker/daemon.json") == before
    finally:
        converged.sh("DEBIAN_FRONTEND=noninteractive apt-get -qq -y purge runsc >/dev/null")
        runs.deploy().expect_success()


def test_flags_that_start_nothing_are_refused(converged: Machine, runs: Runs) -> None:
    """Flags with which this runsc starts no sandbox here reach neither engine."""
    before = converged.sh("cat /etc/docker/daemon.json /etc/containerd/runsc.toml")
    deployed = runs.deploy(gvisor=runs.gvisor(flags={"overlay2": "root:dir=/nonexistent"}))
    assert deployed.status == 1
    assert "cannot start a sandbox with its flags" in deployed.output
    assert converged.sh("cat /etc/docker/daemon.json /etc/containerd/runsc.toml") == before


def test_a_package_without_shim_is_refused_for_containerd(runs: Runs) -> None:
    """Debian's package holds no shim, so it is refused for containerd before anything connects."""
    deployed = runs.deploy(gvisor={"source": "distribution"})
    assert deployed.status == 1
    assert "holds no containerd-shim-runsc-v1" in deployed.output
    assert "Connected" not in deployed.output


def test_upgrade_and_back(converged: Machine, runs: Runs, site: Site) -> None:
    """A running sandbox survives an upgrade and going back; going back downloads nothing."""
    other = site.other_release()
    old: dict[str, Any] = runs.gvisor()
    new = runs.gvisor(release=other, base_url=site.url, sha512={"x86_64": site.put(other, site.programs(other))})
    pids = converged.pids()
    converged.sh(
        "cd /tmp && mkdir -p sleeper/bin && cp /bin/busybox sleeper/bin/sleep && cp /bin/busybox sleeper/bin/uname"
        " && tar -C sleeper -c . | docker import - sleeper >/dev/null"
        " && docker run --detach --network=none --name sleeper sleeper /bin/sleep 100000"
    )
    try:
        sandbox = converged.sh("docker inspect --format '{{.State.Pid}}' sleeper")
        assert runs.deploy(gvisor=new).expect_success().changed == {f"Install runsc {other}"}
        assert converged.sh("runsc --version | head -n1") == f"runsc version release-{other}"
        assert converged.sh("docker inspect --format '{{.State.Pid}} {{.State.Running}}' sleeper") == f"{sandbox} true"
        assert "gvisor" in converged.sh("docker exec sleeper /bin/uname -r")
        assert len(site.requests) == 2
        # The site is asked for nothing more, though the inventory still names it.
        back = {**old, "base_url": site.url}
        assert runs.deploy(gvisor=back).expect_success().changed == {f"Install runsc {runs.lab.gvisor.release}"}
        assert len(site.requests) == 2
        assert converged.sh("runsc --version | head -n1") == f"runsc version release-{runs.lab.gvisor.release}"
        assert converged.sh("docker inspect --format '{{.State.Pid}} {{.State.Running}}' sleeper") == f"{sandbox} true"
        assert converged.pids() == pids
    finally:
        converged.sh("docker rm --force sleeper; docker rmi sleeper; rm -rf /tmp/sleeper /opt/gvisor/" + other)


@pytest.mark.long
def test_tarball_layout(converged: Machine, runs: Runs, site: Site) -> None:
    """A release in the tarball layout is installed by the same code, and verified."""
    other = site.other_release()
    pinned = site.put(other, {"gvisor.tar.bz2": tarball(site.programs(other))})
    settings = runs.gvisor(release=other, base_url=site.url, sha512={"x86_64": pinned})
    try:
        assert runs.deploy(gvisor=settings).expect_success().changed == {f"Install runsc {other}"}
        assert runs.deploy(gvisor=settings).expect_success().changed == set()
        outcomes = runs.verify(gvisor=settings)
        assert set(outcomes.values()) == {"passed"}
    finally:
        runs.deploy().expect_success()
        converged.sh("rm -rf /opt/gvisor/" + other)
