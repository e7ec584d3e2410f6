"""Real dockerds judge what we write: what they took before, they take afterwards."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead.registration import Record
from deploys.docker.daemon import merge, parse
from tests.oracles import dockerd
from tests.oracles.dockerd import Dockerd
from tests.unit.docker.cases import CRUN_VM, KATA, STRICT, Wanted, wanted
from tests.unit.helpers import RUNSC
from tests.unit.json_documents import PLAUSIBLE, daemon_data, daemon_texts

# As they stand in documentation and on hosts.
REAL = {
    "no file": None,
    "empty": "",
    "a newline": "\n",
    "{}": "{}",
    "{} on lines": "{\n}\n",
    "kubeadm, container runtimes": """\
{
  "exec-opts": ["native.cgroupdriver=systemd"],
  "log-driver": "json-file",
  "log-opts": {
    "max-size": "100m"
  },
  "storage-driver": "overlay2"
}
""",
    "nvidia-ctk": """\
{
    "default-runtime": "nvidia",
    "runtimes": {
        "nvidia": {
            "args": [],
            "path": "nvidia-container-runtime"
        }
    }
}
""",
    "nvidia, one line": '{"runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime", "runtimeArgs": []}}}',
    "mirrors, tabs, no newline at the end": """\
{
\t"registry-mirrors": ["https://mirror.example.net", "https://docker.example.org"],
\t"insecure-registries": ["10.0.0.5:5000"],
\t"dns": ["10.0.0.2","2001:db8::53"]
}""",
    "from Windows": (
        '\ufeff{\r\n  "debug" : true,\r\n  "experimental" : false,\r\n  "features": {\r\n    '
        '"buildkit": true\r\n  },\r\n'
        '  "builder": { "gc": { "defaultKeepStorage": "20GB", "enabled": true } }\r\n}\r\n'
    ),
    "compact": '{"log-driver":"local","log-opts":{"max-size":"10m"},"live-restore":true,"icc":false}',
    "hardened": """\
{
    "icc": false,
    "live-restore": true,
    "no-new-privileges": true,
    "userland-proxy": false,
    "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 64000}},
    "log-driver": "journald"
}
""",
    "networks": """\
{ "bip": "10.17.0.1/16"
, "mtu": 1450
, "default-address-pools": [ {"base": "172.30.0.0/16", "size": 24}
                           , {"base": "172.31.0.0/16", "size": 24} ]
, "hosts": ["unix:///var/run/docker.sock"]
}
""",
    "runsc install": """\
{
    "runtimes": {
        "runsc": {
            "path": "/usr/bin/runsc",
            "runtimeArgs": [
                "--net-raw=true"
            ]
        }
    }
}""",
    "several runtimes": """\
{
  "default-runtime": "crun",
  "runtimes": {
    "crun": { "path": "/usr/bin/crun" },
    "youki": { "path": "/usr/local/bin/youki", "runtimeArgs": ["--debug", "--systemd-cgroup"] },
    "wasm": { "runtimeType": "io.containerd.wasmtime.v1" },
    "x": null
  },
  "labels": ["role=größe"]
}
""",
    "nulls": '{"runtimes": {}, "log-level": null, "default-runtime": null, "labels": null}',
}

EVERYTHING = Wanted((RUNSC, STRICT, KATA, CRUN_VM), "runsc")


@pytest.fixture(scope="module")
def judges() -> list[Dockerd]:
    """Every dockerd that can tell."""
    found = [daemon for daemon in dockerd.all_dockerds() if daemon.validates]
    assert [daemon.version for daemon in found] == sorted(daemon.version for daemon in found)
    assert len(found) >= 2
    return found


def register(text: str | None, want: Wanted, version: tuple[int, int]) -> tuple[str | None, Record]:
    return merge(text, want.runtimes, want.default, docker=version)


def refused(daemon: Dockerd, text: str | None) -> str | None:
    return None if text is None else daemon.check(text.encode())


@pytest.mark.parametrize("text", REAL.values(), ids=REAL)
def test_files_of_the_wild(text: str | None, judges: list[Dockerd]) -> None:
    for daemon in judges:
        after, record = register(text, EVERYTHING, daemon.version)
        assert refused(daemon, after) is None
        left, _ = merge(after, [], None, record=record)
        if "runsc" not in parse(text).get("runtimes", {}):
            assert left == text
            continue
        assert refused(daemon, left) is None


@pytest.mark.parametrize("text", REAL.values(), ids=REAL)
@pytest.mark.parametrize("version", [(20, 10), (24, 0), (26, 1), (28, 5), (29, 0)])
def test_files_of_the_wild_with_every_version(text: str | None, version: tuple[int, int]) -> None:
    before = parse(text)
    want = EVERYTHING if version >= (23, 0) else Wanted((RUNSC, STRICT, CRUN_VM), "runsc")
    after, record = register(text, want, version)
    meant = parse(after)
    assert meant.pop("default-runtime") == "runsc"
    before.pop("default-runtime", None)
    runtimes, others = meant.pop("runtimes"), before.pop("runtimes", {})
    assert {name: value for name, value in runtimes.items() if name not in want.names} == {
        name: value for name, value in others.items() if name not in want.names
    }
    assert meant == before
    assert merge(after, want.runtimes, want.default, docker=version, record=record) == (after, record)


FILES = st.tuples(daemon_texts(daemon_data(odd=False)), wanted)
"""Files of real keys, in any layout."""


def check_accepted(text: str, want: Wanted, judges: list[Dockerd]) -> None:
    for daemon in judges:
        if daemon.check(text.encode()) is None:
            after, _ = register(text, want, daemon.version)
            assert refused(daemon, after) is None


@settings(max_examples=12)
@given(FILES)
def test_what_was_accepted_is_accepted_afterwards(judges: list[Dockerd], case: tuple[str, Wanted]) -> None:
    check_accepted(*case, judges)


@pytest.mark.long
@settings(max_examples=200)
@given(FILES)
def test_what_was_accepted_is_accepted_afterwards_at_length(judges: list[Dockerd], case: tuple[str, Wanted]) -> None:
    check_accepted(*case, judges)


def test_the_plausible_files_are_what_dockerd_takes(judges: list[Dockerd]) -> None:
    """Else the tests above would say little: each key with each value, in one file as far as they go together."""
    for daemon in judges:
        for number in range(2):
            data = {key: values[min(number, len(values) - 1)] for key, values in PLAUSIBLE.items()}
            assert daemon.check(json.dumps(data).encode()) is None
