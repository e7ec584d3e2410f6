"""The example of a scheduled check: its own shell lines, run against a real sshd, and what it may not do."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bulkhead.drift.finding import Finding
from bulkhead.drift.report import Report, host_report, read
from bulkhead.inventory_file import ROOT
from bulkhead.templates import TEMPLATES
from tests.oracles.sshd import Sshd, needs_namespaces, sshd

YEARS_AGO = datetime(2000, 1, 1, tzinfo=UTC)
FINDING = Finding("docker", "container 4f1d", "", "privileged", "critical", "Remove it.")

WORKFLOW = (TEMPLATES / "ci" / "drift.yml").read_text()


def step(name: str) -> str:
    """The shell lines of a step."""
    found = re.search(rf"- name: {name}\n.*?run: \|\n((?: {{10}}[^\n]*\n)+)", WORKFLOW, re.DOTALL)
    assert found is not None
    return textwrap.dedent(found[1])


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The working directory of a job, in which Bulkhead is installed."""
    for name in (".venv", "bulkhead", "deploys", "templates", "config.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "reports").mkdir()
    return tmp_path


def run(name: str, job: Path, reached: Sshd, known_hosts: str) -> int:
    """The exit status of a step, as a runner runs it."""
    inventory = job / "inventory.py"
    data = {
        "ssh_hostname": "127.0.0.1",
        "ssh_port": reached.port,
        "ssh_user": "root",
        "engines": ["docker"],
        "gvisor": {"release": "20260817.0"},
        "egress": {"management": ["192.0.2.0/24"]},
    }
    inventory.write_text(f"gvisor_hosts = [('agents-1', {data})]\n")
    environment = {
        **{name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"},
        "HOME": str(job / "home"),
        "INVENTORY": str(inventory),
        "SSH_KEY": reached.key.read_text(),
        "KNOWN_HOSTS": known_hosts,
    }
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step(name)]
    return subprocess.run(command, cwd=job, env=environment, stdin=subprocess.DEVNULL, timeout=120).returncode


def reports(job: Path) -> list[Report]:
    return [read(file) for file in sorted((job / "reports").glob("*.json"))]


@needs_namespaces
def test_a_known_host_is_looked_at_and_the_report_before_counts(job: Path) -> None:
    before = Report(
        inventory=str(job / "inventory.py"),
        started=YEARS_AGO,
        seconds=1,
        hosts=(host_report("agents-1", [FINDING], YEARS_AGO, 0.1, None),),
    )
    (job / "reports" / "20000101T000000Z.json").write_text(before.to_json())
    with sshd() as reached:
        status = run("Check", job, reached, reached.known)
        after = reports(job)[-1]
        assert status == after.exit_status
        assert [host.error for host in after.hosts] == [""]
        assert [seen.finding for seen in after.hosts[0].gone] == [FINDING]
    assert "agents-1" in (job / "drift.xml").read_text()
    assert '<h2 id="history">History</h2>' in (job / "drift.html").read_text()
    # Neither the key nor what it opens stays.
    assert not (job / "home" / ".ssh").exists()


@needs_namespaces
def test_an_unknown_host_is_refused_and_reported(job: Path) -> None:
    with sshd() as reached, sshd() as other:
        assert run("Check", job, reached, f"[127.0.0.1]:{reached.port} {other.known.partition(' ')[2]}") == 1
    (only,) = reports(job)
    assert "host key" in only.hosts[0].error.lower()
    assert "<error" in (job / "drift.xml").read_text()
    assert "1 host not looked at" in (job / "drift.html").read_text()


@needs_namespaces
def test_the_reports_kept_are_the_last_hundred(job: Path) -> None:
    names = [f"20000101T000{number:03}Z.json" for number in range(103)]
    for name in names:
        (job / "reports" / name).write_text("{}")
    with sshd() as reached:
        assert run("Check", job, reached, reached.known) in (0, 2)
    *kept, _ = sorted(file.name for file in (job / "reports").glob("*.json"))
    assert kept == names[4:]


def test_it_may_do_nothing_but_read_and_runs_nothing_that_can_change() -> None:
    assert re.findall(r"^permissions: (.*)$", WORKFLOW, re.MULTILINE) == ["{}"]
    assert re.findall(r"^ +([a-z-]+): (read|write)\b", WORKFLOW, re.MULTILINE) == [
        ("contents", "read"),
        ("actions", "read"),
    ]
    assert "persist-credentials: false" in WORKFLOW
    assert "pull_request" not in WORKFLOW
    used = re.findall(r"uses: (\S+)", WORKFLOW)
    assert len(used) == 3
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", one) for one in used)
    # A secret goes into the environment of one step, never into the text of a command.
    assert not re.search(r"\$\{\{", "".join(step(name) for name in ("Earlier reports", "Check")))
