"""What the egress policy costs: per packet with 10 and with 10,000 allowed destinations, and in throughput.

All in network namespaces of this machine, in turns within one run, so that other load meets all alike:

    python -m benchmarks.egress

A datagram's way through the host is walked by the process that sends it, so the rate of a flood tells its cost. The
allowed destination that is used stands in the middle of the list.
"""

from __future__ import annotations

import statistics
from ipaddress import ip_address
from typing import Any

from rich.table import Table

from bulkhead.inventory import InventoryHost
from bulkhead.progress import stdout
from deploys.egress.ruleset import ruleset
from tests.egress.flows import POLICY
from tests.egress.world import World

ROUNDS = 7
SECONDS = 1.0
FIRST = ip_address("203.0.113.10")


def rules(destinations: int) -> str:
    """A ruleset in which alpha may reach so many addresses, the one in use among them."""
    # No two side by side: those would become one range.
    others = [str(ip_address("198.51.0.0") + 2 * number) for number in range(destinations - 1)]
    middle = len(others) // 2
    addresses = [*others[:middle], str(FIRST), *others[middle:]]
    allow: list[dict[str, Any]] = [{"to": address, "protocol": "udp", "ports": [4433]} for address in addresses]
    allow += [{"to": str(FIRST), "ports": [443]}]
    agents = {**POLICY["agents"], "alpha": {**POLICY["agents"]["alpha"], "allow": allow}}
    data = {"engines": ["docker"], "egress": {**POLICY, "agents": agents}}
    return ruleset(InventoryHost("bench", frozenset({"legacy_hosts"}), data))


def main() -> None:
    """Measure, and print medians and ratios."""
    few, many = rules(10), rules(10_000)
    rates: dict[str, list[float]] = {"no policy": [], "10 destinations": [], "10,000 destinations": []}
    streams: dict[str, list[float]] = {name: [] for name in rates}
    loads = {"no policy": None, "10 destinations": few, "10,000 destinations": many}
    with World() as world:
        alpha = world.places["alpha"]
        world.load(few)
        for _ in range(ROUNDS):
            for name, text in loads.items():
                if text is None:
                    world.unload()
                else:
                    world.load(text)
                sent = alpha.ask(op="flood", to=str(FIRST), port=4433, token="bench", seconds=SECONDS)
                rates[name].append(int(sent) / SECONDS)
                streams[name].append(float(alpha.ask(op="stream", to=str(FIRST), port=443, seconds=SECONDS)))
    table = Table("Policy", "Datagrams/s", "µs each", "TCP, MB/s", title=f"Through the host, medians of {ROUNDS}")
    for name in rates:
        rate, stream = statistics.median(rates[name]), statistics.median(streams[name])
        table.add_row(name, f"{rate:,.0f}", f"{1e6 / rate:.2f}", f"{stream / 1e6:,.0f}")
    console = stdout()
    console.print(table)
    cost = [one / other for one, other in zip(rates["10 destinations"], rates["10,000 destinations"], strict=True)]
    kept = [one / other for one, other in zip(streams["10,000 destinations"], streams["no policy"], strict=True)]
    console.print(f"Cost per packet, 10,000 / 10 destinations: {statistics.median(cost):.2f}")
    console.print(f"Throughput with the policy / without: {statistics.median(kept):.2f}")


if __name__ == "__main__":
    main()
