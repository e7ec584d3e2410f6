"""Settings of the inventory: what is wrong is named with host, key and reason."""

from typing import Any

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost, Settings, allow_running, engines, once, read, refuse_mixed_groups


class Inner(Settings):
    depth: int = 1


class Example(Settings):
    release: str = "1"
    strict: bool = False
    inner: Inner = Inner()


def host(name: str = "agents-1", groups: tuple[str, ...] = ("gvisor_hosts",), **data: Any) -> InventoryHost:
    return InventoryHost(name, frozenset(groups), data)


def refused(value: object) -> BulkheadError:
    with pytest.raises(BulkheadError) as error:
        read(Example, host(example=value), "example")
    return error.value


def test_settings_are_read() -> None:
    assert read(Example, host(example={"release": "2", "inner": {"depth": 3}}), "example") == Example(
        release="2", inner=Inner(depth=3)
    )


@pytest.mark.parametrize("data", [{}, {"example": None}, {"example": {}}])
def test_a_host_that_says_nothing_gets_the_defaults(data: dict[str, Any]) -> None:
    assert read(Example, host(**data), "example") == Example()


def test_an_unknown_setting_is_named_with_those_that_are_known() -> None:
    error = refused({"relase": "2"})
    assert error.message == "agents-1: example.relase: unknown setting (known: release, strict, inner)"
    assert error.hint == "Correct the inventory; nothing was connected."


def test_a_wrong_kind_is_named_with_what_was_found() -> None:
    assert refused({"strict": "yes"}).message == (
        "agents-1: example.strict: input should be a valid boolean (found 'yes')"
    )
    assert refused({"release": 20260817}).message == (
        "agents-1: example.release: input should be a valid string (found 20260817)"
    )


def test_everything_that_is_wrong_is_said_at_once() -> None:
    assert refused({"strict": 1, "inner": {"depth": "deep"}}).message.splitlines() == [
        "agents-1: example.strict: input should be a valid boolean (found 1)",
        "agents-1: example.inner.depth: input should be a valid integer (found 'deep')",
    ]


@pytest.mark.parametrize(("value", "kind"), [("20260817.0", "str"), (["release"], "list"), (7, "int"), (False, "bool")])
def test_something_else_than_a_dictionary(value: object, kind: str) -> None:
    error = refused(value)
    assert error.message == f"agents-1: example: expected a dictionary, not {kind}"
    assert error.hint == "Write example = {...} in the inventory or in group_data."


def test_engines_are_read() -> None:
    assert engines(host(engines=["docker"])) == {"docker"}
    assert engines(host(engines=("containerd", "docker"))) == {"containerd", "docker"}


@pytest.mark.parametrize(
    ("data", "found"),
    [({}, "None"), ({"engines": []}, "[]"), ({"engines": "docker"}, "'docker'"), ({"engines": {"docker": 1}}, "{'doc")],
)
def test_missing_engines_are_an_error(data: dict[str, Any], found: str) -> None:
    with pytest.raises(BulkheadError) as error:
        engines(host(**data))
    assert error.value.message.startswith(
        "agents-1: engines: expected a list of the engines that the host runs (containerd, docker), found " + found
    )
    assert error.value.hint == 'Write engines = ["containerd", "docker"] in the inventory or in group_data.'


@pytest.mark.parametrize(
    ("engine", "shown"), [("podman", "'podman'"), ("Docker", "'Docker'"), (["docker"], "['docker']")]
)
def test_an_unknown_engine_is_named(engine: object, shown: str) -> None:
    with pytest.raises(BulkheadError) as error:
        engines(host(engines=["docker", engine]))
    assert error.value.message == f"agents-1: engines: {shown} is none of containerd, docker"


def test_runtimes_are_not_taken_from_running_containers_unless_the_inventory_says_so() -> None:
    assert allow_running(host()) is False
    assert allow_running(host(allow_running=False)) is False
    assert allow_running(host(allow_running=True)) is True


@pytest.mark.parametrize("value", [None, "yes", "True", 1, 0, ["runsc"]])
def test_whether_containers_may_run_is_yes_or_no(value: object) -> None:
    with pytest.raises(BulkheadError) as error:
        allow_running(host(allow_running=value))
    assert error.value.message == f"agents-1: allow_running: expected True or False, found {value!r}"


def test_a_host_in_both_groups_is_named() -> None:
    both = ("gvisor_hosts", "legacy_hosts", "all")
    with pytest.raises(BulkheadError) as error:
        refuse_mixed_groups([host("b", both), host("ok"), host("a", both), host("old", ("legacy_hosts",))])
    assert error.value.message == "a, b: in both gvisor_hosts and legacy_hosts"
    assert error.value.hint == "Legacy agents need dedicated hosts: leave each host in one of the two groups."


def test_hosts_in_one_group_each_are_fine() -> None:
    refuse_mixed_groups([host("new"), host("old", ("legacy_hosts",)), host("none", ())])


def test_a_host_is_read_once() -> None:
    asked: list[str] = []

    @once
    def of(described: InventoryHost) -> Example:
        asked.append(described.name)
        return read(Example, described, "example")

    one, other = host("a", example={"release": "2"}), host("b")
    assert [of(one).release, of(other).release, of(one).release] == ["2", "1", "2"]
    assert asked == ["a", "b"]
    # Another description of the same host is another one.
    assert of(host("a", example={"release": "3"})).release == "3"


def test_what_is_wrong_is_said_each_time() -> None:
    of = once(lambda described: read(Example, described, "example"))
    wrong = host(example={"releese": "2"})
    for _ in range(2):
        with pytest.raises(BulkheadError, match="unknown setting"):
            of(wrong)


def test_what_is_known_of_a_host_makes_it_no_other() -> None:
    of = once(lambda described: read(Example, described, "example"))
    one, same = host(), host()
    of(one)
    assert one == same
    assert repr(one) == repr(same)


@pytest.mark.parametrize("other", ["gvisor_hosts", "legacy_hosts"])
def test_agents_have_no_place_on_a_control_node(other: str) -> None:
    with pytest.raises(BulkheadError) as error:
        refuse_mixed_groups([host("@local", ("control_nodes", other)), host("watch", ("control_nodes",))])
    assert error.value.message == f"@local: in both control_nodes and {other}"
    assert error.value.hint == (
        "A control node holds the ssh keys of the whole fleet: give it a machine of its own, without agents."
    )


def test_all_that_is_mixed_is_said_at_once() -> None:
    with pytest.raises(BulkheadError) as error:
        refuse_mixed_groups([host("a", ("control_nodes", "gvisor_hosts", "legacy_hosts"))])
    assert len(error.value.message.splitlines()) == 3
    assert len((error.value.hint or "").splitlines()) == 2
