"""A real nft in a network namespace of its own, which is gone when the process ends."""

from __future__ import annotations

import os
import subprocess

import pytest

needs_nft = pytest.mark.usefixtures("nftables")


def nft(script: str, *rulesets: str) -> subprocess.CompletedProcess[str]:
    """What a shell script says in a namespace where `load 1`, `load 2` … load these rulesets."""
    environment = {f"RULESET_{number}": text for number, text in enumerate(rulesets, 1)}
    load = """load() { eval "printf '%s' \\"\\$RULESET_$1\\"" | nft -f -; }\n"""
    return subprocess.run(
        ["unshare", "--net", "sh", "-ec", load + script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def check(ruleset: str) -> str:
    """What `nft --check` has against a ruleset; empty when it has nothing."""
    done = subprocess.run(
        ["unshare", "--net", "nft", "--check", "--file", "-"],
        input=ruleset,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return "" if done.returncode == 0 else done.stderr or "no word"
