"""The lab: throwaway virtual machines on this computer, from Debian packages, with gVisor to install on them.

One module per thing: `packages` (what this computer needs), `libvirt` (daemon, network, storage), `proxy` (the
machines' way to Debian's packages), `box` (what they boot), `kvm` (hardware or emulation), `machines` (through
Vagrant), `gvisor_origin` and `release_server` (where they get gVisor), `state` (what came of it), `daemons`, `files`,
`keys`, `paths`, `apt_sources` (below these), `lock`, `lifecycle` (up and down, the order of it all) and `cli`.
"""

from bulkhead.lab.lifecycle import down, up
from bulkhead.lab.state import LabState

__all__ = ["LabState", "down", "up"]
