"""Docker: the runtimes registered in `daemon.json`, on legacy hosts the hardening options as well, and all in effect.

`settings` is the inventory's part, `options` the table of what legacy hosts get, `daemon` merges `daemon.json`, `facts`
says what is read from a host, `hardened` judges it, `agents_slice` caps the agents, `decision` says what has to be
done, and `deploy` is the operation. `drift` says what is not as described, `containers` what of those that run.
"""

from deploys.docker.deploy import deploy

__all__ = ["deploy"]
