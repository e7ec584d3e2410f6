"""What of egress control is not as described: the policy's file and the kernel's table, what goes round it, the agents'
networks and the proxy. Pure, no I/O.
"""

from __future__ import annotations

import json

from bulkhead.drift import units
from bulkhead.drift.comparison import Comparison, told
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Command, Look, Need
from bulkhead.put import Write
from deploys.egress import facts, networks, omissions, others, proxy, settings
from deploys.egress.facts import FoundEgress
from deploys.egress.live import differences
from deploys.egress.ruleset import TABLE

NAME = "egress"


def watches(host: InventoryHost) -> list[Need]:
    """Our units, and every table of the kernel's packet filter."""
    del host
    return [
        units.watch(NAME, [facts.UNIT, proxy.UNIT]),
        Command("egress.tables", f"! command -v nft >/dev/null || {others.COMMAND}"),
    ]


def drift(compared: Comparison, host: InventoryHost, look: Look) -> None:
    """The policy first, then whatever agents could reach past it."""
    there = facts.found(look)
    found = units.read(NAME, look)
    if settings.of(host).off:
        for what in facts.left_by_a_policy(there):
            compared.add(what, actual="is there, though the host is to have no policy", severity="warning")
        return
    _policy(compared, host, look, there)
    compared.own_file(facts.unit_file(there))
    compared.unit(found, facts.UNIT, enabled=True, mend=compared.deploy)
    for engine in there.unguarded:
        compared.add(f"unit {engine}: Requires", expected=facts.UNIT, actual="starts without the policy")
    if there.stock_service.startswith("enabled"):
        compared.add(
            "unit nftables.service",
            expected="masked",
            actual=there.stock_service,
            mend=f"systemctl disable nftables.service; {compared.deploy}",
        )
    elif there.stock_service not in ("masked", "", "not-found"):
        compared.add("unit nftables.service", expected="masked", actual=there.stock_service, severity="warning")
    if there.rolled_back:
        compared.add(facts.ROLLED_BACK, actual="was not confirmed, and what was before is in force", severity="warning")
    for bypass in others.bypasses(told(look, "egress.tables", "what tables its packet filter has")):
        compared.add(
            f"nft table {bypass.table}: {bypass.does}",
            actual="goes round our table" if bypass.opens else "could hide packets from our table's counters",
            severity="critical" if bypass.opens else "warning",
            mend=f"nft delete table {bypass.table}, and take it out of what loads it",
        )
    try:
        omissions.refuse(host, look)
    except BulkheadError as error:
        compared.refusal("egress policy", error)
    _networks(compared, host, look)
    _proxy(compared, host, look, found)


def _policy(compared: Comparison, host: InventoryHost, look: Look, there: FoundEgress) -> None:
    boot = facts.boot_file(host, there)
    compared.own_file(boot)
    as_described = there.boot is not None and _statements(there.boot.content) == _statements(boot.content or b"")
    live, fresh = look.outputs["egress.live"].text, look.outputs["egress.fresh"]
    subject = f"nft table {TABLE}"
    if not live:
        compared.add(subject, expected="loaded")
    elif not as_described:
        # What the kernel should have can't be told from a file that is another one.
        if there.loaded:
            compared.add(subject, expected="the policy of the inventory", actual=f"the one of {facts.BOOT_FILE}")
    elif fresh.status != 0:
        said = fresh.stderr.decode(errors="replace").strip().splitlines() or ["without a word"]
        raise BulkheadError(
            f"the host can't load {facts.BOOT_FILE} beside the kernel's table to compare them: {said[0]}",
            hint="See what nft says of it on the host.",
        )
    else:
        wrong = differences(live, fresh.text)
        for (kind, name), (expected, actual) in wrong.items():
            compared.add(f"{subject}: {kind} {name}", expected=expected, actual=actual)
        if not wrong and not there.loaded:
            compared.add(subject, expected=f"the policy of {facts.BOOT_FILE}", actual="another order of its parts")


def _statements(ruleset: bytes) -> list[bytes]:
    """The lines of a ruleset that say something to nft."""
    lines = (line.strip() for line in ruleset.splitlines())
    return [line for line in lines if line and not line.startswith(b"#")]


def _networks(compared: Comparison, host: InventoryHost, look: Look) -> None:
    if "docker" in host.data.get("engines", ()):
        try:
            listed = {network["Name"]: network for network in facts.docker_networks(look)}
        except BulkheadError as error:
            compared.refusal("agents' networks", error)
            listed = None
        wanted = networks.docker(host) if listed is not None else {}
        for name, description in wanted.items():
            found = (listed or {}).get(name)
            if found is None or networks.differs(found, description) or not networks.is_ours(found):
                actual = json.dumps(networks.shape(found, description)) if found else ""
                if found and not networks.is_ours(found):
                    actual = "a network that is not Bulkhead's"
                expected = json.dumps(networks.shape(description, description))
                compared.add(f"network {name}", expected=expected, actual=actual)
        for name, network in sorted((listed or {}).items()):
            if networks.is_ours(network) and name not in wanted:
                compared.add(f"network {name}", actual="a network of an agent that is not described")
    for path, content in networks.cni(host).items():
        compared.own_file(Write(path, content, look.files[path]))
    for path in sorted({*look.outputs["egress.cni"].text.split()} - networks.cni(host).keys()):
        compared.add(path, actual="a network of an agent that is not described")


def _proxy(compared: Comparison, host: InventoryHost, look: Look, found: dict[str, units.Unit]) -> None:
    wanted = proxy.files(host)
    for path in (proxy.CONFIG, proxy.UNIT_FILE, proxy.LOGROTATE):
        compared.own_file(Write(path, wanted.get(path), look.files[path]))
    if not wanted:
        if proxy.UNIT in found and found[proxy.UNIT].runs:
            compared.add(f"unit {proxy.UNIT}", actual="active")
        return
    if look.outputs["egress.squid"].status != 0:
        compared.add("package squid", expected="installed")
    compared.unit(found, proxy.UNIT, enabled=True, mend=compared.deploy)
    stock = look.outputs["egress.squid_service"].text
    if stock.startswith("enabled"):
        compared.add(
            "unit squid.service",
            expected="masked",
            actual=stock,
            mend="systemctl disable --now squid.service; systemctl mask squid.service",
        )
