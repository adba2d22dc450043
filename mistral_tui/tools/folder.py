"""What built-in tools see of the disk: ordinary files within one folder, nothing else.

A path is resolved first and then opened part by part from the folder's descriptor without
following any link, so that no one can put another file there in between.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from mistral_tui.tools.errors import ToolError

MOST_LINES = 1000
MOST_CHARACTERS = 24_000
MOST_FOUND = 100
LONGEST_LINE = 1000
_MOST_READ = 64 << 20  # bytes read on the way to a line
_MOST_SEARCHED = 1 << 20  # bytes of a file that is searched for a text
_MOST_ENTRIES = 200_000
_SECONDS = 20.0
_HEAD = 8192  # bytes that show whether a file is text
_KERNEL = ("/proc", "/sys", "/dev")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_file(path: str, start_line: int = 1, lines: int = 200) -> str:
    """Lines of a text file in the current folder, and where to go on.

    Raises:
        ToolError: there is no such file, it is outside or no text.
    """
    start, count = max(1, int(start_line)), min(max(1, int(lines)), MOST_LINES)
    descriptor = _open(path)
    with os.fdopen(descriptor, "rb") as file:
        if b"\0" in file.read(_HEAD):
            raise ToolError(f"{path:.200} is no text file.")
        file.seek(0)
        kept: list[str] = []
        size = number = read = 0
        while line := file.readline(LONGEST_LINE * 4):
            read += len(line)
            whole = line.endswith(b"\n")
            while not whole and (rest := file.readline(1 << 16)):  # the rest of a long line
                read += len(rest)
                whole = rest.endswith(b"\n")
            number += 1
            if read > _MOST_READ:
                raise ToolError(f"{path:.200} is too large to be read up to there.")
            if number < start:
                continue
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            shown = text if len(text) <= LONGEST_LINE else text[:LONGEST_LINE] + "…"
            if len(kept) == count or size + len(shown) > MOST_CHARACTERS:
                return "\n".join([*kept, f"[There is more: go on with start_line={number}.]"])
            kept.append(shown)
            size += len(shown) + 1
    if not kept:
        return "[The file is empty.]" if not number else f"[The file has only {number} lines.]"
    return "\n".join(kept)


def find_files(pattern: str, text: str = "") -> str:
    """The files in the current folder whose paths match, one a line; with a `text`, the lines
    that have it. A pattern without / is for the name, in whatever folder.

    Raises:
        ToolError: the pattern leads outside.
    """
    parts = tuple(part for part in pattern.split("/") if part not in ("", "."))
    if pattern.startswith(("/", "~")) or ".." in parts:
        raise ToolError("The pattern must stay within the working folder: no /, ~ or .. before it.")
    if len(pattern) > 200 or len(parts) > 20:
        raise ToolError("The pattern is too long.")
    if len(parts) == 1 and "/" not in pattern:
        parts = ("**", *parts)
    needle = text.encode("utf-8", "surrogatepass")
    found: list[str] = []
    end = ""
    try:
        for folder, name, place in _walk():
            if parts and not _matches(tuple(place.split("/")), parts):
                continue
            found += _lines_with(folder, name, place, needle) if needle else [place]
            if len(found) > MOST_FOUND:
                end = f"[There are more; these are the first {MOST_FOUND}.]"
                break
    except _Enough:
        end = "[There are too many files to see all of them.]"
    found = [line.encode("utf-8", "replace").decode() for line in found[:MOST_FOUND]]
    if not found:
        return end or ("No file has it." if needle else "No file matches.")
    return "\n".join([*found, end] if end else found)


class _Enough(Exception):
    pass


def _open(path: str) -> int:
    """A descriptor of an ordinary file."""
    shown = f"{path:.200}"
    if not path or "\0" in path:
        raise ToolError("The path of the file is missing.")
    if path.startswith(("/", "~")):
        raise ToolError(f"{shown} must be a path within the working folder, as src/main.py is.")
    try:
        root = Path.cwd().resolve()
        real = (root / path).resolve()
    except (OSError, RuntimeError, ValueError):
        raise ToolError(f"{shown} cannot be followed.") from None
    if not real.is_relative_to(root) or any(real.is_relative_to(kernel) for kernel in _KERNEL):
        raise ToolError(f"{shown} is outside of the working folder, where nothing is read.")
    parts = real.relative_to(root).parts
    if not parts:
        raise ToolError(f"{shown} is a folder.")
    try:
        folder = os.open(root, _FOLDER)
        try:
            for part in parts[:-1]:
                inner = os.open(part, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            kind = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False).st_mode
            descriptor = os.open(parts[-1], _FILE, dir_fd=folder) if stat.S_ISREG(kind) else -1
        finally:
            os.close(folder)
    except FileNotFoundError:
        raise ToolError(f"There is no file {shown}.") from None
    except OSError as error:
        raise ToolError(f"{shown} cannot be read: {error.strerror or error}.") from None
    if descriptor >= 0 and stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    if descriptor >= 0:  # another one meanwhile
        os.close(descriptor)
    raise ToolError(f"{shown} is {'a folder' if stat.S_ISDIR(kind) else 'no ordinary file'}.")


def _walk() -> Iterator[tuple[int, str, str]]:
    """Every visible ordinary file: the descriptor of its folder, its name, its path."""
    ends = time.monotonic() + _SECONDS
    root = Path.cwd().resolve()
    seen = 0
    for at, folders, names, descriptor in os.fwalk(".", follow_symlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if os.path.normpath(root / at) in _KERNEL:
            folders.clear()
            continue
        for name in sorted(names):
            seen += 1
            if seen > _MOST_ENTRIES or time.monotonic() > ends:
                raise _Enough
            if name.startswith("."):
                continue
            try:
                mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            except OSError:  # deleted meanwhile
                continue
            if stat.S_ISREG(mode):
                yield descriptor, name, os.path.normpath(f"{at}/{name}")


def _lines_with(folder: int, name: str, place: str, needle: bytes) -> list[str]:
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError:
        return []
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_SEARCHED:
            return []
        data = file.read(_MOST_SEARCHED)
    if needle not in data or b"\0" in data[:_HEAD]:
        return []
    found = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if needle in line:
            text = line[: 4 * LONGEST_LINE].decode("utf-8", "replace").strip()
            found.append(f"{place}:{number}: {text[:200]}")
            if len(found) > MOST_FOUND:
                break
    return found


def _matches(place: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Whether a path matches a pattern, where `**` is any number of folders."""
    states = {0}
    for name in place:
        after = set()
        for state in _skipped(states, parts):
            if state < len(parts):
                if parts[state] == "**":
                    after.add(state)
                elif _name(parts[state]).match(name):
                    after.add(state + 1)
        states = after
    return len(parts) in _skipped(states, parts)


def _skipped(states: set[int], parts: tuple[str, ...]) -> set[int]:
    """`**` may be no folder at all, or have ended."""
    reached = set(states)
    for state in range(len(parts)):
        if state in reached and parts[state] == "**":
            reached.add(state + 1)
    return reached


@functools.cache
def _name(part: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(part))
