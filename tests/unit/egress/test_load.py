"""The egress policy is loaded first and kept when it is confirmed: by a real nft, under a timer that really runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bulkhead.templates import render, whole
from bulkhead.trial import Trial
from tests.unit.egress.namespaces import needs_nft

POLICY = "table inet bulkhead\ndelete table inet bulkhead\ntable inet bulkhead {{ chain {0} {{ }}; }}\n"


@needs_nft
@pytest.mark.usefixtures("timers")
@pytest.mark.parametrize("first", [True, False])
def test_a_ruleset_that_nobody_confirms(tmp_path: Path, first: bool) -> None:
    """A real nft: the confirmed one comes back, or none where there was none; then one is confirmed."""
    boot, where = tmp_path / "etc" / "egress.nft", {"boot_file": tmp_path / "etc" / "egress.nft"}
    tried = Trial("egress", "egress policy", "policy", 2, "1" * 64)
    back = render("egress/go_back.sh.j2", trial=tried, table="inet bulkhead", **where)
    load = whole(render("egress/load.sh.j2", **tried.values(back), ruleset=POLICY.format("new").encode()))
    confirm = tried.confirm(render("egress/keep.sh.j2", trial=tried, **where))
    if not first:
        boot.parent.mkdir()
        boot.write_text(POLICY.format("old"))
    listing = "nft list tables; nft list chains inet | grep chain"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", f"[ ! -e {boot} ] || nft -f {boot}\n exec sh"],
        input=f"""
        run() {{ sh; }}
        sh <<'END' || exit 1
{load}
END
        echo loaded; {listing}
        for try in $(seq 100); do [ ! -e {tried.rolled_back} ] || break; sleep 0.1; done
        echo back; {listing}
        sh <<'END' && exit 1
{confirm}
END
        sh <<'END' || exit 1
{load}
END
        sh <<'END' || exit 1
{confirm}
END
        sleep 2.5
        echo confirmed; {listing}
        """,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "the new egress policy was taken back before it was confirmed (see egress.confirm_seconds)" in done.stderr
    table = "table inet bulkhead"
    new, old = [table, "chain new {"], [table, "chain old {"]
    assert [line.strip() for line in done.stdout.splitlines() if line.strip() != f"{table} {{"] == [
        *("loaded", *new),
        *("back", *([] if first else old)),
        *("confirmed", *new),
    ]
    assert boot.read_text() == POLICY.format("new")
    assert list(Path(tried.state).iterdir()) == []


@needs_nft
def test_a_ruleset_that_nft_refuses_leaves_no_timer(tmp_path: Path, timers: Path) -> None:
    tried = Trial("egress", "egress policy", "policy", 60, "1" * 64)
    back = render("egress/go_back.sh.j2", trial=tried, table="inet bulkhead", boot_file=tmp_path / "none")
    load = whole(render("egress/load.sh.j2", **tried.values(back), ruleset=b"nonsense"))
    done = subprocess.run(["unshare", "--net", "sh"], input=load, capture_output=True, text=True)
    assert done.returncode == 1
    assert "nft refuses the ruleset; nothing was changed" in done.stderr
    assert not (timers / "bulkhead-egress-rollback.timer").exists()
    assert not Path(tried.pending).exists()
