"""Which files get the runtimes: containerd's own, templates of k3s and RKE2, drop-ins of theirs and of k0s."""

from __future__ import annotations

import tomllib

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.look import FoundFile, Look
from bulkhead.registration import Ledger, Record
from deploys.containerd.config import Merged
from deploys.containerd.distributions import K0S, K3S, RKE2, Distribution, distributions
from deploys.containerd.facts import FoundContainerd
from deploys.containerd.files import Plan, form_of, plan, withdrawn
from deploys.containerd.settings import ContainerdSettings
from deploys.containerd.template import BASE, TEMPLATE
from tests.oracles.containerd import NAMES
from tests.unit.containerd.cases import DEBIAN
from tests.unit.containerd.effective import V2, V3, daemon, dump, flat, with_ours
from tests.unit.containerd.test_template import BASE_V2, BASE_V3, section
from tests.unit.helpers import RUNSC

AGENT = "/var/lib/rancher/k3s/agent/etc/containerd"
RENDERED, V3_TEMPLATE, V2_TEMPLATE = f"{AGENT}/config.toml", f"{AGENT}/config-v3.toml.tmpl", f"{AGENT}/config.toml.tmpl"
DROP_IN = f"{AGENT}/config-v3.toml.d/bulkhead.toml"
IMPORTING = f'imports = ["{AGENT}/config-v3.toml.d/*.toml"]\n{BASE_V3}'
K0S_MAIN, K0S_DROP_IN = "/etc/k0s/containerd.toml", "/etc/k0s/containerd.d/bulkhead.toml"
MAIN = "/etc/containerd/config.toml"


def distribution(name: str) -> Distribution:
    (one,) = distributions(ContainerdSettings.model_validate({"distribution": name}))
    return one


def regular(text: str) -> FoundFile:
    return FoundFile("file", text.encode(), 0o644, "root", "root")


def planned(
    name: str,
    version: tuple[int, int],
    texts: dict[str, str],
    *,
    imported: dict[str, str] | None = None,
    wanted: bool = True,
    default: str | None = None,
    records: dict[str, Record] | None = None,
) -> Plan:
    there = FoundContainerd(
        distribution=distribution(name),
        version=version,
        unit="unit.service",
        running=True,
        keeps_containers=True,
        cri=None,
        imported={path: regular(text) for path, text in (imported or {}).items()},
    )
    look = Look({path: regular(text) for path, text in texts.items()}, {})
    runtimes = [RUNSC] if wanted else []
    ledger = Ledger(files=records or {})
    return withdrawn(plan(there, look, runtimes, default, ledger, enable_cri=False), ledger)


def records(made: Plan) -> dict[str, Record]:
    return {path: merged.record for path, merged in made.files.items() if merged.record.settings}


def refused(*args: object, **options: object) -> BulkheadError:
    with pytest.raises(BulkheadError) as error:
        planned(*args, **options)  # type: ignore[arg-type]
    assert error.value.hint
    return error.value


def own(version: int, plugin: str) -> str:
    return f"version = {version}\n" + section(plugin)


# containerd itself


def test_containerd_s_own_file_and_what_it_imports() -> None:
    main = f'imports = ["conf.d/*.toml"]\n{DEBIAN}'
    drop_in = {"/etc/containerd/conf.d/a.toml": f'version = 2\n[plugins."{V2}".containerd.runtimes.runsc]\n'}
    made = planned("containerd", (2, 1), {MAIN: main}, imported=drop_in)
    assert {path: merged.text == main for path, merged in made.files.items()} == {
        MAIN: True,
        "/etc/containerd/conf.d/a.toml": False,
    }
    assert made.preview is None
    assert not made.started_anew


def test_containerd_s_file_that_is_no_file() -> None:
    there = FoundContainerd(distribution("containerd"), (2, 1), "", True, True, None, {})
    look = Look({MAIN: FoundFile("link", b"", 0o777, "root", "root", "/x")}, {})
    with pytest.raises(BulkheadError, match=r"^/etc/containerd/config\.toml: is a symbolic link to /x\b"):
        plan(there, look, [RUNSC], None, Ledger(), enable_cri=False)


