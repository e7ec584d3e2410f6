"""Who may log in, as Debian's own sshd reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.look import PATH, Command
from deploys.hardening import sshd, sshd_match
from deploys.hardening.settings import baseline
from tests.oracles import fetch
from tests.unit.hardening.cases import apart, calls, host, in_namespaces, look, stub, with_stubs

DEBIAN = "Include /etc/ssh/sshd_config.d/*.conf\nKbdInteractiveAuthentication no\nUsePAM yes\nX11Forwarding yes\n"
VALUES = {"PasswordAuthentication": "no", "PermitRootLogin": "no", "AuthenticationMethods": "publickey"}
SAID = "port 22\npasswordauthentication no\npermitrootlogin no\nauthenticationmethods publickey"


def test_nothing_to_do_is_no_script() -> None:
    there = look({sshd.MAIN: DEBIAN, sshd.PATH: sshd.content(VALUES)}, sshd=SAID, user="ops")
    assert sshd.plan(VALUES, there).script is None


def test_what_another_file_says_later_does_not_make_it_wrong_and_what_counts_does() -> None:
    there = look(
        {sshd.MAIN: DEBIAN, sshd.PATH: sshd.content(VALUES)},
        sshd=SAID.replace("passwordauthentication no", "passwordauthentication yes"),
        user="ops",
    )
    assert sshd.plan(VALUES, there).lines == ("~ sshd: passwordauthentication no",)


def test_root_who_is_connected_though_the_inventory_does_not_say_so_can_come_back() -> None:
    plan = sshd.plan(VALUES, look({sshd.MAIN: DEBIAN}, sshd=SAID, user="root"))
    assert plan.change
    assert b"PermitRootLogin prohibit-password\n" in (plan.change.writes[0].content or b"")


def test_an_older_name_of_the_same() -> None:
    values = {"PermitRootLogin": "prohibit-password"}
    there = look({sshd.MAIN: DEBIAN, sshd.PATH: sshd.content(values)}, sshd="permitrootlogin without-password")
    assert sshd.plan(values, there).script is None


def test_a_host_without_sshd() -> None:
    assert sshd.plan(VALUES, look(sshd=(127, ""))).notes == ("sshd: the host has none",)


@pytest.mark.parametrize(
    "main",
    [
        DEBIAN,
        "# comment\n\n  include sshd_config.d/*.conf other\n",
        "Port 22\nInclude /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication yes\n",
    ],
)
def test_main_files_that_read_us_first(main: str) -> None:
    sshd.plan(VALUES, look({sshd.MAIN: main}, sshd=SAID, user="ops"))


@pytest.mark.parametrize(
    ("main", "said"),
    [
        ("", "does not include"),
        ("#Include /etc/ssh/sshd_config.d/*.conf\n", "does not include"),
        ("Include /etc/ssh/other.d/*.conf\n", "does not include"),
        ("Match User a\nInclude /etc/ssh/sshd_config.d/*.conf\n", "does not include"),
        (
            "passwordauthentication yes\nInclude /etc/ssh/sshd_config.d/*.conf\n",
            "says passwordauthentication before it includes",
        ),
    ],
)
def test_main_files_that_do_not_read_us_first_are_refused(main: str, said: str) -> None:
    with pytest.raises(BulkheadError, match=said) as error:
        sshd.plan(VALUES, look({sshd.MAIN: main}, sshd=SAID, user="ops"))
    assert error.value.hint.startswith("Put 'Include /etc/ssh/sshd_config.d/*.conf' at the top of the file")


def test_keys_that_count_only_without_strict_modes_lock_nobody_out() -> None:
    values = {**VALUES, "StrictModes": "yes"}
    with pytest.raises(BulkheadError, match="sshd runs with StrictModes no"):
        sshd.plan(values, look({sshd.MAIN: DEBIAN}, sshd=f"{SAID}\nstrictmodes no", user="ops"))
    assert sshd.plan(values, look({sshd.MAIN: DEBIAN}, sshd=f"{SAID}\nstrictmodes yes", user="ops")).script
    assert sshd.plan(VALUES, look({sshd.MAIN: DEBIAN}, sshd=f"{SAID}\nstrictmodes no", user="ops")).script


def test_a_file_that_is_read_before_ours_is_refused() -> None:
    with pytest.raises(BulkheadError, match=r"00-aws\.conf is read before Bulkhead's file"):
        sshd.plan(
            VALUES, look({sshd.MAIN: DEBIAN}, sshd=SAID, user="ops", sshd_first="00-aws.conf\n50-cloud-init.conf")
        )


# Blocks for some connections alone


def blocks(*lines: str, file: str = "/etc/ssh/sshd_config") -> str:
    return "\n".join(f"{file}:{number}:{line}" for number, line in enumerate(lines, 1))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ["Match User a", "  PasswordAuthentication yes"],
            ["2: says PasswordAuthentication yes for some (Match User a)"],
        ),
        (["match address 10.0.0.0/8", "permitrootlogin=yes"], ["2: says PermitRootLogin yes for some"]),
        (["Match all", 'PasswordAuthentication "yes"'], ["2: says PasswordAuthentication yes for some (Match all)"]),
        (
            ["Match User a", "PermitRootLogin yes", "Match User b", "AuthenticationMethods password publickey"],
            ["2: says PermitRootLogin yes", "4: says AuthenticationMethods password publickey for some (Match User b)"],
        ),
        (
            ["Match User a", "MaxAuthTries 9", "ClientAliveInterval 0"],
            ["2: says MaxAuthTries 9", "3: says ClientAlive"],
        ),
        (["Match User a", "AllowTcpForwarding local"], ["2: says AllowTcpForwarding local"]),
    ],
)
def test_what_is_weaker_for_some_connections_is_refused_with_its_place(lines: list[str], said: list[str]) -> None:
    values = {**VALUES, "MaxAuthTries": "4", "ClientAliveInterval": "300", "AllowTcpForwarding": "no"}
    with pytest.raises(BulkheadError) as error:
        sshd.plan(values, look({sshd.MAIN: DEBIAN}, sshd=SAID, user="ops", sshd_match=blocks(*lines)))
    for one, line in zip(said, error.value.message.splitlines(), strict=True):
        assert line.startswith(f"/etc/ssh/sshd_config:{one}")
    name, value = (error.value.message.splitlines()[0].split(" ")[n] for n in (2, -1))
    assert f'hardening = {{"sshd": {{"{name}": {{"value": "{value}", "reason": "…"}}' in error.value.hint


@pytest.mark.parametrize(
    "lines",
    [
        ["PasswordAuthentication yes", "Match User a", "X11Forwarding no", "ForceCommand internal-sftp"],
        ["#Match User a", "PasswordAuthentication yes"],
        ["Match User a", "# PasswordAuthentication yes", "PasswordAuthentication no"],
        ["Match User a", "MaxAuthTries 2", "PermitRootLogin forced-commands-only"],
        ["Match User a", "AuthenticationMethods publickey,password publickey"],
    ],
)
def test_what_is_as_strict_for_some_connections_is_left_alone(lines: list[str]) -> None:
    values = {**VALUES, "MaxAuthTries": "4"}
    assert sshd.plan(values, look({sshd.MAIN: DEBIAN}, sshd=SAID, user="ops", sshd_match=blocks(*lines))).script


def test_what_the_inventory_names_itself_may_differ_for_some() -> None:
    there = look({sshd.MAIN: DEBIAN}, sshd=SAID, user="ops", sshd_match=blocks("Match User a", "PermitRootLogin yes"))
    plan = sshd.plan(VALUES, there, named={"PermitRootLogin"})
    assert plan.change
    everywhere = plan.change.prove.partition("everywhere()")[2].partition("END\n}")[0]
    assert "permitrootlogin" not in everywhere
    assert "passwordauthentication no" in everywhere


def test_a_file_that_a_block_includes_is_for_some_too() -> None:
    block = blocks("Match User a", "Include some/*.conf")
    included = blocks("PermitRootLogin yes", file="/etc/ssh/some/a.conf")
    for lines in ([block, included], [included, block]):
        with pytest.raises(BulkheadError, match=r"^/etc/ssh/some/a\.conf:1: says PermitRootLogin yes for some"):
            sshd.plan(VALUES, look({sshd.MAIN: DEBIAN}, sshd=SAID, user="ops", sshd_match="\n".join(lines)))
    further = blocks("Include some/a.conf", file="/etc/ssh/some/b.conf")
    only = blocks("Match User a", "Include some/b.conf")
    for lines in ([only, further, included], [included, further, only]):
        with pytest.raises(BulkheadError, match=r"^/etc/ssh/some/a\.conf:1: says PermitRootLogin yes for some"):
            sshd.plan(VALUES, look({sshd.MAIN: DEBIAN}, sshd=SAID, user="ops", sshd_match="\n".join(lines)))
    ends = blocks("Match User a", "X11Forwarding no", file="/etc/ssh/sshd_config.d/a.conf")
    after = blocks("PermitRootLogin yes", file="/etc/ssh/sshd_config.d/b.conf")
    assert sshd.plan(VALUES, look({sshd.MAIN: DEBIAN}, sshd=SAID, user="ops", sshd_match=f"{ends}\n{after}")).script


@pytest.mark.parametrize(("environment", "said"), [("", ""), ("192.0.2.7 50000 192.0.2.1 22", "SSH_CONNECTION=")])
def test_from_where_the_connection_comes_is_found_through_sudo(environment: str, said: str) -> None:
    """A shell of sshd's has it; what sudo starts below it has not."""
    command = next(one for one in sshd.needs() if isinstance(one, Command) and one.name == "hardening.connection")
    outer = {"PATH": PATH, **({"SSH_CONNECTION": environment} if environment else {})}
    inner = ["env", "-i", f"PATH={PATH}", "timeout", "20", "sh", "-c", command.script]
    found = subprocess.run(["sh", "-c", '"$@"; :', "sh", *inner], env=outer, capture_output=True, text=True)
    assert (found.returncode, found.stdout.strip()) == (0, said + environment)


