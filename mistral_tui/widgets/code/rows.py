"""Draws the rows of a code editor: text with its colours, and a suggestion between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.segment import Segment
from rich.style import Style

from mistral_tui.widgets.code.cells import Cells, cells_of
from mistral_tui.widgets.palette import Palette

_MARK = Style(reverse=True)
Layer = tuple[int, int, Style]
"""Columns from and to, and what lies over them."""


@dataclass(frozen=True, slots=True)
class Colours:
    """The styles that come from the theme of the app."""

    roles: Mapping[str, Style]
    ground: Style
    ghost: Style
    note: Style

    @classmethod
    def of(cls, palette: Palette, *, plain: bool) -> Colours:
        """From a palette; `plain`: there are no colours."""
        muted = Style(dim=True) if plain else palette.chat["muted"]
        roles = {
            role: Style(color=style.color, bold=style.bold, italic=style.italic)
            for role, style in palette.code.items()
        }
        return cls(roles, palette.panel, muted + Style(italic=True), muted)


def in_view(cells: Cells, left: int, width: int) -> tuple[int, int]:
    """The columns from and to that show in `width` cells from `left`; of marks without a cell no
    more than could be told apart."""
    first = cells.column(left)
    return first, min(cells.column(left + width) + 1, first + 8 * width + 8)


def paint(
    cells: Cells, start: int, end: int, ground: Style, layers: Iterable[Layer]
) -> list[Segment]:
    """The columns from `start` to `end`; the one behind the last is an empty cell. What stands in
    for something that cannot be shown is marked, below the other layers."""
    styles = [ground] * (end - start)
    for first, last, style in (*_strange(cells, start, end), *layers):
        first, last = max(first, start) - start, min(last, end) - start
        if first < last:
            styles[first:last] = [under + style for under in styles[first:last]]
    length = len(cells.line)
    segments: list[Segment] = []
    for style, group in groupby(styles):
        stop = start + sum(1 for _ in group)
        text = cells.text(start, min(stop, length)) + " " * (stop > length)
        if text:
            segments.append(Segment(text, style))
        start = stop
    return segments


@dataclass(frozen=True, slots=True)
class GhostRows:
    """A suggestion in the middle of a line: its first row goes on from what is before the cursor,
    what is behind the cursor follows its last one."""

    lines: Sequence[str]
    line: str
    column: int  # of the cursor
    tab: int

    def _begin(self, row: int) -> int:
        return cells_of(self.line, self.tab).x(self.column) if row == 0 else 0

    def _cells(self, row: int, most: int | None = None) -> Cells:
        return Cells(self.lines[row][:most], self.tab, self._begin(row))

    @property
    def width(self) -> int:
        """Cells of the longest row."""
        last = len(self.lines) - 1
        widths = [self._begin(row) + self._cells(row).width for row in range(len(self.lines))]
        cells = cells_of(self.line, self.tab)
        widths[last] += cells.width - cells.x(self.column)
        return max(widths)

    def column_at(self, row: int, x: int) -> int:
        """The column that was clicked; that of the cursor for the suggestion itself."""
        cells = cells_of(self.line, self.tab)
        begin = self._begin(row)
        if row == 0 and x < begin:
            return cells.column(x)
        behind = x - begin - self._cells(row).width
        if row < len(self.lines) - 1 or behind < 0:
            return self.column
        return cells.column(behind + cells.x(self.column))

    def paint(
        self, row: int, left: int, width: int, ground: Style, ghost: Style,
        layers: Sequence[Layer], cursor: Style | None,
    ) -> tuple[list[Segment], int]:  # fmt: skip
        """A row, and the cell it begins in: enough of it to show `width` cells from `left`."""
        cells = cells_of(self.line, self.tab)
        segments: list[Segment] = []
        begin = at = self._begin(row)  # the cell of the suggestion
        if row == 0 and left < at:
            first, stop = in_view(cells, left, width)
            begin = cells.x(first)
            segments = paint(cells, first, min(stop, self.column), ground, layers)
        if left + width < at:
            return segments, begin
        words = self._cells(row, left + width - at + 1)
        length = len(words.line)
        over: list[Layer] = [(0, length, ghost)]
        if row == 0 and cursor is not None:
            over.append((0, 1, cursor))
        segments += paint(words, 0, length or row == 0, ground, over)
        if row == len(self.lines) - 1:
            moved = cells.x(self.column) - at - words.width  # what is behind it
            first, stop = in_view(cells, left + moved, width)
            if first > self.column:
                segments, begin = [], cells.x(first) - moved
            first = max(first, self.column)
            segments += paint(cells, first, max(first, min(stop, len(self.line))), ground, layers)
        return segments, begin


def _strange(cells: Cells, start: int, end: int) -> list[Layer]:
    return [(at, at + 1, _MARK) for at in cells.strange(start, end)]
