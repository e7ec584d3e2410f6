"""containerd: the runtimes registered in its configuration, and in effect.

`settings` is the inventory's part, `distributions` where each keeps its files, `config` merges `config.toml` and
`template` what k3s and RKE2 make theirs from, `files` decides which of them get the runtimes, `facts` says what is read
from a host, `decision` what has to be done to it, and `deploy` is the operation. `drift` says what is not as described.
"""

from deploys.containerd.deploy import deploy

__all__ = ["deploy"]
