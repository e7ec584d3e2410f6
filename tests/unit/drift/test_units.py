"""Units as a real script shows them, of a systemctl that says what systemd says, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bulkhead.drift import units
from bulkhead.drift.comparison import Comparison
from bulkhead.errors import BulkheadError
from bulkhead.look import Look, Output
from tests.unit.helpers import gvisor_host, sh, unit


def shown(*blocks: str, rest: str = "") -> Look:
    text = "\n".join(blocks) + "\n---\n" + rest
    return Look({}, {"a.watched": Output(0, text.encode(), b"")})


def found(look: Look, name: str = "docker.service", **wanted: Any) -> list[tuple[str, str, str]]:
    compared = Comparison("a", gvisor_host())
    compared.unit(units.read("a", look), name, **wanted)
    return [(one.subject, one.actual, one.mend) for one in compared.findings]


DOCKER = unit("docker.service", FragmentPath="/usr/lib/systemd/system/docker.service")


def test_a_unit_that_is_as_it_should_be() -> None:
    assert found(shown(DOCKER), enabled=True) == []
    assert found(shown(unit("docker.service", active="reloading"))) == []
    brought = "/usr/lib/systemd/system/service.d/a.conf"
    paths = f"DropInPaths={brought} /run/systemd/generator/docker.service.d/b.conf\n"
    assert found(shown(DOCKER + paths, rest=f"packaged\t{brought}\n"), enabled=True) == []


@pytest.mark.parametrize("answer", [Output(1, b"\n---\n", b""), Output(0, b"", b""), Output(124, b"Id=a\n", b"")])
def test_a_systemd_that_does_not_answer_is_never_clean(answer: Output) -> None:
    with pytest.raises(BulkheadError, match="does not tell how its units are"):
        units.read("a", Look({}, {"a.watched": answer}))


def test_a_unit_is_known_by_each_of_its_names() -> None:
    there = units.read("a", shown(unit("ssh.service", Names="ssh.service sshd.service"), DOCKER))
    assert there.keys() == {"ssh.service", "sshd.service", "docker.service"}
    assert there["sshd.service"].name == "ssh.service"


def test_states() -> None:
    assert found(shown(unit("docker.service", "inactive", "masked", "masked")), enabled=True) == [
        ("unit docker.service", "masked", "systemctl unmask docker.service; systemctl enable --now docker.service")
    ]
    assert found(shown(unit("docker.service", "active", "disabled")), enabled=True) == [
        ("unit docker.service", "disabled active", "systemctl enable --now docker.service")
    ]
    assert found(shown(unit("docker.service", "failed")), enabled=True) == [
        ("unit docker.service", "failed", "systemctl enable --now docker.service")
    ]
    assert found(shown(unit("docker.service", "inactive", "disabled"))) == [
        ("unit docker.service", "inactive", "systemctl start docker.service")
    ]
    assert found(shown(unit("docker.service", "inactive", "disabled")), runs=False) == []
    deploy = "pyinfra INVENTORY deploy.py --limit agents-1"
    for missing in (shown(), shown(unit("docker.service", "inactive", "", "not-found"))):
        assert found(missing) == [("unit docker.service", "", deploy)]


def test_what_somebody_laid_over_it() -> None:
    path = "/etc/systemd/system/docker.service.d/x.conf"
    look = shown(DOCKER + f"DropInPaths={path}\n", rest=f"drop-in\t{path}\tEnvironment \n")
    mend = f"rm {path}; systemctl daemon-reload; systemctl restart docker.service"
    assert found(look) == [(f"unit docker.service: drop-in {path}", "sets Environment", mend)]


def test_what_lies_where_packages_put_theirs_and_none_brought() -> None:
    path = "/usr/lib/systemd/system/docker.service.d/x.conf"
    assert [one[0] for one in found(shown(DOCKER + f"DropInPaths={path}\n"))] == [
        f"unit docker.service: drop-in {path}"
    ]


def test_nobody_generates_anything_for_units_of_ours() -> None:
    path, name = "/run/systemd/generator/bulkhead-egress.service.d/x.conf", "bulkhead-egress.service"
    look = shown(unit(name) + f"DropInPaths={path}\n")
    assert [one[0] for one in found(look, name)] == [f"unit {name}: drop-in {path}"]


def test_whether_a_package_brought_it_is_asked_of_the_package_manager(tmp_path: Path) -> None:
    """A file of systemd's own package stands for a drop-in, by both of its paths; another beside it has no owner."""
    brought = "/usr/lib/systemd/system/systemd-journald.service"
    (tmp_path / "x.conf").touch()
    nobodys = f"/usr/lib/systemd/../../..{tmp_path}/x.conf"
    paths = f"{brought} {brought.removeprefix('/usr')} {nobodys}"
    stub = tmp_path / "systemctl"
    stub.write_text(f'#!/bin/sh\ncase "$*" in *DropInPaths\\ --value*) echo "{paths}" ;; *) echo ;; esac\n')
    stub.chmod(0o755)
    said = sh(f"PATH={tmp_path}:$PATH; {units.watch('a', ['a.service']).script}").stdout.splitlines()
    assert said[-3:] == [
        f"packaged\t{brought.removeprefix('/usr')}",
        f"drop-in\t{nobodys}\t",
        f"packaged\t{brought}",
    ]


def test_another_file_in_its_place() -> None:
    path = "/etc/systemd/system/docker.service"
    rest = f"shadows\t{path}\t/usr/lib/systemd/system/docker.service\n"
    look = shown(unit("docker.service", FragmentPath=path), rest=rest)
    mend = f"rm {path}; systemctl daemon-reload; systemctl restart docker.service"
    assert found(look) == [(f"unit docker.service: {path}", f"{path} in its place", mend)]
    # A mask is told once, and on a unit that need not run it is nothing.
    masked = shown(unit("docker.service", "inactive", "masked", "masked", FragmentPath=path), rest=rest)
    assert [one[:2] for one in found(masked)] == [("unit docker.service", "masked")]
    compared = Comparison("a", gvisor_host())
    compared.additions(units.read("a", masked)["docker.service"])
    assert compared.findings == []
    # One that no package brought is an installation by hand.
    assert found(shown(unit("docker.service", FragmentPath=path))) == []


def test_the_script_says_which_keys_a_drop_in_sets_and_no_value(tmp_path: Path) -> None:
    drop_in = tmp_path / "x.conf"
    drop_in.write_text("[Service]\nEnvironment=TOKEN=hunter2\n ExecStart = \nExecStart=/bin/x hunter2\n# Other=1\n")
    stub = tmp_path / "systemctl"
    stub.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *DropInPaths\\ --value*) echo "{drop_in} /gone.conf"; echo;;'
        " *FragmentPath\\ --value*) echo;;"
        f" *) printf 'Id=a.service\\nLoadState=loaded\\nDropInPaths={drop_in} /gone.conf\\n'; esac\n"
    )
    stub.chmod(0o755)
    done = sh(f"PATH={tmp_path}:$PATH; {units.watch('a', ['a.service', 'b.service']).script}")
    assert "hunter2" not in done.stdout
    there = units.read("a", Look({}, {"a.watched": Output(0, done.stdout.encode(), b"")}))
    assert there["a.service"].dropped == {str(drop_in): "Environment ExecStart ", "/gone.conf": ""}
