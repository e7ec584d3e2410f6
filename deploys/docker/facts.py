"""What Docker's capability reads from a host, as parts of the one look, and how the answers are read."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from bulkhead import probe
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Command, File, Look, Need, flag_value
from bulkhead.put import SCRATCH
from bulkhead.registration import ledger_path
from bulkhead.templates import render
from deploys.docker import agents_slice, settings

SOCKET = "/run/docker.sock"

LEDGER = ledger_path("docker")

STAMP = f"{SCRATCH}/docker.started"
"""Which process of dockerd was seen to have started with which options: its invocation, and `options.digest`."""


@dataclass(frozen=True)
class FoundDocker:
    """The daemon that is there: its version, its live runtimes and default runtime, and its command line.

    `running` is false where it doesn't answer; its version is then that of its program.
    """

    running: bool
    runtimes: dict[str, Any] = field(default_factory=dict)
    default_runtime: str | None = None
    version: tuple[int, int] = (0, 0)
    arguments: tuple[str, ...] = ()
    info: str = ""
    """The daemon's answers as it printed them."""

    invocation: str = ""
    """systemd's name for this start of the daemon."""

    started: int = 0
    """When that was, in seconds since 1970."""

    security: tuple[str, ...] = ()
    """Its `SecurityOptions`, such as `name=seccomp,profile=builtin`."""

    cgroups: str = ""
    """Driver and version, such as `systemd 2`; empty where it doesn't answer."""

    @property
    def config_file(self) -> str | None:
        """The file that its command line names."""
        return flag_value(self.arguments, "--config-file")


def api(path: str) -> str:
    """The shell command that asks the running daemon (Docker Engine API)."""
    return render("docker/api.sh.j2", socket=SOCKET, path=path).strip()


INFO = api("/info")
BRIDGE = api("/networks/bridge")


def answers(host: InventoryHost) -> str:
    """The shell command whose output shows what is in effect: with options also the default network."""
    return f"{{ {INFO} && {BRIDGE}; }}" if settings.legacy(host) else INFO


def needs(host: InventoryHost) -> list[Need]:
    """The configuration file, our record, and the running daemon's own word on its runtimes."""
    return [
        File(settings.of(host).config_file),
        File(LEDGER),
        probe.ARCHITECTURE,
        Command("docker.info", INFO),
        Command("docker.installed", "dockerd --version"),
        Command(
            "docker.arguments",
            "pid=$(systemctl show --property MainPID --value docker.service)\n"
            '[ "${pid:-0}" = 0 ] || tr "\\000" "\\n" <"/proc/$pid/cmdline"\n:',
        ),
        *(_of_options() if settings.legacy(host) else []),
    ]


def _of_options() -> list[Need]:
    """What else must be known of a host of legacy agents."""
    return [
        File(agents_slice.PATH),
        File(STAMP),
        Command("docker.slice", agents_slice.STATE),
        Command("docker.bridge", BRIDGE),
        Command(
            "docker.start",
            "TZ=UTC; export TZ\n"
            "systemctl show --property InvocationID --value docker.service\n"
            'date --date "$(systemctl show --property ExecMainStartTimestamp --value docker.service)" +%s',
        ),
        Command("docker.listens", "systemctl show --property Listen --value docker.socket"),
        Command(
            "docker.kernel",
            "stat --file-system --format %T /sys/fs/cgroup; cat /sys/module/apparmor/parameters/enabled 2>/dev/null; :",
        ),
    ]


def found(look: Look) -> FoundDocker:
    """Read the answers to `needs`.

    Raises BulkheadError when there is no dockerd, or no curl to ask it.
    """
    installed = look.outputs["docker.installed"]
    version = re.search(r"(\d+)\.(\d+)\.\d+", installed.text)
    if installed.status != 0 or not version:
        raise BulkheadError(
            "the inventory's engines name docker, but the host has no dockerd",
            hint="Install Docker on it, or take docker out of engines.",
        )
    answer = look.outputs["docker.info"].refuse_without("curl")
    try:
        info = json.loads(answer.stdout) if answer.status == 0 else {}
    except ValueError:
        info = {}
    if not isinstance(info, dict):
        info = {}
    start = look.outputs["docker.start"].text.split() if "docker.start" in look.outputs else []
    bridge = look.outputs["docker.bridge"].text if "docker.bridge" in look.outputs else ""
    return FoundDocker(
        running="Runtimes" in info,
        runtimes=info.get("Runtimes") or {},
        default_runtime=info.get("DefaultRuntime"),
        version=(int(version.group(1)), int(version.group(2))),
        info=answer.text + bridge,
        invocation=start[0] if len(start) == 2 else "",
        started=int(start[1]) if len(start) == 2 else 0,
        security=tuple(info.get("SecurityOptions") or ()),
        cgroups=f"{info['CgroupDriver']} {info.get('CgroupVersion', 1)}" if "CgroupDriver" in info else "",
        arguments=tuple(look.outputs["docker.arguments"].text.splitlines()[1:]),
    )
