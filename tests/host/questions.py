"""Questions to the name server that Docker gives containers, and those of them that the host itself passes on."""

from __future__ import annotations

import re
import uuid

from testinfra.host import Host

TABLE = "inet bulkhead_questions"

# bash has UDP built in, and is on every Debian and Ubuntu; the header of the answer says how many records it has.
ASK = (
    'nsenter --net=/proc/%d/ns/net bash -c \'exec 3<>/dev/udp/127.0.0.11/53 && printf "%%b" "%s" >&3 &&'
    " timeout 5 dd bs=512 count=1 status=none <&3 | od -A n -t u1 -N 12'"
)


def _question(name: str) -> str:
    """A DNS question for the IPv4 address of a name (RFC 1035), as printf's %b takes it."""
    message = bytes.fromhex("123401000001000000000000")
    message += b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return "".join(f"\\0{byte:o}" for byte in message + bytes.fromhex("0000010001"))


def answers(host: Host, pid: int, name: str) -> int:
    """How many records the answer has that a container, known by a process in it, gets for a name; 0 without any."""
    fields = host.run(ASK % (pid, _question(name))).stdout.split()
    return int(fields[6]) * 256 + int(fields[7]) if len(fields) == 12 else 0


def passed_on_by_the_host(host: Host, pid: int) -> int:
    """How many packets with a question of the container's leave the host's own network namespace, for any resolver."""
    label = uuid.uuid4().hex[:15]
    # Behind the headers of UDP and DNS: the length of the first label, and all of it.
    match = f"@th,160,128 0x{(bytes([len(label)]) + label.encode()).hex()}"
    rules = (
        f"table {TABLE} {{ counter asked {{ }}; chain sent {{ type filter hook output priority filter - 20;"
        f" udp dport 53 {match} counter name asked; }}; }}"
    )
    host.check_output("nft %s", rules)
    try:
        assert answers(host, pid, f"{label}.invalid") == 0
        listed = host.check_output(f"nft list counters table {TABLE}")
    finally:
        host.run(f"nft delete table {TABLE}")
    (packets,) = re.findall(r"packets (\d+)", listed)
    return int(packets)
