"""A release site for the machine, with the official layout, that can serve what a broken or hostile one would."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

import pytest

from bulkhead.lab import LabState, lifecycle

PROGRAMS = ("runsc", "containerd-shim-runsc-v1")


PORTS = range(3150, 3160)
"""Those that the lab's inventory lets the machine reach."""


def _listening(address: str, handler: type[http.server.BaseHTTPRequestHandler]) -> http.server.ThreadingHTTPServer:
    """A server on the first of the ports that is free; OSError when none is."""
    for port in PORTS:
        with contextlib.suppress(OSError):
            return http.server.ThreadingHTTPServer((address, port), handler)
    raise OSError(f"none of the ports {PORTS[0]} to {PORTS[-1]} of {address} can be had")


class Site:
    """An HTTP server on the lab's bridge. `requests` holds the paths that were asked for."""

    def __init__(self, lab: LabState, directory: Path) -> None:
        self.directory = directory / "site"
        self.directory.mkdir()
        self.requests: list[str] = []
        self._real = lifecycle.RELEASES / "release" / lab.gvisor.release / "x86_64"
        self._release = lab.gvisor.release
        if lab.gvisor.layout != "loose":
            pytest.skip("the lab's gVisor is a tarball; these tests make releases of their own from loose files")
        site = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append(unquote(self.path))
                path = site.directory / unquote(self.path).lstrip("/")
                if path.with_name(path.name + ".cut").exists():
                    # Promise the whole file, send its beginning, and hang up.
                    content = path.with_name(path.name + ".cut").read_bytes()
                    self.send_response(200)
                    self.send_header("Content-Length", str(2 * len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                    return
                super().do_GET()

            def log_message(self, format: str, *args: object) -> None:
                pass

            def translate_path(self, path: str) -> str:
                return str(site.directory / unquote(urlsplit(path).path).lstrip("/"))

        bridge = urlsplit(lab.gvisor.base_url).hostname
        assert bridge is not None
        self._server = _listening(bridge, Handler)
        self.url = f"http://{bridge}:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, release: str, files: dict[str, bytes]) -> dict[str, str]:
        """Serve `files` as `release`; their digests."""
        folder = self.directory / "release" / release / "x86_64"
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return {name: hashlib.sha512(content).hexdigest() for name, content in files.items()}

    def programs(self, release: str | None = None) -> dict[str, bytes]:
        """The lab's real programs; with another release's name in them, of the same length, they are that release."""
        release = release or self._release
        assert len(release) == len(self._release)
        return {
            name: (self._real / name).read_bytes().replace(self._release.encode(), release.encode())
            for name in PROGRAMS
        }

    def other_release(self) -> str:
        """The name of a release that is not the lab's, of the same length."""
        return "2" + "1" + self._release[2:]
