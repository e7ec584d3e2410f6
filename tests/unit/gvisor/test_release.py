"""From what was found on a host to what has to be done: decided without a host."""

from dataclasses import replace

import pytest

from bulkhead.errors import BulkheadError
from deploys.gvisor import facts, release
from deploys.gvisor.release import FoundGvisor, found, installed_as_pinned, package_release, plan
from deploys.gvisor.settings import GvisorSettings
from tests.unit.helpers import outputs, sh

RUNSC, SHIM, TARBALL = "a1" * 64, "b2" * 64, "c3" * 64
LOOSE = {"runsc": RUNSC, "containerd-shim-runsc-v1": SHIM}
LINKS: dict[str, str | None] = {
    "/usr/local/bin/runsc": "/opt/gvisor/current/runsc",
    "/usr/local/bin/containerd-shim-runsc-v1": "/opt/gvisor/current/containerd-shim-runsc-v1",
}
NEW = FoundGvisor(
    architecture="x86_64",
    tools=frozenset({"curl", "bzip2", "zstd"}),
    current=None,
    links=dict.fromkeys(LINKS),
    recorded={},
    actual={},
    origin={},
    untouched=False,
    package=None,
)
INSTALLED = replace(NEW, current="20260914.0", links=LINKS, recorded=LOOSE, actual=LOOSE, origin=LOOSE, untouched=True)


def settings(digests: dict[str, str] = LOOSE, name: str = "20260914.0") -> GvisorSettings:
    return GvisorSettings(release=name, base_url="http://mirror.example", sha512={"x86_64": digests})


def lines(there: FoundGvisor, digests: dict[str, str] = LOOSE) -> tuple[str, ...]:
    decided = plan(settings(digests), there)
    assert decided.title == "runsc 20260914.0"
    assert (decided.script is None) == (decided.lines == ())
    if decided.script:
        assert sh(f"sh -n <<'EOF_OF_TEST'\n{decided.script}\nEOF_OF_TEST\n").stderr == ""
    return decided.lines


def test_nothing_is_there() -> None:
    assert lines(NEW) == (
        "+ /opt/gvisor/20260914.0/ from runsc",
        "+ /opt/gvisor/20260914.0/ from containerd-shim-runsc-v1",
        "~ /opt/gvisor/current: nothing → 20260914.0",
        "~ /usr/local/bin/runsc: nothing → /opt/gvisor/current/runsc",
        "~ /usr/local/bin/containerd-shim-runsc-v1: nothing → /opt/gvisor/current/containerd-shim-runsc-v1",
    )


def test_all_is_as_it_should_be() -> None:
    assert lines(INSTALLED) == ()


def test_an_upgrade_keeps_the_links() -> None:
    there = replace(NEW, current="20260817.0", links=LINKS)
    assert lines(there) == (
        "+ /opt/gvisor/20260914.0/ from runsc",
        "+ /opt/gvisor/20260914.0/ from containerd-shim-runsc-v1",
        "~ /opt/gvisor/current: 20260817.0 → 20260914.0",
    )


def test_going_back_to_a_release_that_is_still_there_fetches_nothing() -> None:
    there = replace(INSTALLED, current="20260921.0", tools=frozenset())
    assert lines(there) == ("~ /opt/gvisor/current: 20260921.0 → 20260914.0",)
    script = plan(settings(), there).script
    assert script is not None
    assert "mirror.example" not in script


def test_another_runsc_in_the_way_of_a_link() -> None:
    there = replace(INSTALLED, links={**LINKS, "/usr/local/bin/runsc": "a file"})
    assert lines(there) == ("~ /usr/local/bin/runsc: a file → /opt/gvisor/current/runsc",)


def test_a_file_whose_mode_or_owner_somebody_changed() -> None:
    assert lines(replace(INSTALLED, untouched=False)) == ("~ /opt/gvisor/20260914.0/: owner and modes of its files",)


@pytest.mark.parametrize(
    "there",
    [
        replace(INSTALLED, actual={**LOOSE, "runsc": "f6" * 64}),
        replace(INSTALLED, actual={"runsc": RUNSC}),
        replace(INSTALLED, recorded={}, actual={}),
        replace(INSTALLED, recorded={"runsc": RUNSC}, actual={"runsc": RUNSC}),
        replace(INSTALLED, origin={}),
        replace(INSTALLED, origin={**LOOSE, "runsc": "f6" * 64}),
        replace(INSTALLED, origin={"gvisor.tar.bz2": TARBALL}),
    ],
    ids=["altered", "gone", "no record", "half a record", "no origin", "another origin", "origin not pinned"],
)
def test_a_release_that_is_not_as_pinned_is_installed_again(there: FoundGvisor) -> None:
    assert not installed_as_pinned(LOOSE, there)
    assert lines(there)[0] == "+ /opt/gvisor/20260914.0/ from runsc"


@pytest.mark.parametrize(
    ("tools", "artefact"),
    [
        ({"curl", "bzip2", "zstd"}, "gvisor.tar.bz2"),
        ({"curl", "zstd"}, "gvisor.tar.zstd"),
        ({"curl", "bzip2"}, "gvisor.tar.bz2"),
    ],
)
def test_the_tarball_that_the_host_can_unpack(tools: set[str], artefact: str) -> None:
    both = {"gvisor.tar.bz2": TARBALL, "gvisor.tar.zstd": RUNSC}
    assert lines(replace(NEW, tools=frozenset(tools)), both)[0] == f"+ /opt/gvisor/20260914.0/ from {artefact}"


