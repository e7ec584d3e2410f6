"""Bring the egress policy into force: checked, loaded, confirmed over a new connection, and only then kept for boot."""

from __future__ import annotations

import hashlib
import json

from bulkhead import put
from bulkhead.capability import Capability, register
from bulkhead.confirm import confirmed
from bulkhead.errors import BulkheadError
from bulkhead.hosts import announce, converges, run, warn
from bulkhead.inventory import GVISOR_HOSTS, LEGACY_HOSTS, InventoryHost
from bulkhead.look import PATH, Look
from bulkhead.templates import render, whole
from bulkhead.trial import Trial
from deploys.docker.decision import decide
from deploys.docker.facts import SOCKET
from deploys.egress import drift, facts, networks, omissions, pins, proxy, settings
from deploys.egress.facts import BOOT_FILE, UNIT
from deploys.egress.policy import PROXY_PORT, PROXY_UID
from deploys.egress.ruleset import TABLE, ruleset


def files(host: InventoryHost) -> dict[str, bytes]:
    """Path → content of all that this capability writes."""
    if settings.of(host).off:
        return {}
    return {
        BOOT_FILE: ruleset(host).encode(),
        facts.UNIT_FILE: facts.unit(),
        **networks.cni(host),
        **proxy.files(host),
    }


CAPABILITY = register(
    Capability(
        name="egress",
        groups=frozenset({GVISOR_HOSTS, LEGACY_HOSTS}),
        validate=settings.of,
        needs=facts.needs,
        files=files,
        across=settings.refuse_agents_on_both_kinds,
        watches=drift.watches,
        drift=drift.drift,
        pins=pins.of,
    )
)


@converges(CAPABILITY)
def deploy(host: InventoryHost, look: Look) -> None:
    """Bring the policy into force, and the proxy: what an agent may no longer reach must not wait for other steps."""
    _policy(host, look)
    _proxy(host, look)


def _policy(host: InventoryHost, look: Look) -> None:
    """Load it, have it confirmed, and have it loaded at boot before the engines."""
    there = facts.found(look)
    wanted = settings.of(host)
    if wanted.off:
        _off(wanted.off, there)
        return
    if there.stock_service.startswith("enabled"):
        raise BulkheadError(
            "nftables.service is enabled: its configuration begins with 'flush ruleset', which would take the egress "
            "policy and the engines' rules away whenever it is restarted",
            hint="Move your own rules to a unit that only touches its own table, then: systemctl disable nftables",
        )
    omissions.refuse(host, look)
    boot = facts.boot_file(host, there)
    text = boot.content or b""
    kept = not boot.changes
    trial = Trial(
        "egress", "egress policy", "policy", seconds=wanted.confirm_seconds, digest=hashlib.sha256(text).hexdigest()
    )
    changed = not (kept and there.loaded)
    if there.rolled_back:
        now = "this run tries again" if changed else "the one before is in force, and wanted"
        warn(f"the egress policy of an earlier run was not confirmed and was taken back; {now}")
    announce([] if not changed else [f"~ {TABLE}: {'the kernel has another one' if kept else 'new policy'}"])
    run(name="Install nftables", script=None if there.nft else put.installation(["nftables"]))
    go_back = render("egress/go_back.sh.j2", trial=trial, boot_file=BOOT_FILE, table=TABLE)
    load = render("egress/load.sh.j2", **trial.values(go_back), ruleset=text)
    probe_seconds = settings.probe_seconds(wanted)
    confirmed(
        name="Load the egress policy",
        trial=trial,
        load=whole(load) if changed else None,
        probes=render("egress/probes.sh.j2", path=PATH, probes=wanted.probes, probe_seconds=probe_seconds),
        keep=render("egress/keep.sh.j2", trial=trial, boot_file=BOOT_FILE),
    )
    write = facts.unit_file(there)
    settled = (
        there.enabled and there.active and not there.unguarded and there.stock_service in ("masked", "", "not-found")
    )
    change = put.Change(
        writes=[write],
        activate=render("egress/boot.sh.j2", unit=UNIT),
        prove=f"systemctl --quiet is-enabled {UNIT} && systemctl --quiet is-active {UNIT}",
        restore=f"systemctl --quiet disable {UNIT} 2>/dev/null; systemctl daemon-reload" if there.unit is None else "",
        obsolete=[facts.ROLLED_BACK] if there.rolled_back and not changed else [],
    )
    run(
        name="Load the egress policy at boot",
        script=None if settled and not change.changes and not change.obsolete else put.script(change),
    )


