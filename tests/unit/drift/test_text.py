"""The report for people: the worst first, nothing that steers a terminal, and the counts at the end."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from bulkhead.drift.finding import Finding
from bulkhead.drift.formats import FORMATS, text
from bulkhead.drift.report import HostReport, Report, failed_report, host_report

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EARLIER = NOON - timedelta(hours=1)

FORWARD = Finding("hardening", "sysctl net.ipv4.ip_forward", "1", "0", "critical", "Run the deploy.")
MODE = Finding("docker", "/etc/docker/daemon.json", "mode 0644", "mode 0600", "warning", "Run the deploy.")
RELEASE = Finding("gvisor", "release", "20260905.0", "20261101.0", "info", "Pin it,\nthen run the deploy.")
TABLE = Finding("egress", "table inet bulkhead", "a\nb\n", "a\nc\n", "critical", "Run the deploy.")
CONTAINER = Finding("docker", "container 4f1d", "", "privileged", "critical", "Remove it.")


def shown(*hosts: HostReport, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    text.show(Report(inventory="i.py", started=NOON, seconds=1.5, hosts=hosts), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def host(name: str, *findings: Finding, before: HostReport | None = None) -> HostReport:
    return host_report(name, findings, NOON, 0.1, before)


def test_a_clean_fleet_is_one_line() -> None:
    assert shown(host("a"), host("b")) == (
        "2 hosts in 1.5 s: 2 clean, 0 with drift, 0 not looked at; findings: 0 critical, 0 warning, 0 info\n"
    )


def test_the_worst_host_is_first_and_each_finding_says_what_to_do() -> None:
    before = host_report("b", [FORWARD, RELEASE], EARLIER, 0.1, None)
    after = shown(host("a"), host("c", MODE), host("b", MODE, FORWARD, before=before), host("d", TABLE, CONTAINER))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in after.splitlines() if line.startswith("│")]
    assert rows == [
        ["d", "critical", "docker: container 4f1d", "now"],
        ["d", "critical", "egress: table inet bulkhead", "now"],
        ["b", "critical", "hardening: sysctl net.ipv4.ip_forward", "2026-11-22 11:00 UTC"],
        ["b", "warning", "docker: /etc/docker/daemon.json", "now"],
        ["c", "warning", "docker: /etc/docker/daemon.json", "now"],
    ]
    assert "d: docker: container 4f1d: critical\n  expected: (nothing)\n  actual:   privileged\n  Remove it.\n" in after
    assert "  @@ -1,2 +1,2 @@\n   a\n  -b\n  +c\n  Run the deploy.\n" in after
    assert "\nb: gone: gvisor: release\n" in after
    assert after.endswith(
        "\n4 hosts in 1.5 s: 1 clean, 3 with drift, 0 not looked at; findings: 3 critical, 2 warning, 0 info\n"
    )


def test_a_mend_of_two_lines_is_indented() -> None:
    assert "\n  Pin it,\n  then run the deploy.\n" in shown(host("a", RELEASE))


def test_an_error_says_what_to_do_and_what_was_known_before_is_not_said_of_now() -> None:
    before = host_report("a", [FORWARD, MODE], EARLIER, 0.1, None)
    after = shown(failed_report("a", "no answer\n  Is it up?", 3.0, before))
    assert after == (
        "a: error: no answer\n  Is it up?\n  2 findings before, of which nothing is known now\n"
        "1 host in 1.5 s: 0 clean, 0 with drift, 1 not looked at; findings: 0 critical, 0 warning, 0 info\n"
    )


@pytest.mark.parametrize("part", ["subject", "actual", "mend", "diff"])
def test_what_a_host_says_steers_no_terminal_and_is_no_markup(part: str) -> None:
    nasty = "x\x1b[2J\r\x9b31m [bold]y[/]\u202e"
    seen = "x\\x1b[2J\\x0d\\x9b31m [bold]y[/]\\x202e"
    finding = {
        "subject": Finding("docker", nasty, "1", "0", "critical", "Mend it."),
        "actual": Finding("docker", "x", "1", nasty, "critical", "Mend it."),
        "mend": Finding("docker", "x", "1", "0", "critical", nasty),
        "diff": Finding("docker", "x", "a\nb\n", f"a\n{nasty}", "critical", "Mend it."),
    }[part]
    after = shown(host("a", finding))
    assert seen in after
    assert not any(one in after for one in "\x1b\r\x9b\u202e")


def test_a_narrow_terminal_loses_nothing() -> None:
    long = Finding("docker", "container " + "4f1d" * 16, "x" * 100, "y" * 100, "critical", "Run the deploy.")
    after = shown(host("agents-1.example.net", long), width=40)
    assert max(len(line) for line in after.splitlines()) <= 40
    assert "y" * 100 in after.replace("\n", "")


def test_a_file_gets_no_colours() -> None:
    report = Report(inventory="i.py", started=NOON, seconds=1.5, hosts=(host("a", FORWARD),))
    assert "\x1b" not in FORMATS["text"](report)
    assert FORMATS["text"](report).endswith("0 info\n")
