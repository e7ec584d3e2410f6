"""One look at a host: everything that its capabilities need to know, gathered by one remote command.

A capability names what it needs (`File`, `Command`); `script` makes the one command out of all needs, `parse` turns
its output into a `Look`, and the capabilities decide from that, without another question to the host. The output is a
tar archive in base64: tar carries content, owner, mode and link target of every file at the cost of one process, and
the commands run side by side.
"""

from __future__ import annotations

import base64
import hashlib
import io
import shlex
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bulkhead.errors import BulkheadError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMAND_TIMEOUT = 60
"""Seconds after which the commands of a look that have not ended are given up."""

TIMED_OUT = (b"124", b"137")
"""What coreutils' timeout ends with then; the second where it had to kill."""

_END_OF_COMMANDS = "END_OF_THE_COMMANDS_OF_A_LOOK"

MAX_SIZE = 256 * 2**20
"""Bytes of an unpacked answer above which it can't be one: a few kilobytes can unpack to more than all memory."""

_END = bytes(1024)
"""What a tar archive ends with; without it, files at the end of an unfinished one would seem absent."""


@dataclass(frozen=True)
class File:
    """Need a file: what kind it is, its content, owner and mode."""

    path: str


@dataclass(frozen=True)
class Command:
    """Need the output of a shell command that changes nothing; it may write files below `$d`.

    `name` is how the capability finds the answer again.
    """

    name: str
    script: str


Need = File | Command


@dataclass(frozen=True)
class FoundFile:
    """A path as it was found. `kind` is `file`, `link`, `directory` or `other`; `target` is where a link points."""

    kind: str
    content: bytes
    mode: int
    owner: str
    group: str
    target: str = ""
    mtime: int = field(default=0, compare=False)
    """When the content was changed last, in seconds since 1970 by the host's clock."""

    @property
    def digest(self) -> str:
        """The sha256 of the content, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    def text(self, path: str) -> str:
        """The content as text.

        Raises BulkheadError naming `path` when it is not UTF-8.
        """
        try:
            return self.content.decode()
        except UnicodeDecodeError as error:
            raise BulkheadError(
                f"{path}: not UTF-8 (byte {error.start})", hint="Correct it, then run again."
            ) from error


@dataclass(frozen=True)
class Output:
    """What a command printed, and its exit status."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text, without the newlines around it."""
        return self.stdout.decode(errors="replace").strip("\n")

    def refuse_without(self, program: str) -> Output:
        """This output, unless the shell did not find `program`, which the command ends with (exit status 127).

        Raises BulkheadError naming the program.
        """
        if self.status == 127:
            raise BulkheadError(f"the host has no {program}", hint=f"Install {program} on it, then run again.")
        return self


@dataclass(frozen=True)
class Look:
    """What one look found: files by path (None where nothing is there) and outputs by name."""

    files: dict[str, FoundFile | None]
    outputs: dict[str, Output]


def script(needs: Sequence[Need]) -> str:
    """The shell script that answers all `needs`; it writes nothing outside a private temporary directory."""
    commands = _commands(needs)
    lines = [
        "umask 077",
        f"PATH={PATH}; export PATH; LC_ALL=C; export LC_ALL",
        "d=$(mktemp -d) || exit 1; export d",
        "trap 'rm -rf \"$d\"' EXIT",
        'mkdir "$d/look" && : >"$d/look/status" || exit 1',
    ]
    if commands:
        # One shell for all of them, each in a fork of it: what a look costs a host is mostly the programs it starts.
        lines.append(f"timeout --kill-after=5 {COMMAND_TIMEOUT} sh <<'{_END_OF_COMMANDS}'")
        for number, command in enumerate(commands):
            out = f'"$d/look/{number}'
            lines += [
                f'{{ (\n{command.script}\n) >{out}.out" 2>{out}.err" </dev/null',
                f'echo "{number} $?" >>"$d/look/status"; }} &',
            ]
        lines += ["wait", _END_OF_COMMANDS, 'echo "commands $?" >>"$d/look/status"']
    paths = " ".join(shlex.quote(path.lstrip("/")) for path in _paths(needs))
    lines += [
        # Each member of the archive costs its reader; most commands have nothing to say on standard error.
        'cd "$d" || exit 1',
        'set -- look/status look/*.out; for one in look/*.err; do [ -s "$one" ] && set -- "$@" "$one"; done',
        # A path that is not there makes tar complain and go on: its absence from the archive is the answer.
        f'tar --no-unquote --hard-dereference -cf - "$@" --no-recursion -C / {paths} 2>"$d/errors" |',
        "gzip -1 | base64",
        "grep -v 'No such file or directory$\\|Exiting with failure status\\|Not a directory$' \"$d/errors\" >&2",
        "exit 0",
    ]
    return "\n".join(lines)


