"""What the verification says of overrides, and that its table names what the code manages, written independently."""

from __future__ import annotations

from deploys.docker.options import BASELINE, FORBIDDEN
from tests.host.expectations import DOCKER, DOCKER_HAS_NOT, docker_override_lines, wanted
from tests.unit.helpers import gvisor_host, legacy_host


def test_overrides_are_said_with_the_baseline_and_the_reason() -> None:
    options = {
        "icc": {"value": True, "reason": "two old agents talk"},
        "userns-remap": {"value": None, "reason": "NFS"},
        "hosts": {"value": None, "reason": "the fleet's TLS"},
    }
    assert docker_override_lines(legacy_host(docker={"options": options})) == [
        "hosts = whatever the host says (baseline no TCP socket): the fleet's TLS",
        "icc = true (baseline false): two old agents talk",
        'userns-remap = whatever the host says (baseline "default"): NFS',
    ]
    assert docker_override_lines(legacy_host()) == docker_override_lines(legacy_host(docker=None)) == []


def test_every_option_is_checked() -> None:
    assert DOCKER.keys() == BASELINE.keys()
    assert DOCKER_HAS_NOT.keys() == FORBIDDEN.keys()


def test_gvisor_is_wanted_on_its_hosts_alone() -> None:
    assert wanted(gvisor_host())
    assert not wanted(legacy_host())
