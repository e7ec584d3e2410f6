"""What the README says is covered is covered by a check that there is."""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest

from bulkhead.inventory_file import ROOT

HEADING = "| CIS | topic | check |"
CHECK = re.compile(r"`(\w+)\.(\w+)`")
NUMBER = re.compile(r"(?<![\d.])\d+(?:\.\d+)+(?![\d.]*\d)")

DAEMON = [f"2.{number}" for number in range(1, 19)]
RUNTIME = [f"5.{number}" for number in range(1, 33)]
"""The recommendations of the benchmark's version 1.6 for the daemon and for what it runs."""


def passage() -> str:
    """The table of the benchmark and the list of what is not covered."""
    text = (ROOT / "README.md").read_text()
    assert text.count(HEADING) == 1
    return text.partition(HEADING)[2].partition("\n### ")[0]


def rows() -> list[list[str]]:
    """The table's rows, a text for each cell."""
    table = passage().partition("\n\n")[0].strip().splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def checks(suite: str) -> set[str]:
    """The names of a file's test functions, as verification shows them; empty where there is no such file."""
    path = ROOT / "tests" / "host" / f"test_{suite}.py"
    if not path.exists():
        return set()
    functions = (node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))
    return {name.removeprefix("test_") for name in functions if name.startswith("test_")}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_each_row_names_a_check(row: list[str]) -> None:
    numbers, topic, named = row
    assert topic
    assert NUMBER.sub("", numbers).strip(", ") == ""
    assert CHECK.sub("", named).strip(", ") == ""
    assert CHECK.findall(named)


def test_the_checks_exist() -> None:
    """Those of the table, and those that the list below it names."""
    named = CHECK.findall(passage())
    assert len(named) > len(rows())
    assert [f"{suite}.{name}" for suite, name in named if name not in checks(suite)] == []


def test_each_recommendation_has_its_place() -> None:
    """Each one for the daemon and its containers stands in the table or is said to be left out, and never both."""
    covered = [number for row in rows() for number in NUMBER.findall(row[0])]
    # In the list these two are named once more, as the exceptions that they are.
    listed = NUMBER.findall(passage().partition("Not covered:")[2])
    left_out = [number for number in listed if number not in ("5.5", "5.10")]
    found = Counter(number for number in covered + left_out if not number.startswith("1."))
    assert found == Counter([*DAEMON, *RUNTIME])
