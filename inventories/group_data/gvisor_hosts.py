"""What hosts of untrusted agents run, unless the inventory says otherwise for one of them."""

# The container engines on these hosts: each of them gets the runtime.
engines = ["containerd", "docker"]

# The exact release; its digests are pinned in bulkhead/pins.json ('bulkhead pin RELEASE' adds one).
gvisor = {"release": "20260817.0"}
