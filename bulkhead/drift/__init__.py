"""Drift: what on the hosts differs from what the inventory describes.

`finding` is one difference, `report` all of one run over a fleet, `history` those of several runs. `fleet` looks at
many hosts side by side, `check` makes a report of that, `formats` are what it becomes for whom, and `output` is where
it goes.
"""

PARALLEL = 32
"""Hosts that are looked at at once, unless the user says otherwise: most of the time is spent waiting for them."""

HOST_SECONDS = 60.0
"""How long a host may take for all of it, unless the user says otherwise."""