def _off(reason: str, there: facts.FoundEgress) -> None:
    """Take away what an earlier policy left."""
    warn(f"no egress policy, agents reach what the network lets them: {reason}")
    left = facts.left_by_a_policy(there)
    announce([f"- {what}" for what in left])
    script = render(
        "egress/off.sh.j2",
        **put.preamble_values(),
        unit=UNIT,
        unit_file=facts.UNIT_FILE,
        boot_file=BOOT_FILE,
        table=TABLE,
        rolled_back=facts.ROLLED_BACK,
    )
    run(name="Take the egress policy away", script=whole(script) if left else None)


@converges(CAPABILITY)
def agents(host: InventoryHost, look: Look) -> None:
    """Make the agents' networks: after the engines, which make them."""
    if "docker" in host.data.get("engines", ()):
        _docker_networks(host, look)
    _cni_networks(host, look)


def _docker_networks(host: InventoryHost, look: Look) -> None:
    wanted = networks.docker(host)
    there = {network["Name"]: network for network in facts.docker_networks(look)}
    # Docker has been given another data directory since the look, and knows none of these networks any more, but maybe
    # some of their names.
    moved = decide(host, look).moves_data
    for name in wanted.keys() & there.keys():
        if not moved and (there[name].get("Labels") or {}).get(networks.LABEL) != name:
            raise BulkheadError(
                f"Docker has a network named {name} that is not Bulkhead's",
                hint=f"Remove it (docker network rm {name}), or give the agent another name.",
            )
    ours = {name: network for name, network in there.items() if networks.is_ours(network)}
    removed = [
        (name, network["Id"])
        for name, network in sorted(ours.items())
        if name not in wanted or (not moved and networks.differs(network, wanted[name]))
    ]
    kept = set() if moved else ours.keys() - {name for name, _ in removed}
    created = [(name, json.dumps(body)) for name, body in wanted.items() if name not in kept]
    announce([*(f"- network {name}" for name, _ in removed), *(f"+ network {name}" for name, _ in created)])
    script = render(
        "egress/networks.sh.j2",
        **put.preamble_values(),
        socket=SOCKET,
        label=networks.LABEL,
        moved=moved,
        removed=removed,
        created=created,
    )
    run(name="Make the agents' networks in Docker", script=whole(script) if removed or created else None)


def _cni_networks(host: InventoryHost, look: Look) -> None:
    wanted = networks.cni(host)
    gone = sorted(set(look.outputs["egress.cni"].text.split()) - wanted.keys())
    change = put.Change(
        writes=[put.Write(path, content, look.files[path]) for path, content in wanted.items()], obsolete=gone
    )
    announce([*(f"- {path}" for path in gone), *(f"~ {write.path}" for write in change.writes if write.changes)])
    run(name="Describe the agents' networks for CNI", script=put.script(change) if gone or change.changes else None)


def _proxy(host: InventoryHost, look: Look) -> None:
    wanted = proxy.files(host)
    states = look.outputs["egress.proxy"].text.split()
    installed = look.outputs["egress.squid"].status == 0
    if wanted:
        uid = omissions.uids(look).get(proxy.USER)
        if uid != PROXY_UID:
            raise BulkheadError(
                f"the user {proxy.USER} has the uid {uid}, not {PROXY_UID} as on Debian and Ubuntu",
                hint="The egress policy knows the proxy by that number: restore it (Debian's base-passwd).",
            )
        if installed and look.outputs["egress.squid_service"].text.startswith("enabled"):
            raise BulkheadError(
                "squid.service is enabled: another proxy of this host, which would listen beside the agents' one",
                hint="If nobody needs it: systemctl disable --now squid; systemctl mask squid.",
            )
    run(
        name="Install squid",
        script=None if installed or not wanted else put.installation(["squid"], masked=["squid.service"]),
    )
    writes = [
        put.Write(path, wanted.get(path), look.files[path]) for path in (proxy.CONFIG, proxy.UNIT_FILE, proxy.LOGROTATE)
    ]
    change = put.Change(
        writes=writes,
        check=render("egress/proxy_check.sh.j2") if wanted else "",
        activate=render("egress/proxy.sh.j2", unit=proxy.UNIT, wanted=bool(wanted), port=PROXY_PORT),
    )
    announce([f"~ {write.path}" for write in writes if write.changes])
    runs = states == ["enabled", "active"]
    run(
        name="Run the egress proxy" if wanted else "Stop the egress proxy",
        script=None if not change.changes and runs == bool(wanted) else put.script(change),
    )
