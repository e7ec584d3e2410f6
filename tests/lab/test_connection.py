"""The connection is part of the security: host keys are strict everywhere, and the lab's machines reach nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bulkhead.inventory_file import ROOT
from tests.lab.machine import Machine, Runs


def test_unknown_host_key_is_refused_by_pyinfra(converged: Machine, runs: Runs, tmp_path: Path) -> None:
    """pyinfra connects to no host whose key is not known already, and adds none."""
    assert converged
    known_hosts = tmp_path / "known_hosts"
    known_hosts.touch()
    deployed = runs.deploy("--dry", ssh_known_hosts_file=str(known_hosts))
    assert deployed.status == 1
    address = runs.lab.machines["gvisor"].address
    assert f"No host key for {address} found in known_hosts" in deployed.output
    assert known_hosts.read_text() == ""


def test_the_inventory_can_say_otherwise(converged: Machine, runs: Runs, tmp_path: Path) -> None:
    """The same connection works when the inventory allows unknown keys: what was refused is the key, and it is said."""
    assert converged
    known_hosts = tmp_path / "known_hosts"
    known_hosts.touch()
    options = {"ssh_known_hosts_file": str(known_hosts), "ssh_strict_host_key_checking": "accept-new"}
    deployed = runs.deploy("--dry", **options).expect_success()
    assert "the inventory sets ssh_strict_host_key_checking = 'accept-new'" in deployed.output
    assert runs.lab.machines["gvisor"].address in known_hosts.read_text()


def test_unknown_host_key_is_refused_by_the_verification(converged: Machine, runs: Runs, tmp_path: Path) -> None:
    """Neither does the verification, whose every check then fails."""
    assert converged
    known_hosts = tmp_path / "known_hosts"
    known_hosts.touch()
    inventory = runs.inventory(ssh_known_hosts_file=str(known_hosts))
    result = subprocess.run(
        [sys.executable, "-m", "bulkhead", "verify", "--format", "json", "--limit", "gvisor", inventory],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    checks = json.loads(result.stdout)["checks"]
    assert result.returncode == 1
    assert {check["outcome"] for check in checks} == {"failed"}
    assert all("Host key verification failed" in check["reason"] for check in checks)
    assert known_hosts.read_text() == ""


def test_the_machine_reaches_debians_packages(machine: Machine) -> None:
    """Through the proxy, and this is the way out that the next test shows closed for everything else."""
    machine.sh(
        "apt-get -qq update && cd /tmp && apt-get -qq -o APT::Sandbox::User=root download hello && rm hello_*.deb"
    )


def test_the_machine_reaches_nothing_else(machine: Machine, runs: Runs) -> None:
    """Another host is refused by the proxy, and there is no route to it without."""
    refused = machine.sh(
        f"curl --silent --output /dev/null --write-out '%{{http_code}}' --proxy {runs.lab.proxy} http://example.invalid/"
    )
    assert refused == "403"
    direct = machine.run("curl --silent --show-error --max-time 10 http://198.51.100.1/")
    assert direct.returncode == 7
    assert machine.sh("ip -4 route show default; ip -6 route show default") == ""
