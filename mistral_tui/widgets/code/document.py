"""The text of a code file: exact to the last character, and quick where it is large.

Lines are split at "\\n" and nowhere else. An edit copies the lines that it is in, and encodes
them if colours follow it: a line of 1 MB costs a few milliseconds.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from textual.document._document import Document, EditResult, Location
from textual.document._document_navigator import DocumentNavigator
from textual.document._wrapped_document import WrappedDocument
from textual.geometry import Offset, Size

from mistral_tui.widgets.code.cells import cells_of, width_of_line

_STEP = 256  # lines between two marks
Point = tuple[int, int]  # a row, and bytes from its beginning


class Change(NamedTuple):
    """An edit in bytes of UTF-8, as tree-sitter wants to be told."""

    start_byte: int
    old_end_byte: int
    new_end_byte: int
    start_point: Point
    old_end_point: Point
    new_end_point: Point


def encoded(text: str) -> bytes:
    """As UTF-8; what cannot be encoded counts one byte."""
    return text.encode("utf-8", "replace")


def byte_count(text: str) -> int:
    """Bytes of `text` as UTF-8."""
    return len(text) if text.isascii() else len(encoded(text))


class CodeDocument(Document):
    """Offsets are found from marks each 256 lines; those below an edit are made again when they
    are needed."""

    def __init__(self, text: str, tab: int = 4) -> None:
        super().__init__("")
        self._newline = "\n"
        self._lines = text.split("\n")
        self._marks: list[tuple[int, int]] = [(0, 0)]  # characters and bytes before them
        self._tab = tab
        self._widths: Counter[int] | None = None  # how many lines are so wide; counted on demand
        self.changed: Callable[[Change], None] | None = None
        """Called with each edit, once it is done."""

    # ── text ────────────────────────────────────────────────────────────────────────

    def replace_range(self, start: Location, end: Location, text: str) -> EditResult:
        """Put `text` in the place of what lies between two locations."""
        top, bottom = sorted((self._clamped(start), self._clamped(end)))
        (top_row, top_column), (bottom_row, bottom_column) = top, bottom
        replaced = self.get_text_range(top, bottom)
        watched = self.changed
        if watched is not None:
            start_point, old_end = self.point(top), self.point(bottom)
            start_byte = self.byte_offset((top_row, 0)) + start_point[1]
        lines = self._lines
        before = lines[top_row][:top_column]
        after = lines[bottom_row][bottom_column:]
        new = text.split("\n")
        new[0] = before + new[0]
        end_location = (top_row + len(new) - 1, len(new[-1]))
        new[-1] += after
        if self._widths is not None:
            self._recount(self._widths, lines[top_row : bottom_row + 1], new)
        lines[top_row : bottom_row + 1] = new
        del self._marks[top_row // _STEP + 1 :]
        if watched is not None:
            old_bytes, new_bytes = byte_count(replaced), byte_count(text)
            last = byte_count(text[text.rfind("\n") + 1 :])
            watched(
                Change(
                    start_byte,
                    start_byte + old_bytes,
                    start_byte + new_bytes,
                    start_point,
                    old_end,
                    (end_location[0], last + (start_point[1] if "\n" not in text else 0)),
                )
            )
        return EditResult(end_location, replaced)

    def get_text_range(self, start: Location, end: Location) -> str:
        """The text between two locations."""
        top, bottom = sorted((self._clamped(start), self._clamped(end)))
        (top_row, top_column), (bottom_row, bottom_column) = top, bottom
        if top_row == bottom_row:
            return self._lines[top_row][top_column:bottom_column]
        first = self._lines[top_row][top_column:]
        last = self._lines[bottom_row][:bottom_column]
        return "\n".join((first, *self._lines[top_row + 1 : bottom_row], last))

    def _clamped(self, location: Location) -> Location:
        row, column = location
        if row >= len(self._lines):
            return self.end
        row = max(0, row)
        return row, min(max(0, column), len(self._lines[row]))

    # ── size ────────────────────────────────────────────────────────────────────────

    def get_size(self, tab_width: int) -> Size:
        """Cells of the longest line, and the number of lines."""
        if self._widths is None or tab_width != self._tab:
            self._tab = tab_width
            self._widths = Counter(width_of_line(line, tab_width) for line in self._lines)
        return Size(max(self._widths), len(self._lines))

    def _recount(self, widths: Counter[int], old: list[str], new: list[str]) -> None:
        for line in new:
            widths[width_of_line(line, self._tab)] += 1
        for line in old:
            width = width_of_line(line, self._tab)
            if widths[width] > 1:
                widths[width] -= 1
            else:
                del widths[width]

    # ── offsets ─────────────────────────────────────────────────────────────────────

    def offset(self, location: Location) -> int:
        """Characters before a location."""
        row, column = location
        first = row - row % _STEP
        chars, _ = self._mark(row // _STEP)
        return chars + sum(map(len, self._lines[first:row])) + row - first + column

    def location(self, offset: int) -> Location:
        """The location so many characters from the beginning; the end, beyond it."""
        while self._marks[-1][0] <= offset and len(self._marks) * _STEP < len(self._lines):
            self._mark(len(self._marks))
        place = bisect_right(self._marks, offset, key=lambda mark: mark[0]) - 1
        row, left = place * _STEP, max(0, offset) - self._marks[place][0]
        while left > len(self._lines[row]):
            left -= len(self._lines[row]) + 1
            row += 1
            if row == len(self._lines):
                return self.end
        return row, left

    def byte_offset(self, location: Location) -> int:
        """Bytes before a location."""
        row, column = location
        first = row - row % _STEP
        _, count = self._mark(row // _STEP)
        count += sum(map(byte_count, self._lines[first:row])) + row - first
        return count + byte_count(self._lines[row][:column])

    def point(self, location: Location) -> Point:
        """A location as tree-sitter counts."""
        row, column = location
        return row, byte_count(self._lines[row][:column])

    def _mark(self, place: int) -> tuple[int, int]:
        while len(self._marks) <= place:
            begin = (len(self._marks) - 1) * _STEP
            part = self._lines[begin : begin + _STEP]
            chars, count = self._marks[-1]
            self._marks.append(
                (chars + sum(map(len, part)) + _STEP, count + sum(map(byte_count, part)) + _STEP)
            )
        return self._marks[place]


class CodeView(WrappedDocument):
    """The document on screen: a row for each line. Below the line `gap_line` are `gap` rows that
    are no part of it."""

    def __init__(self, document: CodeDocument, tab: int) -> None:
        self.gap_line = 0
        self.gap = 0
        super().__init__(document, 0, tab)

    def wrap(self, width: int, tab_width: int | None = None) -> None:
        """Lines are never wrapped."""
        if tab_width:
            self._tab_width = tab_width

    def wrap_range(self, start: Location, old_end: Location, new_end: Location) -> None:
        """Lines are never wrapped."""

    @property
    def lines(self) -> list[list[str]]:
        return [[line] for line in self.document.lines]

    @property
    def height(self) -> int:
        return self.document.line_count + self.gap

    def row_of(self, line: int) -> int:
        """The row of a line."""
        return line + self.gap if line > self.gap_line else line

    def line_at(self, row: int) -> tuple[int, int]:
        """The line of a row, and which row it is of those: from 1 for the gap's."""
        below = row - self.gap_line
        if below <= 0:
            return row, 0
        return (self.gap_line, below) if below <= self.gap else (row - self.gap, 0)

    def offset_to_location(self, offset: Offset) -> Location:
        x, y = offset
        line, below = self.line_at(max(0, y))
        line = min(line, self.document.line_count - 1)
        text = self.document.get_line(line)
        return line, len(text) if below else cells_of(text, self._tab_width).column(x)

    def location_to_offset(self, location: Location) -> Offset:
        line, column = location
        line = min(max(0, line), self.document.line_count - 1)
        x = cells_of(self.document.get_line(line), self._tab_width).x(column)
        return Offset(x, self.row_of(line))

    def get_target_document_column(self, line_index: int, x_offset: int, y_offset: int) -> int:
        text = self.document.get_line(line_index)
        return cells_of(text, self._tab_width).column(x_offset)

    def get_sections(self, line_index: int) -> list[str]:
        return [self.document.get_line(line_index)]

    def get_offsets(self, line_index: int) -> list[int]:
        return []

    def get_tab_widths(self, line_index: int) -> list[int]:
        return []