def test_what_is_in_a_file_that_is_not_the_right_one_any_more_goes() -> None:
    """The inventory named another file before."""
    old = planned("containerd", (2, 1), {MAIN: DEBIAN})
    other = "/srv/containerd.toml"
    there = FoundContainerd(
        distributions(ContainerdSettings(distribution="containerd", config_file=other))[0],
        *((2, 1), "", True, True, None, {}),
    )
    look = Look({other: None, MAIN: regular(old.files[MAIN].text or "")}, {})
    ledger = Ledger(files=records(old))
    made = withdrawn(plan(there, look, [RUNSC], None, ledger, enable_cri=False), ledger)
    assert made.files[MAIN] == Merged(DEBIAN, Record())
    assert made.files[other].text == own(3, V3)


# k3s and RKE2


@pytest.mark.parametrize(
    ("version", "rendered", "there", "path", "plugin"),
    [
        ((2, 1), BASE_V3, {}, V3_TEMPLATE, V3),
        ((1, 7), BASE_V2, {}, V2_TEMPLATE, V2),
        # k3s makes version 2 for containerd 2 where it finds a template of it, and for nothing else.
        ((2, 1), BASE_V2, {V2_TEMPLATE: BASE}, V2_TEMPLATE, V2),
        ((2, 1), BASE_V2, {}, V2_TEMPLATE, V2),
        ((2, 1), BASE_V3, {V2_TEMPLATE: BASE, V3_TEMPLATE: BASE}, V3_TEMPLATE, V3),
        ((1, 7), BASE_V2, {V2_TEMPLATE: BASE, V3_TEMPLATE: BASE}, V2_TEMPLATE, V2),
        # A template that came since the last start.
        ((2, 1), BASE_V2, {V2_TEMPLATE: BASE, V3_TEMPLATE: BASE}, V3_TEMPLATE, V3),
    ],
)
def test_the_template_that_is_read_gets_the_runtime(
    version: tuple[int, int], rendered: str, there: dict[str, str], path: str, plugin: str
) -> None:
    made = planned(K3S, version, {RENDERED: rendered, **there})
    assert {name: merged.text for name, merged in made.files.items()} == {path: BASE + section(plugin)}
    assert made.preview == rendered + section(plugin).replace("  # Registered by Bulkhead from its inventory.\n", "")
    after = {RENDERED: made.preview or "", **there, path: BASE + section(plugin)}
    again = planned(K3S, version, after, records=records(made))
    assert again.files == made.files
    assert tomllib.loads(again.preview or "") == tomllib.loads(made.preview or "")
    gone = planned(K3S, version, after, wanted=False, records=records(made))
    assert gone.files == {path: Merged(there.get(path), Record())}
    assert tomllib.loads(gone.preview or "") == tomllib.loads(rendered)


def test_rke2_has_its_own_directory() -> None:
    agent = "/var/lib/rancher/rke2/agent/etc/containerd"
    made = planned(RKE2, (2, 1), {f"{agent}/config.toml": BASE_V3})
    assert list(made.files) == [f"{agent}/config-v3.toml.tmpl"]


def test_the_drop_in_where_the_distribution_imports_it() -> None:
    made = planned(K3S, (2, 1), {RENDERED: IMPORTING, V3_TEMPLATE: BASE})
    assert {path: merged.text for path, merged in made.files.items()} == {DROP_IN: own(3, V3)}
    assert made.preview is None
    after = {RENDERED: IMPORTING, V3_TEMPLATE: BASE, DROP_IN: own(3, V3)}
    assert planned(K3S, (2, 1), after, records=records(made)).files == made.files
    gone = planned(K3S, (2, 1), after, wanted=False, records=records(made))
    assert gone.files == {DROP_IN: Merged(None, Record())}


def test_a_default_in_the_drop_in() -> None:
    made = planned(K3S, (2, 1), {RENDERED: IMPORTING}, default="runsc")
    engine = tomllib.loads(made.files[DROP_IN].text or "")["plugins"][V3]["containerd"]
    assert engine["default_runtime_name"] == "runsc"


def test_after_an_upgrade_to_a_release_with_drop_ins_the_template_is_the_user_s_again() -> None:
    users = BASE + "# mine\n"
    old = planned(K3S, (2, 1), {RENDERED: BASE_V3, V3_TEMPLATE: users})
    there = {RENDERED: IMPORTING + section(), V3_TEMPLATE: old.files[V3_TEMPLATE].text or ""}
    made = planned(K3S, (2, 1), there, records=records(old))
    assert made.files[V3_TEMPLATE] == Merged(users, Record())
    assert made.files[DROP_IN].text == own(3, V3)


