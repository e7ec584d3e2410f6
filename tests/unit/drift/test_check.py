"""`bulkhead drift`: its exit statuses, where the report goes, and that one check at a time writes it."""

from __future__ import annotations

import fcntl
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bulkhead import publish
from bulkhead.cli import main
from bulkhead.drift import check
from bulkhead.drift.finding import Finding
from bulkhead.drift.report import Report, read
from bulkhead.inventory import InventoryHost
from bulkhead.inventory_file import ROOT
from bulkhead.look import Command, Look
from tests.oracles.sshd import Sshd, needs_namespaces, sshd
from tests.unit.helpers import leading_to, website

FORWARD = Finding("hardening", "sysctl net.ipv4.ip_forward", "1", "0", "critical", "Run the deploy.")
RELEASE = Finding("gvisor", "release", "20260817.0", "20261101.0", "info", "Pin it, then run the deploy.")


def run(*arguments: str | int | Path, upstream: bool = False) -> Result:
    asking = [] if upstream else ["--no-upstream"]
    return CliRunner().invoke(main, ["drift", *asking, *map(str, arguments)])


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with sshd() as server:
        yield server


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Finding]]:
    """Host → what its comparison finds; what capabilities find is tested by each of them."""
    findings: dict[str, list[Finding]] = {}

    def findings_of(host: InventoryHost, look: Look) -> list[Finding]:
        assert look.outputs["who"].text == "root"
        return findings.get(host.name, [])

    monkeypatch.setattr(check, "watched", lambda _: [Command("who", "id -un")])
    monkeypatch.setattr(check, "findings_of", findings_of)
    return findings


def inventory(path: Path, **hosts: dict[str, Any]) -> Path:
    settings = {
        "engines": ["docker"],
        "gvisor": {"release": "20260817.0"},
        "egress": {"management": ["192.0.2.0/24"]},
    }
    listed = [(name, {**settings, **data}) for name, data in hosts.items()]
    path.write_text(f"gvisor_hosts = {listed!r}\n")
    return path


@pytest.fixture
def two(tmp_path: Path, server: Sshd) -> Path:
    """An inventory of two hosts."""
    return inventory(tmp_path / "inventory.py", a=server.data(), b=server.data())


