"""`bulkhead lab`: the lab from the command line."""

import os

import click
from rich.console import Console
from rich.table import Table

from bulkhead.lab import libvirt, lifecycle, machines, paths, proxy, release_server
from bulkhead.lab.box import SUITES
from bulkhead.lab.state import LabState
from bulkhead.progress import Steps


@click.group()
def lab() -> None:
    """Throwaway virtual machines on this computer to try everything on."""


@lab.command()
@click.argument("names", nargs=-1, type=click.Choice(machines.NAMES), metavar="[MACHINE]...")
@click.option("--suite", type=click.Choice(SUITES), default=lifecycle.DEFAULT_SUITE, show_default=True)
def up(names: tuple[str, ...], suite: str) -> None:
    """Bring machines up (default: gvisor), building and installing what they need."""
    steps = Steps(paths.LOGS)
    state = lifecycle.up(names or lifecycle.DEFAULT_MACHINES, suite, steps)
    steps.console.print(steps.table())
    _show(state)


@lab.command()
def down() -> None:
    """Take the lab down: machines, network, and what was started for them."""
    lifecycle.down()


@lab.command()
@click.pass_context
def status(context: click.Context) -> None:
    """Show the lab as it is; exit 1 if a part of it doesn't run."""
    context.exit(0 if _show(LabState.load()) else 1)


@lab.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", type=click.Choice(machines.NAMES), metavar="MACHINE")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(name: str, command: tuple[str, ...]) -> None:
    """Log in to a machine, or run a command on it."""
    state = LabState.load()
    machine = machines.machine(name, libvirt.subnet())
    if name not in state.machines:
        raise click.UsageError(f"the machine {name} isn't up; start it: bulkhead lab up {name}")
    arguments = machines.ssh_command(machine, state.machines[name].ssh_key, command)
    os.execvp(arguments[0], arguments)


def _show(state: LabState) -> bool:
    """Print the lab's parts; True if all of them run."""
    absent = "gone" if libvirt.answers() else "libvirt doesn't answer"
    domains = libvirt.domains()
    table = Table("Part", "State", "Where", title=f"The lab: {state.suite}, {state.driver}, box {state.box}")
    good = True
    for name, reached in state.machines.items():
        condition = domains.get(machines.Machine(name, reached.address).domain, absent)
        good &= condition == "running"
        table.add_row(name, condition, f"{reached.user}@{reached.address}")
    for part, daemon, url in (
        ("package proxy", proxy.DAEMON, state.proxy),
        ("release server", release_server.DAEMON, state.gvisor.base_url),
    ):
        runs = daemon.command is not None
        good &= runs
        table.add_row(part, "running" if runs else "gone", url)
    gvisor = state.gvisor
    table.add_row("gVisor", gvisor.release, f"{gvisor.origin}: {gvisor.detail}")
    Console().print(table)
    return good
