"""The page of a drift check: what it says, in which order, and what it makes of the checks before."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bulkhead.cli import main
from bulkhead.drift import history
from bulkhead.drift.formats import FORMATS, html
from bulkhead.drift.report import HostReport, Report, failed_report
from bulkhead.errors import BulkheadError
from tests.unit.report.cases import CONTAINER, DIFF, FORWARD, MODE, NOON, RELEASE, UNIT, host, report

LATER = NOON + timedelta(hours=26)


def words(page: str) -> str:
    """What is read on the page, with one blank between words."""
    body = page.partition("<body")[2]
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_a_finding_says_what_since_when_and_what_to_do() -> None:
    before = host("a", FORWARD)
    page = html.render(report(host("a", FORWARD, CONTAINER, UNIT, at=LATER, before=before), at=LATER))
    text = words(page)
    assert (
        "critical docker: container 4f1d9c0b2a7e since 2026-11-23 14:00 UTC (new)"
        " Expected nothing: it should not be there Actual privileged To mend it: docker rm -f 4f1d9c0b2a7e"
    ) in text
    assert (
        "critical hardening: sysctl net.ipv4.ip_forward since 2026-11-22 12:00 UTC (1 day)"
        " Expected 1 Actual 0 To mend it: Run the deploy."
    ) in text
    assert "Expected enabled Actual nothing: it is missing" in text


def test_a_difference_is_told_by_signs_not_by_colour_alone() -> None:
    page = html.render(report(host("a", DIFF)))
    assert '<span class="removed">-  &#34;default-runtime&#34;: &#34;runsc&#34;,</span>' in page
    assert '<span class="added">+  &#34;default-runtime&#34;: &#34;runc&#34;,</span>' in page


def test_the_worst_host_is_first_and_a_clean_one_has_no_section() -> None:
    before = host("unreached", FORWARD)
    hosts = (
        host("clean"),
        host("warned", MODE),
        host("bad", FORWARD),
        failed_report("unreached", "no answer", 9, before),
    )
    page = html.render(report(*hosts, at=LATER))
    assert re.findall(r'<th scope="row">(?:<a [^>]*>)?(\w+)', page) == ["unreached", "bad", "warned", "clean"]
    assert re.findall(r'<h3 id="host-(\w+)">', page) == ["unreached", "bad", "warned"]
    text = words(page)
    assert (
        "1 host not looked at 2 hosts with drift 1 clean host 1 critical finding 1 warning 0 changes upstream" in text
    )
    assert "unreached not looked at before: 1 critical 2026-11-22 12:00 UTC 9.0" in text
    assert (
        "It could not be looked at: no answer It was last looked at on 2026-11-22 12:00 UTC."
        " What stands below was known before, and nobody saw it go."
    ) in text


def test_what_is_gone_is_said() -> None:
    text = words(html.render(report(host("a", before=host("a", MODE)))))
    gone = "warning: docker: mode of /etc/docker/daemon.json, known since 2026-11-22 12:00 UTC"
    assert f"Gone since the check before {gone}" in text


@pytest.mark.parametrize(
    ("shown", "title"),
    [
        (report(), "No host checked: inventories/production.py"),
        (report(host("a"), host("b", RELEASE)), "No drift: inventories/production.py"),
        (report(host("a", MODE), host("b")), "1 host with drift: inventories/production.py"),
        (
            report(host("a", MODE), HostReport(name="b", error="no answer")),
            "1 host not looked at, 1 with drift: inventories/production.py",
        ),
    ],
)
def test_the_title_is_the_verdict(shown: Report, title: str) -> None:
    assert f"<title>{title}</title>" in FORMATS["html"](shown)


def test_what_is_on_several_hosts_stands_together() -> None:
    hosts = (host("a", MODE, FORWARD), host("b", MODE, FORWARD), host("c", MODE, RELEASE), host("d", RELEASE, DIFF))
    lost = failed_report("e", "no answer", 1, host("e", MODE))
    table = words(html.render(report(*hosts, lost))).partition("On several hosts Severity Finding ")[2]
    assert table.startswith(
        "critical hardening: sysctl net.ipv4.ip_forward 2 hosts a , b"
        " warning docker: mode of /etc/docker/daemon.json 3 hosts a , b , c"
        " upstream gvisor: release 2 hosts c , d Hosts "
    )
    assert "On several hosts" not in html.render(report(host("a", *(MODE, FORWARD)), host("b", DIFF)))


def test_what_would_deceive_a_reader_is_shown_as_what_it_is() -> None:
    odd = FORWARD.__class__("docker", "container \u202efdp.exe", "", "a\x1b[2J\x00b", "critical", "Remove it.")
    page = html.render(report(host("a", odd)))
    assert "container \\x202efdp.exe" in page
    assert "a\\x1b[2J\\x00b" in page


# History


def test_the_history_is_a_table_too_newest_first() -> None:
    first = report(host("a", FORWARD, MODE), HostReport(name="b", error="no answer"))
    second = report(host("a", RELEASE), host("b"), at=LATER)
    text = words(html.render(second, [first]))
    assert (
        "Check Hosts Not looked at With drift Critical Warnings Upstream"
        " 2026-11-23 14:00 UTC 2 0 0 0 0 1 2026-11-22 12:00 UTC 2 1 1 1 1 0"
    ) in text
    assert "Highest: 2." in text
    assert "History" not in words(html.render(second))


def test_a_long_history_shows_the_last_checks() -> None:
    reports = [report(host("a", *[MODE] * (number < 3)), at=NOON + timedelta(minutes=number)) for number in range(120)]
    page = html.render(reports[-1], reports[:-1])
    assert page.count("<g><title>") == html.SHOWN == 100
    assert "The last 100 checks as a table" in page
    assert "2026-11-22 12:20 UTC" in page
    assert "2026-11-22 12:19 UTC" not in page


def written(folder: Path, *reports: Report) -> list[Path]:
    files = [folder / f"{number}.json" for number in range(len(reports))]
    for file, one in zip(files, reports, strict=True):
        file.write_text(one.to_json())
    return files


def test_reports_are_in_the_order_of_their_checks_and_each_counts_once(tmp_path: Path) -> None:
    old, new = report(host("a", MODE)), report(host("a"), at=LATER)
    assert history.load(written(tmp_path, new, old, new)) == [old, new]


def test_reports_of_different_inventories_are_no_history(tmp_path: Path) -> None:
    files = written(tmp_path, report(host("a")), report(host("b"), at=LATER, inventory="other.py"))
    with pytest.raises(BulkheadError, match="different inventories") as error:
        history.load(files)
    assert f"{files[0]}: inventories/production.py; {files[1]}: other.py" in error.value.message


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def test_a_stored_report_in_any_format(tmp_path: Path) -> None:
    old, new = report(host("a", MODE)), report(host("a", FORWARD), at=LATER)
    files = written(tmp_path, new, old)
    assert (run(*files).exit_code, run(*files).output) == (0, html.render(new, [old]))
    for name, render in FORMATS.items():
        if name != "html":
            assert run(*files, "--format", name).output == render(new)


def test_a_file_that_is_no_report(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    result = run(tmp_path / "x.json")
    assert result.exit_code == 1
    assert result.output.startswith(f"bulkhead: {tmp_path}/x.json: no report of 'bulkhead drift --format json'")
