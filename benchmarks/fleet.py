"""What looking at 100 hosts costs beside the least that paramiko needs for it: `python -m benchmarks.fleet`, as root.

Each host is a real sshd (Debian's) on a port of this machine's loopback, with a host key of its own, in a mount
namespace whose /etc is its own: a layer over this machine's, in which one file differs. Four contenders take turns in
each round, every one in a process of its own that has all modules loaded, with the same number of threads:

- *floor, bytes*: connect with paramiko, key checked, and one exec of `head`, which prints as many bytes as an answer;
- *floor, script*: the same with the look's own script, whose answer is read and thrown away;
- *looking*: `gather`, with `watched` and `findings_of` of a gVisor host with both engines, as `bulkhead drift` does it;
- *looking, recorded*: `gather` while every host answers with a recorded answer (`head` of a file, as in the first).

The hosts' own work is done by the same cores as the controller's here, while in a fleet each host does its own; so a
fair ratio compares what asks the same of the hosts: *looking* with *floor, script* (the work of the hosts in both) and
*looking, recorded* with *floor, bytes* (nearly none in both: what is left is the controller alone, transport, unpacking
and comparison). The target is 1.5 for both.

After that a tenth of the hosts is dead (a closed port, a port that accepts and says nothing), slow (a shell that never
ends) or answers garbage: the findings of the others must be those of before, and the ten must be errors.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import paramiko
from rich.table import Table

from bulkhead import look
from bulkhead.capability import discover, findings_of, watched
from bulkhead.drift.finding import Finding
from bulkhead.drift.fleet import Outcome, gather
from bulkhead.inventory import InventoryHost
from bulkhead.progress import stdout
from tests.oracles.sshd import keygen, sshd

HOSTS = 100
ROUNDS = 3
PARALLEL = 8
"""Each host that is looked at starts some fifty processes, which are all on this machine here."""

TARGET = 1.5
SECONDS_WHEN_BAD = 30.0

Findings = dict[str, list[Finding] | str]
"""Host → what was found, or the error."""

_OWN_ETC = """\
cat /etc/passwd >/run/passwd
mkdir /run/upper /run/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc
cat /run/passwd >/etc/passwd
mkdir -p /etc/sysctl.d
echo '# host {number}' >/etc/sysctl.d/zz-bulkhead.conf
"""


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--parallel", type=int, default=PARALLEL)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    console = stdout()
    discover()
    with ExitStack() as running, tempfile.TemporaryDirectory(prefix="fleet-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        key = keygen(directory / "key")
        shell = directory / "shell"
        answer = directory / "answer"
        _program(shell, f'[ -e {answer} ] || exec sh -c "$2"\ncat >/dev/null\nexec head -c 100000000 {answer}')
        servers = [
            running.enter_context(sshd(key, _OWN_ETC.format(number=number), shell)) for number in range(options.hosts)
        ]
        hosts = [described(number, server.data()) for number, server in enumerate(servers)]
        script = look.script(watched(hosts[0]))
        recorded = _exec(hosts[0], "sh", script)
        console.print(f"{len(hosts)} hosts, {options.parallel} at once; {len(recorded) >> 10} KiB an answer")

        def looking_recorded() -> Findings:
            answer.write_bytes(recorded)
            try:
                return _look(hosts, options.parallel)
            finally:
                answer.unlink()

        contenders: dict[str, Callable[[], object]] = {
            "floor, bytes": partial(_floor, hosts, options.parallel, f"head -c {len(recorded)} /dev/zero", ""),
            "looking, recorded": looking_recorded,
            "floor, script": partial(_floor, hosts, options.parallel, "sh", script),
            "looking": partial(_look, hosts, options.parallel),
        }
        measured: dict[str, list[tuple[float, float, float, Any]]] = {contender: [] for contender in contenders}
        for _ in range(options.rounds):
            for contender, work in contenders.items():
                measured[contender].append(_apart(work))
        console.print(_table(measured))
        _judge(console.print, measured)
        found: Findings = measured["looking"][-1][3]
        _with_bad_hosts(console.print, hosts, found, options.parallel, key, directory, running)


def described(number: int, reached: Mapping[str, Any]) -> InventoryHost:
    """A gVisor host of the fleet; `reached` is the data by which to reach it."""
    settings = {
        "engines": ["containerd", "docker"],
        "gvisor": {"release": "20260817.0"},
        "egress": {"management": ["192.0.2.0/24"]},
    }
    return InventoryHost(f"host-{number:03}", frozenset({"gvisor_hosts"}), {**settings, **reached})


def _program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def _look(hosts: Sequence[InventoryHost], parallel: int, seconds: float = 120) -> Findings:
    outcomes: Iterator[Outcome[list[Finding]]] = gather(hosts, watched, findings_of, parallel=parallel, seconds=seconds)
    return {one.host.name: one.error if one.value is None else one.value for one in outcomes}


def _floor(hosts: Sequence[InventoryHost], parallel: int, command: str, stdin: str) -> int:
    with ThreadPoolExecutor(parallel) as pool:
        return sum(len(answer) for answer in pool.map(lambda host: _exec(host, command, stdin), hosts))


def _exec(host: InventoryHost, command: str, stdin: str) -> bytes:
    """The least there is: connect, one exec, read its output."""
    data = host.data
    with paramiko.SSHClient() as client:
        client.load_host_keys(data["ssh_known_hosts_file"])
        client.connect(
            data["ssh_hostname"],
            data["ssh_port"],
            data["ssh_user"],
            key_filename=data["ssh_key"],
            allow_agent=False,
            look_for_keys=False,
            timeout=60,
            banner_timeout=60,
            auth_timeout=60,
        )
        transport = client.get_transport()
        assert transport is not None
        assert isinstance(transport.sock, socket.socket)
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writing, reading, _ = client.exec_command(command)
        writing.write(stdin)
        writing.channel.shutdown_write()
        answer = reading.read()
        assert reading.channel.recv_exit_status() == 0
        return answer


def _apart(work: Callable[[], object]) -> tuple[float, float, float, Any]:
    """Wall seconds, CPU seconds, largest resident set in MiB, and result of `work` in a process of its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_measured, args=(work, theirs))
    process.start()
    theirs.close()
    try:
        seconds, cpu, memory, result = ours.recv()
    except EOFError:
        raise SystemExit("a contender failed") from None
    process.join()
    return seconds, cpu, memory, result


