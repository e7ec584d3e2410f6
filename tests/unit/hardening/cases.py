"""Hosts to harden, what a look at a well-kept one brings, and scripts that are run beside stubs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from bulkhead.inventory import InventoryHost
from bulkhead.look import PATH, Command, FoundFile, Look, Output
from deploys.hardening import facts, settings

KINDS = ("gvisor_hosts", "legacy_hosts")


def host(kind: str = "gvisor_hosts", data: dict[str, Any] | None = None, **hardening: Any) -> InventoryHost:
    """A host of this kind to which ops logs in."""
    described = {"engines": ["docker"], "ssh_user": "ops", **(data or {}), "hardening": hardening}
    return InventoryHost("agents-1", frozenset({kind, "all"}), described)


def override(value: str | int | None) -> dict[str, Any]:
    return {"value": value, "reason": "two uplinks"}


def look(files: dict[str, str | None] | None = None, **said: str | tuple[int, str]) -> Look:
    """A look in which these commands said something, by their names with `_` for dots (a status first, unless 0)."""
    wanted = settings.of(host())
    outputs = {need.name: Output(0, b"", b"") for need in facts.needs(wanted) if isinstance(need, Command)}
    for name, answer in said.items():
        status, text = answer if isinstance(answer, tuple) else (0, answer)
        outputs["hardening." + name.replace("_", ".") if name != "docker_info" else "docker.info"] = Output(
            status, text.encode(), b"audit: no" if status else b""
        )
    assert outputs.keys() == {need.name for need in facts.needs(wanted) if isinstance(need, Command)}
    found = {need.path: None for need in facts.needs(wanted) if not isinstance(need, Command)}
    return Look({**found, **{path: own(text) for path, text in (files or {}).items()}}, outputs)


def own(text: str | None) -> FoundFile | None:
    """A file as Bulkhead leaves it."""
    return None if text is None else FoundFile("file", text.encode(), 0o644, "root", "root")


def stub(folder: Path, name: str, script: str) -> None:
    """A program that notes how it was called in `calls`, and does what `script` says."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{folder}/calls\n{script}\n')
    (folder / name).chmod(0o755)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


def with_stubs(folder: Path) -> str:
    """The search path of scripts that change a host, with the stubs first."""
    return f"{folder}:{PATH}"


in_namespaces = pytest.mark.skipif(
    subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True).returncode != 0,
    reason="needs namespaces of its own",
)


def apart(script: str, *namespaces: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script in namespaces of its own, so that nothing of this machine changes."""
    return subprocess.run(
        ["unshare", *namespaces, "sh", "-c", f"{before}\nexec sh"],
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
    )
