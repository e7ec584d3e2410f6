"""The command `bulkhead`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from bulkhead import pins, publish
from bulkhead.drift import HOST_SECONDS, PARALLEL, history
from bulkhead.drift.formats import FORMATS, html, text
from bulkhead.drift.report import Report
from bulkhead.errors import BulkheadError
from bulkhead.inventory import ENGINES
from bulkhead.lab.cli import lab
from bulkhead.progress import stdout


class Group(click.Group):
    """Prints a BulkheadError as what it is, a message to the user. Every error exits 1, as drift is 2."""

    def make_context(self, *arguments: Any, **keywords: Any) -> click.Context:
        """Read the options."""
        with _exit_status_1():
            return super().make_context(*arguments, **keywords)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with _exit_status_1():
                return super().invoke(ctx)
        except BulkheadError as error:
            click.echo(f"bulkhead: {error}", err=True)
            sys.exit(1)


@contextmanager
def _exit_status_1() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        error.show()
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
@click.option("--format", "format_", type=click.Choice(["text", "json", "html"]), default="text", help="What to print.")
def verify(inventory: str, limit: tuple[str, ...], only: tuple[str, ...], format_: str) -> None:
    """Check that the hosts of INVENTORY have the properties that Bulkhead promises.

    Exit status 0: every check passed; 1: a check failed, or the checks could not be run.
    """
    from bulkhead import verification_page
    from bulkhead.verification import verify as run

    started = datetime.now(UTC)
    results = run(inventory, limit, only)
    if format_ == "json":
        click.echo(results.json())
    elif format_ == "html":
        click.echo(verification_page.render(results, inventory, started), nl=False)
    else:
        results.show(stdout())
    sys.exit(0 if results.passed else 1)


@main.command()
@click.argument("inventory")
@click.option("--limit", multiple=True, metavar="HOST", help="Only hosts whose name or group matches; may be repeated.")
@click.option("--format", "formats", multiple=True, type=click.Choice(list(FORMATS)), help="What to print or write.")
@click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write to FILE; may be repeated, each with the --format of the same place in the row.",
)
@click.option(
    "--since",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The JSON of the check before, to say since when. If it is an --output, too, the first check makes it.",
)
@click.option(
    "--history",
    "past",
    metavar="DIRECTORY",
    type=click.Path(path_type=Path),
    help="Keep reports there: the newest says since when, this one's is added, and html shows them all.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    help=f"Reports that stay in the --history; {history.KEEP} unless you say otherwise.",
)
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    default=PARALLEL,
    show_default=True,
    help="Hosts that are looked at at once.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=HOST_SECONDS,
    show_default=True,
    help="Seconds that each host may take.",
)
@click.option("--upstream/--no-upstream", default=True, help="Whether to ask for newer releases than the pinned ones.")
def drift(
    inventory: str,
    limit: tuple[str, ...],
    formats: tuple[str, ...],
    outputs: tuple[Path, ...],
    since: Path | None,
    past: Path | None,
    keep: int | None,
    parallel: int,
    timeout: float,
    upstream: bool,
) -> None:
    """Compare the hosts of INVENTORY with what it describes. Nothing is changed on them.

    Exit status 0: no drift; 2: drift; 1: a host could not be looked at, or nothing could be checked.
    """
    formats = formats or ("text",)
    if len(formats) != max(len(outputs), 1):
        raise click.UsageError(f"{len(outputs)} times --output, but {len(formats)} times --format")
    written = {path.resolve(): name for path, name in zip(outputs, formats, strict=False)}
    if len(written) != len(outputs):
        raise click.UsageError("two --output are the same file")
    if since and written.get(since.resolve(), "json") != "json":
        raise click.UsageError(f"--since {since} is also an --output, whose --format must then be json")
    if past and since:
        raise click.UsageError("--history knows the check before by itself: leave --since out")
    if keep and not past:
        raise click.UsageError("--keep is about --history, which is missing")
    from bulkhead.drift import output
    from bulkhead.drift.check import check

    kept = history.History(past, inventory, limit) if past else None
    with output.reserved(outputs, past):
        before = kept.newest() if kept else output.before(since, outputs, inventory, limit)
        report = check(inventory, limit, before, parallel=parallel, seconds=timeout, upstream=upstream)
        if kept:
            kept.add(report, keep or history.KEEP)
        for path, name in written.items():
            output.write(path, _rendered(name, report, kept))
    if not outputs and formats == ("text",):
        text.show(report, stdout())
    elif not outputs:
        click.echo(_rendered(formats[0], report, kept), nl=False)
    else:
        for line in text.errors(report):
            click.echo(f"bulkhead: {line}", err=True)
        click.echo(text.counts(report))
    sys.exit(report.exit_status)


def _rendered(format_: str, report: Report, kept: history.History | None) -> str:
    """A report in one of the formats; as a page with its history, where one is kept."""
    if format_ == "html" and kept:
        return html.render(report, kept.before(report, html.SHOWN - 1))
    return FORMATS[format_](report)


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--format", "format_", type=click.Choice(list(FORMATS)), default="html", show_default=True)
def report(files: tuple[Path, ...], format_: str) -> None:
    """Print what a check wrote with 'bulkhead drift --format json' in another format. Nothing is connected.

    Of several FILEs the newest is shown; html shows the others, too, as its history.
    """
    *earlier, newest = history.load(files)
    click.echo(html.render(newest, earlier) if format_ == "html" else FORMATS[format_](newest), nl=False)


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
