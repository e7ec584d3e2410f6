"""`bulkhead merge`: the whole file on standard output, or a message and nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bulkhead.cli import main

V2, V3 = "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"
OURS = {
    "runtime_type": "io.containerd.runsc.v1",
    "options": {"TypeUrl": "io.containerd.runsc.v1.options", "ConfigPath": "/etc/containerd/runsc.toml"},
}

INVENTORY = """\
gvisor_hosts = [("agents-1", {
    "engines": ["containerd", "docker"],
    "gvisor": {"release": "20260817.0", "profiles": {"runsc-strict": {"flags": {"network": "none"}}}},
    "runtimes": {"kata": {"runtime_type": "io.containerd.kata.v2", "engines": ["containerd"]}},
    "containerd": {"default_runtime": "runsc", "enable_cri": True},
    "egress": {"management": ["192.0.2.0/24"]},
}), ("agents-2", {
    "engines": ["docker"],
    "gvisor": {"release": "20260817.0"},
    "egress": {"management": ["192.0.2.0/24"]},
})]
"""


def merge(*arguments: str | Path, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["merge", *(str(argument) for argument in arguments)], input=stdin)


def refused(*arguments: str | Path, stdin: str | bytes | None = None) -> str:
    result = merge(*arguments, stdin=stdin)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Traceback" not in result.output
    return result.stderr


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.py"
    path.write_text(INVENTORY)
    return path


# Standard output


def test_the_whole_file_with_the_handler(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"# mine\r\nversion = 3\r\noom_score = -5\r\n")
    result = merge("containerd", file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout_bytes.startswith(b"# mine\r\nversion = 3\r\noom_score = -5\r\n\r\n[plugins.")
    assert b"\n" not in result.stdout_bytes.replace(b"\r\n", b"")
    assert tomllib.loads(result.stdout_bytes.decode())["plugins"] == {V3: {"containerd": {"runtimes": {"runsc": OURS}}}}
    assert file.read_bytes() == b"# mine\r\nversion = 3\r\noom_score = -5\r\n"


def test_a_second_merge_prints_the_same_and_says_so() -> None:
    once = merge("docker", "-", stdin='{"debug": true}')
    again = merge("docker", "-", stdin=once.stdout_bytes)
    assert (again.exit_code, again.stdout_bytes) == (0, once.stdout_bytes)
    assert again.stderr == "bulkhead: nothing to change\n"
    assert merge("docker", "--diff", "-", stdin=once.stdout_bytes).stdout == ""


def test_docker_from_standard_input() -> None:
    result = merge("docker", "-", stdin='{"debug": true}')
    after = json.loads(result.stdout)
    assert list(after) == ["debug", "runtimes"]
    assert list(after["runtimes"]) == ["runsc"]
    assert after["runtimes"]["runsc"]["path"] == "/usr/local/bin/runsc"
    assert "--network=sandbox" in after["runtimes"]["runsc"]["runtimeArgs"]


def test_a_difference(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text('{\n  "debug": true\n}')
    result = merge("docker", "--diff", file)
    lines = result.stdout.splitlines()
    assert lines[:6] == [
        f"--- {file}",
        f"+++ {file} (merged)",
        "@@ -1,3 +1,21 @@",
        " {",
        '-  "debug": true',
        '+  "debug": true,',
    ]
    assert lines[-2:] == [" }", "\\ No newline at end of file"]


# The engine's version


@pytest.mark.parametrize(
    ("text", "version", "plugin", "runtimes"),
    [
        ("", None, V2, {"runc", "runsc"}),
        ("version = 2\n", None, V2, {"runc", "runsc"}),
        ("version = 2\n", "1.6.20", V2, {"runc", "runsc"}),
        ("version = 2\n", "v2.1.9", V2, {"runsc"}),
        ("", "2.1", V3, {"runsc"}),
        ("version = 3\n", None, V3, {"runsc"}),
        ("version = 4\n", None, V3, {"runsc"}),
        ("version = 4\n", "2.3.0~rc1", V3, {"runsc"}),
    ],
)
def test_a_file_without_a_daemon(text: str, version: str | None, plugin: str, runtimes: set[str]) -> None:
    arguments = ["--engine-version", version] if version else []
    result = merge("containerd", *arguments, "-", stdin=text)
    assert result.exit_code == 0, result.stderr
    assert set(tomllib.loads(result.stdout)["plugins"][plugin]["containerd"]["runtimes"]) == runtimes


@pytest.mark.parametrize("version", ["", "x", "1", "1.", "latest", "1.7 ; rm"])
def test_something_that_is_no_version(version: str) -> None:
    message = refused("containerd", "--engine-version", version, "-", stdin="")
    assert message.startswith(f"bulkhead: --engine-version: {version!r} is not a version\n")


def test_a_file_that_is_too_new_for_the_daemon() -> None:
    assert "reads up to version 2" in refused("containerd", "--engine-version", "1.7", "-", stdin="version = 3\n")


def test_cri_switched_off() -> None:
    text = 'disabled_plugins = ["cri"] # as Docker ships it\n'
    message = refused("containerd", "-", stdin=text)
    assert "standard input: disabled_plugins switches CRI off (cri)" in message
    assert "--enable-cri" in message
    result = merge("containerd", "--enable-cri", "-", stdin=text)
    assert result.stdout.startswith("disabled_plugins = [] # as Docker ships it\n")


# With an inventory


def test_the_runtimes_of_a_host(inventory: Path) -> None:
    result = merge(
        "containerd", "--inventory", inventory, "--host", "agents-1", "-", stdin='disabled_plugins = ["cri"]\n'
    )
    engine = tomllib.loads(result.stdout)["plugins"][V2]["containerd"]
    assert set(engine["runtimes"]) == {"runc", "runsc", "runsc-strict", "kata"}
    assert engine["default_runtime_name"] == "runsc"
    docker = json.loads(merge("docker", "--inventory", inventory, "--host", "agents-1", "-", stdin="").stdout)
    assert set(docker["runtimes"]) == {"runsc", "runsc-strict"}
    assert docker["default-runtime"] == "runsc"


def test_a_host_that_is_not_there(inventory: Path) -> None:
    message = refused("docker", "--inventory", inventory, "--host", "agent", "-", stdin="")
    assert f"{inventory} has no host 'agent'" in message
    assert "It has agents-1, agents-2." in message


def test_a_host_without_the_engine(inventory: Path) -> None:
    message = refused("containerd", "--inventory", inventory, "--host", "agents-2", "-", stdin="")
    assert "agents-2 has no containerd" in message


def test_an_inventory_without_a_host(inventory: Path) -> None:
    assert "--inventory and --host belong together" in refused("docker", "--inventory", inventory, "-", stdin="")
    assert "--inventory and --host belong together" in refused("docker", "--host", "agents-1", "-", stdin="")


# Bad input


@pytest.mark.parametrize(
    ("engine", "text", "message"),
    [
        ("docker", '{\n  "debug": flase\n}\n', "standard input: not valid JSON: expected a value, found 'f' (line 2"),
        ("docker", '{"a": 1, "a": 2}', "standard input: the key 'a' stands twice"),
        ("docker", "[]", "standard input: expected an object"),
        ("containerd", "version = \n", "standard input: not valid TOML: Invalid value (at line 1, column 11)"),
        ("containerd", "version = 9\n", "standard input: version: expected one of 1, 2, 3, 4, found 9"),
        ("containerd", b"\xff\xfe", "standard input: not UTF-8 (byte 0)"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_printed(engine: str, text: str | bytes, message: str) -> None:
    assert message in refused(engine, "-", stdin=text)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    assert "No such file or directory" in refused("docker", tmp_path / "none.json")
    assert "Is a directory" in refused("docker", tmp_path)


def test_the_command_itself(tmp_path: Path) -> None:
    """As a user starts it, without Click's test runner in between."""
    command = [sys.executable, "-m", "bulkhead", "merge", "docker", "-"]
    result = subprocess.run(
        command, input=b'{"labels": ["gr\xc3\xb6\xc3\x9fe"]}\r\n', capture_output=True, cwd=tmp_path
    )
    assert result.returncode == 0
    assert result.stdout.startswith(b'{"labels": ["gr\xc3\xb6\xc3\x9fe"], "runtimes": {')
    assert result.stdout.endswith(b"}\r\n")
