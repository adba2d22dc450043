"""Where the characters of a line stand in terminal cells, and what is drawn for them.

Every character has its own cells, so that a cursor can stand on it. What a terminal would obey
or hide (control and format characters, lone surrogates) is drawn as a stand-in.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from functools import lru_cache

from rich.cells import get_character_cell_size

from mistral_tui.sanitize import sanitize

_SPECIAL = re.compile(r"[^ -~]")
_UNSEEN = "·"
_REMEMBERED = 4_096  # characters; longer lines are not kept in numbers


@lru_cache(maxsize=4096)
def drawn(char: str) -> tuple[str, int, bool]:
    """What is drawn for a character that is no tab, its cells, and whether it stands in."""
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code), 1, True
    if code == 0x7F:
        return "\u2421", 1, True
    category = unicodedata.category(char)
    if category in ("Cc", "Cs"):
        return "\ufffd", 1, True
    # Variation selectors show nothing by themselves: whole texts were hidden in them.
    hidden = category in ("Cf", "Zl", "Zp") or "\ufe00" <= char <= "\ufe0f"
    if hidden or sanitize(char) != char:
        return _UNSEEN, 1, True
    return char, get_character_cell_size(char), False


class Cells:
    """A line laid out from the cell `begin` on; `tab` is the width of a tab."""

    __slots__ = ("_after", "_at", "_texts", "line", "strange")

    def __init__(self, line: str, tab: int, begin: int = 0) -> None:
        self.line = line
        self._at: list[int] = []  # columns of all but plain ASCII
        self._after: list[int] = []  # by how much what follows each is moved
        self._texts: list[str] = []
        self.strange: list[int] = []
        """Columns where something stands in."""
        if line.isascii() and line.isprintable():
            return
        moved = 0
        for match in _SPECIAL.finditer(line):
            column, char = match.start(), match[0]
            if char == "\t":
                width = tab - (begin + column + moved) % tab
                text = " " * width
            else:
                text, width, stands_in = drawn(char)
                if stands_in:
                    self.strange.append(column)
            moved += width - 1
            self._at.append(column)
            self._after.append(moved)
            self._texts.append(text)

    def x(self, column: int) -> int:
        """The cell where a column begins, counted from that of the line."""
        place = bisect_left(self._at, column)
        return column + self._after[place - 1] if place else column

    @property
    def width(self) -> int:
        """Cells of the whole line."""
        return self.x(len(self.line))

    def column(self, x: int) -> int:
        """The column that a cell is of; behind the last one: the line's length."""
        if not self._at:
            return min(max(0, x), len(self.line))
        place = bisect_right(range(len(self._at)), x, key=self._start) - 1
        if place < 0:
            return max(0, x)
        if x < self._at[place] + self._after[place] + 1:
            return self._at[place]
        return min(x - self._after[place], len(self.line))

    def _start(self, place: int) -> int:
        return self._at[place] + (self._after[place - 1] if place else 0)

    def text(self, start: int, end: int) -> str:
        """What is drawn for the columns from `start` to `end`."""
        first, last = bisect_left(self._at, start), bisect_left(self._at, end)
        if first == last:
            return self.line[start:end]
        parts: list[str] = []
        for place in range(first, last):
            column = self._at[place]
            parts += (self.line[start:column], self._texts[place])
            start = column + 1
        return "".join((*parts, self.line[start:end]))


@lru_cache(maxsize=1024)
def _short(line: str, tab: int) -> Cells:
    return Cells(line, tab)


@lru_cache(maxsize=2)
def _long(line: str, tab: int) -> Cells:
    return Cells(line, tab)


def cells_of(line: str, tab: int) -> Cells:
    """A line laid out, remembered."""
    return _short(line, tab) if len(line) <= _REMEMBERED else _long(line, tab)


def width_of_line(line: str, tab: int) -> int:
    """Cells of a line; kept in no memory."""
    if line.isascii() and line.isprintable():
        return len(line)
    return cells_of(line, tab).width if len(line) > _REMEMBERED else Cells(line, tab).width
