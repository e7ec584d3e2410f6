"""How engines run gVisor."""

from __future__ import annotations

from collections.abc import Mapping

from bulkhead.inventory import InventoryHost
from bulkhead.look import Look
from bulkhead.runtime import Runtime
from bulkhead.templates import render
from deploys.gvisor import flags, release, settings
from deploys.gvisor.settings import NAME, GvisorSettings

RUNTIME_TYPE = "io.containerd.runsc.v1"
OPTIONS_TYPE = "io.containerd.runsc.v1.options"


def runtimes(host: InventoryHost, look: Look | None) -> list[Runtime]:
    """The runtime `runsc` as the host's settings want it, and one for each profile; none where gVisor has to go.

    A packaged runsc gets the flags of its time.
    """
    wanted = settings.of(host)
    if wanted.state == "absent":
        return []
    installed = None
    if wanted.source == "distribution":
        installed = (look and release.package_release(release.found(look).package)) or flags.OLDEST
    return [_runtime(name, wanted, given, look) for name, given in wanted.profile_flags(installed).items()]


def _runtime(name: str, wanted: GvisorSettings, runsc_flags: Mapping[str, str], look: Look | None) -> Runtime:
    config_path = f"/etc/containerd/{name}.toml"
    proof = ""
    if look:
        values = release.probe_values(runsc_flags, release.found(look).architecture)
        proof = render("gvisor/proof.sh.j2", runsc=wanted.runsc, **values)
    return Runtime(
        name=name,
        runtime_type=RUNTIME_TYPE,
        binary=wanted.runsc,
        arguments=tuple(flags.arguments(runsc_flags)),
        options={"TypeUrl": OPTIONS_TYPE, "ConfigPath": config_path},
        config_path=config_path,
        config=runsc_flags,
        default=name == NAME,
        proof=proof,
    )
