"""Daemons that really run say that our runtimes are in force: every generation, asked by the very script of a look."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bulkhead import grpc
from deploys.containerd import facts
from deploys.containerd.config import CRI_V2, CRI_V3, merge
from deploys.containerd.decision import evidence, in_effect
from deploys.containerd.distributions import distributions
from deploys.containerd.settings import ContainerdSettings
from tests.oracles import containerd as oracles
from tests.unit.helpers import RUNSC, as_root

KATA = replace(
    RUNSC,
    name="kata",
    runtime_type="io.containerd.kata.v2",
    options={"ConfigPath": "/opt/kata/configuration.toml"},
    handler={"pod_annotations": ["io.katacontainers.*"], "privileged_without_host_devices": True},
    config_path="",
)


@pytest.fixture(params=oracles.NAMES)
def daemon(request: pytest.FixtureRequest) -> oracles.Containerd:
    """A containerd of each generation."""
    found = oracles.named(request.param)
    if found is None:
        pytest.skip(f"no Go here to build containerd {request.param}")
    return found


@as_root
def test_the_live_daemon_shows_what_was_merged(daemon: oracles.Containerd) -> None:
    """Nothing of ours is in force before the merge, all is after it, and the evidence of a deploy is in the answer."""
    number, plugin = (2, CRI_V2) if daemon.version < (2, 0) else (3, CRI_V3)
    stock = (
        f"version = {number}\n[plugins.'{plugin}'.containerd.runtimes.crun]\nruntime_type = 'io.containerd.runc.v2'\n"
    )
    if daemon.version < (2, 0):
        stock += f"[plugins.'{plugin}'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n"
    merged = merge(stock, [KATA, RUNSC], "runsc", daemon.version).text
    assert merged
    [distribution] = distributions(ContainerdSettings(distribution="containerd"))
    ask = f'd=$(mktemp -d)\n{facts.live(distribution)}\nrm -r "$d"'
    before, after = (oracles.serve(daemon, text.encode(), ask) for text in (stock, merged))
    version, status = grpc.frames(after)
    assert f"{daemon.version[0]}.{daemon.version[1]}." in dict(grpc.strings(version))[1]
    assert in_effect(facts.cri_config(status), [KATA, RUNSC], "runsc", ["stale"])
    assert not in_effect(facts.cri_config(status), [KATA, RUNSC], "crun")
    assert not in_effect(facts.cri_config(status), [KATA], "runsc", ["crun"])
    assert not in_effect(facts.cri_config(status), [replace(KATA, handler={})], "runsc")
    assert not in_effect(facts.cri_config(grpc.frames(before)[1]), [RUNSC], None)
    for piece in evidence([KATA, RUNSC], "runsc", answered=False):
        assert piece.encode() in after
        assert piece.encode() not in before
    assert all(evidence([], None)[0].encode() in answer for answer in (before, after))
