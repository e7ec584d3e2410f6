"""Bulkhead beside Ansible and pyinfra itself: the same lab host as described, in turns, one run.

    python -m benchmarks.peers [drift] [converge] [--rounds 3]

brings the lab up, deploys, and lets them take turns, none with anything to find or to change:

- *drift*: `bulkhead drift`, `ansible-playbook --check --diff`, and pyinfra's dry run of Bulkhead's own deploy. The
  target is that the first is ten times as fast as Ansible.
- *converge*: a run of Bulkhead's deploy, the same of Ansible's playbook, and pyinfra that only connects.

Printed are wall times and how many remote commands each needed: lines that sudo writes to the machine's journal, since
all of them run each of theirs under sudo. A round in which one of them finds something is no measurement, and ends it.

Ansible has what makes it fast without another strategy: pipelining, a persistent connection, no facts gathered. Its
playbook (benchmarks/ansible/playbook.yml) is what one would write, builtin modules with loops, for what drift looks at:

- the files: hardening's, containerd's, Docker's, the policy's and its units', with owner and mode;
- gVisor's programs by their digests, its directory and links. Ansible reads both programs each time. Drift reads one
  again where inode, size, times, mode or owner are not those of its installation;
- the units: whether they run and start at boot;
- the live state: kernel settings and the files that say them, packages, blocked modules, mounts, KSM, AppArmor, sshd's
  effective configuration, audit rules, apt's, the daemons' configurations, agents' networks, the packet filter. One
  shell command each, whose answer's digest is compared with that of a host that drift calls clean: less work than
  modules that go setting by setting, and it mends nothing.

Left out, in Ansible's favour, though drift looks at it each time: containers and their bounds, sandboxes and their
flags, programs that shadow ours, drop-ins on units, sshd's Match blocks and files before ours, CRI's live handlers,
Docker's age against its file's, and Bulkhead's own records. Where something differs, a digest does not tell what.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.table import Table

from bulkhead import look
from bulkhead.capability import discover, watched
from bulkhead.inventory import InventoryHost
from bulkhead.inventory_file import ROOT, load_one
from bulkhead.lab import LabState, paths, up
from bulkhead.lab.state import MachineState
from bulkhead.look import File
from bulkhead.progress import Step, Steps, stdout
from deploys.docker import facts as docker
from deploys.egress import networks
from deploys.hardening import settings as hardening
from tests.lab.machine import Deployed, Machine

MACHINE = "gvisor"
INVENTORY = "inventories/lab.py"
ANSIBLE = "ansible-core==2.19.14"
ROUNDS = 3
TARGET = 10
FOLDER = paths.LAB / "bench"
HERE = Path(__file__).parent
PLAYBOOK = HERE / "ansible" / "playbook.yml"

UNITS = (
    *("auditd.service", "apparmor.service", "bulkhead-mounts.service", "bulkhead-egress.service"),
    *("bulkhead-proxy.service", "containerd.service", "docker.service", "ssh.service"),
)

QUESTIONS = (
    *("packages", "sysctl", "sysctl.files", "sshd", "audit", "apt", "apparmor", "ksm", "cmdline"),
    "mounts.unit",
)
"""Drift's own questions on the hardening of a host, of those whose answers stay the same while nothing is changed."""


@dataclass(frozen=True)
class Contender:
    """A command, and what tells from its output that it found nothing to change."""

    name: str
    command: Sequence[str | Path]
    folder: Path
    unchanged: Callable[[str], bool]


