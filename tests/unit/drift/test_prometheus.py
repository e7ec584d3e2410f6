"""Metrics: what each says, and that Prometheus itself reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bulkhead.drift.finding import Finding
from bulkhead.drift.formats import FORMATS
from bulkhead.drift.report import HostReport, Report, failed_report, host_report
from tests.oracles import promtool

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)  # 1795348800
LATER = NOON + timedelta(minutes=5)

FORWARD = Finding("hardening", "sysctl net.ipv4.ip_forward", "1", "0", "critical", "Run the deploy.")
BPF = Finding("hardening", "sysctl kernel.unprivileged_bpf_disabled", "1", "0", "critical", "Run the deploy.")
MODE = Finding("docker", "/etc/docker/daemon.json", "mode 0644", "mode 0600", "warning", "Run the deploy.")
RELEASE = Finding("gvisor", "release", "20260905.0", "20261101.0", "info", "Pin it, then run the deploy.")


def metrics(*hosts: HostReport, inventory: str = "i.py") -> str:
    return FORMATS["prometheus"](Report(inventory=inventory, started=LATER, seconds=1.5, hosts=hosts))


def samples(text: str) -> list[str]:
    return [line.removeprefix("bulkhead_drift_") for line in text.splitlines() if not line.startswith("#")]


def test_what_each_says() -> None:
    before = host_report("a", [FORWARD, MODE], NOON, 0.1, None)
    text = metrics(
        host_report("a", [FORWARD, BPF, MODE, RELEASE], LATER, 0.25, before), HostReport(name="b", seconds=1)
    )
    assert samples(text) == [
        'last_run_timestamp_seconds{inventory="i.py"} 1.7953491015e+09',
        'last_run_duration_seconds{inventory="i.py"} 1.5',
        'hosts{inventory="i.py",state="clean"} 1.0',
        'hosts{inventory="i.py",state="drift"} 1.0',
        'hosts{inventory="i.py",state="error"} 0.0',
        'host_up{host="a",inventory="i.py"} 1.0',
        'host_up{host="b",inventory="i.py"} 1.0',
        'host_duration_seconds{host="a",inventory="i.py"} 0.25',
        'host_duration_seconds{host="b",inventory="i.py"} 1.0',
        'host_last_success_timestamp_seconds{host="a",inventory="i.py"} 1.7953491e+09',
        'findings{capability="hardening",host="a",inventory="i.py",severity="critical"} 2.0',
        'findings{capability="docker",host="a",inventory="i.py",severity="warning"} 1.0',
        'findings{capability="gvisor",host="a",inventory="i.py",severity="info"} 1.0',
        'oldest_finding_timestamp_seconds{host="a",inventory="i.py",severity="critical"} 1.7953488e+09',
        'oldest_finding_timestamp_seconds{host="a",inventory="i.py",severity="warning"} 1.7953488e+09',
        'oldest_finding_timestamp_seconds{host="a",inventory="i.py",severity="info"} 1.7953491e+09',
    ]


def test_a_host_that_does_not_answer_keeps_what_is_known_of_it() -> None:
    before = host_report("a", [FORWARD], NOON, 0.1, None)
    found = samples(metrics(failed_report("a", "no answer", 10.0, before), HostReport(name="never", error="no answer")))
    assert found[2:5] == [
        'hosts{inventory="i.py",state="clean"} 0.0',
        'hosts{inventory="i.py",state="drift"} 0.0',
        'hosts{inventory="i.py",state="error"} 2.0',
    ]
    assert found[5:7] == ['host_up{host="a",inventory="i.py"} 0.0', 'host_up{host="never",inventory="i.py"} 0.0']
    assert found[9:] == [
        'host_last_success_timestamp_seconds{host="a",inventory="i.py"} 1.7953488e+09',
        'findings{capability="hardening",host="a",inventory="i.py",severity="critical"} 1.0',
        'oldest_finding_timestamp_seconds{host="a",inventory="i.py",severity="critical"} 1.7953488e+09',
    ]


ODD = 'x"} 1\nfake{a="\\'


@pytest.mark.parametrize(
    "text",
    [
        metrics(),
        metrics(host_report("a", [FORWARD, MODE, RELEASE], NOON, 0.1, None), HostReport(name="b", error="no answer")),
        metrics(host_report(ODD, [FORWARD], NOON, 0.1, None), inventory=ODD),
    ],
    ids=["no host", "hosts", "odd names"],
)
def test_prometheus_reads_them_and_its_linter_has_nothing_to_say(text: str) -> None:
    result = promtool.run("check", "metrics", stdin=text)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_an_odd_name_stays_one_label() -> None:
    families = text_string_to_metric_families(metrics(HostReport(name=ODD), inventory=ODD))
    (up,) = (sample for family in families for sample in family.samples if sample.name == "bulkhead_drift_host_up")
    assert up.labels == {"inventory": ODD, "host": ODD}
