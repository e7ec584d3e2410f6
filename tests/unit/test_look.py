"""One look answers for every file and command, and a broken answer is never taken for an empty host."""

import base64
import gzip
import io
import os
import socket
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead import look
from bulkhead.errors import BulkheadError
from bulkhead.look import Command, File, FoundFile, Need, Output, parse, script
from tests.unit.helpers import GROUP, USER, as_root, found, looked, sh


def test_a_file_comes_with_content_owner_and_mode(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"it's\n\x00\xff")
    (tmp_path / "a").chmod(0o640)
    assert found(tmp_path / "a") == FoundFile("file", b"it's\n\x00\xff", 0o640, USER, GROUP)


def test_the_digest_is_sha256() -> None:
    there = FoundFile("file", b"abc", 0o644, "root", "root")
    assert there.digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_an_empty_file_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").touch(mode=0o600)
    assert found(tmp_path / "a") == FoundFile("file", b"", 0o600, USER, GROUP)


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    paths = [str(tmp_path / name) for name in ("missing", "no/such/directory", "file/below")]
    result = sh(script([File(path) for path in paths]))
    assert parse(result.stdout, [File(path) for path in paths]).files == dict.fromkeys(paths)
    assert result.stderr == ""


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("secret")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("/nowhere")
    for name, target in (("link", "target"), ("dangling", "/nowhere")):
        there = found(tmp_path / name)
        assert there is not None
        assert (there.kind, there.target, there.content) == ("link", target, b"")


def test_a_link_on_the_way_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("x")
    (tmp_path / "link").symlink_to("real")
    there = found(tmp_path / "link" / "a")
    assert there is not None
    assert (there.kind, there.content) == ("file", b"x")


def test_a_directory_comes_without_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o750)
    (tmp_path / "folder" / "a").write_bytes(os.urandom(500_000))
    needs = [File(str(tmp_path / "folder"))]
    answer = sh(script(needs)).stdout
    there = parse(answer, needs).files[str(tmp_path / "folder")]
    assert there == FoundFile("directory", b"", 0o750, USER, GROUP)
    assert len(answer) < 2000


def test_hard_links_both_have_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("same")
    os.link(tmp_path / "a", tmp_path / "b")
    files = looked(File(str(tmp_path / "a")), File(str(tmp_path / "b"))).files.values()
    assert [there and there.content for there in files] == [b"same", b"same"]


def test_a_pipe_is_seen_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    there = found(tmp_path / "pipe")
    assert there is not None
    assert there.kind == "other"


@pytest.mark.parametrize("name", ["a b", "it's", 'a"b', "$(touch x)", "a;b", "ä", "*", "a\\b", "-C", "l" * 200])
def test_any_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    (tmp_path / "other").write_text("y")
    there = found(tmp_path / name)
    assert there is not None
    assert there.content == b"x"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_is_not_text_is_named() -> None:
    with pytest.raises(BulkheadError) as error:
        FoundFile("file", b"ok \xff", 0o644, "root", "root").text("/etc/docker/daemon.json")
    assert error.value.message == "/etc/docker/daemon.json: not UTF-8 (byte 3)"
    assert error.value.hint == "Correct it, then run again."


# Commands


def test_a_command_comes_with_status_and_both_outputs() -> None:
    command = Command("a", "echo out; echo \"it's\" >&2; printf '\\0\\377' ; exit 7")
    output = looked(command).outputs["a"]
    assert output == Output(7, b"out\n\x00\xff", b"it's\n")


def test_text_is_without_the_newlines_around_it() -> None:
    assert Output(0, b"\n 1.7.24 \n\n", b"").text == " 1.7.24 "
    assert Output(0, b"a\xffb\n", b"").text == "a\ufffdb"


def test_commands_have_a_private_directory_that_goes_away() -> None:
    output = looked(Command("a", 'echo x >"$d/file"; stat -c %a "$d"; echo "$d"')).outputs["a"]
    mode, directory = output.text.splitlines()
    assert mode == "700"
    assert not Path(directory).exists()


