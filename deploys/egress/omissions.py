"""What a host needs that its policy does not say, and would miss after its next boot at the latest. Pure, no I/O."""

from __future__ import annotations

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Look
from deploys.egress import settings

CLOUDS = {
    "aliyun": "alibaba",
    "aws": "aws",
    "azure": "azure",
    "gce": "google",
    "openstack": "openstack",
    "oracle": "oracle",
    "scaleway": "scaleway",
}
"""What cloud-init calls a cloud → its name in the catalogue (cloud-init, instance metadata, cloud-id)."""

APT_USER, APT_UID = "_apt", 42


def refuse(host: InventoryHost, look: Look) -> None:
    """Raise BulkheadError for what a host needs, and would miss only after its next boot."""
    wanted = settings.of(host)
    cloud = CLOUDS.get(look.outputs["egress.cloud"].text.strip())
    if cloud and cloud not in wanted.metadata:
        raise BulkheadError(
            f"cloud-init reads this host's metadata ({cloud}); without it the next boot takes the host for a new one, "
            "with new ssh host keys",
            hint=f"Add {cloud!r} to egress.metadata (root alone gets it), or disable cloud-init on the host.",
        )
    routers = look.outputs["egress.routers"].text.split()
    if routers and any(agent.subnet6 for agent in wanted.agents.values()):
        raise BulkheadError(
            f"{', '.join(routers)}: the default IPv6 route comes from a router, and the kernel forgets it when it "
            "begins to forward for the agents",
            hint="Set net.ipv6.conf.INTERFACE.accept_ra = 2 on the host, or a route of its own; or no subnet6.",
        )
    named = {one.user for one in wanted.host}
    uid = uids(look).get(APT_USER)
    if uid not in (None, APT_UID) and APT_UID in named and uid not in named:
        raise BulkheadError(
            f"apt fetches as {APT_USER}, which has the uid {uid} on this host, and egress.host names {APT_UID}",
            hint=f"Say user = {uid} for this host.",
        )


def uids(look: Look) -> dict[str, int]:
    """User → uid, as /etc/passwd has them."""
    passwd = look.files["/etc/passwd"]
    lines = passwd.content.decode(errors="replace").splitlines() if passwd else []
    users = (line.split(":") for line in lines)
    return {user[0]: int(user[2]) for user in users if len(user) > 2 and user[2].isdigit()}