@pytest.mark.parametrize(
    ("tools", "digests", "message", "hint"),
    [
        ({"bzip2"}, LOOSE, "the host has no curl to fetch gVisor with", "Install curl on it, then run again."),
        (
            {"curl"},
            {"gvisor.tar.bz2": TARBALL, "gvisor.tar.zstd": TARBALL},
            "the host lacks bzip2 or zstd to unpack gVisor with",
            "Install bzip2 or zstd on it.",
        ),
        (
            {"curl", "bzip2"},
            {"gvisor.tar.zstd": TARBALL},
            "the host lacks zstd to unpack gVisor with",
            "Install zstd on it.",
        ),
    ],
)
def test_a_tool_that_is_missing(tools: set[str], digests: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(BulkheadError) as error:
        plan(settings(digests), replace(NEW, tools=frozenset(tools)))
    assert (error.value.message, error.value.hint) == (message, hint)


def test_a_host_of_an_architecture_without_digests() -> None:
    with pytest.raises(BulkheadError) as error:
        plan(settings(), replace(NEW, architecture="aarch64"))
    assert error.value.message == "gvisor.release: no sha512 is pinned for 20260914.0 on aarch64"


def test_what_is_fetched_and_checked() -> None:
    script = plan(settings(), NEW).script
    assert script is not None
    assert "http://mirror.example/release/20260914.0/x86_64/runsc" in script
    assert f'is "$stage/"runsc {RUNSC} http://mirror.example/release/20260914.0/x86_64/runsc' in script
    assert "--network=sandbox" in script


# The distribution's package

DISTRIBUTION = GvisorSettings(source="distribution")


def test_a_package_that_is_not_there_is_installed() -> None:
    decided = plan(DISTRIBUTION, NEW)
    assert (decided.title, decided.lines) == ("runsc of the distribution", ("+ package runsc",))
    assert decided.script is not None
    assert sh(f"sh -n <<'EOF_OF_TEST'\n{decided.script}\nEOF_OF_TEST\n").stderr == ""
    assert "--oci-seccomp=false" in decided.script
    assert "--allow-suid" not in decided.script


def test_a_package_that_is_there() -> None:
    decided = plan(DISTRIBUTION, replace(NEW, package="0.0~20240729.0-4+b10"))
    assert (decided.title, decided.lines, decided.script) == ("runsc of the distribution", (), None)


def test_links_of_a_release_make_way_for_the_package() -> None:
    there = replace(INSTALLED, package="0.0~20240729.0-4", links={**LINKS, "/usr/local/bin/runsc": "/srv/mine"})
    decided = plan(DISTRIBUTION, there)
    assert decided.lines == ("- /usr/local/bin/containerd-shim-runsc-v1",)
    assert decided.script is not None
    assert "rm -f /usr/local/bin/containerd-shim-runsc-v1" in decided.script
    assert "rm -f /usr/local/bin/runsc" not in decided.script


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("0.0~20240729.0-4+b10", "20240729.0"),
        ("0.0~20221219.0-1", "20221219.0"),
        ("0.0~20260301-1", "20260301"),
        ("1.2.3", None),
        ("", None),
        (None, None),
    ],
)
def test_the_release_in_a_package_s_version(version: str | None, name: str | None) -> None:
    assert package_release(version) == name


# Reading a look

LINK_LINES = (
    "/opt/gvisor/current\t20260914.0\n"
    "/usr/local/bin/runsc\t/opt/gvisor/current/runsc\n"
    "/usr/local/bin/containerd-shim-runsc-v1\t\n"
)


def test_what_a_look_found() -> None:
    there = found(
        outputs(
            {
                "gvisor.host": "x86_64\ncurl\nbzip2\n",
                "gvisor.links": LINK_LINES,
                "gvisor.package": "",
                "gvisor.release": f"origin {TARBALL} gvisor.tar.bz2\nrecorded {RUNSC} runsc\n"
                f"recorded {SHIM} gvisor-bin/gvisor_sentry\nstate untouched -\nactual {RUNSC} runsc\n",
            }
        )
    )
    assert there == FoundGvisor(
        architecture="x86_64",
        tools=frozenset({"curl", "bzip2"}),
        current="20260914.0",
        links={
            "/usr/local/bin/runsc": "/opt/gvisor/current/runsc",
            "/usr/local/bin/containerd-shim-runsc-v1": None,
        },
        recorded={"runsc": RUNSC, "gvisor-bin/gvisor_sentry": SHIM},
        actual={"runsc": RUNSC},
        origin={"gvisor.tar.bz2": TARBALL},
        untouched=True,
        package=None,
    )


def test_a_host_with_nothing() -> None:
    empty = "/opt/gvisor/current\t\n/usr/local/bin/runsc\t\n"
    there = found(
        outputs({"gvisor.host": "aarch64\n", "gvisor.links": empty, "gvisor.package": "", "gvisor.release": ""})
    )
    assert (there.current, there.links, there.recorded) == (None, {"/usr/local/bin/runsc": None}, {})
    assert not there.untouched


@pytest.mark.parametrize(
    ("machine", "name"), [("riscv64\ncurl\n", "riscv64"), ("armv7l\n", "armv7l"), ("", "this architecture")]
)
def test_a_machine_that_has_no_gvisor(machine: str, name: str) -> None:
    with pytest.raises(BulkheadError) as error:
        found(outputs({"gvisor.host": machine, "gvisor.links": "", "gvisor.package": ""}))
    assert error.value.message == f"gVisor is not published for {name}"
    assert error.value.hint == "A gVisor host is x86_64 or aarch64."


def test_a_release_is_looked_for_only_where_one_is_wanted() -> None:
    names = [getattr(need, "name", "") for need in facts.needs(settings())]
    assert names == ["gvisor.host", "gvisor.links", "gvisor.package", "gvisor.release"]
    assert [getattr(need, "name", "") for need in facts.needs(DISTRIBUTION)] == names[:3]
    assert release.LINKS == LINKS
