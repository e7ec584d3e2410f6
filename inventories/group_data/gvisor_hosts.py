"""What hosts of untrusted agents run, and what these may reach: all else is denied."""

# The container engines on these hosts: each of them gets the runtime.
engines = ["containerd", "docker"]

# The exact release; its digests are pinned in bulkhead/pins.json ('bulkhead pin RELEASE' adds one).
gvisor = {"release": "20260817.0"}

egress = {
    # Who may reach the hosts' ssh: whoever runs Bulkhead has to be among them.
    "management": ["198.51.100.0/28"],
    "resolvers": ["198.51.100.53"],
    "time_servers": ["198.51.100.123"],
    # What the host itself may reach, by uid. For root gVisor's site, whose addresses change: any but metadata
    # endpoints, private ones included. With a mirror (gvisor.base_url) its address is enough. For apt's own user the
    # package mirror.
    "host": [
        {"to": "0.0.0.0/0", "ports": [443]},
        {"to": "198.51.100.80", "ports": [80, 443], "user": 42},
    ],
    "agents": {
        "research": {
            "subnet4": "172.30.2.0/24",
            # Names are reached through the proxy on the agent's gateway, 172.30.2.1:3128.
            "names": {".example.com": [443]},
        },
    },
}
