"""How engines run gVisor."""

from __future__ import annotations

from bulkhead.inventory import InventoryHost
from bulkhead.look import Look
from bulkhead.runtime import Runtime
from bulkhead.templates import render
from deploys.gvisor import flags, release, settings

NAME = "runsc"
RUNTIME_TYPE = "io.containerd.runsc.v1"
OPTIONS_TYPE = "io.containerd.runsc.v1.options"
CONFIG_PATH = "/etc/containerd/runsc.toml"


def runsc(host: InventoryHost, look: Look) -> Runtime:
    """The runtime `runsc` as the host's settings want it; a packaged one gets the flags of its time."""
    wanted = settings.of(host)
    there = release.found(look)
    installed = None
    if wanted.source == "distribution":
        installed = release.package_release(there.package) or flags.OLDEST
    runsc_flags = wanted.runsc_flags(installed)
    return Runtime(
        name=NAME,
        runtime_type=RUNTIME_TYPE,
        options_type=OPTIONS_TYPE,
        binary=wanted.runsc,
        config_path=CONFIG_PATH,
        config=runsc_flags,
        arguments=tuple(flags.arguments(runsc_flags)),
        proof=render("gvisor/proof.sh.j2", runsc=wanted.runsc, **release.probe_values(runsc_flags, there.architecture)),
    )
