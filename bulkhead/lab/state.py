"""What the lab is, once it is up: the one file that inventories, tests and the demo read."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from bulkhead import files
from bulkhead.errors import BulkheadError
from bulkhead.lab import paths

STATE_FILE = paths.LAB / "lab.json"

Origin = Literal["directory", "release site", "go module", "distribution"]
Layout = Literal["loose", "tarball"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MachineState(_Part):
    """How to reach a machine."""

    address: str
    port: int
    user: str
    ssh_key: Path
    known_hosts: Path


class GvisorState(_Part):
    """Where the lab's gVisor comes from.

    `detail` says more in words; `release`, `layout`, `base_url` (the machines' view) and `sha512` (by artefact, in
    hexadecimal, for the machines' architecture) are empty when it comes from the distribution.
    """

    origin: Origin
    detail: str
    release: str = ""
    layout: Layout | None = None
    base_url: str = ""
    sha512: dict[str, str] = {}


class LabState(_Part):
    """The lab as it runs. `timings` holds seconds by step, of the command that brought it up last."""

    suite: str
    driver: str
    box: str
    proxy: str
    machines: dict[str, MachineState]
    gvisor: GvisorState
    timings: dict[str, float] = {}

    @classmethod
    def load(cls, path: Path = STATE_FILE) -> Self:
        """Read the state. Raises BulkheadError if the lab isn't up or the file isn't one of this version's."""
        try:
            return cls.model_validate_json(path.read_text())
        except FileNotFoundError:
            raise BulkheadError("the lab isn't up", hint="Start it: make lab-up.") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise BulkheadError(
                f"{path}: {place}: {first['msg']}", hint="Make it anew: make lab-down, then make lab-up."
            ) from None

    def save(self, path: Path = STATE_FILE) -> None:
        """Write the state, atomically."""
        files.write(path, self.model_dump_json(indent=1) + "\n")
