"""What the egress capability reads from a host, as parts of the one look."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bulkhead import trial
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Command, File, FoundFile, Look, Need
from bulkhead.put import Write
from bulkhead.templates import render
from deploys.docker.facts import api
from deploys.egress import networks, proxy, settings
from deploys.egress.live import same
from deploys.egress.ruleset import TABLE, ruleset

BOOT_FILE = "/etc/bulkhead/egress.nft"
"""The confirmed policy, which is loaded at boot."""

ROLLED_BACK = trial.rolled_back("egress")
"""Says that a policy was taken back, until one is confirmed or the one before is wanted again."""

UNIT = "bulkhead-egress.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"

ENGINE_UNITS = (
    *("docker.service", "containerd.service", "k3s.service", "k3s-agent.service", "rke2-server.service"),
    *("rke2-agent.service", "k0scontroller.service", "k0sworker.service"),
)
"""Units that start no container without the policy; those that a host lacks do no harm."""

ROUTERS = (
    "ip -6 route show default proto ra 2>/dev/null | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p' | sort -u |"
    ' while read -r one; do [ "$(cat "/proc/sys/net/ipv6/conf/$one/accept_ra")" = 2 ] || echo "$one"; done; :'
)
"""Interfaces whose default route the kernel learned from a router, and forgets when it begins to forward IPv6."""


@dataclass(frozen=True)
class FoundEgress:
    """The policy that is there: its file, whether the kernel has just that, and what became of the last new one.

    `live` tells that the kernel has any, `rolled_back` tells that one was taken back since nobody confirmed it.
    """

    nft: bool
    boot: FoundFile | None
    loaded: bool
    live: bool
    rolled_back: bool
    unit: FoundFile | None
    enabled: bool
    active: bool
    stock_service: str
    """Whether Debian's own `nftables.service` is `enabled`, `disabled`, `masked`, or empty for not there."""

    unguarded: tuple[str, ...]
    """Engines that would start without the policy."""


def needs(host: InventoryHost) -> list[Need]:
    """The policy's file, its unit, the table in the kernel beside what the file makes of an empty one; the proxy, and
    the networks that are there."""
    return [
        *(File(path) for path in (proxy.CONFIG, proxy.UNIT_FILE, proxy.LOGROTATE, "/etc/passwd")),
        Command("egress.squid", "command -v squid"),
        Command("egress.proxy", f"systemctl is-enabled {proxy.UNIT} 2>/dev/null; systemctl is-active {proxy.UNIT}; :"),
        Command("egress.squid_service", "systemctl is-enabled squid.service 2>/dev/null; :"),
        Command(
            "egress.cni", f"grep -l . {networks.CNI_DIRECTORY}/90-{settings.INTERFACE_PREFIX}*.conflist 2>/dev/null; :"
        ),
        *(File(path) for path in networks.cni(host)),
        *([Command("egress.networks", api("/networks"))] if "docker" in host.data.get("engines", ()) else []),
        File(BOOT_FILE),
        File(UNIT_FILE),
        File(ROLLED_BACK),
        Command("egress.nft", "command -v nft"),
        Command("egress.live", f"nft --json list table {TABLE} 2>/dev/null; :"),
        Command(
            "egress.fresh",
            f"[ ! -e {BOOT_FILE} ] || unshare --net sh -c 'nft --file {BOOT_FILE} && nft --json list table {TABLE}'",
        ),
        Command("egress.enabled", f"systemctl is-enabled {UNIT} 2>/dev/null; systemctl is-active {UNIT}; :"),
        Command("egress.cloud", "cat /run/cloud-init/cloud-id 2>/dev/null; :"),
        Command("egress.routers", ROUTERS),
        Command("egress.engines", f"systemctl show --property Id,LoadState,Requires {' '.join(ENGINE_UNITS)}"),
        Command("egress.stock", "systemctl is-enabled nftables.service 2>/dev/null; :"),
    ]


def found(look: Look) -> FoundEgress:
    """Read the answers to `needs`.

    Raises BulkheadError when nft's listing can't be read.
    """
    states = look.outputs["egress.enabled"].text.split()
    fresh = look.outputs["egress.fresh"]
    live = look.outputs["egress.live"].text
    return FoundEgress(
        nft=look.outputs["egress.nft"].status == 0,
        boot=look.files[BOOT_FILE],
        live=bool(live),
        loaded=bool(live) and fresh.status == 0 and same(live, fresh.text),
        rolled_back=look.files[ROLLED_BACK] is not None,
        unit=look.files[UNIT_FILE],
        enabled="enabled" in states,
        active=states[-1:] == ["active"],
        stock_service=look.outputs["egress.stock"].text.strip(),
        unguarded=tuple(_unguarded(look.outputs["egress.engines"].text)),
    )


def _unguarded(answer: str) -> Iterator[str]:
    for block in answer.split("\n\n"):
        said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if said.get("LoadState") == "loaded" and UNIT not in said.get("Requires", "").split():
            yield said.get("Id", "")


def boot_file(host: InventoryHost, there: FoundEgress) -> Write:
    """The policy that is loaded at boot, as it should be."""
    return Write(BOOT_FILE, ruleset(host).encode(), there.boot)


def unit() -> bytes:
    """The unit that loads it."""
    return render("egress/bulkhead-egress.service.j2", boot_file=BOOT_FILE, engines=ENGINE_UNITS).encode()


def unit_file(there: FoundEgress) -> Write:
    """The unit's file as it should be."""
    return Write(UNIT_FILE, unit(), there.unit)


def left_by_a_policy(there: FoundEgress) -> list[str]:
    """What a host has of an egress policy that is not wanted any more."""
    files = [path for path, found in ((BOOT_FILE, there.boot), (UNIT_FILE, there.unit)) if found]
    return files + ([f"nft table {TABLE}"] if there.live else [])


def docker_networks(look: Look) -> list[dict[str, Any]]:
    """All networks that Docker has, as it lists them.

    Raises BulkheadError when the daemon does not answer.
    """
    answer = look.outputs["egress.networks"].refuse_without("curl")
    try:
        found = json.loads(answer.stdout) if answer.status == 0 else None
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise BulkheadError(
            "Docker does not answer, so the agents' networks can't be made",
            hint="See 'systemctl status docker' on the host, then run again.",
        )
    return found
