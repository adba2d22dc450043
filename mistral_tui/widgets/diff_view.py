"""A change to a text, part by part: signs and line numbers, drawn on demand."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.theme import Theme

from mistral_tui.code.hunks import Hunk
from mistral_tui.sanitize import sanitize
from mistral_tui.widgets.code.cells import drawn
from mistral_tui.widgets.palette import Palette
from mistral_tui.widgets.wrap import chop, width_of

HIDDEN = "▫"
"""Stands for a character that cannot be seen, or must not reach the terminal."""
_NO_BREAK = "(no line break at the end)"
_TAB = 4
_MOST_DRAWN = 500  # rows that are kept as they were drawn
_MARK = 2  # cells for the bar of the marked part
_MOST_OF_LINE = 2_000  # characters that are shown of a line


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the view. `part` is -1 between the parts; `sign` is `#` for a part's head, `.`
    for lines that are not shown, and `!` for a remark. `number` is that of the old line, from 1;
    a new line has none."""

    part: int
    sign: str
    number: int
    text: str


def visible(line: str) -> str:
    """A line made safe, with nothing in it that cannot be seen."""
    line = line.removesuffix("\n").replace("\r", "␍")
    if line.isascii() and line.isprintable():
        return line
    return "".join(map(_seen, line.expandtabs(_TAB)))


def _seen(char: str) -> str:
    """The character, or what stands for it: the same ones are hidden as in the editor."""
    if not drawn(char)[2]:
        return char
    safe = sanitize(char)
    return HIDDEN if safe in ("", "\n", char) else safe


def _shown(part: int, sign: str, number: int, line: str) -> Iterator[_Entry]:
    """A line of a file; of a very long one its beginning, and how much more it has."""
    yield _Entry(part, sign, number, visible(line[:_MOST_OF_LINE]))
    if (more := len(line.removesuffix("\n")) - _MOST_OF_LINE) > 0:
        yield _Entry(part, "!", 0, f"… {more:,} character{'s' * (more > 1)} more")


