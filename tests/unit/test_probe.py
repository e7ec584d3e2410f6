"""The program that only a sandbox can run to its end is a real executable."""

import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bulkhead import probe


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no program for this machine")
def test_the_program_exits_with_its_own_status(tmp_path: Path) -> None:
    path = tmp_path / "probe"
    path.write_bytes(probe.program(platform.machine()))
    path.chmod(0o755)
    result = subprocess.run([path], capture_output=True, env={})
    assert (result.returncode, result.stdout, result.stderr) == (42, b"", b"")
    begun = time.monotonic()
    assert subprocess.run([path, "wait"], env={}).returncode == 42
    assert 5 <= time.monotonic() - begun < 15


@pytest.mark.parametrize(
    ("architecture", "machine", "code"),
    [
        ("x86_64", b"\x3e\x00", "b83c000000bf2a0000000f05"),
        ("aarch64", b"\xb7\x00", "a80b80d2400580d2010000d4"),
    ],
)
def test_the_program_is_a_static_executable_of_the_architecture(architecture: str, machine: bytes, code: str) -> None:
    program = probe.program(architecture)
    assert program[:7] == b"\x7fELF\x02\x01\x01"
    assert program[16:18] == b"\x02\x00"
    assert program[18:20] == machine
    assert program[120:].endswith(bytes.fromhex(code))
    # The entry point is the first byte of the code, and the only segment holds the whole file.
    assert int.from_bytes(program[24:32], "little") == 0x400078
    assert int.from_bytes(program[96:104], "little") == len(program)


@pytest.mark.parametrize(("architecture", "shown"), [("x86_64", "003e"), ("aarch64", "00b7")])
def test_the_machine_as_od_prints_it(tmp_path: Path, architecture: str, shown: str) -> None:
    assert probe.elf_machine(architecture) == shown
    (tmp_path / "p").write_bytes(probe.program(architecture))
    od = subprocess.run(["od", "-An", "-tx2", "-j18", "-N2", tmp_path / "p"], capture_output=True, text=True)
    assert od.stdout.strip() == (shown if sys.byteorder == "little" else shown[2:] + shown[:2])


def test_the_bundle_has_a_network_of_its_own_and_runs_the_program() -> None:
    config = json.loads(probe.config())
    assert {"type": "network"} in config["linux"]["namespaces"]
    assert "path" not in json.dumps(config["linux"]["namespaces"])
    assert config["process"]["args"] == ["/probe"]
    assert config["root"]["path"] == "rootfs"
