"""Whether this machine can really run guests in hardware: by trying, as /dev/kvm may exist and boot nothing."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

from bulkhead.errors import BulkheadError

DRIVER_VARIABLE = "BULKHEAD_LAB_DRIVER"
DRIVERS = ("kvm", "qemu")
PROBE_SECONDS = 8.0


def chosen() -> str:
    """The driver that the user asks for, if any. Raises BulkheadError for one that doesn't exist."""
    name = os.environ.get(DRIVER_VARIABLE, "")
    if name and name not in DRIVERS:
        raise BulkheadError(f"{DRIVER_VARIABLE}: no driver {name!r}", hint=f"Known: {', '.join(DRIVERS)}.")
    return name


def driver(kernel: Path | None, device: Path = Path("/dev/kvm")) -> str:
    """`kvm` if `kernel` boots with it here, else `qemu` (emulation), unless the user chose one.

    Without a kernel to try, `kvm` if the device may be used.
    """
    usable = os.access(device, os.R_OK | os.W_OK)
    return chosen() or ("kvm" if usable and (kernel is None or boots(kernel)) else "qemu")


def host_kernel() -> Path | None:
    """A kernel of this machine's own to try with, if one can be read."""
    return next((path for path in sorted(Path("/boot").glob("vmlinuz-*")) if os.access(path, os.R_OK)), None)


def boots(kernel: Path, accelerator: str = "kvm", seconds: float = PROBE_SECONDS) -> bool:
    """Whether `kernel` says anything on its serial console within `seconds` under QEMU's `accelerator`."""
    with tempfile.TemporaryDirectory(prefix="bulkhead-kvm-") as folder:
        console = Path(folder, "console")
        console.touch()
        process = subprocess.Popen(
            [
                "qemu-system-x86_64",
                *("-accel", accelerator, "-cpu", "max", "-m", "256", "-display", "none", "-nodefaults", "-no-reboot"),
                *("-kernel", str(kernel), "-append", "console=ttyS0 earlyprintk=ttyS0 panic=-1"),
                *("-serial", f"file:{console}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                # A kernel that booted far enough panics for want of a root file system, and QEMU ends.
                ended = process.poll() is not None
                if b"Linux version" in console.read_bytes():
                    return True
                if ended:
                    return False
                time.sleep(0.1)
            return False
        finally:
            process.kill()
            process.wait()
