"""Serves gVisor releases to the lab's machines over HTTP, read-only, as the official site lays them out.

Run as `python -m bulkhead.lab.release_server ROOT ADDRESS PORT`.
"""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from bulkhead.lab import paths
from bulkhead.lab.daemons import Daemon
from bulkhead.lab.proxy import free_port, listens

PREFERRED_PORT = 3144
DAEMON = Daemon("release-server", paths.RUN, paths.LOGS)


class Handler(SimpleHTTPRequestHandler):
    """Files under its directory, and nothing that a link or a listing would show besides."""

    def send_head(self) -> BytesIO | BinaryIO | None:
        path = Path(self.translate_path(self.path))
        if not path.is_file() or not path.resolve().is_relative_to(Path(self.directory).resolve()):
            self.send_error(404)
            return None
        return super().send_head()


def server(root: Path, address: str, port: int) -> ThreadingHTTPServer:
    """A server of the files under `root`, bound to `address` alone."""
    return ThreadingHTTPServer((address, port), partial(Handler, directory=str(root)))


def ensure(root: Path, host: str) -> str:
    """Run the server of `root` on `host`; its base URL. One that runs for another folder or address is replaced."""
    running = DAEMON.command
    port = int(running[-1]) if running else free_port(PREFERRED_PORT, host)
    command = [sys.executable, "-m", "bulkhead.lab.release_server", str(root), host, str(port)]
    if not (running == command and listens(host, port)):
        DAEMON.stop()
        # It keeps running while the checkout's Python environment may be made anew.
        DAEMON.start(command, ready=lambda: listens(host, port), env={"PYTHONPATH": str(paths.CHECKOUT)})
    return f"http://{host}:{port}"


if __name__ == "__main__":
    server(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])).serve_forever()
