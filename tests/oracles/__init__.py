"""Real daemons' binaries as oracles: what containerd and dockerd themselves make of a file, without a machine.

`fetch` gets the binaries and keeps them in the user's cache; `containerd` and `dockerd` ask them.
"""
