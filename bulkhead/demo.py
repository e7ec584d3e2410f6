"""The main job on a throwaway lab: from nothing to a verified host of each kind, and what was done and proved."""

from __future__ import annotations

import os
import sys

from rich.table import Table

from bulkhead.inventory_file import ROOT
from bulkhead.lab import LabState, lifecycle, machines, paths
from bulkhead.progress import Steps, stdout
from bulkhead.verification import Results, verify

INVENTORY = "inventories/lab.py"


def demo() -> int:
    """Bring the lab up, deploy, deploy again, verify, and report; the exit status follows the proofs.

    Raises BulkheadError with what to do when a step can't be done.
    """
    steps = Steps(paths.LOGS)
    lab = lifecycle.up(machines.NAMES, steps=steps)
    deploy = [sys.executable, "-m", "pyinfra", "-y", INVENTORY, "deploy.py"]
    with steps("Deploy both kinds of host") as step:
        step.run(deploy, cwd=ROOT)
    with steps("Deploy again: nothing may change") as step:
        again = step.run(deploy, cwd=ROOT)
        unchanged = _changes(again) == 0
        step.note("nothing changed" if unchanged else "SOMETHING CHANGED")
    with steps("Verify") as step:
        results = verify(INVENTORY)
        step.note(f"{results.count('passed')} passed, {results.count('failed')} failed")
    console = stdout()
    console.print(steps.table())
    results.show(console)
    console.print(_summary(lab, results, steps, unchanged))
    console.print(f"gVisor came from: {lab.gvisor.origin}, {lab.gvisor.detail}")
    console.print("The machines stay up: 'bulkhead lab ssh gvisor' looks around, 'make lab-down' removes them.")
    return 0 if results.passed and unchanged else os.EX_SOFTWARE


def _summary(lab: LabState, results: Results, steps: Steps, unchanged: bool) -> Table:
    gvisor = lab.gvisor
    installed = {
        "gvisor": (f"runsc {gvisor.release or 'of the distribution'}", gvisor.origin),
        "legacy": ("runc, hardened, egress denied by default", "the distribution"),
    }
    seconds = sum(step.seconds for step in steps.done)
    table = Table("Machine", "Installed", "From", "Proofs", "Second run", "Total seconds", title="Bulkhead demo")
    for name in sorted({check.host for check in results.checks}):
        passed, failed = results.count("passed", name), results.count("failed", name)
        table.add_row(
            f"{name} ({lab.suite}, {'KVM' if lab.driver == 'kvm' else 'emulated'})",
            *installed[name],
            f"{passed} passed, {failed} failed, {results.count('skipped', name)} skipped",
            "nothing changed" if unchanged else "SOMETHING CHANGED",
            f"{seconds:.0f}",
        )
    return table


def _changes(output: str) -> int:
    """How many operations of a pyinfra run made a change, from the last line of its results."""
    totals = [line.split() for line in output.splitlines() if "Grand total" in line]
    return sum(int(count) for count in totals[-1][3:5] if count.isdigit()) if totals else 1
