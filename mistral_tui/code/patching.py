"""Unified diffs as models write them: wrong line numbers and lost trailing spaces are forgiven."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from mistral_tui.code.errors import CodeError
from mistral_tui.sanitize import one_line

_HUNK = re.compile(
    r"@@+(?: -(?P<start>\d+)(?:,\d+)? \+\d+(?:,\d+)?)?(?: ?@@+(?P<within>.*)|\s*\.\.\..*|\s*)$"
)
_HEADER = re.compile(
    r"(?:diff |index |--- |\+\+\+ |old mode|new mode|new file|deleted file|similarity|rename |copy "
    r"|Index: |={10,}$)"
)
_WITHIN = re.compile(r"@@+ (?P<within>[^\s@-].*)")  # no numbers, only where it is
_LANGUAGES = ("diff", "patch", "udiff")
_NO_NEWLINE = "\\"


@dataclass
class _Part:
    """A hunk: the line it says it is at, from 1, what it says it is within, and its lines with
    their signs."""

    start: int | None = None
    within: str = ""
    lines: list[tuple[str, str]] = field(default_factory=list)
    ends: dict[str, bool] = field(default_factory=dict)
    """By sign of the last line: whether it was said to have no line break."""

    @property
    def old(self) -> list[str]:
        return [line for sign, line in self.lines if sign != "+"]


def is_patch(block: str, language: str) -> bool:
    """Whether a code block is a unified diff."""
    lines = block.split("\n")
    if language.lower() in _LANGUAGES:
        return True
    signs = {line[:1] for line in lines if not line.startswith(("---", "+++"))}
    names = any(one.startswith("--- ") and two.startswith("+++ ") for one, two in pairwise(lines))
    hunk = any(line.startswith("@@ ") and _HUNK.match(line) for line in lines)
    return bool(signs & {"+", "-"}) and (names or hunk)


def apply_patch(text: str, patch: str) -> str:
    """The text with all parts of the patch applied.

    Raises:
        CodeError: a part does not fit, or the patch is for several files.
    """
    parts, new_file = _parse(patch)
    lines = text.split("\n")
    newline = lines[-1] == ""
    if newline:
        lines.pop()
    if new_file and any(map(str.strip, lines)):
        raise CodeError("The patch makes a new file, and this one is not empty.")
    there = _Lines(lines)
    edits: list[tuple[int, int, list[str]]] = []
    shift = 0  # by how much the patch's line numbers were wrong so far
    for number, part in enumerate(parts, 1):
        _trim(part, there)
        at = _find(there, part, shift, number)
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


def _parse(patch: str) -> tuple[list[_Part], bool]:
    """The parts of a patch, and whether it is of a file that is not there yet."""
    parts: list[_Part] = []
    files: list[str] = []
    rows = patch.strip("\n").split("\n")
    open_ = False
    for at, row in enumerate(rows):
        if (match := _HUNK.match(row)) is not None:
            start = int(match["start"][:9]) if match["start"] else None
            parts.append(_Part(start, (match["within"] or "").strip()))
            open_ = True
        elif (match := _WITHIN.match(row)) is not None:
            parts.append(_Part(None, match["within"].strip()))
            open_ = True
        elif row.startswith("--- ") and _is_header(rows[at + 1 : at + 3], open_):
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
    return parts, files[:1] == ["/dev/null"]


def _is_header(rows: Sequence[str], within: bool) -> bool:
    """Whether a line with three dashes names a file, and is no line that goes; `rows` follow."""
    if not rows or not rows[0].startswith("+++ "):
        return False
    return not within or rows[1:2] == [] or rows[1].startswith("@@")


class _Lines:
    """The lines of a file, found by what is in them."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self._bare = [line.rstrip() for line in lines]
        self._places: dict[str, list[int]] = {}
        for at, line in enumerate(self._bare):
            self._places.setdefault(line, []).append(at)

    def has(self, line: str) -> bool:
        """Whether a line is there, but for trailing spaces."""
        return line.rstrip() in self._places

    def all(self, old: Sequence[str]) -> list[int]:
        """All places where these lines are, exactly, or else but for trailing spaces."""
        bare = [line.rstrip() for line in old]
        if not all(line in self._places for line in bare):
            return []
        rare = min(range(len(bare)), key=lambda at: len(self._places[bare[at]]))
        size = len(bare)
        found = [
            at - rare
            for at in self._places[bare[rare]]
            if at >= rare and self._bare[at - rare : at - rare + size] == bare
        ]
        exact = [at for at in found if self.lines[at : at + size] == list(old)]
        return exact or found

    def behind(self, within: str, found: Sequence[int], size: int) -> list[int]:
        """The places that come first behind, or with, a line that begins like `within`."""
        if not within:
            return []
        heads = [at for at, line in enumerate(self._bare) if line.strip().startswith(within)]
        first = (next((at for at in found if at + size > head), None) for head in heads)
        return sorted({at for at in first if at is not None})


def _trim(part: _Part, there: _Lines) -> None:
    """Empty lines at the end of a part may be the message's, not the file's."""
    while part.lines and part.lines[-1] == (" ", "") and not there.all(part.old):
        part.lines.pop()


def _find(there: _Lines, part: _Part, shift: int, number: int) -> int:
    """The line, from 0, where a part fits."""
    old, size = part.old, len(there.lines)
    if not old:
        if part.start is None and size:
            raise CodeError(f"Part {number} of the patch does not say where its lines belong.")
        return min(part.start or 0, size)
    found = there.all(old)
    if not found:
        lost = next((line for line in old if not there.has(line)), old[0])
        raise CodeError(
            f"Part {number} of the patch does not fit: the file does not have its line "
            f"“{one_line(lost, 50)}” there."
        )
    if part.start is not None:
        for at in (part.start - 1 + shift, part.start - 1):
            if at in found:
                return at
    if len(found) > 1:
        found = there.behind(part.within, found, len(old)) or found
    if len(found) > 1:
        raise CodeError(f"Part {number} of the patch fits in {len(found)} places.")
    return found[0]
