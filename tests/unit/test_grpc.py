"""gRPC frames and protobuf fields, against bytes written by hand from the two specifications."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.grpc import fields, frames, strings

VERSION = b"\x0a\x061.7.24\x12\x03abc"
"""containerd's VersionResponse: field 1 `version`, field 2 `revision`."""


def test_one_frame_and_several() -> None:
    assert frames(b"\0\0\0\0\x03abc") == [b"abc"]
    assert frames(b"\0\0\0\0\x03abc\0\0\0\0\0\0\0\0\x01\x00" + bytes(256)) == [b"abc", b"", bytes(256)]


def test_no_answer_is_no_frame() -> None:
    assert frames(b"") == []


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\0", b"\0\0\0\0\x03ab", b"\0\0\0\0\x01a\0\0", b"<html>"])
def test_a_frame_that_is_cut_off(data: bytes) -> None:
    with pytest.raises(ValueError, match="the answer is cut off"):
        frames(data)


def test_fields_of_every_kind() -> None:
    message = (
        b"\x08\x96\x01"  # 1: varint 150
        b"\x12\x07testing"  # 2: bytes
        b"\x1d\x01\x02\x03\x04"  # 3: 32 bits
        b"\x21\x01\x02\x03\x04\x05\x06\x07\x08"  # 4: 64 bits
        b"\x82\x01\x00"  # 16: empty bytes
    )
    assert list(fields(message)) == [
        (1, 150),
        (2, b"testing"),
        (3, b"\x01\x02\x03\x04"),
        (4, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
        (16, b""),
    ]


def test_text_fields() -> None:
    assert list(strings(VERSION)) == [(1, "1.7.24"), (2, "abc")]
    assert list(strings(b"\x08\x01" + VERSION)) == [(1, "1.7.24"), (2, "abc")]


def test_text_that_is_not_utf_8() -> None:
    with pytest.raises(UnicodeDecodeError):
        list(strings(b"\x0a\x01\xff"))


@pytest.mark.parametrize("message", [b"\x08", b"\x08\x80", b"\x0a\x05abc", b"\x0a", b"\x1d\x01\x02", b"\x21\x01"])
def test_a_message_that_is_cut_off(message: bytes) -> None:
    with pytest.raises(ValueError, match="the message is cut off"):
        list(fields(message))


def test_groups_are_not_protobuf_of_ours() -> None:
    with pytest.raises(ValueError, match="unknown wire type 3"):
        list(fields(b"\x0b\x0c"))


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for reader in (frames, lambda data: list(fields(data)), lambda data: list(strings(data))):
        try:
            reader(data)
        except ValueError:
            continue
