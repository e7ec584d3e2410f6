"""A host during a pyinfra run: its one look, its refusals, and the operation that carries out a Change."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

from pyinfra import host, logger, state
from pyinfra.api import FactBase, Host, StringCommand, operation
from pyinfra.api.exceptions import PyinfraError

from bulkhead import look
from bulkhead.capability import Capability, needs_of
from bulkhead.errors import BulkheadError
from bulkhead.guard import Guard, inventory_host
from bulkhead.inventory import InventoryHost
from bulkhead.secrets import redacted

_looks: WeakKeyDictionary[Host, look.Look] = WeakKeyDictionary()


class Answer(FactBase[str]):
    """The raw answer of a host to a look's script."""

    def command(self, script: str) -> StringCommand:
        """The script itself; it holds paths and commands, never a file's content."""
        return StringCommand(script)

    def process(self, output: list[str]) -> str:
        """The base64 text as one line."""
        return "".join(output)


def look_at(target: Host) -> look.Look:
    """What this run knows of `target`; the first call asks the host, later ones remember.

    Raises BulkheadError when the host's answer can't be used.
    """
    if target not in _looks:
        needs = needs_of(inventory_host(target))
        answer = target.get_fact(Answer, script=look.script(needs))
        if answer is None:
            raise BulkheadError(
                "the host could not be looked at",
                hint="See the output above; the connecting user must be root or allowed to use sudo.",
            )
        _looks[target] = look.parse(answer, needs)
    return _looks[target]


def converges(capability: Capability) -> Callable[[Callable[[InventoryHost, look.Look], None]], Callable[[], None]]:
    """Make the deploy function of a capability from one that takes the host's settings and look.

    It does nothing on hosts to which the capability doesn't apply. A BulkheadError fails that host alone, with its
    message and hint and before anything was changed on it.
    """

    def decorate(body: Callable[[InventoryHost, look.Look], None]) -> Callable[[], None]:
        @wraps(body)
        def deploy() -> None:
            if not any(isinstance(handler, Guard) for handler in state.callback_handlers):
                raise PyinfraError("config.py was not read: run pyinfra from the top of the repository")
            described = inventory_host(host)
            if host in state.failed_hosts or not capability.applies(described):
                return
            try:
                body(described, look_at(host))
            except BulkheadError as error:
                fail(error)

        return deploy

    return decorate


def fail(error: BulkheadError) -> None:
    """Fail the current host with a message that says what to do; other hosts go on."""
    for line in str(error).splitlines():
        logger.error(f"{host.print_prefix}{line}")
    state.fail_hosts({host})


def warn(message: str) -> None:
    """Print what an operator should know of the current host, whatever the run does."""
    logger.warning(f"{host.print_prefix}{message}")


def announce(lines: Sequence[str]) -> None:
    """Print what will change on the current host, without secrets, when pyinfra was started with `--diff`."""
    if state.config.DIFF:
        for line in lines:
            logger.info(f"{host.print_prefix}    {redacted(line)}")


def report(lines: Sequence[str]) -> None:
    """Tell the operator what a run can't put right on the current host, or leaves to him."""
    for line in lines:
        logger.warning(f"{host.print_prefix}{line}")


@operation()
def run(script: str | None) -> Generator[StringCommand, Any, None]:
    """Run `script` as root, fed on standard input so that its content shows in no process list; None is no change."""
    if script is not None:
        yield StringCommand("sh", _stdin=script)
