"""The settings of gVisor and its engines: what is wrong is named with host and key before anything connects."""

from typing import Any

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import Look
from bulkhead.runtime import Runtime
from deploys.containerd import settings as containerd
from deploys.docker import settings as docker
from deploys.gvisor import settings
from deploys.gvisor.runtime import runtimes
from tests.unit.helpers import gvisor_host, outputs

DIGEST = "0123456789abcdef" * 8
SHIM = "containerd-shim-runsc-v1"


def refused(**gvisor: Any) -> list[str]:
    with pytest.raises(BulkheadError) as error:
        settings.of(gvisor_host(gvisor=gvisor))
    return error.value.message.splitlines()


def test_a_pinned_release_is_all_that_is_needed() -> None:
    found = settings.of(gvisor_host())
    assert (found.source, found.release) == ("release", "20260817.0")
    assert found.base_url == "https://storage.googleapis.com/gvisor/releases"
    assert found.runsc == "/usr/local/bin/runsc"
    assert set(found.digests("aarch64")) == {"runsc", "containerd-shim-runsc-v1"}
    assert found.digests("x86_64")["runsc"].startswith("84936438d583ec97")


def test_the_distribution_s_package_needs_nothing() -> None:
    found = settings.of(gvisor_host(engines=["docker"], gvisor={"source": "distribution"}))
    assert (found.release, found.runsc) == (None, "/usr/bin/runsc")


@pytest.mark.parametrize(
    "release",
    [
        "latest",
        "nightly",
        "nightly/2026-09-01",
        "master",
        "20260817",
        "20260817.",
        "2026-08-17",
        "v20260817",
        "20260817.0/../x",
        "",
    ],
)
def test_a_release_that_moves_or_is_none(release: str) -> None:
    assert refused(release=release) == [
        f"agents-1: gvisor.release: {release!r} is not an exact release such as 20260817.0; "
        "names that move, such as latest, nightly or a day alone, can't be pinned"
    ]


def test_a_release_that_is_a_number() -> None:
    assert refused(release=20260817.0) == [
        "agents-1: gvisor.release: input should be a valid string (found 20260817.0)"
    ]


def test_no_release_at_all_names_those_that_are_pinned() -> None:
    (message,) = refused()
    assert message.startswith("agents-1: gvisor: release is missing; pinned are 20")
    assert "20260817.0" in message


def test_a_release_that_nobody_pinned() -> None:
    with pytest.raises(BulkheadError) as error:
        settings.of(gvisor_host(gvisor={"release": "20990101.0"}))
    assert error.value.message == "agents-1: gvisor.release: no sha512 is pinned for 20990101.0 on x86_64"
    assert error.value.hint == "Run 'bulkhead pin 20990101.0', or set gvisor.sha512 for a build of your own."


def test_the_distribution_s_package_has_no_shim_for_containerd() -> None:
    with pytest.raises(BulkheadError) as error:
        settings.of(gvisor_host(gvisor={"source": "distribution"}))
    assert error.value.message == (
        "agents-1: gvisor.source: Debian's and Ubuntu's package runsc holds no containerd-shim-runsc-v1, "
        "so containerd cannot run it"
    )
    assert error.value.hint == "Set gvisor.source = 'release', or leave containerd out of engines."


@pytest.mark.parametrize("extra", [{"release": "20260817.0"}, {"sha512": {"x86_64": {"runsc": DIGEST}}}])
def test_a_release_has_no_meaning_with_the_distribution_s_package(extra: dict[str, Any]) -> None:
    assert refused(source="distribution", **extra) == [
        "agents-1: gvisor: release and sha512 have no meaning with source = 'distribution'"
    ]


def test_another_source() -> None:
    (message,) = refused(source="apt")
    assert message == "agents-1: gvisor.source: input should be 'release' or 'distribution' (found 'apt')"


@pytest.mark.parametrize(
    "url", ["mirror.example.net", "ftp://mirror.example.net", "https://a b/", "https://x/'; reboot'", "http://", ""]
)
def test_an_address_that_is_none(url: str) -> None:
    assert refused(release="20260817.0", base_url=url) == [
        f"agents-1: gvisor.base_url: {url!r} is not an http or https address"
    ]


def test_the_slash_at_the_end_of_an_address_does_not_matter() -> None:
    host = gvisor_host(gvisor={"release": "20260817.0", "base_url": "http://mirror.example.net/gvisor//"})
    assert settings.of(host).base_url == "http://mirror.example.net/gvisor"