_SAME = re.compile(r"\w+|\W+")


class CodeNavigator(DocumentNavigator):
    """Where the cursor keys lead, by the cells of the view; no line is looked at one character
    after the other."""

    def get_location_above(self, location: Location) -> Location:
        return self._beside(location, -1) if location[0] else (0, 0)

    def get_location_below(self, location: Location) -> Location:
        if location[0] + 1 < self._document.line_count:
            return self._beside(location, 1)
        return location[0], len(self._document.get_line(location[0]))

    def _beside(self, location: Location, by: int) -> Location:
        view, row = self._wrapped_document, location[0] + by
        x = max(view.location_to_offset(location).x, self.last_x_offset)
        return row, view.get_target_document_column(row, x, 0)

    def get_location_home(self, location: Location, smart_home: bool = False) -> Location:
        row, column = location
        line = self._document.get_line(row)
        first = len(line) - len(line.lstrip())
        smart = smart_home and first < len(line) and (column == 0 or column > first)
        return row, first if smart else 0

    def word_left(self, location: Location) -> Location:
        """The beginning of the word, or of the signs, before a location."""
        row, column = location
        if row and not column:
            return row - 1, len(self._document.get_line(row - 1))
        before = self._document.get_line(row)[:column].rstrip()
        same = _SAME.match(before[::-1])
        return row, len(before) - same.end() if same else 0

    def word_right(self, location: Location) -> Location:
        """The end of the word, or of the signs, behind a location."""
        row, column = location
        line = self._document.get_line(row)
        if column == len(line) and row + 1 < self._document.line_count:
            return row + 1, 0
        behind = line[column:].lstrip()
        same = _SAME.match(behind)
        return row, len(line) - len(behind) + (same.end() if same else 0)
