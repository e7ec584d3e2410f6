"""Watch: control nodes, which check the fleet for drift on schedule.

`settings` is the inventory's part, `schedule` makes systemd's units of it, `facts` says what is read from a node and
what it must have, and `deploy` is the operation. `drift` says what of it is not as described.
"""

from deploys.watch.deploy import deploy

__all__ = ["deploy"]