def test_commands_speak_no_language_and_read_nothing() -> None:
    assert looked(Command("a", 'echo "$LC_ALL"; cat; echo "$PATH"')).outputs["a"].text == f"C\n{look.PATH}"


def test_commands_run_side_by_side() -> None:
    start = time.monotonic()
    looked(*(Command(str(number), "sleep 0.5") for number in range(6)))
    assert time.monotonic() - start < 2


def test_a_command_that_hangs_is_cut_and_never_taken_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "COMMAND_TIMEOUT", 0.3)
    start = time.monotonic()
    with pytest.raises(BulkheadError) as error:
        looked(Command("hangs", "echo begun; sleep 60"), Command("answers", "echo here"))
    assert error.value.message == "the host did not answer 'hangs' within 0.3 seconds"
    assert time.monotonic() - start < 10


def test_what_a_command_that_hangs_has_started_ends_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(look, "COMMAND_TIMEOUT", 0.3)
    hangs = f"sleep 61 & echo $! >{tmp_path}/pid; wait"
    with pytest.raises(BulkheadError):
        looked(Command("hangs", hangs))
    # Whoever is its parent now may take a moment to notice that it has ended.
    status = Path("/proc", (tmp_path / "pid").read_text().strip(), "status")
    assert not status.exists() or "zombie" in status.read_text()


def test_commands_know_nothing_of_each_other() -> None:
    """Nor does one that ends its shell, or leaves it in another directory, end the look."""
    one = "f() { echo hidden; }\nx=1; cd /; set -e; trap 'echo bye' EXIT; set -- a b; exit 3 # done"
    two = 'echo "${x-none} $# $(f 2>/dev/null)"; ! [ "$PWD" = / ]; cat <<END\n\'$(echo here)"\nEND'
    there = looked(Command("one", one), Command("two", two))
    assert there.outputs["one"] == Output(3, b"bye\n", b"")
    assert there.outputs["two"] == Output(0, b"none 0 \n'here\"\n", b"")