@dataclass
class Turns:
    """What the rounds of one contender took: seconds, and remote commands."""

    seconds: list[float]
    commands: list[int]


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", help="drift, converge, or both")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    if wrong := {*options.what} - {"drift", "converge"}:
        parser.error(f"neither drift nor converge: {', '.join(wrong)}")
    steps = Steps(paths.LOGS)
    lab = up(steps=steps)
    if not lab.gvisor.release:
        raise SystemExit("The lab's gVisor is the distribution's package, and the playbook is for a release.")
    pyinfra = [sys.executable, "-m", "pyinfra", "--limit", MACHINE]
    deploy = [*pyinfra, "-y", INVENTORY, "deploy.py"]
    drift = [sys.executable, "-m", "bulkhead", "drift", "--no-upstream", INVENTORY, "--limit", MACHINE]
    with tempfile.TemporaryDirectory() as sockets:
        machine = Machine(MACHINE, lab.machines[MACHINE], Path(sockets))
        try:
            with steps("Deploy") as step:
                step.run(deploy, cwd=ROOT)
                # The state that Ansible is told to find is what this calls clean.
                step.run(drift, cwd=ROOT)
            with steps("Install Ansible") as step:
                playbook = _install(lab, machine, step)
            contenders = {
                "drift": [
                    Contender("bulkhead drift", drift, ROOT, lambda _: True),
                    Contender("ansible-playbook --check --diff", [*playbook, "--check", "--diff"], FOLDER, no_change),
                    Contender(
                        "pyinfra --dry",
                        [*pyinfra, "--dry", INVENTORY, "deploy.py"],
                        ROOT,
                        lambda output: not Deployed(0, output).predicted,
                    ),
                ],
                "converge": [
                    Contender("pyinfra deploy.py", deploy, ROOT, lambda output: not Deployed(0, output).changed),
                    Contender("ansible-playbook", playbook, FOLDER, no_change),
                    # Starting Python and connecting: what is left of a run is what Bulkhead itself takes.
                    Contender(
                        "pyinfra, connecting alone",
                        [*pyinfra, "-y", INVENTORY, HERE / "nothing.py"],
                        ROOT,
                        lambda _: True,
                    ),
                ],
            }
            for what in options.what or contenders:
                with steps(f"Measure {what}") as step:
                    # Before anything is measured, since a playbook that finds something would end it an hour later.
                    _run(contenders[what][1], step)
                    measured = measure(contenders[what], machine, step, options.rounds)
                stdout().print(_table(what, measured))
                method = f"{ANSIBLE}, pipelining, ControlPersist; driver {lab.driver}"
                stdout().print(_ratio(measured, method), soft_wrap=True)
        finally:
            machine.close()


