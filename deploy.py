"""Which capability goes where: the table of contents.

Each capability names its own groups and settings, and does nothing on other hosts. Every call stands on a line of its
own, since pyinfra tells operations apart by their lines.

    pyinfra inventories/production.py deploy.py --dry --diff    # shows what would change
    pyinfra inventories/production.py deploy.py                 # asks, then changes it
"""

from deploys import containerd, docker, egress, gvisor, hardening, leftovers, self_check, watch

leftovers.deploy()

# Both kinds of host. First, so that what the engines prove, they prove on the host as it will be.
hardening.deploy()

# Who may reach what, and the proxy for names, before anything runs that could reach it.
egress.deploy()

# gvisor_hosts: untrusted agents, in gVisor's sandbox.
gvisor.deploy()
containerd.deploy()

# Both kinds: the runtimes on the one, a hardened daemon and the agents' slice on the other.
docker.deploy()

gvisor.remove()

# The networks that the engines make for the agents.
egress.agents()

# control_nodes: the fleet is checked for drift on schedule.
watch.deploy()

# Last, since it describes what the run ended with: a host that compares itself with that.
self_check.deploy()
