"""The command line: errors without a traceback, and exit statuses that say what came of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bulkhead import pins, verification
from bulkhead.cli import main
from bulkhead.demo import _changes
from bulkhead.verification import Check, Results
from tests.unit.helpers import Site, website

RELEASE = "20990101.0"
X86, ARM = "a1" * 64, "b2" * 64


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def site() -> Iterator[Site]:
    with website() as site:
        for architecture, digest in (("x86_64", X86), ("aarch64", ARM)):
            path = f"/bucket/release/{RELEASE}/{architecture}/gvisor.tar.bz2.sha512"
            site.pages[path] = f"{digest}  gvisor.tar.bz2\n".encode()
        site.pages[f"/github/release-{RELEASE}/SHA512SUMS"] = (
            f"{X86}  gvisor-x86_64.tar.bz2\n{ARM}  gvisor-aarch64.tar.bz2\n".encode()
        )
        yield site


def pin(site: Site, file: Path, release: str = RELEASE) -> Result:
    return run("pin", release, "--site", f"{site.url}/bucket/", "--github", f"{site.url}/github/", "--pins", file)


def test_a_release_is_pinned_beside_the_others(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "pins.json"
    pins.save({"20260817.0": {"x86_64": {"runsc": ARM}}}, file)
    result = pin(site, file)
    assert (result.exit_code, result.output) == (
        0,
        f"{RELEASE} x86_64: gvisor.tar.bz2\n{RELEASE} aarch64: gvisor.tar.bz2\n"
        f"Written to {file}: review it and commit it.\n",
    )
    assert pins.load(file) == {
        RELEASE: {"x86_64": {"gvisor.tar.bz2": X86}, "aarch64": {"gvisor.tar.bz2": ARM}},
        "20260817.0": {"x86_64": {"runsc": ARM}},
    }
    before = file.read_bytes()
    assert pin(site, file).output == f"{RELEASE} is already pinned with these digests.\n"
    assert file.read_bytes() == before


def test_a_refused_release_leaves_the_file_alone(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "pins.json"
    file.write_text("{}\n")
    result = pin(site, file, "latest")
    assert (result.exit_code, result.output) == (
        1,
        "bulkhead: 'latest' is not an exact release\n"
        "  Name one, such as 20260817.0; 'latest' and a day alone move and can't be pinned.\n",
    )
    assert file.read_text() == "{}\n"


def test_an_inventory_that_is_not_there() -> None:
    result = run("verify", "no-such.py")
    assert result.exit_code == 1
    assert result.output.startswith("bulkhead: no-such.py: no such file\n  Name an inventory")


@pytest.mark.parametrize(("outcome", "status"), [("passed", 0), ("failed", 1), ("skipped", 1)])
def test_the_exit_status_of_a_verification(monkeypatch: pytest.MonkeyPatch, outcome: str, status: int) -> None:
    found = Results([Check("a", "docker.x", "docker: X", outcome, 0.1)])
    monkeypatch.setattr(verification, "verify", lambda *_: found)
    assert run("verify", "inventory.py").exit_code == status
    result = run("verify", "inventory.py", "--format", "json")
    assert (result.exit_code, result.output) == (status, found.json() + "\n")
    result = run("verify", "inventory.py", "--format", "html")
    assert result.exit_code == status
    assert result.output.startswith("<!DOCTYPE html>")
    assert "<h1>Verification of <code>inventory.py</code></h1>" in result.output


HEAD = """\
--> Results:
    Operation                        Hosts   Success   Error   No Change
    Install runsc                    1       1         -       -
"""


@pytest.mark.parametrize(
    ("last", "changes"),
    [
        ("    Grand total                      3       -         -       3           ", 0),
        ("    Grand total                      3       2         -       1           ", 2),
        ("    Grand total                      3       1         1       1           ", 2),
        ("", 1),
    ],
)
def test_what_a_run_of_pyinfra_changed(last: str, changes: int) -> None:
    assert _changes(HEAD + last + "\n\n--> Disconnecting from hosts...\n") == changes
