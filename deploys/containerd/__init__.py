"""containerd: the runtimes registered in its configuration, and in effect.

`settings` is the inventory's part, `config` merges `config.toml`, `facts` says what is read from a host, and `deploy`
is the operation.
"""

from deploys.containerd.deploy import deploy

__all__ = ["deploy"]
