"""What the baseline of a legacy host is worth by a measure that is not ours: Lynis before, after, and after a reset.

    python -m benchmarks.hardening

makes the lab's legacy machine anew, installs Lynis from Debian's package on it, and lets it audit the machine as it
came, after a deploy, and again after the machine's reset, which shows what only was live. All that Lynis complained of
and no longer does is printed, and so are what it newly complains of, its warnings that stay, and the settings of the
kernel that differ from its profile.

kernel-hardening-checker is not measured: the Python package index has no distribution of that name (`pip index
versions kernel-hardening-checker`), nor of its earlier one, kconfig-hardened-check, and Debian 12 and 13 have no
package. What it reads is kept of each audit, for whoever has it from its repository; nothing here imitates it.

The lab's machines are started without a boot loader, so the kernel's command line stays as it is, and what the baseline
says of it counts for nothing here.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks import lynis
from bulkhead.inventory_file import ROOT
from bulkhead.lab import paths, up
from bulkhead.progress import Steps, stdout
from tests.lab.machine import Machine

MACHINE = "legacy"
FOLDER = paths.LAB / "bench" / "hardening"
AUDIT_SECONDS = 3600
"""Lynis starts thousands of programs, which takes its time on an emulated machine."""

INSTALL = """
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get --quiet update
apt-get --quiet --yes --no-install-recommends install lynis
"""
REPORT = "/var/log/lynis-report.dat"
# Lynis must not read the rest of the script, which comes on standard input.
AUDIT = f"rm -f {REPORT}; lynis audit system --quick --no-colors </dev/null >/dev/null 2>&1; cat {REPORT}"

CHECKER = {"config": "cat /boot/config-$(uname -r)", "sysctl": "sysctl -a 2>/dev/null", "cmdline": "cat /proc/cmdline"}
"""What kernel-hardening-checker reads, by the name of its option."""


def audit(machine: Machine, steps: Steps, when: str) -> lynis.Report:
    """Lynis's report of the machine as it is now; it is kept, and so is kernel-hardening-checker's input."""
    folder = FOLDER / when.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    with steps(f"Audit {when}") as step:
        # What still starts would be missing. The status tells of units that failed, which are Lynis's to judge.
        machine.run("systemctl is-system-running --wait")
        text = machine.sh(AUDIT, timeout=AUDIT_SECONDS)
        (folder / "lynis-report.dat").write_text(text + "\n")
        for name, command in CHECKER.items():
            (folder / name).write_text(machine.sh(command) + "\n")
        report = lynis.read(text)
        step.note(f"hardening index {report.index}")
    return report


def main() -> None:
    """Measure, and print what changed."""
    steps = Steps(paths.LOGS)
    lab = up((MACHINE,), steps=steps, anew=True)
    reports = {}
    with tempfile.TemporaryDirectory() as sockets:
        machine = Machine(MACHINE, lab.machines[MACHINE], Path(sockets))
        try:
            with steps("Install Lynis"):
                machine.sh(INSTALL)
            reports["before"] = audit(machine, steps, "before")
            with steps("Deploy") as step:
                run = (sys.executable, "-m", "pyinfra", "-y", "--limit", MACHINE, "inventories/lab.py", "deploy.py")
                step.run(run, cwd=ROOT)
            reports["after"] = audit(machine, steps, "after")
            with steps("Reset"):
                machine.sh("sync")
                machine.reset()
                machine.wait()
            reports["after a reset"] = audit(machine, steps, "after a reset")
        finally:
            machine.close()
    console = stdout()
    console.print(lynis.table(reports))
    for line in lynis.differences(reports["before"], reports["after a reset"]):
        console.print(line, markup=False)
    options = " ".join(f"--{name} {name}" for name in CHECKER)
    console.print(
        "kernel-hardening-checker: not measured, since the Python package index does not have it; its input is in"
        f" {FOLDER.relative_to(ROOT)}/*/ (kernel-hardening-checker {options})",
        markup=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
