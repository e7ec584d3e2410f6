"""The world with agents' networks that real CNI plugins make, of the configuration that hosts get."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from bulkhead.inventory import InventoryHost
from deploys.egress import networks
from tests.egress.flows import POLICY
from tests.egress.world import UNLISTED, World
from tests.oracles.cni import Cni, cni

HOST = InventoryHost("host", frozenset({"legacy_hosts"}), {"engines": ["containerd"], "egress": POLICY})

PUBLISHED = [
    {"hostPort": 8080, "containerPort": 8080, "protocol": "tcp"},
    {"hostPort": 8081, "containerPort": 9000, "protocol": "tcp"},
]
"""Of beta: what the policy lists, and what it does not."""

ATTACHED = {"alpha": "alpha", "twin": "alpha", "beta": "beta", UNLISTED: UNLISTED}
"""Container → network, in this order."""


class CniWorld(World):
    """`addresses` is what the plugins gave out, by container, and `state` where they keep it."""

    def __init__(self) -> None:
        super().__init__()
        self._private = tempfile.TemporaryDirectory(prefix="bulkhead-cni-")
        self.state = Path(self._private.name) / "state"
        self.addresses: dict[str, list[str]] = {}
        self._cni: Cni

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._private.cleanup()

    def _agents(self) -> None:
        folder = Path(self._private.name) / "net.d"
        for each in (folder, self.state):
            each.mkdir()
        for path, content in networks.cni(HOST).items():
            (folder / Path(path).name).write_bytes(content)
        # A network that is no agent's: alpha's under other names and numbers.
        text = networks.cni(HOST)[f"{networks.CNI_DIRECTORY}/90-bh-alpha.conflist"].decode()
        for one, other in (("bh-alpha", "br-other"), ('"alpha"', f'"{UNLISTED}"'), ("172.30.1.", "172.17.0.")):
            text = text.replace(one, other)
        (folder / "other.conflist").write_text(text.replace("fd42:1:", "fd42:17:"))
        made = cni(folder, self.state)
        assert made is not None
        self._cni = made
        for name in ATTACHED:
            self.call("add", name)

    def anew(self) -> None:
        """All containers as they were at first."""
        for name in ATTACHED:
            self.call("del", name)
        shutil.rmtree(self.state / "cni" / "networks")
        for name in ATTACHED:
            self.call("add", name)

    def call(self, command: str, name: str) -> None:
        """`add`, `check` or `del` a container; CalledProcessError with the plugins' words."""
        where, host = Path(self.namespace(name)), Path(self.namespace("host"))
        said = self._cni.call(command, ATTACHED[name], where, host, PUBLISHED if name == "beta" else ())
        if command == "add":
            self.addresses[name] = [entry["address"] for entry in json.loads(said)["ips"]]