def test_files_and_commands_come_in_one_answer(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    there = looked(Command("one", "echo 1"), File(str(tmp_path / "a")), Command("two", "echo 2"))
    assert (there.outputs["one"].text, there.outputs["two"].text) == ("1", "2")
    assert list(there.files) == [str(tmp_path / "a")]


def test_no_needs_at_all() -> None:
    assert looked() == look.Look({}, {})


def test_the_same_need_is_asked_once(tmp_path: Path) -> None:
    file, command = File(str(tmp_path / "a")), Command("a", "echo 1")
    assert script([file, command, file, command]) == script([file, command])


def test_two_different_commands_of_one_name_are_a_mistake_in_the_code() -> None:
    with pytest.raises(ValueError, match="two different commands are named 'a'"):
        script([Command("a", "echo 1"), Command("a", "echo 2")])


def test_nothing_is_left_in_the_temporary_directory(tmp_path: Path) -> None:
    result = subprocess.run(
        ["sh"], input=script([Command("a", "echo 1")]).encode(), env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert result.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_no_temporary_directory_is_an_error_and_not_an_empty_host() -> None:
    need = [Command("a", "echo 1")]
    result = subprocess.run(
        ["sh"], input=script(need).encode(), env={**os.environ, "TMPDIR": "/nowhere"}, capture_output=True
    )
    assert result.returncode == 1
    with pytest.raises(BulkheadError, match="the host's answer is not whole"):
        parse(result.stdout.decode(), need)


@as_root
def test_an_owner_without_a_name_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.chown(tmp_path / "a", 54321, 54322)
    there = found(tmp_path / "a")
    assert there is not None
    assert (there.owner, there.group) == ("54321", "54322")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_complained_of(tmp_path: Path) -> None:
    (tmp_path / "a").touch(mode=0)
    assert "Permission denied" in sh(script([File(str(tmp_path / "a"))])).stderr


def test_a_socket_is_complained_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert "socket ignored" in sh(script([File(str(tmp_path / "s"))])).stderr


# Answers that are not whole

NEEDS: list[Need] = [Command("a", "echo 1"), File("/etc/hostname"), File("/etc/passwd")]


def refused(answer: str) -> str:
    with pytest.raises(BulkheadError) as error:
        parse(answer, NEEDS)
    return error.value.message


def test_an_answer_that_is_cut_off_is_refused() -> None:
    answer = sh(script(NEEDS)).stdout
    for length in (0, 1, 4, 40, len(answer) // 2, len(answer) - 60, len(answer) - 8):
        assert refused(answer[:length]).startswith("the host's answer is not whole (")


def test_something_else_than_an_answer_is_refused() -> None:
    message = "sudo: a password is required\n"
    assert refused(message).startswith("the host's answer is not whole (")
    assert refused(base64.b64encode(b"not an archive").decode()).startswith("the host's answer is not whole (")


def test_the_hint_says_what_to_look_at() -> None:
    with pytest.raises(BulkheadError) as error:
        parse("", NEEDS)
    assert error.value.hint == (
        "Is there space left in its temporary directory, and does its login shell print nothing?"
    )


@given(st.data())
def test_a_changed_byte_is_never_believed(data: st.DataObject) -> None:
    """A few bits of a compressed stream mean nothing: then the answer is what it was."""
    needs: list[Need] = [Command("a", "echo 1"), File("/etc/a")]
    whole = gzip.compress(archive({"look/status": b"0 0\n", "look/0.out": b"1\n", "etc/a": b"x"}))
    position = data.draw(st.integers(10, len(whole) - 1))
    broken = bytearray(whole)
    broken[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        there = parse(base64.b64encode(bytes(broken)).decode(), needs)
    except BulkheadError:
        return
    assert there == parse(base64.b64encode(whole).decode(), needs)


def archive(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def test_an_archive_that_its_maker_did_not_finish_is_refused() -> None:
    """As when tar is killed: gzip and base64 end well, and files at the end would seem absent."""
    files = {"look/status": b"0 0\n", "look/0.out": b"1\n", "look/0.err": b"", "etc/hostname": b"h\n"}
    unfinished = archive(files)[: 512 * 8]
    assert refused(base64.b64encode(gzip.compress(unfinished)).decode()).startswith("the host's answer is not whole (")


@pytest.mark.parametrize(
    "files",
    [
        {"look/0.out": b"1\n"},
        *({"look/0.out": b"1\n", "look/status": status} for status in (b"", b"1 0\n", b"0", b"0 \n", b"0 x\n")),
        {"look/status": b"0 0\n"},
    ],
)
def test_a_command_without_a_status_is_named(files: dict[str, bytes]) -> None:
    answer = base64.b64encode(gzip.compress(archive(files))).decode()
    assert refused(answer) == "the host's answer lacks the result of 'a'"


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ([], None),
        (["-D", "--config-file=/a=b", "--config", "/c"], "/a=b"),
        (["--config", "/c", "--config-file", "/a"], "/c"),
        (["--config-files=/a"], None),
        (["--config-file"], ""),
        (["--config-file="], ""),
    ],
)
def test_the_value_of_a_flag(arguments: list[str], value: str | None) -> None:
    assert look.flag_value(arguments, "--config-file", "--config") == value


# An archive that a command printed


def tarred(*paths: Path) -> bytes:
    """As a look's command prints it."""
    names = " ".join(f"'{str(path).lstrip('/')}'" for path in paths)
    return looked(Command("a", f"tar -cf - --no-recursion -C / {names}")).outputs["a"].stdout


def test_an_archive_of_a_command(tmp_path: Path) -> None:
    (tmp_path / "a b.toml").write_bytes(b"x = 1\n\x00")
    (tmp_path / "a b.toml").chmod(0o640)
    (tmp_path / "empty").touch(mode=0o600)
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "folder").mkdir(mode=0o755)
    files = look.archived(tarred(*(tmp_path / name for name in ("a b.toml", "empty", "link", "folder"))))
    assert files == {
        f"{tmp_path}/a b.toml": FoundFile("file", b"x = 1\n\x00", 0o640, USER, GROUP),
        f"{tmp_path}/empty": FoundFile("file", b"", 0o600, USER, GROUP),
        f"{tmp_path}/link": FoundFile("link", b"", 0o777, USER, GROUP, target="empty"),
        f"{tmp_path}/folder": FoundFile("directory", b"", 0o755, USER, GROUP),
    }


def test_no_output_is_no_archive_and_an_empty_one_holds_nothing() -> None:
    assert look.archived(b"") == {}
    assert look.archived(bytes(10240)) == {}


@pytest.mark.parametrize("length", [1, 100, 512, 700, 1024, 1500])
def test_an_archive_that_is_cut_off_is_refused(length: int) -> None:
    whole = archive({"etc/a": b"x" * 600, "etc/b": b"y"})
    assert list(look.archived(whole)) == ["/etc/a", "/etc/b"]
    with pytest.raises(BulkheadError, match=r"^the host's answer is not whole \("):
        look.archived(whole[:length])


@pytest.mark.parametrize("output", [b"tar: not found\n", b"\xff" * 512, b"x" * 1024])
def test_something_else_than_an_archive(output: bytes) -> None:
    with pytest.raises(BulkheadError, match=r"^the host's answer is not whole \("):
        look.archived(output)


def test_a_small_answer_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "MAX_SIZE", 2**20)
    for size, reason in ((2**20 - 1, "its end is missing"), (2**20 + 1, "it is larger than 1 MiB")):
        bomb = base64.b64encode(gzip.compress(b"x" * size)).decode()
        with pytest.raises(BulkheadError, match=reason):
            parse(bomb, NEEDS)


def test_zeros_that_are_not_sent_are_not_made(tmp_path: Path) -> None:
    """A sparse file of a tar archive may be of any size in one block."""
    with (tmp_path / "a").open("wb") as hole:
        hole.truncate(2**40)
    command = ["tar", "--sparse", "-czf", "-", "-C", str(tmp_path), "a"]
    packed = subprocess.run(command, check=True, capture_output=True).stdout
    assert len(packed) < 1000
    with pytest.raises(BulkheadError, match="a is stored as a sparse file"):
        parse(base64.b64encode(packed).decode(), [File("/a")])


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """A header of a tar archive, with what it says of the size byte by byte."""
    fields = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size.ljust(12, b"\0") + b"00000000000\0"
    rest = kind.ljust(101, b"\0") + b"ustar\x0000" + b"\xff".ljust(32, b"\0") + b"root".ljust(32, b"\0")
    text = (fields + b" " * 8 + rest).ljust(512, b"\0")
    return text[:148] + b"%06o\0 " % sum(text) + text[156:]


BACK = (-512 & (1 << 96) - 1).to_bytes(12, "big")
"""A size of -512 bytes, as GNU tar writes numbers that octal digits can't hold."""


@pytest.mark.parametrize("kind", [b"0", b"5", b"L", b"x"])
def test_an_archive_that_leads_back_to_itself_is_refused(kind: bytes) -> None:
    """One host could keep the check of all others from ever ending."""
    raw = header(b"a", b"00000000000") + header(b"b", BACK, kind) + bytes(10240)
    for refuse in (lambda: parse(base64.b64encode(gzip.compress(raw)).decode(), NEEDS), lambda: look.archived(raw)):
        with pytest.raises(BulkheadError, match=r"^the host's answer "):
            refuse()


def test_an_owner_that_is_no_text_can_be_stored() -> None:
    """Whatever a host says of one file must not keep the reports of all others from being written."""
    there = look.archived(header(b"a\xff", b"00000000000") + bytes(1024))["/a\\xff"]
    assert there.owner == "\\xff"
    assert (there.owner + there.group).encode() == b"\\xffroot"
