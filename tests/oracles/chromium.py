"""What a real browser makes of a page: Debian's Chromium without a screen, driven through its own driver."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver

from bulkhead.errors import BulkheadError
from bulkhead.lab import packages
from bulkhead.progress import run

PACKAGES = ("chromium", "chromium-driver")

_PROGRAM, _DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"


@dataclass(frozen=True)
class Browser:
    """One browser with one page; its cache and profile are gone with it."""

    driver: webdriver.Chrome

    def open(self, file: Path, width: int, *, dark: bool = False) -> None:
        """Show `file` in a window `width` CSS pixels wide, as on a telephone where that is less than 600."""
        self._protocol(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        self._media("", dark)
        self.driver.get("about:blank")
        self.said()
        self.asked_for()
        self.driver.get(file.as_uri())

    def as_printed(self, *, dark: bool = False) -> None:
        """Show the page as it is on paper; `dark` is what its reader likes on a screen."""
        self._media("print", dark)

    def evaluate(self, script: str, *arguments: object) -> Any:
        """What the body of a JavaScript function returns; a page's own policy does not concern it."""
        return self.driver.execute_script(script, *arguments)

    def said(self) -> list[str]:
        """What was printed to the console since the last call: errors, and what the page's policy forbade."""
        return [entry["message"] for entry in self._log("browser")]

    def asked_for(self) -> list[str]:
        """The addresses that were asked for since the last call."""
        entries = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        return [
            entry["params"]["request"]["url"] for entry in entries if entry["method"] == "Network.requestWillBeSent"
        ]

    def pdf(self) -> bytes:
        """The page as it is printed on A4."""
        answer = self._protocol("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
        return base64.b64decode(answer["data"])

    def picture(self) -> bytes:
        """All of the page as a PNG."""
        answer = self._protocol("Page.captureScreenshot", {"captureBeyondViewport": True})
        return base64.b64decode(answer["data"])

    def _protocol(self, command: str, parameters: dict[str, Any]) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)

    def _media(self, media: str, dark: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._protocol("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})

    def _log(self, kind: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return entries


def install(log: Path) -> None:
    """Install the packages where they are missing. Raises BulkheadError when they can't be had."""
    there = packages.installed(PACKAGES)
    missing = tuple(name for name in PACKAGES if name not in there)
    if not missing:
        return
    if os.geteuid() != 0:
        raise BulkheadError(f"these Debian packages are missing: {' '.join(missing)}")
    codename = packages.codename(Path("/etc/os-release").read_text())
    for command in packages.install_commands(codename, packages.Missing(missing, ())):
        run(command, log=log, env=packages.UNATTENDED)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start the browser, and end it with all its processes."""
    options = webdriver.ChromeOptions()
    options.binary_location = _PROGRAM
    for argument in (
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        # What Chromium itself would ask the network for.
        "--disable-background-networking",
        "--disable-component-update",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # it refuses to start as root with one
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(_DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
