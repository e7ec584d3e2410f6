"""JUnit XML: what a CI counts, what it shows, and that no host can break the document."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from bulkhead.drift.finding import Finding
from bulkhead.drift.formats import FORMATS
from bulkhead.drift.report import HostReport, Report, failed_report, host_report

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)

FORWARD = Finding("hardening", "sysctl net.ipv4.ip_forward", "1", "0", "critical", "Run the deploy.")
MODE = Finding("docker", "/etc/docker/daemon.json", "mode 0644", "mode 0600", "warning", "Run the deploy.")
RELEASE = Finding("gvisor", "release", "20260905.0", "20261101.0", "info", "Pin it, then run the deploy.")
TABLE = Finding("egress", "table inet bulkhead", "a\nb\n", "a\n<c>\n", "critical", "Run the deploy.")
CONTAINER = Finding("docker", "container 4f1d", "", "privileged & alone", "critical", "Remove it.")


def document(*hosts: HostReport) -> str:
    return FORMATS["junit"](Report(inventory="i.py", started=LATER, seconds=1.5, hosts=hosts))


def suites(*hosts: HostReport) -> list[TestSuite]:
    """As another program reads them."""
    root = JUnitXml.fromstring(document(*hosts).encode())
    assert isinstance(root, JUnitXml)
    return list(root)


def cases(*hosts: HostReport) -> list[tuple[str | None, str | None, list[type]]]:
    return [(case.classname, case.name, [type(result) for result in case.result]) for case in suites(*hosts)[0]]


def test_the_whole_document() -> None:
    # Valid by Jenkins's junit-10.xsd.
    before = host_report("a.example.net", [TABLE, MODE], NOON, 0.1, None)
    assert document(
        host_report("a.example.net", [TABLE, CONTAINER, RELEASE], LATER, 0.25, before),
        HostReport(name="b", error="no answer\nTry ssh.", seconds=10),
    ) == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<testsuites name="drift of i.py" time="1.500" tests="5" failures="2" errors="1">\n'
        ' <testsuite name="a.example.net" hostname="a.example.net" tests="4" failures="2" errors="0" skipped="0"'
        ' time="0.250" timestamp="2026-11-22T12:05:00">\n'
        "  <properties>\n"
        '   <property name="upstream gvisor: release"'
        ' value="expected 20260905.0, actual 20261101.0: Pin it, then run the deploy." />\n'
        "  </properties>\n"
        '  <testcase classname="a.example.net" name="the host can be looked at" time="0.250" />\n'
        '  <testcase classname="a.example.net.docker" name="container 4f1d" time="0">\n'
        '   <failure message="critical: expected (nothing), actual privileged &amp; alone">'
        "critical, since 2026-11-22 12:05 UTC\n"
        "expected: (nothing)\n"
        "actual:   privileged &amp; alone\n"
        "Remove it.</failure>\n"
        "  </testcase>\n"
        '  <testcase classname="a.example.net.egress" name="table inet bulkhead" time="0">\n'
        '   <failure message="critical: differs from its description">critical, since 2026-11-22 12:00 UTC\n'
        "--- expected\n+++ actual\n@@ -1,2 +1,2 @@\n a\n-b\n+&lt;c&gt;\n"
        "Run the deploy.</failure>\n"
        "  </testcase>\n"
        '  <testcase classname="a.example.net.docker" name="/etc/docker/daemon.json" time="0" />\n'
        " </testsuite>\n"
        ' <testsuite name="b" hostname="b" tests="1" failures="0" errors="1" skipped="0"'
        ' time="10.000" timestamp="2026-11-22T12:05:00">\n'
        '  <testcase classname="b" name="the host can be looked at" time="10.000">\n'
        '   <error message="no answer">no answer\nTry ssh.</error>\n'
        "  </testcase>\n"
        " </testsuite>\n"
        "</testsuites>\n"
    )


def test_what_another_program_counts() -> None:
    before = host_report("b", [FORWARD], NOON, 0.1, None)
    clean, drifted, unreached = suites(
        host_report("a", [RELEASE], LATER, 0.1, None),
        host_report("c", [FORWARD, MODE], LATER, 0.1, None),
        failed_report("b", "no answer", 10.0, before),
    )
    assert [(suite.name, suite.tests, suite.failures, suite.errors) for suite in (clean, drifted, unreached)] == [
        ("a", 1, 0, 0),
        ("c", 3, 2, 0),
        ("b", 2, 0, 1),
    ]


def test_what_is_known_of_a_host_that_does_not_answer_is_neither_failed_nor_passed() -> None:
    unreached = failed_report("b", "no answer", 10.0, host_report("b", [FORWARD], NOON, 0.1, None))
    assert cases(unreached) == [
        ("b", "the host can be looked at", [Error]),
        ("b.hardening", "sysctl net.ipv4.ip_forward", [Skipped]),
    ]


def test_another_value_in_the_same_place_is_not_one_gone() -> None:
    other = Finding("hardening", "sysctl net.ipv4.ip_forward", "1", "2", "critical", "Run the deploy.")
    before = host_report("a", [FORWARD], NOON, 0.1, None)
    assert cases(host_report("a", [other], LATER, 0.1, before)) == [
        ("a", "the host can be looked at", []),
        ("a.hardening", "sysctl net.ipv4.ip_forward", [Failure]),
    ]


def test_two_findings_of_one_subject_are_two_test_cases() -> None:
    other = Finding("hardening", "sysctl net.ipv4.ip_forward", "1", "2", "warning", "Run the deploy.")
    names = [name for _, name, _ in cases(host_report("a", [FORWARD, other], LATER, 0.1, None))]
    assert names[1:] == ["sysctl net.ipv4.ip_forward", "sysctl net.ipv4.ip_forward (2)"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b", "a\\x00b"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\ufffe \ud800", "\\xfffe \\xd800"),
        ("]]></failure><failure>", "]]></failure><failure>"),
        ("ä € 🐳", "ä € 🐳"),
    ],
)
def test_no_text_of_a_host_breaks_the_document(text: str, shown: str) -> None:
    finding = Finding("docker", f"container {text}", "", text, "critical", text)
    (suite,) = suites(host_report("a", [finding], LATER, 0.1, None))
    case = list(suite)[1]
    assert isinstance(case, TestCase)
    assert case.name == f"container {shown}"
    assert (
        case.result[0].text == f"critical, since 2026-11-22 12:05 UTC\nexpected: (nothing)\nactual:   {shown}\n{shown}"
    )


def test_no_host_at_all_is_a_document_too() -> None:
    assert suites() == []
