"""The command `bulkhead`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bulkhead import pins, publish
from bulkhead.errors import BulkheadError
from bulkhead.lab.cli import lab
from bulkhead.progress import stdout


class Group(click.Group):
    """Prints a BulkheadError as what it is, a message to the user, and exits 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BulkheadError as error:
            click.echo(f"bulkhead: {error}", err=True)
            sys.exit(1)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bulkhead")
def main() -> None:
    """Provision, verify and watch the hosts that run untrusted agents."""


main.add_command(lab)


@main.command()
@click.argument("inventory")
@click.option("--limit", multiple=True, metavar="HOST", help="Only hosts whose name or group matches; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def verify(inventory: str, limit: tuple[str, ...], as_json: bool) -> None:
    """Check that the hosts of INVENTORY have the properties that Bulkhead promises.

    Exit status 0: every check passed; 1: a check failed, or the checks could not be run.
    """
    from bulkhead.verification import verify as run

    results = run(inventory, limit)
    if as_json:
        click.echo(results.json())
    else:
        results.show(stdout())
    sys.exit(0 if results.passed else 1)


@main.command()
def demo() -> None:
    """From nothing to a verified gVisor host, on a throwaway virtual machine."""
    from bulkhead.demo import demo as run

    sys.exit(run())


@main.command()
@click.argument("release")
@click.option("--site", default=pins.OFFICIAL_SITE, show_default=True, metavar="URL", help="The release bucket.")
@click.option("--github", default=publish.GITHUB, show_default=True, metavar="URL", help="GitHub's release files.")
@click.option("--pins", "file", default=pins.PINS_FILE, type=click.Path(path_type=Path), help="The file to write.")
def pin(release: str, site: str, github: str, file: Path) -> None:
    """Add RELEASE of gVisor to the pinned digests.

    Reads them from the release bucket and from the GitHub release, and writes nothing unless the two agree.
    """
    known = pins.load(file)
    found = publish.published(release, site.rstrip("/"), github.rstrip("/"))
    updated = publish.add(release, found, known)
    if release in known:
        click.echo(f"{release} is already pinned with these digests.")
        return
    pins.save(updated, file)
    for architecture, artefacts in found.items():
        click.echo(f"{release} {architecture}: {', '.join(artefacts)}")
    click.echo(f"Written to {file}: review it and commit it.")
