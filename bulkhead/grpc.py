"""Reading the few gRPC answers that a host's curl brings back: frames, and the fields of a protobuf message.

curl speaks HTTP/2 over a Unix socket, so a daemon can be asked for its own effective configuration on a host that has
none of the debugging tools (crictl and the like) installed.
Sources: gRPC over HTTP2 (length-prefixed messages); Protocol Buffers' wire format.
"""

from __future__ import annotations

from collections.abc import Iterator


def frames(data: bytes) -> list[bytes]:
    """The messages in the bodies of one or more answers.

    Raises ValueError when the data ends in the middle of one.
    """
    found = []
    while data:
        length = int.from_bytes(data[1:5], "big")
        if len(data) < 5 + length:
            raise ValueError("the answer is cut off")
        found.append(data[5 : 5 + length])
        data = data[5 + length :]
    return found


def fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a message: number and value; numbers as int, strings and messages as bytes.

    Raises ValueError for anything that is not protobuf.
    """
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if kind == 2:
            length, position = _varint(message, position)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")
        if position + length > len(message):
            raise ValueError("the message is cut off")
        yield number, message[position : position + length]
        position += length


def strings(message: bytes) -> Iterator[tuple[int, str]]:
    """The text fields of a message: number and text.

    Raises ValueError for anything that is not protobuf or not UTF-8.
    """
    for number, value in fields(message):
        if isinstance(value, bytes):
            yield number, value.decode()


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
        shift += 7
    raise ValueError("the message is cut off")
