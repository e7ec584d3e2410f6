"""The kernel's command line, where GRUB hands it over, and what is said where something else does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploys.hardening import boot
from deploys.hardening.area import Plan
from tests.unit.hardening.cases import calls, look, stub, with_stubs
from tests.unit.helpers import as_root, sh

VALUES = {"slab_nomerge": "", "vsyscall": "none", "lockdown": "integrity"}
PASSED = "slab_nomerge vsyscall=none lockdown=integrity"
ENTRY = "\tlinux\t/vmlinuz root=UUID=1 ro quiet"
MEMTEST = "\tlinux16\t/memtest86+x64.bin"


def test_the_shell_that_update_grub_is_reads_it_so(tmp_path: Path) -> None:
    (tmp_path / "grub").write_text(f'GRUB_CMDLINE_LINUX="console=ttyS0"\n{boot.content(VALUES)}')
    read = subprocess.run(
        ["sh", "-c", f'. {tmp_path}/grub; echo "$GRUB_CMDLINE_LINUX"'], capture_output=True, text=True, check=True
    )
    assert read.stdout == f"console=ttyS0 {PASSED}\n"


def test_nothing_to_do_is_no_script_and_no_word() -> None:
    there = look({boot.PATH: boot.content(VALUES)}, grub=f"{ENTRY} {PASSED}\n{MEMTEST}", cmdline=f"ro {PASSED}")
    assert boot.plan(VALUES, there) == Plan()


def test_what_only_a_reboot_brings_is_said() -> None:
    there = look({boot.PATH: boot.content(VALUES)}, grub=f"{ENTRY} {PASSED}", cmdline="ro vsyscall=none")
    plan = boot.plan(VALUES, there)
    assert plan.script is None
    assert plan.notes == (
        "kernel parameters: in force after a reboot, which is yours to time: slab_nomerge lockdown=integrity",
    )


def test_an_entry_without_them_is_made_anew_though_the_file_is_right() -> None:
    there = look({boot.PATH: boot.content(VALUES)}, grub=f"{ENTRY} {PASSED}\n{ENTRY} single", cmdline=PASSED)
    assert boot.plan(VALUES, there).lines == ("~ /boot/grub/grub.cfg is made anew",)


def test_another_boot_loader_is_named_and_nothing_is_done() -> None:
    plan = boot.plan(VALUES, look(grub=(1, ""), cmdline="root=/dev/vda lockdown=integrity"))
    assert plan.script is None
    assert plan.notes == (
        "kernel parameters: the boot loader is not GRUB as Debian and Ubuntu set it up; "
        "give them to the kernel by hand: slab_nomerge vsyscall=none",
    )
    (lacking,) = plan.beyond
    assert (lacking.subject, lacking.expected) == ("kernel command line", "slab_nomerge vsyscall=none")
    given = boot.plan(VALUES, look(grub=(1, ""), cmdline=PASSED))
    assert (given.notes, given.beyond) == ((), ())


def test_a_kernel_with_modules_that_nobody_signed_is_not_locked_down() -> None:
    plan = boot.plan(VALUES, look(grub=ENTRY, unsigned="nvidia\nzfs"))
    assert plan.notes[0] == "kernel parameters: lockdown is left out, since nobody signed: nvidia, zfs"
    assert plan.change
    assert b"lockdown" not in (plan.change.writes[0].content or b"")


def test_modules_that_nobody_signed_are_found(tmp_path: Path) -> None:
    (tmp_path / "modules").write_text(
        "nvidia 1 0 - Live 0x0 (POE)\nzfs 1 1 nvidia, Live 0x0 (OE)\next4 1 0 - Live 0x0\nold 1 0 - Live 0x0 (O)\n"
    )
    (need,) = [need for need in boot.needs() if getattr(need, "name", "") == "hardening.unsigned"]
    assert sh(need.script.replace("/proc/modules", f"{tmp_path}/modules")).stdout == "nvidia\nzfs\n"  # type: ignore[union-attr]


@as_root
@pytest.mark.parametrize("works", [True, False])
def test_grub_s_own_file_is_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    grub, bin_ = tmp_path / "grub.cfg", tmp_path / "bin"
    monkeypatch.setattr(boot, "PATH", str(tmp_path / "grub.d" / "zz.cfg"))
    monkeypatch.setattr(boot, "GENERATED", str(grub))
    monkeypatch.setattr("bulkhead.put.PATH", with_stubs(bin_))
    # What update-grub does: sources the fragments, and writes an entry for each kernel.
    added = "$GRUB_CMDLINE_LINUX" if works else ""
    stub(
        bin_,
        "update-grub",
        f"for f in {tmp_path}/grub.d/*; do . $f; done 2>/dev/null\n"
        f'printf "\\tlinux /vmlinuz root=UUID=1 ro {added}\\n\\tlinux16 /memtest\\n" >{grub}',
    )
    there = look(grub=ENTRY)
    there.files[boot.PATH] = None
    plan = boot.plan(VALUES, there)
    assert plan.script
    result = sh(plan.script)
    assert result.returncode == (0 if works else 1), result.stderr
    assert (tmp_path / "grub.d" / "zz.cfg").exists() is works
    assert (PASSED in grub.read_text()) is works
    assert len(calls(bin_)) == (1 if works else 2)
    assert works or "GRUB does not hand slab_nomerge to every kernel" in result.stderr
