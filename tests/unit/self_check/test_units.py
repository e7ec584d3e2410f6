"""The units: none but the program that was delivered is run, and what a user wrote since is no tampering with it."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path

import pytest

from bulkhead.drift.pins import Check, FilePin, NotedFile
from bulkhead.errors import BulkheadError
from deploys.self_check import description, settings
from deploys.self_check.settings import SelfCheckSettings
from tests.unit.helpers import legacy_host, sh

HOST = legacy_host()
WANTED = SelfCheckSettings()
CHECKS: list[Check] = [
    FilePin("hardening", "/etc/x", "ab" * 32),
    NotedFile("Docker", "/etc/docker/daemon.json", "cd" * 32),
]


def started_by(unit: bytes, key: str) -> str:
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(unit.decode())
    return parsed["Service"][key]


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    text = description.program(HOST, CHECKS)
    (tmp_path / description.SERVICE).write_bytes(description.service(HOST, WANTED, text))
    (tmp_path / description.TIMER).write_bytes(description.timer(WANTED))
    done = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            "--man=no",
            *(tmp_path / unit for unit in (description.SERVICE, description.TIMER)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    # Its words on other units of this machine are not about these.
    assert not [line for line in done.stderr.splitlines() if "bulkhead-drift-self" in line], done.stderr


def test_another_program_is_refused(tmp_path: Path) -> None:
    text = description.program(HOST, CHECKS)
    program = tmp_path / "program"
    program.write_bytes(text)
    check = started_by(description.service(HOST, WANTED, text), "ExecStartPre").replace(
        description.PROGRAM, str(program)
    )
    assert sh(check).returncode == 0
    program.write_bytes(text + b"# x\n")
    refused = sh(check)
    assert refused.returncode != 0
    assert f"{program}: FAILED" in refused.stdout
    program.unlink()
    assert sh(check).returncode != 0


def test_it_starts_what_it_checks() -> None:
    unit = description.service(HOST, WANTED, b"x")
    assert started_by(unit, "ExecStart") == (
        "/bin/sh /usr/local/sbin/bulkhead-drift-self old-1 self-check"
        " /var/lib/prometheus/node-exporter/bulkhead-drift-self.prom"
    )
    # The sha256 of "x".
    assert "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881  /usr/local/sbin/" in unit.decode()
    assert description.named_textfile(unit) == "/var/lib/prometheus/node-exporter/bulkhead-drift-self.prom"
    assert description.named_textfile(None) is None


def test_times_are_those_of_the_inventory() -> None:
    timer = description.timer(SelfCheckSettings(interval=900, jitter=30)).decode()
    assert "OnUnitActiveSec=900\nRandomizedDelaySec=30\n" in timer


def test_what_a_user_wrote_since_is_no_tampering() -> None:
    text = description.program(HOST, CHECKS)
    there = text.replace(b"cd" * 32, b"ef" * 32)
    assert there != text
    assert description.with_noted(text, there) == there
    assert description.with_noted(text, None) == text
    # A pinned file is no such file.
    other = text.replace(b"ab" * 32, b"ef" * 32)
    assert description.with_noted(text, other) == text


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"interval": 5}, "self_check.interval"),
        ({"intervall": 300}, "self_check.intervall: unknown setting"),
        ({"textfile_directory": "relative"}, "self_check.textfile_directory: 'relative' is not an absolute path"),
        ({"inventory": 'a"b'}, "self_check.inventory: 'a\"b' is no label"),
        ({"jitter": -1}, "self_check.jitter"),
        ([], "self_check: expected a dictionary"),
    ],
)
def test_a_wrong_setting_is_named(data: object, problem: str) -> None:
    with pytest.raises(BulkheadError) as raised:
        settings.of(legacy_host(self_check=data))
    assert problem in raised.value.message


def test_without_the_key_and_absent_are_the_same() -> None:
    assert settings.of(legacy_host()) is None
    assert settings.of(legacy_host(self_check={"state": "absent"})) is None
    assert settings.of(legacy_host(self_check={})) == SelfCheckSettings()
