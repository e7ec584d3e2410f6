"""What happens around pyinfra's connections: the inventory is checked first, host keys are strict, TCP is prompt."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pyinfra import logger
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import BaseStateCallback

from bulkhead import capability
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost

if TYPE_CHECKING:
    from pyinfra.api import Host, State
    from pyinfra.connectors.base import BaseConnector


def inventory_host(host: Host) -> InventoryHost:
    """The host as the settings readers want it."""
    return InventoryHost(host.name, frozenset(host.groups), host.data.dict())


def becomes_root(data: Mapping[str, Any]) -> bool:
    """Whether the connecting user has to become root with sudo: not when it is root, or the inventory says no."""
    return bool(data.get("_sudo", data.get("ssh_user") != "root"))


def trusts_strangers(data: Mapping[str, Any]) -> str:
    """What an operator should know of an inventory that has host keys checked less than strictly; else empty."""
    chosen = data.get("ssh_strict_host_key_checking")
    return "" if chosen in (None, "yes") else f"the inventory sets ssh_strict_host_key_checking = {chosen!r}"


@contextmanager
def explained() -> Iterator[None]:
    """Let a BulkheadError leave as the PyinfraError that pyinfra's command line prints without a traceback."""
    try:
        yield
    except BulkheadError as error:
        raise PyinfraError(str(error)) from None


def be_strict(host: Host, connector: BaseConnector) -> None:
    """Have a connector refuse a host whose key is not known, unless the inventory says otherwise."""
    data: Any = getattr(connector, "data", {})
    if "ssh_strict_host_key_checking" in data and host.data.get("ssh_strict_host_key_checking") is None:
        data["ssh_strict_host_key_checking"] = "yes"


class Guard(BaseStateCallback):
    """Callbacks for a pyinfra State; `install` adds them."""

    def host_before_connect(self, state: State, host: Host) -> None:  # type: ignore[override]  # noqa: ARG002
        """Have the host's key checked, and no sudo used by one who is root already.

        pyinfra's own default for host keys is `accept-new`, which trusts whoever answers first. An inventory that says
        otherwise with `ssh_strict_host_key_checking` is obeyed, with a warning.
        """
        if not becomes_root(host.data.dict()):
            host.data._sudo = False
        be_strict(host, host.connector)
        if laxness := trusts_strangers(host.data.dict()):
            logger.warning(f"{host.print_prefix}{laxness}")

    def host_connect(self, state: State, host: Host) -> None:  # type: ignore[override]  # noqa: ARG002
        """Send small packets at once: paramiko leaves Nagle's algorithm on, at about 40 ms per command."""
        client = getattr(host.connector, "client", None)
        transport = client and client.get_transport()
        if transport:
            # A connection through a jump host runs over a channel, which has no such option.
            with suppress(OSError, AttributeError):
                transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def install(state: State) -> None:
    """Have the inventory of `state` checked before anything connects, and its connections guarded.

    pyinfra makes the list of callbacks in `State.init`, after `config.py` was read and before it connects; there is no
    hook of its own between the two, so the `init` of this one state is extended.
    """
    init = state.init

    def guarded(*arguments: Any, **keywords: Any) -> None:
        init(*arguments, **keywords)
        with explained():
            capability.check_inventory(inventory_host(host) for host in state.inventory)
        state.add_callback_handler(Guard())

    state.init = guarded  # type: ignore[method-assign]
