"""What asks one question: does a container start here? As an OCI bundle for a runtime, or as a program for an engine.

The program is a static ELF file of a few bytes, made here, so that nothing on the host is needed. It exits with
`EXIT_STATUS`, which can only come from inside.
"""

from __future__ import annotations

import json
import struct

from bulkhead.errors import BulkheadError
from bulkhead.look import Command

EXIT_STATUS = 42

ARCHITECTURE = Command("host.architecture", "uname -m")
"""What a capability that proves something by the probe needs to know of a host."""

_ELF_MACHINE = {"x86_64": 0x3E, "aarch64": 0xB7}
"""`e_machine` of the ELF header (System V ABI supplements for AMD64 and AArch64)."""

SECONDS = 5
"""How long the program lives when it is given an argument: an engine must have time to wait for it."""

_CODE = {
    "x86_64": (
        b"\x48\x8b\x04\x24"  # mov (%rsp),%rax: the number of arguments, with the program's name
        b"\x48\x83\xf8\x01\x7e\x10"  # cmp $1,%rax; jle exit
        + b"\x6a\x00\x6a"  # push $0: nanoseconds; push …
        + bytes([SECONDS])
        + b"\x48\x89\xe7\x31\xf6"  # mov %rsp,%rdi; xor %esi,%esi
        + b"\xb8\x23\x00\x00\x00\x0f\x05"  # mov $35,%eax (nanosleep); syscall
        # exit: mov $60,%eax (exit); mov $42,%edi; syscall
        + b"\xb8\x3c\x00\x00\x00\xbf"
        + struct.pack("<I", EXIT_STATUS)
        + b"\x0f\x05"
    ),
    "aarch64": struct.pack(
        "<12I",
        0xF94003E1,  # ldr x1, [sp]: the number of arguments, with the program's name
        0xF100043F,  # cmp x1, #1
        0x540000ED,  # b.le exit
        0xD2800002 | SECONDS << 5,  # mov x2, #…
        0xA9BF7FE2,  # stp x2, xzr, [sp, #-16]!
        0x910003E0,  # mov x0, sp
        0xD2800001,  # mov x1, #0
        0xD2800000 | 101 << 5 | 8,  # mov x8, #101 (nanosleep)
        0xD4000001,  # svc #0
        0xD2800000 | 93 << 5 | 8,  # exit: mov x8, #93 (exit)
        0xD2800000 | EXIT_STATUS << 5,  # mov x0, #42
        0xD4000001,  # svc #0
    ),
}

_BASE = 0x400000


def elf_machine(architecture: str) -> str:
    """`e_machine` as `od -An -tx2 -j18 -N2` prints it on a little-endian host."""
    return f"{_ELF_MACHINE[architecture]:04x}"


def program(architecture: str) -> bytes:
    """A static executable that exits with EXIT_STATUS."""
    code = _CODE[architecture]
    size = 64 + 56 + len(code)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", 2, _ELF_MACHINE[architecture], 1, _BASE + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    # One segment, readable and executable, holding the whole file.
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + code


def config() -> bytes:
    """The bundle's config.json: a network of its own and a writable root, as an engine gives every container."""
    return json.dumps(
        {
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["/probe"], "cwd": "/", "env": ["PATH=/"]},
            "root": {"path": "rootfs"},
            "hostname": "bulkhead-probe",
            "linux": {"namespaces": [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount")]},
        }
    ).encode()


def values(architecture: str) -> dict[str, object]:
    """What templates need to make the probe on a host of `architecture` (`uname -m`), and to recognise its answer.

    Raises BulkheadError when there is none for it.
    """
    if architecture not in _CODE:
        raise BulkheadError(
            f"there is no probe for {architecture or 'an unknown architecture'}",
            hint=f"Hosts that run sandboxes are {' or '.join(_CODE)}.",
        )
    return {"probe_program": program(architecture), "probe_config": config(), "probe_status": EXIT_STATUS}
