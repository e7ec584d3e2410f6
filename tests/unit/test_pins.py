"""The file of pinned digests: a wrong one is named by file and entry."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead import pins
from bulkhead.errors import BulkheadError

DIGEST = "0123456789abcdef" * 8


def refused(path: Path, text: str | bytes) -> BulkheadError:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BulkheadError) as error:
        pins.load(path)
    return error.value


def test_the_repository_s_own_pins_hold_both_programs_for_both_architectures() -> None:
    known = pins.load()
    assert {"20260817.0", "20260810.0"} <= set(known)
    assert known["20260817.0"]["x86_64"]["runsc"].startswith("84936438d583ec97")
    assert known["20260817.0"]["aarch64"]["containerd-shim-runsc-v1"].endswith("1ac10c6bf4bb")
    for architectures in known.values():
        assert set(architectures) == {"x86_64", "aarch64"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BulkheadError) as error:
        pins.load(tmp_path / "pins.json")
    assert error.value.message == f"{tmp_path}/pins.json: No such file or directory"
    assert error.value.hint == "Restore the file from the repository."


@pytest.mark.parametrize("text", ["{", "", "{'a': 1}", b"\xff\xfe"])
def test_something_else_than_json(tmp_path: Path, text: str | bytes) -> None:
    error = refused(tmp_path / "pins.json", text)
    assert error.message.startswith(f"{tmp_path}/pins.json: not valid JSON: ")
    assert error.hint == "Restore the file from the repository."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected an object of releases"),
        ({"20260817.0": DIGEST}, "20260817.0: expected an object of architectures"),
        ({"20260817.0": {"x86_64": DIGEST}}, "20260817.0.x86_64: expected an object of artefacts"),
        ({"20260817.0": {"x86_64": {}}}, "20260817.0.x86_64: expected an object of artefacts"),
        *(
            (
                {"20260817.0": {"x86_64": {"runsc": wrong}}},
                "20260817.0.x86_64.runsc: not a sha512 digest (128 hexadecimal digits)",
            )
            for wrong in (DIGEST[1:], DIGEST + "0", DIGEST.upper(), DIGEST + "\n", "g" + DIGEST[1:], 5, None)
        ),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, data: object, message: str) -> None:
    assert refused(tmp_path / "pins.json", json.dumps(data)).message == f"{tmp_path}/pins.json: {message}"


def test_the_newest_release_comes_first(tmp_path: Path) -> None:
    entry = {"x86_64": {"runsc": DIGEST}}
    releases = ["20260706.0", "20260817.10", "20260817.9", "20261201", "20260817"]
    pins.save(dict.fromkeys(releases, entry), tmp_path / "pins.json")
    assert re.findall(r'^ "([^"]*)"', (tmp_path / "pins.json").read_text(), re.MULTILINE) == [
        "20261201",
        "20260817.10",
        "20260817.9",
        "20260817",
        "20260706.0",
    ]


def test_writing_leaves_one_file_that_everyone_may_read(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    path.write_text("{}")
    path.chmod(0o600)
    pins.save({"20260817.0": {"x86_64": {"runsc": DIGEST}}}, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["pins.json"]
    assert path.stat().st_mode & 0o7777 == 0o644
    assert path.read_text() == f'{{\n "20260817.0": {{\n  "x86_64": {{\n   "runsc": "{DIGEST}"\n  }}\n }}\n}}\n'


DIGESTS = st.text("0123456789abcdef", min_size=128, max_size=128)
RELEASES = st.from_regex(r"20\d{6}(\.\d{1,2})?", fullmatch=True)


@settings(max_examples=30)
@given(
    st.dictionaries(
        RELEASES,
        st.dictionaries(
            st.sampled_from(["x86_64", "aarch64"]),
            st.dictionaries(st.sampled_from(["runsc", "gvisor.tar.bz2"]), DIGESTS, min_size=1),
        ),
        max_size=3,
    )
)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, known: pins.Pins) -> None:
    path = tmp_path_factory.getbasetemp() / "pins.json"
    pins.save(known, path)
    assert pins.load(path) == known
