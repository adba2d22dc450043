"""A stack of messages as one view that draws lines on demand (no widget per message)."""

from __future__ import annotations

from time import perf_counter

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Offset, Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip
from textual.theme import Theme
from textual.timer import Timer

from mistral_tui.widgets.entry import INDENT, Entry
from mistral_tui.widgets.finding import Search
from mistral_tui.widgets.palette import Palette
from mistral_tui.widgets.selecting import extract, paint_selection
from mistral_tui.widgets.stack import Anchor, Stack

MAX_COLUMN = 100
"""Cells of text in a line; wider lines are hard to read."""
FLUSH_SECONDS = 0.04
_BELOW = " ↓ more below "


class Canvas(ScrollView):
    """Lays out the messages near the view, draws their lines, and follows the end."""

    DEFAULT_CSS = """
    Canvas {
        background: $background;
        color: $foreground;
        overflow-x: hidden;
        overflow-y: scroll;
        scrollbar-size-vertical: 1;
        scrollbar-background: $background;
        scrollbar-background-hover: $background;
        scrollbar-background-active: $background;
    }
    """

    class FollowChanged(Message, namespace="transcript"):
        """The view began or stopped to follow the end."""

        def __init__(self, following: bool) -> None:
            self.following = following
            super().__init__()

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._stack = Stack()
        self._palette = Palette.from_variables({})
        self._following = True
        self._search: Search | None = None
        self._placing = False
        self._width = 0
        self._timer: Timer | None = None
        self._next_flush = 0.0
        self._paint_cost = 0.0
        self._base: Style | None = None

    @property
    def following(self) -> bool:
        """Whether the view stays at the end as text arrives."""
        return self._following

    def follow(self) -> None:
        """Goes to the end and stays there as text arrives."""
        self._follow(True)
        self._place()

    def _follow(self, following: bool) -> None:
        if following != self._following:
            self._following = following
            self.post_message(self.FollowChanged(following))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if not self._placing and round(old_value) != round(new_value):
            self._follow(new_value >= self.max_scroll_y)
            self._place()

    def _show_line(self, entry: Entry, line: int, *, room: int = 0) -> None:
        """Brings a line of a message into view, if it is not, with `room` lines above it."""
        if not self._width:
            return
        if not entry.laid_out:
            entry.lay_out(self._column, self._palette)
        self._stack.measure()
        # Where all is in view, what comes next is followed still.
        self._follow(self._following and self._stack.height <= self.size.height)
        top = self._stack.tops[self._stack.entries.index(entry)] + line
        if self.scroll_y <= top < self.scroll_y + self.size.height - 1:
            self._place()
            return
        above = max(0, top - room)
        index, inner = self._stack.at(above)
        other = self._stack.entries[index]
        self._place(Anchor(other, inner, other.height))

    def _flush_soon(self) -> None:
        if self._timer is None and self.is_attached:
            delay = max(0.001, self._next_flush - perf_counter())
            self._timer = self.set_timer(delay, self._flush)

    # Layout. Messages near the view are exact, the others have estimated heights.

    @property
    def _column(self) -> int:
        return max(12, min(MAX_COLUMN + INDENT, self._width - 2))

    @property
    def _margin(self) -> int:
        return max(1, (self._width - self._column) // 2)

    def _place(self, anchor: Anchor | None = None, changed: int | None = None) -> None:
        """Lays out what is near the view and keeps the view where it is, or at the end.

        Lines of the whole view before `changed` need no drawing, if it is given.
        """
        height = self.size.height
        if not self._width or not height:
            return
        anchor = anchor or self._stack.anchor(round(self.scroll_y))
        before = self.virtual_size.height
        self._stack.measure()
        top = 0
        while True:
            top = self._top(anchor)
            near = self._stack.near(top - height, top + 2 * height)
            fresh = [entry for entry in near if not entry.laid_out]
            if not fresh:
                break
            for entry in fresh:
                entry.lay_out(self._column, self._palette)
            self._stack.measure()
        size = Size(self._width, self._stack.height)
        self._placing = True
        try:
            if size != self.virtual_size:
                # Our own size does not depend on the content: no layout of the screen.
                self.set_reactive(Canvas.virtual_size, size)
                self._scroll_update(size)
            moved = top != round(self.scroll_y)
            self.scroll_target_y = self.scroll_y = top
        finally:
            self._placing = False
        if moved or changed is None:
            self.refresh()
        else:  # over a slow line each row counts
            end = max(before, self._stack.height) if self._following else top + height
            self.refresh_lines(changed, max(0, min(end, top + height) - changed))

    def _top(self, anchor: Anchor | None) -> int:
        end = max(0, self._stack.height - self.size.height)
        if self._following or anchor is None:
            return end
        place = self._stack.locate(anchor)
        return min(end, round(self.scroll_y) if place is None else place)

    def _changed(self, entry: Entry) -> None:
        if self._width and not entry.laid_out:
            anchor = self._stack.anchor(round(self.scroll_y))
            entry.estimate(self._column)
            self._place(anchor)
        else:
            self._place()

    def _flush(self) -> None:
        started = perf_counter()
        self._timer = None
        anchor = self._stack.anchor(round(self.scroll_y))
        self._stack.measure()  # tokens may come before the first layout
        changed = self._stack.height
        for index, entry in enumerate(self._stack):
            if entry.waiting:
                was_laid_out = entry.laid_out
                line = entry.flush()
                changed = min(changed, self._stack.tops[index] + line)
                if self._width and not entry.laid_out:
                    entry.estimate(self._column)
                if not (was_laid_out and entry.laid_out):
                    changed = 0
        self._place(anchor, changed)
        now = perf_counter()
        cost = now - started + self._paint_cost
        self._paint_cost = 0.0
        self._next_flush = now + max(FLUSH_SECONDS, 2 * cost)

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, self._recolor)
        self._palette = Palette.from_variables(self.app.theme_variables)

    def on_resize(self, event: events.Resize) -> None:
        width = self.size.width
        anchor = self._stack.anchor(round(self.scroll_y))
        if width != self._width:
            self._width = width
            for entry in self._stack:
                entry.release()
                entry.estimate(self._column)
            if anchor is not None:
                # The same text is now at about the same share of the message.
                entry, line, height = anchor
                entry.lay_out(self._column, self._palette)
                anchor = Anchor(entry, line * entry.height // max(1, height), entry.height)
        self._place(anchor)

    def _recolor(self, theme: Theme) -> None:
        self._palette = Palette.from_variables(self.app.theme_variables)
        self._base = None
        for entry in self._stack:
            entry.release()
        self._place()

    # Drawing.

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._base = None

    @property
    def _base_style(self) -> Style:
        if self._base is None:
            self._base = self.rich_style
        return self._base

    def render_lines(self, crop: Region) -> list[Strip]:
        started = perf_counter()
        strips = super().render_lines(crop)
        self._paint_cost += perf_counter() - started
        return strips

    def render_line(self, y: int) -> Strip:
        width, base = self._width, self._base_style
        line = self.scroll_offset.y + y
        if line >= self._stack.height or not self._stack:
            return Strip.blank(width, base)
        index, number = self._stack.at(line)
        entry = self._stack.entries[index]
        if not entry.laid_out:
            return Strip.blank(width, base)
        strip = entry.paint(number, self._margin, width, base)
        if self._search is not None:
            strip = self._paint_hits(strip, entry, number)
        selection = self.text_selection
        if selection is not None and (span := selection.get_span(line)) is not None:
            style = self.screen.get_component_rich_style("screen--selection")
            content = entry.content(number, self._margin, self._palette)
            strip = paint_selection(strip, content, span, style)
        strip = strip.apply_offsets(0, line)
        if not self._following and y == self.size.height - 1 and line < self._stack.height - 1:
            style = base + self._palette.chat["muted"] + self._palette.panel
            end = min(width, self._margin + self._column)
            marker = Strip([Segment(_BELOW, style)], len(_BELOW))
            strip = Strip.join([strip.crop(0, end - len(_BELOW)), marker, strip.crop(end, width)])
        return strip

    def _paint_hits(self, strip: Strip, entry: Entry, number: int) -> Strip:
        assert self._search is not None
        hits = self._search.on_line(entry, number, self._margin, self._palette)
        content = entry.content(number, self._margin, self._palette) if hits else []
        for span, current in hits:
            style = self._palette.chat["hit-current" if current else "hit"]
            strip = paint_selection(strip, content, span, style)
        return strip

    # Selecting with the mouse.

    @property
    def allow_select(self) -> bool:
        return True

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text as shown, without bars and padding."""
        if not self._stack:
            return None
        start = selection.start or Offset(0, 0)
        end = selection.end or Offset(self._width, self._stack.height)
        first, last = self._stack.at(start.y)[0], self._stack.at(end.y)[0]
        entries, top = self._stack.entries[first : last + 1], self._stack.tops[first]
        return extract(entries, top, selection, self._margin, self._palette), "\n"

    async def _on_click(self, event: events.Click) -> None:
        """Two clicks select the message (Textual's own would select the whole view)."""
        if event.chain >= 2 and self._stack:
            event.prevent_default()
            index, _ = self._stack.at(round(self.scroll_y) + event.y)
            start, end = (
                Offset(0, self._stack.tops[index]),
                Offset(self._width, self._stack.tops[index + 1] - 1),
            )
            self.screen.selections = {self: Selection(start, end)}

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()
