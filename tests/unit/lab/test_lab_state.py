"""The lab's state file."""

from pathlib import Path

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.lab.state import GvisorState, LabState, MachineState

STATE = LabState(
    suite="trixie",
    driver="qemu",
    box="trixie-0123456789ab",
    proxy="http://192.168.230.1:3143",
    machines={
        "gvisor": MachineState(
            address="192.168.230.10",
            port=22,
            user="vagrant",
            ssh_key=Path("/home/someone/.cache/bulkhead/ssh/lab"),
            known_hosts=Path("/checkout/.lab/known_hosts"),
        )
    },
    gvisor=GvisorState(
        origin="release site",
        detail="the site",
        release="20260817.0",
        layout="loose",
        base_url="http://192.168.230.1:3144",
        sha512={"runsc": "ab" * 64},
    ),
    timings={"Build the box": 54.1},
)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "lab.json"
    STATE.save(path)
    assert LabState.load(path) == STATE
    assert [entry.name for entry in tmp_path.iterdir()] == ["lab.json"]


def test_absent_says_how_to_start_the_lab(tmp_path: Path) -> None:
    with pytest.raises(BulkheadError, match="the lab isn't up") as error:
        LabState.load(tmp_path / "lab.json")
    assert "make lab-up" in error.value.hint


@pytest.mark.parametrize("text", ["", "{}", '{"suite": "trixie"'])
def test_broken_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lab.json"
    path.write_text(text)
    with pytest.raises(BulkheadError, match=str(path)) as error:
        LabState.load(path)
    assert "make lab-down" in error.value.hint


def test_a_wrong_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lab.json"
    path.write_text(STATE.model_dump_json().replace('"port":22', '"port":"ssh"'))
    with pytest.raises(BulkheadError, match=r"machines\.gvisor\.port"):
        LabState.load(path)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lab.json"
    STATE.save(path)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        STATE.model_copy(update={"suite": "bookworm"}).save(path)
    assert LabState.load(path).suite == "trixie"
    assert [entry.name for entry in tmp_path.iterdir()] == ["lab.json"]
