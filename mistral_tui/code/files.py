"""Code files on the disk: read with suspicion, written whole or not at all.

All of this waits for the disk: an app calls it in a thread.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from inference.files import expanded
from mistral_tui.code import line_ends
from mistral_tui.code.errors import ChangedOnDisk, CodeError
from mistral_tui.code.line_ends import LineEnds
from mistral_tui.code.writing import write
from mistral_tui.sanitize import one_line

MOST_BYTES = 8 << 20
_BOM = b"\xef\xbb\xbf"
_LONGEST_SHOWN = 100
_NAMES = {"\r\n": "CRLF", "\r": "CR"}

Signature = tuple[int, int, int, int]
"""Device, inode, bytes and time of the last change (ns) of a file."""


@dataclass(frozen=True, slots=True)
class CodeFile:
    """A file as it was read, or written last. `path` is absolute, `shown` is it for people;
    `text` has "\\n" between its lines. `signature` None: the file is not there yet."""

    path: Path
    shown: str
    text: str = ""
    signature: Signature | None = None
    writable: bool = True
    ends: LineEnds = "\n"
    bom: bool = False
    mode: int | None = None  # permission bits

    @property
    def marks(self) -> tuple[str, ...]:
        """What is unusual about it, in words for people."""
        ends = _NAMES.get(self.ends, "") if isinstance(self.ends, str) else "mixed line ends"
        new = "new" if self.signature is None else ""
        read_only = "" if self.writable else "read-only"
        return tuple(filter(None, (new, read_only, ends, "BOM" if self.bom else "")))


def open_file(path: Path, shown: str = "") -> CodeFile:
    """Read a file. One that is not there is a new one, if its folder is.

    Raises:
        CodeError: it is no text that can be edited here, or cannot be read.
    """
    try:
        path = expanded(path).absolute()
        shown = one_line(shown, _LONGEST_SHOWN) if shown else show(path)
        return _read(path, shown)
    except ValueError:
        raise CodeError("No file can have such a name: it has a character that none has.") from None


def save(file: CodeFile, text: str, *, over: bool = False) -> CodeFile:
    """Write `text` in the place of what was read; the file as it is then. Its line ends, its
    permissions and what links to it stay. A reader sees the old text or the new.

    Args:
        over: also if somebody else wrote the file meanwhile, or took it away.

    Raises:
        ChangedOnDisk: somebody did, and `over` is not set.
        CodeError: it cannot be written; it is as it was.
    """
    target = _target(file.path)
    try:
        status = _status(target, file.shown)
        if not over:
            _check_unchanged(file, target, status)
        if status is not None and not _writable(target, status):
            raise CodeError(
                f"{file.shown} is read-only: change its permissions (chmod u+w) to save it."
            )
        ends = line_ends.carried(file.text, file.ends, text)
        data = _encoded(text, ends, bom=file.bom, shown=file.shown)

        def changed() -> bool:
            now = _status(target, file.shown)
            return (now and _signature(now)) != (status and _signature(status))

        written = write(target, data, status, file.mode, None if over else changed)
    except OSError as error:
        raise CodeError(f"{file.shown} cannot be saved: {_why(error, target)}.") from None
    if written is None:
        raise ChangedOnDisk(f"{file.shown} was written by somebody else just now.")
    return replace(
        file,
        text=text,
        signature=_signature(written),
        writable=True,
        ends=ends,
        mode=stat.S_IMODE(written.st_mode),
    )


def signature(path: Path) -> Signature | None:
    """Of the file that is there now; None: there is none, or none that can be looked at."""
    try:
        return _signature(path.stat())
    except OSError:
        return None


def state(file: CodeFile) -> Literal["same", "changed", "gone"]:
    """Whether the disk has what was read or written last, as far as a glance at it tells."""
    now = signature(file.path)
    if now is None:
        return "same" if file.signature is None else "gone"
    return "same" if now == file.signature else "changed"


def same_file(one: CodeFile, other: CodeFile) -> bool:
    """Whether both are one file on the disk, by whatever names."""
    if _target(one.path) == _target(other.path):
        return True
    try:
        return one.path.samefile(other.path)  # now: a number of the past may be another's by now
    except OSError:
        return False


def show(path: Path) -> str:
    """A path on one line, for people: as short as can be, its end always in sight."""
    path = Path(os.path.normpath(path))
    text = str(path)
    try:
        here, home = Path.cwd(), Path.home()
        if path.is_relative_to(here):
            text = str(path.relative_to(here))
        elif path.is_relative_to(home):
            text = f"~/{path.relative_to(home)}"
    except (OSError, RuntimeError):  # no folder to stand in; no home
        pass
    text = one_line(text, len(text) + 1)
    return text if len(text) <= _LONGEST_SHOWN else "…" + text[1 - _LONGEST_SHOWN :]


# ── reading ─────────────────────────────────────────────────────────────────────────


def _read(path: Path, shown: str) -> CodeFile:
    target = _target(path)
    try:
        status = _status(target, shown)
        if status is None:
            return _new(path, target, shown)
        data, status = _content(target, shown)
    except FileNotFoundError:
        raise CodeError(f"{shown} was taken away just now.") from None
    except OSError as error:
        raise CodeError(f"{shown} cannot be opened: {_why(error, target)}.") from None
    text, ends, bom = _decoded(data, shown)
    mode = stat.S_IMODE(status.st_mode)
    return CodeFile(
        path, shown, text, _signature(status), _writable(target, status), ends, bom, mode
    )


def _new(path: Path, target: Path, shown: str) -> CodeFile:
    if not target.parent.is_dir():
        raise CodeError(f"{shown} cannot be made: there is no folder {show(target.parent)}.")
    return CodeFile(path, shown, writable=_may(target.parent, os.W_OK | os.X_OK))


def _target(path: Path) -> Path:
    """The file behind the links."""
    return Path(os.path.realpath(path))


def _status(target: Path, shown: str) -> os.stat_result | None:
    """Of an ordinary file; None: there is nothing. Nothing is opened, which might wake a device.

    Raises:
        CodeError: it is something else.
    """
    try:
        status = target.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISDIR(status.st_mode):
        raise CodeError(f"{shown} is a folder, not a file.")
    if not stat.S_ISREG(status.st_mode):
        raise CodeError(f"{shown} is no ordinary file; only files can be edited.")
    return status


def _content(target: Path, shown: str) -> tuple[bytes, os.stat_result]:
    # Not to wait for the writer of a FIFO that has come meanwhile.
    descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CodeError(f"{shown} is no ordinary file; only files can be edited.")
        data = b"" if status.st_size > MOST_BYTES else opened.read(MOST_BYTES + 1)
    if max(status.st_size, len(data)) > MOST_BYTES:
        raise CodeError(f"{shown} is too large: files of up to {MOST_BYTES >> 20} MB are edited.")
    return data, status


def _decoded(data: bytes, shown: str) -> tuple[str, LineEnds, bool]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CodeError(f"{shown} is UTF-16: convert it to UTF-8 first.")
    if b"\0" in data:
        raise CodeError(f"{shown} is a binary file, not text.")
    bom = data.startswith(_BOM)
    try:
        text, ends = line_ends.split(data[len(_BOM) * bom :].decode("utf-8"))
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8")
        line = line_ends.split(before)[0].count("\n") + 1
        raise CodeError(f"{shown}, line {line}: the text is not UTF-8.") from None
    return text, ends, bom


# ── writing ─────────────────────────────────────────────────────────────────────────


def _encoded(text: str, ends: LineEnds, *, bom: bool, shown: str) -> bytes:
    try:
        data = line_ends.joined(text, ends).encode("utf-8")
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise CodeError(
            f"{shown} cannot be saved: line {line} has a character that no file can hold."
        ) from None
    return _BOM + data if bom else data


def _check_unchanged(file: CodeFile, target: Path, status: os.stat_result | None) -> None:
    """The bytes count, not the times: what was only touched, or written back, is the same."""
    if status is None:
        if file.signature is not None:
            raise ChangedOnDisk(f"{file.shown} was taken away since it was read.")
        return
    if file.signature is None:
        raise ChangedOnDisk(f"{file.shown} was made by somebody else meanwhile.")
    read = _encoded(file.text, file.ends, bom=file.bom, shown=file.shown)
    same = status.st_size == len(read) and _bytes(target, len(read)) == read
    if not same:
        raise ChangedOnDisk(f"{file.shown} was written by somebody else since it was read.")


def _bytes(target: Path, most: int) -> bytes:
    descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        return opened.read(most + 1)


def _writable(target: Path, status: os.stat_result) -> bool:
    """Whether it may be written; the superuser keeps to the bits, too."""
    return bool(status.st_mode & 0o222) and _may(target, os.W_OK)


def _may(path: Path, how: int) -> bool:
    return os.access(path, how, effective_ids=os.access in os.supports_effective_ids)


def _signature(status: os.stat_result) -> Signature:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _why(error: OSError, target: Path) -> str:
    if error.errno == errno.ENOENT:
        return f"there is no folder {show(target.parent)} any more"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return (error.strerror or str(error)).lower()
