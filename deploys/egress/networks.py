"""The agents' networks: a bridge for each, made by its engine as described here. Pure, no I/O."""

from __future__ import annotations

import json
from typing import Any

from bulkhead.inventory import InventoryHost
from deploys.egress import settings
from deploys.egress.settings import AgentSettings, interface

LABEL = "bulkhead.agent"
"""The label that makes a Docker network ours."""

CNI_DIRECTORY = "/etc/cni/net.d"


def docker(host: InventoryHost) -> dict[str, dict[str, Any]]:
    """Name → description of the networks that Docker has to have (Docker Engine API, NetworkCreate)."""
    return {
        name: {
            "Name": name,
            "Driver": "bridge",
            "EnableIPv6": agent.subnet6 is not None,
            "IPAM": {
                "Driver": "default",
                "Config": [
                    {"Subnet": str(network), "Gateway": str(gateway)}
                    for network, gateway in zip(agent.networks, agent.gateways, strict=True)
                ],
            },
            "Options": {"com.docker.network.bridge.name": interface(name)},
            "Labels": {LABEL: name},
        }
        for name, agent in _of(host, "docker").items()
    }


def cni(host: InventoryHost) -> dict[str, bytes]:
    """Path → content of the networks that containerd's clients find (CNI specification 1.0.0, bridge plugin).

    The number puts them behind a cluster's own network, of which CRI takes the first.
    """
    return {
        f"{CNI_DIRECTORY}/90-{interface(name)}.conflist": (
            json.dumps(
                {
                    "cniVersion": "1.0.0",
                    "name": name,
                    "plugins": [
                        {
                            "type": "bridge",
                            "bridge": interface(name),
                            "isGateway": True,
                            # A bridge outlives its containers, and may have the address of an earlier network.
                            "forceAddress": True,
                            "ipMasq": True,
                            "ipam": {
                                "type": "host-local",
                                "ranges": [
                                    [{"subnet": str(network), "gateway": str(gateway)}]
                                    for network, gateway in zip(agent.networks, agent.gateways, strict=True)
                                ],
                                "routes": [
                                    {"dst": "0.0.0.0/0" if network.version == 4 else "::/0"}
                                    for network in agent.networks
                                ],
                            },
                        },
                        {"type": "portmap", "capabilities": {"portMappings": True}},
                    ],
                },
                indent=1,
            )
            + "\n"
        ).encode()
        for name, agent in _of(host, "containerd").items()
    }


def differs(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a network of Docker's list is another one than described; what the daemon adds is no matter."""
    return shape(found, wanted) != shape(wanted, wanted)


def shape(network: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Of a network of Docker's list what a description says of it."""
    return {
        "Driver": network.get("Driver"),
        "EnableIPv6": bool(network.get("EnableIPv6")),
        "Config": [
            {key: entry.get(key) for key in ("Subnet", "Gateway")}
            for entry in (network.get("IPAM") or {}).get("Config") or []
        ],
        "Options": {key: (network.get("Options") or {}).get(key) for key in wanted["Options"]},
    }


def is_ours(network: dict[str, Any]) -> bool:
    """Whether a network of Docker's list carries the label of ours."""
    return bool((network.get("Labels") or {}).get(LABEL))


def _of(host: InventoryHost, engine: str) -> dict[str, AgentSettings]:
    return {
        name: agent
        for name, agent in sorted(settings.of(host).agents.items())
        if settings.engine_of(host, name) == engine
    }
