"""A legacy host's daemon.json says what hardens the daemon, as the inventory wants it, and can be given back."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead.errors import BulkheadError
from bulkhead.registration import Ledger, Record
from bulkhead.toml_text import same
from deploys.docker import daemon, options
from deploys.docker.options import BASELINE, FORBIDDEN, refuse_forbidden, shown
from deploys.docker.settings import managed, of, yielding
from tests.oracles import dockerd
from tests.oracles.dockerd import Dockerd
from tests.unit.docker.test_any_daemon_json import meaning
from tests.unit.helpers import gvisor_host, legacy_host, on_host
from tests.unit.json_documents import blank_files, daemon_data, daemon_texts

PATH = "/etc/docker/daemon.json"

# Written by hand, from the CIS Docker Benchmark and Docker's documentation.
EXPECTED: dict[str, Any] = {
    "icc": False,
    "no-new-privileges": True,
    "userland-proxy": False,
    "dns": ["0.0.0.0"],
    "live-restore": True,
    "userns-remap": "default",
    "default-ulimits": {
        "nofile": {"Name": "nofile", "Hard": 65536, "Soft": 1024},
        "nproc": {"Name": "nproc", "Hard": 2048, "Soft": 2048},
    },
    "log-driver": "local",
    "log-opts": {"max-size": "10m", "max-file": "5"},
    "cgroup-parent": "bulkhead-agents.slice",
}


def override(value: Any, reason: str = "an old agent needs it") -> dict[str, Any]:
    return {"value": value, "reason": reason}


def said(**overrides: Any) -> dict[str, Any]:
    return managed(
        legacy_host(docker={"options": {key.replace("_", "-"): override(value) for key, value in overrides.items()}})
    )


# What is managed


def test_the_baseline() -> None:
    assert said() == EXPECTED
    assert list(said()) == list(EXPECTED)
    assert all(option.reason and option.reference for option in BASELINE.values())
    assert all(forbidden.because and forbidden.reference for forbidden in FORBIDDEN.values())


def test_what_the_inventory_says_goes_before_the_baseline() -> None:
    assert said(icc=True, userns_remap=None, log_opts={}) == {
        key: {"icc": True, "log-opts": {}}.get(key, value) for key, value in EXPECTED.items() if key != "userns-remap"
    }
    assert said(userns_remap="")["userns-remap"] == ""
    # What is let through is not written.
    assert said(hosts=None, seccomp_profile=None) == EXPECTED


def test_a_gvisor_host_has_none() -> None:
    assert managed(gvisor_host()) == {}
    for key, value in (("options", {"icc": override(True)}), ("slice", {"tasks_max": 100})):
        with pytest.raises(BulkheadError) as error:
            of(gvisor_host(docker={key: value}))
        assert error.value.message == f"agents-1: docker.{key}: only hosts in legacy_hosts have it"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"options": {"icc": {"value": True}}}, "docker.options.icc.reason: field required (found {'value': True})"),
        ({"options": {"icc": {"reason": "x"}}}, "docker.options.icc.value: field required (found {'reason': 'x'})"),
        ({"options": {"icc": override(True, " ")}}, "docker.options.icc.reason: say why this host needs another value"),
        ({"options": {"icc": True}}, "docker.options.icc: input should be a valid dictionary or instance of Override"),
        ({"options": {"mtu": override(1400)}}, "docker.options: mtu: unknown option (known: icc, no-new-privileges, "),
        ({"options": {"icc": override("no")}}, "docker.options: icc: value: expected True or False, found 'no'"),
        ({"options": {"icc": override(0)}}, "docker.options: icc: value: expected True or False, found 0"),
        ({"options": {"dns": override("10.0.0.2")}}, "docker.options: dns: value: expected a list, found '10.0.0.2'"),
        (
            {"options": {"dns": override([])}},
            "docker.options: dns: value: expected addresses of name servers, found []",
        ),
        (
            {"options": {"dns": override(["10.0.0.2", "dns.example.com"])}},
            "docker.options: dns: value: expected addresses of name servers, found ['10.0.0.2', 'dns.example.com']",
        ),
        ({"options": {"userns-remap": override(True)}}, "docker.options: userns-remap: value: expected a text, found"),
        ({"options": {"log-opts": override("x")}}, "docker.options: log-opts: value: expected a dictionary, found 'x'"),
        (
            {"options": {"log-opts": override({"max-file": 5})}},
            "docker.options: log-opts: value: every option of a log driver is a text, found {'max-file': 5}",
        ),
        (
            {"options": {"default-ulimits": override({"nofile": 5})}},
            "docker.options: default-ulimits: value: expected {'Name': 'nofile', 'Hard': …, 'Soft': …}, found 5",
        ),
        (
            {"options": {"default-ulimits": override({"nofile": {"Name": "nproc", "Hard": 1, "Soft": 1}})}},
            "docker.options: default-ulimits: value: expected {'Name': 'nofile', ",
        ),
        (
            {"options": {"default-ulimits": override({"nproc": {"Name": "nproc", "Hard": True, "Soft": 1}})}},
            "docker.options: default-ulimits: value: nproc: limits are numbers, found ",
        ),
        (
            {"options": {"cgroup-parent": override("/agents")}},
            "docker.options: cgroup-parent: value: '/agents' is not the name of a slice, such as ",
        ),
        (
            {"options": {"hosts": override(["tcp://0.0.0.0:2376"])}},
            "docker.options: hosts: Bulkhead does not set hosts: with value None what the host says is let through",
        ),
        (
            {"options": {"log-driver": override("journald")}},
            "docker: options: log-driver is 'journald', so say log-opts for it as well, or {}",
        ),
        ({"slice": {"memory_max": "100%"}}, "docker.slice.memory_max: '100%' is neither a size such as '6G' nor a "),
        (
            {"slice": {"swap_max": "infinity"}},
            "docker.slice.swap_max: 'infinity' is neither a size such as '6G' nor a ",
        ),
        ({"slice": {"memory_max": "0G"}}, "docker.slice.memory_max: '0G' is neither"),
        ({"slice": {"cpu_quota": "2"}}, "docker.slice.cpu_quota: '2' is not a share of one core such as '150%'"),
        ({"slice": {"tasks_max": 1}}, "docker.slice.tasks_max: input should be greater than or equal to 64 (found 1)"),
        (
            {"slice": {"tasks_max": 100}, "options": {"cgroup-parent": override("other.slice")}},
            "docker: slice: the agents are not in bulkhead-agents.slice: options.cgroup-parent says otherwise",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(BulkheadError) as error:
        of(legacy_host(docker=wrong))
    assert error.value.message.startswith(f"old-1: {message}")


def test_a_log_driver_with_its_options() -> None:
    assert said(log_driver="journald", log_opts={"tag": "x"})["log-opts"] == {"tag": "x"}
    assert said(log_driver="json-file")["log-opts"] == EXPECTED["log-opts"]


def test_name_servers_are_those_of_the_host_s_policy() -> None:
    egress = {"management": ["192.0.2.0/24"], "resolvers": ["2001:db8::53", "198.51.100.53", "10.0.0.0/24"]}
    assert managed(legacy_host(egress=egress))["dns"] == ["198.51.100.53", "2001:db8::53"]
    chosen = {"options": {"dns": override(["10.0.0.2"])}}
    assert managed(legacy_host(egress=egress, docker=chosen))["dns"] == ["10.0.0.2"]
    left = {"options": {"dns": override(None)}}
    assert "dns" not in managed(legacy_host(egress=egress, docker=left))
    assert managed(gvisor_host(egress=egress)) == {}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"dns": ["10.0.0.2"]}', ["10.0.0.2"]),
        ('{"dns": ["127.0.0.1"]}', ["127.0.0.1"]),
        ('{"dns": []}', ["0.0.0.0"]),
        ('{"dns": null}', ["0.0.0.0"]),
        (None, ["0.0.0.0"]),
    ],
)
def test_name_servers_of_the_user_stay(before: str | None, after: list[str]) -> None:
    """Any of one's own keep dockerd from asking as the host."""
    text, record = daemon.merge(before, [], None, options=EXPECTED, yielding=yielding(legacy_host()))
    assert meaning(text)["dns"] == after
    assert daemon.merge(text, [], None, options=EXPECTED, yielding={"dns"}, record=record) == (text, record)
    assert daemon.merge(text, [], None, record=record)[0] == before