def measure(contenders: Sequence[Contender], machine: Machine, step: Step, rounds: int) -> dict[str, Turns]:
    """Contender → what it took, in `rounds` rounds in which each has its turn."""
    measured = {contender.name: Turns([], []) for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            step.note(f"round {number + 1} of {rounds}: {contender.name}")
            mark = uuid.uuid4().hex
            machine.sh(f"logger -t sudo {mark}")
            started = time.monotonic()
            _run(contender, step)
            measured[contender.name].seconds.append(time.monotonic() - started)
            log = machine.sh("journalctl --no-pager --output=cat SYSLOG_IDENTIFIER=sudo")
            # One of the lines is this very question.
            measured[contender.name].commands.append(log.rpartition(mark)[2].count("COMMAND=") - 1)
    return measured


def _run(contender: Contender, step: Step) -> None:
    output = step.run(contender.command, cwd=contender.folder)
    if not contender.unchanged(output):
        raise SystemExit(f"{contender.name} found something to change, so this is no measurement:\n{output}")


def no_change(output: str) -> bool:
    """Whether Ansible's last words are that it went through all of it and has nothing to change."""
    return re.search(rf"^{MACHINE} +: ok=\d+ +changed=0 +unreachable=0 +failed=0 ", output, re.MULTILINE) is not None


def _table(what: str, measured: dict[str, Turns]) -> Table:
    table = Table("Tool", "Median s", "Best s", "Remote commands", title=f"Nothing to {TITLES[what]}, in turns")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, turns in measured.items():
        seconds = turns.seconds
        table.add_row(name, f"{statistics.median(seconds):.1f}", f"{min(seconds):.1f}", str(max(turns.commands)))
    return table


TITLES = {"drift": "find", "converge": "change"}


def _ratio(measured: dict[str, Turns], method: str) -> str:
    bulkhead, ansible, _ = (statistics.median(turns.seconds) for turns in measured.values())
    met = "met" if ansible / bulkhead >= TARGET else "not met"
    rounds = len(next(iter(measured.values())).seconds)
    return f"Ansible / Bulkhead: {ansible / bulkhead:.1f} (target {TARGET}: {met}). {rounds} rounds; {method}"


def _install(lab: LabState, machine: Machine, step: Step) -> list[str]:
    """Ansible in a virtual environment of its own, with a playbook's variables: the state that the machine is in."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    python = FOLDER / "venv" / "bin" / "python"
    if not python.exists():
        step.run([sys.executable, "-m", "venv", FOLDER / "venv"])
    step.run([python, "-m", "pip", "install", "--quiet", ANSIBLE])
    # Its modules need Python on the machine; Bulkhead needs none there.
    machine.sh("apt-get -qq update && apt-get -qq -y --no-install-recommends install python3")
    host = load_one(INVENTORY, MACHINE)
    gvisor = lab.gvisor
    variables = {
        "release": gvisor.release,
        "base_url": gvisor.base_url,
        "sha512": gvisor.sha512,
        **described(host, machine.sh, FOLDER / "files"),
    }
    return playbook(FOLDER, lab.machines[MACHINE], variables)


def described(host: InventoryHost, sh: Callable[[str], str], tree: Path) -> dict[str, Any]:
    """The playbook's variables of a host that is as described; `sh` runs a script there as root.

    The contents of files are put below `tree`.
    """
    discover()
    files = {capability.name: capability.files(host) for capability in discover() if capability.applies(host)}
    needs = [File(path) for paths_ in files.values() for path in paths_]
    found = look.parse(sh(look.script(needs)), needs).files
    described_files: dict[str, list[dict[str, str]]] = {}
    for name, wanted in files.items():
        for path in wanted:
            # One that a host has no use for, as that of a boot loader, is not there.
            if there := found[path]:
                copy = tree / path.lstrip("/")
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(there.content)
                entry = {"path": path, "owner": there.owner, "group": there.group, "mode": f"{there.mode:04o}"}
                described_files.setdefault(name.lower(), []).append(entry)
    return {"tree": str(tree), "files": described_files, "units": _units(sh), "live": recorded(questions(host), sh)}


def _units(sh: Callable[[str], str]) -> list[dict[str, Any]]:
    """The units that run, and whether they start at boot."""
    said = sh("; ".join(f"echo {unit} $(systemctl is-active {unit}) $(systemctl is-enabled {unit})" for unit in UNITS))
    lines = [line.split() for line in said.splitlines()]
    return [
        {"name": unit, **({"enabled": True} if state == ["enabled"] else {})}
        for unit, active, *state in lines
        if active == "active"
    ]


def recorded(asked: Mapping[str, str], sh: Callable[[str], str]) -> list[dict[str, str]]:
    """Each question as a shell command that prints the digest of the answer, with the digest of the one now.

    Raises SystemExit for an answer with which nothing can be compared.
    """
    live = []
    for name, script in asked.items():
        command = f"export LC_ALL=C PATH={look.PATH}; {{ {script}\n}} 2>/dev/null | sha256sum"
        if re.search("{[{%#]", command):
            raise SystemExit(f"Ansible would take this for a template of its own: {command}")
        first, second = (sh(f"sh -c {shlex.quote(command)} </dev/null") for _ in range(2))
        if first != second or first.split()[0] == sha256().hexdigest():
            raise SystemExit(
                f"{name}: the answer is empty, or another one each time, so nothing can be compared with it"
            )
        live.append({"name": name, "command": command, "digest": first})
    return live


def questions(host: InventoryHost) -> dict[str, str]:
    """What is asked → the shell command that asks."""
    asked = {need.name: need.script for need in watched(host) if isinstance(need, look.Command)}
    blocked = " ".join(hardening.of(host).values.get("modules", ()))
    own = " ".join(networks.docker(host))
    return {
        **{name: asked[f"hardening.{name}"] for name in QUESTIONS},
        "modules": f'for one in {blocked}; do grep "^$one " /proc/modules; done; echo asked',
        "mounts": "grep -E '^[^ ]+ (/tmp|/dev/shm) ' /proc/self/mounts",
        "containerd": "containerd config dump",
        # Its keys are in order, and what else it says has numbers that move.
        "docker": f'{docker.INFO} | grep -o \'"Runtimes":.*"DefaultRuntime":"[^"]*"\\|"SecurityOptions":[^]]*\'',
        **({"networks": f"docker network inspect {own}"} if own else {}),
        # Packets that were denied are counted, and those who sent them are kept in sets for a while.
        "nft": "nft --stateless list table inet bulkhead | sed -E '/\\tset logged_/,/^\\t}/d;"
        "s/packets [0-9]+ bytes [0-9]+//'; nft list tables",
        "stock units": "systemctl is-enabled nftables.service squid.service; echo asked",
        "installed": "readlink /opt/gvisor/current /usr/local/bin/runsc /usr/local/bin/containerd-shim-runsc-v1",
    }


def playbook(folder: Path, machine: MachineState, variables: dict[str, Any]) -> list[str]:
    """Ansible's command line, to be run in `folder`, with its files there."""
    (folder / "variables.json").write_text(json.dumps(variables, indent=1))
    (folder / "hosts").write_text(
        f"{MACHINE} ansible_host={machine.address} ansible_port={machine.port} ansible_user={machine.user} "
        f"ansible_ssh_private_key_file={machine.ssh_key} ansible_python_interpreter=/usr/bin/python3\n"
    )
    (folder / "ansible.cfg").write_text(
        "[defaults]\nhost_key_checking = true\nnocolor = true\n[ssh_connection]\npipelining = true\n"
        f"ssh_args = -F none -o ControlMaster=auto -o ControlPersist=600 -o UserKnownHostsFile={machine.known_hosts}\n"
    )
    program = str(folder / "venv" / "bin" / "ansible-playbook")
    return [program, "-i", "hosts", "-e", "@variables.json", str(PLAYBOOK)]


if __name__ == "__main__":
    main()
