"""What becomes of a flow."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping

from tests.egress.flows import Flow
from tests.egress.world import Place


def outcome(places: Mapping[str, Place], mac: Callable[[str], str], flow: Flow, seconds: float) -> str:
    """`passed`, `refused` or `silent`: of the sender, or of the receiver for what is sent blindly.

    `mac` tells the hardware address of an interface of the host; an answer may take `seconds`.
    """
    token = uuid.uuid4().hex
    request = dict(flow.request)
    if request["op"] == "frame":
        request |= {"interface": "eth0", "mac": mac(f"bh-{flow.sender}")}
    said = places[flow.sender].ask(token=token, seconds=seconds, **request)
    if said == "sent":
        # What is sent within one machine is there at once, if it comes at all.
        time.sleep(0.1 * seconds)
        said = "passed" if places[flow.receiver].ask(op="count", token=token) != "0" else "silent"
    elif said != "passed":
        assert places[flow.receiver].ask(op="count", token=token) == "0", "no answer, but it came"
    return said
