"""The lab's machine as the tests use it: commands as root, and runs of Bulkhead against it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkhead.drift.report import DRIFT, NO_DRIFT
from bulkhead.inventory_file import ROOT
from bulkhead.lab import LabState
from bulkhead.lab.libvirt import URI, subnet
from bulkhead.lab.machines import machine
from bulkhead.lab.state import MachineState

TIMEOUT = 400
"""Seconds for anything on the emulated machine; far more than it takes, so that a hang ends as a failure."""


TITLES = (
    "Harden",
    "Install",
    "Register",
    "Take",
    "Remove",
    "Load",
    "Confirm",
    "Make",
    "Describe",
    "Run",
    "Stop",
    "Set",
    "Forget",
)
"""What the names of the operations begin with."""

VIRSH = ("virsh", "--connect", URI)

NOT_IN_THE_LAB = {
    "hardening.command_line": "the lab's machines are started without a boot loader",
    "hardening.upgrades_come": "they fetch nothing on their own",
    "egress.agents_reach_nothing_that_is_not_named": "they have no way out, unless a test gives them one",
    "egress.users_reach_no_metadata": "the same",
    "self_check.it_is_done_regularly": "its inventory has none",
    "self_check.its_metrics_are_there_to_be_read": "the same",
}
"""Checks that are skipped on the lab's machines, unless a test does something for it, and why."""

NOT_FOR_ITS_KIND = {
    "gvisor": ("docker_options.", "egress.the_proxy_knows_its_names", "watch."),
    "legacy": ("containerd.", "docker.", "gvisor.", "watch."),
    "watch": ("containerd.", "docker.", "docker_options.", "egress.", "gvisor.", "hardening."),
}
"""Machine → what the names of checks begin with that are for the other kind of host, or not in its inventory."""


