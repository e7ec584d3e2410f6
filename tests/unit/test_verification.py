"""The verification: how hosts are reached, what counts as passed, and what becomes of each check."""

import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bulkhead import verification
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.inventory_file import ROOT
from bulkhead.verification import Check, Results, ssh_config, verify

# Reaching hosts


def host(name: str = "agents-1", **data: Any) -> InventoryHost:
    return InventoryHost(name, frozenset({"gvisor_hosts"}), data)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's own OpenSSH configuration counts here."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_a_host_is_reached_as_pyinfra_reaches_it() -> None:
    text = ssh_config(
        [
            host(
                ssh_hostname="192.0.2.11",
                ssh_port=2222,
                ssh_user="ops",
                ssh_key="/keys/ops",
                ssh_known_hosts_file="/keys/known hosts",
            )
        ],
        "/tmp/x",
    )
    assert text == (
        "Host agents-1\n"
        "  HostName 192.0.2.11\n"
        "  Port 2222\n"
        "  User ops\n"
        "  IdentityFile /keys/ops\n"
        '  UserKnownHostsFile "/keys/known hosts"\n'
        "  IdentitiesOnly yes\n"
        "  StrictHostKeyChecking yes\n"
        "  BatchMode yes\n"
        "  ConnectTimeout 15\n"
        "  ServerAliveInterval 15\n"
        "  ServerAliveCountMax 3\n"
        "  ControlMaster auto\n"
        "  ControlPath /tmp/x/%C\n"
        "  ControlPersist 30\n"
    )


def test_a_host_of_which_nothing_is_said_is_strict_all_the_same() -> None:
    text = ssh_config([host(), host("agents-2", ssh_user="ops")], "/tmp/x")
    first, second = text.split("\n\n")
    assert first.startswith("Host agents-1\n  StrictHostKeyChecking yes\n")
    assert second.startswith("Host agents-2\n  User ops\n  StrictHostKeyChecking yes\n")
    assert "IdentitiesOnly" not in text


def test_host_keys_are_checked_as_the_inventory_says() -> None:
    assert "  StrictHostKeyChecking accept-new\n" in ssh_config([host(ssh_strict_host_key_checking="accept-new")], "/x")


def test_paths_below_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my conf").touch()
    text = ssh_config([host(ssh_key="~/.ssh/id", ssh_known_hosts_file="~/k", ssh_config_file="~/my conf")], "/x")
    assert f"  IdentityFile {tmp_path}/.ssh/id\n" in text
    assert f"  UserKnownHostsFile {tmp_path}/k\n" in text
    assert text.endswith(f'  Include "{tmp_path}/my conf"\n')


def test_paths_count_from_the_top_of_the_repository_as_in_pyinfra() -> None:
    text = ssh_config([host(ssh_known_hosts_file="known_hosts")], "/x")
    assert f"  UserKnownHostsFile {ROOT}/known_hosts\n" in text


