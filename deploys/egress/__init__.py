"""Egress: what agents and the host may reach, denied by default and enforced by one nftables table.

`settings` is the inventory's part, `ranges` the denied ranges and the metadata endpoints, `policy` makes sets of them
and `ruleset` the file; `live` compares it with the kernel's table, `facts` says what is read from a host, `omissions`
refuses what a host would miss, `networks` describes a bridge for each agent and `proxy` the way to names. `deploy`
holds the operations. `drift` says what is not as described, and `others` which tables of the kernel's go round ours.
"""

from deploys.egress.deploy import agents, deploy

__all__ = ["agents", "deploy"]