def test_name_servers_of_the_inventory_go_before_those_of_the_user() -> None:
    host = legacy_host(docker={"options": {"dns": override(["198.51.100.1"])}})
    before = '{"dns": ["10.0.0.2"]}'
    text, record = daemon.merge(before, [], None, options=managed(host), yielding=yielding(host))
    assert meaning(text)["dns"] == ["198.51.100.1"]
    assert daemon.merge(text, [], None, record=record) == (before, Record())


# What is written

USERS = """\
{
\t"log-driver" : "json-file",
\t"log-opts": {"max-size": "1g",   "tag": "größe"},
\t"icc": true, "mtu": 1400,
\t"labels": ["a=1"]
}"""


def test_the_user_s_values_are_replaced_where_they_stand_and_come_back() -> None:
    after, record = daemon.merge(USERS, [], None, options=EXPECTED)
    assert after is not None
    assert after.startswith('{\n\t"log-driver" : "local",\n\t"log-opts": {')
    assert '\t"icc": false, "mtu": 1400,\n\t"labels": ["a=1"]' in after
    assert meaning(after) == {**meaning(USERS), **EXPECTED}
    assert daemon.merge(after, [], None, options=EXPECTED, record=record) == (after, record)
    assert daemon.merge(after, [], None, record=record) == (USERS, Record())


