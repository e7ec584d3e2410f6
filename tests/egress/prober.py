"""A program that sends packets from where it runs and echoes those that it gets: one JSON request and answer per line.

It stands alone (the standard library, any Python from 3.9 on), since it also runs where the rest of the tests does not:
in a network namespace, a container, a machine of the lab. A packet that passed is known by its token, which only the
receiver could have seen; an answer that came back proves both ways.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 (getaddrinfo loads it, which a child of another uid may not be able to)
import errno
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from typing import Any

REFUSALS = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.ECONNRESET)

seen: dict[str, int] = {}
held: dict[str, socket.socket] = {}
accepted: list[socket.socket] = []
lock = threading.Lock()


def note(payload: bytes) -> None:
    """Count a payload by the token that it begins with."""
    token = payload.split(b"|")[0].decode(errors="replace")
    with lock:
        seen[token] = seen.get(token, 0) + 1


def serve_stream(listener: socket.socket) -> None:
    """Echo on every connection."""

    def echo(connection: socket.socket) -> None:
        accepted.append(connection)
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                note(data)
                connection.sendall(data)

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=echo, args=(connection,), daemon=True).start()


def serve_datagrams(listener: socket.socket, names: dict[str, list[str]]) -> None:
    """Echo every datagram from the address that it was sent to; where there are `names`, answer questions for them."""
    asked: dict[str, int] = {}
    while True:
        data, ancillary, _, sender = listener.recvmsg(65536, socket.CMSG_SPACE(20))
        note(data)
        answer = answered(data, names, asked) if names and 0 in data[12:] else data
        information = [item for item in ancillary if item[1] == socket.IPV6_PKTINFO]
        address = [(level, kind, value[:16] + bytes(4)) for level, kind, value in information]
        with contextlib.suppress(OSError):
            listener.sendmsg([answer], address, 0, sender)


def question(name: str) -> bytes:
    """A DNS question for the IPv4 address of a name (RFC 1035)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def answered(query: bytes, names: dict[str, list[str]], asked: dict[str, int]) -> bytes:
    """The answer to a DNS question for an IPv4 address (RFC 1035); of several, each question gets the next one."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    name = ".".join(labels).lower()
    note(f"dns:{name}".encode())
    addresses = names.get(name, []) if query[at + 1 : at + 3] == b"\0\1" else []
    record = b""
    if addresses:
        asked[name] = asked.get(name, -1) + 1
        address = socket.inet_aton(addresses[asked[name] % len(addresses)])
        record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + address
    flags = 0x8180 if name in names else 0x8183
    head = query[:2] + struct.pack("!HHHHH", flags, 1, bool(record), 0, 0)
    return head + query[12 : at + 5] + record


def hear_pings(kinds: socket.AddressFamily) -> None:
    """Note the payload of every echo request that comes here; the kernel answers it."""
    protocol = socket.IPPROTO_ICMPV6 if kinds == socket.AF_INET6 else socket.IPPROTO_ICMP
    with contextlib.suppress(OSError), socket.socket(kinds, socket.SOCK_RAW, protocol) as raw:
        while True:
            packet = raw.recv(65536)
            message = packet if kinds == socket.AF_INET6 else packet[(packet[0] & 15) * 4 :]
            if message[0] in (8, 128):
                note(message[8:])


def hear_bare(kinds: socket.AddressFamily, protocol: int) -> None:
    """Note the payload of every packet of a protocol right above IP that comes here."""
    with contextlib.suppress(OSError), socket.socket(kinds, socket.SOCK_RAW, protocol) as raw:
        while True:
            packet = raw.recv(65536)
            note(packet if kinds == socket.AF_INET6 else packet[(packet[0] & 15) * 4 :])


def listen(request: dict[str, Any]) -> str:
    """Serve echoes on TCP and UDP ports of every address, and names on UDP port 53; hear pings and bare protocols."""
    for kinds in (socket.AF_INET, socket.AF_INET6):
        threading.Thread(target=hear_pings, args=(kinds,), daemon=True).start()
        for protocol in request.get("bare", []):
            threading.Thread(target=hear_bare, args=(kinds, protocol), daemon=True).start()
    for port in request.get("tcp", []):
        stream = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
        threading.Thread(target=serve_stream, args=(stream,), daemon=True).start()
    for port in request.get("udp", []):
        datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        datagrams.bind(("::", port))
        names = request.get("names", {}) if port == 53 else {}
        threading.Thread(target=serve_datagrams, args=(datagrams, names), daemon=True).start()
    return "listening"


def family(address: str) -> socket.AddressFamily:
    """The address family of a numeric address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def destination(request: dict[str, Any]) -> Any:
    """What `connect` takes; a link-local address may carry its interface (`fe80::1%eth0`)."""
    kinds = family(request["to"])
    return socket.getaddrinfo(request["to"], request["port"], kinds, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST)[0][4]


