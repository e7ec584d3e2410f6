"""What a run with nothing to change costs: Bulkhead beside Ansible, the same end state, the same machine, one run.

    make bench

brings the lab up, deploys, and then lets the two take turns, each with nothing to change. It prints the median wall
time of each and how many remote commands each needed. A remote command is one line that sudo writes to the machine's
journal: both tools run each of theirs under sudo. Ansible (ansible-core, version below) runs with pipelining and a
persistent connection, its fastest ordinary settings, from a virtual environment of its own.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

from rich.table import Table

from bulkhead.inventory_file import ROOT
from bulkhead.lab import LabState, paths, up
from bulkhead.lab.state import MachineState
from bulkhead.progress import Steps, stdout

ANSIBLE = "ansible-core==2.19.14"
ROUNDS = 3
CONNECT = "pyinfra, connecting alone"
PLAYBOOK = Path(__file__).parent / "ansible" / "playbook.yml"


def main() -> None:
    """Run the benchmark and print its table."""
    steps = Steps(paths.LOGS)
    lab = up(steps=steps)
    machine = lab.machines["gvisor"]
    directory = paths.LAB / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    bulkhead = [sys.executable, "-m", "pyinfra", "-y", "--limit", "gvisor", "inventories/lab.py", "deploy.py"]
    # Starting Python and connecting, and nothing else: what is left of a run is what Bulkhead itself takes.
    connect = [*bulkhead[:-1], str(Path(__file__).parent / "nothing.py")]
    with steps("Deploy") as step:
        step.run(bulkhead, cwd=ROOT)
    with steps("Install Ansible") as step:
        python = directory / "venv" / "bin" / "python"
        if not python.exists():
            step.run([sys.executable, "-m", "venv", directory / "venv"])
        step.run([python, "-m", "pip", "install", "--quiet", ANSIBLE])
        # Its modules need Python on the machine; Bulkhead needs none there.
        _ssh(machine, "sudo apt-get -qq update && sudo apt-get -qq -y --no-install-recommends install python3")
    ansible = _ansible(lab, machine, directory)
    with steps("Ansible's first run") as step:
        step.run(ansible, cwd=directory)
    contenders = (("Bulkhead", bulkhead, ROOT), (CONNECT, connect, ROOT), ("Ansible", ansible, directory))
    times: dict[str, list[float]] = {name: [] for name, _, _ in contenders}
    commands: dict[str, list[int]] = {name: [] for name, _, _ in contenders}
    with steps("Measure") as step:
        for number in range(ROUNDS):
            step.note(f"round {number + 1} of {ROUNDS}")
            for name, command, folder in contenders:
                mark = uuid.uuid4().hex
                _ssh(machine, f"logger -t sudo {mark}")
                started = time.monotonic()
                output = step.run(command, cwd=folder)
                times[name].append(time.monotonic() - started)
                log = _ssh(machine, "sudo journalctl --no-pager --output=cat SYSLOG_IDENTIFIER=sudo")
                # One of the lines is this very question.
                commands[name].append(log.rpartition(mark)[2].count("COMMAND=") - 1)
                if name != CONNECT:
                    _expect_unchanged(name, output)
    table = Table("Tool", "Median s", "Best s", "Remote commands", title=f"Nothing to change, {ROUNDS} rounds in turns")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, seconds in times.items():
        table.add_row(name, f"{statistics.median(seconds):.1f}", f"{min(seconds):.1f}", str(max(commands[name])))
    console = stdout()
    console.print(table)
    once_connected = statistics.median(times["Bulkhead"]) - statistics.median(times[CONNECT])
    console.print(f"Bulkhead, once connected: {once_connected:.1f} s")
    ratio = statistics.median(times["Ansible"]) / statistics.median(times["Bulkhead"])
    console.print(f"{ANSIBLE}, pipelining, ControlPersist; driver {lab.driver}. Ansible / Bulkhead: {ratio:.1f}")


def _expect_unchanged(name: str, output: str) -> None:
    unchanged = "changed=0" in output if name == "Ansible" else "Grand total" in output and _total(output) == 0
    if not unchanged:
        raise SystemExit(f"{name} changed something, so this is no measurement:\n{output}")


def _total(output: str) -> int:
    row = next(line.split() for line in reversed(output.splitlines()) if "Grand total" in line)
    return sum(int(count) for count in row[3:5] if count.isdigit())


def _ansible(lab: LabState, machine: MachineState, directory: Path) -> list[str]:
    """Ansible's command line; its variables are what Bulkhead left on the machine, so that both mean the same state."""
    variables = {
        "release": lab.gvisor.release,
        "base_url": lab.gvisor.base_url,
        "sha512": lab.gvisor.sha512,
        "runsc_toml": _ssh(machine, "sudo cat /etc/containerd/runsc.toml"),
        "config_toml": _ssh(machine, "sudo cat /etc/containerd/config.toml"),
        "daemon_json": _ssh(machine, "sudo cat /etc/docker/daemon.json"),
    }
    (directory / "variables.json").write_text(json.dumps(variables))
    (directory / "hosts").write_text(
        f"gvisor ansible_host={machine.address} ansible_port={machine.port} ansible_user={machine.user} "
        f"ansible_ssh_private_key_file={machine.ssh_key} ansible_python_interpreter=/usr/bin/python3\n"
    )
    (directory / "ansible.cfg").write_text(
        "[defaults]\nhost_key_checking = true\n[ssh_connection]\npipelining = true\n"
        f"ssh_args = -F none -o ControlMaster=auto -o ControlPersist=600 -o UserKnownHostsFile={machine.known_hosts}\n"
    )
    program = str(directory / "venv" / "bin" / "ansible-playbook")
    return [program, "-i", "hosts", "-e", "@variables.json", str(PLAYBOOK)]


def _ssh(machine: MachineState, command: str) -> str:
    return subprocess.run(
        [
            *("ssh", "-F", "none", "-i", str(machine.ssh_key), "-p", str(machine.port), "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={machine.known_hosts}", "-o", "StrictHostKeyChecking=yes"),
            *(f"{machine.user}@{machine.address}", command),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


if __name__ == "__main__":
    main()