def test_one_option_that_goes_gives_its_own_value_back() -> None:
    after, record = daemon.merge(USERS, [], None, options=EXPECTED)
    left = {key: value for key, value in EXPECTED.items() if key not in ("log-driver", "log-opts", "userns-remap")}
    one, record = daemon.merge(after, [], None, options=left, record=record)
    assert meaning(one) == {**meaning(USERS), **left}
    assert daemon.merge(one, [], None, record=record)[0] == USERS


_changed: dict[str, list[Any]] = {
    "icc": [True],
    "userns-remap": ["", "someone"],
    "log-opts": [{}, {"max-size": "1m"}],
    "default-ulimits": [{}],
    "dns": [["198.51.100.53", "2001:db8::53"]],
}
WANTED = st.fixed_dictionaries(
    {},
    optional={key: st.sampled_from([value, *_changed.get(key, [])]) for key, value in EXPECTED.items()},
)


@settings(max_examples=500)
@given(st.one_of(daemon_texts(daemon_data()), daemon_texts(daemon_data(odd=False)), blank_files), WANTED, WANTED)
def test_any_file(text: str | None, first: dict[str, Any], then: dict[str, Any]) -> None:
    """Put in, changed and taken out again: nothing of the user's is lost."""
    before = meaning(text)
    record = Record()
    after = text
    for want in (first, then):
        after, record = daemon.merge(after, [], None, options=want, yielding={"dns"}, record=record)
        put = {key: value for key, value in want.items() if key != "dns" or not before.get("dns")}
        assert same(meaning(after), {**deepcopy(before), **put})
        record = on_host(Ledger(files={PATH: record})).files.get(PATH, Record()) if record.settings else Record()
        assert daemon.merge(after, [], None, options=want, yielding={"dns"}, record=record)[0] == after
    assert daemon.merge(after, [], None, record=record) == (text, Record())


@pytest.fixture(scope="module")
def judges() -> list[Dockerd]:
    """Every dockerd that can tell."""
    found = [daemon for daemon in dockerd.all_dockerds() if daemon.validates]
    assert len(found) >= 2
    return found


@pytest.mark.parametrize("text", [None, USERS, '{"hosts": ["unix:///run/docker.sock"], "dns": ["10.0.0.2"]}'])
def test_real_dockerds_take_it(judges: list[Dockerd], text: str | None) -> None:
    after, _ = daemon.merge(text, [], None, options=EXPECTED)
    assert after is not None
    for judge in judges:
        # It knows the key, and would make the user that "default" stands for; root is there already.
        assert '"dockremap" user creation' in (judge.check(after.encode()) or "")
        assert judge.check(after.replace('"userns-remap": "default"', '"userns-remap": "root"').encode()) is None
        assert judge.check(after.replace('"icc"', '"iccc"').encode()) is not None


# What a reload takes in, and what shows it


@pytest.mark.parametrize("key", EXPECTED)
def test_what_needs_a_restart(key: str) -> None:
    reloaded = key == "live-restore"
    assert daemon.needing_restart({}, {key: EXPECTED[key]}) == ([] if reloaded else [key])
    assert daemon.needing_restart({key: EXPECTED[key]}, {}) == ([] if reloaded else [key])


@pytest.mark.parametrize(
    ("key", "flag"),
    [
        ("icc", "--icc=true"),
        ("userns-remap", "--userns-remap=default"),
        ("log-opts", "--log-opt=max-size=1m"),
        ("default-ulimits", "--default-ulimit=nofile=1"),
        ("cgroup-parent", "--cgroup-parent=x.slice"),
        ("live-restore", "--live-restore"),
        ("no-new-privileges", "--no-new-privileges"),
        ("userland-proxy", "--userland-proxy=false"),
        ("log-driver", "--log-driver=local"),
    ],
)
def test_flags_that_say_the_same(key: str, flag: str) -> None:
    assert daemon.conflicts([flag], EXPECTED) == [flag.partition("=")[0]]
    assert daemon.conflicts([flag], [other for other in EXPECTED if other != key]) == []


