"""Bringing the lab up and taking it down: each step looks at what is there and does what is missing.

That makes `up` on a running lab quick, and lets it recover after an interruption at any point.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bulkhead import files
from bulkhead.errors import BulkheadError
from bulkhead.lab import (
    apt_sources,
    box,
    gvisor_origin,
    keys,
    kvm,
    libvirt,
    machines,
    packages,
    paths,
    proxy,
    release_server,
)
from bulkhead.lab.lock import alone
from bulkhead.lab.state import STATE_FILE, GvisorState, LabState, MachineState
from bulkhead.progress import Step, Steps

DEFAULT_SUITE = "trixie"
DEFAULT_MACHINES = ("gvisor",)
RELEASES = paths.LAB / "releases"


@dataclass(frozen=True)
class _Image:
    """What the machines boot: the lab's own box, or a ready-made one by name."""

    name: str
    driver: str
    key: Path


def up(
    machine_names: Sequence[str] = DEFAULT_MACHINES,
    suite: str = DEFAULT_SUITE,
    steps: Steps | None = None,
    *,
    anew: bool = False,
    patience: float = 0,
) -> LabState:
    """Bring these machines up on the Debian `suite`, with all that they need, and say how to reach them.

    Machines that run already are left as they are, unless the box's recipe has changed since; with `anew` they are
    made again from the box, and whatever was on them is gone. A lab of another suite has to be taken down first.
    Another command that changes the lab is waited for, `patience` seconds long.
    Raises BulkheadError with what to do when something is missing or fails.
    """
    steps = steps or Steps(paths.LOGS)
    subnet = libvirt.subnet()
    wanted = [machines.machine(name, subnet) for name in machine_names]
    already_done = len(steps.done)
    with alone(patience):
        _refuse_another_checkout()
        before = _state()
        with steps("Check the Debian packages") as step:
            codename = packages.codename(Path("/etc/os-release").read_text())
            packages.ensure(codename, step)
        with steps("Start libvirt") as step:
            libvirt.ensure_daemon(step)
            _refuse_another_suite(before, suite)
            libvirt.ensure_network(subnet, machines.NAMES, step)
            libvirt.ensure_pool(step)
        with steps("Start the package proxy"):
            sources = apt_sources.for_suite(apt_sources.read(), codename, suite)
            proxy_url = proxy.ensure(sources, subnet.host)
        image = _image(suite, subnet, sources, proxy_url, steps)
        with steps("Find gVisor") as step:
            release_url = release_server.ensure(RELEASES, subnet.host)
            gvisor = _gvisor(before, suite, release_url, step)
        for machine in wanted:
            with steps(f"Start {machine.name}") as step:
                if anew:
                    machines.remove(machine)
                machines.start(machine, image.name, image.key, step)
                step.note("waiting for its services")
                machines.prepare(machine, image.key, proxy_url, sources, step)
                step.note(machine.address)
        kept = before.machines if before is not None else {}
        running = libvirt.domains()
        state = LabState(
            suite=suite,
            driver=image.driver,
            box=image.name,
            proxy=proxy_url,
            machines={
                machine.name: MachineState(
                    address=machine.address,
                    port=machines.PORT,
                    user=machines.USER,
                    ssh_key=machines.key_of(machine, image.key),
                    known_hosts=machines.KNOWN_HOSTS,
                )
                for machine in (machines.machine(name, subnet) for name in machines.NAMES)
                if machine in wanted or (machine.name in kept and running.get(machine.domain) == "running")
            },
            gvisor=gvisor,
            timings={step.title: round(step.seconds, 1) for step in steps.done[already_done:]},
        )
        state.save()
    return state


def down(steps: Steps | None = None) -> None:
    """Take the lab down: its machines and their disks, its network, and the processes it started.

    What is worth keeping (boxes, fetched packages, gVisor builds) stays in the user's cache.
    """
    steps = steps or Steps(paths.LOGS)
    with alone(), steps("Take the lab down") as step:
        STATE_FILE.unlink(missing_ok=True)
        if machines.any_known() or libvirt.answers():
            libvirt.ensure_daemon(step)
            for name in machines.NAMES:
                machines.remove(machines.machine(name, libvirt.subnet()))
            libvirt.remove_network()
        release_server.DAEMON.stop()
        proxy.DAEMON.stop()
        libvirt.stop_daemon()


def _image(
    suite: str, subnet: libvirt.Subnet, sources: Sequence[apt_sources.Source], proxy_url: str, steps: Steps
) -> _Image:
    ready_made = machines.ready_made_box()
    if ready_made:
        with steps("Try hardware virtualisation") as step:
            key = keys.ensure(step)
            driver = kvm.driver(kvm.host_kernel())
            step.note(driver)
        machines.write_settings(subnet, key, recipe=None, box=None, driver=driver)
        return _Image(ready_made, driver, key)
    with steps("Build the box") as step:
        key = keys.ensure(step)
        public_key = key.with_suffix(".pub")
        recipe = box.recipe(suite, public_key.read_text())
        file = box.build(recipe, paths.cache() / "boxes", public_key, sources, proxy.local_url(proxy_url), step)
        machines.add_box(recipe, file, step)
    with steps("Try hardware virtualisation") as step:
        driver = _driver(recipe, step)
        step.note({"kvm": "KVM", "qemu": "emulation"}[driver])
    machines.write_settings(subnet, key, recipe=recipe, box=file, driver=driver)
    return _Image(recipe.name, driver, key)


def _driver(recipe: box.Recipe, step: Step) -> str:
    """As `kvm.driver`, tried once per boot of this computer."""
    known = paths.RUN / "driver"
    key = f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {kvm.chosen()}"
    tried, _, driver = known.read_text().rpartition(" ") if known.exists() else ("", "", "")
    if tried != key:
        step.note("booting a kernel under KVM")
        driver = kvm.driver(machines.box_folder(recipe.name) / "vmlinuz")
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(f"{key} {driver}")
    return driver


def _gvisor(before: LabState | None, suite: str, url: str, step: Step) -> GvisorState:
    if before is not None and gvisor_origin.still_published(before.gvisor, RELEASES, url):
        gvisor = before.gvisor
    else:
        gvisor = gvisor_origin.publish(gvisor_origin.find(suite, step), RELEASES, url)
    step.note(f"{gvisor.origin}: {gvisor.release or gvisor.detail}")
    return gvisor


def _refuse_another_checkout() -> None:
    """The user has one lab: what another checkout has started holds its addresses and ports."""
    known = paths.cache() / "lab.checkout"
    other = Path(known.read_text()) if known.exists() else paths.CHECKOUT
    if other != paths.CHECKOUT and replace(proxy.DAEMON, run=paths.run_of(other)).command is not None:
        raise BulkheadError(f"the lab is up, from another checkout: {other}", hint="Take it down there: make lab-down.")
    files.write(known, str(paths.CHECKOUT))


def _refuse_another_suite(before: LabState | None, suite: str) -> None:
    if before is not None and before.suite != suite and any(d.startswith("bulkhead-") for d in libvirt.domains()):
        raise BulkheadError(
            f"the lab is up with {before.suite} machines, not {suite}", hint="Take it down first: make lab-down."
        )


def _state() -> LabState | None:
    """The state that an earlier `up` left, if it can be used."""
    try:
        return LabState.load()
    except BulkheadError:
        return None
