"""The benchmark reads Lynis's report as it is written, and no other."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from benchmarks.lynis import differences, read, table

BEFORE = """\
# Lynis Report
report_version_major=1
lynis_version=3.0.8
suggestion[]=DEB-0280|Install libpam-tmpdir to set $TMP and $TMPDIR for PAM sessions|-|-|
home_directory[]=/root
suggestion[]=NETW-3200|Determine if protocol 'dccp' is really needed on this system|-|-|
warning[]=NETW-3015|Found promiscuous interface|vnet1|text:Determine if this mode is required|
warning[]=NETW-3015|Found promiscuous interface|vnet2|text:Determine if this mode is required|
details[]=SSH-7408|sshd|desc:sshd option X11Forwarding;field:X11Forwarding;prefval:NO;value:YES;|
details[]=KRNL-6000|sysctl|desc:Restrict access to kernel symbols;field:kernel.kptr_restrict;prefval:2;value:0;|
details[]=KRNL-6000|sysctl|desc:Disable magic SysRQ;field:kernel.sysrq;prefval:0;value:438;|
details[]=KRNL-6000|sysctl|desc:No description;field:kernel.yama.ptrace_scope;prefval:1 2 3;value:0;|
suggestion[]=KRNL-6000|One or more sysctl values differ from the scan profile and could be tweaked||Change them|
hardening_index=56
tests_executed=KRNL-6000|NETW-3015|
finish=true
"""

AFTER = """\
# Lynis Report
lynis_version=3.0.8
warning[]=NETW-3015|Found promiscuous interface|vnet2|text:Determine if this mode is required|
suggestion[]=DEB-0280|Install libpam-tmpdir to set $TMP and $TMPDIR for PAM sessions|-|-|
suggestion[]=LOGG-2190|Check what deleted files are still in use and why.|-|-|
details[]=KRNL-6000|sysctl|desc:No description;field:kernel.yama.ptrace_scope;prefval:1 2 3;value:0;|
suggestion[]=KRNL-6000|One or more sysctl values differ from the scan profile and could be tweaked||Change them|
hardening_index=71
finish=true
"""


def test_what_lynis_found() -> None:
    report = read(BEFORE)
    assert (report.version, report.index) == ("3.0.8", 56)
    assert report.warnings == (
        "NETW-3015: Found promiscuous interface (vnet1)",
        "NETW-3015: Found promiscuous interface (vnet2)",
    )
    assert report.suggestions == (
        "DEB-0280: Install libpam-tmpdir to set $TMP and $TMPDIR for PAM sessions",
        "NETW-3200: Determine if protocol 'dccp' is really needed on this system",
        "KRNL-6000: One or more sysctl values differ from the scan profile and could be tweaked",
    )
    assert report.settings == (
        "kernel.kptr_restrict = 0 (profile: 2)",
        "kernel.sysrq = 438 (profile: 0)",
        "kernel.yama.ptrace_scope = 0 (profile: 1 2 3)",
    )


def test_differences() -> None:
    """What is the same before and after is named only where it is a complaint that stays."""
    assert differences(read(BEFORE), read(AFTER)) == [
        "gone: warning NETW-3015: Found promiscuous interface (vnet1)",
        "gone: suggestion NETW-3200: Determine if protocol 'dccp' is really needed on this system",
        "new: suggestion LOGG-2190: Check what deleted files are still in use and why.",
        "left: warning NETW-3015: Found promiscuous interface (vnet2)",
        "left: setting kernel.yama.ptrace_scope = 0 (profile: 1 2 3)",
    ]


def test_table() -> None:
    console = Console(file=io.StringIO(), width=120)
    with console.capture() as capture:
        console.print(table({"before": read(BEFORE), "after": read(AFTER)}))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capture.get().splitlines() if "│" in line]
    assert rows == [
        ["hardening index, of 100", "56", "71"],
        ["warnings", "2", "1"],
        ["suggestions", "3", "3"],
        ["kernel settings unlike its profile", "3", "1"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        BEFORE.replace("finish=true\n", ""),
        BEFORE.replace("hardening_index=56\n", ""),
    ],
)
def test_an_audit_that_did_not_end(text: str) -> None:
    with pytest.raises(ValueError, match="the audit was cut short"):
        read(text)


def test_settings_that_are_reported_otherwise() -> None:
    """A newer Lynis that names them in another form would else show as one that has nothing to say of them."""
    with pytest.raises(ValueError, match="no details for KRNL-6000"):
        read(BEFORE.replace("field:kernel.", "key:kernel."))
