"""The kernel's command line, where the boot loader is GRUB. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from bulkhead.look import Command, File, Look, Need
from bulkhead.templates import render
from deploys.hardening import area

PATH = "/etc/default/grub.d/zz-bulkhead.cfg"
"""Read after /etc/default/grub and after what cloud images bring, such as 50-cloudimg-settings.cfg."""

GENERATED = "/boot/grub/grub.cfg"

LOCKDOWN = "lockdown"

SUBJECT = "kernel command line"
"""What a finding is about that the running kernel lacks a parameter."""


def needs() -> list[Need]:
    """The running command line, what GRUB hands to the next kernel, and the modules that nobody signed."""
    return [
        File(PATH),
        Command("hardening.cmdline", "cat /proc/cmdline"),
        Command(
            "hardening.grub",
            f"[ -d /etc/default/grub.d ] && command -v update-grub >/dev/null && [ -f {GENERATED} ] &&"
            f" grep -E '^[[:space:]]*linux' {GENERATED}",
        ),
        # The kernel marks them by an E between parentheses (kernel documentation, tainted kernels).
        Command("hardening.unsigned", "sed -n 's/^\\([^ ]*\\) .*([A-Z]*E[A-Z]*)$/\\1/p' /proc/modules 2>/dev/null; :"),
    ]


def parameters(values: Mapping[str, str]) -> list[str]:
    """As they stand on the command line."""
    return [f"{name}={value}" if value else name for name, value in values.items()]


def content(values: Mapping[str, str]) -> str:
    """The shell fragment that update-grub reads."""
    return f'{area.HEADER}GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {" ".join(parameters(values))}"\n'


def files(values: Mapping[str, str]) -> dict[str, str | None]:
    """Path → content of what this area writes; None for what has to go."""
    return {PATH: content(values)}


def bootable(values: Mapping[str, str], look: Look) -> Mapping[str, str]:
    """`values` without what this host would not come up with: a locked kernel loads signed modules only, and those of
    its disk or network may be unsigned."""
    unsigned = look.outputs["hardening.unsigned"].text.split()
    return {name: value for name, value in values.items() if not (unsigned and name == LOCKDOWN)}


def by_grub(look: Look) -> bool:
    """Whether the boot loader is GRUB as Debian and Ubuntu set it up."""
    return look.outputs["hardening.grub"].status == 0


def plan(values: Mapping[str, str], look: Look) -> area.Plan:
    """The fragment and the configuration made of it; what only a reboot brings is said, and so is another loader."""
    notes = []
    unsigned = look.outputs["hardening.unsigned"].text.split()
    if unsigned and LOCKDOWN in values:
        notes.append(f"kernel parameters: {LOCKDOWN} is left out, since nobody signed: {', '.join(unsigned)}")
    values = bootable(values, look)
    running = look.outputs["hardening.cmdline"].text.split()
    wanted = parameters(values)
    pending = [parameter for parameter in wanted if parameter not in running]
    grub = look.outputs["hardening.grub"]
    if not by_grub(look):
        beyond = []
        if pending:
            beyond = [area.Wrong(SUBJECT, " ".join(pending), "without it", "")]
            notes.append(
                "kernel parameters: the boot loader is not GRUB as Debian and Ubuntu set it up; "
                f"give them to the kernel by hand: {' '.join(pending)}"
            )
        return area.Plan(notes=tuple(notes), beyond=tuple(beyond))
    beyond = []
    if pending:
        beyond = [area.Wrong(SUBJECT, " ".join(pending), "without it until the next boot", "")]
        notes.append(f"kernel parameters: in force after a reboot, which is yours to time: {' '.join(pending)}")
    lacking = [parameter for parameter in wanted if not _in_all(grub.text, parameter)]
    return area.plan(
        area.own_files(look, files(values)),
        wrong=[area.Wrong(GENERATED, " ".join(lacking), "", f"~ {GENERATED} is made anew")] if lacking else [],
        beyond=beyond,
        notes=notes,
        activate="update-grub >/dev/null",
        prove=render("hardening/boot_prove.sh.j2", generated=GENERATED, parameters=wanted),
    )


def _in_all(lines: str, parameter: str) -> bool:
    """Whether every entry that starts a kernel of this host hands it over."""
    return all(parameter in line.split() for line in lines.splitlines() if "root=" in line)
