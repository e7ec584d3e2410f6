"""A report of drift as Prometheus metrics, for the textfile collector of node_exporter.

Every metric bears the label `inventory`, so that the files of several inventories can lie in one directory. A run that
does not happen leaves the time of the last one as it is, which is what the alert rules go by.
"""

from __future__ import annotations

from collections import Counter

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from bulkhead.drift.report import Report

HELP = {
    "last_run_timestamp_seconds": "When the last check of the inventory ended.",
    "last_run_duration_seconds": "How long the last check of the inventory took.",
    "hosts": "Hosts by what the last check found: clean, drift, or error where it could not look.",
    "host_up": "Whether the last check could look at the host.",
    "host_duration_seconds": "How long the host took to answer the last check.",
    "host_last_success_timestamp_seconds": "When the host was last looked at.",
    "findings": "Differences from the inventory; those of a host that does not answer are the last known ones.",
    "oldest_finding_timestamp_seconds": "Since when the oldest finding is known.",
    "description_info": "What a host that checks itself goes by: the digest of its description.",
}
"""Name of a metric, after `bulkhead_drift_` → its help. A host that checks itself says the same (node_exporter wants
one text for each metric), and alone has the last one."""


def render(report: Report) -> str:
    """The text exposition format, version 0.0.4: times in seconds since 1970, durations in seconds."""
    registry = CollectorRegistry()

    def gauge(name: str, *labels: str) -> Gauge:
        return Gauge(f"bulkhead_drift_{name}", HELP[name], ("inventory", *labels), registry=registry)

    last_run = gauge("last_run_timestamp_seconds")
    duration = gauge("last_run_duration_seconds")
    hosts = gauge("hosts", "state")
    up = gauge("host_up", "host")
    host_duration = gauge("host_duration_seconds", "host")
    last_success = gauge("host_last_success_timestamp_seconds", "host")
    findings = gauge("findings", "host", "severity", "capability")
    oldest = gauge("oldest_finding_timestamp_seconds", "host", "severity")

    inventory = report.inventory
    last_run.labels(inventory).set(report.started.timestamp() + report.seconds)
    duration.labels(inventory).set(report.seconds)
    for state, number in report.states.items():
        hosts.labels(inventory, state).set(number)
    for host in report.hosts:
        up.labels(inventory, host.name).set(not host.error)
        host_duration.labels(inventory, host.name).set(host.seconds)
        if host.looked_at is not None:
            last_success.labels(inventory, host.name).set(host.looked_at.timestamp())
        found = Counter((seen.finding.severity, seen.finding.capability) for seen in host.findings)
        for (severity, capability), number in found.items():
            findings.labels(inventory, host.name, severity, capability).set(number)
        for severity in {seen.finding.severity: None for seen in host.findings}:
            since = min(seen.since for seen in host.findings if seen.finding.severity == severity)
            oldest.labels(inventory, host.name, severity).set(since.timestamp())
    return generate_latest(registry).decode()
