"""Where the lab keeps its things: what belongs to this checkout, and what is worth keeping between labs."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
LAB = CHECKOUT / ".lab"
LOGS = LAB / "logs"
RUN = LAB / "run"


def run_of(checkout: Path) -> Path:
    """Where the lab of another checkout has what RUN is for this one."""
    return checkout / RUN.relative_to(CHECKOUT)


def cache() -> Path:
    """Bulkhead's folder in the user's cache: boxes, packages, gVisor builds, the lab's ssh key."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "bulkhead"
