"""gVisor: runsc and its shim, pinned, checked, tried out and switched to in one step.

`settings` is the inventory's part, `flags` describes runsc's flags, `release` decides what is to be done, `removal`
what goes when it leaves, `facts` says what is read from a host, `runtime` says how engines run it, and `deploy` is the
operation. `drift` says what of it has changed on a host, `upstream` what has come out since.
"""

from deploys.gvisor.deploy import deploy, remove

__all__ = ["deploy", "remove"]
