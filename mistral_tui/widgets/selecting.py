"""The selection of a line-drawn view: how it is painted and which text it gives."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rich.segment import Segment
from rich.style import Style
from textual.selection import Selection
from textual.strip import Strip

from mistral_tui.widgets.entry import Entry
from mistral_tui.widgets.palette import Palette


def selected_text(content: Sequence[tuple[int, str]], span: tuple[int, int]) -> str:
    """The part of a line's `content`, (offset, text) pairs, in `span`; -1 = no end."""
    begin, end = span
    line = ""
    for at, text in content:
        stop = len(text) if end < 0 else max(0, end - at)
        line += text[max(0, begin - at) : stop]
    return line.rstrip()


def extract(
    entries: Sequence[Entry], top: int, selection: Selection, margin: int, palette: Palette
) -> str:
    """The selected text of messages that begin at line `top`, as shown, without decoration.

    A message that has not been laid out gives its text as it came.
    """
    lines: list[str] = []
    for entry in entries:
        if not entry.laid_out:
            lines += [*entry.text.split("\n"), ""]
        else:
            for number in range(entry.height):
                if (span := selection.get_span(top + number)) is not None:
                    lines.append(selected_text(entry.content(number, margin, palette), span))
        top += entry.height
    return "\n".join(lines)


def paint_selection(
    strip: Strip, content: Sequence[tuple[int, str]], span: tuple[int, int], style: Style
) -> Strip:
    """`strip` with `style` over those characters of `span` that are content.

    `content` holds (offset, text) pairs; a `span` that ends at -1 has no end.
    """
    begin, end = span
    marked = [(max(at, begin), at + len(text)) for at, text in content]
    if end >= 0:
        marked = [(start, min(stop, end)) for start, stop in marked]
    segments: list[Segment] = []
    at = 0
    for text, own, _ in strip:
        cuts = {0, len(text)}
        for start, stop in marked:
            cuts |= {cut - at for cut in (start, stop) if start < stop and 0 < cut - at < len(text)}
        points = sorted(cuts)
        for left, right in pairwise(points):
            inside = any(start <= at + left < stop for start, stop in marked)
            merged = (own or Style()) + style if inside else own
            segments.append(Segment(text[left:right], merged))
        at += len(text)
    return Strip(segments, strip.cell_length)