def by_tcp(request: dict[str, Any]) -> str:
    """Connect, send the token, expect it back."""
    with socket.socket(family(request["to"]), socket.SOCK_STREAM) as stream:
        stream.settimeout(request["seconds"])
        if request.get("bind"):
            stream.bind((request["bind"], 0))
        stream.connect(destination(request))
        return exchange(stream, request["token"])


def exchange(stream: socket.socket, token: str) -> str:
    """Send a token over a connection, expect it back."""
    stream.sendall(token.encode())
    answer = stream.recv(65536)
    return "passed" if answer == token.encode() else "garbled" if answer else "refused"


def by_udp(request: dict[str, Any]) -> str:
    """Send the token, expect it back; `size` fills it up, so that it travels in fragments."""
    payload = request["token"].encode() + b"|" + b"." * request.get("size", 0)
    with socket.socket(family(request["to"]), socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(request["seconds"])
        datagrams.connect(destination(request))
        datagrams.send(payload)
        return "passed" if datagrams.recv(65536) == payload else "garbled"


def by_icmp(request: dict[str, Any]) -> str:
    """Send an echo request, expect its reply."""
    six = family(request["to"]) == socket.AF_INET6
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    number = int.from_bytes(os.urandom(2), "big")
    payload: bytes = request["token"].encode()
    body = struct.pack("!HH", number, 1) + payload
    head = struct.pack("!BBH", 128 if six else 8, 0, 0)
    if not six:
        head = struct.pack("!BBH", 8, 0, checksum(head + body))
    with socket.socket(family(request["to"]), socket.SOCK_RAW, protocol) as raw:
        if request.get("bind"):
            raw.bind((request["bind"], 0))
        raw.connect(destination({**request, "port": 0}))
        raw.send(head + body)
        end = time.monotonic() + request["seconds"]
        while (left := end - time.monotonic()) > 0 and select.select([raw], [], [], left)[0]:
            packet = raw.recv(65536)
            message = packet if six else packet[(packet[0] & 15) * 4 :]
            if message[0] == (129 if six else 0) and message.endswith(payload):
                return "passed"
    return "silent"


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def udp_packet(request: dict[str, Any]) -> bytes:
    """A whole UDP packet from any source address, with its IP header."""
    kinds = family(request["to"])
    source, target = (bytes(socket.inet_pton(kinds, request[key])) for key in ("source", "to"))
    payload: bytes = request["token"].encode()
    length = 8 + len(payload)
    ports = struct.pack("!HHH", request.get("sport", 40000), request["port"], length)
    pseudo = (
        source + target + struct.pack("!IHBB", length, 0, 0, 17)
        if len(source) == 16
        else (source + target + struct.pack("!BBH", 0, 17, length))
    )
    datagram = ports + struct.pack("!H", checksum(pseudo + ports + bytes(2) + payload)) + payload
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, length, 17, 64) + source + target + datagram
    start = struct.pack("!BBHHHBB", 0x45, 0, 20 + length, 1, 0, 64, 17)
    return start + struct.pack("!H", checksum(start + bytes(2) + source + target)) + source + target + datagram


