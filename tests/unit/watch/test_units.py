"""The units as systemd's own tools read them, and as an inventory's settings make them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploys.watch import schedule, settings
from tests.unit.watch.cases import node

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")

FULL = {
    "textfile_directory": "/srv/metrics",
    "on_failure": "/usr/local/bin/tell",
    "limit": ["agents-*", "old"],
    "jitter": 7,
    "check_seconds": 600,
}


def units(directory: Path, name: str = "watch-1", **changes: Any) -> dict[str, str]:
    """Unit → its text, written into a directory under its name, with programs that every machine has."""
    host = node(name, **changes)
    wanted = settings.of(host)
    assert wanted is not None
    texts = {Path(path).name: content.decode() for path, content in schedule.files(host, wanted).items()}
    for unit, text in texts.items():
        for program in ("/srv/bulkhead/.venv/bin/bulkhead", "/usr/local/bin/tell"):
            text = text.replace(program, "/bin/true")
        (directory / unit).write_text(text)
    return texts


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", ["watch-1", "@local"])
@pytest.mark.parametrize("changes", [{}, FULL], ids=["short", "full"])
def test_systemd_understands_all_of_it(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    names = units(tmp_path, name, **changes)
    said = analyze("verify", "--man=no", *(tmp_path / unit for unit in names))
    assert [line for line in (said.stdout + said.stderr).splitlines() if "bulkhead" in line] == []


def test_a_word_that_systemd_does_not_know_would_be_seen(tmp_path: Path) -> None:
    names = units(tmp_path)
    path = tmp_path / "bulkhead-drift.service"
    path.write_text(path.read_text().replace("ProtectClock", "ProtectClocks"))
    assert "ProtectClocks" in analyze("verify", "--man=no", *(tmp_path / unit for unit in names)).stderr


@pytest.mark.parametrize(("seconds", "human"), [(10, "10s"), (300, "5min"), (86400, "1d")])
def test_the_times_are_seconds_to_systemd(seconds: int, human: str, tmp_path: Path) -> None:
    text = units(tmp_path, interval=seconds, jitter=seconds)["bulkhead-drift.timer"]
    for key in ("OnUnitInactiveSec", "RandomizedDelaySec"):
        (said,) = re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)
        assert analyze("timespan", said).stdout.split()[-1] == human


def test_the_sandbox_leaves_little_to_attack(tmp_path: Path) -> None:
    """systemd's own figure, 10 for a service without any; the node that looks at itself has none."""

    def exposure(name: str) -> float:
        units(tmp_path, name, **FULL)
        said = analyze("security", "--offline=yes", "--no-pager", tmp_path / "bulkhead-drift.service").stdout
        (found,) = re.findall(r"Overall exposure level for bulkhead-drift.service: ([0-9.]+)", said)
        return float(found)

    assert exposure("watch-1") < 2
    assert exposure("@local") > 8


def test_the_alert_on_failed_units_knows_their_names(tmp_path: Path) -> None:
    rules = (Path(__file__).parents[3] / "templates" / "monitoring" / "bulkhead.rules.yml").read_text()
    (pattern,) = re.findall(r'node_systemd_unit_state\{name=~"([^"]+)"', rules)
    services = [unit for unit in units(tmp_path) if unit.endswith(".service")]
    assert sorted(services) == ["bulkhead-drift-failure.service", "bulkhead-drift.service"]
    assert all(re.fullmatch(pattern, unit) for unit in services)


def test_another_inventory_has_a_history_of_its_own(tmp_path: Path) -> None:
    lines = [units(tmp_path, inventory=name)["bulkhead-drift.service"] for name in ("a.py", "/etc/bulkhead/b.py")]
    assert [re.findall(r"--history (\S+)", line) for line in lines] == [
        ["/var/lib/bulkhead-drift/a.py"],
        ["/var/lib/bulkhead-drift/etc-bulkhead-b.py"],
    ]
