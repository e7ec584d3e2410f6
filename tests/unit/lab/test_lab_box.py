"""The box's digest follows everything that goes into it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.lab import box

BASE = box.Recipe("trixie", "ssh-ed25519 AAAA lab")


def test_same_recipe_same_name() -> None:
    assert BASE.name == box.Recipe("trixie", "ssh-ed25519 AAAA lab").name
    assert BASE.name == f"trixie-{BASE.digest}"
    assert len(BASE.digest) == 12


def test_suite_and_key_change_the_digest() -> None:
    digests = {BASE.digest, replace(BASE, suite="bookworm").digest, replace(BASE, public_key="other").digest}
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PACKAGES", (*box.PACKAGES, "strace")),
        ("DPKG_OPTIONS", ()),
        ("INITRAMFS", {}),
        ("VAGRANTFILE", "# another"),
        ("METADATA", {"provider": "libvirt", "format": "qcow2", "virtual_size": 16}),
    ],
)
def test_each_constant_of_the_recipe_changes_the_digest(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = BASE.digest
    monkeypatch.setattr(box, name, value)
    assert BASE.digest != before


def test_the_guest_script_changes_the_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = BASE.digest
    script = tmp_path / "guest.sh"
    script.write_text(box.GUEST_SCRIPT.read_text() + "# one line more\n")
    monkeypatch.setattr(box, "GUEST_SCRIPT", script)
    assert BASE.digest != before


def test_docker_client_is_its_own_package_since_debian_13() -> None:
    assert "docker-cli" in BASE.packages
    assert "docker-cli" not in replace(BASE, suite="bookworm").packages
    assert {"docker.io", "containerd", "busybox-static", "nftables"} <= set(replace(BASE, suite="bookworm").packages)


def test_unknown_suite_names_the_known_ones() -> None:
    with pytest.raises(BulkheadError, match="'sid'") as error:
        box.recipe("sid", "key")
    assert error.value.hint == "Known suites: trixie, bookworm."


def test_other_architectures_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = os.uname_result(("Linux", "host", "6.12", "#1", "aarch64"))
    monkeypatch.setattr(os, "uname", lambda: arm)
    with pytest.raises(BulkheadError, match="this machine is aarch64") as error:
        box.recipe("trixie", "key")
    assert "BULKHEAD_BOX" in error.value.hint
