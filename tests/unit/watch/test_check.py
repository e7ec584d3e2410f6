"""A real check, in the sandbox of its unit on a real systemd, of a host with a real sshd."""

from __future__ import annotations

import json
import site
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.inventory_file import ROOT
from tests.oracles import promtool
from tests.oracles.sshd import Sshd, sshd
from tests.oracles.systemd import REPOSITORY, Systemd, needs_systemd, systemd
from tests.unit.watch.cases import converge, journal, node, shown, wait

SERVICE = "bulkhead-drift.service"
STATE = "/var/lib/bulkhead-drift"
METRICS = "/srv/metrics/bulkhead-drift.prom"

PYTHON = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
"""That of this repository's environment may lie where only its owner comes to."""

PATH = ":".join([REPOSITORY, *(path.replace(str(ROOT), REPOSITORY) for path in site.getsitepackages())])

pytestmark = [
    needs_systemd,
    pytest.mark.skipif(not PYTHON.exists(), reason=f"needs {PYTHON}, which other users may run, too"),
]


@pytest.fixture(scope="module")
def booted() -> Iterator[Systemd]:
    with systemd() as booted:
        yield booted


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with sshd() as server:
        yield server


@pytest.fixture
def there(booted: Systemd, server: Sshd) -> Systemd:
    """A node with this repository's programs in its checkout, and an inventory of one host, whose key the user has."""
    data = {
        "ssh_hostname": "127.0.0.1",
        "ssh_port": server.port,
        "ssh_user": "root",
        "ssh_key": "/srv/home/.ssh/id",
        "engines": ["docker"],
        "gvisor": {"release": "20260817.0"},
        "egress": {"management": ["192.0.2.0/24"]},
    }
    hosts = f"gvisor_hosts = [('agents-1', {data!r})]\n"
    booted.sh(
        "mkdir -p /srv/bulkhead/.venv/bin /srv/metrics /srv/home/.ssh\n"
        "for program in bulkhead pyinfra; do\n"
        f"    printf '#!/bin/sh\\nPYTHONPATH={PATH} exec {PYTHON} -m %s \"$@\"\\n' $program"
        " >/srv/bulkhead/.venv/bin/$program\n"
        "done; chmod 755 /srv/bulkhead/.venv/bin/*\n"
        f"cat >/srv/inventory.py <<'END'\n{hosts}END\n"
        f"cat >/srv/home/.ssh/known_hosts <<'END'\n{server.known}END\n"
        f"cat >/srv/home/.ssh/id <<'END'\n{server.key.read_text()}END\n"
        "chmod 600 /srv/home/.ssh/id; chown -R 12345:12345 /srv/home"
    )
    converge(booted, node(inventory="/srv/inventory.py", textfile_directory="/srv/metrics", upstream=False))
    return booted


def test_a_check_reaches_its_hosts_and_leaves_what_it_should(there: Systemd) -> None:
    result = there.run(f"systemctl start {SERVICE}")
    assert result.returncode == 0, journal(there, SERVICE)
    # This machine is no host of Bulkhead's.
    assert shown(there, SERVICE, "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "2"}
    (report,) = there.sh(f"ls {STATE}/srv-inventory.py").split()
    said = json.loads(there.sh(f"cat {STATE}/srv-inventory.py/{report}"))
    assert [(host["name"], host["error"]) for host in said["hosts"]] == [("agents-1", "")]
    assert there.sh(f"cd {STATE} && stat -c '%U %a' . srv-inventory.py srv-inventory.py/{report}") == (
        "watch 700\nwatch 700\nwatch 600"
    )
    assert there.sh(f"stat -c '%U %a' {METRICS}") == "root 644"
    metrics = there.sh(f"cat {METRICS}") + "\n"
    assert 'bulkhead_drift_host_up{host="agents-1",inventory="/srv/inventory.py"} 1.0\n' in metrics
    checked = promtool.run("check", "metrics", stdin=metrics)
    assert checked.returncode == 0, checked.stderr
    # The next one knows since when.
    there.sh(f"systemctl start {SERVICE}")
    first, second = (
        json.loads(there.sh(f"cat {STATE}/srv-inventory.py/{name}"))["hosts"][0]["findings"]
        for name in sorted(there.sh(f"ls {STATE}/srv-inventory.py").split())
    )
    assert [seen["since"] for seen in first] == [seen["since"] for seen in second]


def test_a_host_that_does_not_answer_is_a_failure_that_the_metrics_and_the_log_tell(there: Systemd) -> None:
    there.sh(": >/srv/home/.ssh/known_hosts")
    assert there.run(f"systemctl start {SERVICE}").returncode == 1
    assert shown(there, SERVICE, "Result", "ExecMainStatus") == {"Result": "exit-code", "ExecMainStatus": "1"}
    assert 'bulkhead_drift_host_up{host="agents-1",inventory="/srv/inventory.py"} 0.0' in there.sh(f"cat {METRICS}")
    wait(lambda: any(text.startswith("bulkhead: agents-1: error: ") and "key" in text for text in errors(there)))


def errors(there: Systemd) -> list[str]:
    return [text for priority, text in journal(there, "bulkhead-drift-failure.service") if priority == 3]
