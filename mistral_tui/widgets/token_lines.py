"""The tokens of an answer as text, each shaded by how sure the model was, with a cursor on one."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.theme import Theme

from mistral_tui.sanitize import one_line, sanitize
from mistral_tui.tokens import Token, probability
from mistral_tui.widgets.canvas import MAX_COLUMN
from mistral_tui.widgets.palette import Palette, confidence_level, resolve
from mistral_tui.widgets.wrap import break_lines, width_of

NOTHING = "▫"
"""Stands for a token without text of its own, as in the middle of a character."""
NEWLINE = "⏎"
_END_OF_THINKING = "[/THINK]"
_TAB = " " * 4
_MOST_DRAWN = 500  # rows that are kept as they were drawn
_GUTTER = 2  # cells left of the text: the row of the cursor, and the bar of thinking
# What would melt with the token before it, or the one after it, into one character: joiners,
# shades of skin, half a flag.
_JOINING = re.compile("\\A[\u200c\u200d\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]+|\u200d+\\Z")
_FLAG = "[\U0001f1e6-\U0001f1ff]"
_HALF_A_FLAG = re.compile(f"(?:{_FLAG}{_FLAG})*{_FLAG}(?!{_FLAG})")


def apart(text: str) -> str:
    """Safe text that stands for itself wherever it is put: a mark that combines with what is
    before it gets a place of its own."""
    text = _JOINING.sub(NOTHING, sanitize(text))
    if text and not text.isascii():
        if _HALF_A_FLAG.match(text):
            return NOTHING + text
        if not width_of(text[0]):
            return "◌" + text
    return text


def shown(token: Token) -> str:
    """What is drawn of a token: never nothing. A newline in it starts a row."""
    if token.name:
        name = f"‹{one_line(apart(token.name), 40)}›"
        return name + "\n" if token.name == _END_OF_THINKING else name
    text = token.text
    if not (text.isascii() and text.isprintable()):
        text = apart(text).replace("\t", _TAB)
        if not any(map(width_of, text.replace("\n", " "))):
            text = ""
    return text or NOTHING


def level(token: Token) -> int:
    """Its `confidence_level`."""
    return confidence_level(probability(token.logprob))


class Layout:
    """Where each token is: rows of at most `width` cells, which hold every character."""

    def __init__(self, width: int, tokens: Sequence[Token] = ()) -> None:
        self.width = max(8, width)
        self.text = ""
        self.starts: list[int] = []
        """Where each token begins in the text."""
        self.rows: list[tuple[int, int]] = []
        """(start, end) of each row in the text."""
        self.extend(tokens)

    def extend(self, tokens: Sequence[Token]) -> int:
        """Add tokens at the end; the first row that changed."""
        begin = self.text.rfind("\n") + 1  # the last line is broken anew
        pieces = [self.text]
        at = len(self.text)
        for token in tokens:
            self.starts.append(at)
            pieces.append(shown(token))
            at += len(pieces[-1])
        self.text = "".join(pieces)
        while self.rows and self.rows[-1][0] >= begin:
            self.rows.pop()
        changed = len(self.rows)
        for line in self.text[begin:].split("\n"):
            self._break(line, begin)
            begin += len(line) + 1
        return changed

    def _break(self, line: str, begin: int) -> None:
        """The rows of a line. Two cells are kept free: for a space at a break, which is not left
        out as elsewhere, and for the mark of the newline."""
        stop = begin + len(line)
        after = min(stop + 1, len(self.text))  # the newline belongs to the last row
        room = self.width - 2
        if len(line) <= room and line.isascii():
            if begin < after:
                self.rows.append((begin, after))
            return
        found = break_lines(line, room)
        cuts = [0, *(start for start, _ in found if start), len(line)]
        for start, end in pairwise(cuts):
            row = line[start:end]
            while width_of(row) > room + 1:  # many spaces at its end
                word = row.rstrip()
                fits = len(word) + (room + 1 - width_of(word)) // max(map(width_of, row), default=1)
                fits = max(1, fits)
                self.rows.append((begin + start, begin + start + fits))
                start, row = start + fits, row[fits:]
            self.rows.append((begin + start, begin + end))
        self.rows[-1] = (self.rows[-1][0], after)

    def row_at(self, offset: int) -> int:
        """The row that holds a character."""
        return max(0, bisect_right(self.rows, (offset, math.inf)) - 1)

    def rows_of(self, index: int) -> tuple[int, int]:
        """The first and the last row of a token."""
        return self.row_at(self.starts[index]), self.row_at(self.end_of(index) - 1)

    def end_of(self, index: int) -> int:
        """Where a token ends in the text."""
        return self.starts[index + 1] if index + 1 < len(self.starts) else len(self.text)

    def column_of(self, index: int) -> int:
        """The cell at which a token begins in its first row."""
        start = self.starts[index]
        return width_of(self.text[self.rows[self.row_at(start)][0] : start])

    def pieces(self, row: int) -> Iterator[tuple[int, str]]:
        """(token, text) of all that is in a row."""
        start, end = self.rows[row]
        index = bisect_right(self.starts, start) - 1
        while start < end:
            stop = min(end, self.end_of(index))
            yield index, self.text[start:stop]
            index, start = index + 1, stop

    def at(self, row: int, column: int) -> int:
        """The token at a cell, or the nearest one in that row."""
        index, used = 0, 0
        for index, text in self.pieces(row):  # noqa: B007 (the last one is meant)
            used += width_of(text.replace("\n", " "))
            if used > column:
                break
        return index


class TokenLines(ScrollView, can_focus=False):
    """Draws the rows on demand. `index` is the token under the cursor; while it is `following`,
    that is the last one."""

    DEFAULT_CSS = """
    TokenLines {
        background: $background; color: $foreground;
        overflow-x: hidden; overflow-y: scroll;
        scrollbar-size-vertical: 1; scrollbar-background: $background;
        scrollbar-background-hover: $background; scrollbar-background-active: $background;
    }
    """

    class Moved(Message):
        """The cursor is on another token."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: tuple[Token, ...] = ()
        self.index = 0
        self.following = False
        self._layout = Layout(80)
        self._ids: list[int] = []
        self._wanted: int | None = None  # the column that moves up and down keep
        self._drawn: dict[int, Strip] = {}
        self._palette = Palette.from_variables({})
        self._cursor = Style(reverse=True, bold=True, underline=True)

    # What is shown.

    def show(self, tokens: tuple[Token, ...]) -> None:
        """Show these tokens; the cursor stays where it is. Of those that only go on, what is
        new is laid out."""
        before, self.tokens = len(self.tokens), tokens
        same = before <= len(tokens) and all(self._ids[at] == tokens[at].id for at in range(before))
        self._ids = [token.id for token in tokens]
        at_end = self.scroll_offset.y >= self.max_scroll_y
        if not self.size.width:
            pass  # laid out with the first size
        elif same and before and before == len(self._layout.starts):
            if len(tokens) > before:
                self._forget(self._layout.extend(tokens[before:]))
        else:
            self._lay_out()
        index = len(tokens) - 1 if self.following else min(self.index, len(tokens) - 1)
        index = max(0, index)
        moved = index != self.index
        if moved:
            self._redraw(self.index)
            self.index = index
            self._redraw(index)
        self._resize()
        if self.following and at_end:
            self._scroll(self.max_scroll_y)
        self.refresh()
        if moved or not same:
            self.post_message(self.Moved())

    def _lay_out(self) -> None:
        self._layout = Layout(self._room, self.tokens)
        self._wanted = None
        self._drawn.clear()

    def _forget(self, row: int) -> None:
        """Draw the rows from this one on anew."""
        for known in [known for known in self._drawn if known >= row]:
            del self._drawn[known]

    def _redraw(self, index: int) -> None:
        """Draw the rows of a token anew."""
        if self._layout.rows and index < len(self._layout.starts):
            first, last = self._layout.rows_of(index)
            for row in range(first, last + 1):
                self._drawn.pop(row, None)
            self.refresh_lines(first, last - first + 1)

    @property
    def _room(self) -> int:
        return min(MAX_COLUMN, self.size.width - _GUTTER)

    @property
    def _margin(self) -> int:
        return max(0, (self.size.width - _GUTTER - self._layout.width) // 2)

    def _resize(self) -> None:
        size = Size(self.size.width, len(self._layout.rows))
        if size != self.virtual_size:
            # Our own size does not depend on the content: no layout of the screen.
            self.set_reactive(TokenLines.virtual_size, size)
            self._scroll_update(size)

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, self._recolor)
        self._recolor(self.app.current_theme)

    def on_unmount(self) -> None:
        self.app.theme_changed_signal.unsubscribe(self)  # it would keep it for ever

    def _recolor(self, theme: Theme) -> None:
        variables = self.app.theme_variables
        self._palette = Palette.from_variables(variables)
        primary = resolve(variables, "primary", "primary")
        ground = resolve(variables, "background", "background")
        self._drawn.clear()
        self._cursor = Style(
            color=primary.rich_color if primary else None,
            bgcolor=ground.rich_color if ground else None,
            reverse=True,
            bold=True,
            underline=True,
        )
        self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        if max(8, self._room) != self._layout.width or not self._layout.rows:
            self._lay_out()
        self._resize()
        self._reveal()
        self.refresh()

    # The cursor.

    def move(self, index: int) -> None:
        """Put the cursor on a token."""
        self._wanted = None
        self._move(index)

    def _move(self, index: int) -> None:
        self.following = False
        if not self._layout.rows:
            return
        before, self.index = self.index, min(max(index, 0), len(self.tokens) - 1)
        for changed in (before, self.index):
            self._redraw(changed)
        self._reveal()
        if before != self.index:
            self.post_message(self.Moved())

    def move_rows(self, rows: int) -> None:
        """Move the cursor up or down, at about the same column."""
        if not self._layout.rows:
            return
        first, last = self._layout.rows_of(self.index)
        if self._wanted is None:
            self._wanted = self._layout.column_of(self.index)
        row = (last if rows > 0 else first) + rows
        self._move(self._layout.at(min(max(row, 0), len(self._layout.rows) - 1), self._wanted))

    def move_page(self, step: int) -> None:
        """Move the cursor by a screenful."""
        self.move_rows(step * max(1, self.size.height - 1))

    def _reveal(self) -> None:
        """Scroll no further than it takes to see the cursor, and a row around it."""
        height = self.size.height
        if not self._layout.rows or not height:
            return
        first, last = self._layout.rows_of(self.index)
        around = min(1, (height - 1) // 2)
        top = max(self.scroll_offset.y, last + around - height + 1)
        self._scroll(min(top, first - around))

    def _scroll(self, top: float) -> None:
        top = min(max(0, top), self.max_scroll_y)
        if top != self.scroll_y:
            self.scroll_target_y = self.scroll_y = top

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        row = 0 if offset is None else offset.y + self.scroll_offset.y
        if offset is not None and row < len(self._layout.rows):
            self.move(self._layout.at(row, offset.x - self._margin - _GUTTER))

    # Drawing.

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn.clear()

    def render_line(self, y: int) -> Strip:
        row = self.scroll_offset.y + y
        if row >= len(self._layout.rows):
            return Strip.blank(self.size.width, self.rich_style)
        if row not in self._drawn:
            if len(self._drawn) > _MOST_DRAWN:
                self._drawn.clear()
            self._drawn[row] = self._draw(row)
        return self._drawn[row]

    def _draw(self, row: int) -> Strip:
        width, base = self.size.width, self.rich_style
        pieces = list(self._layout.pieces(row))
        thinking = any(self.tokens[index].thinking for index, _ in pieces)
        here = any(index == self.index for index, _ in pieces)
        lead = "▸" if here else " "
        segments = [
            Segment(" " * self._margin + lead, self._palette.chat["marker"] + Style(bold=True)),
            Segment("┆" if thinking else " ", self._palette.chat["muted"]),
            *(Segment(*self._piece(index, text)) for index, text in pieces),
        ]
        cells = sum(width_of(segment.text) for segment in segments)
        return Strip(segments, cells).apply_style(base).adjust_cell_length(width, base)

    def _piece(self, index: int, text: str) -> tuple[str, Style]:
        token = self.tokens[index]
        sure = level(token)
        under = index == self.index
        mark = "" if token.name else NEWLINE if under or sure else " "
        if under and not text.strip():
            text = text.replace(" ", "·")
        text = text.replace("\n", mark)
        if under:
            return text, self._cursor
        calm = self._palette.chat["muted"] if token.name or token.thinking else Style()
        return text, calm + self._palette.confidence[sure]