def test_the_pieces_of_the_daemon_s_answers() -> None:
    assert list(shown(EXPECTED, {}, (26, 1)).values()) == [
        '"com.docker.network.bridge.enable_icc":"false"',
        '"name=no-new-privileges"',
        '"LiveRestoreEnabled":true',
        '"name=userns"',
        '"LoggingDriver":"local"',
    ]
    assert '"name=no-new-privileges"' not in shown(EXPECTED, {}, (20, 10)).values()
    assert list(shown({"icc": True, "userns-remap": "", "no-new-privileges": False}, {}, (28, 5)).values()) == [
        '"com.docker.network.bridge.enable_icc":"true"'
    ]
    assert shown({"icc": False}, {"bridge": "none"}, (28, 5)) == {}
    assert shown({}, {}, (28, 5)) == {}


def test_a_digest_of_what_is_said() -> None:
    one = options.digest({"icc": False, "mtu": 1}, {"icc", "log-driver"})
    assert one == options.digest({"mtu": 2, "icc": False}, {"icc"})
    assert one != options.digest({"icc": True}, {"icc"})
    assert one != options.digest({}, {"icc"})


# What must not be said


def refused(
    document: dict[str, Any], *arguments: str, listening: tuple[str, ...] = (), lifted: tuple[str, ...] = ()
) -> str:
    with pytest.raises(BulkheadError) as error:
        refuse_forbidden(document, arguments, listening, lifted, PATH)
    return f"{error.value.message}\n{error.value.hint}"


ROOT = "whoever reaches that port is root on the host"


@pytest.mark.parametrize(
    "given", [("-H", "tcp://[::]:1"), ("-Htcp://[::]:1",), ("--host=tcp://[::]:1",), ("-H=tcp://[::]:1",)]
)
def test_a_daemon_that_listens_on_tcp_is_refused(given: tuple[str, ...]) -> None:
    message = refused({}, "-H", "fd://", *given, "--containerd=/run/containerd/containerd.sock")
    assert message.startswith(f"docker says tcp://[::]:1 (--host in its arguments): {ROOT} (CIS 2.7; ")
    assert '"options": {"hosts": {"value": None, "reason": "..."}}' in message
    refuse_forbidden({}, given, (), ["hosts"], PATH)


def test_sockets_of_the_file_and_of_systemd() -> None:
    assert "docker says tcp://0.0.0.0:2375, :2376 (hosts in /etc/docker/daemon.json)" in refused(
        {"hosts": ["unix:///run/docker.sock", "tcp://0.0.0.0:2375", "fd://", ":2376"]}
    )
    assert "docker says [::]:2375 (ListenStream= of docker.socket)" in refused(
        {}, listening=("/run/docker.sock", "[::]:2375")
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"seccomp-profile": "unconfined"}, "docker says unconfined (seccomp-profile in /etc/docker/daemon.json)"),
        ({"seccomp-profile": "/etc/docker/mine.json"}, "docker says /etc/docker/mine.json (seccomp-profile in"),
        (
            {"default-runtime": "runsc"},
            "docker says runsc (default-runtime in /etc/docker/daemon.json): legacy agents ",
        ),
        ({"insecure-registries": ["10.0.0.5:5000"]}, "docker says 10.0.0.5:5000 (insecure-registries in /etc/docker/"),
    ],
)
def test_what_would_loosen_the_daemon_is_refused(document: dict[str, Any], message: str) -> None:
    assert refused(document).startswith(message)
    refuse_forbidden(document, [], (), document, PATH)


def test_what_is_let_through_by_flag() -> None:
    assert refused({}, "--seccomp-profile=unconfined").startswith("docker says unconfined (--seccomp-profile in its")
    assert refused({}, "--default-runtime", "crun").startswith("docker says crun (--default-runtime in its arguments)")


def test_a_harmless_daemon() -> None:
    harmless = {
        "hosts": ["unix:///run/docker.sock", "fd://"],
        "seccomp-profile": "builtin",
        "default-runtime": "runc",
        "insecure-registries": [],
    }
    listening = ("/run/docker.sock", "@docker")
    refuse_forbidden(harmless, ["-H", "fd://", "--host=unix:///x", "--debug"], listening, (), PATH)
    refuse_forbidden({"hosts": None}, [], (), (), PATH)


def test_a_render_without_a_host() -> None:
    text, _ = daemon.merge(None, [], None, options=EXPECTED)
    assert json.loads(text or "") == EXPECTED
