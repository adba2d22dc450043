"""Breaks styled text into rows by terminal cells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, split_graphemes
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

Span = tuple[str, Style]
Row = list[Span]

# Every space but the non-breaking ones.
_SPACE = " \\t\u1680\u2000-\u2006\u2008-\u200a\u205f\u3000"
_WORD = re.compile(f"([{_SPACE}]*)([^{_SPACE}]+)")
# Kinsoku: these may not start, or end, a line of Chinese or Japanese.
_NOT_FIRST = frozenset(
    "、。，．！？：；）」』】〉》〕］｝…ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ"
)
_NOT_LAST = frozenset("（「『【〈《〔［｛")


def width_of(text: str) -> int:
    """Cells that `text` takes."""
    return len(text) if text.isascii() else cell_len(text)


def row_width(row: Row) -> int:
    """Cells that `row` takes."""
    return sum(width_of(text) for text, _ in row)


def _pieces(word: str, begin: int, room: int) -> Iterable[tuple[int, int, int]]:
    """Unbreakable parts of `word` as (start, end, cells), offsets counted from `begin`."""
    cells = width_of(word)
    if word.isascii():
        if cells <= room:
            return [(begin, begin + cells, cells)]
        return (
            (begin + at, begin + min(at + room, cells), min(room, cells - at))
            for at in range(0, cells, room)
        )
    graphemes, _ = split_graphemes(word)
    if cells > room and not any(width > 1 for _, _, width in graphemes):
        return [(begin + start, begin + end, width) for start, end, width in graphemes]
    pieces: list[tuple[int, int, int]] = []
    open_piece = False  # the last piece still takes what follows
    for start, end, width in graphemes:
        wide = width > 1
        stick = bool(pieces) and (
            word[start] in _NOT_FIRST
            or word[start - 1] in _NOT_LAST
            or (not wide and open_piece)
            or width == 0
        )
        if stick and pieces[-1][2] + width <= room:
            first, _, before = pieces[-1]
            pieces[-1] = (first, begin + end, before + width)
        else:
            pieces.append((begin + start, begin + end, width))
        open_piece = not wide
    return pieces


def break_lines(text: str, width: int) -> list[tuple[int, int]]:
    """Offsets (start, end) of the rows of `text` at `width` cells; spaces at a break fall away."""
    rows: list[tuple[int, int]] = []
    begin = 0
    for line in text.split("\n"):
        if len(line) <= width and line.isascii():
            rows.append((begin, begin + len(line.rstrip())))
        else:
            _break_line(line, begin, width, rows)
        begin += len(line) + 1
    return rows


def _break_line(line: str, begin: int, width: int, rows: list[tuple[int, int]]) -> None:
    start = end = begin
    used = 0
    for match in _WORD.finditer(line):
        gap = width_of(match[1])
        word = match[2]
        long = len(word) > width and word.isascii()
        for piece_start, piece_end, cells in _pieces(word, begin + match.start(2), width):
            if used + gap + cells > width or (long and gap and used):
                if used:
                    rows.append((start, end))
                start, used = piece_start, 0
                gap = 0
            used += gap + cells
            gap = 0
            end = piece_end
    rows.append((start, end))


def slice_spans(spans: Sequence[Span], ranges: Iterable[tuple[int, int]]) -> list[Row]:
    """The styled rows at ascending character `ranges` of the text of `spans`."""
    rows: list[Row] = []
    index, offset = 0, 0  # the current span and where it starts
    for start, end in ranges:
        row: Row = []
        while index < len(spans):
            text, style = spans[index]
            after = offset + len(text)
            if after > start and offset < end:
                row.append((text[max(0, start - offset) : end - offset], style))
            if after > end:
                break
            index, offset = index + 1, after
        rows.append(row)
    return rows


def wrap(spans: Sequence[Span], width: int) -> list[Row]:
    """Rows of at most `width` cells; a newline in the text starts a row."""
    text = "".join(text for text, _ in spans)
    return slice_spans(spans, break_lines(text, max(2, width)))


def chop(spans: Sequence[Span], width: int) -> list[Row]:
    """One line of code cut at `width` cells, every space kept."""
    text = "".join(text for text, _ in spans)
    width = max(2, width)
    if width_of(text) <= width:
        return [list(spans)]
    ranges: list[tuple[int, int]] = []
    if text.isascii():
        ranges = [(at, min(at + width, len(text))) for at in range(0, len(text), width)]
    else:
        start, used = 0, 0
        for at, _, cells in split_graphemes(text)[0]:
            if used + cells > width:
                ranges.append((start, at))
                start, used = at, 0
            used += cells
        ranges.append((start, len(text)))
    return slice_spans(spans, ranges)


def to_strip(row: Row) -> Strip:
    """One row as a strip, neighbours of one style joined."""
    segments: list[Segment] = []
    for text, style in row:
        if segments and segments[-1].style is style:
            segments[-1] = Segment(segments[-1].text + text, style)
        elif text:
            segments.append(Segment(text, style))
    return Strip(segments, sum(width_of(segment.text) for segment in segments))
