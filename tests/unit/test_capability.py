"""Capabilities: which there are, to whom they apply, and what is said of a wrong inventory."""

from typing import Any

import pytest

from bulkhead.capability import check_inventory, discover, needs_of
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Command, File
from tests.unit.helpers import gvisor_host


def named(name: str, *groups: str, **data: Any) -> InventoryHost:
    return InventoryHost(name, frozenset(groups), data)


def test_every_folder_of_deploys_is_a_capability() -> None:
    assert {capability.name for capability in discover()} == {"gVisor", "containerd", "Docker"}
    assert len(discover()) == 3


@pytest.mark.parametrize(
    ("engines", "names"),
    [
        (["docker"], {"gVisor", "Docker"}),
        (["containerd"], {"gVisor", "containerd"}),
        (["containerd", "docker"], {"gVisor", "containerd", "Docker"}),
    ],
)
def test_an_engine_that_a_host_has_not_got_is_left_alone(engines: list[str], names: set[str]) -> None:
    host = gvisor_host(engines=engines)
    assert {capability.name for capability in discover() if capability.applies(host)} == names


def test_a_legacy_host_gets_nothing_of_gvisor() -> None:
    host = named("old", "legacy_hosts", "all")
    assert [capability.name for capability in discover() if capability.applies(host)] == []
    assert needs_of(host) == []


def test_a_look_brings_what_the_host_s_capabilities_need_and_no_more() -> None:
    needs = needs_of(gvisor_host(engines=["docker"]))
    assert File("/etc/docker/daemon.json") in needs
    assert File("/etc/containerd/config.toml") not in needs
    assert "gvisor.release" in [need.name for need in needs if isinstance(need, Command)]


def test_a_right_inventory_passes() -> None:
    check_inventory([gvisor_host(dockerfile="ours"), named("old", "legacy_hosts", "web")])


def test_everything_wrong_on_every_host_is_said_at_once_and_once() -> None:
    wrong = {"engines": ["podman"], "gvisor": {"release": "latest"}}
    with pytest.raises(BulkheadError) as error:
        check_inventory([named("a", "gvisor_hosts", **wrong), gvisor_host(docker={"default_runtime": "kata"})])
    assert error.value.message.splitlines() == [
        "a: gvisor.release: 'latest' is not an exact release such as 20260817.0; "
        "names that move, such as latest, nightly or a day alone, can't be pinned",
        "a: engines: 'podman' is none of containerd, docker",
        "agents-1: docker.default_runtime: 'kata' is not a runtime of this host (runsc, runc)",
    ]
    assert error.value.hint.splitlines().count("Correct the inventory; nothing was connected.") == 1


@pytest.mark.parametrize(
    ("groups", "shown"), [(("web", "all"), "web"), ((), "no group"), (("gvisor-hosts", "b"), "b, gvisor-hosts")]
)
def test_a_host_of_no_group_of_ours_would_silently_get_nothing(groups: tuple[str, ...], shown: str) -> None:
    with pytest.raises(BulkheadError) as error:
        check_inventory([named("web-1", *groups)])
    assert error.value.message == f"web-1: is in {shown}, but neither in gvisor_hosts nor in legacy_hosts"


@pytest.mark.parametrize(("key", "meant"), [("gVisor", "gvisor"), ("engine", "engines"), ("dockers", "docker")])
def test_a_key_that_is_almost_ours(key: str, meant: str) -> None:
    with pytest.raises(BulkheadError) as error:
        check_inventory([gvisor_host(**{key: {}})])
    assert error.value.message == f"agents-1: {key}: unknown setting (did you mean {meant}?)"


def test_the_settings_of_a_legacy_host_are_not_those_of_gvisor() -> None:
    check_inventory([named("old", "legacy_hosts", gvisor="ours", engines=3)])


def test_a_host_in_both_groups_is_refused_before_its_settings_are_read() -> None:
    with pytest.raises(BulkheadError, match=r"^a: in both gvisor_hosts and legacy_hosts"):
        check_inventory([named("a", "gvisor_hosts", "legacy_hosts")])
