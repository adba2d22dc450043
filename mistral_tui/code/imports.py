"""Imports of a code block on their way into a file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mistral_tui.code.definitions import Outline

_IMPORT = re.compile(
    r"\s*(?:import\b|from\s+\S+\s+import\b|(?:pub\s+)?use\s|#\s*include\b|using\s+[\w.:= ]+;"
    r"|require(?:_relative)?\b|extern\s+crate\b|mod\s+\w+;"
    r"|(?:const|let|var)\s.*=\s*require\()"
)
_PACKAGE = re.compile(
    r"\s*(?:package\s|<\?php|namespace\s+[\w\\.]+;|declare\s*\(|#!\[|#\s*pragma\b)"
)
_GUARD = re.compile(r"\s*#\s*(?:ifndef|define)\s+\w+\s*$")
_ONLY_STRING = re.compile(r"\s*\x01+;?\s*")
_LICENCE = re.compile(r"#!|coding[:=]|copyright|licen[sc]e|spdx|\(c\)", re.I)
_NAMES = (
    re.compile(r"import\s+(?:type\s+)?\{(?P<names>[^{}]*)\}\s*(?P<of>from\s.*)"),
    re.compile(r"(?P<of>from\s+\S+\s+import)\s+(?P<names>[^()]+)"),
    re.compile(r"(?P<of>(?:pub\s+)?use\s+[\w:]+)::\{(?P<names>[^{}]*)\};"),
    re.compile(r"(?:const|let|var)\s*\{(?P<names>[^{}]*)\}\s*(?P<of>=\s*require\(.*)"),
)

Edit = tuple[int, int, list[str]]


def is_import(line: str) -> bool:
    """Whether a line begins an import, or names the file's package."""
    return _IMPORT.match(line) is not None or _PACKAGE.match(line) is not None


def imported(lines: Sequence[str], theirs: Outline) -> Edit | None:
    """The edit (lines from, to, what comes there) that brings an import into a file; None if it
    has it."""
    first, known = lines[0].strip(), theirs.known
    if len(lines) > 1 and first in known:  # several in brackets, as in Go
        at = next(n for n, line in enumerate(theirs.lines) if line.strip() == first)
        end = theirs.end(at)
        there = {line.strip().rstrip(",") for line in theirs.lines[at:end]} | {""}
        new = [line for line in lines[1:-1] if line.strip().rstrip(",") not in there]
        last = theirs.code[end - 2].rstrip()
        if new and end - 2 > at and new[0].rstrip().endswith(",") and not last.endswith(","):
            return end - 2, end - 1, [theirs.lines[end - 2] + ",", *new]
        return (end - 1, end - 1, new) if new else None
    if first in known:
        return None
    if _PACKAGE.match(lines[0]) and any(map(_PACKAGE.match, theirs.lines)):
        return None
    if len(lines) == 1 and (names := _names(first)) is not None:
        for at, line in enumerate(theirs.lines):
            there_names = _names(line.strip()) if line[:1].strip() else None
            if there_names and there_names[0] == names[0]:
                if names[1] <= there_names[1]:
                    return None
                if names[1] >= there_names[1]:
                    return at, at + 1, [lines[0]]
    place = _place(theirs, first.startswith("from __future__"))
    new = list(lines)
    if not any(_IMPORT.match(line) for line in theirs.lines[max(0, place - 1) : place + 1]):
        if place and theirs.lines[place - 1].strip():
            new = ["", *new]
        if place < len(theirs.lines) and theirs.lines[place].strip():
            new = [*new, ""]
    return place, place, new


def _names(line: str) -> tuple[str, set[str]] | None:
    """Where an import on one line takes its names from, and the names."""
    for pattern in _NAMES:
        if match := pattern.fullmatch(line):
            kind = "type " if "import type" in line else ""
            of = kind + " ".join(match["of"].rstrip("; ").replace("'", '"').split())
            return of, {name.strip() for name in match["names"].split(",") if name.strip()}
    return None


def _place(theirs: Outline, first: bool) -> int:
    """Behind the last import at the top of a file; without one, behind what has to come first."""
    lines = theirs.lines
    top = _head(theirs)
    end = min((at for at in theirs.heads if at >= top), default=len(lines))
    found = [at for at in range(top, end) if not theirs.inside[at] and lines[at][:1].strip()
             and _IMPORT.match(lines[at])]  # fmt: skip
    if not found or first:
        return top
    at = found[-1]
    return next(
        n + 1 for n in range(at, len(lines))
        if theirs.depth[n + 1] <= theirs.depth[at] or n + 1 == len(lines)
    )  # fmt: skip


def _head(theirs: Outline) -> int:
    """The line behind what has to stand first in a file: licence, docstring, `package`."""
    lines, at, end = theirs.lines, 0, 0
    while at < len(lines):
        line, code = lines[at], theirs.code[at]
        if not line.strip():
            at += 1
            continue
        begin = at
        comment = not code.strip()
        if comment:  # a run of them
            while at < len(lines) and lines[at].strip() and not theirs.code[at].strip():
                at += 1
        elif _ONLY_STRING.fullmatch(code):
            at += 1
            while at < len(lines) and theirs.inside[at]:
                at += 1
        elif _PACKAGE.match(line) or _GUARD.match(line):
            at += 1
        else:
            break
        alone = at >= len(lines) or not lines[at].strip() or _PACKAGE.match(lines[at])
        licence = begin == 0 and any(map(_LICENCE.search, lines[begin:at]))
        if comment and not alone and not licence and not line.lstrip().startswith("//!"):
            break  # it is about what follows
        end = at
    return end
