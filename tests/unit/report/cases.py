"""Reports as a page has to show them: a large fleet, none at all, and what breaks a layout."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bulkhead import verification_page
from bulkhead.drift.finding import Finding
from bulkhead.drift.formats import html
from bulkhead.drift.report import HostReport, Report, failed_report, host_report
from bulkhead.verification import Check, Results

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EVIL = '<script>window.ran = 1</script><img src=x onerror="window.ran = 1"><style>* { display: none }</style>'

DAEMON = (
    '{\n  "icc": false,\n  "default-runtime": "runsc",\n  "runtimes": {"runsc": {"path": "/usr/local/bin/runsc"}}\n}\n'
)
FORWARD = Finding("hardening", "sysctl net.ipv4.ip_forward", "1", "0", "critical", "Run the deploy.")
DIFF = Finding(
    "docker", "/etc/docker/daemon.json", DAEMON, DAEMON.replace('"runsc",', '"runc",'), "critical", "Run the deploy."
)
MODE = Finding("docker", "mode of /etc/docker/daemon.json", "0644", "0666", "warning", "Run the deploy.")
CONTAINER = Finding("docker", "container 4f1d9c0b2a7e", "", "privileged", "critical", "docker rm -f 4f1d9c0b2a7e")
UNIT = Finding("egress", "unit bulkhead-egress.service", "enabled", "", "warning", "Run the deploy.")
RELEASE = Finding("gvisor", "release", "20260905.0", "20261101.0", "info", "Pin it, then run the deploy.")
FINDINGS = (FORWARD, DIFF, MODE, CONTAINER, UNIT, RELEASE)


def report(*hosts: HostReport, at: datetime = NOON, inventory: str = "inventories/production.py") -> Report:
    return Report(inventory=inventory, started=at, seconds=14.2, hosts=hosts)


def host(name: str, *findings: Finding, at: datetime = NOON, before: HostReport | None = None) -> HostReport:
    return host_report(name, findings, at, 0.4, before)


def fleet(at: datetime, before: Report | None, turn: int) -> Report:
    """100 hosts: every 33rd does not answer, every 5th has some of the findings."""
    known = {one.name: one for one in before.hosts} if before else {}
    hosts = []
    for number in range(100):
        name = f"agents-{number:03}.eu-west.example.net"
        if (number + turn) % 33 == 32:
            hosts.append(failed_report(name, "no answer within 10 s\n  Is it up?", 10.0, known.get(name)))
        else:
            found = FINDINGS[number // 5 % 3 : (number + turn) // 5 % 6] if number % 5 == 0 else ()
            hosts.append(host(name, *found, at=at, before=known.get(name)))
    return report(*hosts, at=at)


def fleet_reports() -> list[Report]:
    reports: list[Report] = []
    for turn in range(40):
        at = NOON - timedelta(minutes=15 * (39 - turn))
        reports.append(fleet(at, reports[-1] if reports else None, turn))
    return reports


LONG = "x" * 250
LONG_FINDINGS = (
    Finding("docker" * 20, LONG, LONG, LONG * 4, "critical", LONG),
    Finding("docker", f"/{LONG} {EVIL}", f"{LONG}\n", f"{LONG} a\n{EVIL}\n", "warning", EVIL),
    Finding("gvisor", EVIL, EVIL, LONG, "info", f"{LONG}\n{LONG}"),
)
LONG_HOST = host("h" * 253, *LONG_FINDINGS, before=host("h" * 253, FORWARD, Finding("a", LONG, "", "", "warning", "")))


def check(number: int, outcome: str, name: str = "agents-1", reason: str = "") -> Check:
    return Check(name, f"docker.check_{number}", f"docker: Property {number} of the daemon", outcome, 0.5, reason)


CHECKS = [
    *(check(number, "passed", name) for number in range(20) for name in ("agents-1", "agents-2")),
    check(20, "skipped", "agents-2", "this is no legacy host"),
    check(21, "failed", "agents-2", "RuntimeError: exit status 1\nassert 0 == 1"),
]
LONG_CHECKS = [check(0, "failed", "h" * 253, f"{LONG}\n{EVIL}"), Check("a b&c", "x", EVIL, "skipped", 1000.0, LONG)]


def pages() -> dict[str, str]:
    """Name → page."""
    reports = fleet_reports()
    return {
        "fleet": html.render(reports[-1], reports[:-1]),
        "clean": html.render(report(host("agents-1"), host("agents-2", RELEASE))),
        "no host": html.render(report()),
        "long": html.render(
            report(LONG_HOST, HostReport(name=EVIL, error=EVIL + LONG), host("ü/%# 2", *LONG_FINDINGS), inventory=LONG)
        ),
        "verified": verification_page.render(Results(CHECKS), "inventories/production.py", NOON),
        "not verified": verification_page.render(Results(errors=[f"pytest: {EVIL} {LONG}"]), EVIL, NOON),
        "verified, long": verification_page.render(Results(LONG_CHECKS), LONG, NOON),
    }
