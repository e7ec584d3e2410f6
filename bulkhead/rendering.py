"""What a host would get, without connecting to it."""

from __future__ import annotations

from bulkhead import inventory_file
from bulkhead.capability import files_of
from bulkhead.errors import BulkheadError


def rendered(inventory: str, name: str, file: str | None = None) -> dict[str, bytes]:
    """Path → content of the files of one host, or of the one `file`, with or without the slash at its beginning.

    Raises BulkheadError when the inventory is wrong, has no such host, or the host no such file.
    """
    files = files_of(inventory_file.load_one(inventory, name))
    if file is None:
        return files
    path = "/" + file.lstrip("/")
    if path not in files:
        raise BulkheadError(f"{name} gets no file {path}", hint="\n  ".join(["It gets:", *files]) if files else "")
    return {path: files[path]}
