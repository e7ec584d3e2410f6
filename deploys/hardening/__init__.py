"""Hardening: the kernel, who may log in, what is written down, and what nobody needs: one table, two kinds of host.

`table` holds every setting with its reason, `settings` is the inventory's part, `conflicts` says what must not be
overridden. Each area has a module that says what is read from a host, what its files should be and what is to be done
(`sysctl`, `modules`, `boot`, `sshd` with `sshd_match`, `audit`, `mounts`, `core_dumps`, `upgrades`, `apparmor`,
`memory`; `area` is what they share, `packages` what some need installed). `facts` collects what they ask, `plans` what
they decide, and `deploy` is the operations.
"""

from deploys.hardening.deploy import deploy

__all__ = ["deploy"]
