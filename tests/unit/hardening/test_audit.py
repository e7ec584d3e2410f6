"""Rules of auditd's: how the kernel shows them again, and a stand-in for it that loads them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.look import FoundFile, Look
from deploys.hardening import audit
from deploys.hardening.area import Plan
from deploys.hardening.settings import baseline
from tests.oracles import fetch
from tests.unit.hardening.cases import apart, calls, host, in_namespaces, look, stub, with_stubs
from tests.unit.helpers import as_root, sh

VALUES = {"runc": "-w /usr/bin/runc -p wa", "nft": "-w /usr/sbin/nft -p xwa"}
LOADED = "-w /usr/bin/runc -p wa -k bulkhead-runc\n-w /usr/sbin/nft -p wxa -k bulkhead-nft"
CALLS = "-a always,exit -F arch=b64 -S init_module,delete_module,finit_module"


def there(loaded: str = LOADED, **said: str | tuple[int, str]) -> Look:
    found = {"audit": loaded, "audit_status": "enabled 1\nfailure 1", "auditd": "active\nenabled", **said}
    seen = look(None, **found)
    seen.files[audit.PATH] = FoundFile("file", audit.content(VALUES).encode(), 0o640, "root", "root")
    return seen


def test_the_content() -> None:
    assert audit.content(VALUES).splitlines()[1:] == [
        "-w /usr/bin/runc -p wa -k bulkhead-runc",
        "-w /usr/sbin/nft -p xwa -k bulkhead-nft",
    ]


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        (VALUES["runc"], "-w /usr/bin/runc -p wa -k bulkhead-x"),
        (VALUES["runc"], "-a always,exit -S all -F path=/usr/bin/runc -F perm=wa -F key=bulkhead-x"),
        ("-w /etc/docker -p wa", "-w /etc/docker/ -p wa -k bulkhead-x"),
        ("-w /etc/docker -p wa", "-a always,exit -F arch=b64 -F dir=/etc/docker -F perm=wa -F key=bulkhead-x"),
        (VALUES["nft"], "-w /usr/sbin/nft -p wxa -k bulkhead-x"),
        (CALLS, f"{CALLS} -F key=bulkhead-x"),
    ],
)
def test_how_auditctl_shows_a_rule(rule: str, shown: str) -> None:
    pattern = audit.pattern("x", rule)
    for line, matches in ((shown, True), (shown + "-y", False), (shown.replace("wa ", "w "), "wa " not in shown)):
        if line != shown or matches:
            assert bool(re.search(pattern, line)) is matches, line
            grep = subprocess.run(["grep", "-qE", "-e", pattern], input=line, text=True)
            assert (grep.returncode == 0) is matches, line


def test_a_rule_for_another_path_is_another() -> None:
    assert not re.search(audit.pattern("x", VALUES["runc"]), "-w /usr/bin/runcX -p wa -k bulkhead-x")
    assert not re.search(audit.pattern("x", "-w /a.b -p wa"), "-w /acb -p wa -k bulkhead-x")


def test_nothing_to_do_is_no_script() -> None:
    assert audit.plan(VALUES, there(), installed=True) == Plan()


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"audit": LOADED.replace("-p wa ", "-p w ")}, "~ audit: runc"),
        ({"audit": "No rules"}, "~ audit: runc"),
        ({"auditd": "inactive\nenabled"}, "~ auditd runs, at boot too"),
        ({"auditd": "active\ndisabled"}, "~ auditd runs, at boot too"),
        ({"auditd": "active\nmasked"}, "~ auditd runs, at boot too"),
        ({"auditd": "inactive"}, "~ auditd runs, at boot too"),
    ],
)
def test_what_is_not_in_force_is_mended(said: dict[str, str], line: str) -> None:
    plan = audit.plan(VALUES, there(**{"loaded": said.pop("audit", LOADED), **said}), installed=True)
    assert line in plan.lines
    assert plan.script


def test_rules_that_are_locked_are_written_for_the_next_boot() -> None:
    plan = audit.plan(VALUES, there("", audit_status="enabled 2"), installed=True)
    assert plan.script is None
    assert plan.notes == ("audit: the rules are locked until the next boot, which takes in those of Bulkhead",)


def test_the_daemon_is_mended_where_the_rules_are_locked_too() -> None:
    """Else the next boot would take nothing in."""
    plan = audit.plan(VALUES, there("", audit_status="enabled 2", auditd="active\nmasked"), installed=True)
    assert plan.lines == ("~ auditd runs, at boot too",)
    assert plan.change
    assert "unmask auditd.service" in plan.change.activate
    assert plan.change.prove == ""


def test_a_container_has_no_audit() -> None:
    with pytest.raises(BulkheadError, match=r"the host is a container \(lxc\)") as error:
        audit.plan(VALUES, there(container=(0, "lxc")), installed=False)
    assert "off" in error.value.hint


def test_where_no_rule_is_wanted_the_kernel_is_not_asked_for_audit() -> None:
    seen = there("", audit_status=(127, ""), container=(0, "lxc"))
    plan = audit.plan({}, seen, installed=False)
    assert plan.change
    assert [(write.path, write.content) for write in plan.change.writes if write.changes] == [(audit.PATH, None)]
    seen.files[audit.PATH] = None
    assert audit.plan({}, seen, installed=False) == Plan()


def test_a_kernel_without_audit() -> None:
    with pytest.raises(BulkheadError, match="the kernel takes no audit rules: audit: no"):
        audit.plan(VALUES, there(audit_status=(255, "")), installed=True)
    assert audit.plan(VALUES, there("", audit_status=(127, "")), installed=False).script


def test_directories_are_there_before_they_are_watched() -> None:
    plan = audit.plan(baseline(host(), "audit"), there(""), installed=True)
    assert plan.change
    for line in ("mkdir -p /opt/gvisor", "! command -v dockerd >/dev/null || ( umask 022 && mkdir -p /etc/docker )"):
        assert line in plan.change.activate
    legacy = audit.plan(baseline(host("legacy_hosts"), "audit"), there(""), installed=True)
    assert legacy.change
    assert "/opt/gvisor" not in legacy.change.activate


def test_a_directory_below_run_is_made_at_each_boot_as_containerd_makes_it() -> None:
    """Not where nobody watches it, and taken out where nobody does any more."""
    values = baseline(host(), "audit")
    text = audit.tmpfiles(values)
    assert text is not None
    assert text.splitlines()[1:] == ["d /run/containerd 0711 root root -"]
    assert audit.tmpfiles(VALUES) is None
    seen = there("")
    plan = audit.plan(values, seen, installed=True)
    assert f"systemd-tmpfiles --create {audit.TMPFILES}" in (plan.change.activate if plan.change else "")
    seen.files[audit.TMPFILES] = FoundFile("file", text.encode(), 0o644, "root", "root")
    left = audit.plan(VALUES, seen, installed=True)
    assert left.change
    assert [(write.path, write.content) for write in left.change.writes if write.changes] == [(audit.TMPFILES, None)]


@as_root
def test_systemd_takes_the_directory(tmp_path: Path) -> None:
    text = audit.tmpfiles(baseline(host(), "audit"))
    assert text
    made = tmp_path / "containerd"
    made.mkdir(mode=0o700)
    (tmp_path / "zz.conf").write_text(text.replace("/run/containerd", str(made)))
    for _ in range(2):
        done = subprocess.run(["systemd-tmpfiles", "--create", tmp_path / "zz.conf"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert (made.stat().st_mode & 0o7777, made.stat().st_uid) == (0o711, 0)
        made.rmdir()


DEBIAN = "## First rule\n-D\n\n-b 8192\n\n--backlog_wait_time 60000\n\n-f 1\n"


@in_namespaces
def test_augenrules_takes_the_file_in(tmp_path: Path) -> None:
    """Debian's own script, which makes one file of all, in an /etc of the test's own."""
    augenrules = fetch.from_debian("bookworm", "auditd", "augenrules").path
    etc = tmp_path / "etc"
    (etc / "audit" / "rules.d").mkdir(parents=True)
    (etc / "alternatives").symlink_to("/run/alternatives")
    (etc / "audit" / "rules.d" / "audit.rules").write_text(DEBIAN)
    (etc / "audit" / "rules.d" / "50-bulkhead.rules").write_text(audit.content(baseline(host(), "audit")))
    # awk is one of Debian's alternatives.
    kept = "mount -t tmpfs tmpfs /run && cp -a /etc/alternatives /run/"
    result = apart(
        f"{augenrules} && cat /etc/audit/audit.rules",
        "--mount",
        before=f"{kept} && mount --bind {etc} /etc || exit 9",
    )
    lines = [line for line in result.stdout.splitlines() if line and not line.startswith("#")]
    assert lines[:3] == ["-D", "-b 8192", "-f 1"], result.stderr
    assert "-w /usr/local/bin/runsc -p wa -k bulkhead-runsc" in lines
    assert len([line for line in lines if "-k bulkhead-" in line]) == len(baseline(host(), "audit"))


@as_root
@pytest.mark.parametrize("takes", [True, False])
def test_rules_are_loaded_and_proved_or_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes: bool
) -> None:
    bin_, rules = tmp_path / "bin", tmp_path / "rules.d" / "50-bulkhead.rules"
    monkeypatch.setattr(audit, "PATH", str(rules))
    monkeypatch.setattr(audit, "TMPFILES", str(tmp_path / "zz.conf"))
    monkeypatch.setattr(audit, "RUN", {f"{tmp_path}/run/socket": (f"{tmp_path}/run", "0711")})
    monkeypatch.setattr(audit, "DIRECTORIES", {"/etc/docker": str(bin_ / "no-dockerd")})
    monkeypatch.setattr("bulkhead.put.PATH", with_stubs(bin_))
    stub(bin_, "augenrules", f"grep -h '^-w' {tmp_path}/rules.d/* >{tmp_path}/loaded 2>/dev/null; exit 1")
    # A kernel shows permissions in its own order; this one loses a rule.
    shown = f"sed 's/-p xwa/-p wxa/' {tmp_path}/loaded" + ("" if takes else " | grep -v nft")
    stub(bin_, "auditctl", f'[ "$1" != -l ] || {shown}')
    stub(bin_, "systemctl", "")
    found = there("")
    found.files.update({str(rules): None, str(tmp_path / "zz.conf"): None})
    run = {"containerd-socket": f"-w {tmp_path}/run/socket -p wa"}
    plan = audit.plan({**VALUES, **run, "docker-config": "-w /etc/docker -p wa"}, found, installed=True)
    assert plan.script
    result = sh(plan.script)
    assert result.returncode == (0 if takes else 1), result.stderr
    assert rules.exists() is takes
    assert (tmp_path / "zz.conf").exists() is takes
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o711
    assert calls(bin_).count("augenrules --load") == (1 if takes else 2)
    assert takes or "the kernel has no audit rule like ^(-w /usr/sbin/nft" in result.stderr
