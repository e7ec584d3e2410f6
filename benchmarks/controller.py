"""What one host of a fleet costs the controller of a drift check: `python -m benchmarks.controller`, as root.

The look of a gVisor host with both engines is asked of this machine once. Its answer is then taken for that of each of
HOSTS hosts: their needs and the script are made, the answer is unpacked and compared, one host after the other in one
process, without any connection. Printed are CPU milliseconds for each host, of the best round: what other load adds is
not the controller's. A first round, in which modules are imported and templates are compiled, does not count.
"""

from __future__ import annotations

import subprocess
import time

from rich.table import Table

from benchmarks.fleet import described
from bulkhead import look
from bulkhead.capability import discover, findings_of, watched
from bulkhead.progress import stdout

HOSTS = 20
ROUNDS = 7
PARTS = ("ask", "unpack", "compare")


def main() -> None:
    """Measure, and print a table."""
    discover()
    script = look.script(watched(described(0, {})))
    answer = subprocess.run(["sh"], input=script, check=True, capture_output=True, text=True).stdout
    measure(answer)
    rounds = [measure(answer) for _ in range(ROUNDS)]
    best = min(rounds, key=sum)
    table = Table("Part", "CPU ms a host", title=f"The controller's part of a look, best of {ROUNDS} rounds")
    table.columns[1].justify = "right"
    for part, seconds in zip((*PARTS, "all"), (*best, sum(best)), strict=True):
        table.add_row(part, f"{1000 * seconds / HOSTS:.1f}")
    stdout().print(table)


def measure(answer: str) -> tuple[float, ...]:
    """CPU seconds that each of PARTS takes for all hosts, of which nothing is known before."""
    spent = [0.0] * len(PARTS)
    for number in range(HOSTS):
        host = described(number, {})
        started = time.process_time()
        needs = watched(host)
        look.script(needs)
        asked = time.process_time()
        found = look.parse(answer, needs)
        unpacked = time.process_time()
        findings_of(host, found)
        ended = time.process_time()
        for part, seconds in enumerate((asked - started, unpacked - asked, ended - unpacked)):
            spent[part] += seconds
    return tuple(spent)


if __name__ == "__main__":
    main()
