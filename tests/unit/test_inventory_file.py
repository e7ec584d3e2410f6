"""Inventory files are read as pyinfra reads them, and refused with its message."""

from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.inventory_file import ROOT, load

INVENTORY = """
gvisor_hosts = [("agents-1", {"ssh_hostname": "192.0.2.1"}), ("agents-2", {"engines": ["docker"]})]
legacy_hosts = [("old-1", {"engines": ["docker"], "egress": {"management": ["192.0.2.0/24"]}})]
"""


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> str:
    tmp_path = tmp_path_factory.mktemp("inventory")
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text('ssh_user = "ops"\n')
    (tmp_path / "group_data" / "gvisor_hosts.py").write_text(
        'engines = ["containerd"]\ngvisor = {"release": "20260817.0"}\negress = {"management": ["192.0.2.0/24"]}\n'
    )
    (tmp_path / "inventory.py").write_text(INVENTORY)
    return str(tmp_path / "inventory.py")


@pytest.fixture(scope="module")
def hosts(inventory: str) -> dict[str, InventoryHost]:
    return {host.name: host for host in load(inventory)}


def refused(inventory: str, *limit: str) -> BulkheadError:
    with pytest.raises(BulkheadError) as error:
        load(inventory, limit)
    return error.value


def test_hosts_come_with_their_groups_and_data(hosts: dict[str, InventoryHost]) -> None:
    assert list(hosts) == ["agents-1", "agents-2", "old-1"]
    assert "gvisor_hosts" in hosts["agents-1"].groups
    assert "gvisor_hosts" not in hosts["old-1"].groups
    assert "legacy_hosts" in hosts["old-1"].groups


def test_the_host_s_own_data_go_before_its_group_s_and_these_before_all(hosts: dict[str, InventoryHost]) -> None:
    assert hosts["agents-1"].data["engines"] == ["containerd"]
    assert hosts["agents-2"].data["engines"] == ["docker"]
    assert [host.data["ssh_user"] for host in hosts.values()] == ["ops", "ops", "ops"]
    assert hosts["agents-1"].data["ssh_hostname"] == "192.0.2.1"


def test_limit_takes_names_groups_and_patterns(inventory: str) -> None:
    assert [host.name for host in load(inventory, ("agents-2",))] == ["agents-2"]
    assert [host.name for host in load(inventory, ("legacy_hosts", "*s-1"))] == ["agents-1", "old-1"]


def test_a_limit_that_matches_nothing(inventory: str) -> None:
    error = refused(inventory, "agents-3", "web")
    assert error.message == f"{inventory}: no host matches --limit agents-3 web"
    assert error.hint == "Look at the inventory with 'pyinfra INVENTORY debug-inventory'."


def test_no_limit_matches_nothing_in_silence(inventory: str) -> None:
    """A group that is called otherwise since would be watched no more."""
    assert refused(inventory, "agents-1", "gvisor-hosts").message == (
        f"{inventory}: no host matches --limit gvisor-hosts"
    )


def test_a_file_that_is_not_there() -> None:
    error = refused("inventories/no-such.py")
    assert error.message == "inventories/no-such.py: no such file"
    assert error.hint == "Name an inventory, such as inventories/production.py."


def test_wrong_settings_are_said_without_pyinfra_s_progress(tmp_path: Path) -> None:
    path = tmp_path / "inventory.py"
    path.write_text('gvisor_hosts = [("a", {"engines": ["docker"], "gvisor": {"release": "nightly"}})]\n')
    message = refused(str(path)).message
    assert message.startswith(f"{path}: the inventory can't be used\n")
    assert "a: gvisor.release: 'nightly' is not an exact release such as 20260817.0" in message
    assert "Loading" not in message


@pytest.mark.parametrize(("text", "reason"), [("gvisor_hosts = [", "was never closed"), ("import no_such", "no_such")])
def test_a_file_that_is_broken(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "inventory.py"
    path.write_text(text)
    message = refused(str(path)).message
    assert message.startswith(f"{path}: the inventory can't be used\n")
    assert reason in message


def test_the_example_inventory_is_right() -> None:
    hosts = {host.name: host for host in load(str(ROOT / "inventories" / "production.py"))}
    assert hosts["agents-1.example.net"].data["gvisor"]["release"] == "20260817.0"
    assert hosts["agents-2.example.net"].data["gvisor"]["release"] == "20260810.0"
    assert hosts["agents-2.example.net"].data["engines"] == ["containerd", "docker"]
