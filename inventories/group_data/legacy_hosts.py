"""What dedicated hosts of legacy agents run, and what these may reach: all else is denied."""

engines = ["docker"]

egress = {
    # Who may reach the hosts' ssh: whoever runs Bulkhead has to be among them.
    "management": ["198.51.100.0/28"],
    "resolvers": ["198.51.100.53"],
    "time_servers": ["198.51.100.123"],
    # What the host itself may reach, by uid: the package mirror, for root and for apt's own user.
    "host": [
        {"to": "198.51.100.80", "ports": [80, 443]},
        {"to": "198.51.100.80", "ports": [80, 443], "user": 42},
    ],
    "agents": {
        "billing": {
            "subnet4": "172.30.1.0/24",
            "allow": [{"to": "203.0.113.10", "ports": [5432], "protocol": "tcp"}],
            # Names are reached through the proxy on the agent's gateway, 172.30.1.1:3128.
            "names": {"api.example.com": [443]},
        },
    },
}
