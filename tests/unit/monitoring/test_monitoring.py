"""The alert rules and the dashboard, put to Prometheus's own tool; what they ask for is what a check writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bulkhead.drift.finding import Finding
from bulkhead.drift.formats import prometheus
from bulkhead.drift.report import Report, host_report
from bulkhead.templates import TEMPLATES
from tests.oracles import promtool

RULES = TEMPLATES / "monitoring" / "bulkhead.rules.yml"
RULES_TEST = Path(__file__).with_name("rules_test.yml")
DASHBOARD: dict[str, Any] = json.loads((TEMPLATES / "monitoring" / "grafana-dashboard.json").read_text())

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FINDING = Finding("docker", "/etc/docker/daemon.json", "a", "b", "critical", "Run the deploy.")


def test_prometheus_accepts_the_rules() -> None:
    result = promtool.run("check", "rules", "--lint-fatal", RULES)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "SUCCESS: 9 rules found" in result.stdout


def test_each_alert_fires_when_it_has_to_and_only_then() -> None:
    result = promtool.run("test", "rules", RULES_TEST)
    assert result.returncode == 0, result.stdout + result.stderr


def test_each_alert_is_tried() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    fired = re.findall(r"alertname: (\w+)\n +exp_alerts:", RULES_TEST.read_text())
    silent = re.findall(r"alertname: (\w+)\n(?! +exp_alerts:)", RULES_TEST.read_text())
    assert sorted(set(fired)) == sorted(alerts)
    assert sorted(set(silent)) == sorted(alerts)


OF_ITSELF = {"bulkhead_drift_description_info"}
"""What hosts write that check themselves, besides what a check writes."""


def written() -> set[str]:
    report = Report(inventory="i.py", started=NOON, seconds=1, hosts=(host_report("a", [FINDING], NOON, 0.1, None),))
    return set(re.findall(r"^# TYPE (\w+)", prometheus.render(report), re.MULTILINE))


def queries() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]


def asked_for(text: str) -> set[str]:
    return set(re.findall(r"bulkhead_drift_\w+", text))


def test_rules_and_dashboard_ask_for_what_a_check_writes() -> None:
    assert asked_for(RULES.read_text()) <= written() | OF_ITSELF
    # The dashboard shows all there is.
    assert asked_for(json.dumps(DASHBOARD)) == written() | OF_ITSELF


@pytest.mark.parametrize("query", [pytest.param(query, id=title) for title, query in queries()])
def test_prometheus_parses_each_query_of_the_dashboard(query: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    # JSON is YAML. Grafana puts regular expressions where its variables stand.
    expression = re.sub(r"\$\w+", "a|b", query)
    assert expression != query
    rules.write_text(json.dumps({"groups": [{"name": "panel", "rules": [{"record": "panel", "expr": expression}]}]}))
    result = promtool.run("check", "rules", rules)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_dashboard_leaves_the_data_source_to_a_variable() -> None:
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "inventory", "host"]
    sources = [panel["datasource"] for panel in DASHBOARD["panels"]]
    sources += [target["datasource"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    sources += [variable["datasource"] for variable in DASHBOARD["templating"]["list"][1:]]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


def test_the_panels_have_names_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert {x for x, _ in taken} == set(range(24))
