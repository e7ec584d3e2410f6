"""Reports of drift: what is known since when, what is gone, what counts, and what another program reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bulkhead.drift.finding import Finding
from bulkhead.drift.report import HostReport, Report, failed_report, host_report, read
from bulkhead.errors import BulkheadError

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)
EVEN_LATER = NOON + timedelta(minutes=10)

FORWARD = Finding("hardening", "sysctl net.ipv4.ip_forward", "1", "0", "critical", "Run the deploy.")
OTHER_VALUE = Finding("hardening", "sysctl net.ipv4.ip_forward", "1", "2", "critical", "Run the deploy.")
MODE = Finding("docker", "/etc/docker/daemon.json", "mode 0644", "mode 0600", "warning", "Run the deploy.")
RELEASE = Finding("gvisor", "release", "20260905.0", "20261101.0", "info", "Pin it, then run the deploy.")


def report(*hosts: HostReport) -> Report:
    return Report(inventory="inventories/production.py", started=NOON, seconds=1.5, hosts=hosts)


def test_a_finding_is_known_since_the_first_check_in_a_row_that_found_it() -> None:
    first = host_report("a", [FORWARD], NOON, 0.1, None)
    second = host_report("a", [MODE, FORWARD], LATER, 0.1, first)
    third = host_report("a", [FORWARD, MODE], EVEN_LATER, 0.1, second)
    assert [(seen.finding, seen.since) for seen in third.findings] == [(FORWARD, NOON), (MODE, LATER)]


def test_another_value_is_another_finding_and_what_went_is_said() -> None:
    first = host_report("a", [FORWARD, MODE], NOON, 0.1, None)
    second = host_report("a", [OTHER_VALUE], LATER, 0.1, first)
    assert [(seen.finding, seen.since) for seen in second.findings] == [(OTHER_VALUE, LATER)]
    assert [seen.finding for seen in second.gone] == [FORWARD, MODE]


def test_what_is_known_outlives_a_check_that_did_not_reach_the_host() -> None:
    first = host_report("a", [FORWARD], NOON, 0.1, None)
    unreached = failed_report("a", "no answer", 10.0, first)
    assert unreached.state == "error"
    assert unreached.looked_at == NOON
    third = host_report("a", [FORWARD], EVEN_LATER, 0.1, unreached)
    assert [seen.since for seen in third.findings] == [NOON]
    assert third.looked_at == EVEN_LATER


def test_of_any_number_of_findings_the_worst_are_kept_and_what_can_t_be_compared() -> None:
    """However often a host makes up others while one of its capabilities can't be compared."""
    lost = replace(FORWARD, capability="zz", subject="zz: comparison")
    known: HostReport | None = None
    for round_ in range(4):
        many = [replace(FORWARD, subject=f"{round_}: {number}") for number in range(600)]
        known = host_report(
            "a", [*many, replace(lost, capability="hardening", subject="hardening: comparison"), lost], NOON, 0.1, known
        )
        assert len(known.findings) == 500
        assert [seen.finding.subject for seen in known.findings[:2]] == ["hardening: comparison", "zz: comparison"]
        assert known.findings[-1].finding.subject == "further findings"
        assert known.gone == ()
    assert (
        len(host_report("a", [replace(FORWARD, subject=str(n)) for n in range(500)], NOON, 0.1, None).findings) == 500
    )


def test_what_is_known_outlives_a_check_that_could_not_compare_it() -> None:
    """Nobody saw it go; what is known of another capability is compared as ever."""
    silent = Finding("docker", "docker: comparison", "compared", "no answer", "critical", "Look at the host.")
    cut = Finding("docker", "docker: comparison", "compared", "another reason", "critical", "Look at the host.")
    first = host_report("a", [FORWARD, MODE], NOON, 0.1, None)
    second = host_report("a", [silent], LATER, 0.1, first)
    assert {(seen.finding, seen.since) for seen in second.findings} == {(MODE, NOON), (silent, LATER)}
    assert [seen.finding for seen in second.gone] == [FORWARD]
    third = host_report("a", [cut], EVEN_LATER, 0.1, second)
    assert {(seen.finding, seen.since) for seen in third.findings} == {(MODE, NOON), (cut, EVEN_LATER)}
    assert [seen.finding for seen in third.gone] == [silent]
    fourth = host_report("a", [MODE], EVEN_LATER, 0.1, third)
    assert [(seen.finding, seen.since) for seen in fourth.findings] == [(MODE, NOON)]
    assert [seen.finding for seen in host_report("a", [], EVEN_LATER, 0.1, third).gone] == [cut, MODE]


def test_a_host_that_never_answered_was_never_looked_at() -> None:
    first = failed_report("a", "no answer", 10.0, None)
    assert failed_report("a", "no answer", 10.0, first).looked_at is None


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        ([], 1),
        ([HostReport(name="a")], 0),
        ([host_report("a", [RELEASE], NOON, 0.1, None)], 0),
        ([HostReport(name="a"), host_report("b", [MODE], NOON, 0.1, None)], 2),
        ([HostReport(name="a", error="no answer"), host_report("b", [MODE], NOON, 0.1, None)], 1),
    ],
)
def test_exit_status(hosts: list[HostReport], status: int) -> None:
    assert report(*hosts).exit_status == status


def test_json_is_read_back_whole(tmp_path: Path) -> None:
    written = report(
        host_report("a", [FORWARD, MODE], NOON, 0.1, None), HostReport(name="b", error="no answer", seconds=3.0)
    )
    file = tmp_path / "report.json"
    file.write_text(written.to_json())
    assert read(file) == written


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ('{"format": 2, "inventory": "i", "started": "2026-11-22T12:00:00Z", "seconds": 1, "hosts": []}', "format: "),
        ('{"checks": [], "errors": []}', "Field required"),
    ],
)
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(text)
    with pytest.raises(BulkheadError, match=reason) as error:
        read(file)
    assert str(file) in error.value.message


def test_a_report_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BulkheadError, match=r"nothing\.json: No such file"):
        read(tmp_path / "nothing.json")


def test_texts_of_several_lines_are_shown_as_a_diff() -> None:
    finding = Finding("egress", "table inet bulkhead", "a\nb\nc\n", "a\nc\n", "critical", "Run the deploy.")
    assert finding.diff == ["--- expected", "+++ actual", "@@ -1,3 +1,2 @@", " a", "-b", " c"]
    assert FORWARD.diff == []


@pytest.mark.parametrize(
    ("actual", "lines"),
    [("a\r\nb\n", ["-a", "+a\r", " b"]), ("a\nb", [" a", " b", "-"])],
)
def test_line_ends_are_a_difference(actual: str, lines: list[str]) -> None:
    assert Finding("docker", "x", "a\nb\n", actual, "warning", "Run the deploy.").diff[3:] == lines


def test_the_worst_host_is_first_and_one_that_is_not_known_before_it() -> None:
    known = host_report("unreached", [FORWARD], NOON, 0.1, None)
    hosts = (
        HostReport(name="clean"),
        host_report("upstream", [RELEASE], NOON, 0.1, None),
        host_report("warning", [MODE], NOON, 0.1, None),
        host_report("critical", [FORWARD], NOON, 0.1, None),
        failed_report("unreached", "no answer", 1, known),
    )
    assert [host.name for host in report(*hosts).worst_first] == [
        *("unreached", "critical", "warning", "upstream", "clean")
    ]
    assert report(*hosts).states == {"clean": 2, "drift": 2, "error": 1}
    assert report(*hosts).severities == {"critical": 1, "warning": 1, "info": 1}
