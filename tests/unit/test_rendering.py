"""`bulkhead render`: what a host would get, without connecting to it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from bulkhead.cli import main
from bulkhead.errors import BulkheadError
from bulkhead.inventory_file import ROOT
from bulkhead.rendering import rendered

PRODUCTION = str(ROOT / "inventories" / "production.py")


def test_a_legacy_host_gets_its_policy_and_no_runtime() -> None:
    files = rendered(PRODUCTION, "legacy-1.example.net")
    assert "/etc/bulkhead/egress.nft" in files
    assert "/etc/squid/bulkhead.conf" in files
    assert not any("runsc" in path for path in files)
    assert b"runsc" not in files["/etc/docker/daemon.json"]
    assert list(files) == sorted(files)


def test_a_gvisor_host_gets_its_runtime() -> None:
    files = rendered(PRODUCTION, "agents-1.example.net")
    assert b'"default-runtime": "runsc"' in files["/etc/docker/daemon.json"]
    assert b'runtime_type = "io.containerd.runsc.v1"' in files["/etc/containerd/config.toml"]
    assert b"bh-research" in files["/etc/bulkhead/egress.nft"]


def test_a_control_node_gets_its_units_and_nothing_else() -> None:
    files = rendered(PRODUCTION, "watch-1.example.net")
    assert set(files) == {
        "/etc/systemd/system/bulkhead-drift-failure.service",
        "/etc/systemd/system/bulkhead-drift.service",
        "/etc/systemd/system/bulkhead-drift.timer",
    }
    assert b"\nUser=watch\n" in files["/etc/systemd/system/bulkhead-drift.service"]
    assert b"\nOnUnitInactiveSec=300\n" in files["/etc/systemd/system/bulkhead-drift.timer"]


@pytest.mark.parametrize("name", ["legacy-1.example.net", "agents-1.example.net"])
def test_every_host_gets_the_files_of_hardening(name: str) -> None:
    files = rendered(PRODUCTION, name)
    assert {
        "/etc/apt/apt.conf.d/00bulkhead-tmp",
        "/etc/apt/apt.conf.d/zz-bulkhead",
        "/etc/audit/rules.d/50-bulkhead.rules",
        "/etc/default/grub.d/zz-bulkhead.cfg",
        "/etc/modprobe.d/00-bulkhead.conf",
        "/etc/security/limits.d/zz-bulkhead.conf",
        "/etc/ssh/sshd_config.d/00-bulkhead.conf",
        "/etc/sysctl.d/zz-bulkhead.conf",
        "/etc/systemd/coredump.conf.d/zz-bulkhead.conf",
        "/etc/systemd/system/bulkhead-mounts.service",
        "/etc/tmpfiles.d/zz-bulkhead.conf",
    } <= files.keys()
    assert b"\n-kernel.kptr_restrict = 2\n" in files["/etc/sysctl.d/zz-bulkhead.conf"]
    assert b"\nPermitRootLogin " in files["/etc/ssh/sshd_config.d/00-bulkhead.conf"]


@pytest.mark.parametrize("name", ["etc/bulkhead/egress.nft", "/etc/bulkhead/egress.nft"])
def test_one_file_alone(name: str) -> None:
    result = CliRunner().invoke(main, ["render", PRODUCTION, "legacy-1.example.net", name])
    assert result.exit_code == 0
    assert result.stdout.startswith("#!/usr/sbin/nft -f\n# Egress policy of this host, written by Bulkhead")
    assert "172.30.1.0/24" in result.stdout
    assert result.stdout.endswith("\n}\n")


def test_all_files_under_their_paths() -> None:
    result = CliRunner().invoke(main, ["render", PRODUCTION, "legacy-1.example.net"])
    assert result.exit_code == 0
    assert "\n\n==> /etc/bulkhead/egress.nft <==\n#!/usr/sbin/nft -f\n" in result.stdout
    assert "\n\n==> /etc/systemd/system/bulkhead-egress.service <==\n" in result.stdout


def test_a_file_that_it_does_not_get() -> None:
    with pytest.raises(BulkheadError) as error:
        rendered(PRODUCTION, "legacy-1.example.net", "etc/passwd")
    assert error.value.message == "legacy-1.example.net gets no file /etc/passwd"
    assert error.value.hint is not None
    assert "/etc/bulkhead/egress.nft" in error.value.hint


def test_a_host_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "inventory.py"
    path.write_text('legacy_hosts = [("old-1", {"engines": ["docker"], "egress": {"management": ["192.0.2.0/24"]}})]\n')
    with pytest.raises(BulkheadError) as error:
        rendered(str(path), "old-2")
    assert error.value.message == f"{path} has no host 'old-2'"
    assert error.value.hint == "It has old-1."
