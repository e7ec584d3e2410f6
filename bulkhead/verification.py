"""Running `tests/host` on the hosts of an inventory, and what came of it."""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bulkhead.errors import BulkheadError
from bulkhead.guard import becomes_root
from bulkhead.inventory import LOCAL, InventoryHost
from bulkhead.inventory_file import ROOT, from_root, load
from bulkhead.patience import Patience
from bulkhead.secrets import redacted
from bulkhead.visible import visible

SUITE = ROOT / "tests" / "host"

PATIENCE = 300.0
"""Seconds that a check, and what it needs, may each take: more than any does on a slow machine."""

_SSH_OPTIONS = {
    "ssh_hostname": "HostName",
    "ssh_port": "Port",
    "ssh_user": "User",
    "ssh_key": "IdentityFile",
    "ssh_known_hosts_file": "UserKnownHostsFile",
}
"""pyinfra's connection data → OpenSSH's options, so that both reach the same host the same way."""


@dataclass(frozen=True)
class Check:
    """One check on one host.

    `name` is short, such as `docker.default_runtime`; `title` is a sentence; `outcome` is `passed`, `failed` or
    `skipped`; `reason` says why for the latter two, without secrets.
    """

    host: str
    name: str
    title: str
    outcome: str
    seconds: float
    reason: str = ""


@dataclass
class Results:
    """All checks of a verification; `errors` are the failures to run checks at all."""

    checks: list[Check] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether something was checked on every host, and nothing failed.

        A skipped check counts neither as passed nor as failed.
        """
        checked = {check.host: self.count("passed", check.host) for check in self.checks}
        return not self.errors and bool(checked) and all(checked.values()) and self.count("failed") == 0

    def count(self, outcome: str, host: str | None = None) -> int:
        """How many checks had this outcome."""
        return sum(check.outcome == outcome and host in (None, check.host) for check in self.checks)

    def json(self) -> str:
        """The checks and errors, for programs."""
        return json.dumps({"checks": [asdict(check) for check in self.checks], "errors": self.errors}, indent=1)

    def show(self, console: Console) -> None:
        """Print a table of all checks, worst last, the reasons of those that failed or were skipped, and the counts."""
        styles = {"passed": "green", "skipped": "yellow", "failed": "bold red"}
        table = Table("Host", "Check", "Outcome", "Seconds", title="Verification")
        table.columns[3].justify = "right"
        for check in sorted(self.checks, key=lambda check: list(styles).index(check.outcome)):
            style = styles[check.outcome]
            cells = (escape(visible(check.host)), escape(check.title), f"[{style}]{check.outcome}[/]")
            table.add_row(*cells, f"{check.seconds:.1f}")
        if self.checks:
            console.print(table)
        for check in self.checks:
            if check.reason:
                heading = f"{check.host}: {check.title}: {check.outcome}"
                console.print(visible(heading), style=styles[check.outcome], markup=False)
                console.print("  " + visible(check.reason).replace("\n", "\n  "), markup=False)
        for error in self.errors:
            console.print(visible(error), style="bold red", markup=False)
        for host in sorted({check.host for check in self.checks}):
            counts = ", ".join(f"{self.count(outcome, host)} {outcome}" for outcome in styles)
            console.print(f"{visible(host)}: {counts}", markup=False)


class _Recorder:
    """A pytest plugin that keeps what became of each check."""

    def __init__(self) -> None:
        self.results = Results()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report: pytest.TestReport = yield
        if report.when == "call" or report.outcome != "passed":
            self.results.checks.append(_check(item, call, report))
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.results.errors.append(redacted(f"{report.nodeid}: {report.longrepr}"))

    def pytest_internalerror(self, excrepr: object) -> None:
        self.results.errors.append(redacted(str(excrepr)))


class _Chosen:
    """A pytest plugin that leaves out the checks that were not asked for."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self.patterns = patterns
        self.known: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.known = {_name(item) for item in items}
        items[:] = [item for item in items if any(fnmatch.fnmatch(_name(item), one) for one in self.patterns)]

    def unknown(self) -> list[str]:
        """The patterns that no check has."""
        return [one for one in self.patterns if not fnmatch.filter(self.known, one)]


def _host_of(item: pytest.Item) -> str:
    """The inventory's name of the host that a check is about."""
    return _host(item.callspec.id) if isinstance(item, pytest.Function) and hasattr(item, "callspec") else "?"


def _name(item: pytest.Item) -> str:
    """The short name of a check: `docker.default_runtime`."""
    return f"{item.path.stem.removeprefix('test_')}.{item.name.partition('[')[0].removeprefix('test_')}"


