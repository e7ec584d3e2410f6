"""Self-check: a host compares itself with what the last run left, every few minutes, and writes it as metrics.

`settings` is the inventory's part, `description` makes the one program of what all capabilities pin
(`bulkhead.drift.pins`), with the units that run it and no other; `facts` says what is read from a host, `deploy` brings
it about, takes it away where the inventory has no such key, and `drift` is what a check from outside says of it.
"""

from deploys.self_check.deploy import deploy

__all__ = ["deploy"]
