"""The libvirt daemon, the lab's own network and the lab's own storage pool on it."""

import ipaddress
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from bulkhead import files
from bulkhead.errors import BulkheadError
from bulkhead.lab import paths
from bulkhead.lab.daemons import Daemon
from bulkhead.progress import Step

URI = "qemu:///system"
NETWORK = "bulkhead"
BRIDGE = "bulkhead0"
POOL = "bulkhead"
# Not in a home directory: a libvirtd of the system's runs QEMU as a user that can't look into private ones.
POOL_DIRECTORY = Path("/var/lib/libvirt/images/bulkhead")
DEFAULT_SUBNET = "192.168.230.0/24"
SUBNET_VARIABLE = "BULKHEAD_LAB_SUBNET"

DAEMON = Daemon("libvirtd", paths.RUN, paths.LOGS)

# For a machine without systemd: no log daemon to hand consoles to, and no change of owner for every disk, which takes
# most of a minute where libvirt-qemu can't be looked up quickly.
QEMU_CONF = 'user = "root"\ngroup = "root"\nstdio_handler = "file"\n'


@dataclass(frozen=True)
class Subnet:
    """The lab's addresses: the host is the first, the machines come from the tenth on, in their fixed order."""

    network: ipaddress.IPv4Network

    @property
    def host(self) -> str:
        return str(self.network[1])

    def machine(self, index: int) -> str:
        """The address of the lab's machine number `index`, from 0."""
        return str(self.network[10 + index])


def subnet() -> Subnet:
    """The lab's subnet, from BULKHEAD_LAB_SUBNET if set. Raises BulkheadError if that is no private IPv4 subnet."""
    text = os.environ.get(SUBNET_VARIABLE) or DEFAULT_SUBNET
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise BulkheadError(
            f"{SUBNET_VARIABLE}: {error}", hint=f"Give an IPv4 subnet such as {DEFAULT_SUBNET}."
        ) from None
    if not network.is_private or network.prefixlen > 27:
        raise BulkheadError(
            f"{SUBNET_VARIABLE}: {network} can't hold the lab",
            hint=f"Give a private IPv4 subnet of /27 or larger, such as {DEFAULT_SUBNET}.",
        )
    return Subnet(network)


def mac(index: int) -> str:
    """The card's address of the lab's machine number `index`, in QEMU's range."""
    return f"52:54:00:b0:1c:{index:02x}"


def answers() -> bool:
    """Whether a libvirt daemon answers."""
    return _virsh("version", timeout=20).returncode == 0


