"""A report of drift as JUnit XML, as CI systems show it: a suite for each host, a test case for each finding.

The format is the one that Jenkins describes as `junit-10.xsd` and GitLab reads; neither shows the attribute `message`
everywhere, so the element's text says it all. A finding's test case bears the same name in every run, so that a CI says
since when it fails; what is gone passes.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC
from xml.etree import ElementTree

from bulkhead.drift.report import HostReport, Report, Seen

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What can't stand in XML 1.0, not even escaped."""


def render(report: Report) -> str:
    """The whole document."""
    root = ElementTree.Element("testsuites", name=_legal(f"drift of {report.inventory}"), time=f"{report.seconds:.3f}")
    root.extend([_suite(host, report) for host in report.hosts])
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    ElementTree.indent(root, " ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(host: HostReport, report: Report) -> ElementTree.Element:
    cases = [_looked_at(host), *_cases(host)]
    suite = ElementTree.Element(
        "testsuite",
        name=_legal(host.name),
        hostname=_legal(host.name),
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        errors=str(sum(case.find("error") is not None for case in cases)),
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
        time=f"{host.seconds:.3f}",
        timestamp=f"{report.started.astimezone(UTC):%Y-%m-%dT%H:%M:%S}",
    )
    upstream = [seen for seen in host.findings if seen.finding.upstream]
    if upstream:
        properties = ElementTree.SubElement(suite, "properties")
        for seen in upstream:
            finding = seen.finding
            value = f"expected {finding.expected.strip()}, actual {finding.actual.strip()}: {finding.mend}"
            name = f"upstream {finding.capability}: {finding.subject}"
            ElementTree.SubElement(properties, "property", name=_legal(name), value=_legal(value))
    suite.extend(cases)
    return suite


def _looked_at(host: HostReport) -> ElementTree.Element:
    """The test case that every host has, so that one without a finding shows too."""
    case = ElementTree.Element(
        "testcase", classname=_legal(host.name), name="the host can be looked at", time=f"{host.seconds:.3f}"
    )
    if host.error:
        _add(case, "error", host.error.splitlines()[0], host.error)
    return case


def _cases(host: HostReport) -> list[ElementTree.Element]:
    cases = []
    names: Counter[tuple[str, str]] = Counter()
    for seen in host.findings:
        if seen.finding.upstream:
            continue
        place = (seen.finding.capability, seen.finding.subject)
        names[place] += 1
        case = _case(host, seen, number=names[place])
        cases.append(case)
        if host.error:
            _add(case, "skipped", "not looked at now", f"Found before, and nobody saw it go.\n{_detail(seen)}")
        else:
            _add(case, "failure", _message(seen), _detail(seen))
    for seen in host.gone:
        if not seen.finding.upstream and (seen.finding.capability, seen.finding.subject) not in names:
            cases.append(_case(host, seen))
    return cases


def _case(host: HostReport, seen: Seen, number: int = 1) -> ElementTree.Element:
    """`number` tells findings of one subject apart, of which a CI would keep the last."""
    return ElementTree.Element(
        "testcase",
        classname=_legal(f"{host.name}.{seen.finding.capability}"),
        name=_legal(seen.finding.subject + (f" ({number})" if number > 1 else "")),
        time="0",
    )


def _add(case: ElementTree.Element, kind: str, message: str, text: str) -> None:
    ElementTree.SubElement(case, kind, message=_legal(message)).text = _legal(text)


def _message(seen: Seen) -> str:
    finding = seen.finding
    if finding.diff:
        return f"{finding.severity}: differs from its description"
    return f"{finding.severity}: expected {_value(finding.expected)}, actual {_value(finding.actual)}"


def _detail(seen: Seen) -> str:
    finding = seen.finding
    values = finding.diff or [f"expected: {_value(finding.expected)}", f"actual:   {_value(finding.actual)}"]
    since = f"{seen.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return "\n".join([f"{finding.severity}, since {since}", *values, finding.mend])


def _value(text: str) -> str:
    return text.strip() or "(nothing)"


def _legal(text: str) -> str:
    """The text with what XML forbids made visible: a part of it comes from the hosts."""
    return _FORBIDDEN.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
