"""The user's own small files: read with suspicion, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path

LONGEST_NAME = 40
NAME_RULE = (
    f"a name has up to {LONGEST_NAME} letters, digits, - and _, and begins with a letter or digit"
)
_NAME = re.compile(rf"[^\W_][\w-]{{0,{LONGEST_NAME - 1}}}")


class FileProblem(Exception):
    """A file that cannot be used; the message is a sentence for the user."""


def is_name(name: str) -> bool:
    """Whether it can name a file of ours on every system, and a person can type it."""
    return _NAME.fullmatch(name) is not None


def name_of(path: Path) -> str:
    """The name that a file gives to what is in it, composed as a person types it."""
    return unicodedata.normalize("NFC", path.stem)


def files(folder: Path, suffix: str, most: int) -> tuple[list[Path], bool]:
    """The visible files of a kind, in order of their names, and whether these are not all.
    No folder is an empty folder."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.name.endswith(suffix) and e.name[0] != "."]
    except OSError:
        return [], False
    names.sort()
    return [folder / name for name in names[:most]], len(names) > most


def read_text(path: Path, shown: str, limit: int) -> str:
    """The text of a file, its line ends made `\\n`; `shown` names it in sentences.

    Raises:
        FileNotFoundError: there is none.
        FileProblem: it is no ordinary file, too large, not UTF-8, or not readable.
    """
    try:
        # Not to wait for the writer of a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            what = "a folder" if stat.S_ISDIR(mode) else "no ordinary file"
            raise FileProblem(f"{shown} cannot be read: it is {what}.")
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FileProblem(f"{shown} cannot be read: {error.strerror or error}.") from None
    if len(data) > limit:
        raise FileProblem(f"{shown} is too large; at most {limit >> 10} KB are read.")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileProblem(f"{shown}, line {line}: the text is not UTF-8.") from None


def write_text(path: Path, shown: str, text: str) -> None:
    """Write a file so that a reader sees the old text or the new, whatever happens; a link
    stays a link.

    Raises:
        FileProblem: it cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = path.resolve()
        new = target.with_name(f".{target.name}.{os.getpid()}")
        _write(new, text, os.O_TRUNC)
        try:
            new.replace(target)
        except OSError:
            new.unlink()
            raise
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links
        why = getattr(error, "strerror", None) or error
        raise FileProblem(f"{shown} cannot be written: {why}.") from None


def write_new(path: Path, shown: str, text: str) -> None:
    """Write a file that is not there yet.

    Raises:
        FileProblem: there is one already, or it cannot be written.
    """
    try:
        _write(path, text, os.O_EXCL)
    except FileExistsError:
        raise FileProblem(f"{shown} is there already; it is left as it is.") from None
    except OSError as error:
        raise FileProblem(f"{shown} cannot be written: {error.strerror or error}.") from None


def _write(path: Path, text: str, how: int) -> None:
    """Write a file of our making; half of one does not stay."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | how, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def same_but_for_case(name: str, others: Iterable[str]) -> str:
    """Another name that is the same file where the disk knows no upper and lower case."""
    folded = name.casefold()
    return next((o for o in others if o != name and o.casefold() == folded), "")
