"""What the kernel writes down: rules of auditd's. Pure, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bulkhead.errors import BulkheadError
from bulkhead.look import Command, File, Look, Need
from bulkhead.templates import render
from deploys.hardening import area

PATH = "/etc/audit/rules.d/50-bulkhead.rules"

MODES = {PATH: 0o640}
"""Nobody but root has to know what is not watched."""

PACKAGE = "auditd"

AS_WANTED = ["active", "enabled"]
"""What systemd says of the daemon's unit; one that is disabled or masked would not run after the next boot."""

DIRECTORIES = {"/opt/gvisor": "", "/var/lib/bulkhead": "", "/etc/docker": "dockerd", "/etc/containerd": "containerd"}
"""Directories that must be there before they are watched, else only the name is: path → the program that needs it."""


TMPFILES = "/etc/tmpfiles.d/zz-bulkhead-audit.conf"
RUN = {"/run/containerd/containerd.sock": ("/run/containerd", "0711")}
"""Files below /run, which every boot begins anew: path → directory that must be there before, and its mode, as
containerd itself makes it (its server.go). The directory itself is not watched: with it the file systems of the
containers would be, which are mounted below.

Debian's units load audit rules after systemd-tmpfiles-setup.service, and long before containerd starts.
"""


def key(name: str) -> str:
    """What a record is found by (`ausearch -k`)."""
    return f"bulkhead-{name}"


def content(values: Mapping[str, str]) -> str:
    """The rules, each with its key."""
    return area.HEADER + "".join(f"{rule} -k {key(name)}\n" for name, rule in values.items())


def tmpfiles(values: Mapping[str, str]) -> str | None:
    """What makes the directories below /run at each boot; None where none of them is watched."""
    lines = [f"d {path} {mode} root root -\n" for file, (path, mode) in RUN.items() if file in _paths(values)]
    return area.HEADER + "".join(lines) if lines else None


def files(values: Mapping[str, str]) -> dict[str, str | None]:
    """Path → content of what this area writes; None for what has to go."""
    return {PATH: content(values) if values else None, TMPFILES: tmpfiles(values)}


def needs() -> list[Need]:
    """Our files, the rules that are loaded, the daemon, and whether this is a container."""
    return [
        File(PATH),
        File(TMPFILES),
        Command("hardening.audit", "auditctl -l"),
        Command("hardening.audit.status", "auditctl -s"),
        Command("hardening.auditd", "systemctl is-active auditd.service; systemctl is-enabled auditd.service; :"),
        Command("hardening.container", "systemd-detect-virt --container; :"),
    ]


def pattern(name: str, rule: str) -> str:
    """An extended regular expression for the line by which `auditctl -l` shows a rule.

    A watch may be shown as a watch or as the rule that it is (audit 3 and 4).
    """
    watch = re.fullmatch(r"-w (\S+) -p (\w+)", rule)
    if not watch:
        return f"^{_literal(rule)} (-F key=|-k ){_literal(key(name))}$"
    path, permissions = _literal(watch[1]), "".join(letter for letter in "rwxa" if letter in watch[2])
    return (
        f"^(-w {path}/? -p {permissions} -k {_literal(key(name))}"
        f"|-a always,exit .*(path|dir)={path}/? .*perm={permissions} .*key={_literal(key(name))})$"
    )


def _literal(text: str) -> str:
    return re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", text)


def plan(values: Mapping[str, str], look: Look, *, installed: bool) -> area.Plan:
    """The rules, loaded; `installed` is whether auditd is there already, else it is by then.

    Raises BulkheadError where the kernel takes no rules from this host.
    """
    if not values:
        return area.plan(
            area.own_files(look, files(values), modes=MODES), activate="augenrules --load >/dev/null 2>&1 || :"
        )
    container = look.outputs["hardening.container"].text
    if container not in ("", "none"):
        raise BulkheadError(
            f"audit: the host is a container ({container}), and the kernel takes audit rules from its own host alone",
            hint='Leave it out: hardening = {"off": {"audit": "the host is a container"}}.',
        )
    status = look.outputs["hardening.audit.status"]
    if installed and status.status != 0:
        raise BulkheadError(
            f"audit: the kernel takes no audit rules: {status.stderr.decode(errors='replace').strip()}",
            hint='Boot it without audit=0, or leave it out: hardening = {"off": {"audit": "the reason"}}.',
        )
    loaded = look.outputs["hardening.audit"].text.splitlines()
    patterns = {name: pattern(name, rule) for name, rule in values.items()}
    missing = [name for name, line in patterns.items() if not any(re.search(line, one) for one in loaded)]
    fixed = bool(re.search(r"^enabled 2$", status.text, re.MULTILINE))
    daemon = look.outputs["hardening.auditd"].text.split()
    wrong = [area.Wrong(f"audit rule {name}", values[name], "", f"~ audit: {name}") for name in missing]
    if re.search(r"^enabled 0$", status.text, re.MULTILINE):
        wrong.append(area.Wrong("audit", "enabled", "disabled", "~ audit is enabled"))
    unit = []
    if daemon != AS_WANTED:
        line = "~ auditd runs, at boot too"
        unit.append(area.Wrong("unit auditd.service", " ".join(AS_WANTED), " ".join(daemon), line))
    notes = ["audit: the rules are locked until the next boot, which takes in those of Bulkhead"] if fixed else []
    fill = {
        "directories": _watched(values),
        "tmpfiles": TMPFILES if tmpfiles(values) else "",
        "patterns": list(patterns.values()),
        "fixed": fixed,
    }
    return area.plan(
        area.own_files(look, files(values), modes=MODES),
        wrong=unit if fixed else [*wrong, *unit],
        beyond=wrong if fixed else (),
        notes=notes,
        # That the daemon runs at the next boot, which takes the rules in, no lock is in the way of.
        activate="" if fixed and not unit else render("hardening/audit_activate.sh.j2", **fill),
        prove="" if fixed else render("hardening/audit_prove.sh.j2", **fill),
    )


def _paths(values: Mapping[str, str]) -> set[str]:
    return {rule.split()[1] for rule in values.values() if rule.startswith("-w ")}


def _watched(values: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(path, program) for path, program in DIRECTORIES.items() if path in _paths(values)]
