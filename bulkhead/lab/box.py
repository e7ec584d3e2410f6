"""The lab's box: a Debian root file system from packages, packed for vagrant-libvirt, cached by what went into it."""

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from bulkhead import files
from bulkhead.errors import BulkheadError
from bulkhead.lab import apt_sources
from bulkhead.progress import Step

SUITES = ("trixie", "bookworm")
DISK_GIB = 8

PACKAGES = (
    "apparmor",  # dockerd loads its own profile with it
    "auditd",
    "bzip2",
    "busybox-static",
    "ca-certificates",
    "containerd",
    "curl",
    "dbus",
    "docker.io",
    "iproute2",
    "iptables",
    "kmod",
    "linux-image-cloud-amd64",
    "nftables",
    "openssh-server",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
    "unattended-upgrades",
    "xz-utils",
    "zstd",
)
# Debian 13 packages Docker's client apart from its daemon.
EXTRA_PACKAGES = {"trixie": ("docker-cli",), "bookworm": ()}

# Nobody reads manuals in the lab, and every file costs time when the image is made.
DPKG_OPTIONS = tuple(
    f"path-{rule}"
    for rule in (
        "exclude=/usr/share/man/*",
        "exclude=/usr/share/locale/*",
        "exclude=/usr/share/doc/*",
        "exclude=/usr/share/info/*",
        "include=/usr/share/doc/*/copyright",
    )
)

# A small initial RAM disk starts faster: only what finds the root file system on a virtio disk.
INITRAMFS = {
    "etc/initramfs-tools/conf.d/lab": "MODULES=list\nBUSYBOX=n\nRESUME=none\nFSTYPE=ext4\n",
    "usr/share/initramfs-tools/modules.d/lab": "virtio_pci\nvirtio_blk\next4\n",
}

VAGRANTFILE = dedent(
    """\
    Vagrant.configure("2") do |config|
      config.vm.provider :libvirt do |libvirt|
        libvirt.kernel = File.expand_path("vmlinuz", __dir__)
        libvirt.initrd = File.expand_path("initrd.img", __dir__)
        libvirt.cmd_line = "root=/dev/vda rw net.ifnames=0 console=ttyS0"
      end
    end
    """
)
METADATA = {"provider": "libvirt", "format": "qcow2", "virtual_size": DISK_GIB}
GUEST_SCRIPT = Path(__file__).with_name("guest.sh")


@dataclass(frozen=True)
class Recipe:
    """All that a box is made of. Where the packages come from is not part of it: Debian signs them."""

    suite: str
    public_key: str

    @property
    def packages(self) -> tuple[str, ...]:
        return tuple(sorted((*PACKAGES, *EXTRA_PACKAGES[self.suite])))

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change with any part of the recipe."""
        parts = [
            self.suite,
            self.public_key,
            self.packages,
            DPKG_OPTIONS,
            INITRAMFS,
            VAGRANTFILE,
            METADATA,
            GUEST_SCRIPT.read_text(),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """The box's name in Vagrant and, with `.box`, its file's."""
        return f"{self.suite}-{self.digest}"


def recipe(suite: str, public_key: str) -> Recipe:
    """The recipe of the box for `suite`. Raises BulkheadError for a suite or a machine that the lab doesn't know."""
    if suite not in SUITES:
        raise BulkheadError(f"the lab has no box for {suite!r}", hint=f"Known suites: {', '.join(SUITES)}.")
    machine = os.uname().machine
    if machine != "x86_64":
        raise BulkheadError(
            f"the lab's boxes are for x86_64, and this machine is {machine}",
            hint="Run the lab on an x86_64 machine, or name a ready-made box in BULKHEAD_BOX.",
        )
    return Recipe(suite, public_key)


def build(
    recipe: Recipe, boxes: Path, public_key_file: Path, sources: Sequence[apt_sources.Source], proxy: str, step: Step
) -> Path:
    """The file of the recipe's box in `boxes`, built if it isn't there yet; other boxes of its suite are removed.

    `proxy` is the URL that packages are fetched through.
    """
    box = boxes / f"{recipe.name}.box"
    if not box.exists():
        with _workspace() as work:
            _make_root(recipe, work, public_key_file, sources, proxy, step)
            _make_image(work, step)
            step.note("packing the box")
            (work / "metadata.json").write_text(json.dumps(METADATA))
            (work / "Vagrantfile").write_text(VAGRANTFILE)
            with files.replacing(box) as partial, tarfile.open(partial, "w") as archive:
                for name in ("metadata.json", "Vagrantfile", "vmlinuz", "initrd.img", "box.img"):
                    archive.add(work / name, name)
        step.note(f"built, {box.stat().st_size / 1e6:.0f} MB")
    else:
        step.note("from the cache")
    for other in boxes.glob(f"{recipe.suite}-*.box"):
        if other != box:
            other.unlink()
    return box


@contextmanager
def _workspace() -> Iterator[Path]:
    # Not in the home directory: mmdebstrap's user namespace can't enter one that is private.
    parent = Path("/var/tmp")
    for abandoned in parent.glob("bulkhead-box-*"):
        if abandoned.stat().st_uid == os.getuid():
            shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="bulkhead-box-", dir=parent, ignore_cleanup_errors=True) as work:
        Path(work).chmod(0o755)
        yield Path(work)


def _make_root(
    recipe: Recipe, work: Path, public_key_file: Path, sources: Sequence[apt_sources.Source], proxy: str, step: Step
) -> None:
    step.note("installing Debian packages")
    overlay = work / "overlay"
    for name, text in INITRAMFS.items():
        path = overlay / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copy(public_key_file, work / "key.pub")
    shutil.copy(GUEST_SCRIPT, work / "guest.sh")
    # As root mmdebstrap mounts /proc, /sys and devices into the new system. In a mount namespace of its own these
    # end with it, however it ends, and never lie in the way of what cleans up.
    apart = ["unshare", "--mount"] if os.geteuid() == 0 else []
    step.run(
        [
            *apart,
            "mmdebstrap",
            "--variant=minbase",
            f"--include={','.join(recipe.packages)}",
            f'--aptopt=Acquire::http::Proxy "{proxy}"',
            '--aptopt=Acquire::Languages "none"',
            "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt={option}" for option in DPKG_OPTIONS),
            f'--essential-hook=cp -R {overlay}/. "$1"',
            f'--customize-hook=sh {work}/guest.sh "$1" {work}/key.pub',
            "--skip=cleanup/apt/lists,cleanup/reproducible",
            recipe.suite,
            work / "root.tar",
            *(source.line for source in sources),
        ],
        env={"TMPDIR": str(work)},
    )


def _make_image(work: Path, step: Step) -> None:
    step.note("making the disk image")
    script = (
        "mkdir root && tar -xf root.tar -C root && rm root.tar && rm -f root/etc/apt/apt.conf.d/99mmdebstrap && "
        "cp root/boot/vmlinuz-* vmlinuz && cp root/boot/initrd.img-* initrd.img && "
        f"mke2fs -q -t ext4 -L root -E nodiscard -d root box.raw {DISK_GIB}G"
    )
    as_root = [] if os.geteuid() == 0 else ["fakeroot"]
    step.run([*as_root, "sh", "-ec", script], cwd=work)
    step.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "box.raw", "box.img"], cwd=work)
