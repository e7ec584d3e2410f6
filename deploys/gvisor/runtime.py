"""How engines run gVisor."""

from __future__ import annotations

from bulkhead.inventory import InventoryHost
from bulkhead.look import Look
from bulkhead.runtime import Runtime
from deploys.gvisor import flags, release, settings

NAME = "runsc"
RUNTIME_TYPE = "io.containerd.runsc.v1"
OPTIONS_TYPE = "io.containerd.runsc.v1.options"
CONFIG_PATH = "/etc/containerd/runsc.toml"


def runsc(host: InventoryHost, look: Look | None = None) -> Runtime:
    """The runtime `runsc` as the host's settings want it.

    `look` tells the version of a packaged runsc, whose flags are those of its time.
    """
    wanted = settings.of(host)
    installed = None
    if wanted.source == "distribution":
        package = look.outputs["gvisor.package"].text if look else ""
        installed = release.package_release(package) or flags.OLDEST
    runsc_flags = wanted.runsc_flags(installed)
    return Runtime(
        name=NAME,
        runtime_type=RUNTIME_TYPE,
        options_type=OPTIONS_TYPE,
        binary=wanted.runsc,
        config_path=CONFIG_PATH,
        config=runsc_flags,
        arguments=tuple(flags.arguments(runsc_flags)),
    )
