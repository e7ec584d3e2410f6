"""The inventory's `watch`: what is read, what is refused, and what a node must have."""

from __future__ import annotations

from typing import Any

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import FoundFile
from deploys.watch import facts, schedule, settings
from deploys.watch.settings import WatchSettings
from tests.unit.watch.cases import node


def read(**changes: Any) -> WatchSettings:
    wanted = settings.of(node(**changes))
    assert wanted is not None
    return wanted


def test_what_is_not_said() -> None:
    wanted = read()
    assert (wanted.interval, wanted.delay, wanted.check_seconds, wanted.keep) == (300, 60, 1800, 288)
    assert (wanted.limit, wanted.parallel, wanted.timeout) == ([], 32, 60.0)
    assert (wanted.textfile_directory, wanted.on_failure) == (None, None)


def test_the_jitter_is_a_fifth_of_the_interval_unless_said() -> None:
    assert [read(interval=600).delay, read(interval=600, jitter=0).delay, read(jitter=299).delay] == [120, 0, 299]


def test_checks_that_have_to_go_need_no_more_words() -> None:
    assert settings.of(InventoryHost("w", frozenset(), {"watch": {"state": "absent"}})) is None
    with pytest.raises(BulkheadError, match=r"watch\.user: unknown setting"):
        settings.of(InventoryHost("w", frozenset(), {"watch": {"state": "absent", "user": "watch"}}))


def test_a_control_node_without_the_key_is_an_error() -> None:
    with pytest.raises(BulkheadError) as error:
        settings.of(InventoryHost("watch-1", frozenset({"control_nodes"}), {}))
    assert error.value.message == "watch-1: watch: is missing, and without it a control node checks nothing"
    assert "checkout" in error.value.hint


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"checkout": None}, "watch.checkout: field required"),
        ({"checkout": "bulkhead"}, "watch.checkout: 'bulkhead' is not an absolute path"),
        ({"checkout": "/srv/a%n"}, "watch.checkout: '/srv/a%n': expected letters, digits and . _ + @ : / - alone"),
        ({"checkout": "/srv/$HOME"}, "watch.checkout: '/srv/$HOME': expected letters"),
        ({"checkout": "/tmp/bulkhead"}, "watch.checkout: '/tmp/bulkhead' lies where others write"),
        ({"inventory": None}, "watch.inventory: field required"),
        ({"inventory": "../production.py"}, "watch.inventory: '../production.py' is neither an absolute path nor"),
        ({"inventory": "./production.py"}, "watch.inventory: './production.py' is neither"),
        ({"inventory": "--limit"}, "watch.inventory: '--limit': expected letters"),
        ({"inventory": "a b.py"}, "watch.inventory: 'a b.py': expected letters"),
        ({"inventory": ""}, "watch.inventory: '' is neither"),
        ({"user": None}, "watch.user: field required"),
        ({"user": "root"}, "watch.user: a check needs the fleet's ssh key and no rights on this node"),
        ({"user": "0"}, "watch.user: '0' is no name of a user"),
        ({"user": "a;b"}, "watch.user: 'a;b' is no name of a user"),
        ({"interval": 5}, "watch.interval: input should be greater than or equal to 10 (found 5)"),
        ({"interval": "5min"}, "watch.interval: input should be a valid integer (found '5min')"),
        ({"interval": 60, "jitter": 61}, "watch: jitter: 61 s is more than the interval of 60 s"),
        ({"textfile_directory": "metrics"}, "watch.textfile_directory: 'metrics' is not an absolute path"),
        ({"on_failure": "mail ops"}, "watch.on_failure: 'mail ops' is not an absolute path"),
        ({"keep": 0}, "watch.keep: input should be greater than or equal to 1 (found 0)"),
        ({"limit": "agents-*"}, "watch.limit: input should be a valid list (found 'agents-*')"),
        ({"limit": ["$(id)"]}, "watch.limit.0: '$(id)' is no pattern"),
        ({"limit": ["-x"]}, "watch.limit.0: '-x' is no pattern"),
        ({"timeout": float("nan")}, "watch.timeout: input should be"),
        ({"state": "gone"}, "watch.state: input should be 'present' (found 'gone')"),
        ({"every": 5}, "watch.every: unknown setting (known: state, checkout, inventory"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BulkheadError) as error:
        read(**changes)
    assert error.value.message.startswith(f"watch-1: {said}")


def found(*there: str, systemd: int = 252) -> facts.FoundNode:
    return facts.FoundNode({}, systemd, frozenset(there), {})


ALL = ("user", "program", "inventory", "textfile", "on_failure")
WANTED = {"textfile_directory": "/srv/metrics", "on_failure": "/usr/local/bin/tell"}


def test_a_node_that_has_all() -> None:
    facts.refuse(read(**WANTED), found(*ALL))
    facts.refuse(read(), found("user", "program", "inventory"))


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("user", "watch.user: there is no user 'watch' on the host"),
        ("program", "watch.checkout: watch can't run /srv/bulkhead/.venv/bin/bulkhead"),
        ("inventory", "watch.inventory: watch can't read inventories/production.py in /srv/bulkhead"),
        ("textfile", "watch.textfile_directory: there is no directory /srv/metrics"),
        ("on_failure", "watch.on_failure: watch can't run /usr/local/bin/tell"),
    ],
)
def test_what_a_node_lacks(without: str, said: str) -> None:
    with pytest.raises(BulkheadError) as error:
        facts.refuse(read(**WANTED), found(*({*ALL} - {without})))
    assert error.value.message == said
    assert error.value.hint


def test_all_that_a_node_lacks_is_said_at_once() -> None:
    with pytest.raises(BulkheadError) as error:
        facts.refuse(read(**WANTED), found("user"))
    assert len(error.value.message.splitlines()) == len(error.value.hint.splitlines()) == 3


@pytest.mark.parametrize(("version", "said"), [(0, "systemd of no known version"), (247, "systemd 247")])
def test_an_old_systemd(version: int, said: str) -> None:
    with pytest.raises(BulkheadError, match=f"^{said}: a control node needs 249 or later"):
        facts.refuse(read(), found(*ALL, systemd=version))


def service(**changes: Any) -> FoundFile:
    host = node(**changes)
    wanted = settings.of(host)
    assert wanted
    content = schedule.files(host, wanted)["/etc/systemd/system/bulkhead-drift.service"]
    return FoundFile("file", content, 0o644, "root", "root")


def test_where_the_metrics_went_is_read_from_the_unit_that_is_there() -> None:
    assert schedule.published(None) is None
    assert schedule.published(service()) is None
    assert schedule.published(service(textfile_directory="/srv/metrics")) == "/srv/metrics/bulkhead-drift.prom"
