"""What a control node checks for drift, every five minutes."""

watch = {
    # A clone with your inventories, in which the user has run 'make venv'.
    "checkout": "/srv/bulkhead",
    "inventory": "inventories/production.py",
    # Whose ~/.ssh has the key to the fleet, and the hosts' keys.
    "user": "watch",
    # Where Debian's prometheus-node-exporter reads.
    "textfile_directory": "/var/lib/prometheus/node-exporter",
}