@pytest.fixture
def dead(tmp_path: Path, server: Sshd) -> Path:
    """An inventory of one host that is there, and one that is not."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return inventory(tmp_path / "dead.py", a=server.data(), b=server.data(ssh_port=port))


@needs_namespaces
def test_exit_statuses(two: Path, dead: Path, found: dict[str, list[Finding]]) -> None:
    clean = run(two)
    assert clean.exit_code == 0
    assert ": 2 clean, 0 with drift, 0 not looked at; " in clean.output
    found["b"] = [RELEASE]
    assert run(two).exit_code == 0
    found["b"] = [FORWARD]
    drifted = run(two)
    assert drifted.exit_code == 2
    assert "b: hardening: sysctl net.ipv4.ip_forward: critical\n" in drifted.output
    assert run(two, "--limit", "a").exit_code == 0
    # Drift on one host is not said of a fleet of which another is not known.
    found["a"] = [FORWARD]
    unknown = run(dead)
    assert unknown.exit_code == 1
    assert ": 0 clean, 1 with drift, 1 not looked at; " in unknown.output
    assert "Connection refused" in unknown.output


@needs_namespaces
def test_the_report_as_json(dead: Path, found: dict[str, list[Finding]], tmp_path: Path) -> None:
    found["a"] = [FORWARD]
    result = run(dead, "--format", "json")
    assert result.exit_code == 1
    (tmp_path / "printed").write_text(result.stdout)
    report = read(tmp_path / "printed")
    assert report.inventory == str(dead)
    assert [(host.name, host.state) for host in report.hosts] == [("a", "drift"), ("b", "error")]
    assert [seen.finding for seen in report.hosts[0].findings] == [FORWARD]
    assert report.hosts[0].findings[0].since == report.started
    assert 0 < report.hosts[0].seconds < report.seconds


@needs_namespaces
def test_one_file_keeps_what_is_known_since_when(two: Path, found: dict[str, list[Finding]], tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    again = (two, "--format", "json", "--output", state, "--since", state)
    found["a"] = [FORWARD]
    first = run(*again)
    assert (first.exit_code, first.output.count("\n")) == (2, 1)
    since = read(state).started
    found["b"] = [RELEASE]
    assert run(*again).exit_code == 2
    second = read(state)
    assert second.started > since
    assert [seen.since for host in second.hosts for seen in host.findings] == [since, second.started]
    found.clear()
    assert run(*again).exit_code == 0
    assert [[seen.finding for seen in host.gone] for host in read(state).hosts] == [[FORWARD], [RELEASE]]
    assert state.stat().st_mode & 0o777 == 0o644


@needs_namespaces
def test_a_file_that_knows_of_other_hosts_is_not_replaced(
    two: Path, found: dict[str, list[Finding]], tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    again = (two, "--format", "json", "--output", state, "--since", state)
    found["b"] = [FORWARD]
    assert run(*again).exit_code == 2
    before = state.read_bytes()
    refused = run(*again, "--limit", "a", "--limit", "none*")
    assert refused.exit_code == 1
    assert refused.output == (
        f"bulkhead: {state}: is a report of all hosts, and this check is of --limit a --limit none*\n"
        "  Name another --output, so that what is known of the others is not lost.\n"
    )
    assert state.read_bytes() == before
    assert run(two, "--format", "json", "--output", tmp_path / "a", "--since", state, "--limit", "a").exit_code == 0


@needs_namespaces
def test_several_files_of_one_look(two: Path, found: dict[str, list[Finding]], tmp_path: Path) -> None:
    found["a"] = [FORWARD]
    (tmp_path / "link.txt").symlink_to("real.txt")
    result = run(
        two, "--format", "json", "--output", tmp_path / "a", "--format", "text", "--output", tmp_path / "link.txt"
    )
    assert result.exit_code == 2
    assert [host.state for host in read(tmp_path / "a").hosts] == ["drift", "clean"]
    assert "sysctl net.ipv4.ip_forward" in (tmp_path / "real.txt").read_text()
    assert (tmp_path / "link.txt").is_symlink()
    left = {path.name for path in tmp_path.iterdir()} - {"inventory.py"}
    assert left == {"a", "link.txt", "real.txt", ".a.lock", ".real.txt.lock"}


@needs_namespaces
def test_a_newer_release_than_the_pinned_one(
    two: Path, found: dict[str, list[Finding]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told and is no drift; while the site can't be reached, what is known of it stays."""
    state = tmp_path / "state.json"
    again = (two, "--format", "json", "--output", state, "--since", state)

    def known() -> list[list[tuple[str, str, str]]]:
        return [
            [(seen.finding.subject, seen.finding.actual, seen.finding.expected) for seen in host.findings]
            for host in read(state).hosts
        ]

    with website() as site:
        monkeypatch.setattr(publish, "LATEST", f"{site.url}/latest")
        site.pages = {"/latest": leading_to("/release-20260817.0"), "/release-20260817.0": b"page"}
        assert run(*again, upstream=True).exit_code == 0
        assert known() == [[], []]
        site.pages = {"/latest": leading_to("/release-20260921.0"), "/release-20260921.0": b"page"}
        assert run(two, "--format", "json", "--output", tmp_path / "unasked").exit_code == 0
        assert [host.findings for host in read(tmp_path / "unasked").hosts] == [(), ()]
        assert run(*again, upstream=True).exit_code == 0
        newer = [("gVisor release", "20260817.0", "20260921.0")]
        assert known() == [newer, newer]
    found["b"] = [FORWARD]
    assert run(*again, upstream=True).exit_code == 2
    assert known() == [newer, [("sysctl net.ipv4.ip_forward", "0", "1"), *newer]]
    assert [host.gone for host in read(state).hosts] == [(), ()]


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is connected, nor even the inventory read."""

    def load(*_: object) -> list[InventoryHost]:
        raise AssertionError("went on")

    monkeypatch.setattr(check, "load", load)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing argument 'INVENTORY'"),
        (("i.py", "--no-such"), "No such option '--no-such'"),
        (("i.py", "--format", "yaml"), "Invalid value for '--format'"),
        (("i.py", "--parallel", "0"), "Invalid value for '--parallel'"),
        (("i.py", "--timeout", "soon"), "Invalid value for '--timeout'"),
        (("i.py", "--format", "json", "--format", "text"), "0 times --output, but 2 times --format"),
        (("i.py", "--output", "a", "--output", "b"), "2 times --output, but 1 times --format"),
        (("i.py", "--format", "json", "--format", "json", "--output", "a", "--output", "./a"), "are the same file"),
        (("i.py", "--output", "a", "--since", "a"), "--since a is also an --output, whose --format must then be json"),
        (("i.py", "--since", "none.json"), "none.json: No such file or directory"),
        (("i.py", "--since", "none.json", "--format", "json", "--output", "a"), "none.json: No such file or directory"),
        (("i.py", "--since", "odd.json"), "odd.json: no report of 'bulkhead drift --format json'"),
        (("i.py", "--format", "json", "--output", "odd.json", "--since", "odd.json"), "odd.json: no report of"),
        (("i.py", "--history", "a", "--since", "odd.json"), "--history knows the check before by itself"),
        (("i.py", "--keep", "3"), "--keep is about --history, which is missing"),
        (("i.py", "--history", "a", "--keep", "0"), "Invalid value for '--keep'"),
        (("i.py", "--history", "odd.json"), "odd.json: can't be written (File exists)"),
        (("i.py", "--history", "odd.json/a"), "odd.json/a: can't be written (Not a directory)"),
        (("i.py", "--output", "no/such/a"), "no/such/a: can't be written (No such file or directory)"),
        (("i.py", "--output", "."), ".: is no regular file"),
        (("i.py", "--output", "/dev/null"), "/dev/null: is no regular file"),
    ],
)
def test_an_error_is_never_the_exit_status_of_drift(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.json").write_text("{}")
    result = run(*arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert (tmp_path / "odd.json").read_text() == "{}"


@pytest.mark.parametrize("arguments", [["drfit"], ["--no-such", "drift"], ["verify"]])
def test_nor_of_the_whole_command(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 1


def test_a_broken_inventory(tmp_path: Path) -> None:
    (tmp_path / "inventory.py").write_text("gvisor_hosts = [\n")
    (tmp_path / "state.json").write_text("old")
    result = run(tmp_path / "inventory.py", "--output", tmp_path / "state.json")
    assert result.exit_code == 1
    assert "the inventory can't be used" in result.output
    assert (tmp_path / "state.json").read_text() == "old"
    assert run(tmp_path / "none.py").exit_code == 1


@pytest.mark.usefixtures("untouched")
def test_two_checks_do_not_write_the_same_file(tmp_path: Path) -> None:
    with (tmp_path / ".state.json.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = run("i.py", "--format", "json", "--output", tmp_path / "state.json")
    assert result.exit_code == 1
    assert result.output == (
        f"bulkhead: {tmp_path}/state.json: another check that writes it is under way\n"
        "  Wait for it, or name another --output.\n"
    )


@pytest.mark.usefixtures("untouched")
def test_two_checks_do_not_write_the_same_history(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = run("i.py", "--history", tmp_path)
    assert result.exit_code == 1
    assert result.output == (
        f"bulkhead: {tmp_path}: another check that writes it is under way\n  Wait for it, or name another --history.\n"
    )


def stored(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.json"))


@needs_namespaces
def test_a_history_says_since_when_and_keeps_the_newest(
    two: Path, found: dict[str, list[Finding]], tmp_path: Path
) -> None:
    past = tmp_path / "drift" / "reports"
    found["a"] = [FORWARD]
    assert run(two, "--history", past, "--keep", 2).exit_code == 2
    (first,) = stored(past)
    since = read(first).started
    # 20261123T023500.123456Z, in UTC.
    assert first.name == since.isoformat().replace("-", "").replace(":", "").replace("+0000", "Z") + ".json"
    assert [path.stat().st_mode & 0o777 for path in (past, first)] == [0o700, 0o600]
    assert run(two, "--history", past, "--keep", 2).exit_code == 2
    found.clear()
    assert run(two, "--history", past, "--keep", 2).exit_code == 0
    second, third = (read(path) for path in stored(past))
    assert first not in stored(past)
    assert [seen.since for seen in second.hosts[0].findings] == [since]
    assert [(seen.finding, seen.since) for seen in third.hosts[0].gone] == [(FORWARD, since)]
    assert run(two, "--history", past, "--keep", 1).exit_code == 0
    (only,) = stored(past)
    assert read(only).started > third.started


@needs_namespaces
def test_a_check_of_some_hosts_leaves_what_is_known_of_others(
    two: Path, found: dict[str, list[Finding]], tmp_path: Path
) -> None:
    """It goes on from what all of them were, or from one like itself; a check of all goes on from the one before it."""
    past = (two, "--history", tmp_path)

    def since(*limit: str) -> list[tuple[str, datetime]]:
        """Host and time of each finding of a check."""
        assert run(*past, *limit).exit_code == 2
        return [(host.name, seen.since) for host in read(stored(tmp_path)[-1]).hosts for seen in host.findings]

    found["a"] = [FORWARD]
    found["b"] = [FORWARD]
    all_hosts = since()
    assert [name for name, _ in all_hosts] == ["a", "b"]
    assert since("--limit", "a") == all_hosts[:1]
    assert since() == all_hosts
    found["b"] = [RELEASE, FORWARD]
    of_b = since("--limit", "b")
    assert [seen for seen in of_b if seen in all_hosts] == all_hosts[1:]
    assert since("--limit", "b") == of_b
    of_a = since("--limit", "a")
    assert of_a == all_hosts[:1]
    page = run(*past, "--limit", "b", "--format", "html").output
    listed = page[page.index('<h2 id="history">') :].partition("</table>")[0]
    assert listed.count("<tr") == 1 + 3, listed


@needs_namespaces
def test_the_page_shows_the_history(two: Path, found: dict[str, list[Finding]], tmp_path: Path) -> None:
    found["a"] = [FORWARD]
    page = (two, "--history", tmp_path / "past", "--format", "html")
    heading = '<h2 id="history">History</h2>'
    assert heading not in run(*page).output
    assert heading in run(*page).output
    assert run(*page, "--output", tmp_path / "drift.html").exit_code == 2
    arguments = ["report", *map(str, stored(tmp_path / "past"))]
    assert (tmp_path / "drift.html").read_text() == CliRunner().invoke(main, arguments).output


@needs_namespaces
def test_checks_of_some_hosts_are_counted_by_themselves(
    two: Path, found: dict[str, list[Finding]], tmp_path: Path
) -> None:
    """However many there are, what is known of all hosts stays; nor do they count as the same, whose limits differ."""
    past = ("--history", tmp_path, "--keep", 2)
    found["b"] = [FORWARD]
    assert run(two, *past).exit_code == 2
    (first,) = stored(tmp_path)
    for _ in range(3):
        assert run(two, *past, "--limit", "a").exit_code == 0
    assert run(two, *past, "--limit", "b").exit_code == 2
    assert [read(path).limit for path in stored(tmp_path)] == [(), ("a",), ("a",), ("b",)]
    assert run(two, *past).exit_code == 2
    latest = max((read(path) for path in stored(tmp_path)), key=lambda report: report.started)
    assert [seen.since for seen in latest.hosts[1].findings] == [read(first).started]


@needs_namespaces
def test_a_report_of_another_inventory_says_nothing_of_these_hosts(
    two: Path, found: dict[str, list[Finding]], tmp_path: Path
) -> None:
    """Hosts of one name would be taken for each other, and what is known of those lost."""
    state = tmp_path / "state.json"
    again = ("--format", "json", "--output", state, "--since", state)
    assert run(two, *again).exit_code == 0
    before = state.read_bytes()
    other = two.rename(tmp_path / "other.py")
    result = run(other, *again)
    assert result.exit_code == 1
    assert result.output == (
        f"bulkhead: {state}: is a report of {two}, not of {other}\n"
        "  Hosts of one name would be taken for each other: name a report of this inventory.\n"
    )
    assert state.read_bytes() == before
    assert found == {}


@needs_namespaces
def test_what_is_no_report_does_not_end_the_watch(two: Path, found: dict[str, list[Finding]], tmp_path: Path) -> None:
    """Neither a report cut off, nor one of a clock that was wrong; other files are left alone."""
    found["a"] = [FORWARD]
    assert run(two, "--history", tmp_path).exit_code == 2
    (first,) = stored(tmp_path)
    since = read(first).started
    others = [tmp_path / "notes.json", tmp_path / "29991231T000000Z.json", tmp_path / "20000101T000000Z.json.bak"]
    for path in others:
        path.write_text("mine")
    broken = first.with_name(first.name.partition(".")[0] + ".999999Z.json")
    broken.write_bytes(first.read_bytes()[:100])
    time.sleep(1)
    again = run(two, "--history", tmp_path, "--keep", 1)
    assert again.exit_code == 2
    assert again.stderr.startswith(f"bulkhead: {broken}: no report of 'bulkhead drift --format json'")
    assert again.stderr.endswith("; it is passed over\n")
    assert [path.read_text() for path in others] == ["mine"] * 3
    assert not broken.exists()
    (latest,) = {*stored(tmp_path)} - {*others}
    assert [seen.since for seen in read(latest).hosts[0].findings] == [since]


@needs_namespaces
def test_each_inventory_has_a_history_of_its_own(two: Path, found: dict[str, list[Finding]], tmp_path: Path) -> None:
    assert run(two, "--history", tmp_path / "past").exit_code == 0
    (first,) = stored(tmp_path / "past")
    other = two.rename(tmp_path / "other.py")
    result = run(other, "--history", tmp_path / "past")
    assert result.exit_code == 1
    assert result.output == (
        f"bulkhead: {first}: is a report of {two}, not of {other}\n"
        "  Name a directory of its own for each inventory with --history.\n"
    )
    assert stored(tmp_path / "past") == [first]
    assert found == {}


@needs_namespaces
def test_what_could_not_be_looked_at_is_said_where_the_report_is_not(
    dead: Path, found: dict[str, list[Finding]], tmp_path: Path
) -> None:
    found.clear()
    result = run(dead, "--format", "prometheus", "--output", tmp_path / "a.prom")
    assert result.exit_code == 1
    assert result.stderr.startswith("bulkhead: b: error: ")
    assert "Connection refused" in result.stderr
    assert result.stdout.count("\n") == 1


@needs_namespaces
def test_a_directory_that_is_not_writable(two: Path, found: dict[str, list[Finding]], tmp_path: Path) -> None:
    """As found out only at the end: the report before stays, and the exit status says so."""
    found["a"] = [FORWARD]
    (tmp_path / "out").mkdir()
    state = tmp_path / "out" / "state.json"
    state.write_text("old")

    def findings_of(host: InventoryHost, look: Look) -> list[Finding]:  # noqa: ARG001
        (tmp_path / "out").rename(tmp_path / "gone")
        (tmp_path / "out").write_text("")
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "findings_of", findings_of)
        result = run(two, "--limit", "a", "--format", "json", "--output", state)
    assert result.exit_code == 1
    assert f"{state}: can't be written (" in result.output
    assert (tmp_path / "gone" / "state.json").read_text() == "old"


@needs_namespaces
def test_an_inventory_that_is_not_strict_is_obeyed_with_a_warning(
    tmp_path: Path, server: Sshd, found: dict[str, list[Finding]]
) -> None:
    found.clear()
    (tmp_path / "known").touch()
    data = server.data(ssh_strict_host_key_checking="accept-new", ssh_known_hosts_file=str(tmp_path / "known"))
    result = run(inventory(tmp_path / "inventory.py", a=data))
    assert result.exit_code == 0
    assert "bulkhead: a: the inventory sets ssh_strict_host_key_checking = 'accept-new'\n" in result.stderr


@needs_namespaces
def test_ctrl_c_ends_it_at_once(tmp_path: Path, server: Sshd) -> None:
    """While every thread waits for a host that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        hosts = {f"h{number}": server.data(ssh_port=port) for number in range(20)}
        path = inventory(tmp_path / "inventory.py", **hosts)
        # Whoever starts the tests in the background has the signal ignored, and all that they start, too.
        heeding = ["env", "--default-signal=INT", sys.executable, "-m", "bulkhead"]
        command = [*heeding, "drift", "--no-upstream", str(path)]
        process = subprocess.Popen(
            [*command, "--format", "json", "--output", str(tmp_path / "a")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = silent.accept()
        time.sleep(0.3)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        connection.close()
    assert time.monotonic() - started < 3
    assert process.returncode == 1
    assert errors.strip() == "Aborted!"
    assert not (tmp_path / "a").exists()


@needs_namespaces
def test_what_capabilities_watch_is_looked_at(two: Path) -> None:
    """With the real comparisons: this machine is no host of Bulkhead's, and that is said without a stumble."""
    result = run(two, "--limit", "a", "--format", "json")
    assert result.exit_code in (0, 2)
    report = Report.model_validate(json.loads(result.stdout))
    assert report.hosts[0].error == ""