class Machine:
    """Commands as root over one shared connection, with the lab's own host keys."""

    def __init__(self, name: str, state: MachineState, directory: Path) -> None:
        self._domain = machine(name, subnet()).domain
        self._ssh = [
            *("ssh", "-F", "none", "-i", str(state.ssh_key), "-p", str(state.port)),
            *("-o", f"UserKnownHostsFile={state.known_hosts}", "-o", "StrictHostKeyChecking=yes"),
            *("-o", "BatchMode=yes", "-o", "ControlMaster=auto", "-o", "ControlPersist=600"),
            *("-o", f"ControlPath={directory}/%C", f"{state.user}@{state.address}"),
        ]

    def run(self, script: str, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root, fed on standard input, for at most `timeout` seconds."""
        return subprocess.run([*self._ssh, "sudo sh -s"], input=script, capture_output=True, text=True, timeout=timeout)

    def command(self, command: str) -> list[str]:
        """The command line that runs a command as root, with this end's input and output."""
        return [*self._ssh, f"sudo {command}"]

    def sh(self, script: str, timeout: float = TIMEOUT) -> str:
        """What a script prints; an AssertionError with its errors when it fails."""
        result = self.run(script, timeout)
        assert result.returncode == 0, f"{script}\n{result.stdout}{result.stderr}"
        return result.stdout.strip()

    def pids(self) -> str:
        """The main process of each daemon."""
        return self.sh("systemctl show --property MainPID --value containerd.service docker.service")

    def image(self) -> None:
        """Load an image named bulkhead.invalid/test:1, made of programs that the machine has."""
        script = (ROOT / "tests" / "host" / "image.sh").read_text()
        self.sh(
            "mkdir -p /var/tmp/test-image && sh -s /var/tmp/test-image bulkhead.invalid/test:1 <<'END_OF_IMAGE'\n"
            f"{script}\nEND_OF_IMAGE\n"
            "docker load --quiet --input /var/tmp/test-image/image.tar; rm -r /var/tmp/test-image"
        )

    @contextmanager
    def way_out(self) -> Iterator[None]:
        """A default route, as other hosts have one: what has no route comes to no rule of the egress policy."""
        self.sh(
            "ip link add out type dummy; ip link set out up; ip route add default dev out\n"
            "ip -6 route add default dev out"
        )
        try:
            yield
        finally:
            self.sh("ip link delete out")

    def login_methods(self) -> set[str]:
        """What sshd offers to one who has no key."""
        # Of two options the first counts, but for -S.
        options = ("-S", "none", "-o", "PreferredAuthentications=none")
        result = subprocess.run([*self._ssh[:-1], *options, self._ssh[-1]], capture_output=True, text=True, timeout=60)
        offered = re.search(r"Permission denied \((.*)\)", result.stderr)
        assert offered, result.stderr
        return set(offered[1].split(","))

    def lets_in(self) -> bool:
        """Whether a new connection comes through, whatever becomes of the shared one."""
        new = [*self._ssh[:-1], "-S", "none", self._ssh[-1], "true"]
        try:
            return subprocess.run(new, capture_output=True, timeout=60).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def reset(self) -> None:
        """Reset the machine as its reset button would: nothing is written out, nothing is ended."""
        subprocess.run([*VIRSH, "reset", self._domain], check=True, capture_output=True, timeout=60)

    def wait(self) -> None:
        """Wait until the machine answers again after a reset."""
        self.close()
        end = time.monotonic() + TIMEOUT
        while True:
            try:
                if subprocess.run([*self._ssh, "true"], capture_output=True, timeout=30).returncode == 0:
                    return
            except subprocess.TimeoutExpired:
                pass
            assert time.monotonic() < end, "the machine does not come up again"
            time.sleep(2)

    def close(self) -> None:
        """End the shared connection."""
        subprocess.run([*self._ssh[:-1], "-O", "exit", self._ssh[-1]], capture_output=True)


@dataclass(frozen=True)
class Deployed:
    """What a run of pyinfra printed, and its exit status."""

    status: int
    output: str

    def expect_success(self) -> Deployed:
        """This run, which must have succeeded."""
        assert self.status == 0, self.output
        return self

    @property
    def changed(self) -> set[str]:
        """The operations that changed something, from the table of results."""
        return {row[0] for row in self._rows("Results:") if row[2] != "-" or row[3] != "-"}

    @property
    def predicted(self) -> set[str]:
        """The operations that a dry run says would change something."""
        return {row[0] for row in self._rows("Detected changes:") if not row[1].startswith("-")}

    def _rows(self, heading: str) -> list[list[str]]:
        lines = self.output.partition(heading)[2].splitlines()
        rows = [re.split(r"\s{2,}", line.strip()) for line in lines if line.startswith("    ")]
        return [row for row in rows if row[0].startswith(TITLES)]


class Runs:
    """Runs against the lab's machine, with the lab's inventory or with settings of a test's own laid over it."""

    def __init__(self, lab: LabState, directory: Path, machine: str = "gvisor") -> None:
        self.lab = lab
        self.machine = machine
        self._directory = directory
        self._number = 0

    def inventory(self, **overrides: Any) -> str:
        """An inventory like the lab's, with some of the machine's data replaced, and without the other machine."""
        if not overrides:
            return "inventories/lab.py"
        self._number += 1
        path = self._directory / f"lab_{self._number}.py"
        lab = (ROOT / "inventories" / "lab.py").read_text()
        # One agent on machines of both kinds would be an error.
        (other,) = {"gvisor", "legacy"} - {self.machine}
        path.write_text(
            f"{lab}\n{self.machine}_hosts = [(_name, {{**_host, **{overrides!r}}}) for _name, _host in"
            f" {self.machine}_hosts]\n{other}_hosts = []\n"
        )
        return str(path)

    def deploy(self, *options: str, **overrides: Any) -> Deployed:
        """A run of `pyinfra … deploy.py` from the top of the repository; without options it applies the changes."""
        command = self.command(*options, **overrides)
        # Not -y alone: that skips the detection of changes, which a test of predictions needs.
        result = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL
        )
        return Deployed(result.returncode, result.stdout + result.stderr)

    def command(self, *options: str, **overrides: Any) -> list[str]:
        """The command line of such a run."""
        run = [sys.executable, "-m", "pyinfra", "--limit", self.machine, *(options or ("-y",))]
        return [*run, self.inventory(**overrides), "deploy.py"]

    def gvisor(self, **changes: Any) -> dict[str, Any]:
        """The lab's gVisor settings with some replaced."""
        gvisor = self.lab.gvisor
        return {
            "release": gvisor.release,
            "base_url": gvisor.base_url,
            "sha512": {"x86_64": gvisor.sha512},
            **changes,
        }

    def drift(self, **overrides: Any) -> set[tuple[str, str]]:
        """Capability and subject of each finding of a drift check; its exit status has to agree with them."""
        limit = ("--limit", self.machine)
        # The newest release is asked for on the internet.
        options = ("--no-upstream", "--format", "json", *limit)
        command = [sys.executable, "-m", "bulkhead", "drift", *options, self.inventory(**overrides)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
        assert result.stdout, result.stderr
        (host,) = json.loads(result.stdout)["hosts"]
        assert not host["error"], host["error"]
        findings = [seen["finding"] for seen in host["findings"]]
        assert "hunter2" not in result.stdout + result.stderr
        # A containerd that crossed a generation is no drift.
        here = {(one["capability"], one["subject"]) for one in findings if one["severity"] != "info"}
        assert result.returncode == (DRIFT if here else NO_DRIFT), result.stdout
        return here

    def verify(self, *options: str, **overrides: Any) -> dict[str, str]:
        """Check → outcome of a whole verification, without the skipped ones that the lab can't have."""
        limit = ("--limit", self.machine)
        command = [
            sys.executable,
            "-m",
            "bulkhead",
            "verify",
            "--format",
            "json",
            *limit,
            self.inventory(**overrides),
            *options,
        ]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
        assert result.stdout, result.stderr
        answer = json.loads(result.stdout)
        assert not answer["errors"], answer["errors"]
        outcomes = {check["name"]: check["outcome"] for check in answer["checks"]}
        assert result.returncode == (1 if "failed" in outcomes.values() else 0)
        return {
            name: outcome
            for name, outcome in outcomes.items()
            if outcome != "skipped" or not (name in NOT_IN_THE_LAB or name.startswith(NOT_FOR_ITS_KIND[self.machine]))
        }
