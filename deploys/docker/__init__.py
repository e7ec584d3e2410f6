"""Docker: the runtimes registered in `daemon.json`, on legacy hosts the hardening options as well, and all in effect.

`settings` is the inventory's part, `options` the table of what legacy hosts get, `daemon` merges `daemon.json`, `facts`
says what is read from a host, `hardened` judges it, `agents_slice` caps the agents, and `deploy` is the operation.
"""

from deploys.docker.deploy import deploy

__all__ = ["deploy"]
