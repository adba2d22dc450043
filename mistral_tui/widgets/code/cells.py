"""Where the characters of a line stand in terminal cells, and what is drawn for them.

Most characters have cells of their own; a combining mark has none and is drawn on the one before
it. What a terminal would obey or hide (control and format characters, lone surrogates) is drawn
as a stand-in that has a cell.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

from rich.cells import get_character_cell_size

from mistral_tui.sanitize import sanitize

_SPECIAL = re.compile(r"[^ -~]")
_UNSEEN = "·"
_LONG = 4_096  # characters; a longer line is laid out in parts
_PART = 1_024  # characters of a part, and less than twice as many
_LAID_OUT = 16  # parts of a line that are kept in detail
# Of long lines that are remembered: how many, and their characters together.
_MOST_LINES, _MOST_CHARS = 64, 4 << 20


@lru_cache(maxsize=16_384)
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

    __slots__ = ("_after", "_at", "_strange", "_texts", "line")

    def __init__(self, line: str, tab: int, begin: int = 0) -> None:
        self.line = line
        self._at: list[int] = []  # columns of all but plain ASCII
        self._after: list[int] = []  # by how much what follows each is moved
        self._texts: list[str] = []
        self._strange: list[int] = []
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
                    self._strange.append(column)
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

    def strange(self, start: int, end: int) -> list[int]:
        """Columns from `start` to `end` where something stands in."""
        first, last = bisect_left(self._strange, start), bisect_left(self._strange, end)
        return self._strange[first:last]


class _Part(NamedTuple):
    """What a part of a line takes: characters, cells before its first tab, and those behind it;
    -1 if there is no tab. Both hold wherever the part stands."""

    length: int
    before: int
    behind: int

    def end(self, begin: int, tab: int) -> int:
        """The cell behind it, if its first one is `begin`."""
        at = begin + self.before
        return at if self.behind < 0 else (at // tab + 1) * tab + self.behind


def _part(text: str, tab: int) -> _Part:
    if text.isascii() and text.isprintable():
        return _Part(len(text), len(text), -1)
    first, *others = map(_cells, text.split("\t"))
    if not others:
        return _Part(len(text), first, -1)
    behind = sum((width // tab + 1) * tab for width in others[:-1]) + others[-1]
    return _Part(len(text), first, behind)


def _cells(text: str) -> int:
    if text.isascii() and text.isprintable():
        return len(text)
    return sum(drawn(char)[1] for char in text)


class LongCells(Cells):
    """A long line, laid out where it is looked at. Of the rest it knows the widths, in parts,
    and takes over those of a line that is `like` it."""

    __slots__ = ("_begins", "_detail", "_parts", "_starts", "_tab")

    def __init__(self, line: str, tab: int, like: LongCells | None = None) -> None:
        self.line = line
        self._tab = tab
        self._parts = _patched(line, tab, like) if like is not None else _split(line, tab)
        self._starts = [0, *accumulate(part.length for part in self._parts)]
        self._begins = [0]  # the cell of each
        for part in self._parts:
            self._begins.append(part.end(self._begins[-1], tab))
        self._detail: OrderedDict[int, Cells] = OrderedDict()

    def shared(self, line: str) -> tuple[int, int]:
        """How many parts at the beginning, and then at the end, are also those of `line`."""
        starts, count = self._starts, len(self._parts)
        first = 0
        while first < count and line.startswith(
            self.line[starts[first] : starts[first + 1]], starts[first]
        ):
            first += 1
        moved = len(line) - len(self.line)
        last = count
        while last > first and starts[last - 1] + moved >= starts[first]:
            if not line.startswith(
                self.line[starts[last - 1] : starts[last]], starts[last - 1] + moved
            ):
                break
            last -= 1
        return first, count - last

    def _at_part(self, number: int) -> Cells:
        found = self._detail.get(number)
        if found is None:
            text = self.line[self._starts[number] : self._starts[number + 1]]
            found = self._detail[number] = Cells(text, self._tab, self._begins[number])
            if len(self._detail) > _LAID_OUT:
                self._detail.popitem(last=False)
        return found

    def _number(self, column: int) -> int:
        return min(bisect_right(self._starts, max(0, column)), len(self._parts)) - 1

    def x(self, column: int) -> int:
        number = self._number(column)
        return self._begins[number] + self._at_part(number).x(column - self._starts[number])

    @property
    def width(self) -> int:
        return self._begins[-1]

    def column(self, x: int) -> int:
        if x >= self.width:
            return len(self.line)
        number = max(0, bisect_right(self._begins, x) - 1)
        return self._starts[number] + self._at_part(number).column(x - self._begins[number])

    def text(self, start: int, end: int) -> str:
        parts: list[str] = []
        end = min(end, len(self.line))
        while start < end:
            number = self._number(start)
            first, last = self._starts[number], self._starts[number + 1]
            parts.append(self._at_part(number).text(start - first, min(end, last) - first))
            start = last
        return "".join(parts)

    def strange(self, start: int, end: int) -> list[int]:
        found: list[int] = []
        end = min(end, len(self.line))
        while start < end:
            number = self._number(start)
            first, last = self._starts[number], self._starts[number + 1]
            inside = self._at_part(number).strange(start - first, min(end, last) - first)
            found += [first + column for column in inside]
            start = last
        return found


def _split(text: str, tab: int) -> list[_Part]:
    count = max(1, len(text) // _PART)
    bounds = [len(text) * number // count for number in range(count + 1)]
    return [_part(text[a:b], tab) for a, b in pairwise(bounds)]


def _patched(line: str, tab: int, like: LongCells) -> list[_Part]:
    """The parts of a line: only those that another line does not have are measured."""
    first, last = like.shared(line)
    parts = like._parts
    head, tail = parts[:first], parts[len(parts) - last :]
    start = sum(part.length for part in head)
    stop = len(line) - sum(part.length for part in tail)
    while 0 < stop - start < _PART and (head or tail):  # small ones would add up
        if tail:
            stop += tail.pop(0).length
        else:
            start -= head.pop().length
    return [*head, *(_split(line[start:stop], tab) if stop > start else ()), *tail]


class _Remembered:
    """The long lines that were laid out last."""

    def __init__(self) -> None:
        self._lines: OrderedDict[tuple[str, int], LongCells] = OrderedDict()
        self._chars = 0

    def find(self, line: str, tab: int) -> LongCells:
        """A line laid out; from the most similar one, if it is new."""
        key = line, tab
        found = self._lines.get(key)
        if found is not None:
            self._lines.move_to_end(key)
            return found
        known = (cells for (_, width), cells in self._lines.items() if width == tab)
        like = max(known, key=lambda cells: sum(cells.shared(line)), default=None)
        found = self._lines[key] = LongCells(line, tab, like)
        self._chars += len(line)
        while len(self._lines) > 2 and (
            len(self._lines) > _MOST_LINES or self._chars > _MOST_CHARS
        ):
            (old, _), _ = self._lines.popitem(last=False)
            self._chars -= len(old)
        return found


_remembered = _Remembered()


@lru_cache(maxsize=1024)
def _short(line: str, tab: int) -> Cells:
    return Cells(line, tab)


def cells_of(line: str, tab: int) -> Cells:
    """A line laid out, remembered."""
    return _short(line, tab) if len(line) <= _LONG else _remembered.find(line, tab)


def width_of_line(line: str, tab: int) -> int:
    """Cells of a line; a short one is kept in no memory."""
    if len(line) > _LONG:
        return _remembered.find(line, tab).width
    return _part(line, tab).end(0, tab)