def _height(text: str, room: int) -> int:
    """How many rows a line takes."""
    if text.isascii():
        return max(1, -(-len(text) // room))
    return 1 if width_of(text) <= room else len(chop([(text, Style())], room))


def _lines(old: Sequence[str], parts: Sequence[Hunk], context: int) -> Iterator[_Entry]:
    """All that is shown: each part under its head, unchanged lines around it."""
    at = 0  # the old line that comes next
    for number, part in enumerate(parts):
        begin = max(at, part.start - context)
        if begin > at:
            yield _Entry(-1, ".", 0, f"{begin - at:,} unchanged line{'s' * (begin - at > 1)}")
        for place in range(begin, part.start):
            yield from _shown(-1, " ", place + 1, old[place])
        yield _Entry(number, "#", 0, "")
        before = part.start
        last = {sign: n for n, (sign, _) in enumerate(part.lines)} if part.ends_differ else {}
        for place, (sign, line) in enumerate(part.lines):
            before += sign != "+"
            yield from _shown(number, sign, before if sign != "+" else 0, line)
            if last.get(sign) == place and not line.endswith("\n"):
                yield _Entry(number, "!", 0, _NO_BREAK)
        at = min(part.end + context, parts[number + 1].start if number + 1 < len(parts) else
                 len(old), len(old))  # fmt: skip
        for place in range(part.end, at):
            yield from _shown(-1, " ", place + 1, old[place])
    if at < len(old):
        yield _Entry(-1, ".", 0, f"{len(old) - at:,} unchanged line{'s' * (len(old) - at > 1)}")


class DiffView(ScrollView, can_focus=False):
    """`marked` is the part that keys work on; `taken` are the parts that are applied."""

    DEFAULT_CSS = """
    DiffView {
        background: $panel; color: $foreground;
        overflow-x: hidden; overflow-y: auto;
        scrollbar-size-vertical: 1; scrollbar-background: $panel;
        scrollbar-background-hover: $panel; scrollbar-background-active: $panel;
    }
    """

    class Toggled(Message):
        """The head of a part was clicked."""

    def __init__(self, old: Sequence[str], parts: Sequence[Hunk], context: int = 3) -> None:
        super().__init__()
        self._parts = parts
        self.taken = set(range(len(parts)))
        self.marked = 0
        self._entries = list(_lines(old, parts, context))
        self._heads = [at for at, entry in enumerate(self._entries) if entry.sign == "#"]
        self._digits = len(str(max((entry.number for entry in self._entries), default=0)))
        self._room = 0  # cells of text in a row
        self._tops: list[int] = [0]
        self._rows: tuple[int, list[int]] = (0, [])
        self._chopped: tuple[int, list[str]] = (-1, [])  # the rows of one entry
        self._drawn: dict[int, Strip] = {}
        self._palette = Palette.from_variables({})

    # What is shown.

    def rows_at(self, width: int) -> int:
        """How many rows it takes at a width."""
        return self._measured(self._room_at(width))[-1]

    def _room_at(self, width: int) -> int:
        return max(10, width - _MARK - self._digits - 4)

    def _measured(self, room: int) -> list[int]:
        if self._rows[0] != room:
            heights = (_height(entry.text, room) for entry in self._entries)
            self._rows = (room, [0, *accumulate(heights)])
        return self._rows[1]

    def redraw(self) -> None:
        """Something else is marked or taken."""
        self._drawn.clear()
        self.refresh()

    def mark(self, part: int) -> None:
        """Mark a part, and bring it into view."""
        if self._heads:
            self.marked = min(max(part, 0), len(self._heads) - 1)
            self.reveal()
            self.redraw()

    def step(self, by: int) -> None:
        """Mark the part before (-1) or after (1); of one that is larger than the view, first
        show what lies in that direction."""
        top, height = round(self.scroll_offset.y), self.size.height
        first, last = self._rows_of(self.marked)
        if by > 0 and last > top + height and first <= top + height:
            self._scroll(min(top + max(1, height - 2), last - height))
        elif by < 0 and first < top and last >= top:
            self._scroll(max(top - max(1, height - 2), first))
        else:
            self.mark(self.marked + by)

    def reveal(self) -> None:
        """Scroll no further than it takes to see the marked part, or its beginning."""
        if not self._heads or not self._room:
            return
        first, last = self._rows_of(self.marked)
        top, height = self.scroll_offset.y, self.size.height
        spare = min(3, max(0, height - (last - first)) // 2)  # some context around it
        top = max(top, last + spare - height)
        self._scroll(min(top, max(0, first - spare)))

    def _rows_of(self, part: int) -> tuple[int, int]:
        """The rows of a part, the last one excluded."""
        if not self._heads:
            return 0, 0
        begin = end = self._heads[part]
        while end < len(self._entries) and self._entries[end].part == part:
            end += 1
        return self._tops[begin], self._tops[end]

    def _scroll(self, top: float) -> None:
        top = min(max(0, top), self.max_scroll_y)
        if top != self.scroll_y:
            self.scroll_target_y = self.scroll_y = top

    # Events.

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, self._recolor)
        self._recolor(self.app.current_theme)

    def on_unmount(self) -> None:
        self.app.theme_changed_signal.unsubscribe(self)  # it would keep it for ever

    def _recolor(self, theme: Theme) -> None:
        self._palette = Palette.from_variables(self.app.theme_variables)
        self.redraw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn.clear()

    def on_resize(self, event: events.Resize) -> None:
        room = self._room_at(self.size.width)
        if room != self._room:
            self._room = room
            self._chopped = (-1, [])
            self._tops = self._measured(room)
        size = Size(self.size.width, self._tops[-1])
        if size != self.virtual_size:
            self.virtual_size = size
        self.reveal()
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        row = -1 if offset is None else offset.y + self.scroll_offset.y
        if 0 <= row < self._tops[-1]:
            entry = self._entries[bisect_right(self._tops, row) - 1]
            if entry.part >= 0:
                self.marked = entry.part
                if entry.sign == "#":
                    self.post_message(self.Toggled())
                self.redraw()

    # Drawing.

    def render_line(self, y: int) -> Strip:
        row = self.scroll_offset.y + y
        if row >= self._tops[-1] or not self._room:
            return Strip.blank(self.size.width, self.rich_style)
        if row not in self._drawn:
            if len(self._drawn) > _MOST_DRAWN:
                self._drawn.clear()
            self._drawn[row] = self._draw(row)
        return self._drawn[row]

    def _draw(self, row: int) -> Strip:
        at = bisect_right(self._tops, row) - 1
        entry, inner = self._entries[at], row - self._tops[at]
        width, base = self.size.width, self.rich_style
        chat, code = self._palette.chat, self._palette.code
        here = entry.part == self.marked
        if entry.sign == "#":
            mark = "▸ " if here else "  "
            style = chat["marker"] + Style(bold=True, reverse=here)
            segments = [Segment(mark, chat["marker"] + Style(bold=True)),
                        Segment(self._head(entry.part), style)]  # fmt: skip
            return self._strip(segments, width, base)
        bar = Segment("┃ " if here else "  ", chat["marker"])
        if entry.sign in ".!":
            indent = " " * (self._digits + 3)
            said = f"⋯ {entry.text}" if entry.sign == "." else entry.text
            return self._strip([bar, Segment(indent + said, chat["muted"])], width, base)
        text = entry.text
        if _height(text, self._room) > 1:
            if self._chopped[0] != at:
                rows = chop([(text, Style())], self._room)
                self._chopped = (at, ["".join(piece for piece, _ in row) for row in rows])
            text = self._chopped[1][inner]
        left = entry.part >= 0 and entry.part not in self.taken
        style = code[{"+": "inserted", "-": "deleted"}.get(entry.sign, "text")]
        style += Style(dim=left, bold=entry.sign != " ")
        number = str(entry.number) if entry.number and not inner else ""
        sign = entry.sign if not inner else "↪"
        segments = [
            bar,
            Segment(f"{number:>{self._digits}} ", chat["muted"]),
            Segment(f"{sign} ", style),
            Segment(text, style),
        ]
        filled = sum(width_of(segment.text) for segment in segments)
        segments.append(Segment(" " * max(0, width - filled), self._palette.panel))
        return self._strip(segments, width, base)

    def _strip(self, segments: list[Segment], width: int, base: Style) -> Strip:
        cells = sum(width_of(segment.text) for segment in segments)
        return Strip(segments, cells).apply_style(base).adjust_cell_length(width, base)

    def _head(self, number: int) -> str:
        part = self._parts[number]
        box = "[x]" if number in self.taken else "[ ]"
        added, removed = len(part.added), len(part.removed)
        counts = " ".join(filter(None, [f"+{added}" * bool(added), f"-{removed}" * bool(removed)]))
        word = "" if number in self.taken else " · left out"
        return f" {box} {number + 1} of {len(self._parts)} · {counts}{word} "
