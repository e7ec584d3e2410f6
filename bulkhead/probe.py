"""An OCI bundle that asks one question: can this runsc start a networked sandbox on this kernel?

The program in it is a static ELF file of a few bytes, made here, so that nothing on the host is needed. It exits with
`EXIT_STATUS`, which can only come from inside.
"""

from __future__ import annotations

import json
import struct

EXIT_STATUS = 42

_ELF_MACHINE = {"x86_64": 0x3E, "aarch64": 0xB7}
"""`e_machine` of the ELF header (System V ABI supplements for AMD64 and AArch64)."""

_CODE = {
    # mov $60,%eax (exit); mov $42,%edi; syscall
    "x86_64": b"\xb8" + struct.pack("<I", 60) + b"\xbf" + struct.pack("<I", EXIT_STATUS) + b"\x0f\x05",
    # mov x8,#93 (exit); mov x0,#42; svc #0
    "aarch64": struct.pack("<III", 0xD2800000 | 93 << 5 | 8, 0xD2800000 | EXIT_STATUS << 5, 0xD4000001),
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
