"""Modules that are not to be loaded, as Debian's own modprobe reads the file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from deploys.hardening import modules
from tests.oracles import fetch
from tests.unit.hardening.cases import look, stub, with_stubs
from tests.unit.helpers import as_root, sh

BLOCKED = {"cramfs": "blocked", "usb-storage": "blocked"}
CONTENT = "install cramfs /bin/false\nblacklist cramfs\ninstall usb-storage /bin/false\nblacklist usb-storage\n"


def test_the_content() -> None:
    header, _, rest = modules.content(BLOCKED).partition("\n")
    assert header.startswith("# ")
    assert rest == CONTENT


@pytest.fixture(scope="module")
def modprobe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    link = tmp_path_factory.mktemp("kmod") / "modprobe"
    link.symlink_to(fetch.from_debian("bookworm", "kmod", "kmod").path)
    return link


def asked(modprobe: Path, folder: Path, name: str) -> str:
    command = [str(modprobe), "-C", str(folder), "--show-depends", name]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def test_modprobe_reads_it_so_though_another_file_installs_the_module(modprobe: Path, tmp_path: Path) -> None:
    (tmp_path / "50-vendor.conf").write_text("install cramfs /sbin/modprobe --ignore-install cramfs\n")
    assert "ignore-install" in asked(modprobe, tmp_path, "cramfs")
    (tmp_path / Path(modules.PATH).name).write_text(modules.content(BLOCKED))
    assert asked(modprobe, tmp_path, "cramfs") == "install /bin/false"
    assert asked(modprobe, tmp_path, "usb_storage") == "install /bin/false"
    assert asked(modprobe, tmp_path, "overlay") != "install /bin/false"


def test_one_that_is_loaded_is_named_and_left() -> None:
    plan = modules.plan(BLOCKED, look(modules="overlay\nusb_storage"))
    assert plan.notes == ("modules: loaded, and blocked from the next boot on only: usb-storage",)
    assert plan.script
    assert "rmmod" not in plan.script


@pytest.mark.parametrize("used", ["usb_storage 2", "usb_storage -"])
def test_one_in_use_is_not_blocked_behind_the_operator_s_back(used: str) -> None:
    """What uses it, a disk say, would be missing at the next boot; one that was blocked before stays so."""
    with pytest.raises(BulkheadError) as error:
        modules.plan({"usb-storage": "blocked", "dccp": "blocked"}, look(modules=f"{used}\ndccp 0"))
    assert error.value.message == "modules: usb-storage: in use, and would not be loaded at the next boot"
    assert '"usb-storage": {"value": None' in error.value.hint
    values = {"usb-storage": "blocked"}
    there = look({modules.PATH: modules.content(values)}, modules=used)
    assert [wrong.subject for wrong in modules.plan(values, there).beyond] == ["module usb-storage"]


def test_nothing_to_do_is_no_script() -> None:
    assert modules.plan(BLOCKED, look({modules.PATH: modules.content(BLOCKED)})).script is None


@as_root
def test_a_file_without_effect_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modprobe: Path) -> None:
    folder, bin_ = tmp_path / "modprobe.d", tmp_path / "bin"
    monkeypatch.setattr(modules, "PATH", str(folder / "00-bulkhead.conf"))
    monkeypatch.setattr("bulkhead.put.PATH", with_stubs(bin_))
    stub(bin_, "modprobe", f'exec {modprobe} -C {folder} "$@"')
    there = look()
    there.files[modules.PATH] = None
    plan = modules.plan(BLOCKED, there)
    assert plan.script
    folder.mkdir()
    (folder / "00-aaa.conf").write_text("install cramfs /sbin/modprobe --ignore-install cramfs\n")
    result = sh(plan.script)
    assert result.returncode == 1
    assert "cramfs could still be loaded" in result.stderr
    assert [path.name for path in folder.iterdir()] == ["00-aaa.conf"]
    (folder / "00-aaa.conf").unlink()
    assert sh(plan.script).returncode == 0
    assert [path.name for path in folder.iterdir()] == ["00-bulkhead.conf"]
