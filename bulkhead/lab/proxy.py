"""The package proxy: the machines' only way out, and it leads to Debian's packages alone.

apt-cacher-ng, run by the lab with settings of its own: it serves only what its `Remap-` lines name (ForceManaged), the
mirrors of this machine's own apt sources, and opens no tunnels. What it fetched stays in the user's cache, where the
next box finds it.
"""

import socket
from collections.abc import Iterable
from pathlib import Path
from textwrap import dedent

from bulkhead import files
from bulkhead.lab import paths
from bulkhead.lab.apt_sources import Source
from bulkhead.lab.daemons import Daemon

PREFERRED_PORT = 3143  # apt-cacher-ng's own, 3142, belongs to the system's
DAEMON = Daemon("package-proxy", paths.RUN, paths.LOGS)
# Matches no host and port: no CONNECT.
NOTHING = "^$"


def configuration(sources: Iterable[Source], addresses: Iterable[str], port: int, cache: Path, logs: Path) -> str:
    """apt-cacher-ng's settings for these mirrors and listening addresses."""
    mirrors = sorted({source.uri for source in sources})
    groups = "".join(f"Remap-lab{number}: {uri} ; {uri}\n" for number, uri in enumerate(mirrors))
    return (
        dedent(
            f"""\
            ForeGround: 1
            BindAddress: {" ".join(addresses)}
            Port: {port}
            CacheDir: {cache}
            LogDir: {logs}
            ForceManaged: 1
            PassThroughPattern: {NOTHING}
            ForwardBtsSoap: 0
            ExThreshold: 30
            """
        )
        + groups
    )


def ensure(sources: Iterable[Source], host: str) -> str:
    """Run the proxy on loopback and on `host`, the lab's own address; its URL as the machines see it.

    A proxy that runs with other settings is replaced.
    """
    configured = paths.RUN / "apt-cacher-ng"
    path = configured / "acng.conf"
    port = _port_of(path) if DAEMON.command else free_port(PREFERRED_PORT, host)
    cache = paths.cache() / "packages"
    logs = paths.LOGS / "package-proxy"
    wanted = configuration(sources, ("127.0.0.1", host), port, cache, logs)
    url = f"http://{host}:{port}"
    running = DAEMON.command is not None and path.exists() and path.read_text() == wanted
    if not (running and listens(host, port) and listens("127.0.0.1", port)):
        DAEMON.stop()
        for folder in (cache, logs):
            folder.mkdir(parents=True, exist_ok=True)
        files.write(path, wanted)
        DAEMON.start(
            ["apt-cacher-ng", "-c", configured],
            ready=lambda: listens(host, port) and listens("127.0.0.1", port),
        )
    return url


def local_url(url: str) -> str:
    """The proxy's URL as this machine itself should use it."""
    return f"http://127.0.0.1:{url.rpartition(':')[2]}"


def listens(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def free_port(preferred: int, *hosts: str) -> int:
    """`preferred` if nothing holds it on any of `hosts`, else a port that is free on the first."""
    for port in (preferred, 0):
        try:
            for host in hosts:
                with socket.create_server((host, port)) as server:
                    chosen = int(server.getsockname()[1])
            return chosen
        except OSError:
            continue
    return preferred


def _port_of(path: Path) -> int:
    for line in path.read_text().splitlines() if path.exists() else ():
        key, _, value = line.partition(":")
        if key == "Port":
            return int(value)
    return PREFERRED_PORT
