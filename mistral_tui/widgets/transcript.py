"""The conversation as one view that draws lines on demand (no widget per message)."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Offset, Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip
from textual.theme import Theme
from textual.timer import Timer

from mistral_tui.actions import bindings
from mistral_tui.widgets.blocks import code_blocks
from mistral_tui.widgets.entry import INDENT, Entry, Role, TranscriptItem
from mistral_tui.widgets.palette import Palette
from mistral_tui.widgets.selecting import extract, paint_selection
from mistral_tui.widgets.stack import Anchor, Stack

MAX_COLUMN = 100
"""Cells of text in a line; wider lines are hard to read."""
FLUSH_SECONDS = 0.04
_BELOW = " ↓ more below "


class Transcript(ScrollView, can_focus=True):
    """Messages, streamed or whole; follows the end until the user scrolls up."""

    DEFAULT_CSS = """
    Transcript {
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
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", "Up", show=False),
        Binding("down,j", "scroll_down", "Down", show=False),
        *bindings("message"),
        Binding("pageup", "page_up", "Page up", show=False),
        Binding("pagedown", "page_down", "Page down", show=False),
        Binding("home,g", "scroll_home", "Top", show=False),
        Binding("end,G", "scroll_end", "End", show=False),
    ]

    class FollowChanged(Message):
        """The view began or stopped to follow the end."""

        def __init__(self, following: bool) -> None:
            self.following = following
            super().__init__()

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._stack = Stack()
        self._palette = Palette.from_variables({})
        self._following = True
        self.cursor = ""
        """The key of the message that is chosen; empty: none."""
        self._placing = False
        self._width = 0
        self._timer: Timer | None = None
        self._next_flush = 0.0
        self._paint_cost = 0.0
        self._base: Style | None = None

    # Messages.

    @property
    def keys(self) -> list[str]:
        """The keys of all messages, in order."""
        return list(self._stack.by_key)

    @property
    def following(self) -> bool:
        """Whether the view stays at the end as text arrives."""
        return self._following

    def add(self, key: str, role: Role, text: str = "", *, title: str = "") -> None:
        """Adds a message at the end. An assistant's stays open until `finish`."""
        item = TranscriptItem(key, role, text, title)
        anchor = self._stack.anchor(round(self.scroll_y))
        self._insert(Entry(item, open_=role == "assistant"))
        self._place(anchor)

    def _insert(self, entry: Entry) -> None:
        self._stack.add(entry)
        if self._width:
            entry.estimate(self._column)

    def load(self, items: Iterable[TranscriptItem]) -> None:
        """Shows a whole conversation; messages are laid out as they come near the view."""
        self._stack = Stack()
        self.cursor = ""
        for item in items:
            self._insert(Entry(item))
        self._follow(True)
        self._place()

    def append(self, key: str, text: str) -> None:
        """Adds streamed text; it shows within about 40 ms."""
        self._stack.by_key[key].append(text)
        if self._timer is None and self.is_attached:
            delay = max(0.001, self._next_flush - perf_counter())
            self._timer = self.set_timer(delay, self._flush)

    def set_text(self, key: str, text: str) -> None:
        """Replaces the text of a message."""
        entry = self._stack.by_key[key]
        entry.text = text
        self._changed(entry)

    def set_status(self, key: str, text: str) -> None:
        """A muted line in place of the text, until there is some."""
        entry = self._stack.by_key[key]
        entry.status = text
        if not entry.text:
            entry.release()
            self._changed(entry)

    def finish(self, key: str, footnote: str = "") -> None:
        """The message is complete; `footnote` shows muted below it."""
        entry = self._stack.by_key[key]
        entry.finish(footnote)
        self._changed(entry)

    def discard(self, key: str) -> None:
        """Takes a message away."""
        anchor = self._stack.anchor(round(self.scroll_y))
        self._stack.discard(key)
        self._place(anchor)

    def discard_if_there(self, key: str) -> None:
        """Takes a message away, if there is one of that key."""
        if key in self._stack.by_key:
            self.discard(key)

    def clear(self) -> None:
        """Takes all messages away."""
        self.load(())

    def text(self, key: str) -> str:
        """The text of a message as it came, made safe."""
        return self._stack.by_key[key].text

    def code_blocks(self, key: str) -> list[tuple[str, str]]:
        """(language, code) of each code block of a message."""
        return code_blocks(self._stack.by_key[key].text)

    # The message cursor.

    def choose(self, key: str) -> None:
        """Puts the cursor on a message and brings its beginning into view; "": on none."""
        for changed in {self.cursor, key} & self._stack.by_key.keys():
            entry = self._stack.by_key[changed]
            entry.current = changed == key
            entry.release()
        self.cursor = key if key in self._stack.by_key else ""
        if self.cursor:
            self._follow(False)
            entry = self._stack.by_key[key]
            self._stack.measure()
            top = self._stack.tops[self._stack.entries.index(entry)]
            inside = self.scroll_y <= top < self.scroll_y + self.size.height - 1
            self._place(None if inside else Anchor(entry, 0, entry.height))
        else:
            self._place()

    def action_message_above(self) -> None:
        self._step(-1)

    def action_message_below(self) -> None:
        self._step(1)

    def _step(self, step: int) -> None:
        keys = [entry.key for entry in self._stack if entry.role in ("user", "assistant")]
        if not keys:
            return
        if self.cursor in keys:
            place = min(max(keys.index(self.cursor) + step, 0), len(keys) - 1)
        else:
            place = len(keys) - 1
        self.choose(keys[place])

    # Moving.

    def follow(self) -> None:
        """Goes to the end and stays there as text arrives."""
        self._follow(True)
        self._place()

    def page_up(self) -> None:
        """Scrolls up by a screenful, less one line."""
        self.scroll_to(y=self.scroll_y - max(1, self.size.height - 1), animate=False)

    def page_down(self) -> None:
        """Scrolls down by a screenful, less one line."""
        self.scroll_to(y=self.scroll_y + max(1, self.size.height - 1), animate=False)

    def action_page_up(self) -> None:
        self.page_up()

    def action_page_down(self) -> None:
        self.page_down()

    def action_scroll_up(self) -> None:
        self.scroll_to(y=self.scroll_y - 1, animate=False)

    def action_scroll_down(self) -> None:
        self.scroll_to(y=self.scroll_y + 1, animate=False)

    def action_scroll_home(self) -> None:
        self.scroll_to(y=0, animate=False)

    def action_scroll_end(self) -> None:
        self.follow()

    def _follow(self, following: bool) -> None:
        if following != self._following:
            self._following = following
            self.post_message(self.FollowChanged(following))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if not self._placing and round(old_value) != round(new_value):
            self._follow(new_value >= self.max_scroll_y)
            self._place()

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
                self.set_reactive(Transcript.virtual_size, size)
                self._scroll_update(size)
            moved = top != round(self.scroll_y)
            self.scroll_target_y = self.scroll_y = top
        finally:
            self._placing = False
        if moved or changed is None:
            self.refresh()
        else:
            self.refresh_lines(changed, max(0, top + height - changed))

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
