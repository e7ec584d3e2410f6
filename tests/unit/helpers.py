"""What several groups of unit tests share: a host, a runtime, a real `sh`, a real web server."""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bulkhead import look
from bulkhead.drift.comparison import Comparison
from bulkhead.drift.finding import Finding
from bulkhead.inventory import InventoryHost
from bulkhead.registration import Ledger
from bulkhead.runtime import Runtime

USER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name

as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")

RUNSC = Runtime(
    name="runsc",
    runtime_type="io.containerd.runsc.v1",
    binary="/usr/local/bin/runsc",
    options={"TypeUrl": "io.containerd.runsc.v1.options", "ConfigPath": "/etc/containerd/runsc.toml"},
    config_path="/etc/containerd/runsc.toml",
    config={"network": "sandbox"},
    arguments=("--network=sandbox",),
)


def gvisor_host(**data: Any) -> InventoryHost:
    """A host of `gvisor_hosts` with these data and the rest as in the example inventory."""
    described = {
        "engines": ["containerd", "docker"],
        "gvisor": {"release": "20260817.0"},
        "egress": {"management": ["192.0.2.0/24"]},
        **data,
    }
    return InventoryHost("agents-1", frozenset({"gvisor_hosts"}), described)


def legacy_host(**data: Any) -> InventoryHost:
    """A host of `legacy_hosts` with Docker and these data."""
    described = {"engines": ["docker"], "egress": {"management": ["192.0.2.0/24"]}, **data}
    return InventoryHost("old-1", frozenset({"legacy_hosts"}), described)


def sh(script: str | bytes, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Feed `script` to a real shell on standard input, as a run does."""
    data = script.encode() if isinstance(script, str) else script
    result = subprocess.run(["sh"], input=data, capture_output=True, timeout=timeout)
    return subprocess.CompletedProcess(
        result.args, result.returncode, result.stdout.decode(errors="replace"), result.stderr.decode(errors="replace")
    )


def looked(*needs: look.Need) -> look.Look:
    """A real look at this machine."""
    return look.parse(sh(look.script(needs)).stdout, needs)


def found(path: object) -> look.FoundFile | None:
    """What a real look finds at `path`."""
    return looked(look.File(str(path))).files[str(path)]


def outputs(texts: Mapping[str, str | bytes], **statuses: int) -> look.Look:
    """A look in which the commands printed `texts`; `statuses` (dots as `_`) are those that are not 0."""
    return look.Look(
        files={},
        outputs={
            name: look.Output(
                statuses.get(name.replace(".", "_"), 0), text.encode() if isinstance(text, str) else text, b""
            )
            for name, text in texts.items()
        },
    )


def answered(
    needs: Sequence[look.Need],
    files: Mapping[str, str | bytes | look.FoundFile | None],
    said: Mapping[str, str | bytes | look.Output],
) -> look.Look:
    """A look that answers all of `needs`: nothing is there and nothing was said but these files and outputs."""
    there = {need.path: files.get(need.path) for need in needs if isinstance(need, look.File)}
    answers = {need.name: said.get(need.name, "") for need in needs if isinstance(need, look.Command)}
    assert not files.keys() - there.keys(), files.keys() - there.keys()
    assert not said.keys() - answers.keys(), said.keys() - answers.keys()
    return look.Look(
        {path: own(one) if isinstance(one, str | bytes) else one for path, one in there.items()},
        {
            name: one if isinstance(one, look.Output) else look.Output(0, _bytes(one), b"")
            for name, one in answers.items()
        },
    )


def own(content: str | bytes, mode: int = 0o644) -> look.FoundFile:
    """A file of root's."""
    return look.FoundFile("file", _bytes(content), mode, "root", "root")


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def unit(name: str, active: str = "active", enabled: str = "enabled", load: str = "loaded", **more: str) -> str:
    """How systemd shows a unit."""
    shown = {"Id": name, "Names": name, "LoadState": load, "ActiveState": active, "UnitFileState": enabled, **more}
    return "".join(f"{key}={value}\n" for key, value in shown.items())


def on_host(ledger: Ledger) -> Ledger:
    """The ledger as the next run reads it."""
    return Ledger.load(ledger.dump())


@contextmanager
def one_apt_at_a_time() -> Iterator[None]:
    """Tests run in several processes, and may install packages in one at a time."""
    with (Path(tempfile.gettempdir()) / "bulkhead-packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass
class Site:
    """A web site: path → what it answers, and the paths that were asked for."""

    url: str
    pages: dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def website() -> Iterator[Site]:
    """A real HTTP server on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            page = site.pages.get(self.path)
            if page is None:
                self.send_error(404)
            elif callable(page):
                page(self)
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = Site(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


def broken_off(page: bytes, length: int) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer that promises `length` bytes and ends after `page`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(page)
        handler.close_connection = True

    return answer


def leading_to(place: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """A page of a Site that leads to another one."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", place)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def compared(
    drift: Callable[[Comparison, InventoryHost, look.Look], None],
    host: InventoryHost,
    seen: look.Look,
    capability: str = "",
) -> list[Finding]:
    """What one capability finds."""
    comparison = Comparison(capability, host)
    drift(comparison, host, seen)
    return comparison.findings