def test_a_distribution_that_has_not_started_yet() -> None:
    error = refused(K3S, (2, 1), {})
    assert error.message == f"{RENDERED}: is not there, so k3s has not started yet"
    assert error.hint == "Start k3s once, then run again."


def test_a_runtime_that_k3s_registers_itself() -> None:
    error = refused(K3S, (2, 1), {RENDERED: BASE_V3 + section()})
    assert error.message == f"{V3_TEMPLATE}: the distribution registers a runtime runsc by itself"


def test_a_default_that_the_template_can_t_set() -> None:
    error = refused(K3S, (1, 7), {RENDERED: BASE_V2}, default="runsc")
    assert error.message.startswith(f"{V2_TEMPLATE}: the distribution's part has a table for containerd")


def test_a_rendered_file_that_is_broken_is_named() -> None:
    assert refused(K3S, (2, 1), {RENDERED: "[plugins\n"}).message.startswith(f"{RENDERED}: not valid TOML: ")


# k0s


@pytest.mark.parametrize(("version", "text"), [((1, 7), own(2, V2)), ((2, 1), own(3, V3)), ((2, 3), own(3, V3))])
@pytest.mark.parametrize("main", [None, "# k0s_managed=true\nversion = 2\n"])
def test_k0s_gets_a_drop_in(version: tuple[int, int], text: str, main: str | None) -> None:
    there = {K0S_MAIN: main} if main else {}
    made = planned(K0S, version, there)
    assert {path: merged.text for path, merged in made.files.items()} == {K0S_DROP_IN: text}
    assert made.started_anew
    again = planned(K0S, version, {**there, K0S_DROP_IN: text}, records=records(made))
    assert again.files == made.files
    gone = planned(K0S, version, {**there, K0S_DROP_IN: text}, wanted=False, records=records(made))
    assert gone.files == {K0S_DROP_IN: Merged(None, Record())}


def test_a_default_for_k0s() -> None:
    made = planned(K0S, (1, 7), {}, default="runsc")
    document = tomllib.loads(made.files[K0S_DROP_IN].text or "")
    assert document["plugins"][V2]["containerd"]["default_runtime_name"] == "runsc"
    assert list(document["plugins"][V2]["containerd"]["runtimes"]) == ["runsc"]


def test_a_configuration_that_k0s_does_not_manage() -> None:
    error = refused(K0S, (1, 7), {K0S_MAIN: "version = 2\n"})
    assert error.message == f"{K0S_MAIN}: is not managed by k0s, which then reads no drop-ins"


# The rest


def test_the_form_follows_the_name() -> None:
    assert form_of(V3_TEMPLATE) is TEMPLATE
    assert form_of(RENDERED) is not TEMPLATE


@pytest.mark.parametrize("name", NAMES[2:])
@pytest.mark.parametrize("default", [None, "runsc"])
def test_a_drop_in_is_what_containerd_takes(name: str, default: str | None) -> None:
    containerd = daemon(name)
    rendered = f'imports = ["/etc/containerd/config-v3.toml.d/*.toml"]\n{BASE_V3}'
    before = flat(dump(containerd, {"config.toml": rendered}))
    made = planned(K3S, containerd.version, {RENDERED: IMPORTING}, default=default)
    texts = {"config.toml": rendered, "config-v3.toml.d/bulkhead.toml": made.files[DROP_IN].text}
    assert flat(dump(containerd, texts)) == with_ours(before, [RUNSC], default, containerd.version)


@pytest.mark.parametrize("name", NAMES[1:])
def test_the_preview_is_what_containerd_would_take(name: str) -> None:
    containerd = daemon(name)
    rendered = BASE_V2 if containerd.version < (2, 0) else BASE_V3
    before = flat(dump(containerd, {"config.toml": rendered}))
    made = planned(K3S, containerd.version, {RENDERED: rendered})
    after = flat(dump(containerd, {"config.toml": made.preview}))
    assert after == with_ours(before, [RUNSC], None, containerd.version)