def _check(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> Check:
    function = getattr(item, "function", None)
    title = ((function and function.__doc__) or item.name).strip().splitlines()[0].rstrip(".")
    reason = ""
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
    elif call.excinfo is not None:
        reason = call.excinfo.exconly().removeprefix("AssertionError: ").removeprefix("Failed: ").strip()
    seconds = report.duration
    name = _name(item)
    about = name.partition(".")[0]
    return Check(_host_of(item), name, f"{about}: {title}", report.outcome, seconds, redacted(reason))


def verify(inventory: str, limit: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> Results:
    """Run the checks of `tests/host` on the hosts of `inventory`; those that are not for a host's kind are skipped.

    `only` are patterns of the names of checks, such as `hardening.*`; without any, every check is run.

    Host keys are checked strictly; one connection per host is shared by all its checks.

    Raises BulkheadError when the inventory can't be used or holds no host, or a pattern of `only` fits no check.
    """
    hosts = load(inventory, limit)
    # What an operator sets for his own pytest must not leave out checks here.
    os.environ.pop("PYTEST_ADDOPTS", None)
    recorder, chosen, patience = _Recorder(), _Chosen(only or ("*",)), Patience(_host_of, PATIENCE)
    with tempfile.TemporaryDirectory(prefix="bulkhead-") as directory:
        config = Path(directory) / "ssh_config"
        config.write_text(ssh_config(hosts, directory))
        described = Path(directory) / "inventory.json"
        described.write_text(
            json.dumps([{"name": host.name, "groups": sorted(host.groups), "data": _public(host)} for host in hosts])
        )
        status = pytest.main(
            [
                # The repository's own pytest options are for its developers' terminal.
                f"--config-file={os.devnull}",
                f"--rootdir={ROOT}",
                "--override-ini=pythonpath=.",
                "-p",
                "no:terminal",
                "-p",
                "no:cacheprovider",
                f"--described={described}",
                f"--ssh-config={config}",
                f"--hosts={','.join(_backend(host) for host in hosts)}",
                str(SUITE),
            ],
            plugins=[recorder, chosen, patience],
        )
        for host in patience.silent.keys() - {LOCAL}:
            # What hangs there hangs on to its connection.
            subprocess.run(["ssh", "-F", config, "-O", "exit", host], capture_output=True)
    if chosen.known and (unknown := chosen.unknown()):
        raise BulkheadError(
            f"no check is named {', '.join(unknown)}", hint=f"There are: {', '.join(sorted(chosen.known))}."
        )
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not recorder.results.errors:
        recorder.results.errors.append(f"the checks could not be run (pytest: {status})")
    return recorder.results


def _public(host: InventoryHost) -> dict[str, Any]:
    """The host's data without what is for the connection alone, such as passwords."""
    return {key: value for key, value in host.data.items() if not key.startswith(("_", "ssh_"))}


def _backend(host: InventoryHost) -> str:
    if host.name == LOCAL:
        return "local://" + ("?sudo=true" if becomes_root(host.data) and os.geteuid() != 0 else "")
    return f"ssh://{host.name}" + ("?sudo=true" if becomes_root(host.data) else "")


def _host(backend: str) -> str:
    """The host's name in the inventory, by what testinfra calls the way to it."""
    return backend.removeprefix("ssh://") if backend.startswith("ssh://") else LOCAL


def ssh_config(hosts: Iterable[InventoryHost], directory: str) -> str:
    """An OpenSSH configuration that reaches `hosts` as pyinfra does, with strict host keys and a shared connection.

    testinfra's own paramiko backend verifies no host keys, so its ssh backend is used; that one shares a connection
    only where the configuration names a ControlPath.
    """
    blocks = []
    for host in hosts:
        lines = [f"Host {host.name}"]
        lines += [
            f"  {option} {_quoted(from_root(host.data[key]) if key in _PATHS else str(host.data[key]))}"
            for key, option in _SSH_OPTIONS.items()
            if host.data.get(key)
        ]
        if host.data.get("ssh_key"):
            lines.append("  IdentitiesOnly yes")
        lines += [
            f"  StrictHostKeyChecking {host.data.get('ssh_strict_host_key_checking') or 'yes'}",
            "  BatchMode yes",
            "  ConnectTimeout 15",
            "  ServerAliveInterval 15",
            "  ServerAliveCountMax 3",
            "  ControlMaster auto",
            f"  ControlPath {directory}/%C",
            "  ControlPersist 30",
        ]
        # What OpenSSH and pyinfra read by default, for what the inventory leaves open (ProxyJump, say).
        included = Path(from_root(host.data.get("ssh_config_file") or "~/.ssh/config"))
        if included.exists():
            lines.append(f"  Include {_quoted(str(included))}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


_PATHS = ("ssh_key", "ssh_known_hosts_file")


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value
