"""The pages in a real browser: on a telephone, on a screen, in the dark and on paper, with whatever hosts say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bulkhead.drift.formats import html
from tests.oracles.chromium import Browser
from tests.unit.helpers import website
from tests.unit.report.cases import EVIL, FORWARD, MODE, fleet_reports, host, pages, report

pytestmark = pytest.mark.long

LIBRARY = Path(__file__).with_name("page.js").read_text()
TELEPHONE, SCREEN, PAPER = 360, 1280, 794  # CSS pixels; A4 is 794 wide

NAMES = ("fleet", "clean", "no host", "long", "verified", "not verified", "verified, long")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name → file of each page."""
    written = {}
    for name, text in pages().items():
        written[name] = tmp_path_factory.mktemp("page") / "report.html"
        written[name].write_text(text)
    assert tuple(written) == NAMES
    return written


def ask(browser: Browser, question: str) -> Any:
    return browser.evaluate(f"{LIBRARY}\nreturn {question};")


@pytest.mark.parametrize("width", [TELEPHONE, SCREEN])
@pytest.mark.parametrize("name", NAMES)
def test_it_fits_and_is_alone(browser: Browser, files: dict[str, Path], name: str, width: int) -> None:
    browser.open(files[name], width)
    assert browser.evaluate("return innerWidth") == width
    assert browser.evaluate("return document.scrollingElement.scrollWidth") <= width
    assert ask(browser, "wide(true)") == []
    assert browser.said() == []
    assert browser.asked_for() == [files[name].as_uri()]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_read(browser: Browser, files: dict[str, Path], name: str, dark: bool) -> None:
    browser.open(files[name], SCREEN, dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert ask(browser, "pale()") == []
    assert ask(browser, "structure()") == []
    page = browser.evaluate("return getComputedStyle(document.body).backgroundColor")
    assert page == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize("name", NAMES)
def test_on_paper(browser: Browser, files: dict[str, Path], name: str) -> None:
    browser.open(files[name], PAPER, dark=True)
    browser.as_printed(dark=True)
    assert ask(browser, "wide(false)") == []
    assert ask(browser, "pale()") == []
    assert browser.evaluate("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    document = browser.pdf()
    assert document.startswith(b"%PDF-")
    assert len(document) > 5000


@pytest.mark.parametrize("name", ["long", "not verified", "verified, long"])
def test_what_a_host_says_is_shown_and_not_run(browser: Browser, files: dict[str, Path], name: str) -> None:
    browser.open(files[name], SCREEN)
    assert EVIL in browser.evaluate("return document.body.textContent")
    assert browser.evaluate("return [window.ran ?? 0, document.scripts.length, document.images.length]") == [0, 0, 0]
    assert browser.evaluate("return document.querySelectorAll('style').length") == 1


@pytest.mark.parametrize("guarded", [True, False])
def test_what_got_in_all_the_same_neither_runs_nor_fetches(browser: Browser, tmp_path: Path, guarded: bool) -> None:
    with website() as site:
        site.pages["/x.png"] = site.pages["/x.css"] = b""
        inserted = (
            f'<script>window.ran = 1</script><img src="{site.url}/x.png">'
            f'<link rel="stylesheet" href="{site.url}/x.css">'
            '<p id="inserted" style="color: red" onclick="window.ran = 1">x</p><style>h1 { display: none }</style>'
        )
        text = html.render(report(host("a", FORWARD))).replace("</main>", f"{inserted}</main>")
        if not guarded:
            text = text.replace("Content-Security-Policy", "x-nothing")
        file = tmp_path / "report.html"
        file.write_text(text)
        browser.open(file, SCREEN)
        browser.evaluate("document.getElementById('inserted').click()")
        seen = browser.evaluate(
            "return [window.ran ?? 0, getComputedStyle(document.getElementById('inserted')).color,"
            " getComputedStyle(document.querySelector('h1')).display]"
        )
    if guarded:
        assert (seen, site.asked) == ([0, "rgb(27, 31, 36)", "block"], [])
        assert len(browser.said()) >= 5
    else:
        assert (seen, sorted(site.asked)) == ([1, "rgb(255, 0, 0)", "none"], ["/x.css", "/x.png"])


def visible(browser: Browser, selector: str) -> int:
    number = ask(browser, f"[...document.querySelectorAll({selector!r})].filter(shown).length")
    assert isinstance(number, int)
    return number


def test_the_hosts_of_one_state(browser: Browser, files: dict[str, Path]) -> None:
    newest = fleet_reports()[-1]
    browser.open(files["fleet"], SCREEN)
    assert visible(browser, ".hosts tbody tr") == 100
    for state, number in newest.states.items():
        assert number > 0
        browser.evaluate(f"document.getElementById('only-{state}').click()")
        assert visible(browser, ".hosts tbody tr") == visible(browser, f".hosts tbody .is-{state}") == number
        assert visible(browser, "section.host") == visible(browser, f"section.host.is-{state}")
    browser.evaluate("document.getElementById('only-all').click()")
    assert visible(browser, ".hosts tbody tr") == 100


def test_the_checks_of_one_outcome(browser: Browser, files: dict[str, Path]) -> None:
    browser.open(files["verified"], TELEPHONE)
    for outcome, number in (("failed", 1), ("skipped", 1), ("passed", 40)):
        browser.evaluate(f"document.getElementById('only-{outcome}').click()")
        assert visible(browser, "tr.filtered") == visible(browser, f"tr.is-{outcome}") == number


def test_a_link_leads_to_its_host(browser: Browser, files: dict[str, Path]) -> None:
    browser.open(files["long"], TELEPHONE)
    browser.evaluate("[...document.querySelectorAll('.hosts a')].find((one) => one.textContent == 'ü/%# 2').click()")
    top = browser.evaluate("return document.querySelector(':target').getBoundingClientRect().top")
    assert browser.evaluate("return document.querySelector(':target').textContent").startswith("ü/%# 2")
    assert -1 <= top <= 800


def test_the_chart_is_to_scale(browser: Browser, tmp_path: Path) -> None:
    both, one, none = (report(host("a", *found)) for found in ((FORWARD, MODE), (MODE,), ()))
    file = tmp_path / "report.html"
    file.write_text(html.render(none, [both, one]))
    browser.open(file, TELEPHONE)
    bars = browser.evaluate(
        "return [...document.querySelectorAll('.chart g')].map((bar) => [...bar.querySelectorAll('rect')]"
        ".map((one) => one.getBoundingClientRect().height))"
    )
    # The tallest takes 92 of 100 parts, so that the mark above it has room; the chart is 128 CSS pixels high, 2 of them
    # its line.
    height = 126 * 0.92
    expected = [[height / 2, height / 2], [0, height / 2], [0, 0]]
    assert bars == [pytest.approx(bar, abs=0.2) for bar in expected]
