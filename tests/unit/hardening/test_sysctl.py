"""Settings of the kernel: the file, the live values, and real kernels in network namespaces of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.look import Command
from deploys.hardening import sysctl
from deploys.hardening.settings import baseline
from tests.unit.hardening.cases import apart, host, in_namespaces, look
from tests.unit.helpers import as_root, looked, sh

SYSTEMD_SYSCTL = Path("/usr/lib/systemd/systemd-sysctl")
NET = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.*.rp_filter": "1",
    "net.ipv4.conf.*.accept_redirects": "0",
    "net.ipv4.conf.dummy0.rp_filter": "2",
}


def test_the_file_is_read_after_debian_s_link_to_sysctl_conf() -> None:
    assert sorted(["zz-bulkhead.conf", "99-sysctl.conf", "99-zz.conf", "README.sysctl"])[-1] == "zz-bulkhead.conf"
    assert sysctl.PATH == "/etc/sysctl.d/zz-bulkhead.conf"


def test_the_content() -> None:
    lines = sysctl.content({"kernel.sysrq": "0", **NET, "net.ipv4.conf.all.rp_filter": "0"}).splitlines()
    assert lines[0].startswith("# Bulkhead's")
    assert lines[1:] == [
        "-kernel.sysrq = 0",
        "-net.ipv4.ip_forward = 1",
        "-net.ipv4.conf.default.rp_filter = 1",
        "-net.ipv4.conf.*.rp_filter = 1",
        "-net.ipv4.conf.all.accept_redirects = 0",
        "-net.ipv4.conf.default.accept_redirects = 0",
        "-net.ipv4.conf.*.accept_redirects = 0",
        "-net.ipv4.conf.dummy0.rp_filter = 2",
        "-net.ipv4.conf.all.rp_filter = 0",
    ]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("kernel.core_pattern", "kernel/core_pattern"),
        ("net.ipv4.conf.*.rp_filter", "net/ipv4/conf/*/rp_filter"),
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
    ],
)
def test_where_a_setting_lies(name: str, path: str) -> None:
    assert sysctl.file_of(name) == path


def test_the_live_values_of_this_machine() -> None:
    """A real look, at a key that there is everywhere, one that there is nowhere, and a pattern."""
    values = {"kernel.randomize_va_space": "2", "kernel.no_such": "1", "net.ipv4.conf.*.rp_filter": "1"}
    live = sysctl.live(looked(*sysctl.needs(values)))
    assert live["kernel/randomize_va_space"] == Path("/proc/sys/kernel/randomize_va_space").read_text().strip()
    assert {"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter", "net/ipv4/conf/lo/rp_filter"} <= {*live}
    assert not any("no_such" in path for path in live)


def test_a_value_that_is_empty_is_not_one_that_is_not_there() -> None:
    assert sysctl.live(look(sysctl="net/a:1\t2\nkernel/core_pattern:")) == {"kernel/core_pattern": "", "net/a": "1 2"}


@in_namespaces
def test_interfaces_that_come_and_go_meanwhile_have_no_empty_values() -> None:
    """As those of containers do all the time."""
    asked = sysctl.needs({"net.ipv4.conf.*.rp_filter": "1", "net.ipv6.conf.*.accept_redirects": "0"})[1].script  # type: ignore[union-attr]
    coming = "while ip link add dummy7 type bridge; do ip link delete dummy7; done & coming=$!"
    looks = f"for _ in $(seq 100); do {asked}\necho ===; done"
    result = apart(f"{coming}\n{looks}; kill $coming; ip link delete dummy7; :", "--net")
    assert "net/ipv4/conf/dummy7/rp_filter:" in result.stdout
    for said in result.stdout.split("===\n")[:-1]:
        assert "" not in sysctl.live(look(sysctl=said)).values(), said


FILE = sysctl.content({"a.b": "1", "a.*.c": "2"})


def test_nothing_to_do_is_no_script() -> None:
    values = {"a.b": "1", "a.*.c": "2"}
    there = look({sysctl.PATH: FILE}, sysctl="a/b:1\na/x/c:2")
    assert sysctl.plan(values, there).script is None
    assert sysctl.plan(values, there).notes == ()


def test_a_live_value_that_differs_is_mended_though_the_file_is_right() -> None:
    plan = sysctl.plan({"a.b": "1", "a.*.c": "2"}, look({sysctl.PATH: FILE}, sysctl="a/b:1\na/x/c:0"))
    assert plan.lines == ("~ a.x.c: 0 → 2",)
    assert plan.script is not None


def test_a_file_that_differs_is_mended_though_the_kernel_is_right() -> None:
    plan = sysctl.plan({"a.b": "1"}, look({sysctl.PATH: FILE}, sysctl="a/b:1"))
    assert plan.lines[0].startswith("/etc/sysctl.d/zz-bulkhead.conf: - -a.all.c = 2")
    assert plan.script is not None


def test_what_this_kernel_has_not_got_is_named_and_no_error() -> None:
    plan = sysctl.plan({"a.b": "1", "a.*.c": "2", "d.e": "3"}, look(sysctl="a/b:1"))
    assert plan.notes == ("sysctl: this kernel has no a.*.c, d.e",)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ("# /etc/sysctl.d/zzz.conf\na.b = 0\n", "/etc/sysctl.d/zzz.conf: a.b = 0 goes before a.b = 1 at the next boot"),
        ("# /etc/sysctl.d/zzz.conf\n-a/b=0\n", "/etc/sysctl.d/zzz.conf: a/b = 0 goes before a.b = 1 at the next boot"),
        (
            "# /etc/sysctl.d/10-x.conf\na.eth0.c = 0\n",
            "/etc/sysctl.d/10-x.conf: a.eth0.c = 0 goes before a.*.c = 2 at the next boot",
        ),
        ("# /etc/zzz.conf\na.all.c = 0\n", "/etc/zzz.conf: a.all.c = 0 goes before a.*.c = 2 at the next boot"),
        ("# /etc/zzz.conf\na.default.c = 0\n", "/etc/zzz.conf: a.default.c = 0 goes before a.*.c = 2 at the next boot"),
        ("# /etc/zzz.conf\na.e*.c = 0\n", "/etc/zzz.conf: a.e*.c = 0 goes before a.*.c = 2 at the next boot"),
    ],
)
def test_a_file_that_would_have_the_last_word_is_refused(files: str, said: str) -> None:
    with pytest.raises(BulkheadError) as error:
        sysctl.plan({"a.b": "1", "a.*.c": "2"}, look(sysctl_files=files))
    assert error.value.message == said


@pytest.mark.parametrize(
    "files",
    [
        "# /etc/sysctl.d/99-sysctl.conf\na.b = 0\na.*.c = 0\na.all.c = 0\na.default.c = 0\n#a.eth0.c = 0\n-a.eth0.c\n",
        "# /etc/sysctl.d/zzz.conf\na.b = 1\nother = 0\n",
        "# /etc/sysctl.d/zz-bulkhead.conf\na.b = 0\n",
        "# /etc/sysctl.d/50-x.conf\na.e*.c = 0\n",
        "# /usr/lib/sysctl.d/50-default.conf\n-a.all.c\na.*.c = 0\n# a.b = 0\n",
    ],
)
def test_files_over_which_ours_has_the_last_word(files: str) -> None:
    assert sysctl.plan({"a.b": "1", "a.*.c": "2"}, look(sysctl_files=files)).script


# Several ways out


TWO = "default via 192.0.2.1 dev eth0 metric 100\ndefault via 198.51.100.1 dev eth0.100 metric 200\n"
HOPS = ("192.0.2.1 dev eth0", "198.51.100.1 dev eth0.100")
SPREAD = "default proto static " + " ".join(f"\\\tnexthop via {hop} weight 1" for hop in HOPS) + "\n"


def uplinks(values: dict[str, str], routes: str, every: str = "0", eth0: str = "0", eth1: str = "0") -> None:
    conf = "net/ipv4/conf"
    files = [f"{conf}/{name}/rp_filter" for name in ("all", "eth0", "eth0.100")]
    said = "\n".join(f"{path}:{value}" for path, value in zip(files, (every, eth0, eth1), strict=True))
    sysctl.plan(values, look(sysctl=said, routes=routes))


STRICT = {"net.ipv4.conf.*.rp_filter": "1"}


@pytest.mark.parametrize("routes", [TWO, SPREAD])
def test_strict_checks_of_sources_are_refused_on_a_host_with_several_ways_out(routes: str) -> None:
    with pytest.raises(
        BulkheadError, match=r"a host with default routes by eth0 and eth0\.100: what comes in"
    ) as error:
        uplinks(STRICT, routes)
    assert '"net.ipv4.conf.*.rp_filter": {"value": 2' in error.value.hint
    with pytest.raises(BulkheadError, match="default routes by eth0 and"):
        uplinks(STRICT, routes, every="0", eth0="1", eth1="2")


@pytest.mark.parametrize(
    ("values", "routes", "live"),
    [
        (STRICT, "default via 192.0.2.1 dev eth0\n", {}),
        (STRICT, "", {}),
        (STRICT, "default via 192.0.2.1 dev eth0\ndefault via 192.0.2.2 dev eth0 metric 9\nblackhole default\n", {}),
        ({"net.ipv4.conf.*.rp_filter": "2"}, TWO, {}),
        ({**STRICT, "net.ipv4.conf.eth0/100.rp_filter": "2"}, TWO, {}),
        ({**STRICT, "net.ipv4.conf.all.rp_filter": "2"}, TWO, {}),
        ({"kernel.sysrq": "0"}, TWO, {}),
        # What is in force already drops nothing that came in before.
        (STRICT, TWO, {"every": "1"}),
        (STRICT, TWO, {"eth0": "1", "eth1": "1"}),
    ],
)
def test_strict_checks_of_sources_where_nothing_gets_lost(
    values: dict[str, str], routes: str, live: dict[str, str]
) -> None:
    uplinks(values, routes, **live)


@in_namespaces
def test_what_a_real_kernel_says_of_its_default_routes() -> None:
    """One that is spread over two interfaces, in the words of iproute2."""
    command = next(one.script for one in sysctl.needs(STRICT) if isinstance(one, Command) and "routes" in one.name)
    kind = "ip link add $one type dummy 2>/dev/null || ip link add $one type bridge || exit 9; ip link set $one up;"
    routes = apart(
        f"n=1; for one in eth0 eth0.100; do {kind} ip address add 192.0.$n.9/24 dev $one; n=$((n+1)); done\n"
        "ip route add default nexthop via 192.0.1.1 dev eth0 nexthop via 192.0.2.1 dev eth0.100 || exit 9\n" + command,
        "--net",
    )
    assert routes.returncode == 0, routes.stderr
    with pytest.raises(BulkheadError, match=r"default routes by eth0 and eth0\.100"):
        uplinks(STRICT, routes.stdout)


# Real kernels: what is below /proc/sys/net belongs to the network namespace.

DUMMY = "ip link add dummy0 type dummy 2>/dev/null || ip link add dummy0 type bridge || exit 9"


@in_namespaces
@pytest.mark.skipif(not SYSTEMD_SYSCTL.exists(), reason="needs systemd")
def test_systemd_reads_it_so(tmp_path: Path) -> None:
    """At the next boot: each interface, and one that is named apart, though an earlier file says otherwise."""
    ours, before = tmp_path / "zz.conf", tmp_path / "50.conf"
    ours.write_text(sysctl.content({**NET, "kernel.no_such_key": "1"}))
    before.write_text("-net.ipv4.conf.all.rp_filter\nnet.ipv4.conf.*.rp_filter = 2\nnet.ipv4.conf.all.rp_filter = 0\n")
    files = [f"net/ipv4/conf/{name}/rp_filter" for name in ("all", "default", "lo", "dummy0")]
    read = f"cd /proc/sys && cat net/ipv4/ip_forward {' '.join(files)} net/ipv4/conf/lo/accept_redirects"
    result = apart(f"{DUMMY}\n{SYSTEMD_SYSCTL} {before} {ours} && {read}", "--net")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["1", "1", "1", "1", "2", "0"]


def in_namespace(values: dict[str, str], path: Path, then: str, spoil: str = "") -> subprocess.CompletedProcess[str]:
    """Look at a new network namespace, plan for it, and run the script there."""
    state = apart(f"{DUMMY}\n" + sysctl.needs(values)[1].script, "--net")  # type: ignore[union-attr]
    plan = sysctl.plan(values, look({str(path): None, sysctl.PATH: None}, sysctl=state.stdout))
    assert plan.script
    script = plan.script.replace("main </dev/null", f"( main ) </dev/null; status=$?; {then}; exit $status")
    return apart(script, "--net", before=f"{DUMMY}; {spoil}")


@in_namespaces
def test_live_values_are_written_and_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysctl, "PATH", str(tmp_path / "zz.conf"))
    result = in_namespace(NET, tmp_path / "zz.conf", "cd /proc/sys/net/ipv4 && cat ip_forward conf/*/rp_filter")
    assert (result.returncode, result.stderr) == (0, "")
    # all, default, dummy0, lo and whatever else a new namespace has, in the order of their names.
    values = result.stdout.split()
    assert values[0] == "1"
    assert sorted(values[1:]) == ["1"] * (len(values) - 2) + ["2"]
    assert "-net.ipv4.ip_forward = 1" in (tmp_path / "zz.conf").read_text()


@in_namespaces
def test_when_the_kernel_refuses_one_the_others_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysctl, "PATH", str(tmp_path / "zz.conf"))
    values = {**NET, "net.ipv4.tcp_syncookies": "many"}
    result = in_namespace(
        values, tmp_path / "zz.conf", "cd /proc/sys/net/ipv4 && cat ip_forward tcp_syncookies conf/dummy0/rp_filter"
    )
    assert result.returncode == 1
    assert "the kernel does not take: net/ipv4/tcp_syncookies" in result.stderr
    assert "the previous configuration is back in force" in result.stderr
    fresh = apart(f"{DUMMY}; cd /proc/sys/net/ipv4 && cat ip_forward tcp_syncookies conf/dummy0/rp_filter", "--net")
    assert result.stdout.split() == fresh.stdout.split()
    assert fresh.stdout.split()[2] != "2"
    assert not (tmp_path / "zz.conf").exists()


@in_namespaces
def test_the_way_back_is_no_looser_than_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain server's settings: with forwarding switched off again the kernel accepts redirects, unless it is told."""
    monkeypatch.setattr(sysctl, "PATH", str(tmp_path / "zz.conf"))
    plain = (
        f"{DUMMY}; echo 0 >/proc/sys/net/ipv4/ip_forward;"
        " for one in /proc/sys/net/ipv4/conf/*/accept_redirects; do echo 0 >$one; done"
    )
    values = {**NET, "net.ipv4.tcp_syncookies": "many"}
    state = apart(f"{plain}\n" + sysctl.needs(values)[1].script, "--net")  # type: ignore[union-attr]
    plan = sysctl.plan(values, look({str(tmp_path / "zz.conf"): None, sysctl.PATH: None}, sysctl=state.stdout))
    assert plan.script
    read = "cd /proc/sys/net/ipv4 && cat ip_forward conf/*/accept_redirects"
    script = plan.script.replace("main </dev/null", f"( main ) </dev/null; {read}")
    result = apart(script, "--net", before=plain)
    assert "the previous configuration is back in force" in result.stderr
    assert set(result.stdout.split()) == {"0"}


