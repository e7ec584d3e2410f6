"""Tables of others in the kernel's packet filter, and what in them goes round ours. Pure, no I/O.

An accept elsewhere overrides nothing: it ends its own chain, and a drop of ours is final. What goes round is whatever
rewrites a packet, keeps it from being tracked, or takes it past the hooks (nftables' manual page, nft(8)).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from bulkhead.errors import BulkheadError
from deploys.egress.ruleset import TABLE

COMMAND = "nft --stateless --numeric-priority --terse list ruleset"
"""Prints what `parse` reads."""

HOOKS = {"prerouting": -150, "forward": -10, "input": -10, "output": -10}
"""Hook → the priority of our chain (`templates/egress/egress.nft.j2`)."""

ENGINES = re.compile(r"ip6? (filter|nat|mangle|raw|security|docker-bridges)")
"""Tables of iptables' and of Docker's, which engines fill."""

TRANSLATING = re.compile(r"ip6? (nat|docker-bridges)")
"""Those of them in which an engine rewrites addresses; ours judges them before and after that."""

ADDRESSES = "rewrites addresses"
WAYS = (
    (re.compile(r"\b[ds]nat (ip6? )?(prefix )?to\b|\bmasquerade\b|\bredirect\b"), ADDRESSES),
    (re.compile(r'xt target "(DNAT|SNAT|MASQUERADE|REDIRECT|NETMAP)"'), ADDRESSES),
    (re.compile(r"\b(ip6?|ether|tcp|udp|th) ([sd]addr|[sd]port) set\b|@\w+,[0-9]+,[0-9]+ set\b"), "rewrites packets"),
    (re.compile(r'\bnotrack\b|xt target "(CT|NOTRACK)"'), "keeps packets from being tracked"),
    (re.compile(r'\btproxy\b|xt target "TPROXY"'), "hands packets to a process"),
    (re.compile(r'\b(fwd|dup) (ip6? )?to\b|xt target "TEE"'), "sends packets past the filter"),
    (re.compile(r"\bflow add @"), "takes flows past the filter"),
    (re.compile(r'\bct (mark|zone|label|event|helper) set\b|xt target "CONNMARK"'), "changes what is known of flows"),
)
"""What a rule does, by patterns that are read alike here and by `grep -E` of GNU (a host asks itself by that)."""

_CHAIN = re.compile(r"type \w+ hook (\w+) (?:devices? (?:= )?(?:\{[^}]*\}|\S+) )?priority (-?\d+)")


@dataclass
class Table:
    """One table: family and name, base chains (hook, priority), flow tables, and the rules of all chains."""

    name: str
    chains: list[tuple[str, int]] = field(default_factory=list)
    flowtables: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Bypass:
    """What a table of others does, and whether that really opens a way past ours."""

    table: str
    does: str
    opens: bool


def parse(listing: str) -> list[Table]:
    """The tables but ours.

    Raises BulkheadError for a chain that can't be understood.
    """
    tables: list[Table] = []
    for line in (line.strip() for line in listing.splitlines()):
        if match := re.match(r"table (\w+ \S+) \{", line):
            tables.append(Table(match[1]))
        elif not tables or not line or line.startswith(("#", "}", "chain ", "set ", "map ")):
            continue
        elif match := re.match(r"flowtable (\S+) \{", line):
            tables[-1].flowtables.append(match[1])
        elif re.match(r"type \w+ hook ", line):
            if not (match := _CHAIN.match(line)):
                raise BulkheadError(f"nft table {tables[-1].name}: a chain that can't be understood: {line}")
            tables[-1].chains.append((match[1], int(match[2])))
        else:
            tables[-1].rules.append(_unquoted(line))
    return [table for table in tables if table.name != TABLE]


def _unquoted(rule: str) -> str:
    """A rule without its comment and its prefix for the log, which may say anything; and without the type of an ICMP
    message that is called as a statement is."""
    return re.sub(r'\b(comment|prefix) "[^"]*"|\bicmp(v6)? type redirect\b', "", rule)


def bypasses(listing: str) -> Iterator[Bypass]:
    """What goes round our table, by all tables of the kernel.

    Raises BulkheadError as `parse` does.
    """
    for table in parse(listing):
        engines, translating = (bool(kind.fullmatch(table.name)) for kind in (ENGINES, TRANSLATING))
        does = {why for rule in table.rules for pattern, why in WAYS if pattern.search(rule)}
        does -= {ADDRESSES} if translating else set()
        does |= {f"has the flow table {name}" for name in table.flowtables}
        yield from (Bypass(table.name, why, opens=True) for why in sorted(does))
        if does:
            continue
        for hook, priority in table.chains:
            before = priority < HOOKS[hook] if hook in HOOKS else hook in ("ingress", "egress")
            # Engines' own are hooked where they always are: what they rewrite for the host itself is judged after it.
            if before and (not engines or (translating and hook == "prerouting")):
                yield Bypass(table.name, f"is hooked before ours ({hook} {priority})", opens=translating)
