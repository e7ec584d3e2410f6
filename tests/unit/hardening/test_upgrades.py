"""Security updates that come by themselves, as apt itself reads the file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bulkhead.look import Look
from deploys.hardening import upgrades
from deploys.hardening.area import Plan
from deploys.hardening.settings import baseline
from tests.unit.hardening.cases import host, look, stub, with_stubs
from tests.unit.helpers import as_root, sh

# As Debian's and Ubuntu's packages bring it, in short.
PACKAGED = """\
Unattended-Upgrade::Origins-Pattern {
        "origin=Debian,codename=${distro_codename},label=Debian";
};
Unattended-Upgrade::Allowed-Origins {
        "${distro_id}:${distro_codename}";
};
Unattended-Upgrade::Package-Blacklist {
        "linux-";
};
Unattended-Upgrade::Automatic-Reboot "true";
"""


@pytest.fixture
def values() -> dict[str, str]:
    return baseline(host(), "upgrades")


def dumped(*files: Path) -> list[str]:
    """What apt makes of these files, one after the other."""
    merged = "".join(path.read_text() for path in files)
    result = subprocess.run(["apt-config", "-c", "/dev/stdin", "dump"], input=merged, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_names_of_origins_may_hold_blanks() -> None:
    value = "origin=Debian Backports,codename=${distro_codename}-backports  origin=Docker,label=Docker CE"
    assert upgrades.items(upgrades.ORIGINS, value) == [
        "origin=Debian Backports,codename=${distro_codename}-backports",
        "origin=Docker,label=Docker CE",
    ]
    content = upgrades.content({upgrades.ORIGINS: value})
    assert '    "origin=Docker,label=Docker CE";' in content.splitlines()


def test_apt_reads_it_so(tmp_path: Path, values: dict[str, str]) -> None:
    (tmp_path / "50unattended-upgrades").write_text(PACKAGED)
    (tmp_path / "zz-bulkhead").write_text(upgrades.content(values))
    said = dumped(tmp_path / "50unattended-upgrades", tmp_path / "zz-bulkhead")
    assert set(upgrades.evidence(values)) <= set(said)
    origins = [line for line in said if re.match("Unattended-Upgrade::(Allowed-Origins|Origins-Pattern)::", line)]
    assert len(origins) == 5
    assert all("ecurity" in line for line in origins)
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in said
    # What somebody else holds stays held.
    assert 'Unattended-Upgrade::Package-Blacklist:: "linux-";' in said


@pytest.mark.parametrize(
    ("package", "held"),
    [
        *((name, True) for name in ("docker.io", "docker-ce", "docker-ce-cli", "containerd", "containerd.io", "runsc")),
        *((name, True) for name in ("runc", "docker-buildx-plugin")),
        *((name, False) for name in ("linux-image-amd64", "openssh-server", "runit", "runcible", "libcontainerd-dev")),
    ],
)
def test_which_packages_are_held(values: dict[str, str], package: str, held: bool) -> None:
    """unattended-upgrades matches its patterns from the beginning of a name."""
    patterns = upgrades.items(upgrades.HELD, values[upgrades.HELD])
    assert any(re.match(pattern, package) for pattern in patterns) is held


def there(
    values: dict[str, str], said: list[str], timers: str = "enabled\nenabled", run: str = "active\nactive"
) -> Look:
    return look({upgrades.PATH: upgrades.content(values)}, apt="\n".join(said), timers=timers, timers_run=run)


def test_nothing_to_do_is_no_script(values: dict[str, str]) -> None:
    assert upgrades.plan(values, there(values, upgrades.evidence(values))) == Plan()


def test_what_another_file_lets_in_besides_is_not_left(values: dict[str, str]) -> None:
    other = 'Unattended-Upgrade::Allowed-Origins:: "all:all";'
    plan = upgrades.plan(values, there(values, [*upgrades.evidence(values), other]))
    assert plan.lines == (f"~ apt: {other}",)


def test_timers_are_enabled_unless_somebody_masked_them(values: dict[str, str]) -> None:
    plan = upgrades.plan(values, there(values, upgrades.evidence(values), "disabled\nmasked"))
    assert plan.lines == ("~ apt-daily.timer is enabled",)
    assert plan.notes == ("upgrades: apt-daily-upgrade.timer: masked, so nothing comes by itself",)
    assert plan.change
    assert "enable --now apt-daily.timer" in plan.change.activate
    assert "apt-daily-upgrade" not in plan.change.activate


def test_a_timer_that_somebody_stopped_is_started(values: dict[str, str]) -> None:
    plan = upgrades.plan(values, there(values, upgrades.evidence(values), run="inactive\nactive"))
    assert [(one.subject, one.actual) for one in plan.wrong] == [("unit apt-daily.timer", "enabled inactive")]
    assert plan.change
    assert "enable --now apt-daily.timer" in plan.change.activate
    assert "apt-daily-upgrade" not in plan.change.activate


@as_root
@pytest.mark.parametrize("alone", [True, False])
def test_apt_itself_is_the_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str], alone: bool
) -> None:
    folder, bin_ = tmp_path / "apt.conf.d", tmp_path / "bin"
    folder.mkdir()
    (folder / "50unattended-upgrades").write_text(PACKAGED)
    if not alone:
        (folder / "zzz").write_text('Unattended-Upgrade::Allowed-Origins { "all:all"; };\n')
    monkeypatch.setattr(upgrades, "PATH", str(folder / "zz-bulkhead"))
    monkeypatch.setattr("bulkhead.put.PATH", with_stubs(bin_))
    stub(bin_, "systemctl", "")
    stub(
        bin_,
        "apt-config",
        f'if [ "$1" = -c ]; then exec /usr/bin/apt-config "$@"; fi\n'
        f'cat {folder}/* >{tmp_path}/all; exec /usr/bin/apt-config -c {tmp_path}/all "$@"',
    )
    seen = there(values, [])
    seen.files[upgrades.PATH] = None
    plan = upgrades.plan(values, seen)
    assert plan.script
    result = sh(plan.script)
    assert result.returncode == (0 if alone else 1), result.stderr
    assert (folder / "zz-bulkhead").exists() is alone
    assert alone or "lets in more than security updates" in result.stderr


@as_root
def test_a_file_that_apt_does_not_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str]
) -> None:
    """apt stops at a file that it can't read, and so would every upgrade."""
    monkeypatch.setattr(upgrades, "PATH", str(tmp_path / "zz-bulkhead"))
    monkeypatch.setattr(upgrades, "content", lambda _: 'APT::Periodic {\n "a" "b" ]];\n')
    seen = there(values, [])
    seen.files[upgrades.PATH] = None
    plan = upgrades.plan(values, seen)
    assert plan.script
    result = sh(plan.script)
    assert result.returncode == 1
    assert "the new configuration was refused; nothing was changed" in result.stderr
    assert not (tmp_path / "zz-bulkhead").exists()
