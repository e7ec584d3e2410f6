"""An sshd that ended of what it was to take in is started again with what it had before, by a real systemd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bulkhead.templates import render
from tests.oracles.systemd import Systemd, needs_systemd, systemd

pytestmark = needs_systemd

UNIT = """
[Service]
ExecStartPre=/bin/sh -c '! [ -e /srv/bad ]'
ExecStart=/bin/sh -c 'trap "[ ! -e /srv/bad ] || exit 255" HUP; while :; do sleep 0.1; done'
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartPreventExitStatus=255
"""
"""A daemon that ends as sshd does, where it can't read its file again; the unit is Debian's in this."""


@pytest.fixture(scope="module")
def booted() -> Iterator[Systemd]:
    with systemd() as booted:
        booted.sh(f"cat >/etc/systemd/system/ssh.service <<'END'\n{UNIT}END\nsystemctl daemon-reload")
        yield booted


def state(booted: Systemd) -> str:
    return booted.sh("systemctl is-active ssh.service; :")


def snippet(name: str) -> str:
    return f"step() {{\n{render(f'hardening/{name}.sh.j2')}\n}}\nstep"


def test_it_runs_again(booted: Systemd) -> None:
    booted.sh("systemctl start ssh.service; touch /srv/bad")
    booted.sh(snippet("sshd_activate"))
    booted.sh("while systemctl --quiet is-active ssh.service; do sleep 0.1; done")
    assert state(booted) == "failed"
    booted.sh(f"rm /srv/bad\n{snippet('sshd_activate')}")
    assert state(booted) == "failed", "what takes in new files starts nothing"
    booted.sh(snippet("sshd_restore"))
    assert state(booted) == "active"


def test_one_that_goes_on_takes_in_what_is_back(booted: Systemd) -> None:
    booted.sh("systemctl start ssh.service")
    before = booted.sh("systemctl show --property MainPID --value ssh.service")
    booted.sh(snippet("sshd_restore"))
    assert booted.sh("systemctl show --property MainPID --value ssh.service") == before
    assert state(booted) == "active"


def test_one_that_a_socket_starts_is_left_to_it(booted: Systemd) -> None:
    booted.sh("systemctl stop ssh.service")
    booted.sh(snippet("sshd_restore"))
    assert state(booted) == "inactive"


def test_one_that_does_not_start_fails_the_step(booted: Systemd) -> None:
    booted.sh("systemctl start ssh.service; touch /srv/bad; systemctl reload ssh.service; sleep 0.5")
    assert booted.run(snippet("sshd_restore")).returncode != 0
    booted.sh("rm /srv/bad")
