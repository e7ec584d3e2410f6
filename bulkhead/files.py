"""Files that are either complete or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which replaces `path` when the block ends well and is removed if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write `text` to `path` at once, with the permissions `mode`."""
    with replacing(path) as partial:
        # Until all of it is there it is nobody else's to read.
        partial.touch(0o600)
        partial.write_text(text)
        partial.chmod(mode)
