"""A gVisor host drifts in nothing, and each tamper is its own finding."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from bulkhead import probe
from bulkhead.drift.finding import Finding
from bulkhead.look import Look
from bulkhead.templates import render
from deploys.gvisor import drift, facts, flags, settings
from deploys.gvisor.drift import Sandbox, sandboxes, watches, wrong_flags
from deploys.gvisor.upstream import newer
from tests.unit.helpers import answered, as_root, compared, gvisor_host, sh

RUNSC, SHIM, SENTRY = "a1" * 64, "b2" * 64, "c3" * 64
GVISOR = {
    "release": "20260914.0",
    "sha512": {"x86_64": {"runsc": RUNSC, "containerd-shim-runsc-v1": SHIM}},
    "flags": {"platform": "systrap"},
}
HOST = gvisor_host(gvisor=GVISOR)

LINKS = (
    "/opt/gvisor/current\t20260914.0\n"
    "/usr/local/bin/runsc\t/opt/gvisor/current/runsc\n"
    "/usr/local/bin/containerd-shim-runsc-v1\t/opt/gvisor/current/containerd-shim-runsc-v1\n"
)
RELEASE = (
    f"origin {RUNSC} runsc\norigin {SHIM} containerd-shim-runsc-v1\n"
    f"recorded {RUNSC} runsc\nrecorded {SHIM} containerd-shim-runsc-v1\nrecorded {SENTRY} gvisor-bin/gvisor_sentry\n"
    "state untouched -\n"
    f"actual {RUNSC} runsc\nactual {SHIM} containerd-shim-runsc-v1\nactual {SENTRY} gvisor-bin/gvisor_sentry\n"
)
SHADOWS = (
    "path\t/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin\npath\t/usr/local/sbin:/usr/local/bin:/opt/x/bin\n"
    "there\t/usr/local/bin/runsc\t/opt/gvisor/20260914.0/runsc\n"
    "there\t/usr/local/bin/containerd-shim-runsc-v1\t/opt/gvisor/20260914.0/containerd-shim-runsc-v1\n"
    "there\t/usr/bin/runsc\t/usr/bin/runsc\n"
)
SANDBOX = (
    "program\t1:10\nprogram\t1:11\nsandbox\tabc\town\t1:11\n"
    "flag\tnetwork=sandbox\nflag\thost-uds=none\nflag\thost-fifo=none\nflag\tnet-raw=false\n"
    "flag\tallow-packet-socket-write=false\nflag\tallow-suid=false\nflag\tcharacter-device-policy=emulated-only\n"
    "flag\tallow-flag-override=false\nflag\toci-seccomp=false\nflag\toverlay2=root:self\nflag\thost-settings=enforce\n"
    "flag\tplatform=systrap\nflag\troot=/run/docker/runtime-runc/moby\nflag\tlog=/run/log.json\n"
    "flag\tlog-format=json\nflag\tsystemd-cgroup=true\nflag\tpanic-log-fd=4\n"
)


def clean(**said: str) -> Look:
    """A look at a host as a deploy leaves it, but for what is said."""
    texts = {
        "gvisor.host": "x86_64\ncurl\nbzip2\n",
        "gvisor.links": LINKS,
        "gvisor.release": RELEASE,
        "gvisor.shadows": SHADOWS,
        "gvisor.sandboxes": SANDBOX,
        **{f"gvisor.{name}": text for name, text in said.items()},
    }
    return answered([*facts.needs(settings.of(HOST)), *watches(HOST)], {}, texts)


def edited(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def findings(look: Look) -> list[Finding]:
    return compared(drift.drift, HOST, look, "gVisor")


def test_a_gvisor_host_drifts_in_nothing() -> None:
    assert findings(clean()) == []
    assert findings(clean(sandboxes="program\t1:10\n")) == []


DIRECTORY = "/opt/gvisor/20260914.0"
TAMPERS: dict[str, tuple[Look, list[tuple[str, str, str, str]]]] = {
    "another build in place of runsc": (
        clean(release=edited(RELEASE.replace("state untouched -\n", ""), f"actual {RUNSC}", f"actual {'dd' * 64}")),
        [(f"{DIRECTORY}/runsc", f"sha512 {RUNSC}", f"sha512 {'dd' * 64}", "critical")],
    ),
    "another build, and the note of the installation with it": (
        clean(
            release=RELEASE.replace(f"recorded {RUNSC}", f"recorded {'dd' * 64}").replace(
                f"actual {RUNSC}", f"actual {'dd' * 64}"
            )
        ),
        [(f"{DIRECTORY}/runsc", f"sha512 {RUNSC}", f"sha512 {'dd' * 64}", "critical")],
    ),
    "a sidecar gone": (
        clean(
            release=edited(
                RELEASE.replace("state untouched -\n", ""), f"actual {SENTRY} gvisor-bin/gvisor_sentry\n", ""
            )
        ),
        [(f"{DIRECTORY}/gvisor-bin/gvisor_sentry", f"sha512 {SENTRY}", "", "critical")],
    ),
    "a mode loosened": (
        clean(release=edited(RELEASE, "state untouched -\n", "")),
        [(f"{DIRECTORY}: mode", "root's, as installed", "owner, mode or times have changed", "critical")],
    ),
    "the release gone": (
        clean(release=""),
        [(DIRECTORY, "the release, with the digests of its files", "", "critical")],
    ),
    "another release switched to": (
        clean(links=edited(LINKS, "current\t20260914.0", "current\t20260817.0")),
        [("/opt/gvisor/current", "20260914.0", "20260817.0", "critical")],
    ),
    "a link to elsewhere": (
        clean(links=edited(LINKS, "\t/opt/gvisor/current/runsc", "\t/tmp/runsc")),
        [("/usr/local/bin/runsc", "a link to /opt/gvisor/current/runsc", "/tmp/runsc", "critical")],
    ),
    "another runsc before ours": (
        clean(shadows=SHADOWS + "there\t/usr/local/sbin/runsc\t/usr/local/sbin/runsc\n"),
        [("/usr/local/sbin/runsc", "", "is found before /usr/local/bin/runsc", "critical")],
    ),
    "a shim in a daemon's own search path": (
        clean(
            shadows="path\t/opt/x:/usr/local/bin\n" + SHADOWS + "there\t/opt/x/containerd-shim-runsc-v1\t/opt/x/shim\n"
        ),
        [
            (
                "/opt/x/containerd-shim-runsc-v1",
                "",
                "is found before /usr/local/bin/containerd-shim-runsc-v1",
                "critical",
            )
        ],
    ),
    "a sandbox on the host's network": (
        clean(sandboxes=edited(SANDBOX, "\tabc\town", "\tabc\thost")),
        [("sandbox abc: network", "its own", "the host's", "critical")],
    ),
    "a sandbox with a flag switched": (
        clean(sandboxes=edited(SANDBOX, "net-raw=false", "net-raw=true")),
        [("sandbox abc: --net-raw", "false", "true", "critical")],
    ),
    "a sandbox without a flag": (
        clean(sandboxes=edited(SANDBOX, "flag\toci-seccomp=false\n", "")),
        [("sandbox abc: --oci-seccomp", "false", "", "critical")],
    ),
    "a sandbox with a dangerous flag besides": (
        clean(sandboxes=SANDBOX + "flag\tstrace=true\n"),
        [("sandbox abc: --strace", "", "true", "critical")],
    ),
    "a sandbox from before an upgrade": (
        clean(sandboxes=edited(SANDBOX, "own\t1:11", "own\t1:99")),
        [
            (
                "sandbox abc: program",
                "runsc 20260914.0",
                "another runsc, from before an upgrade or from elsewhere",
                "warning",
            )
        ],
    ),
}


@pytest.mark.parametrize(("look", "expected"), TAMPERS.values(), ids=list(TAMPERS))
def test_each_tamper_is_its_own_finding(look: Look, expected: list[tuple[str, str, str, str]]) -> None:
    there = findings(look)
    assert [(one.subject, one.expected, one.actual, one.severity) for one in there] == expected
    assert all(one.capability == "gVisor" and one.mend for one in there)


def test_a_tarball_that_is_not_the_pinned_one() -> None:
    tarball = "e4" * 64
    host = gvisor_host(gvisor={**GVISOR, "sha512": {"x86_64": {"gvisor.tar.bz2": tarball}}})
    installed = f"origin {tarball} gvisor.tar.bz2\n" + RELEASE.partition(f"origin {SHIM} containerd-shim-runsc-v1\n")[2]
    assert compared(drift.drift, host, clean(release=installed)) == []
    (found,) = compared(drift.drift, host, clean(release=installed.replace(tarball, "f5" * 64)))
    assert (found.subject, found.expected) == (f"{DIRECTORY}/SHA512SUMS: gvisor.tar.bz2", f"sha512 {tarball}")


def test_directories_that_are_one() -> None:
    same = "there\t/usr/local/sbin/runsc\t/opt/gvisor/20260914.0/runsc\n"
    assert findings(clean(shadows=SHADOWS + same)) == []


def test_a_sandbox_may_run_under_any_handler_of_the_host() -> None:
    profiles = {"runsc-debug": {"flags": {"debug": True}, "allow_flags": {"debug": "a test"}}}
    host = gvisor_host(gvisor={**GVISOR, "profiles": profiles})
    assert compared(drift.drift, host, clean()) == []
    assert compared(drift.drift, host, clean(sandboxes=SANDBOX + "flag\tdebug=true\n")) == []
    (found,) = compared(drift.drift, host, clean(sandboxes=SANDBOX + "flag\tdebug=true\nflag\tstrace=true\n"))
    assert found.subject == "sandbox abc: --strace"


def test_a_packaged_runsc_tells_only_what_differs_from_its_defaults() -> None:
    handler = {"network": "sandbox", "oci-seccomp": "true"}
    assert wrong_flags({"oci-seccomp": "true"}, [handler], all_told=False) == []
    assert wrong_flags({"network": "host"}, [handler], all_told=False) == [("network", "sandbox", "host")]
    assert wrong_flags({"network": "host"}, [handler], all_told=True) == [
        ("network", "sandbox", "host"),
        ("oci-seccomp", "true", ""),
    ]


def test_a_distribution_s_package() -> None:
    host = gvisor_host(engines=["docker"], gvisor={"source": "distribution"})
    needs = [*facts.needs(settings.of(host)), *watches(host)]
    said = {"gvisor.host": "x86_64\n", "gvisor.package": "0.0~20240729.0-4+b10", "gvisor.shadows": SHADOWS}
    said["gvisor.links"] = "/opt/gvisor/current\t\n/usr/local/bin/runsc\t\n"
    bare = SHADOWS.replace("there\t/usr/local/bin/runsc\t/opt/gvisor/20260914.0/runsc\n", "")
    assert compared(drift.drift, host, answered(needs, {}, {**said, "gvisor.shadows": bare})) == []
    shadowed = compared(drift.drift, host, answered(needs, {}, said))
    assert [(one.subject, one.actual) for one in shadowed] == [
        ("/usr/local/bin/runsc", "is found before /usr/bin/runsc")
    ]
    gone = compared(drift.drift, host, answered(needs, {}, {**said, "gvisor.package": "", "gvisor.shadows": bare}))
    assert [one.subject for one in gone] == ["package runsc"]


def test_gvisor_that_has_to_be_gone() -> None:
    host = gvisor_host(gvisor={"state": "absent"})
    needs = [*facts.needs(settings.of(host)), *watches(host)]
    assert compared(drift.drift, host, answered(needs, {}, {})) == []
    (found,) = compared(drift.drift, host, answered(needs, {}, {"gvisor.remains": "/opt/gvisor"}))
    assert (found.subject, found.expected, found.actual) == ("/opt/gvisor", "", "still there")


def test_the_probe_of_a_deploy_is_no_agent() -> None:
    assert sandboxes("program\t1:1\nsandbox\tbulkhead-probe\thost\t1:1\nflag\tdebug=true\n") == ({"1:1"}, [])
    # Any process may call itself a sandbox.
    assert sandboxes("flag\tx\nsandbox\tx\x0cy\nsandbox\ta\tb\tc\td\nprogram\n\nsandbox\n") == (set(), [])
    assert sandboxes("sandbox\ta\thost\t1:2\nflag\tx=y=z\nflag\tbare\n") == (
        set(),
        [Sandbox("a", True, "1:2", {"x": "y=z", "bare": ""})],
    )


def test_a_newer_release() -> None:
    (found,) = newer(HOST, "20260921.0")
    assert (found.subject, found.expected, found.actual) == ("gVisor release", "20260921.0", "20260914.0")
    assert found.upstream
    assert found.mend.startswith("bulkhead pin 20260921.0; ")
    for host, latest in (
        (HOST, None),
        (HOST, "20260914.0"),
        (HOST, "20260817.1"),
        (gvisor_host(gvisor={"state": "absent"}), "20260921.0"),
        (gvisor_host(engines=["docker"], gvisor={"source": "distribution"}), "20260921.0"),
    ):
        assert newer(host, latest) == []


# The scripts, in a real shell


def script(name: str) -> str:
    (found,) = (need for need in watches(HOST) if getattr(need, "name", "") == name)
    return str(getattr(found, "script", ""))


def test_what_is_called_as_our_programs_is_found_in_every_search_path(tmp_path: Path) -> None:
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho $PID; echo; echo 0\n")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "runsc").touch()
    (tmp_path / "link").symlink_to("one")
    for path in (tmp_path / "systemctl", tmp_path / "one" / "runsc"):
        path.chmod(0o755)
    daemon = f"env -i TOKEN=hunter2 PATH={tmp_path}/one:/nowhere /bin/sleep 20 & PID=$!; export PID"
    done = sh(
        f"d={tmp_path}; PATH={tmp_path}/link:{tmp_path}:$PATH; export d\n{daemon}\nsleep 0.3\n"
        f"{script('gvisor.shadows')}\nkill $PID"
    )
    lines = done.stdout.splitlines()
    assert f"path\t{tmp_path}/one:/nowhere" in lines
    assert f"there\t{tmp_path}/one/runsc\t{tmp_path}/one/runsc" in lines
    assert f"there\t{tmp_path}/link/runsc\t{tmp_path}/one/runsc" in lines
    assert "hunter2" not in done.stdout
    assert done.stderr == ""


@pytest.fixture
def runsc() -> Path:
    """The runsc that the lab builds, where it has been built."""
    built = sorted(Path.home().glob(".cache/bulkhead/gvisor/go/*/runsc"))
    if not built:
        pytest.skip("the lab has built no runsc yet")
    return built[-1]


@as_root
@pytest.mark.parametrize(("chosen", "wrong"), [({}, []), ({"net-raw": "true"}, [("net-raw", "false", "true")])])
def test_a_real_sandbox_tells_its_flags(
    tmp_path: Path, runsc: Path, chosen: dict[str, str], wrong: list[tuple[str, str, str]]
) -> None:
    """Also those that were set to runsc's own defaults, and nothing of what runs inside."""
    bundle = json.loads(probe.config())
    bundle["process"] |= {"args": ["/probe", "wait"], "env": ["TOKEN=hunter2"]}
    (tmp_path / "config.json").write_text(json.dumps(bundle))
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "rootfs" / "probe").write_bytes(probe.program(os.uname().machine))
    (tmp_path / "rootfs" / "probe").chmod(0o755)
    handler = {**flags.DEFAULTS, "host-settings": "check", "ignore-cgroups": "true"}
    given = flags.arguments({**handler, **chosen})
    state = tmp_path / "state"
    # The one of another case may take a moment to end.
    name = f"sandbox-{len(chosen)}"
    run = subprocess.Popen([runsc, "--root", state, *given, "run", "--bundle", tmp_path, name], stdout=subprocess.PIPE)
    try:
        asked = render("gvisor/sandboxes.sh.j2", current=runsc.parent)
        told = ""
        while not re.search(rf"^sandbox\t{name}\t.*\nflag\t", told, re.MULTILINE) and run.poll() is None:
            told = sh(asked).stdout
        status = run.wait(timeout=60)
    finally:
        subprocess.run(["umount", state / "null-netns"], capture_output=True)
    assert status == probe.EXIT_STATUS
    assert "hunter2" not in told
    programs, running = sandboxes(told)
    (sandbox,) = (one for one in running if one.id == name)
    assert (sandbox.on_host, sandbox.program in programs) == (False, True)
    assert wrong_flags(sandbox.flags, [handler], all_told=True) == wrong