# A real sshd, in a mount namespace where its directory and its user are


@pytest.fixture(scope="module", params=["bookworm"])
def binary(request: pytest.FixtureRequest) -> Path:
    return fetch.from_debian(request.param, "openssh-server", "sshd").path


@pytest.fixture
def etc(tmp_path: Path, binary: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An /etc/ssh of the test's own, and an sshd on the search path that reads it."""
    etc = tmp_path / "ssh"
    (etc / "sshd_config.d").mkdir(parents=True)
    main = etc / "sshd_config"
    main.write_text(DEBIAN.replace("/etc/ssh", str(etc)) + "PasswordAuthentication yes\n")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", etc / "key"], check=True)
    monkeypatch.setattr(sshd, "DIRECTORY", str(etc / "sshd_config.d"))
    monkeypatch.setattr(sshd, "PATH", str(etc / "sshd_config.d" / "00-bulkhead.conf"))
    monkeypatch.setattr(sshd, "MAIN", str(main))
    monkeypatch.setattr(sshd, "_READS_US", (f"{etc}/sshd_config.d/*.conf",))
    monkeypatch.setattr("bulkhead.put.PATH", with_stubs(tmp_path / "bin"))
    stub(tmp_path / "bin", "sshd", f'exec {binary} -f {main} -h {etc}/key "$@"')
    stub(tmp_path / "bin", "systemctl", "case $* in *is-failed*) exit 1 ;; esac")
    (tmp_path / "passwd").write_text("root:x:0:0::/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n")
    return etc


def run(etc: Path, script: str) -> subprocess.CompletedProcess[str]:
    passwd = f"mount --bind {etc.parent}/passwd /etc/passwd"
    return apart(script, "--mount", before=f"{passwd} && mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd || exit 9")


def plan_for(etc: Path, values: dict[str, str]) -> str:
    effective = run(etc, f"{etc.parent}/bin/sshd -T").stdout
    assert "passwordauthentication" in effective
    main = etc / "sshd_config"
    blocks = run(etc, f"PATH={with_stubs(etc.parent / 'bin')}; {sshd_match.FILES}").stdout
    connection = "SSH_CONNECTION=192.0.2.7 50000 192.0.2.1 22"
    there = look({str(main): main.read_text()}, sshd=effective, user="ops", sshd_match=blocks, connection=connection)
    there.files.setdefault(sshd.PATH, None)
    plan = sshd.plan(values, there)
    assert plan.script
    return plan.script


@in_namespaces
@pytest.mark.parametrize("data", [{"ssh_user": "ops"}, {"ssh_user": "root"}])
def test_the_whole_baseline_is_in_force_at_a_real_sshd(etc: Path, data: dict[str, str]) -> None:
    result = run(etc, plan_for(etc, baseline(host(data=data), "sshd")))
    assert (result.returncode, result.stderr) == (0, "")
    assert "systemctl reload ssh.service" in calls(etc.parent / "bin")
    effective = run(etc, f"{etc.parent}/bin/sshd -T").stdout.splitlines()
    for line in ("passwordauthentication no", "authenticationmethods publickey", "x11forwarding no", "maxauthtries 4"):
        assert line in effective
    assert ("permitrootlogin no" in effective) is (data["ssh_user"] == "ops")
    # A block for some users can't bring passwords back.
    (etc / "sshd_config").open("a").write("Match User a\n  PasswordAuthentication yes\n")
    assert "authenticationmethods publickey" in run(etc, f"{etc.parent}/bin/sshd -T -C user=a,host=h,addr=::1").stdout


@in_namespaces
def test_a_list_that_sshd_shows_in_a_line_for_each_value(etc: Path) -> None:
    script = plan_for(etc, {**VALUES, "AllowUsers": "ops root@192.0.2.1", "AcceptEnv": "LANG LC_TIME"})
    result = run(etc, script)
    assert (result.returncode, result.stderr) == (0, "")
    effective = run(etc, f"{etc.parent}/bin/sshd -T").stdout.splitlines()
    for line in ("allowusers ops", "allowusers root@192.0.2.1", "acceptenv LANG", "acceptenv LC_TIME"):
        assert line in effective


@in_namespaces
def test_a_candidate_that_sshd_does_not_take_is_refused_and_never_in_place(etc: Path) -> None:
    result = run(etc, plan_for(etc, {**VALUES, "NoSuchOption": "yes"}))
    assert result.returncode == 1
    assert "Bad configuration option: NoSuchOption" in result.stderr
    assert "the new configuration was refused; nothing was changed" in result.stderr
    assert list((etc / "sshd_config.d").iterdir()) == []
    assert not [call for call in calls(etc.parent / "bin") if call.startswith("systemctl")]


@in_namespaces
def test_a_value_that_does_not_count_is_found_and_taken_back(etc: Path) -> None:
    script = plan_for(etc, VALUES)
    (etc / "sshd_config.d" / "00-aaa.conf").write_text("PasswordAuthentication yes\n")
    result = run(etc, script)
    assert result.returncode == 1
    assert "sshd does not take: passwordauthentication no" in result.stderr
    assert [path.name for path in (etc / "sshd_config.d").iterdir()] == ["00-aaa.conf"]
    assert len([call for call in calls(etc.parent / "bin") if "reload" in call]) == 2


@in_namespaces
def test_a_daemon_that_ends_gets_its_old_files_back(etc: Path) -> None:
    script = plan_for(etc, VALUES)
    stub(etc.parent / "bin", "systemctl", "exit 0")
    result = run(etc, script)
    assert result.returncode == 1
    assert "sshd ended" in result.stderr
    assert list((etc / "sshd_config.d").iterdir()) == []


@in_namespaces
def test_all_blocks_of_all_files_that_sshd_reads_are_found(etc: Path) -> None:
    """sshd itself says which they are: those that are included, by whatever file, in a block too."""
    (etc / "sshd_config.d" / "50-a.conf").write_text(f"Include {etc}/deep/*\n")
    (etc / "deep").mkdir()
    (etc / "deep" / "x").write_text("# a comment\nMatch Group sftp\n  AllowTcpForwarding yes\n")
    (etc / "for-some").write_text("X11Forwarding yes\n")
    (etc / "not-read.conf").write_text("Match User b\nPermitTunnel yes\n")
    main = etc / "sshd_config"
    main.write_text(main.read_text() + f"Match User a\nInclude {etc}/for-some\n")
    lines = run(etc, f"PATH={with_stubs(etc.parent / 'bin')}; {sshd_match.FILES}").stdout
    assert {(one.place, one.criteria, one.name, one.value) for one in sshd_match.said(lines)} == {
        (f"{etc}/deep/x:3", "Group sftp", "AllowTcpForwarding", "yes"),
        (f"{etc}/for-some:1", "User a", "X11Forwarding", "yes"),
    }


@in_namespaces
@pytest.mark.parametrize(
    ("block", "who"),
    [
        ("Match Address 192.0.2.0/24", "user=root,host=192.0.2.7,addr=192.0.2.7,laddr=192.0.2.1,lport=22,rdomain="),
        ("Match User ops", "user=ops,"),
        ("Match LocalPort 22", "user=root,"),
        ("Match Host 192.0.2.*", "user=root,"),
    ],
)
def test_the_proof_is_made_for_the_connection_too(etc: Path, block: str, who: str) -> None:
    """A block that came after the look, and lets passwords in for those who connect as we do."""
    script = plan_for(etc, VALUES)
    main = etc / "sshd_config"
    main.write_text(main.read_text() + f"{block}\n  PasswordAuthentication yes\n")
    result = run(etc, script)
    assert result.returncode == 1
    assert f"passwordauthentication no (does another file say otherwise before it, or a Match block for {who}" in (
        result.stderr
    )
    assert list((etc / "sshd_config.d").iterdir()) == []


@in_namespaces
def test_a_block_that_is_stricter_or_for_others_does_not_fail_the_proof(etc: Path) -> None:
    main = etc / "sshd_config"
    main.write_text(
        main.read_text() + "Match User ops\n  MaxAuthTries 2\nMatch RDomain x\n  X11Forwarding no\n"
        "Match Address 198.51.100.0/24\n  PasswordAuthentication no\n"
    )
    result = run(etc, plan_for(etc, {**VALUES, "MaxAuthTries": "4"}))
    assert (result.returncode, result.stderr) == (0, "")