def parse(output: str, needs: Sequence[Need]) -> Look:
    """Turn the output of `script(needs)` into a Look.

    Raises BulkheadError when the output is not whole or a command was given up, so that a broken look is never taken
    for an empty host.
    """
    try:
        raw = _unpacked(base64.b64decode(output))
        members, content = _members(raw)
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        raise BulkheadError(
            f"the host's answer is not whole ({error})",
            hint="Is there space left in its temporary directory, and does its login shell print nothing?",
        ) from error
    outputs: dict[str, Output] = {}
    statuses = dict(line.partition(b" ")[::2] for line in content.get("look/status", b"").splitlines())
    for number, command in enumerate(_commands(needs)):
        status = statuses.get(b"%d" % number, b"")
        stdout = content.get(f"look/{number}.out")
        if not status and statuses.get(b"commands") in TIMED_OUT:
            raise BulkheadError(
                f"the host did not answer '{command.name}' within {COMMAND_TIMEOUT} seconds",
                hint="Is it overloaded, or does something on it hang? Nothing was decided; run again.",
            )
        if not status.isdigit() or stdout is None:
            raise BulkheadError(f"the host's answer lacks the result of '{command.name}'")
        outputs[command.name] = Output(int(status), stdout, content.get(f"look/{number}.err", b""))
    files: dict[str, FoundFile | None] = {}
    for path in _paths(needs):
        member = members.get(path.lstrip("/"))
        files[path] = _file(member, content) if member else None
    return Look(files, outputs)


def _unpacked(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    raw = unpacker.decompress(packed, MAX_SIZE)
    if not unpacker.eof and len(raw) == MAX_SIZE:
        raise ValueError(f"it is larger than {MAX_SIZE >> 20} MiB")
    if not unpacker.eof or not raw.endswith(_END):
        raise EOFError("its end is missing")
    return raw


def archived(archive: bytes) -> dict[str, FoundFile]:
    """Path → file of a tar archive of absolute paths that a command printed; nothing for no output.

    Raises BulkheadError when the archive is not whole.
    """
    if not archive:
        return {}
    try:
        if not archive.endswith(_END):
            raise EOFError("its end is missing")
        members, content = _members(archive)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise BulkheadError(f"the host's answer is not whole ({error})") from error
    return {f"/{name}": _file(member, content) for name, member in members.items()}


def flag_value(arguments: Sequence[str], *flags: str) -> str | None:
    """The value of the first of `flags` on a command line, as `--flag=value` or `--flag value`; None without one."""
    for one, following in zip(arguments, [*arguments[1:], ""], strict=False):
        flag, equals, value = one.partition("=")
        if flag in flags:
            return value if equals else following
    return None


def _members(raw: bytes) -> tuple[dict[str, tarfile.TarInfo], dict[str, bytes]]:
    """Name → member, and name → content of those that are files."""
    members: dict[str, tarfile.TarInfo] = {}
    content: dict[str, bytes] = {}
    # Whatever bytes a name is made of, it must be text that can be shown and stored.
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:", encoding="utf-8", errors="backslashreplace") as archive:
        last = -1
        while member := archive.next():
            if member.size < 0 or member.offset <= last:
                # Such a one makes tarfile go back, and find the same again for ever (CVE-2025-8194).
                raise tarfile.ReadError(f"{member.name} lies before its own place")
            last = member.offset
            members[member.name] = member
            if member.isfile():
                content[member.name] = _read(archive, member)
    return members, content


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.issparse():
        # Our tar makes none, and a few bytes of one could be any number of zeros.
        raise tarfile.ReadError(f"{member.name} is stored as a sparse file")
    stream = archive.extractfile(member)
    return stream.read() if stream else b""


def _file(member: tarfile.TarInfo, content: dict[str, bytes]) -> FoundFile:
    return FoundFile(
        kind=_kind(member),
        content=content.get(member.name, b""),
        mode=member.mode,
        owner=member.uname or str(member.uid),
        group=member.gname or str(member.gid),
        target=member.linkname if member.issym() else "",
        mtime=int(member.mtime),
    )


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym():
        return "link"
    if member.isdir():
        return "directory"
    return "file" if member.isfile() else "other"


def _commands(needs: Iterable[Need]) -> list[Command]:
    """The commands, each once: two capabilities may need the same one."""
    commands: dict[str, Command] = {}
    for need in needs:
        if isinstance(need, Command) and commands.setdefault(need.name, need) != need:
            raise ValueError(f"two different commands are named {need.name!r}")
    return list(commands.values())


def _paths(needs: Iterable[Need]) -> list[str]:
    return list(dict.fromkeys(need.path for need in needs if isinstance(need, File)))
