"""Fits tables to a width: columns share it by need, cells wrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.style import Style

from mistral_tui.widgets.palette import Palette
from mistral_tui.widgets.wrap import Row, Span, row_width, width_of, wrap

MIN_COLUMN = 6
"""Narrower columns than this are unreadable: the rows become records."""


@dataclass(frozen=True)
class Cell:
    """One cell: its text and its alignment ("", "left", "center" or "right")."""

    spans: list[Span]
    align: str = ""

    @property
    def natural(self) -> int:
        """Cells needed so that nothing wraps."""
        lines = "".join(text for text, _ in self.spans).split("\n")
        return max(map(width_of, lines))

    @property
    def least(self) -> int:
        """Cells needed so that no word is cut."""
        words = "".join(text for text, _ in self.spans).split()
        return max(map(width_of, words), default=1)


def column_widths(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths that sum to at most `room`: natural ones, else whole words, else equal shares."""
    if sum(natural) <= room:
        return list(natural)
    cap = max(MIN_COLUMN, room // len(natural))
    floor = [min(want, max(MIN_COLUMN, min(word, 2 * cap))) for want, word in zip(natural, least)]  # noqa: B905
    if sum(floor) > room:
        floor = [min(want, cap) for want in natural]
    while sum(floor) > room:
        floor[floor.index(max(floor))] -= 1
    # What is left goes to those that lack most, evenly filled up from the least wanting.
    widths = floor
    spare = room - sum(widths)
    hungry = sorted(
        (index for index, want in enumerate(natural) if want > widths[index]),
        key=lambda index: natural[index] - widths[index],
    )
    for position, index in enumerate(hungry):
        share = min(natural[index] - widths[index], spare // (len(hungry) - position))
        widths[index] += share
        spare -= share
    return widths


def _aligned(row: Row, width: int, align: str) -> Row:
    space = max(0, width - row_width(row))
    left = {"right": space, "center": space // 2}.get(align, 0)
    return [(" " * left, Style()), *row, (" " * (space - left), Style())]


def lay_out_table(rows: Sequence[Sequence[Cell]], width: int, palette: Palette) -> list[Row]:
    """The rows of a table whose first row is its header."""
    columns = len(rows[0])
    room = width - 3 * (columns - 1)
    grid = list(zip(*rows, strict=True))
    natural = [max(1, *(cell.natural for cell in column)) for column in grid]
    least = [max(1, *(cell.least for cell in column)) for column in grid]
    if sum(natural) > room and room < MIN_COLUMN * columns:
        return _records(rows, width, palette)
    widths = column_widths(natural, least, room)
    body: list[list[Row]] = []
    for cells in rows:
        wrapped = [wrap(cell.spans, size) for cell, size in zip(cells, widths, strict=True)]
        lines: list[Row] = []
        for line in range(max(map(len, wrapped))):
            row: Row = []
            for cell, size, part in zip(cells, widths, wrapped, strict=True):
                if row:
                    row.append((" │ ", palette.bar))
                row.extend(_aligned(part[line] if line < len(part) else [], size, cell.align))
            lines.append(row)
        body.append(lines)
    rule: Row = [("─┼─".join("─" * size for size in widths), palette.bar)]
    # Once a cell wraps, only a rule tells where a row ends.
    airy = any(len(lines) > 1 for lines in body[1:])
    out = [*body[0], rule]
    for index, lines in enumerate(body[1:]):
        if airy and index:
            out.append([("┈┼┈".join("┈" * size for size in widths), palette.bar)])
        out.extend(lines)
    return out


def _records(rows: Sequence[Sequence[Cell]], width: int, palette: Palette) -> list[Row]:
    """Too many columns for the width: each row as `header: value` lines."""
    out: list[Row] = []
    for index, cells in enumerate(rows[1:]):
        if index:
            out.append([("─" * width, palette.bar)])
        for head, cell in zip(rows[0], cells, strict=True):
            out.extend(wrap([*head.spans, (": ", palette.chat["muted"]), *cell.spans], width))
    return out or wrap([span for cell in rows[0] for span in (*cell.spans, (" ", Style()))], width)