def test_blanks_between_numbers_are_one_to_the_kernel() -> None:
    assert sysctl.pairs({"net.ipv4.tcp_rmem": "4096  87380\t6291456"})[0][1] == "4096 87380 6291456"


def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **values: str) -> Path:
    """A /proc/sys of the test's own."""
    root = tmp_path / "proc"
    (root / "kernel").mkdir(parents=True)
    for name, value in values.items():
        (root / "kernel" / name).write_text(value + "\n")
    monkeypatch.setattr(sysctl, "ROOT", str(root))
    monkeypatch.setattr(sysctl, "PATH", str(tmp_path / "zz.conf"))
    return root / "kernel"


@as_root
def test_what_is_right_already_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some files take one value until the next boot, and an error for each further one, be it the same."""
    kernel = tree(tmp_path, monkeypatch, one="1", two="0")
    (kernel / "one").chmod(0o444)
    (kernel / "one").touch()
    before = (kernel / "one").stat().st_mtime_ns
    values = {"kernel.one": "1", "kernel.two": "2", "kernel.three": "3"}
    there = {**look().files, sysctl.PATH: None}
    seen = look(sysctl="kernel/one:1\nkernel/two:0")
    plan = sysctl.plan(values, type(seen)(there, seen.outputs))
    assert plan.script
    result = sh(plan.script)
    assert (result.returncode, result.stderr) == (0, "")
    assert (kernel / "two").read_text() == "2\n"
    assert (kernel / "one").stat().st_mtime_ns == before
    assert not (kernel / "three").exists()


@as_root
def test_a_value_that_the_kernel_takes_and_does_not_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = tree(tmp_path, monkeypatch, one="0")
    (kernel / "two").symlink_to("/dev/null")
    seen = look(sysctl="kernel/one:0")
    seen.files[sysctl.PATH] = None
    plan = sysctl.plan({"kernel.one": "1", "kernel.two": "2"}, seen)
    assert plan.script
    result = sh(plan.script)
    assert result.returncode == 1
    assert "the running kernel has other values of: kernel/two" in result.stderr
    assert (kernel / "one").read_text() == "0\n"
    assert not (tmp_path / "zz.conf").exists()


def test_the_whole_baseline_names_no_file_twice() -> None:
    lines = sysctl.content(baseline(host(), "sysctl")).splitlines()
    assert len(lines) == len(set(lines))
