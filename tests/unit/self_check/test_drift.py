"""The self-check seen from outside, and what the inventory makes of a host that has one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bulkhead.capability import check_inventory, files_of, needs_of, pins_of, watched
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import FoundFile, Look, Output
from deploys.self_check import description, drift, facts
from deploys.self_check.description import PROGRAM, SERVICE, SERVICE_FILE, STATE, TIMER, TIMER_FILE
from deploys.self_check.settings import SelfCheckSettings
from tests.unit.docker.test_drift import legacy
from tests.unit.hardening.test_drift import clean
from tests.unit.helpers import answered, compared, legacy_host, own, unit

HOST = legacy_host(self_check={})
DIRECTORY = "/var/lib/prometheus/node-exporter"
STATES = "enabled\nactive\nsuccess"


def looked(host: InventoryHost = HOST) -> Look:
    """A look at a host with Docker and a hardening as deploys leave them, and no self-check."""
    docker, hardened = legacy(), clean("legacy_hosts")
    bare = answered(watched(host), {}, {})
    outputs = {**bare.outputs, **docker.outputs, **hardened.outputs}
    outputs["self_check.watched"] = Output(0, f"{unit(SERVICE)}\n{unit(TIMER)}\n---\n".encode(), b"")
    outputs[facts.STATES] = Output(0, STATES.encode(), b"")
    collector = FoundFile("directory", b"", 0o755, "root", "root")
    return Look({**bare.files, **docker.files, **hardened.files, DIRECTORY: collector}, outputs)


def delivered(look: Look, host: InventoryHost = HOST) -> Look:
    """The same host after the deploy of the self-check."""
    text = description.program(host, pins_of(host, look))
    wanted = SelfCheckSettings()
    files = {
        PROGRAM: own(text, 0o700),
        SERVICE_FILE: own(description.service(host, wanted, text)),
        TIMER_FILE: own(description.timer(wanted)),
    }
    return Look({**look.files, **files}, look.outputs)


def found(look: Look, host: InventoryHost = HOST) -> list[tuple[str, str]]:
    return [(one.subject, one.severity) for one in compared(drift.drift, host, look)]


def test_as_a_deploy_leaves_it() -> None:
    assert found(delivered(looked())) == []


def test_the_program_does_not_go_by_what_was_there_before() -> None:
    """The look of the run that brings it all about and that of the next one make the same program."""
    after = delivered(looked())
    program = after.files[PROGRAM]
    assert program
    # Before it nothing of egress and hardening was there, no package, and nothing was live.
    nothing = answered(watched(HOST), {}, {})
    kept = ("hardening.grub", "hardening.user", "hardening.sshd")
    outputs = {
        name: answer
        for name, answer in nothing.outputs.items()
        if name.startswith(("egress.", "hardening.")) and name not in kept
    }
    files = {path: None for path in after.files if path.startswith(("/etc/sysctl.d", "/etc/audit", "/etc/bulkhead"))}
    before = Look({**looked().files, **files}, {**after.outputs, **outputs})
    assert description.program(HOST, pins_of(HOST, before)) == program.content


def test_hosts_with_the_same_settings_have_the_same_program() -> None:
    """So that one which differs shows by its digest; also where each has a policy, and a proxy."""
    agents = {"alpha": {"subnet4": "172.30.1.0/24", "names": {"api.example.com": [443]}}}
    egress = {**HOST.data["egress"], "agents": agents}
    one, other = (replace(legacy_host(self_check={}, egress=egress), name=name) for name in ("old-1", "old-2"))
    assert description.program(one, pins_of(one, looked(one))) == description.program(
        other, pins_of(other, looked(other))
    )
    assert not [path for path, content in files_of(other).items() if b"old-2" in content]


def test_a_program_that_was_tampered_with_on_its_own_and_with_its_unit() -> None:
    look = delivered(looked())
    program = look.files[PROGRAM]
    assert program
    evil = program.content.replace(b"critical", b"info")
    alone = Look({**look.files, PROGRAM: own(evil, 0o700)}, look.outputs)
    assert found(alone) == [(PROGRAM, "critical")]
    units = {SERVICE_FILE: own(description.service(HOST, SelfCheckSettings(), evil))}
    both = Look({**alone.files, **units}, look.outputs)
    assert found(both) == [(PROGRAM, "critical"), (SERVICE_FILE, "critical")]


def test_what_the_user_wrote_since_is_no_tampering() -> None:
    look = delivered(looked())
    changed = look.files["/etc/docker/daemon.json"]
    assert changed
    edited = own(changed.content.replace(b"{", b'{"debug": true,', 1))
    assert edited.content != changed.content
    assert found(Look({**look.files, "/etc/docker/daemon.json": edited}, look.outputs)) == []


@pytest.mark.parametrize(
    ("states", "units", "expected"),
    [
        ("enabled\ninactive\nsuccess", unit(TIMER, active="inactive"), [(f"unit {TIMER}", "critical")]),
        ("enabled\nactive\nexit-code", unit(TIMER), [(f"unit {SERVICE}", "critical")]),
        ("masked\ninactive\nsuccess", unit(TIMER, "inactive", "masked", "masked"), [(f"unit {TIMER}", "critical")]),
    ],
)
def test_a_timer_that_does_not_run_and_a_check_that_fails(
    states: str, units: str, expected: list[tuple[str, str]]
) -> None:
    look = delivered(looked())
    shown = f"{unit(SERVICE, active='inactive', enabled='static')}\n{units}\n---\n"
    outputs = {
        facts.STATES: Output(0, states.encode(), b""),
        "self_check.watched": Output(0, shown.encode(), b""),
    }
    assert found(Look(look.files, {**look.outputs, **outputs})) == expected


def test_a_host_that_is_to_be_without() -> None:
    plain = legacy_host()
    nothing = answered(needs_of(plain), {}, {})
    assert found(nothing, plain) == []
    left = Look({**nothing.files, TIMER_FILE: own("x")}, nothing.outputs)
    assert found(left, plain) == [(TIMER_FILE, "warning")]


def test_a_host_without_the_collector_s_directory_is_refused_with_what_to_do() -> None:
    look = looked()
    with pytest.raises(BulkheadError) as raised:
        facts.refuse_without_directory(SelfCheckSettings(), Look({**look.files, DIRECTORY: None}, look.outputs))
    assert raised.value.message.startswith(f"{DIRECTORY}: is not there")
    assert "prometheus-node-exporter" in raised.value.hint
    assert "self_check.textfile_directory" in raised.value.hint
    facts.refuse_without_directory(SelfCheckSettings(), look)


def test_render_prints_what_the_inventory_alone_decides() -> None:
    check_inventory([HOST])
    assert TIMER_FILE in files_of(HOST)
    assert TIMER_FILE not in files_of(legacy_host())
    assert STATE == "/var/lib/bulkhead-drift-self"
