"""Docker: the runtimes registered in `daemon.json`, and in effect.

`settings` is the inventory's part, `daemon` merges `daemon.json`, `facts` says what is read from a host, and `deploy`
is the operation.
"""

from deploys.docker.deploy import deploy

__all__ = ["deploy"]
