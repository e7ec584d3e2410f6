"""Each check of a kind fails on a machine for legacy agents where all that it is about is undone."""

from __future__ import annotations

import pytest

from tests.lab.machine import Machine, Runs

NO_POLICY = """
for chain in prerouting forward input output; do nft insert rule inet bulkhead $chain accept; done
nft chain inet bulkhead forward '{ policy accept; }'
echo 'add set inet bulkhead tamper { type ipv4_addr; }' >>/etc/bulkhead/egress.nft
rm /etc/systemd/system/docker.service.requires/bulkhead-egress.service && systemctl daemon-reload
systemctl unmask nftables
sed -i '1i http_access allow all' /etc/squid/bulkhead.conf && systemctl restart bulkhead-proxy
"""
"""Everything that egress control is made of, undone."""

OPEN_DAEMON = """
cp -p /etc/docker/daemon.json /root/kept.json
cat >/etc/docker/daemon.json <<'END'
{"insecure-registries": ["registry.invalid:5000"], "seccomp-profile": "unconfined", "userland-proxy": true,
 "runtimes": {"runsc": {"path": "/usr/bin/runc"}}}
END
systemctl set-property --runtime bulkhead-agents.slice MemoryMax=infinity
systemctl restart docker
"""
"""Docker as it is when nobody says anything, and laxer: so much so that a deploy refuses it."""

AS_IT_WAS = """
rm -rf /run/systemd/system.control/bulkhead-agents.slice.d && systemctl daemon-reload
mv /root/kept.json /etc/docker/daemon.json && systemctl restart docker
"""

RUN = "docker run --detach --name tamper"
SLEEP = "bulkhead.invalid/test:1 sleep 1000000"
GONE = "docker rm --force tamper; docker rmi --force bulkhead.invalid/test:1"


@pytest.mark.long
def test_each_check_of_egress_fails_without_a_policy(legacy: Machine, legacy_runs: Runs) -> None:
    """None of them passes on a host that lets everything through."""
    legacy_runs.deploy().expect_success()
    legacy.image()
    try:
        legacy.sh(NO_POLICY)
        legacy.sh(f"{RUN} --network host --userns host {SLEEP}")
        with legacy.way_out():
            outcomes = legacy_runs.verify("--only", "egress.*")
    finally:
        legacy.run(GONE)
        legacy_runs.deploy().expect_success()
    assert outcomes == {
        "egress.every_agent_has_its_network": "passed",
        "egress.every_way_is_denied_by_default": "failed",
        "egress.the_file_is_that_of_the_inventory": "failed",
        "egress.the_loaded_table_is_that_of_the_file": "failed",
        "egress.no_engine_starts_without_it": "failed",
        "egress.no_stock_unit_flushes_it": "failed",
        "egress.agents_reach_no_metadata": "failed",
        "egress.agents_reach_nothing_that_is_not_named": "failed",
        "egress.agents_do_not_reach_the_host": "failed",
        "egress.agents_do_not_reach_each_other": "failed",
        "egress.agents_send_as_nobody_else": "failed",
        "egress.the_proxy_knows_its_names": "failed",
        "egress.users_reach_no_metadata": "failed",
        "egress.no_container_shares_the_hosts_network": "failed",
    }
    with legacy.way_out():
        assert set(legacy_runs.verify("--only", "egress.*").values()) == {"passed"}


@pytest.mark.long
def test_each_check_of_docker_fails_with_its_own_defaults(legacy: Machine, legacy_runs: Runs) -> None:
    """None of them passes with what Docker does by itself, but those of what it does well."""
    legacy_runs.deploy().expect_success()
    try:
        legacy.sh(OPEN_DAEMON)
        legacy.image()
        legacy.sh(f"{RUN} --privileged {SLEEP}")
        outcomes = legacy_runs.verify("--only", "docker_options.*")
    finally:
        legacy.run(f"{GONE}\n{AS_IT_WAS}")
        legacy_runs.deploy().expect_success()
    assert outcomes == {
        "docker_options.overrides": "passed",
        "docker_options.runc_alone": "failed",
        "docker_options.default_network": "failed",
        "docker_options.live_restore": "failed",
        "docker_options.default_seccomp_profile": "failed",
        "docker_options.apparmor": "passed",
        "docker_options.no_tcp_socket": "passed",
        "docker_options.registries_are_asked_over_tls": "failed",
        "docker_options.no_container_has_the_hosts_rights": "failed",
        "docker_options.no_new_privileges": "failed",
        "docker_options.user_namespace": "failed",
        "docker_options.in_the_slice": "failed",
        "docker_options.slice_is_capped": "failed",
        "docker_options.limits": "failed",
        "docker_options.output_is_rotated": "failed",
        "docker_options.no_process_in_between": "failed",
        # A data directory without the agents' networks: nothing to look at.
        "docker_options.name_servers": "skipped",
    }
    assert set(legacy_runs.verify("--only", "docker_options.*").values()) == {"passed"}