def _measured(work: Callable[[], object], result: Connection) -> None:
    started = time.monotonic()
    before = time.process_time()
    made = work()
    seconds = time.monotonic() - started
    cpu = time.process_time() - before
    result.send((seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, made))


def _table(measured: dict[str, list[tuple[float, float, float, Any]]]) -> Table:
    table = Table("Contender", "Median s", "Best s", "Controller's CPU s", "Controller's MiB", title="A fleet")
    for column in table.columns[1:]:
        column.justify = "right"
    for contender, rounds in measured.items():
        seconds, cpu, memory, _ = zip(*rounds, strict=True)
        table.add_row(
            contender,
            f"{statistics.median(seconds):.1f}",
            f"{min(seconds):.1f}",
            f"{statistics.median(cpu):.1f}",
            f"{max(memory):.0f}",
        )
    return table


def _judge(say: Callable[[str], None], measured: dict[str, list[tuple[float, float, float, Any]]]) -> None:
    for contender, floor in (("looking", "floor, script"), ("looking, recorded", "floor, bytes")):
        for _, _, _, found in measured[contender]:
            if errors := [text for text in found.values() if isinstance(text, str)]:
                raise SystemExit(f"{contender}: not every host was looked at, so this is no measurement: {errors[0]}")
        ratio = statistics.median(one[0] for one in measured[contender]) / statistics.median(
            one[0] for one in measured[floor]
        )
        say(f"{contender} / {floor}: {ratio:.2f} (target {TARGET})")


@contextmanager
def _silent() -> Iterator[int]:
    """A port that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as silent:
        yield silent.getsockname()[1]


def _with_bad_hosts(
    say: Callable[[str], None],
    hosts: Sequence[InventoryHost],
    before: Findings,
    parallel: int,
    key: Path,
    directory: Path,
    running: ExitStack,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    silent = running.enter_context(_silent())
    slow = running.enter_context(sshd(key, shell=_program(directory / "slow", "exec sleep 60")))
    garbage = running.enter_context(sshd(key, shell=_program(directory / "garbage", "head -c 200000 /dev/urandom")))
    kinds: list[dict[str, Any]] = [{"ssh_port": closed}, {"ssh_port": silent}, slow.data(), garbage.data()]
    bad = [replace(host, data={**host.data, **kinds[place % 4]}) for place, host in enumerate(hosts[::10])]
    mixed = [bad[place // 10] if place % 10 == 0 else host for place, host in enumerate(hosts)]
    seconds, _, memory, after = _apart(partial(_look, mixed, parallel, SECONDS_WHEN_BAD))
    names = {host.name for host in bad}
    wrong = [name for name, found in after.items() if (name in names) != isinstance(found, str)]
    changed = [name for name in before if name not in names and before[name] != after[name]]
    for name in wrong + changed:
        say(f"{name}: {before[name]} became {after[name]}")
    if wrong or changed:
        raise SystemExit("Bad hosts made a difference to others, or passed for good ones.")
    say(
        f"With {len(bad)} of them dead, slow or answering garbage, each given {SECONDS_WHEN_BAD:g} s: {seconds:.1f} s, "
        f"{memory:.0f} MiB; the findings of the other {len(hosts) - len(bad)} are those of before."
    )
    for place, host in enumerate(bad[:4]):
        say(f"  {('closed port', 'silent', 'slow', 'garbage')[place]}: {str(after[host.name]).splitlines()[0]}")


if __name__ == "__main__":
    if os.getuid() != 0:
        raise SystemExit("The hosts of this benchmark are made of mount namespaces: run it as root.")
    main()
