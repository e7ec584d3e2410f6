"""What a host says of its own runsc: real files, real links."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from bulkhead.drift.pins import Pin, Search
from deploys.gvisor import pins
from deploys.gvisor.release import STAT
from tests.unit.gvisor.test_drift import clean
from tests.unit.helpers import as_root, gvisor_host
from tests.unit.self_check.running import Host, Run, host

pytestmark = as_root

PROGRAMS = {"runsc": b"runsc", "containerd-shim-runsc-v1": b"shim", "gvisor-bin/gvisor_sentry": b"sentry"}


def sha512(content: bytes) -> str:
    return hashlib.sha512(content).hexdigest()


def installed(tmp_path: Path) -> Host:
    """A host as an installation leaves it, below a directory of the test's."""
    directory, binaries = tmp_path / "opt" / "20260914.0", tmp_path / "bin"
    for name, content in PROGRAMS.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
        (directory / name).chmod(0o755)
    loose = {name: sha512(content) for name, content in PROGRAMS.items() if "/" not in name}
    lines = [*(f"# {digest}  {name}" for name, digest in loose.items())]
    lines += [f"{sha512(content)}  {name}" for name, content in PROGRAMS.items()]
    (directory / "SHA512SUMS").write_text("\n".join(lines) + "\n")
    stamp = subprocess.check_output(["sh", "-c", f"{STAT} {' '.join(PROGRAMS)}"], cwd=directory)
    (directory / ".installed").write_bytes(stamp)
    directory.chmod(0o755)
    (tmp_path / "opt" / "current").symlink_to("20260914.0")
    binaries.mkdir()
    for name in loose:
        (binaries / name).symlink_to(tmp_path / "opt" / "current" / name)
    (tmp_path / "sbin").mkdir()
    described = gvisor_host(gvisor={"release": "20260914.0", "sha512": {"x86_64": loose}})
    checks = pins.of(described, clean())
    assert {type(one) for one in checks} == {Pin, Search}
    replaced = {
        "/opt/gvisor": str(tmp_path / "opt"),
        "/usr/local/bin/": f"{binaries}/",
        "PATH=/usr/local/sbin:/usr/local/bin:": f"PATH={tmp_path}/sbin:{binaries}:",
        # This machine's own daemons are not asked.
        "systemctl show --property MainPID": "echo 0; : ",
    }
    return host(tmp_path, *checks, replaced=replaced)


def checked(tmp_path: Path, script: str) -> Run:
    here = installed(tmp_path)
    before = here.run()
    assert (before.status, before.said, before.errors) == (0, "", "")
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True)
    return here.run()


TAMPERS = {
    "runsc of another build": ("echo x >>opt/current/runsc", ["{opt}/20260914.0/runsc"]),
    "a sidecar": ("echo x >opt/current/gvisor-bin/gvisor_sentry", ["{opt}/20260914.0/gvisor-bin/gvisor_sentry"]),
    "a shim that is gone": (
        "rm opt/20260914.0/containerd-shim-runsc-v1",
        ["{opt}/20260914.0/containerd-shim-runsc-v1"],
    ),
    "runsc with a digest of its own in the manifest": (
        "cd opt/current; echo x >>runsc; was=$(sed -n 's/  runsc$//p' SHA512SUMS | tail -n 1);"
        " sed -i \"s/$was/$(sha512sum <runsc | cut -d' ' -f1)/\" SHA512SUMS",
        ["{opt}/20260914.0/runsc"],
    ),
    "a mode": ("chmod 0777 opt/20260914.0/runsc", ["{opt}/20260914.0: mode"]),
    "a directory that others can write to": ("chmod 0777 opt/20260914.0", ["{opt}/20260914.0: mode"]),
    "no release": ("rm -r opt/20260914.0", ["{opt}/20260914.0"]),
    "another release": ("cp -rp opt/20260914.0 opt/other; ln -sfn other opt/current", ["{opt}/current"]),
    "a link to elsewhere": ("ln -sfn /bin/true bin/runsc", ["{bin}/runsc"]),
    "another runsc before ours": ("cp /bin/true sbin/runsc", ["{sbin}/runsc"]),
    "another shim before ours": (
        "cp /bin/true sbin/containerd-shim-runsc-v1",
        ["{sbin}/containerd-shim-runsc-v1"],
    ),
    "a link to ours before ours": ("ln -s ../bin/runsc sbin/runsc", []),
}


@pytest.mark.parametrize(("script", "subjects"), TAMPERS.values(), ids=TAMPERS)
def test_what_was_tampered_with(script: str, subjects: list[str], tmp_path: Path) -> None:
    run = checked(tmp_path, script)
    places = {name: tmp_path / name for name in ("opt", "bin", "sbin")}
    assert run.found == [f"critical gVisor {subject.format(**places)}" for subject in subjects]
    assert run.status == (2 if subjects else 0)
