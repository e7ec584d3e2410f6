"""gVisor: runsc and its shim, pinned, checked, tried out and switched to in one step.

`settings` is the inventory's part, `flags` describes runsc's flags, `release` decides what is to be done, `probe` makes
the sandbox that a new runsc must be able to start, `facts` says what is read from a host, `runtime` says how engines
run it, and `deploy` is the operation.
"""

from deploys.gvisor.deploy import deploy

__all__ = ["deploy"]
