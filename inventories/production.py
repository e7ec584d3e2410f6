"""An example to copy: hosts in the three groups, what they run in `group_data/`.

The addresses are for documentation (RFC 5737) and reach nobody. Put your hosts' keys into a known_hosts file of the
repository's own or into your own one: a host whose key is not there is refused.
"""

# Untrusted agents: each container in gVisor's sandbox.
gvisor_hosts = [
    ("agents-1.example.net", {"ssh_hostname": "192.0.2.11"}),
    # One host apart from its group: the release that it goes back to, or tries first.
    ("agents-2.example.net", {"ssh_hostname": "192.0.2.12", "gvisor": {"release": "20260810.0"}}),
]

# Agents that can't run under gVisor: dedicated hosts, never in both groups.
legacy_hosts = [
    ("legacy-1.example.net", {"ssh_hostname": "192.0.2.21"}),
]

# Who checks all of them for drift: machines without agents, since they hold the key to the fleet.
control_nodes = [
    ("watch-1.example.net", {"ssh_hostname": "192.0.2.31"}),
]