def by_raw(request: dict[str, Any]) -> str:
    """Send a packet made by hand; whether it passed, only the receiver can tell."""
    packet = udp_packet(request)
    with socket.socket(family(request["to"]), socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(packet, (request["to"], 0))
    return "sent"


def by_frame(request: dict[str, Any]) -> str:
    """Send a frame made by hand, past the sender's own IP layer."""
    packet = udp_packet(request)
    target = bytes.fromhex(request["mac"].replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((request["interface"], 0))
        own = raw.getsockname()[4]
        raw.send(target + own + struct.pack("!H", 0x86DD if packet[0] >> 4 == 6 else 0x0800) + packet)
    return "sent"


def by_bare(request: dict[str, Any]) -> str:
    """Send the token right above IP, by a protocol without ports; whether it passed, only the receiver can tell."""
    with socket.socket(family(request["to"]), socket.SOCK_RAW, request["protocol"]) as raw:
        if request.get("bind"):
            raw.bind((request["bind"], 0))
        raw.sendto(request["token"].encode() + b"|" + bytes(32), destination({**request, "port": 0}))
    return "sent"


def by_proxy(request: dict[str, Any]) -> str:
    """Ask a proxy to connect to a name, then send the token through; the proxy's refusal is `refused`."""
    with socket.socket(family(request["to"]), socket.SOCK_STREAM) as stream:
        stream.settimeout(request["seconds"])
        stream.connect(destination(request))
        target = f"{request['name']}:{request['name_port']}"
        stream.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = stream.recv(65536)
            if not more:
                break
            answer += more
        status = answer.split(b" ")[1:2]
        return exchange(stream, request["token"]) if status == [b"200"] else f"refused {b''.join(status).decode()}"


def by_name(request: dict[str, Any]) -> str:
    """Ask a name server for a name made of the token; `passed` when a resolver answers that there is none."""
    with socket.socket(family(request["to"]), socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(request["seconds"])
        datagrams.connect(destination(request))
        datagrams.send(question(f"{request['token']}.example.com"))
        answer = datagrams.recv(4096)
        # Docker's own name server says SERVFAIL for what it can't ask.
        return {2: "refused", 3: "passed"}.get(answer[3] & 15, "garbled")


def hold(request: dict[str, Any]) -> str:
    """Open a connection, or send a first datagram, and keep the socket under a name."""
    kind = socket.SOCK_DGRAM if request["kind"] == "udp" else socket.SOCK_STREAM
    opened = socket.socket(family(request["to"]), kind)
    opened.settimeout(request["seconds"])
    if request.get("bind"):
        opened.bind((request["bind"], request.get("sport", 0)))
    opened.connect(destination(request))
    held[request["name"]] = opened
    return exchange(opened, request["token"])


def use(request: dict[str, Any]) -> str:
    """Send over a socket that was kept."""
    opened = held[request["name"]]
    opened.settimeout(request["seconds"])
    return exchange(opened, request["token"])


def push(request: dict[str, Any]) -> str:
    """Say something unasked on every connection that was accepted here and is open."""
    for connection in accepted:
        with contextlib.suppress(OSError):
            connection.sendall(request["token"].encode())
    return "pushed"


def receive(request: dict[str, Any]) -> str:
    """Wait for a token on a socket that was kept."""
    opened = held[request["name"]]
    opened.settimeout(request["seconds"])
    return "passed" if opened.recv(65536) == request["token"].encode() else "garbled"


def flood(request: dict[str, Any]) -> str:
    """Send datagrams as fast as it goes for some seconds; the answer is how many."""
    sent = 0
    end = time.monotonic() + request["seconds"]
    with socket.socket(family(request["to"]), socket.SOCK_DGRAM) as datagrams:
        target = destination(request)
        while time.monotonic() < end:
            # A rejected datagram is reported on the next call; the flood goes on.
            with contextlib.suppress(OSError):
                datagrams.sendto(request["token"].encode(), target)
                sent += 1
    return str(sent)


def stream(request: dict[str, Any]) -> str:
    """Send over one connection as fast as it goes for some seconds; the answer is bytes per second that came back."""
    block = b"." * 65536
    with socket.socket(family(request["to"]), socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(destination(request))
        stop = threading.Event()

        def send() -> None:
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    connection.sendall(block)

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        began, received = time.monotonic(), 0
        while time.monotonic() - began < request["seconds"]:
            received += len(connection.recv(1 << 20))
        stop.set()
        return str(int(received / (time.monotonic() - began)))


def count(request: dict[str, Any]) -> str:
    """How often a token was seen."""
    with lock:
        return str(seen.get(request["token"], 0))


OPERATIONS = {
    "listen": listen,
    "tcp": by_tcp,
    "udp": by_udp,
    "icmp": by_icmp,
    "raw": by_raw,
    "frame": by_frame,
    "bare": by_bare,
    "proxy": by_proxy,
    "name": by_name,
    "hold": hold,
    "use": use,
    "push": push,
    "receive": receive,
    "flood": flood,
    "stream": stream,
    "count": count,
}


def attempt(request: dict[str, Any]) -> str:
    """Carry out a request; a refusal is an answer, anything unexpected is an error that names itself."""
    try:
        return OPERATIONS[request["op"]](request)
    except socket.timeout:  # noqa: UP041
        return "silent"
    except OSError as error:
        return "refused" if error.errno in REFUSALS else f"error: {error}"


def as_user(request: dict[str, Any]) -> str:
    """Carry out a request as another user, in a child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgid(request["uid"])
        os.setuid(request["uid"])
        os.write(writing, attempt(request).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text or "error: the child said nothing"


def main() -> None:
    """Answer requests until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        answer = as_user(request) if request.get("uid") else attempt(request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
