"""The lab's machines, through Vagrant."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from bulkhead import files
from bulkhead.errors import BulkheadError
from bulkhead.lab import libvirt, paths
from bulkhead.lab.apt_sources import Source
from bulkhead.lab.box import Recipe
from bulkhead.progress import Step

# In the order of their addresses; the Vagrantfile has the same.
NAMES = ("gvisor", "legacy")
USER = "vagrant"
PORT = 22
KNOWN_HOSTS = paths.LAB / "known_hosts"
SETTINGS = paths.LAB / "vagrant.json"
BOX_VARIABLE = "BULKHEAD_BOX"
BOOT_SECONDS = 600
RUNNING_SECONDS = 90
# What a ready-made box is likely to lack.
GUEST_PACKAGES = ("docker.io", "containerd", "iptables", "nftables", "busybox-static", "curl", "zstd", "bzip2")


@dataclass(frozen=True)
class Machine:
    """A machine of the lab by its name, and where it is."""

    name: str
    address: str

    @property
    def domain(self) -> str:
        """Its name in libvirt."""
        return f"bulkhead-{self.name}"


def machine(name: str, subnet: libvirt.Subnet) -> Machine:
    """The machine `name`. Raises BulkheadError if there is none."""
    if name not in NAMES:
        raise BulkheadError(f"the lab has no machine {name!r}", hint=f"Known machines: {', '.join(NAMES)}.")
    return Machine(name, subnet.machine(NAMES.index(name)))


def ready_made_box() -> str:
    """The box that the user wants instead of the lab's own, if any."""
    return os.environ.get(BOX_VARIABLE, "")


def write_settings(subnet: libvirt.Subnet, key: Path, *, recipe: Recipe | None, box: Path | None, driver: str) -> None:
    """What the Vagrantfile needs to know, so that a plain `vagrant` command does the same as this one."""
    settings: dict[str, str] = {
        "subnet": str(subnet.network),
        "pool": libvirt.POOL,
        "driver": driver,
        "ssh_key": str(key),
        "logs": str(paths.LOGS),
    }
    if recipe is not None and box is not None:
        settings |= {
            "box": recipe.name,
            "box_file": str(box),
            "kernel": str(libvirt.POOL_DIRECTORY / kernel_volume(recipe.name)),
            "initrd": str(libvirt.POOL_DIRECTORY / initrd_volume(recipe.name)),
        }
    files.write(SETTINGS, json.dumps(settings, indent=1) + "\n")


def add_box(recipe: Recipe, box: Path, step: Step) -> None:
    """Make the box known to Vagrant and its kernel to libvirt, and forget older boxes of its suite."""
    folder = box_folder(recipe.name)
    if not (folder / "box.img").exists():
        step.note("handing the box to Vagrant")
        _vagrant(step, "box", "add", "--force", "--name", recipe.name, str(box))
    # A machine that is switched off, perhaps another checkout's, is made anew where its box has changed.
    domains = libvirt.domains()
    in_use = any(domains.get(Machine(name, "").domain, "shut off") != "shut off" for name in NAMES)
    volumes = libvirt.volumes()
    image_size = (folder / "box.img").stat().st_size
    for volume in volumes:
        if in_use or not volume.startswith(f"{recipe.suite}-"):
            continue
        # Vagrant takes a volume by its name, also one whose upload was interrupted.
        partial = f"{recipe.name}_vagrant_box_image" in volume and libvirt.volume_size(volume) != image_size
        if partial or not volume.startswith(recipe.name):
            libvirt.delete_volume(volume)
    for volume, file in ((kernel_volume(recipe.name), "vmlinuz"), (initrd_volume(recipe.name), "initrd.img")):
        if not in_use or volume not in volumes:
            libvirt.upload_volume(volume, folder / file, step)
    for old in (_home() / "boxes").glob(f"{recipe.suite}-*"):
        if old.name != recipe.name:
            _vagrant(step, "box", "remove", "--force", "--all", old.name)


def box_folder(box: str) -> Path:
    """Where Vagrant keeps the unpacked box."""
    return _home() / "boxes" / box / "0" / "libvirt"


def kernel_volume(box: str) -> str:
    return f"{box}.vmlinuz"


def initrd_volume(box: str) -> str:
    return f"{box}.initrd"


def start(machine: Machine, box: str, key: Path, step: Step) -> None:
    """Start the machine on `box`, from whatever state it was left in, until one can log in to it.

    A machine that runs on this box already is left as it is; one on another box, or one that doesn't answer, is
    replaced.
    """
    state = libvirt.domains().get(machine.domain)
    if state == "running" and _box_of(machine) == box and _comes_up(machine, key, step):
        return
    if state is not None and not (state == "shut off" and _box_of(machine) == box):
        step.note("removing what was left of it")
        remove(machine)
        state = None
    if state is None:
        forget(machine)
        libvirt.delete_volume(f"{machine.domain}.img")
    step.note("booting")
    console = paths.LOGS / f"console-{machine.name}.log"
    hint = f"Its console: {console}."
    up = ("up", machine.name, "--provider=libvirt", "--no-provision")
    _vagrant(step, *up, timeout=BOOT_SECONDS + 60, hint=hint)
    learn_host_keys(machine, step)