@pytest.mark.parametrize(
    ("sha512", "why"),
    [
        ({"amd64": {"runsc": DIGEST}}, "'amd64' is none of x86_64, aarch64"),
        (
            {"x86_64": {"runc": DIGEST}},
            "'runc' is none of runsc, containerd-shim-runsc-v1, gvisor.tar.bz2, gvisor.tar.zstd",
        ),
        *(
            ({"x86_64": {"runsc": wrong}}, "x86_64.runsc is not a sha512 digest (128 hexadecimal digits)")
            for wrong in (DIGEST[1:], DIGEST.upper(), "sha512:" + DIGEST, "", DIGEST + "; reboot")
        ),
    ],
)
def test_a_digest_that_is_none(sha512: dict[str, dict[str, str]], why: str) -> None:
    assert refused(release="20260914.0", sha512=sha512) == [f"agents-1: gvisor.sha512: {why}"]


def test_a_digest_that_contradicts_the_pins() -> None:
    assert refused(release="20260817.0", sha512={"x86_64": {"runsc": DIGEST, SHIM: DIGEST}}) == [
        "agents-1: gvisor: sha512.x86_64 differs from the pins of 20260817.0 in bulkhead/pins.json; "
        "a build of one's own is named with a label, such as 20260817.0+ours"
    ]


@pytest.mark.parametrize("url", ["https://ops:secret@mirror.example.net/x", "http://ops@mirror.example.net"])
def test_an_address_with_a_password_is_refused_without_printing_it(url: str) -> None:
    (message,) = refused(release="20260817.0", base_url=url)
    assert message == (
        "agents-1: gvisor.base_url: the address holds a user name or a password: "
        "let the mirror serve these files to anyone"
    )


def test_an_at_sign_further_on_is_no_user() -> None:
    host = gvisor_host(gvisor={"release": "20260817.0", "base_url": "http://mirror.example.net/@team"})
    assert settings.of(host).base_url == "http://mirror.example.net/@team"


def test_digests_of_one_s_own_go_before_the_pins() -> None:
    own = {"x86_64": {"gvisor.tar.bz2": DIGEST}}
    found = settings.of(gvisor_host(gvisor={"release": "20260817.0", "sha512": own}))
    assert found.digests("x86_64") == {"gvisor.tar.bz2": DIGEST}
    assert set(found.digests("aarch64")) == {"runsc", "containerd-shim-runsc-v1"}


def test_a_build_of_one_s_own_carries_a_label() -> None:
    own = {"x86_64": {"runsc": DIGEST, SHIM: DIGEST}}
    found = settings.of(gvisor_host(gvisor={"release": "20260905.0+go.1", "sha512": own}))
    assert found.release == "20260905.0+go.1"


def test_a_digest_for_one_program_only() -> None:
    found = settings.of(gvisor_host(gvisor={"release": "20260914.0", "sha512": {"x86_64": {"runsc": DIGEST}}}))
    with pytest.raises(BulkheadError) as error:
        found.digests("x86_64")
    assert error.value.message == "gvisor.sha512: 20260914.0 on x86_64 has digests for runsc only"
    assert error.value.hint == (
        "Give digests for runsc and containerd-shim-runsc-v1, or for one of gvisor.tar.bz2, gvisor.tar.zstd."
    )


def test_an_unknown_key() -> None:
    (message,) = refused(release="20260817.0", version="1")
    assert message.startswith(
        "agents-1: gvisor.version: unknown setting (known: state, source, release, base_url, sha512,"
    )


def test_wrong_flags_are_named_with_host_and_key() -> None:
    assert refused(release="20260817.0", flags={"network": "host", "strcae": True}, allow_flags={"debug": "x"}) == [
        "agents-1: gvisor.flags.network = host: puts the tenant on the host's own network stack "
        "(allow_flags.network = 'reason' sets it all the same)",
        "agents-1: gvisor.flags.strcae: runsc has no such flag (did you mean strace?)",
        "agents-1: gvisor.allow_flags.debug: the flag is not set in flags",
    ]


@pytest.mark.parametrize(("value", "shown"), [(None, "None"), (1.5, "1.5"), (["none"], "['none']")])
def test_a_flag_of_a_wrong_kind(value: object, shown: str) -> None:
    assert refused(release="20260817.0", flags={"network": value}) == [
        f"agents-1: gvisor.flags.network: expected true or false, a number or a text, found {shown}"
    ]


# How engines run it


def seen(package: str = "") -> Look:
    return outputs({"gvisor.host": "x86_64\ncurl\n", "gvisor.links": "", "gvisor.package": package})


def runsc(host: InventoryHost, look: Look | None) -> Runtime:
    (runtime,) = runtimes(host, look)
    return runtime


