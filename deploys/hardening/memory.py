"""What tenants' memory must not be: shared between them, or written to the disk. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from bulkhead.look import Command, File, Look, Need
from bulkhead.templates import render
from deploys.hardening import area

KSM = "/sys/kernel/mm/ksm/run"
TMPFILES = "/etc/tmpfiles.d/zz-bulkhead.conf"
UNIT = "bulkhead-swapoff.service"
PATH = f"/etc/systemd/system/{UNIT}"


def needs() -> list[Need]:
    """Our files, KSM, what is swapped to, and whether the unit is enabled."""
    return [
        File(TMPFILES),
        File(PATH),
        Command("hardening.ksm", f"cat {KSM}"),
        Command("hardening.swap", "sed -n '2,$s/[[:space:]].*//p' /proc/swaps"),
        Command("hardening.swap.unit", f"systemctl is-enabled {UNIT} 2>/dev/null; :"),
    ]


def tmpfiles() -> str:
    """Written at each boot: 2 takes apart what was shared already (kernel documentation, KSM)."""
    return f"{area.HEADER}w {KSM} - - - - 2\n"


def files(values: Mapping[str, str]) -> dict[str, str | None]:
    """Path → content of what this area writes; None for what has to go."""
    return {
        TMPFILES: tmpfiles() if "ksm" in values else None,
        PATH: render("hardening/swapoff.service.j2", header=area.HEADER) if "swap" in values else None,
    }


def plan(values: Mapping[str, str], look: Look) -> area.Plan:
    """KSM off; swap off where the inventory says so, else named where there is some."""
    ksm, swap = "ksm" in values, "swap" in values
    sharing = ksm and look.outputs["hardening.ksm"].text == "1"
    swaps = look.outputs["hardening.swap"].text.split()
    enabled = look.outputs["hardening.swap.unit"].text == "enabled"
    wrong = [area.Wrong(KSM, "2", "1", f"~ {KSM}: 1 → 2")] if sharing else []
    if swap and (swaps or not enabled):
        there_is = ", ".join(swaps) or "none"
        wrong.append(area.Wrong("swap", "off", there_is, f"~ swap: {there_is} → off"))
    there = look.files[PATH] is not None
    fill = {"ksm": KSM if sharing else "", "swap": swap, "swaps": swaps, "unit": UNIT, "there": there}
    return area.plan(
        area.own_files(look, files(values)),
        wrong=wrong,
        notes=[f"memory: agents' memory may land on {', '.join(swaps)}"] if swaps and not swap else [],
        check=render("hardening/memory_check.sh.j2", **fill),
        activate=render("hardening/memory_activate.sh.j2", **fill),
        prove=render("hardening/memory_prove.sh.j2", **fill),
        restore=render("hardening/memory_restore.sh.j2", **fill),
    )
