"""The command `bulkhead`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from bulkhead import pins, publish
from bulkhead.errors import BulkheadError
from bulkhead.inventory import ENGINES
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
@click.option("--only", multiple=True, metavar="CHECK", help="Only checks so named, * allowed; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def verify(inventory: str, limit: tuple[str, ...], only: tuple[str, ...], as_json: bool) -> None:
    """Check that the hosts of INVENTORY have the properties that Bulkhead promises.

    Exit status 0: every check passed; 1: a check failed, or the checks could not be run.
    """
    from bulkhead.verification import verify as run

    results = run(inventory, limit, only)
    if as_json:
        click.echo(results.json())
    else:
        results.show(stdout())
    sys.exit(0 if results.passed else 1)


@main.command()
@click.argument("engine", type=click.Choice(ENGINES))
@click.argument("file", metavar="FILE")
@click.option("--engine-version", metavar="VERSION", help="The engine's version, such as 1.7 or 28.5.")
@click.option("--inventory", metavar="INVENTORY", help="Take the runtimes from this inventory…")
@click.option("--host", "name", metavar="HOST", help="… as it describes this host.")
@click.option("--enable-cri", is_flag=True, help="Switch CRI on where the file switches it off (containerd).")
@click.option("--diff", is_flag=True, help="Print the difference, not the whole file.")
def merge(
    engine: str,
    file: str,
    engine_version: str | None,
    inventory: str | None,
    name: str | None,
    enable_cri: bool,
    diff: bool,
) -> None:
    """Print what FILE, the configuration of ENGINE, would become. Nothing is written; - is standard input.

    Without an inventory the handler runsc is registered with its usual options. Files that FILE imports are not read.
    """
    from bulkhead import merging

    source = merging.Source.read(file)
    version = merging.version(engine_version)
    after = merging.merged(engine, source, merging.described(inventory, name), version, enable_cri=enable_cri)
    if after == source.text:
        click.echo("bulkhead: nothing to change", err=True)
    result = merging.difference(source, after) if diff else after
    # As bytes: a stream of text would write other line ends.
    click.echo(result.encode(), nl=False)


@main.command()
@click.argument("inventory")
@click.argument("host")
@click.argument("file", required=False)
def render(inventory: str, host: str, file: str | None) -> None:
    """Print what HOST of INVENTORY would get: all files under their paths, or FILE alone. Nothing is connected.

    A file that is merged into the host's own (config.toml, daemon.json) is printed as it is made where there is none.
    """
    from bulkhead.rendering import rendered

    files = rendered(inventory, host, file)
    for number, (path, content) in enumerate(files.items()):
        if file is None:
            click.echo(f"{os.linesep if number else ''}==> {path} <==")
        click.echo(content, nl=False)


@main.command()
def demo() -> None:
    """From nothing to a verified host of each kind, on throwaway virtual machines."""
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