def test_the_runtime_of_a_release() -> None:
    runtime = runsc(gvisor_host(), seen())
    assert (runtime.name, runtime.runtime_type) == ("runsc", "io.containerd.runsc.v1")
    assert runtime.options == {
        "TypeUrl": "io.containerd.runsc.v1.options",
        "ConfigPath": "/etc/containerd/runsc.toml",
    }
    assert runtime.config_path == "/etc/containerd/runsc.toml"
    assert runtime.default
    assert runtime.engines == {"containerd", "docker"}
    assert runtime.handler == {}
    assert runtime.binary == "/usr/local/bin/runsc"
    assert runtime.arguments[:2] == ("--allow-flag-override=false", "--allow-packet-socket-write=false")
    assert runtime.config["host-settings"] == "enforce"
    assert "probe /usr/local/bin/runsc" in runtime.proof
    assert "--host-settings=enforce" in runtime.proof


@pytest.mark.parametrize("package", ["0.0~20221219.0-1+b5", "0.0~20240729.0-4+b10", ""])
def test_a_packaged_runsc_gets_the_flags_of_its_time(package: str) -> None:
    host = gvisor_host(engines=["docker"], gvisor={"source": "distribution"})
    runtime = runsc(host, seen(package))
    assert runtime.binary == "/usr/bin/runsc"
    assert "allow-suid" not in runtime.config
    assert "--allow-suid=false" not in runtime.arguments
    assert runtime.config["net-raw"] == "false"


def test_a_packaged_runsc_of_2026_gets_them_all() -> None:
    host = gvisor_host(engines=["docker"], gvisor={"source": "distribution"})
    assert runsc(host, seen("0.0~20260301.0-1")).config["allow-suid"] == "false"


def test_before_the_look_there_is_no_proof_and_a_packaged_runsc_counts_as_old() -> None:
    assert runsc(gvisor_host(), None).proof == ""
    host = gvisor_host(engines=["docker"], gvisor={"source": "distribution"})
    assert "allow-suid" not in runsc(host, None).config


# Profiles

PROFILES = {
    "release": "20260817.0",
    "flags": {"net-raw": True},
    "allow_flags": {"net-raw": "the tenants ping"},
    "profiles": {
        "runsc-strict": {"flags": {"net-raw": False, "platform": "kvm"}},
        "runsc-host": {"flags": {"network": "host"}, "allow_flags": {"network": "no isolation needed there"}},
        "runsc-same": {},
    },
}


def test_a_profile_has_the_host_s_flags_and_its_own_on_top() -> None:
    found = {runtime.name: runtime for runtime in runtimes(gvisor_host(gvisor=PROFILES), seen())}
    assert list(found) == ["runsc", "runsc-strict", "runsc-host", "runsc-same"]
    plain, strict, host = found["runsc"], found["runsc-strict"], found["runsc-host"]
    assert (plain.config["net-raw"], plain.config["network"], plain.config.get("platform")) == (
        "true",
        "sandbox",
        None,
    )
    assert (strict.config["net-raw"], strict.config["platform"]) == ("false", "kvm")
    assert {**plain.config, "net-raw": "false", "platform": "kvm"} == strict.config
    assert (host.config["net-raw"], host.config["network"]) == ("true", "host")
    assert found["runsc-same"].config == plain.config
    assert {"--platform=kvm", "--net-raw=false"} <= set(strict.arguments)
    assert "--platform=kvm" in strict.proof
    assert "--platform=kvm" not in plain.proof
    assert strict.options["ConfigPath"] == strict.config_path == "/etc/containerd/runsc-strict.toml"
    assert [runtime.default for runtime in found.values()] == [True, False, False, False]
    assert {runtime.binary for runtime in found.values()} == {"/usr/local/bin/runsc"}


def test_wrong_flags_of_a_profile_are_named_with_the_profile() -> None:
    assert refused(
        release="20260817.0",
        profiles={"runsc-x": {"flags": {"network": "host", "strcae": True}, "allow_flags": {"debug": "x"}}},
    ) == [
        "agents-1: gvisor.profiles.runsc-x.flags.network = host: puts the tenant on the host's own network stack "
        "(allow_flags.network = 'reason' sets it all the same)",
        "agents-1: gvisor.profiles.runsc-x.flags.strcae: runsc has no such flag (did you mean strace?)",
        "agents-1: gvisor.profiles.runsc-x.allow_flags.debug: the flag is not set in flags",
    ]


@pytest.mark.parametrize("name", ["runsc", "runc", "Strict", "a b", "-a", "a-", "a_b", "", "a" * 64, "a/../b"])
def test_a_profile_s_name_that_can_t_be_a_handler_s(name: str) -> None:
    assert refused(release="20260817.0", profiles={name: {}}) == [
        f"agents-1: gvisor.profiles: {name!r} can't be a handler's name: "
        "lower case letters, digits and -, and not taken"
    ]


