"""Differences in one form, and nothing of a user's file but what is ours."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bulkhead.drift.comparison import Comparison
from bulkhead.look import FoundFile
from bulkhead.put import Write
from tests.unit.helpers import gvisor_host, own

DEPLOY = "pyinfra INVENTORY deploy.py --limit agents-1"
FILE = own("ours\n")
WRITE = Write("/etc/a", b"ours\n", FILE)


def compared() -> Comparison:
    return Comparison("one", gvisor_host())


def found(write: Write) -> list[tuple[str, str, str, str]]:
    comparison = compared()
    comparison.own_file(write)
    assert {(one.capability, one.mend) for one in comparison.findings} <= {("one", DEPLOY)}
    return [(one.subject, one.expected, one.actual, one.severity) for one in comparison.findings]


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (WRITE, []),
        (replace(WRITE, found=own("theirs\n")), [("/etc/a", "ours\n", "theirs\n", "critical")]),
        (replace(WRITE, found=None), [("/etc/a", "ours\n", "", "critical")]),
        (replace(WRITE, content=None), [("/etc/a", "", "a file", "critical")]),
        (replace(WRITE, content=None, found=None), []),
        (replace(WRITE, found=replace(FILE, kind="link")), [("/etc/a", "ours\n", "a link", "critical")]),
        (replace(WRITE, found=own("ours\n", 0o666)), [("/etc/a: mode", "0644", "0666", "critical")]),
        (replace(WRITE, found=own("ours\n", 0o600)), [("/etc/a: mode", "0644", "0600", "warning")]),
        (replace(WRITE, found=replace(FILE, owner="eve")), [("/etc/a: owner", "root:root", "eve:root", "critical")]),
        (
            replace(WRITE, found=FoundFile("file", b"theirs\n", 0o777, "eve", "root")),
            [
                ("/etc/a", "ours\n", "theirs\n", "critical"),
                ("/etc/a: owner", "root:root", "eve:root", "critical"),
                ("/etc/a: mode", "0644", "0777", "critical"),
            ],
        ),
    ],
)
def test_a_file_of_ours(write: Write, said: list[tuple[str, str, str, str]]) -> None:
    assert found(write) == said


def test_a_record_is_never_shown() -> None:
    comparison = compared()
    for there in (own("hunter2", 0o644), None):
        comparison.record(Write("/var/lib/a", b"hunter2 as well", there, mode=0o600))
    comparison.record(Write("/var/lib/a", None, own("hunter2")))
    comparison.record(Write("/var/lib/a", b"x", own("x", 0o600), mode=0o600))
    assert [(one.subject, one.actual) for one in comparison.findings] == [
        ("/var/lib/a", "something else"),
        ("/var/lib/a: mode", "0644"),
        ("/var/lib/a", ""),
        ("/var/lib/a", "a file"),
    ]
    assert "hunter2" not in str(comparison.findings)


def test_a_file_of_the_user_s_shows_what_is_ours_alone() -> None:
    comparison = compared()
    before = {"theirs": "hunter2", "ours": {"a.b": 1, "same": 2, "url": "http://me:hunter2@x"}, "gone": ["x"]}
    after = {
        "theirs": "hunter2",
        "ours": {"a.b": 2, "same": 2, "url": "y", "token": "hunter2"},
        "new": {"deep": True, "token": "hunter2"},
    }
    comparison.document("/etc/a.json", before, after)
    assert [(one.subject, one.expected, one.actual) for one in comparison.findings] == [
        ('/etc/a.json: ours."a.b"', "2", "1"),
        ("/etc/a.json: ours.url", '"y"', '"http://(withheld)@x"'),
        ("/etc/a.json: ours.token", "(withheld)", ""),
        ("/etc/a.json: gone", "", '["x"]'),
        ("/etc/a.json: new", '{"deep": true, "token": "(withheld)"}', ""),
    ]
    assert "hunter2" not in str(comparison.findings)


@pytest.mark.parametrize(
    ("file", "actual"),
    [
        (None, []),
        (own("x", 0o600), []),
        (own("x", 0o644), []),
        (own("x", 0o664), ["root:root 0664"]),
        (own("x", 0o646), ["root:root 0646"]),
        (replace(own("x"), owner="eve"), ["eve:root 0644"]),
    ],
)
def test_a_file_of_the_user_s_that_others_can_write_to(file: FoundFile | None, actual: list[str]) -> None:
    comparison = compared()
    comparison.loose("/etc/a", file)
    assert [one.actual for one in comparison.findings] == actual
    assert {one.mend for one in comparison.findings} <= {"chown root /etc/a; chmod go-w /etc/a"}
