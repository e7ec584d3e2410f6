"""Mirrors of another suite come from the machine's own apt sources."""

from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.lab.apt_sources import Source, backports, for_suite, parse_deb822, parse_lines, read

DEB822 = """\
Types: deb deb-src
# a comment in the middle
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm

Types: deb
Enabled: no
URIs: http://disabled.example/debian
Suites: bookworm

Types: deb
URIs:
 http://security.example/debian-security
Suites: bookworm-security
Components: main
"""

LINES = """\
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/key.gpg] http://mirror.example/debian bookworm main contrib
deb-src http://mirror.example/debian bookworm main
  deb http://security.example/debian-security/ bookworm-security main
"""


def test_deb822_gives_every_enabled_binary_suite() -> None:
    assert parse_deb822(DEB822) == [
        Source("http://mirror.example/debian", "bookworm", "/usr/share/keyrings/archive.gpg"),
        Source("http://mirror.example/debian", "bookworm-updates", "/usr/share/keyrings/archive.gpg"),
        Source("http://security.example/debian-security", "bookworm-security"),
    ]


def test_one_line_format_gives_every_binary_suite() -> None:
    assert parse_lines(LINES) == [
        Source("http://mirror.example/debian", "bookworm", "/etc/key.gpg"),
        Source("http://security.example/debian-security", "bookworm-security"),
    ]


def test_read_takes_both_formats_and_only_files_that_apt_reads(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://one.example/debian bookworm main\n")
    (parts / "a.sources").write_text("Types: deb\nURIs: http://two.example/debian\nSuites: bookworm-updates\n")
    (parts / "b.list.save").write_text("deb http://three.example/debian bookworm main\n")
    assert read(tmp_path) == [
        Source("http://one.example/debian", "bookworm"),
        Source("http://two.example/debian", "bookworm-updates"),
    ]


def test_another_suite_keeps_mirror_and_key_of_each_part() -> None:
    assert [source.line for source in for_suite(parse_deb822(DEB822), "bookworm", "trixie")] == [
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian trixie-updates main",
        "deb http://security.example/debian-security trixie-security main",
    ]


def test_backports_lie_beside_the_release() -> None:
    assert backports(parse_deb822(DEB822), "bookworm") == Source(
        "http://mirror.example/debian", "bookworm-backports", "/usr/share/keyrings/archive.gpg"
    )


def test_no_source_for_the_own_release_is_an_error_that_says_where_to_look() -> None:
    with pytest.raises(BulkheadError, match="no source for bookworm") as error:
        for_suite([Source("http://other.example/apt", "stable")], "bookworm", "trixie")
    assert "/etc/apt/sources.list" in error.value.hint