def test_an_unknown_key_of_a_profile() -> None:
    (message,) = refused(release="20260817.0", profiles={"a": {"release": "20260817.0"}})
    assert message.startswith("agents-1: gvisor.profiles.a.release: unknown setting (known: ")


# Absent


def test_where_gvisor_has_to_go_no_release_is_needed_and_no_runtime_left() -> None:
    for gvisor in ({"state": "absent"}, {**PROFILES, "state": "absent"}, {"state": "absent", "release": "20990101.0"}):
        host = gvisor_host(gvisor=gvisor)
        assert settings.of(host).state == "absent"
        assert runtimes(host, None) == []
        assert docker.default_runtime(host) is None
    kata = gvisor_host(gvisor={"state": "absent"}, runtimes={"kata": {"runtime_type": "io.containerd.kata.v2"}})
    assert docker.default_runtime(kata) is None
    package = gvisor_host(engines=["docker"], gvisor={"state": "absent", "source": "distribution"})
    assert runtimes(package, None) == []


def test_what_has_to_go_can_be_nobody_s_default() -> None:
    for module, key in ((docker, "docker"), (containerd, "containerd")):
        with pytest.raises(BulkheadError) as error:
            module.of(gvisor_host(gvisor={"state": "absent"}, **{key: {"default_runtime": "runsc"}}))
        assert error.value.message == f"agents-1: {key}.default_runtime: 'runsc' is not a runtime of this host (runc)"


def test_another_state() -> None:
    assert refused(state="gone") == ["agents-1: gvisor.state: input should be 'present' or 'absent' (found 'gone')"]


# The engines


def test_docker_s_default_is_gvisor_and_containerd_s_is_the_host_s_own() -> None:
    assert docker.of(gvisor_host()).default_runtime is None
    assert docker.default_runtime(gvisor_host()) == "runsc"
    assert docker.default_runtime(gvisor_host(docker={"default_runtime": "runc"})) == "runc"
    assert docker.of(gvisor_host()).allow_restart is False
    assert docker.of(gvisor_host()).config_file == "/etc/docker/daemon.json"
    assert containerd.of(gvisor_host()).default_runtime is None


@pytest.mark.parametrize("path", ["daemon.json", "", "/etc/docker/", "~/daemon.json"])
def test_docker_s_file_that_is_none(path: str) -> None:
    with pytest.raises(BulkheadError) as error:
        docker.of(gvisor_host(docker={"config_file": path}))
    assert error.value.message == f"agents-1: docker.config_file: {path!r} is not an absolute path"


@pytest.mark.parametrize(("module", "key"), [(docker, "docker"), (containerd, "containerd")])
def test_a_profile_or_a_runtime_of_the_inventory_can_be_the_default(module: Any, key: str) -> None:
    kata = {"kata": {"runtime_type": "io.containerd.kata.v2"}}
    for name in ("runsc-strict", "kata", "runsc", "runc"):
        host = gvisor_host(gvisor=PROFILES, runtimes=kata, **{key: {"default_runtime": name}})
        assert module.of(host).default_runtime == name


@pytest.mark.parametrize(("module", "key"), [(docker, "docker"), (containerd, "containerd")])
def test_a_default_that_the_host_has_not_got(module: Any, key: str) -> None:
    with pytest.raises(BulkheadError) as error:
        module.of(gvisor_host(**{key: {"default_runtime": "kata"}}))
    assert error.value.message == f"agents-1: {key}.default_runtime: 'kata' is not a runtime of this host (runc, runsc)"
    with pytest.raises(BulkheadError) as error:
        module.of(gvisor_host(**{key: {"default": "runc"}}))
    assert error.value.message.startswith(f"agents-1: {key}.default: unknown setting (known: default_runtime")


@pytest.mark.parametrize("module", [docker, containerd])
@pytest.mark.parametrize(("engines", "why"), [(None, "expected a list"), (["podman"], "'podman' is none of")])
def test_engines_must_be_said(module: Any, engines: object, why: str) -> None:
    with pytest.raises(BulkheadError) as error:
        module.of(gvisor_host(engines=engines))
    assert error.value.message.startswith(f"agents-1: engines: {why}")


def test_a_host_without_any_setting_names_what_is_missing() -> None:
    with pytest.raises(BulkheadError, match=r"^a: gvisor: release is missing"):
        settings.of(InventoryHost("a", frozenset({"gvisor_hosts"}), {}))
