"""Unified diffs as models write them: wrong line numbers and lost trailing spaces are forgiven."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from mistral_tui.code.errors import CodeError
from mistral_tui.sanitize import one_line

_HUNK = re.compile(r"@@+(?: -(?P<start>\d+)(?:,\d+)? \+\d+(?:,\d+)?)?(?: ?@@+.*|\s*\.\.\..*|\s*)$")
_HEADER = re.compile(
    r"(?:diff |index |--- |\+\+\+ |old mode|new mode|new file|deleted file|similarity|rename |copy "
    r"|Index: |={10,}$)"
)
_NO_NEWLINE = "\\"


@dataclass
class _Part:
    """A hunk: the line it says it is at, from 1, and its lines with their signs."""

    start: int | None = None
    lines: list[tuple[str, str]] = field(default_factory=list)
    ends: dict[str, bool] = field(default_factory=dict)
    """By sign of the last line: whether it was said to have no line break."""

    @property
    def old(self) -> list[str]:
        return [line for sign, line in self.lines if sign != "+"]


def is_patch(block: str, language: str) -> bool:
    """Whether a code block is a unified diff."""
    lines = block.split("\n")
    signs = [line[:1] for line in lines if not line.startswith(("---", "+++"))]
    if "+" not in signs and "-" not in signs:
        return False
    if language.lower() in ("diff", "patch", "udiff"):
        return True
    names = any(one.startswith("--- ") and two.startswith("+++ ") for one, two in pairwise(lines))
    return names or any(line.startswith("@@ ") and _HUNK.match(line) for line in lines)


def apply_patch(text: str, patch: str) -> str:
    """The text with all parts of the patch applied.

    Raises:
        CodeError: a part does not fit, or the patch is for several files.
    """
    parts = _parse(patch)
    lines = text.split("\n")
    newline = lines[-1] == ""
    if newline:
        lines.pop()
    edits: list[tuple[int, int, list[str]]] = []
    shift = 0  # by how much the patch's line numbers were wrong so far
    for number, part in enumerate(parts, 1):
        _trim(part, lines)
        at = _find(lines, part, shift, number)
        if part.start is not None and part.old:
            shift = at - (part.start - 1)
        new: list[str] = []
        here = at
        for sign, line in part.lines:
            if sign == "+":
                new.append(line)
                continue
            if sign == " ":
                new.append(lines[here])  # as the file has it
            here += 1
        if any(at < end and start < here for start, end, _ in edits):
            raise CodeError(f"Part {number} of the patch changes lines that another one changes.")
        edits.append((at, here, new))
        if here == len(lines):
            newline = _newline(part, newline)
    for at, here, new in sorted(edits, key=lambda edit: edit[:2], reverse=True):
        lines[at:here] = new
    return "\n".join(lines) + ("\n" if newline and lines else "")


def _newline(part: _Part, before: bool) -> bool:
    """Whether the file ends with a line break, after its last lines were changed."""
    if part.ends.get("+") or part.ends.get(" "):
        return False
    return before or part.ends.get("-", False)


def _parse(patch: str) -> list[_Part]:
    parts: list[_Part] = []
    files: list[str] = []
    rows = patch.strip("\n").split("\n")
    open_ = False
    for at, row in enumerate(rows):
        match = _HUNK.match(row)
        if match is not None:
            parts.append(_Part(int(match["start"]) if match["start"] else None))
            open_ = True
        elif row.startswith("--- ") and at + 1 < len(rows) and rows[at + 1].startswith("+++ "):
            files.append(row[4:].split("\t")[0].strip())
            open_ = False
        elif row.startswith("diff --git "):
            open_ = False
        elif not open_ and (_HEADER.match(row) or not row.strip()):
            continue
        elif row.startswith(_NO_NEWLINE):
            if parts and parts[-1].lines:
                parts[-1].ends[parts[-1].lines[-1][0]] = True
        else:
            if not open_:  # the models' own kind: no header at all
                parts.append(_Part())
                open_ = True
            sign, line = row[:1] or " ", row[1:]
            if sign not in " +-":
                sign, line = " ", row  # the leading space was lost
            parts[-1].lines.append((sign, line))
    if len(set(files)) > 1:
        names = ", ".join(one_line(name, 40) for name in files[:3])
        raise CodeError(f"The patch changes several files ({names}): it cannot be applied to one.")
    parts = [part for part in parts if any(sign != " " for sign, _ in part.lines)]
    if not parts:
        raise CodeError("The patch changes nothing.")
    return parts


def _trim(part: _Part, lines: Sequence[str]) -> None:
    """Empty lines at the end of a part may be the message's, not the file's."""
    while part.lines and part.lines[-1] == (" ", "") and not _all(lines, part.old):
        part.lines.pop()


def _find(lines: Sequence[str], part: _Part, shift: int, number: int) -> int:
    """The line, from 0, where a part fits."""
    old = part.old
    if not old:
        if part.start is None and lines:
            raise CodeError(f"Part {number} of the patch does not say where its lines belong.")
        return min(part.start or 0, len(lines))
    expected = None if part.start is None else part.start - 1 + shift
    found = _all(lines, old)
    if not found:
        known = set(map(str.rstrip, lines))
        lost = next((line for line in old if line.rstrip() not in known), old[0])
        raise CodeError(
            f"Part {number} of the patch does not fit: the file does not have its line "
            f"“{one_line(lost, 50)}” there."
        )
    if expected is None:
        if len(found) > 1:
            raise CodeError(f"Part {number} of the patch fits in {len(found)} places.")
        return found[0]
    return min(found, key=lambda at: abs(at - expected))


def _all(lines: Sequence[str], old: Sequence[str]) -> list[int]:
    """All places where these lines are, exactly, or else but for trailing spaces."""
    hows: tuple[Callable[[str], str], ...] = (str, str.rstrip)
    for how in hows:
        wanted = [how(line) for line in old]
        there = [how(line) for line in lines]
        size = len(wanted)
        found = [
            at
            for at in range(len(there) - size + 1)
            if there[at] == wanted[0] and there[at : at + size] == wanted
        ]
        if found:
            return found
    return []
