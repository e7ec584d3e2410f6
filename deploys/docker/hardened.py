"""Whether a host of legacy agents can be hardened as it should, and whether its daemon runs with its options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bulkhead.errors import BulkheadError
from bulkhead.look import FoundFile, Look
from bulkhead.registration import Record
from deploys.docker import options
from deploys.docker.daemon import RELOADED
from deploys.docker.facts import STAMP, FoundDocker
from deploys.docker.options import CGROUP_PARENT
from deploys.docker.settings import DockerSettings

_CGROUP2 = "cgroup2fs"


def refuse(look: Look, there: FoundDocker, wanted: DockerSettings, document: Mapping[str, Any]) -> None:
    """Raise BulkheadError when the daemon is opened or loosened, or when the host can't hold agents in a slice.

    `document` is what its file will mean.
    """
    options.refuse_forbidden(
        document,
        there.arguments,
        re.findall(r"^(?:Listen\w*=)?(\S+) \(", look.outputs["docker.listens"].text, re.MULTILINE),
        wanted.options,
        wanted.config_file,
    )
    if CGROUP_PARENT not in wanted.managed:
        return
    driver, _, version = there.cgroups.partition(" ")
    lacking = []
    if _CGROUP2 not in look.outputs["docker.kernel"].text.split() or version not in ("", "2"):
        lacking.append("the host has not cgroup v2 (boot with systemd.unified_cgroup_hierarchy=1)")
    if driver not in ("", "systemd") or "native.cgroupdriver=cgroupfs" in (document.get("exec-opts") or ()):
        lacking.append("docker's cgroup driver is not systemd (take native.cgroupdriver out of exec-opts)")
    if lacking:
        raise BulkheadError(
            f"docker can't put agents into {wanted.managed[CGROUP_PARENT]}: {'; '.join(lacking)}",
            hint="Change that, or say in the inventory why agents are not capped: "
            f'docker = {{"options": {{"{CGROUP_PARENT}": {{"value": None, "reason": "..."}}}}}}.',
        )


def warnings(look: Look, there: FoundDocker) -> list[str]:
    """What the running daemon lacks that no option of it can bring."""
    if not there.running:
        return []
    found = []
    if not any(one.startswith("name=seccomp") for one in there.security):
        found.append("docker runs containers without seccomp: its build or the kernel has none")
    if "Y" in look.outputs["docker.kernel"].text.split() and "name=apparmor" not in there.security:
        found.append(
            "docker runs containers without AppArmor, though the kernel has it: install apparmor, restart docker"
        )
    return found


def keys(managed: Mapping[str, Any], record: Record) -> set[str]:
    """The keys of ours, now or by the record of the last run, that the daemon reads only when it starts."""
    recorded = {setting.path[0] for setting in record.settings if len(setting.path) == 1}
    return {*managed, *recorded} - RELOADED


def stale(
    look: Look, there: FoundDocker, main: FoundFile | None, document: Mapping[str, Any], ours: Iterable[str]
) -> bool:
    """Whether the daemon runs with other values of `ours` than its file, which means `document`, has now.

    It does not if it started after the file was changed last, nor if this very process was seen to have started with
    these values: the file may have been changed elsewhere since. Seconds count, so an edit in the second of the start
    goes unnoticed.
    """
    if not there.running or main is None or not {*ours}:
        return False
    stamp = look.files[STAMP]
    seen = stamp is not None and stamp.content.decode(errors="replace").split() == [
        there.invocation,
        options.digest(document, ours),
    ]
    return not seen and there.started < main.mtime


def stamp_values(managed: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, str]:
    """What `docker/prove.sh.j2` needs to leave the stamp that `stale` reads; no path where nothing is managed."""
    ours = keys(managed, Record())
    return {"stamp": STAMP if ours else "", "digest": options.digest(document, ours)}
