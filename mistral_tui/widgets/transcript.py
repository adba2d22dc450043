"""The conversation: its messages, the cursor on them, and finding text in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import BindingType
from textual.message import Message

from mistral_tui.actions import bindings
from mistral_tui.widgets.blocks import code_blocks
from mistral_tui.widgets.call_entry import CallEntry
from mistral_tui.widgets.canvas import MAX_COLUMN, Canvas
from mistral_tui.widgets.entry import Entry, Role, TranscriptItem
from mistral_tui.widgets.finding import Search
from mistral_tui.widgets.stack import Stack

__all__ = ["MAX_COLUMN", "Chosen", "Transcript"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the cursor is on: a message, or one of its code blocks, with its language."""

    key: str
    text: str
    code: bool = False
    language: str = ""


class Transcript(Canvas, can_focus=True):
    """Messages, streamed or whole; follows the end until the user scrolls up."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("message")]

    class FindAsked(Message):
        """The user wants to look for something."""

    class Found(Message):
        """The user is at hit `number` of `total`, counted from 1; 0 of 0: there is none."""

        def __init__(self, number: int, total: int) -> None:
            self.number = number
            self.total = total
            super().__init__()

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.cursor = ""
        """The key of the message that is chosen; empty: none."""
        self.block = -1
        """Which of its code blocks; -1: none, but all of it."""

    # Messages.

    @property
    def keys(self) -> list[str]:
        """The keys of all messages, in order."""
        return list(self._stack.by_key)

    def add(
        self, key: str, role: Role, text: str = "", *, title: str = "", thinking: str = ""
    ) -> None:
        """Adds a message at the end. An assistant's stays open until `finish`."""
        item = TranscriptItem(key, role, text, title, thinking=thinking)
        anchor = self._stack.anchor(round(self.scroll_y))
        self._insert(Entry(item, open_=role == "assistant"))
        self._place(anchor)

    def _insert(self, entry: Entry) -> None:
        self._stack.add(entry)
        if self._width:
            entry.estimate(self._column)

    def load(self, items: Iterable[TranscriptItem | CallEntry]) -> None:
        """Shows a whole conversation; messages are laid out as they come near the view."""
        self._stack = Stack()
        self.cursor, self.block = "", -1
        for item in items:
            self._insert(item if isinstance(item, CallEntry) else Entry(item))
        self._look_again()
        self._follow(True)
        self._place()

    def call(self, key: str, name: str = "") -> CallEntry:
        """The call of that key, at the end if it is new. `changed` draws what is done to it."""
        entry = self._stack.by_key.get(key)
        if isinstance(entry, CallEntry):
            return entry
        made = CallEntry(key, name)
        anchor = self._stack.anchor(round(self.scroll_y))
        self._insert(made)
        self._place(anchor)
        return made

    def changed(self, entry: CallEntry) -> None:
        """Something was done to a call."""
        self._look_again()
        self._changed(entry)

    def append(self, key: str, text: str) -> None:
        """Adds streamed text; it shows within about 40 ms."""
        self._stack.by_key[key].append(text)
        self._flush_soon()

    def think(self, key: str, text: str) -> None:
        """Adds streamed thinking, which comes before the text."""
        self._stack.by_key[key].thinking.append(text)
        self._flush_soon()

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

    # The cursor.

    def choose(self, key: str, block: int = -1) -> None:
        """Puts the cursor on a message, or on one of its code blocks, and brings its beginning
        into view; "": on none."""
        for changed in {self.cursor, key} & self._stack.by_key.keys():
            self._stack.by_key[changed].mark(changed == key, block)
        self.cursor = key if key in self._stack.by_key else ""
        self.block = block if self.cursor else -1
        if not self.cursor:
            self._place()
            return
        entry = self._stack.by_key[key]
        if self._width:
            entry.lay_out(self._column, self._palette)
        blocks = entry.blocks() if block >= 0 else []
        self._show_line(entry, blocks[block].start if 0 <= block < len(blocks) else 0)

    @property
    def message(self) -> str:
        """The key of the message that the cursor is on, or on one of whose calls."""
        return self.cursor.split("-")[1] if self.cursor.startswith("call-") else self.cursor

    @property
    def chosen(self) -> Chosen | None:
        """What the cursor is on."""
        if self.cursor not in self._stack.by_key:
            return None
        text = self.text(self.cursor)
        if self.block >= 0:
            blocks = code_blocks(text)
            if self.block < len(blocks):
                language, code = blocks[self.block]
                return Chosen(self.cursor, code, True, language)
        return Chosen(self.cursor, text)

    def action_message_above(self) -> None:
        self._step([(key, -1) for key in self._spoken()], -1)

    def action_message_below(self) -> None:
        self._step([(key, -1) for key in self._spoken()], 1)

    def action_block_above(self) -> None:
        self._step(self._stops(), -1)

    def action_block_below(self) -> None:
        self._step(self._stops(), 1)

    def _spoken(self) -> list[str]:
        return [entry.key for entry in self._stack if entry.role in ("user", "assistant", "call")]

    def _stops(self) -> list[tuple[str, int]]:
        """Every message and code block."""
        return [
            (key, block)
            for key in self._spoken()
            for block in range(-1, len(self.code_blocks(key)) if self._has_code(key) else 0)
        ]

    def _has_code(self, key: str) -> bool:
        entry = self._stack.by_key[key]
        return entry.role == "assistant" and any(m in entry.text for m in ("```", "~~~", "    "))

    def _step(self, stops: list[tuple[str, int]], step: int) -> None:
        if not stops:
            return
        here = (self.cursor, self.block)
        if here not in stops and (self.cursor, -1) in stops:  # on a block, among messages
            here = (self.cursor, -1)
            step = 0 if step < 0 else step
        if here in stops:
            place = min(max(stops.index(here) + step, 0), len(stops) - 1)
        else:
            place = self._nearest(stops, step)
        self.choose(*stops[place])

    def _nearest(self, stops: list[tuple[str, int]], step: int) -> int:
        """Without a cursor: the last message in view going up, the first going down."""
        self._stack.measure()
        edge = round(self.scroll_y) + (self.size.height - 1 if step < 0 else 0)
        at = self._stack.at(edge)[0] if len(self._stack) else 0
        keys = [entry.key for entry in self._stack.entries[: at + 1]]
        near = [index for index, (key, _) in enumerate(stops) if key in set(keys)]
        return near[-1] if near else 0

    # Thinking.

    def action_fold(self) -> None:
        """Unfolds the thinking of the chosen message, else of the last one that has some, or
        folds it."""
        chosen = self._stack.by_key.get(self.cursor)
        if isinstance(chosen, CallEntry):
            chosen.folded = not chosen.folded
            chosen.release()
            self.changed(chosen)
            return
        entries = [entry for entry in self._stack if entry.thinking]
        mine = [entry for entry in entries if entry.key == self.cursor] or entries[-1:]
        if not mine:
            self.notify("No answer here came with thinking.", markup=False)
            return
        entry = mine[0]
        entry.thinking.folded = not entry.thinking.folded
        anchor = self._stack.anchor(round(self.scroll_y))
        entry.release()
        self._look_again()
        self._place(anchor)

    # Finding.

    def find(self, query: str) -> None:
        """Marks what is found and goes to the first hit in or below the view; "": ends it."""
        self._search = Search(query) if query.strip() else None
        if self._search is not None:
            self._search.look(self._stack)
            self._go_to_hit(1)
        else:
            self.post_message(self.Found(0, 0))
        self.refresh()

    @property
    def finding(self) -> str:
        """What is looked for."""
        return self._search.query if self._search is not None else ""

    def action_find(self) -> None:
        self.post_message(self.FindAsked())

    def action_find_next(self) -> None:
        self._find_again(1)

    def action_find_previous(self) -> None:
        self._find_again(-1)

    def _find_again(self, step: int) -> None:
        if self._search is None:
            self.action_find()
            return
        self._search.look(self._stack)  # more may have come
        self._go_to_hit(step)

    def _look_again(self) -> None:
        if self._search is not None:
            self._search.look(self._stack)

    def _go_to_hit(self, step: int) -> None:
        search = self._search
        assert search is not None
        self._stack.measure()
        index = self._stack.at(round(self.scroll_y))[0] if len(self._stack) else 0
        here = self._stack.entries[index].key if len(self._stack) else ""
        hit = search.step(self.keys, here, step)
        self.post_message(self.Found(search.at + 1, len(search.hits)))
        if hit is not None:
            entry = self._stack.by_key[hit.key]
            if self._width and not entry.laid_out:
                entry.lay_out(self._column, self._palette)
            line = search.line_of(entry, self._margin, self._palette)
            self._show_line(entry, line, room=self.size.height // 3)
        self.refresh()

    # Moving.

    def page_up(self) -> None:
        """Scrolls up by a screenful, less one line."""
        self._scroll_by(1 - self.size.height)

    def page_down(self) -> None:
        """Scrolls down by a screenful, less one line."""
        self._scroll_by(self.size.height - 1)

    def _scroll_by(self, lines: int) -> None:
        self.scroll_to(y=self.scroll_y + (lines or 1), animate=False)

    def action_line_up(self) -> None:
        self._scroll_by(-1)

    def action_line_down(self) -> None:
        self._scroll_by(1)

    def action_page_above(self) -> None:
        self.page_up()

    def action_page_below(self) -> None:
        self.page_down()

    def action_half_above(self) -> None:
        self._scroll_by(-max(1, self.size.height // 2))

    def action_half_below(self) -> None:
        self._scroll_by(max(1, self.size.height // 2))

    def action_top(self) -> None:
        self.scroll_to(y=0, animate=False)

    def action_bottom(self) -> None:
        self.follow()
