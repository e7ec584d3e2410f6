"""What of egress control a host compares by itself. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator

from bulkhead.drift import pins
from bulkhead.drift.pins import Check, Search
from bulkhead.go_json import compact
from bulkhead.inventory import InventoryHost
from bulkhead.look import Look
from bulkhead.templates import render
from deploys.docker.facts import api
from deploys.egress import facts, networks, others, proxy, settings
from deploys.egress.drift import NAME
from deploys.egress.live import DYNAMIC
from deploys.egress.ruleset import TABLE


def of(host: InventoryHost, look: Look) -> list[Check]:
    """The policy, its boot, what goes round it, the agents' networks, and the proxy."""
    if settings.of(host).off:
        return [pins.own_file(NAME, path, None, severity="warning") for path in (facts.BOOT_FILE, facts.UNIT_FILE)]
    there = facts.found(look)
    proxied = proxy.files(host)
    return [
        pins.written(NAME, facts.boot_file(host, there)),
        pins.written(NAME, facts.unit_file(there)),
        pins.own_file(NAME, facts.ROLLED_BACK, None, severity="warning"),
        *(pins.own_file(NAME, path, content) for path, content in networks.cni(host).items()),
        *(pins.own_file(NAME, path, proxied.get(path)) for path in (proxy.CONFIG, proxy.UNIT_FILE, proxy.LOGROTATE)),
        pins.units(NAME, [(unit, True, True) for unit in (facts.UNIT, *([proxy.UNIT] if proxied else []))]),
        _search("nft_table", table=TABLE, file=facts.BOOT_FILE, dynamic=DYNAMIC),
        _search(
            "nft_others",
            command=others.COMMAND,
            table=TABLE,
            ways=[(pattern.pattern, what) for pattern, what in others.WAYS],
            addresses=others.ADDRESSES,
            hooks=others.HOOKS,
            engines=others.ENGINES.pattern,
            translating=others.TRANSLATING.pattern,
        ),
        _search("guarded", engines=facts.ENGINE_UNITS, unit=facts.UNIT),
        _search("stock", unit="nftables.service", strict=True),
        *([_search("stock", unit="squid.service", strict=False)] if proxied else []),
        *_networks(host),
    ]


def _search(name: str, /, **values: object) -> Search:
    return Search(NAME, f"egress {name}", render(f"self_check/{name}.sh.j2", **values))


def _networks(host: InventoryHost) -> Iterator[Check]:
    for name, wanted in (networks.docker(host) if "docker" in host.data.get("engines", ()) else {}).items():
        pieces = [
            f"{compact(key)}:{compact(value)}" for key, value in {**wanted["Options"], **wanted["Labels"]}.items()
        ]
        pieces += [f'"Subnet":{compact(config["Subnet"])}' for config in wanted["IPAM"]["Config"]]
        pieces += [f'"Driver":{compact(wanted["Driver"])}', f'"EnableIPv6":{compact(wanted["EnableIPv6"])}']
        values = {"name": name, "question": api(f"/networks/{name}"), "pieces": pieces}
        yield Search(NAME, f"network {name}", render("self_check/network.sh.j2", **values))
