"""The table: complete, free of contradictions, and never what breaks a container host."""

import pytest

from deploys.hardening.conflicts import conflict
from deploys.hardening.settings import baseline
from deploys.hardening.table import AREAS, TABLE, Row
from tests.unit.hardening.cases import KINDS, host


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.area}.{row.name}")
def test_every_row_says_why_and_where_from(row: Row) -> None:
    assert len(row.reason) > 10 or row.reason == "every day"
    assert row.reference


def test_each_setting_stands_there_once_and_every_area_has_some() -> None:
    names = [(row.area, row.name.lower()) for row in TABLE]
    assert len(names) == len(set(names))
    assert {row.area for row in TABLE} == set(AREAS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_baseline_passes_its_own_rules(kind: str) -> None:
    for row in TABLE:
        value = baseline(host(kind), row.area).get(row.name)
        assert conflict(host(kind), row.area, row.name, value) == ""


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (
            "gvisor_hosts",
            {"kernel.yama.ptrace_scope": "1", "user.max_user_namespaces": "4096", "vm.max_map_count": "4194304"},
        ),
        ("legacy_hosts", {"kernel.yama.ptrace_scope": "2", "user.max_user_namespaces": "1024"}),
    ],
)
def test_what_the_two_kinds_differ_in(kind: str, values: dict[str, str]) -> None:
    differing = {row.name for row in TABLE if row.gvisor != row.legacy and row.area == "sysctl"}
    assert {name: value for name, value in baseline(host(kind), "sysctl").items() if name in differing} == values


def test_what_the_kernel_does_not_take_back_is_written_last_and_what_resets_others_first() -> None:
    names = list(baseline(host(), "sysctl"))
    assert names[0] == "net.ipv4.ip_forward"
    assert names[-2:] == ["kernel.unprivileged_bpf_disabled", "kernel.kexec_load_disabled"]


@pytest.mark.parametrize("kind", KINDS)
def test_never(kind: str) -> None:
    """What hardening guides for plain servers say, and container hosts don't survive."""
    sysctl = baseline(host(kind), "sysctl")
    assert sysctl["net.ipv4.ip_forward"] == "1"
    assert "kernel.modules_disabled" not in sysctl
    assert int(sysctl["user.max_user_namespaces"]) >= 256
    assert int(sysctl["kernel.yama.ptrace_scope"]) <= 2
    assert not {"overlay", "br_netfilter", "squashfs", "veth"} & baseline(host(kind), "modules").keys()
    assert baseline(host(kind), "mounts").keys() == {"/tmp", "/dev/shm"}


def test_root_who_logs_in_can_go_on_doing_so() -> None:
    assert baseline(host(), "sshd")["PermitRootLogin"] == "no"
    assert baseline(host(data={"ssh_user": "root"}), "sshd")["PermitRootLogin"] == "prohibit-password"


def test_only_a_host_with_gvisor_watches_its_releases() -> None:
    assert "runsc-releases" in baseline(host(), "audit")
    assert "runsc-releases" not in baseline(host(data={"gvisor": {"state": "absent"}}), "audit")
    assert "runsc-releases" not in baseline(host("legacy_hosts"), "audit")
