"""What the verification finds of containers, by real processes that lie where containerd keeps its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import testinfra

from tests.host.containers import on_the_hosts_network
from tests.unit.hardening.cases import in_namespaces


@in_namespaces
def test_a_container_in_the_host_s_network_is_told_from_one_that_has_its_own() -> None:
    """Docker's and a cluster's are not looked at here, nor what has ended."""
    state = Path(f"/run/bulkhead-test-{os.getpid()}")
    apart = subprocess.Popen(["unshare", "--net", "sleep", "60"])
    try:
        while Path(f"/proc/{apart.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            assert apart.poll() is None
        for name, pid in {
            "default/here": os.getpid(),
            "default/apart": apart.pid,
            "default/gone": 2**22 + 1,
            "moby/here": os.getpid(),
            "k8s.io/here": os.getpid(),
        }.items():
            bundle = state / "io.containerd.runtime.v2.task" / name
            bundle.mkdir(parents=True)
            (bundle / "init.pid").write_text(str(pid))
        assert on_the_hosts_network(testinfra.get_host("local://")) == ["default/here"]
    finally:
        shutil.rmtree(state, ignore_errors=True)
        apart.kill()
        apart.wait()