def ensure_daemon(step: Step) -> None:
    """Use the libvirt daemon that runs; start the system's, or one of our own where systemd doesn't run the machine."""
    if answers():
        return
    if Path("/run/systemd/system").is_dir():
        step.run(["systemctl", "start", "libvirtd"], hint="Start libvirt's daemon: sudo systemctl start libvirtd.")
        if not answers():
            raise BulkheadError(
                f"libvirt runs but doesn't let you use {URI}",
                hint="Join its group and log in again: sudo adduser $USER libvirt.",
            )
        return
    if os.geteuid() != 0:
        raise BulkheadError("no libvirt daemon runs, and only root can start one", hint="Start libvirtd as root.")
    DAEMON.stop()
    Path("/run/libvirtd.pid").unlink(missing_ok=True)
    conf = paths.RUN / "qemu.conf"
    files.write(conf, QEMU_CONF)
    # The path of qemu.conf is built into libvirt. In a mount namespace of its own the daemon sees ours in its place,
    # and the machine's stays as it is.
    script = 'mount --bind "$0" /etc/libvirt/qemu.conf && exec libvirtd'
    DAEMON.start(["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, conf], ready=answers)
    step.note("started a libvirt daemon of our own")


def stop_daemon() -> bool:
    """Stop the daemon if the lab started it and no other virtual machine runs under it. True if it was stopped."""
    if DAEMON.command is None or _output("list", "--name").strip():
        return False
    return DAEMON.stop()


def network_xml(subnet: Subnet, machines: tuple[str, ...]) -> str:
    """The lab's network: the host and the machines, each with a fixed address, and nothing else.

    Without <forward> libvirt lets nothing through; without a name server no question leaves through the host's.
    """
    hosts = "".join(
        f'\n      <host mac="{mac(index)}" name="{name}" ip="{subnet.machine(index)}"/>'
        for index, name in enumerate(machines)
    )
    return dedent(
        f"""\
        <network>
          <name>{NETWORK}</name>
          <bridge name="{BRIDGE}" stp="off" delay="0"/>
          <dns enable="no"/>
          <ip address="{subnet.host}" netmask="{subnet.network.netmask}">
            <dhcp>
              <range start="{subnet.machine(0)}" end="{subnet.machine(len(machines) + 5)}"/>@hosts@
            </dhcp>
          </ip>
        </network>
        """
    ).replace("@hosts@", hosts)


def ensure_network(subnet: Subnet, machines: tuple[str, ...], step: Step) -> None:
    """The lab's network runs with these addresses; one that is left over with others is replaced."""
    wanted = network_xml(subnet, machines)
    found = _output("net-dumpxml", NETWORK)
    bridge_up = Path("/sys/class/net", BRIDGE).exists()
    if bridge_up and _essence(found) == _essence(wanted):
        return
    if found:
        _virsh("net-destroy", NETWORK)
        _virsh("net-undefine", NETWORK)
    definition = paths.RUN / "network.xml"
    files.write(definition, wanted)
    step.run(_command("net-define", str(definition)))
    step.run(
        _command("net-start", NETWORK),
        hint=f"If the subnet {subnet.network} is in use here, choose another in {SUBNET_VARIABLE}.",
    )


def remove_network() -> None:
    _virsh("net-destroy", NETWORK)
    _virsh("net-undefine", NETWORK)


def ensure_pool(step: Step) -> None:
    """The lab's storage pool is there and active."""
    info = _output("pool-info", POOL)
    if not info:
        step.run(_command("pool-define-as", POOL, "dir", "--target", str(POOL_DIRECTORY)))
    if not re.search(r"State:\s+running", info):
        step.run(_command("pool-build", POOL))
        step.run(_command("pool-start", POOL))
    step.run(_command("pool-refresh", POOL))


def volumes() -> list[str]:
    """The names of what lies in the lab's storage pool."""
    rows = _output("vol-list", POOL).splitlines()[2:]
    return [row.split()[0] for row in rows if row.strip()]


def delete_volume(name: str) -> None:
    _virsh("vol-delete", "--pool", POOL, name)


def volume_size(name: str) -> int:
    """How many bytes the volume's file holds."""
    match = re.search(r"Physical:\s+(\d+)", _output("vol-info", "--pool", POOL, "--bytes", "--physical", name))
    return int(match[1]) if match else 0


def upload_volume(name: str, file: Path, step: Step) -> None:
    """Put `file` into the pool as `name`, in place of what has that name."""
    delete_volume(name)
    step.run(_command("vol-create-as", POOL, name, str(file.stat().st_size), "--format", "raw"))
    step.run(_command("vol-upload", "--pool", POOL, name, str(file)))


def domains() -> dict[str, str]:
    """The virtual machines that libvirt knows, with their states (`running`, `shut off`, …)."""
    names = _output("list", "--all", "--name").split()
    return {name: _output("domstate", name).strip() for name in names}


def remove_domain(name: str) -> None:
    """Remove the virtual machine `name` with its disk, whatever state it is in."""
    _virsh("destroy", name)
    _virsh("undefine", name, "--nvram", "--snapshots-metadata", "--managed-save")
    delete_volume(f"{name}.img")


def _command(*arguments: str) -> list[str]:
    return ["virsh", "--connect", URI, *arguments]


def _virsh(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            _command(*arguments), capture_output=True, text=True, timeout=timeout, env={**os.environ, "LC_ALL": "C"}
        )
    except (subprocess.TimeoutExpired, FileNotFoundError) as error:
        return subprocess.CompletedProcess(arguments, 1, "", str(error))


def _output(*arguments: str) -> str:
    """What virsh prints, nothing if it fails."""
    done = _virsh(*arguments)
    return done.stdout if done.returncode == 0 else ""


def _essence(xml: str) -> list[str]:
    """The parts of a network's description that the lab relies on, as libvirt may add others."""
    return re.findall(r"<(?:bridge|dns|ip|range|host|forward)\b[^>]*", xml.replace("'", '"').replace("/>", ">"))
