"""runsc's flags: every one that opens the sandbox is refused by name unless a reason is given."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.errors import BulkheadError
from bulkhead.templates import render
from deploys.gvisor.flags import DEFAULTS, FLAGS, arguments, resolve

Value = bool | int | str


def refused(chosen: dict[str, Value], allowed: dict[str, str] | None = None, release: str = "20260817.0") -> list[str]:
    with pytest.raises(BulkheadError) as error:
        resolve(chosen, allowed or {}, release)
    return error.value.message.splitlines()


def test_untrusted_tenants_get_the_defaults() -> None:
    assert resolve({}, {}, "20260817.0") == {
        "allow-flag-override": "false",
        "allow-packet-socket-write": "false",
        "allow-suid": "false",
        "character-device-policy": "emulated-only",
        "host-fifo": "none",
        "host-settings": "enforce",
        "host-uds": "none",
        "net-raw": "false",
        "network": "sandbox",
        "oci-seccomp": "false",
        "overlay2": "root:self",
    }


@pytest.mark.parametrize("release", ["20221219", "20221219.0", "20240729", "20240729.0", "20251231.9"])
def test_an_older_runsc_gets_the_defaults_that_it_knows(release: str) -> None:
    assert resolve({}, {}, release) == {
        "allow-flag-override": "false",
        "host-fifo": "none",
        "host-uds": "none",
        "net-raw": "false",
        "network": "sandbox",
        "oci-seccomp": "false",
    }


@pytest.mark.parametrize("release", ["20260101", "20260914.0", "20260905.0+go", "99999999"])
def test_a_runsc_of_2026_or_later_gets_them_all(release: str) -> None:
    assert len(resolve({}, {}, release)) == 11


def test_the_defaults_are_sorted_and_changed_by_what_is_chosen() -> None:
    flags = resolve({"platform": "systrap", "network": "none", "directfs": False}, {}, "20240729")
    assert arguments(flags) == [
        "--allow-flag-override=false",
        "--directfs=false",
        "--host-fifo=none",
        "--host-uds=none",
        "--net-raw=false",
        "--network=none",
        "--oci-seccomp=false",
        "--platform=systrap",
    ]


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("strcae", "strace"), ("netwrok", "network"), ("host_uds", "host-uds"), ("over-lay2", "overlay2")],
)
def test_an_unknown_flag_is_named_with_the_one_that_is_near(name: str, suggestion: str) -> None:
    assert refused({name: True}) == [f"flags.{name}: runsc has no such flag (did you mean {suggestion}?)"]


def test_an_unknown_flag_that_is_near_to_none() -> None:
    assert refused({"qqqq": 1}) == ["flags.qqqq: runsc has no such flag"]


def test_a_reason_does_not_make_a_flag_known() -> None:
    assert refused({"qqqq": 1}, {"qqqq": "we need it"}) == ["flags.qqqq: runsc has no such flag"]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("overlay", True, "use overlay2: runsc refuses to start with both"),
        ("overlay", False, "use overlay2: runsc refuses to start with both"),
        ("fsgofer-host-uds", True, "use host-uds"),
        ("vfs2", True, "has no effect any more: leave it out"),
        ("mount-cgroup-v2", True, "use in-sandbox-cgroup = v2"),
    ],
)
def test_a_deprecated_flag_says_what_to_use(name: str, value: bool, why: str) -> None:
    assert refused({name: value}) == [
        f"flags.{name}: is deprecated: {why} (allow_flags.{name} = 'reason' sets it all the same)"
    ]


DANGEROUS: list[tuple[str, Value, str]] = [
    ("network", "host", "puts the tenant on the host's own network stack"),
    ("host-uds", "open", "lets the tenant talk to daemons on the host's sockets"),
    ("host-uds", "create", "lets the tenant talk to daemons on the host's sockets"),
    ("host-uds", "all", "lets the tenant talk to daemons on the host's sockets"),
    ("host-fifo", "open", "lets the tenant open the host's named pipes"),
    ("net-raw", True, "gives the tenant raw sockets"),
    ("allow-flag-override", True, "lets a container's annotations switch off every other flag"),
    ("allow-suid", True, "lets set-uid binaries of the image raise privileges in the sandbox"),
    ("allow-packet-socket-write", True, "lets the tenant forge packets on its network"),
    ("character-device-policy", "all", "opens the host's devices to the tenant"),
    ("host-settings", "ignore", "starts sandboxes on a host whose kernel settings break them"),
    ("ignore-cgroups", True, "lets a tenant use the host's memory and processors without limit"),
    ("debug", True, "writes what the tenant does, data included, to the host's logs"),
    ("strace", True, "writes what the tenant does, data included, to the host's logs"),
    ("debug-log", "/var/log/runsc/", "writes what the tenant does, data included, to the host's logs"),
    ("profile", True, "loosens the seccomp filter around the sandbox"),
    ("nvproxy", True, "gives the sandbox a driver of the host's kernel"),
    ("TESTONLY-unsafe-nonroot", True, "is for gVisor's own tests and weakens the sandbox"),
    ("root", "/run/x", "is set by the engine for each container"),
    ("sidecar-release-enforcement-policy", "NEVER", "lets sidecars of another release run the sandbox"),
]


@pytest.mark.parametrize(("name", "value", "why"), DANGEROUS)
def test_a_dangerous_value_is_refused_with_what_it_does(name: str, value: Value, why: str) -> None:
    shown = "true" if value is True else value
    assert refused({name: value}) == [
        f"flags.{name} = {shown}: {why} (allow_flags.{name} = 'reason' sets it all the same)"
    ]


@pytest.mark.parametrize(("name", "value", "why"), DANGEROUS)
def test_a_dangerous_value_is_set_for_a_reason(name: str, value: Value, why: str) -> None:  # noqa: ARG001
    flags = resolve({name: value}, {name: "a test machine"}, "20260817.0")
    assert flags[name] == ("true" if value is True else value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("network", "none"),
        ("network", "sandbox"),
        ("host-uds", "none"),
        ("host-fifo", "none"),
        ("net-raw", False),
        ("debug", False),
        ("strace", "false"),
        ("host-settings", "adjust"),
        ("character-device-policy", "emulated-only"),
        ("enable-core-tags", True),
    ],
)
def test_a_harmless_value_of_a_flag_needs_no_reason(name: str, value: Value) -> None:
    assert resolve({name: value}, {}, "20260817.0")[name] == (str(value).lower() if value in (True, False) else value)


@pytest.mark.parametrize("name", [name for name in FLAGS if name.startswith(("TESTONLY-", "EXPERIMENTAL-xdp"))])
def test_no_flag_for_tests_is_free(name: str) -> None:
    value: Value = True if FLAGS[name].kind == "bool" else "1"
    if name != "EXPERIMENTAL-xdp-need-wakeup":
        assert refused({name: value})[0].startswith(f"flags.{name} = ")


@pytest.mark.parametrize("reason", ["", "  ", "\n"])
def test_a_reason_that_says_nothing(reason: str) -> None:
    assert refused({"strace": True}, {"strace": reason}) == ["allow_flags.strace: give the reason"]


def test_a_reason_for_a_flag_that_is_not_set() -> None:
    assert refused({}, {"strace": "debugging"}) == ["allow_flags.strace: the flag is not set in flags"]


def test_a_reason_for_one_flag_allows_no_other() -> None:
    assert refused({"strace": True, "debug": True}, {"strace": "debugging"}) == [
        "flags.debug = true: writes what the tenant does, data included, to the host's logs "
        "(allow_flags.debug = 'reason' sets it all the same)"
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("network", "Sandbox", "'Sandbox' is none of sandbox, host, none"),
        ("platform", "gvisor", "'gvisor' is none of systrap, ptrace, kvm"),
        ("net-raw", "no", "'no' is not a value of kind bool"),
        ("net-raw", 0, "'0' is not a value of kind bool"),
        ("fdlimit", "many", "'many' is not a value of kind int"),
        ("fdlimit", True, "'true' is not a value of kind int"),
        ("control-rpc-stop-timeout", "5", "'5' is not a value of kind duration"),
        ("overlay2", "root:disk", "'root:disk' is not a value of kind string"),
        ("overlay2", "none,size=1g", "'none,size=1g' is not a value of kind string"),
        ("metric-server", 'a"b', "'a\"b' is not a value of kind string"),
        ("metric-server", "a\nb", r"'a\nb' is not a value of kind string"),
        ("metric-server", "a\rb", r"'a\rb' is not a value of kind string"),
        ("metric-server", "a\x00b", r"'a\x00b' is not a value of kind string"),
    ],
)
def test_a_value_that_a_flag_cannot_take(name: str, value: Value, message: str) -> None:
    assert refused({name: value}) == [f"flags.{name}: {message}"]
    assert refused({name: value}, {name: "a reason"}) == [f"flags.{name}: {message}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("overlay2", "none"),
        ("overlay2", "all:memory"),
        ("overlay2", "root:dir=/var/tmp"),
        ("overlay2", "root:self,size=2g"),
        ("control-rpc-stop-timeout", "1m30s"),
        ("fdlimit", -1),
        ("fdlimit", 4096),
        ("metric-server", ""),
    ],
)
def test_a_value_that_a_flag_can_take(name: str, value: Value) -> None:
    assert resolve({name: value}, {}, "20260817.0")[name] == str(value)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    assert refused({"strcae": True, "network": "host", "fdlimit": "x"}, {"debug": ""}) == [
        "flags.strcae: runsc has no such flag (did you mean strace?)",
        "flags.network = host: puts the tenant on the host's own network stack "
        "(allow_flags.network = 'reason' sets it all the same)",
        "flags.fdlimit: 'x' is not a value of kind int",
        "allow_flags.debug: the flag is not set in flags",
        "allow_flags.debug: give the reason",
    ]


def test_the_defaults_need_no_reason() -> None:
    assert resolve(dict(DEFAULTS), {}, "20260817.0") == resolve({}, {}, "20260817.0")


@given(st.sampled_from(["metric-server", "debug-command", "traceback", "override-procs"]), st.text(max_size=20))
def test_what_is_accepted_reaches_runsc_as_it_was_written(name: str, value: str) -> None:
    """In the shim's TOML, where a value could otherwise end its string and add settings."""
    try:
        flags = resolve({name: value}, {}, "20260817.0")
    except BulkheadError:
        return
    text = render("containerd/runsc.toml.j2", name="runsc", binary="/usr/local/bin/runsc", config=flags)
    assert tomllib.loads(text)["runsc_config"] == {**resolve({}, {}, "20260817.0"), name: value}