def test_what_openssh_reads_by_default_is_included_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "Include" not in ssh_config([host()], "/x")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").touch()
    assert ssh_config([host()], "/x").endswith(f"  Include {tmp_path}/.ssh/config\n")


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs the OpenSSH client")
def test_openssh_reads_it_so(tmp_path: Path) -> None:
    (tmp_path / "extra").write_text("Host *\n  StrictHostKeyChecking no\n  ForwardAgent yes\n  Port 99\n")
    hosts = [
        host(ssh_hostname="192.0.2.11", ssh_port=2222, ssh_user="ops", ssh_config_file=str(tmp_path / "extra")),
        host("agents-2", ssh_hostname="192.0.2.12", ssh_known_hosts_file="/keys/known hosts"),
    ]
    (tmp_path / "config").write_text(ssh_config(hosts, str(tmp_path)))

    def effective(name: str) -> list[str]:
        command = ["ssh", "-G", "-F", str(tmp_path / "config"), name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    first, second = effective("agents-1"), effective("agents-2")
    for line in ("hostname 192.0.2.11", "port 2222", "user ops", "stricthostkeychecking true", "forwardagent yes"):
        assert line in first
    for line in ("hostname 192.0.2.12", "port 22", "stricthostkeychecking true", "forwardagent no", "batchmode yes"):
        assert line in second
    assert "userknownhostsfile /keys/known hosts" in second
    assert any(line.startswith(f"controlpath {tmp_path}/") for line in second)


# What counts


def results(*outcomes: str, errors: tuple[str, ...] = ()) -> Results:
    checks = [Check("agents-1", f"docker.{number}", "A check", outcome, 0.1) for number, outcome in enumerate(outcomes)]
    return Results(checks, list(errors))


@pytest.mark.parametrize(
    ("outcomes", "passed"),
    [
        (["passed", "passed"], True),
        (["passed", "skipped"], True),
        (["skipped", "skipped"], False),
        ([], False),
        (["passed", "failed"], False),
        (["failed"], False),
    ],
)
def test_skipped_checks_alone_are_no_pass(outcomes: list[str], passed: bool) -> None:
    assert results(*outcomes).passed is passed


def test_checks_that_could_not_be_run_are_no_pass() -> None:
    assert not results("passed", errors=("the suite is broken",)).passed


def test_counts() -> None:
    both = Results(
        [Check("a", "x", "X", "passed", 0.1), Check("b", "x", "X", "passed", 0.1), Check("b", "y", "Y", "skipped", 0.1)]
    )
    assert (both.count("passed"), both.count("passed", "b"), both.count("skipped", "a")) == (2, 1, 0)


def test_json_holds_everything() -> None:
    found = Results([Check("a", "docker.x", "docker: X", "failed", 0.5, "no handler")], ["broken"])
    assert json.loads(found.json()) == {
        "checks": [
            {
                "host": "a",
                "name": "docker.x",
                "title": "docker: X",
                "outcome": "failed",
                "seconds": 0.5,
                "reason": "no handler",
            }
        ],
        "errors": ["broken"],
    }


def shown(found: Results) -> str:
    console = Console(file=io.StringIO(), width=160)
    found.show(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_names_reasons_and_puts_the_worst_last() -> None:
    text = shown(
        Results(
            [
                Check(
                    "a", "docker.x", "docker: The runtime is registered", "failed", 1.25, "assert 'runsc' in ['runc']"
                ),
                Check("a", "docker.y", "docker: A sandbox starts", "passed", 0.5),
                Check("a", "docker.z", "docker: Something else", "skipped", 0.0, "no [such] thing"),
            ],
            ["collection [failed]"],
        )
    )
    rows = [line for line in text.splitlines() if line.startswith("│")]
    assert ["passed" in rows[0], "skipped" in rows[1], "failed" in rows[2]] == [True, True, True]
    assert "a: docker: The runtime is registered: failed\n  assert 'runsc' in ['runc']\n" in text
    assert "  no [such] thing\n" in text
    assert "collection [failed]\n" in text
    assert text.endswith("a: 1 passed, 1 skipped, 1 failed\n")


def test_a_title_is_no_markup() -> None:
    assert "docker: It [is] so" in shown(Results([Check("a", "x", "docker: It [is] so", "failed", 0.1, "why")]))


def test_what_hosts_say_steers_no_terminal() -> None:
    said = "\x1b[2Jall is well\x1b]52;c;eA==\x07\nsecond"
    text = shown(Results([Check("web[/x]1", "docker.x", "docker: X", "failed", 0.1, said)], ["\x1b[2J"]))
    assert "\x1b" not in text
    assert "  \\x1b[2Jall is well\\x1b]52;c;eA==\\x07\n  second\n" in text
    assert "web[/x]1" in text


def test_no_checks_at_all_are_shown_as_the_error() -> None:
    assert shown(Results([], ["the checks could not be run"])) == "the checks could not be run\n"


# A run: real pytest and testinfra, on checks that ask nothing of a host

SUITE = """
import json
from pathlib import Path
import pytest

def pytest_addoption(parser):
    parser.addoption("--described")

@pytest.fixture
def broken(host):
    raise RuntimeError("no image")
"""

CHECKS = '''
import json
from pathlib import Path
import pytest

def test_good(host):
    """It is good.

    More of it.
    """

def test_bad(host):
    """It is bad."""
    assert 1 == 2, "one is not two"

def test_left_out(host):
    pytest.skip("there is no such engine")

def test_without_its_fixture(host, broken):
    """It has no image."""

def test_of_secrets(host):
    assert {"auth_token": "hunter2"} == {}, "--api-key=hunter2"

def test_knows_the_inventory(host, pytestconfig):
    (entry,) = json.loads(Path(pytestconfig.getoption("--described")).read_text())
    assert entry["name"] == host.backend.hostname == "agents-1"
    assert entry["data"] == {"engines": ["docker"], "gvisor": {"release": "20260817.0"}}
    config = Path(pytestconfig.getoption("--ssh-config")).read_text()
    assert "HostName 192.0.2.1" in config and "StrictHostKeyChecking yes" in config
    assert host.backend.sudo is True
'''


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "checks"
    folder.mkdir()
    (folder / "conftest.py").write_text(SUITE)
    (folder / "test_docker.py").write_text(CHECKS)
    monkeypatch.setattr(verification, "SUITE", folder)
    # How an inventory is read is tested by itself, and takes a process.
    read = [host(ssh_hostname="192.0.2.1", engines=["docker"], gvisor={"release": "20260817.0"})]
    monkeypatch.setattr(verification, "load", lambda *_: read)
    yield folder
    # Imported by the pytest that ran in this process; the next suite has modules of the same names.
    for name in ("test_docker", "test_broken"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("suite")
def test_each_check_becomes_what_it_is() -> None:
    found = verify("inventory.py")
    assert {(check.host, check.name, check.outcome) for check in found.checks} == {
        ("agents-1", "docker.good", "passed"),
        ("agents-1", "docker.bad", "failed"),
        ("agents-1", "docker.left_out", "skipped"),
        ("agents-1", "docker.without_its_fixture", "failed"),
        ("agents-1", "docker.of_secrets", "failed"),
        ("agents-1", "docker.knows_the_inventory", "passed"),
    }
    checks = {check.name: check for check in found.checks}
    assert checks["docker.good"].title == "docker: It is good"
    assert checks["docker.bad"].reason.startswith("one is not two")
    assert checks["docker.left_out"].reason == "there is no such engine"
    assert checks["docker.without_its_fixture"].reason == "RuntimeError: no image"
    assert checks["docker.of_secrets"].reason.startswith("--api-key=(withheld)")
    assert "hunter2" not in found.json()
    assert found.errors == []
    assert not found.passed


SILENT = """
import subprocess
import pytest

def ask(host):
    subprocess.run(["sleep", "60"] if host.backend.hostname == "agents-1" else ["true"], check=True)

@pytest.fixture
def one(host):
    yield
    ask(host)

@pytest.fixture
def other(host):
    yield
    ask(host)

def test_hanging(host, one, other):
    try:
        ask(host)
    finally:
        ask(host)

def test_more(host):
    pass
"""


def test_a_host_that_says_nothing_is_given_up_and_keeps_nobody_waiting(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (suite / "test_docker.py").write_text(SILENT)
    monkeypatch.setattr(verification, "load", lambda *_: [host(), host("agents-2")])
    monkeypatch.setattr(verification, "PATIENCE", 1.0)
    began = time.monotonic()
    found = verify("inventory.py")
    assert time.monotonic() - began < 30, found.json()
    assert {(check.host, check.name, check.outcome) for check in found.checks} == {
        ("agents-1", "docker.hanging", "failed"),
        ("agents-1", "docker.more", "failed"),
        ("agents-2", "docker.hanging", "passed"),
        ("agents-2", "docker.more", "passed"),
    }
    reasons = {check.reason for check in found.checks if check.host == "agents-1"}
    assert reasons == {"the host did not answer within 1 seconds, and is given up"}


@pytest.mark.usefixtures("suite")
def test_only_the_checks_that_are_asked_for() -> None:
    found = verify("inventory.py", only=("docker.good", "*.left*"))
    assert {(check.name, check.outcome) for check in found.checks} == {
        ("docker.good", "passed"),
        ("docker.left_out", "skipped"),
    }
    assert found.passed


@pytest.mark.usefixtures("suite")
def test_a_check_that_there_is_not_is_refused() -> None:
    with pytest.raises(BulkheadError) as error:
        verify("inventory.py", only=("docker.good", "docker.goood"))
    assert error.value.message == "no check is named docker.goood"
    assert "docker.knows_the_inventory" in error.value.hint


def test_a_suite_that_cannot_be_read_is_an_error_and_no_pass(suite: Path) -> None:
    (suite / "test_broken.py").write_text("import no_such_module\n")
    found = verify("inventory.py")
    assert any("no_such_module" in error for error in found.errors)
    assert not found.passed


def test_a_suite_that_is_empty_is_an_error_and_no_pass(suite: Path) -> None:
    (suite / "test_docker.py").unlink()
    found = verify("inventory.py")
    assert found.errors == ["the checks could not be run (pytest: 5)"]
    assert not found.passed


@pytest.mark.usefixtures("suite")
def test_an_operator_s_own_pytest_options_leave_out_no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k good")
    assert len(verify("inventory.py").checks) == 6


def test_sudo_with_a_password_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "inventory.py"
    path.write_text(
        'gvisor_hosts = [("agents-1", {"_sudo_password": "s3cret", "engines": ["docker"],'
        ' "gvisor": {"release": "20260817.0"}, "egress": {"management": ["192.0.2.0/24"]}})]\n'
    )
    with pytest.raises(BulkheadError) as error:
        verify(str(path))
    assert "agents-1: _sudo_password: sudo can't be given a password\n" in error.value.message
    assert "Let the connecting user use sudo without one, or connect as root." in error.value.message


def test_an_inventory_without_a_host(tmp_path: Path) -> None:
    path = tmp_path / "inventory.py"
    path.write_text("gvisor_hosts = []\n")
    with pytest.raises(BulkheadError) as error:
        verify(str(path))
    assert error.value.message == f"{path}: there is no host in it"


def test_both_kinds_of_host_are_verified(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (suite / "test_docker.py").write_text("def test_good(host):\n    pass\n")
    legacy = InventoryHost("old-1", frozenset({"legacy_hosts"}), {})
    monkeypatch.setattr(verification, "load", lambda *_: [host(), legacy])
    assert {check.host for check in verify("inventory.py").checks} == {"agents-1", "old-1"}


@pytest.mark.usefixtures("suite")
def test_this_machine_itself_is_verified(monkeypatch: pytest.MonkeyPatch, suite: Path) -> None:
    (suite / "test_docker.py").write_text("def test_good(host):\n    assert host.check_output('echo here') == 'here'\n")
    monkeypatch.setattr(verification, "load", lambda *_: [host("@local", _sudo=False)])
    assert [(check.host, check.outcome) for check in verify("inventory.py").checks] == [("@local", "passed")]
