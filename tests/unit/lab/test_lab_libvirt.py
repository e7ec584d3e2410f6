"""The lab's network and proxy settings, and its processes."""

import ipaddress
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.lab import kvm, libvirt, machines, proxy
from bulkhead.lab.apt_sources import Source
from bulkhead.lab.daemons import Daemon

SUBNET = libvirt.Subnet(ipaddress.IPv4Network("10.9.8.0/24"))

NETWORK = """\
<network>
  <name>bulkhead</name>
  <bridge name="bulkhead0" stp="off" delay="0"/>
  <dns enable="no"/>
  <ip address="10.9.8.1" netmask="255.255.255.0">
    <dhcp>
      <range start="10.9.8.10" end="10.9.8.17"/>
      <host mac="52:54:00:b0:1c:00" name="gvisor" ip="10.9.8.10"/>
      <host mac="52:54:00:b0:1c:01" name="legacy" ip="10.9.8.11"/>
    </dhcp>
  </ip>
</network>
"""

PROXY = """\
ForeGround: 1
BindAddress: 127.0.0.1 10.9.8.1
Port: 3143
CacheDir: /cache
LogDir: /logs
ForceManaged: 1
PassThroughPattern: ^$
ForwardBtsSoap: 0
ExThreshold: 30
Remap-lab0: http://mirror.example/debian ; http://mirror.example/debian
Remap-lab1: http://security.example/debian-security ; http://security.example/debian-security
"""


def test_the_network_has_fixed_addresses_no_name_server_and_no_way_out() -> None:
    assert libvirt.network_xml(SUBNET, ("gvisor", "legacy")) == NETWORK


def test_subnet_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BULKHEAD_LAB_SUBNET", "10.1.2.0/24")
    subnet = libvirt.subnet()
    assert (subnet.host, subnet.machine(0)) == ("10.1.2.1", "10.1.2.10")


@pytest.mark.parametrize("text", ["10.1.2.3/24", "8.8.8.0/24", "10.1.2.0/28", "lab"])
def test_an_unusable_subnet_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BULKHEAD_LAB_SUBNET", text)
    with pytest.raises(BulkheadError, match="BULKHEAD_LAB_SUBNET"):
        libvirt.subnet()


def test_the_vagrantfile_names_the_same_machines_and_cards() -> None:
    text = (Path(__file__).parents[3] / "Vagrantfile").read_text()
    for index, name in enumerate(machines.NAMES):
        line = next(line for line in text.splitlines() if line.strip().startswith(f'"{name}" =>'))
        assert libvirt.mac(index) in line


def test_unknown_machine() -> None:
    with pytest.raises(BulkheadError, match="'kata'") as error:
        machines.machine("kata", SUBNET)
    assert "gvisor, legacy" in error.value.hint


def test_the_proxy_serves_the_mirrors_and_nothing_else() -> None:
    sources = [
        Source("http://mirror.example/debian", "trixie"),
        Source("http://mirror.example/debian", "trixie-updates"),
        Source("http://security.example/debian-security", "trixie-security"),
    ]
    text = proxy.configuration(sources, ("127.0.0.1", "10.9.8.1"), 3143, Path("/cache"), Path("/logs"))
    assert text == PROXY


def test_a_port_in_use_is_not_chosen() -> None:
    free = proxy.free_port(0, "127.0.0.1")
    assert proxy.free_port(free, "127.0.0.1") == free
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(free)], stderr=subprocess.DEVNULL
    ) as holder:
        try:
            while not proxy.listens("127.0.0.1", free):
                pass
            assert proxy.free_port(free, "127.0.0.1") != free
        finally:
            holder.kill()


def test_an_unknown_driver_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BULKHEAD_LAB_DRIVER", "xen")
    with pytest.raises(BulkheadError, match="'xen'"):
        kvm.chosen()


def test_without_the_device_there_is_no_kvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BULKHEAD_LAB_DRIVER", raising=False)
    assert kvm.driver(tmp_path / "kernel", tmp_path / "kvm") == "qemu"


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon("sleeper", tmp_path / "run", tmp_path / "logs")


def test_a_process_is_found_again_and_stopped(daemon: Daemon) -> None:
    daemon.start(["sleep", "60"], ready=lambda: True)
    again = Daemon("sleeper", daemon.run, daemon.logs)
    assert again.command == ["sleep", "60"]
    assert again.stop()
    assert again.command is None
    assert not again.stop()


def test_a_process_that_ends_at_once_shows_its_last_words(daemon: Daemon) -> None:
    with pytest.raises(BulkheadError, match="ended at once with status 3") as error:
        daemon.start(["sh", "-c", "echo no such mirror; exit 3"], ready=lambda: False)
    assert "no such mirror" in error.value.message
    assert str(daemon.log) in error.value.hint


def test_a_process_that_is_never_ready_is_stopped(daemon: Daemon) -> None:
    with pytest.raises(BulkheadError, match=r"not ready after 0\.2 s"):
        daemon.start(["sleep", "60"], ready=lambda: False, seconds=0.2)
    assert daemon.command is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"pid": "x"}'])
def test_a_broken_pid_file_is_no_process(daemon: Daemon, text: str) -> None:
    daemon.run.mkdir()
    daemon.pid_file.write_text(text)
    assert daemon.command is None


def test_another_process_with_the_same_pid_is_left_alone(daemon: Daemon) -> None:
    daemon.run.mkdir()
    daemon.pid_file.write_text(f'{{"pid": {os.getpid()}, "started": "1", "command": ["other"]}}')
    assert daemon.command is None
    assert not daemon.stop()