def prepare(machine: Machine, key: Path, proxy: str, sources: Sequence[Source], step: Step) -> None:
    """Point the machine's apt to the lab's proxy, and wait until its container engines run."""
    script = f"""printf 'Acquire::http::Proxy "%s";\\n' {quote(proxy)} > /etc/apt/apt.conf.d/90lab\n"""
    if ready_made_box():
        lines = "\n".join(source.line for source in sources)
        script += f"""
            printf '%s\\n' {quote(lines)} > /etc/apt/sources.list
            rm -f /etc/apt/sources.list.d/*
            export DEBIAN_FRONTEND=noninteractive
            [ -x /usr/sbin/dockerd ] || {{
                apt-get update
                apt-get install --yes --no-install-recommends {" ".join(GUEST_PACKAGES)}
            }}
            """
    script += "systemctl start containerd docker\n"
    command = ssh_command(machine, key_of(machine, key), ["sudo", "sh", "-es"])
    step.run(command, stdin=script, timeout=600)


def learn_host_keys(machine: Machine, step: Step) -> None:
    """Write the machine's ssh host keys to the lab's known_hosts, if they aren't there.

    They are asked for over the lab's own bridge, where no one can be in between.
    """
    if _is_known(machine):
        return
    keys = step.run(["ssh-keyscan", "-T", "20", "-t", "ed25519,ecdsa", machine.address])
    found = [line for line in keys.splitlines() if line.startswith(machine.address + " ")]
    if not found:
        raise BulkheadError(f"{machine.name} shows no ssh host key at {machine.address}", hint=f"Log: {step.log}")
    others = [line for line in _known_hosts() if not line.startswith(machine.address + " ")]
    files.write(KNOWN_HOSTS, "\n".join([*others, *found]) + "\n", 0o600)


def forget(machine: Machine) -> None:
    """Forget the machine's host keys and what Vagrant remembers of it."""
    if KNOWN_HOSTS.exists():
        kept = [line for line in _known_hosts() if not line.startswith(machine.address + " ")]
        files.write(KNOWN_HOSTS, "".join(line + "\n" for line in kept), 0o600)
    folder = _id_file(machine).parent
    for name in ("id", "index_uuid", "box_meta", "created_networks", "action_provision", "creator_uid"):
        (folder / name).unlink(missing_ok=True)


def remove(machine: Machine) -> bool:
    """Remove the machine with its disk. True if there was one."""
    there = machine.domain in libvirt.domains()
    libvirt.remove_domain(machine.domain)
    forget(machine)
    return there


def ssh_command(machine: Machine, key: Path, command: Sequence[str] = ()) -> list[str]:
    """The ssh command line that reaches the machine, with its host key checked."""
    return [
        "ssh",
        *("-i", str(key), "-p", str(PORT), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
        *("-o", f"UserKnownHostsFile={KNOWN_HOSTS}", "-o", "GlobalKnownHostsFile=/dev/null"),
        *("-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR", "-F", "none"),
        f"{USER}@{machine.address}",
        *command,
    ]


def key_of(machine: Machine, key: Path) -> Path:
    """The key that opens the machine: the lab's, `key`, or the one that Vagrant gave a ready-made box."""
    given = _id_file(machine).with_name("private_key")
    return given if ready_made_box() and given.exists() else key


def any_known() -> bool:
    """Whether Vagrant remembers any machine of the lab."""
    return any(_id_file(Machine(name, "")).exists() for name in NAMES)


def answers(machine: Machine, key: Path) -> bool:
    """Whether one can log in to the machine."""
    if not _is_known(machine):
        return False
    try:
        done = subprocess.run(
            ssh_command(machine, key, ["true"]), stdin=subprocess.DEVNULL, capture_output=True, timeout=20
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def wait_for_ssh(machine: Machine, seconds: float) -> bool:
    """Whether the machine's ssh port opens within `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with socket.create_connection((machine.address, PORT), timeout=5) as connection:
                if connection.recv(4) == b"SSH-":
                    return True
        except OSError:
            time.sleep(0.5)
    return False


def environment() -> dict[str, str]:
    """Vagrant's environment: a home of the lab's own beside the user's, and no calls for newer versions."""
    return {"VAGRANT_HOME": str(_home()), "VAGRANT_CHECKPOINT_DISABLE": "1", "VAGRANT_NO_COLOR": "1"}


def _vagrant(step: Step, *arguments: str, timeout: float | None = None, hint: str = "") -> None:
    step.run(["vagrant", *arguments], cwd=paths.CHECKOUT, env=environment(), timeout=timeout, hint=hint)


def _comes_up(machine: Machine, key: Path, step: Step) -> bool:
    """Whether one can log in to a machine that runs, perhaps only since a moment ago."""
    key = key_of(machine, key)
    if answers(machine, key):
        return True
    step.note("waiting for it to answer")
    if not wait_for_ssh(machine, RUNNING_SECONDS):
        return False
    learn_host_keys(machine, step)
    return answers(machine, key)


def _box_of(machine: Machine) -> str:
    """The box that the machine was made from, as Vagrant remembers; empty if it doesn't know the machine."""
    folder = _id_file(machine)
    try:
        return str(json.loads(folder.with_name("box_meta").read_text())["name"]) if folder.exists() else ""
    except (OSError, ValueError, KeyError):
        return ""


def _home() -> Path:
    return paths.cache() / "vagrant"


def _id_file(machine: Machine) -> Path:
    return paths.CHECKOUT / ".vagrant" / "machines" / machine.name / "libvirt" / "id"


def _known_hosts() -> list[str]:
    return KNOWN_HOSTS.read_text().splitlines() if KNOWN_HOSTS.exists() else []


def _is_known(machine: Machine) -> bool:
    return any(line.startswith(machine.address + " ") for line in _known_hosts())
