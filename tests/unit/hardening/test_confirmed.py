"""A whole run by pyinfra against a real sshd: what locks out goes again by itself, and what does not stays."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bulkhead.inventory_file import ROOT
from deploys.hardening.settings import baseline
from deploys.hardening.table import AREAS
from tests.oracles import fetch
from tests.unit.hardening.cases import host, in_namespaces
from tests.unit.timers import stand_in

DEPLOY = "from deploys import hardening\n\nhardening.deploy()\n"
RP_FILTER = "net.ipv4.conf.*.rp_filter"
MAIN = "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM no\nStrictModes no\nAuthorizedKeysFile {}/authorized\n"
OURS = "/etc/ssh/sshd_config.d/00-bulkhead.conf"
NEWER = "[ -e /etc/ssh/sshd_config.d/00-bulkhead.conf ]"
BOTH = "Harden the kernel (sysctl) and sshd"


def override(value: str | int | None) -> dict[str, Any]:
    return {"value": value, "reason": "a test"}


class Drill:
    """A host of namespaces, and runs against it from its controller."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("ssh/sshd_config.d", "sysctl.d", "units"):
            (folder / name).mkdir(parents=True)
        stand_in(folder / "bin")
        (folder / "bin" / "ssh.service").touch()
        (folder / "bin" / "reload").write_text("kill -HUP $(cat /run/sshd.pid)\n")
        shutil.copy(fetch.from_debian("bookworm", "openssh-server", "sshd").path, folder / "bin" / "sshd")
        for name in ("ssh/ssh_host_ed25519_key", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        public = (folder / "ssh" / "ssh_host_ed25519_key.pub").read_text()
        (folder / "known").write_text(f"192.0.2.1 {public}")
        (folder / "authorized").write_text((folder / "key.pub").read_text())
        (folder / "ssh" / "sshd_config").write_text(MAIN.format(folder))
        (folder / "passwd").write_text("root:x:0:0::/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n")
        (folder / "shadow").write_text("root:*:19000:0:99999:7:::\n")
        (folder / "deploy.py").write_text(DEPLOY)
        self._number = 0

    def data(self, sysctl: dict[str, Any] | None = None, **sshd: Any) -> dict[str, Any]:
        """The inventory's part: only sshd and a setting of the network's are hardened."""
        left = {name: override(None) for name in baseline(host(), "sysctl")}
        others = dict.fromkeys(set(AREAS) - {"sysctl", "sshd"}, "not tried here")
        return {
            "ssh_hostname": "192.0.2.1",
            "ssh_user": "root",
            "ssh_key": str(self.folder / "key"),
            "ssh_known_hosts_file": str(self.folder / "known"),
            "engines": ["docker"],
            "gvisor": {"release": "20260817.0"},
            "egress": {"management": ["192.0.2.0/24"]},
            "hardening": {
                "confirm_seconds": 20,
                "sshd": {"StrictModes": override(None), **sshd},
                "sysctl": {**left, RP_FILTER: override(0), **(sysctl or {})},
                "off": others,
            },
        }

    def deploy(self, sysctl: dict[str, Any] | None = None, **sshd: Any) -> str:
        """The command of a run from the controller."""
        self._number += 1
        inventory = self.folder / f"inventory_{self._number}.py"
        inventory.write_text(f"gvisor_hosts = [('drill', {self.data(sysctl, **sshd)!r})]\n")
        run = f"{sys.executable} -m pyinfra -y {inventory} {self.folder}/deploy.py"
        return f"( cd {ROOT} && exec ip netns exec controller env HOME={self.folder} {run} ) 2>&1 </dev/null"

    def verify(self, **sshd: Any) -> str:
        """The command of the verification's check of sshd, on the host itself."""
        self._number += 1
        described = self.folder / f"described_{self._number}.json"
        entry = {"name": "@local", "groups": ["gvisor_hosts"], "data": self.data(**sshd)}
        described.write_text(json.dumps([entry]))
        check = "tests/host/test_hardening.py::test_sshd"
        options = f"-q -p no:cacheprovider --hosts local:// --described {described}"
        return f"( cd {ROOT} && {sys.executable} -m pytest {options} {check} ) 2>&1 </dev/null"

    def play(self, commands: str) -> list[str]:
        """What the commands print, in the parts that `part` begins."""
        part = "part() { echo '--- part'; }\nsays() { ip netns exec controller ssh -F none -o BatchMode=yes"
        login = f"-o UserKnownHostsFile={self.folder}/known -i {self.folder}/key root@192.0.2.1 echo can log in; }}\n"
        (self.folder / "commands").write_text(f"{part} {login}{commands}")
        script = Path(__file__).with_name("drill.sh")
        # With processes of its own, so that none outlives it.
        apart = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        done = subprocess.run([*apart, "sh", script, self.folder], capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split("--- part\n")


@pytest.fixture
def drill(tmp_path: Path) -> Drill:
    return Drill(tmp_path / "drill")


@in_namespaces
def test_what_lets_a_new_connection_in_stays_and_the_second_run_tries_nothing(drill: Drill) -> None:
    run = drill.deploy({RP_FILTER: override(2)})
    _, first, state, second, calls = drill.play(
        f"part; {run}; part; says; cat {OURS}; cat /proc/sys/net/ipv4/conf/host1/rp_filter; find /var/lib/bulkhead"
        f" /etc/systemd/system; find /run -name '*.armed'; part; : >/usr/local/sbin/calls; {run};"
        " part; cat /usr/local/sbin/calls"
    )
    assert BOTH in first
    assert "is taken back" not in first
    lines = state.splitlines()
    assert lines[0] == "can log in"
    assert "PasswordAuthentication no" in lines
    assert lines[lines.index("2") :] == [
        *("2", "/var/lib/bulkhead", "/var/lib/bulkhead/hardening"),
        *("/etc/systemd/system", "/etc/systemd/system/sysinit.target.wants"),
    ]
    assert re.search(rf"{re.escape(BOTH)} +1 +- +- +1 ", second)
    assert "Grand total                           11      -         -       11" in second
    assert not [line for line in calls.splitlines() if "reload" in line or "stop" in line]


@in_namespaces
def test_what_locks_out_is_taken_back_and_the_next_run_says_so(drill: Drill) -> None:
    """A file of keys that nobody has: sshd takes it, and lets nobody in."""
    locked = drill.deploy({RP_FILTER: override(2)}, AuthorizedKeysFile=override("/etc/ssh/nobody/%u"))
    _, first, state, second, after = drill.play(
        f"part; ! {locked}; part; says; ls /etc/ssh/sshd_config.d /etc/sysctl.d;"
        f" cat /proc/sys/net/ipv4/conf/host1/rp_filter; part; {drill.deploy()}; part; says;"
        " ls /var/lib/bulkhead/hardening"
    )
    assert f"the new hardening of {BOTH.removeprefix('Harden ')} is taken back: no new connection comes thr" in first
    assert "the configuration from before is in force again" in first
    assert state.split() == ["can", "log", "in", "/etc/ssh/sshd_config.d:", "/etc/sysctl.d:", "0"]
    assert "the hardening of an earlier run was not confirmed and was taken back; this run tries again" in second
    assert after == "can log in\n"


@in_namespaces
def test_an_sshd_that_does_not_listen_for_a_moment_is_waited_for(drill: Drill) -> None:
    """It closes its socket, reads its files and listens again; here that takes longer than the proof."""
    again = "( sleep 4; exec /usr/local/sbin/sshd -o PidFile=/run/sshd.pid ) >/dev/null 2>&1 </dev/null 9>&- &"
    (drill.folder / "bin" / "reload").write_text(f"kill $(cat /run/sshd.pid); {again}\n")
    _, first, state = drill.play(f"part; {drill.deploy()}; part; says; test -e {OURS}")
    assert "is taken back" not in first
    assert state == "can log in\n"


@in_namespaces
def test_nobody_begins_while_another_run_waits(drill: Drill) -> None:
    """What it tried is there, and may be gone in a moment; a mark without a timer is forgotten."""
    mark = "/var/lib/bulkhead/hardening/pending"
    timer = "/usr/local/sbin/bulkhead-hardening-rollback.timer"
    _, waits, done = drill.play(
        f"{drill.deploy()} >/dev/null; echo 0 >{mark}; touch {timer}; part; ! {drill.deploy(MaxAuthTries=override(3))};"
        f" part; rm {timer}; {drill.deploy()}; ls {mark} 2>&1 || :"
    )
    assert "the hardening of another run waits to be confirmed" in waits
    assert "Wait until it is, or is taken back by itself (hardening.confirm_seconds), then run again." in waits
    assert re.search(r"Forget what was taken back +1 +1 ", done)
    assert "No such file" in done


@in_namespaces
def test_a_block_for_some_is_refused_and_found_unless_the_inventory_names_it(drill: Drill) -> None:
    """By a run, and by the verification, which is run on the host."""
    known = {"AllowTcpForwarding": {"value": "no", "reason": "the account git forwards"}}
    block = "printf 'Match User git\\n  AllowTcpForwarding yes\\n' >>/etc/ssh/sshd_config"
    _, before, refused, failed, said, passed, strict = drill.play(
        f"{drill.deploy()} >/dev/null; part; {drill.verify()}; {block}; part; ! {drill.deploy()}; part;"
        f" ! {drill.verify()}; part; {drill.deploy(**known)}; part; {drill.verify(**known)}; part;"
        f" sed -i s/git/root/ /etc/ssh/sshd_config; {drill.verify(**known)};"
        f" printf '  MaxAuthTries 2\\n' >>/etc/ssh/sshd_config; {drill.verify(**known)}; {drill.deploy(**known)}"
    )
    assert "1 passed" in before
    place = "/etc/ssh/sshd_config:6: says AllowTcpForwarding yes for some (Match User git), where Bulkhead says no"
    assert place in refused
    assert "/etc/ssh/sshd_config:6: AllowTcpForwarding yes (must be no) in Match User git" in failed
    assert "says AllowTcpForwarding" not in said
    assert "1 passed" in passed
    assert strict.count("1 passed") == 2
    assert "is taken back" not in strict


@in_namespaces
@pytest.mark.long
def test_a_controller_that_vanishes_while_what_it_tried_locks_out(drill: Drill) -> None:
    locked = drill.deploy(AuthorizedKeysFile=override("/etc/ssh/nobody/%u"))
    waiting = drill.deploy()
    _, state, refused, after, again = drill.play(
        f"part; {locked} >/dev/null & run=$!; for try in $(seq 300); do {NEWER} && break; sleep 0.1; done; "
        "sleep 0.2; kill -KILL $run; for try in $(seq 100); do ! says 2>/dev/null || { sleep 0.1; continue; }; break; "
        f"done; ! says 2>&1; part; ! {waiting}; part; for try in $(seq 300); do {NEWER} || break; sleep 0.1; done;"
        f" sleep 1; says; part; {waiting}"
    )
    assert "can log in" not in state.splitlines()[-1]
    assert "Authentication failed" in refused
    assert after == "can log in\n"
    assert "the hardening of an earlier run was not confirmed and was taken back; this run tries again" in again


@in_namespaces
@pytest.mark.long
def test_a_kernel_that_drops_what_comes_in_by_another_way(drill: Drill) -> None:
    """Answers leave by the other wire, which strict checks of sources don't take: open connections end, too."""
    strict = drill.deploy({RP_FILTER: override(1)})
    _, first, state, second = drill.play(
        "ip route add 192.0.2.2/32 via 198.51.100.2 dev host2 src 192.0.2.1; says; "
        f"part; ! {strict}; part; says; cat /proc/sys/net/ipv4/conf/host1/rp_filter; ls /etc/sysctl.d; "
        f"part; {drill.deploy()}"
    )
    assert "is taken back" in first
    assert state == "can log in\n0\n"
    assert "was not confirmed and was taken back" in second
