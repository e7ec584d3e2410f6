"""Runtimes that the inventory describes by itself: Kata, crun, a microVM; the engines' capabilities register them.

`settings` is the inventory's part and all there is: a runtime is data, and its programs come from wherever you trust.
"""

from bulkhead.capability import Capability, register
from bulkhead.inventory import GVISOR_HOSTS
from deploys.runtimes import settings

CAPABILITY = register(
    Capability(
        name="runtimes",
        groups=frozenset({GVISOR_HOSTS}),
        validate=settings.of,
        needs=lambda _: [],
        runtimes=lambda host, _: settings.runtimes(host),
    )
)
