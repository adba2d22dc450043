"""A place in a file, as it is written on a command line: `FILE:LINE` or `FILE:LINE:COLUMN`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mistral_tui.code.errors import CodeError

STANDARD_INPUT = "/dev/stdin"
_NUMBER = "[0-9]{1,9}"
_PLACE = re.compile(rf"(.+?):({_NUMBER})(?::({_NUMBER}))?", re.S)
_LINE = re.compile(rf"(.+):({_NUMBER})", re.S)


@dataclass(frozen=True, slots=True)
class Place:
    """Before the character `column` of a line; both count from 1. None: the line's end.
    `path` is `/dev/stdin` for standard input, which can be written as `-`."""

    path: str
    line: int
    column: int | None = None


def parse(text: str) -> Place | None:
    """The place that an argument names; None: it names none. `FILE:3:4` is a place in `FILE:3`
    where only that one is there."""
    match = _PLACE.fullmatch(text)
    if match is None:
        return None
    path, line, column = match[1], int(match[2]), match[3]
    path = STANDARD_INPUT if path == "-" else path
    if column is not None and path != STANDARD_INPUT and not is_file(path):
        longer = _LINE.fullmatch(text)
        if longer is not None and is_file(longer[1]):
            return Place(longer[1], int(longer[2]))
    return Place(path, line, None if column is None else int(column))


def split(text: str, place: Place, shown: str) -> tuple[str, str]:
    """What stands before the place and behind it; `text` has "\\n" between its lines.

    Raises:
        CodeError: there is no such place in `shown`.
    """
    lines = text.split("\n")
    if not 1 <= place.line <= len(lines):
        many = f"{len(lines)} line" + "s" * (len(lines) > 1)
        raise CodeError(f"{shown} has no line {place.line}: it has {many}, counted from 1.")
    line = lines[place.line - 1]
    column = len(line) + 1 if place.column is None else place.column
    if not 1 <= column <= len(line) + 1:
        raise CodeError(
            f"Line {place.line} of {shown} has no column {column}: its columns count from 1, "
            f"and its end is {len(line) + 1}."
        )
    at = sum(map(len, lines[: place.line - 1])) + place.line - 1 + column - 1
    return text[:at], text[at:]


def is_file(path: str) -> bool:
    """Whether such a file is there."""
    try:
        return Path(path).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):
        return False
