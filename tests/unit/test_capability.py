"""Capabilities: which there are, to whom they apply, and what is said of a wrong inventory."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bulkhead import capability, look
from bulkhead.capability import (
    Capability,
    check_inventory,
    discover,
    findings_of,
    needs_of,
    refuse_unknown_runtime,
    runtimes_of,
    watched,
)
from bulkhead.drift.comparison import Comparison
from bulkhead.drift.finding import Finding
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Command, File, Look
from bulkhead.runtime import to_prove
from tests.unit.helpers import RUNSC, gvisor_host, sh

EGRESS = {"management": ["192.0.2.0/24"]}


def named(name: str, *groups: str, **data: Any) -> InventoryHost:
    return InventoryHost(name, frozenset(groups), data)


def test_every_folder_of_deploys_is_a_capability() -> None:
    names = {"leftovers", "hardening", "egress", "gVisor", "containerd", "Docker", "runtimes", "watch", "self_check"}
    assert {capability.name for capability in discover()} == names
    assert len(discover()) == 9


@pytest.mark.parametrize(
    ("engines", "names"),
    [
        (["docker"], {"leftovers", "hardening", "egress", "gVisor", "runtimes", "Docker", "self_check"}),
        (["containerd"], {"leftovers", "hardening", "egress", "gVisor", "runtimes", "containerd", "self_check"}),
        (
            ["containerd", "docker"],
            {"leftovers", "hardening", "egress", "gVisor", "runtimes", "containerd", "Docker", "self_check"},
        ),
    ],
)
def test_an_engine_that_a_host_has_not_got_is_left_alone(engines: list[str], names: set[str]) -> None:
    host = gvisor_host(engines=engines)
    assert {capability.name for capability in discover() if capability.applies(host)} == names


def test_a_legacy_host_gets_nothing_of_gvisor() -> None:
    host = named("old", "legacy_hosts", "all", engines=["docker"], egress=EGRESS)
    applying = {capability.name for capability in discover() if capability.applies(host)}
    assert applying == {"leftovers", "hardening", "egress", "Docker", "self_check"}
    needs = needs_of(host)
    assert File("/etc/sysctl.d/zz-bulkhead.conf") in needs
    assert not [need for need in needs if isinstance(need, Command) and need.name.startswith("gvisor.")]


def test_a_control_node_is_watched_from_and_nothing_else() -> None:
    watch = {"checkout": "/srv/bulkhead", "inventory": "inventories/production.py", "user": "watch"}
    node = named("@local", "control_nodes", "all", watch=watch)
    check_inventory([node])
    assert {capability.name for capability in discover() if capability.applies(node)} == {"leftovers", "watch"}


def test_a_look_brings_what_the_host_s_capabilities_need_and_no_more() -> None:
    needs = needs_of(gvisor_host(engines=["docker"]))
    assert File("/etc/docker/daemon.json") in needs
    assert File("/etc/containerd/config.toml") not in needs
    assert "gvisor.release" in [need.name for need in needs if isinstance(need, Command)]


def test_a_right_inventory_passes() -> None:
    check_inventory(
        [gvisor_host(dockerfile="ours"), named("old", "legacy_hosts", "web", engines=["docker"], egress=EGRESS)]
    )


def test_everything_wrong_on_every_host_is_said_at_once_and_once() -> None:
    wrong = {"engines": ["podman"], "gvisor": {"release": "latest"}, "egress": EGRESS}
    with pytest.raises(BulkheadError) as error:
        check_inventory([named("a", "gvisor_hosts", **wrong), gvisor_host(docker={"default_runtime": "kata"})])
    assert sorted(error.value.message.splitlines()) == [
        "a: engines: 'podman' is none of containerd, docker",
        "a: gvisor.release: 'latest' is not an exact release such as 20260817.0; "
        "names that move, such as latest, nightly or a day alone, can't be pinned",
        "agents-1: docker.default_runtime: 'kata' is not a runtime of this host (runc, runsc)",
    ]
    assert error.value.hint.splitlines().count("Correct the inventory; nothing was connected.") == 1


@pytest.mark.parametrize(
    ("groups", "shown"), [(("web", "all"), "web"), ((), "no group"), (("gvisor-hosts", "b"), "b, gvisor-hosts")]
)
def test_a_host_of_no_group_of_ours_would_silently_get_nothing(groups: tuple[str, ...], shown: str) -> None:
    with pytest.raises(BulkheadError) as error:
        check_inventory([named("web-1", *groups)])
    assert error.value.message == f"web-1: is in {shown}, but in none of gvisor_hosts, legacy_hosts, control_nodes"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("gVisor", "gvisor"),
        ("engine", "engines"),
        ("dockers", "docker"),
        ("runtime", "runtimes"),
        ("hardenings", "hardening"),
        ("allow_runing", "allow_running"),
        ("watches", "watch"),
    ],
)
def test_a_key_that_is_almost_ours(key: str, meant: str) -> None:
    with pytest.raises(BulkheadError) as error:
        check_inventory([gvisor_host(**{key: {}})])
    assert error.value.message == f"agents-1: {key}: unknown setting (did you mean {meant}?)"


def test_what_has_to_leave_a_host_is_looked_for_there() -> None:
    names = [need.name for need in needs_of(gvisor_host(gvisor={"state": "absent"})) if isinstance(need, Command)]
    assert {"gvisor.remains", "gvisor.running"} <= set(names)
    assert "gvisor.release" not in names


# Runtimes

KATA = {"runtime_type": "io.containerd.kata.v2"}


def handlers(engine: str, **data: Any) -> list[str]:
    return [runtime.name for runtime in runtimes_of(gvisor_host(**data), engine)]


def test_runtimes_of_all_capabilities_come_in_the_order_of_their_names() -> None:
    gvisor = {"release": "20260817.0", "profiles": {"runsc-b": {}, "a-runsc": {}}}
    data = {"gvisor": gvisor, "runtimes": {"zz": KATA, "kata": KATA, "only": {**KATA, "engines": ["docker"]}}}
    assert handlers("containerd", **data) == ["a-runsc", "kata", "runsc", "runsc-b", "zz"]
    assert handlers("docker", **data) == ["a-runsc", "kata", "only", "runsc", "runsc-b", "zz"]
    assert handlers("docker", gvisor={"state": "absent"}, runtimes={"kata": KATA}) == ["kata"]
    assert handlers("docker", gvisor={"state": "absent"}) == []


def test_a_container_starts_under_what_changed_and_under_something_in_any_case() -> None:
    default = replace(RUNSC, default=True)
    one, other = replace(RUNSC, name="a"), replace(RUNSC, name="b")
    assert list(to_prove([one, other, default], [other])) == [other]
    assert list(to_prove([one, other, default], [])) == [default]
    assert list(to_prove([one, other], [])) == [one]
    assert list(to_prove([], [])) == []


def test_a_legacy_host_has_no_runtimes() -> None:
    assert runtimes_of(named("old", "legacy_hosts", engines=["docker"], runtimes={"kata": KATA}), "docker") == []


def test_two_runtimes_of_one_name() -> None:
    gvisor = {"release": "20260817.0", "profiles": {"kata": {}}}
    host = gvisor_host(gvisor=gvisor, runtimes={"kata": KATA})
    for call in (lambda: runtimes_of(host, "docker"), lambda: check_inventory([host])):
        with pytest.raises(BulkheadError) as error:
            call()
        assert error.value.message == "agents-1: two runtimes are named 'kata'"
        assert error.value.hint == "Give one of them another name."


def test_two_runtimes_of_one_name_for_different_engines_are_none_too_many() -> None:
    """Profiles go to every engine of the host, so that they meet in one at least; runtimes need not."""
    gvisor = {"release": "20260817.0", "profiles": {"kata": {}}}
    runtimes = {"kata": {**KATA, "engines": ["docker"]}}
    assert handlers("containerd", gvisor=gvisor, runtimes=runtimes) == ["kata", "runsc"]
    with pytest.raises(BulkheadError, match="two runtimes are named 'kata'"):
        check_inventory([gvisor_host(gvisor=gvisor, runtimes=runtimes)])


@pytest.mark.parametrize("name", [None, "runc", "runsc", "kata"])
def test_a_default_that_is_known(name: str | None) -> None:
    refuse_unknown_runtime(gvisor_host(runtimes={"kata": KATA}), "docker", name)


@pytest.mark.parametrize("name", ["", "Runsc", "only-containerd", "io.containerd.runc.v2"])
def test_a_default_that_is_unknown(name: str) -> None:
    host = gvisor_host(runtimes={"kata": KATA, "only-containerd": {**KATA, "engines": ["containerd"]}})
    with pytest.raises(BulkheadError) as error:
        refuse_unknown_runtime(host, "docker", name)
    assert error.value.message == (
        f"agents-1: docker.default_runtime: {name!r} is not a runtime of this host (runc, kata, runsc)"
    )


def test_the_settings_of_a_legacy_host_are_not_those_of_gvisor() -> None:
    check_inventory([named("old", "legacy_hosts", gvisor="ours", containerd=3, engines=["docker"], egress=EGRESS)])


def test_a_host_in_both_groups_is_refused_before_its_settings_are_read() -> None:
    with pytest.raises(BulkheadError, match=r"^a: in both gvisor_hosts and legacy_hosts"):
        check_inventory([named("a", "gvisor_hosts", "legacy_hosts")])
    with pytest.raises(BulkheadError, match=r"^a: in both control_nodes and gvisor_hosts"):
        check_inventory([named("a", "gvisor_hosts", "control_nodes")])


# Drift

FOUND = Finding("one", "a file", "this", "that", "warning", "Deploy.")


def drifting(name: str, said: Callable[..., list[Finding]]) -> Capability:
    return Capability(
        name=name,
        groups=frozenset({"gvisor_hosts"}),
        validate=lambda _: None,
        needs=lambda _: [File(f"/{name}")],
        watches=lambda _: [Command(name, "true")],
        drift=lambda compared, *seen: compared.findings.extend(said(*seen)),
    )


def drifts(monkeypatch: pytest.MonkeyPatch, **drift: Callable[..., list[Finding]]) -> None:
    """Let there be capabilities of these names, with what each says of drift."""
    capabilities = [drifting(name, said) for name, said in drift.items()]
    monkeypatch.setattr(capability, "discover", lambda: capabilities)


def test_one_look_is_for_the_deploys_and_for_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    drifts(monkeypatch, one=lambda *_: [], two=lambda *_: [])
    assert watched(gvisor_host()) == [File("/one"), File("/two"), Command("one", "true"), Command("two", "true")]
    assert watched(named("a", "legacy_hosts")) == []


def test_what_all_capabilities_find(monkeypatch: pytest.MonkeyPatch) -> None:
    drifts(monkeypatch, one=lambda *_: [FOUND], two=lambda *_: [])
    assert findings_of(gvisor_host(), Look({}, {})) == [FOUND]
    assert findings_of(named("a", "legacy_hosts"), Look({}, {})) == []


def test_what_cannot_be_compared_is_drift_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> list[Finding]:
        raise BulkheadError("/etc/thing: not UTF-8 (byte 3)", hint="Correct it.")

    drifts(monkeypatch, two=broken, one=lambda *_: [FOUND])
    wrong, found = findings_of(gvisor_host(), Look({}, {}))
    assert found == FOUND
    assert (wrong.capability, wrong.subject, wrong.severity) == ("two", "two: comparison", "critical")
    assert (wrong.actual, wrong.mend) == ("/etc/thing: not UTF-8 (byte 3)", "Correct it.")


def test_what_was_found_before_something_could_not_be_compared_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def partly(compared: Comparison, *_: Any) -> None:
        compared.add("a file", expected="this", actual="that")
        raise BulkheadError("/etc/thing: not UTF-8 (byte 3)")

    monkeypatch.setattr(capability, "discover", lambda: [replace(drifting("two", list), drift=partly)])
    assert [found.subject for found in findings_of(gvisor_host(), Look({}, {}))] == ["a file", "two: comparison"]


@pytest.mark.parametrize(
    "error", [ValueError("hunter2"), KeyError("hunter2"), IndexError(), TypeError(), AttributeError()]
)
def test_garbage_is_never_no_drift(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(*_: Any) -> list[Finding]:
        raise error

    drifts(monkeypatch, two=broken)
    (wrong,) = findings_of(gvisor_host(), Look({}, {}))
    assert wrong.actual == f"the host's answer can't be read ({type(error).__name__})"


def test_what_looks_like_a_secret_leaves_no_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    said = replace(FOUND, expected="http-proxy = http://me:hunter2@proxy:3128", actual='{"auth_token": "hunter2"}')

    def broken(*_: Any) -> list[Finding]:
        raise BulkheadError("line 3: password = hunter2 is no number")

    drifts(monkeypatch, one=lambda *_: [said], two=broken)
    assert "hunter2" not in str(findings_of(gvisor_host(), Look({}, {})))


def test_what_the_inventory_accepts_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(FOUND, subject="container a[b]: privileged")
    drifts(monkeypatch, one=lambda *_: [FOUND, other])
    accept = {"container a[b]*": "reads the host's counters"}
    assert findings_of(gvisor_host(drift={"accept": accept}), Look({}, {})) == [FOUND]
    assert findings_of(gvisor_host(drift={"accept": {"container ab*": "other"}}), Look({}, {})) == [FOUND, other]


@pytest.mark.parametrize(
    ("accept", "said"),
    [
        ({"*": "all is well"}, "drift.accept: '*' would leave out every finding: name what may differ"),
        ({"container a": " "}, "drift.accept.container a: say in a line why this host may differ"),
        (["container a"], "drift.accept: input should be a valid dictionary (found ['container a'])"),
    ],
)
def test_what_can_t_be_accepted(accept: Any, said: str) -> None:
    with pytest.raises(BulkheadError) as error:
        check_inventory([gvisor_host(drift={"accept": accept})])
    assert error.value.message == f"agents-1: {said}"


EGRESS_WITH_AGENTS = {**EGRESS, "agents": {"alpha": {"subnet4": "172.30.1.0/24", "names": {"a.example": [443]}}}}


@pytest.mark.parametrize(
    "host", [gvisor_host(), named("old", "legacy_hosts", engines=["docker"], egress=EGRESS_WITH_AGENTS)]
)
def test_the_whole_look_in_a_real_shell(host: InventoryHost) -> None:
    """It fits into one argument of a command (128 KiB on Linux), every command is understood, and a machine that is no
    host at all is never without drift."""
    needs = watched(host)
    script = look.script(needs)
    assert len(script) < 64 * 1024
    done = sh(script, timeout=120)
    found = look.parse(done.stdout, needs)
    assert not [name for name, output in found.outputs.items() if b"yntax error" in output.stderr]
    assert {one.severity for one in findings_of(host, found)} >= {"critical"}
