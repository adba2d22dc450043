"""The prompt: several lines, Enter sends, arrows at its edges recall earlier prompts.

What is typed is completed by a list above it; what is pasted large stands in it as one word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import BindingType
from textual.document._document import EditResult, Location
from textual.document._edit import Edit
from textual.geometry import Offset
from textual.message import Message
from textual.widgets import TextArea

from mistral_tui import attach, slash
from mistral_tui.actions import BY_ID, bindings, pressed
from mistral_tui.sanitize import sanitize
from mistral_tui.widgets.completions import Asked, Choice, Completions
from mistral_tui.widgets.pastes import Pastes, clean
from mistral_tui.widgets.queue import PromptQueue, pack, unpack

FULL = 100_000  # characters in the prompt beyond which any paste becomes one word


class Prompt(TextArea):
    """Emits `Prompt.Sent`; the sender decides what becomes of the text."""

    # Two actions share their keys with the cursor's; all are decided in `_on_key`.
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("prompt", leave_out=("earlier", "later"))]

    class Sent(Message):
        """The user pressed Enter. In `text`, large pastes are still single words."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    class Resumed(Message):
        """The user pressed Enter on nothing, while the queue was held: it is not any more."""

    def __init__(self, *, id: str) -> None:
        super().__init__(
            id=id,
            soft_wrap=True,
            tab_behavior="focus",
            compact=True,
            highlight_cursor_line=False,
        )
        self.show_keys()
        self.menu = Completions()
        self.menu.picked = self.choose
        self.queue = PromptQueue()
        self.pastes = Pastes()
        self.arguments: dict[str, slash.Provider] = {}
        """What completes the argument of a command, by the id of its action."""
        self._history: list[str] = []  # newest first
        self._place = -1  # in the history; -1 is what is being written
        self._unsent = ""
        self._quiet = True  # nothing was typed since the text was put there
        self._closed_at: int | None = None  # Esc closed the list of the word that starts there
        self._files = attach.FileFinder(Path())
        self._wanted: Asked | None = None
        self._looking = False

    def show_keys(self) -> None:
        """The keys may be others now."""
        send, newline = BY_ID["send"].shown_key, BY_ID["newline"].shown_key
        keys = [f"{send} sends"] * bool(send) + [f"{newline}: new line"] * bool(newline)
        said = f"  ({', '.join(keys)})" * bool(keys)
        room = self.content_size.width or 80  # before the first layout
        self.placeholder = "Write a message…" + said * (len(said) + 17 <= room)

    def on_resize(self) -> None:
        self.show_keys()

    # ── its text ────────────────────────────────────────────────────────────────────

    @property
    def full_text(self) -> str:
        """The text with all that was pasted."""
        return self.pastes.unfold(self.text)

    @property
    def draft(self) -> str:
        """What would be lost: what waits in the queue, and the text. `restore` takes it."""
        return pack(map(self.pastes.unfold, self.queue.texts), self.full_text)

    def restore(self, draft: str) -> None:
        """Go on with a stored draft."""
        queued, text = unpack(draft)
        self.queue.restore(self.pastes.fold(sanitize(old)) for old in queued)
        self.put(text)

    def remember(self, prompts: Sequence[str]) -> None:
        """Earlier prompts, newest first."""
        self._history = list(prompts)
        self._place = -1

    def recallable(self, text: str) -> None:
        """↑ finds this first."""
        self._history = [text, *(old for old in self._history if old != text)]
        self._place, self._unsent = -1, ""

    def put(self, text: str) -> None:
        """Replace the text, made safe, with the cursor at its end."""
        self._quiet = True
        self.menu.hide()
        self.text = self.pastes.fold(clean(text))
        self.move_cursor(self.document.end)

    def rewrite(self, text: str) -> None:
        """Replace the text as the user's own edit, which can be undone."""
        folded = self.pastes.fold(clean(text))
        self.replace(folded, (0, 0), self.document.end, maintain_selection_offset=False)
        self._quiet = True

    def quote(self, text: str, what: str) -> None:
        """Put a piece of code at the cursor, as one word that says what it is."""
        before = self.document.get_line(self.cursor_location[0])[: self.cursor_location[1]]
        space = "" if not before or before[-1].isspace() else " "
        self._replace_via_keyboard(f"{space}{self.pastes.name(text, what)} ", *self.selection)
        self.focus()

    def take(self, sent: str) -> None:
        """What was sent leaves the prompt and joins the history; what was typed since stays."""
        self.recallable(sent)
        self.put(self.text.removeprefix(sent) if self.text.startswith(sent) else "")

    def action_send(self) -> None:
        """Hand the text over, if there is any; on nothing, let the queue go on."""
        if self.full_text.strip():
            self.menu.hide()
            self.post_message(self.Sent(self.text))
        elif self.queue.held:
            self.queue.release()
            self.post_message(self.Resumed())

    def action_newline(self) -> None:
        """A line break at the cursor."""
        start, end = self.selection
        self._replace_via_keyboard("\n", start, end)

    # ── keys ────────────────────────────────────────────────────────────────────────

    async def _on_key(self, event: events.Key) -> None:
        # Before the text area, which has its own use for some keys.
        key = event.key
        app = pressed("app", key)
        if (self.menu.open and self._key_of_menu(key)) or self._does(key):
            event.stop()
            event.prevent_default()
        elif app is not None:
            event.stop()
            event.prevent_default()
            await self.app.run_action(app.does)
        # All else goes on to the text area's own handler: Textual calls one per class.

    def _does(self, key: str) -> bool:
        """Whether the key is one of the prompt's own and was of use."""
        action = pressed("prompt", key)
        match action and action.id:
            case "send":
                self.action_send()
            case "newline":
                self.action_newline()
            case "earlier":
                return self.action_earlier(key != "up")
            case "later":
                return self.action_later(key != "down")
            case _:
                return False
        return True

    async def _on_paste(self, event: events.Paste) -> None:
        # What is pasted may come from anywhere and is drawn on the terminal. Many terminals
        # send its line breaks as carriage returns.
        text = event.text
        safe = clean(text) if len(text) < FULL else await asyncio.to_thread(clean, text)
        event.text = self._pasted(safe)

    def action_paste(self) -> None:
        """Insert what was copied here."""
        self._replace_via_keyboard(self._pasted(clean(self.app.clipboard)), *self.selection)

    def _pasted(self, text: str) -> str:
        full = len(text) + len(self.text) > FULL
        return self.pastes.fold(text, always=full)

    def action_earlier(self, anywhere: bool = False) -> bool:
        """Recall an earlier prompt, on the first line; False if there is none."""
        if not anywhere and not self.navigator.is_first_wrapped_line(self.selection.end):
            return False
        if not self.text and (queued := self.queue.last()) is not None:
            self.put(queued)
            return True
        return self._recall(1)

    def action_later(self, anywhere: bool = False) -> bool:
        """Recall a later prompt, on the last line; False if there is none."""
        at_edge = anywhere or self.navigator.is_last_wrapped_line(self.selection.end)
        return at_edge and self._recall(-1)

    def _recall(self, step: int) -> bool:
        """Show the next older (1) or newer (-1) prompt; False if there is none."""
        place = self._place + step
        if not -1 <= place < len(self._history):
            return False
        if self._place == -1:
            self._unsent = self.text
        self._place = place
        self.put(self._unsent if place == -1 else self._history[place])
        return True

    # ── completion ──────────────────────────────────────────────────────────────────

    def on_text_area_changed(self) -> None:
        self._look()

    def on_text_area_selection_changed(self) -> None:
        if self.menu.open:
            self._look()

    def on_blur(self) -> None:
        self.menu.hide()

    def _asked(self) -> Asked | None:
        """What could be completed at the cursor."""
        if self._quiet or not self.selection.is_empty or not self.has_focus:
            return None
        row, column = self.cursor_location
        before = self.document.get_line(row)[:column]
        if before.startswith("/") and self.document.line_count == 1:
            return slash.asked(before, self.arguments) or attach.asked(before)
        return attach.asked(before)

    def _look(self) -> None:
        """Open, narrow or close the list, as what stands before the cursor asks."""
        asked = self._asked()
        if asked is None or asked.start != self._closed_at:
            self._closed_at = None
        if asked is None or self._closed_at is not None:
            self._wanted = None
            self.menu.hide()
        elif asked.kind == "command":
            self.menu.show(slash.choices(asked.typed, self.arguments))
        else:
            self._wanted = asked
            if not self._looking:
                self._looking = True
                self.run_worker(self._find(), exit_on_error=False)

    async def _find(self) -> None:
        """Find what is wanted, one thing at a time: a slow disk must not pile up threads."""
        try:
            while (asked := self._wanted) is not None:
                self._wanted = None
                found = await asyncio.to_thread(self._found, asked)
                if self._wanted is None and self._asked() == asked and self._closed_at is None:
                    self.menu.show(found)
        finally:
            self._looking = False

    def _found(self, asked: Asked) -> list[Choice]:
        if asked.kind == "file":
            return self._files.find(asked.typed)
        return slash.arguments(asked.typed, self.arguments[asked.name])

    def _key_of_menu(self, key: str) -> bool:
        """Whether the open list takes the key."""
        action = pressed("menu", key)
        match action and action.id:
            case "menu.up":
                self.menu.move(-1)
            case "menu.down":
                self.menu.move(1)
            case "menu.leave":
                asked = self._asked()
                self._closed_at = asked.start if asked else None
                self.menu.hide()
            case "menu.take":
                self.choose()
            case "menu.run":
                return self._enter()
            case _:
                return False
        return True

    def _enter(self) -> bool:
        """Take the marked choice; a command that lacks nothing is run. False: just send."""
        asked = self._asked()
        if asked is None or self.menu.chosen.insert.rstrip() == self._replaced(asked):
            return False
        if asked.kind == "command" and not self.menu.moved:  # keys may be ahead of the list
            self._look()
            if not self.menu.open:
                return False
        choice, moved = self.menu.chosen, self.menu.moved
        self.choose()
        if asked.kind != "file" and not choice.more and (choice.sure or moved):
            self.action_send()
        return True

    def choose(self) -> None:
        """Put the marked choice in the place of what was typed."""
        asked, choice = self._asked(), self.menu.chosen
        self.menu.hide()
        if asked is None:
            return
        row, column = self.cursor_location
        start = (row, asked.start)
        self.replace(choice.insert, start, (row, column), maintain_selection_offset=False)
        if not choice.more:
            self._closed_at = asked.start
        self.focus()

    def _replaced(self, asked: Asked) -> str:
        row, column = self.cursor_location
        return self.document.get_line(row)[asked.start : column]

    # ── large pastes are one word ───────────────────────────────────────────────────

    def edit(self, edit: Edit) -> EditResult:
        """An edit that touches a part of a paste touches all of it."""
        self._quiet = False
        first, last = edit.top, edit.bottom
        outside_first, outside_last = self._outside(first, -1), self._outside(last, 1)
        if first == last:
            outside_first = outside_last  # typed within: it goes behind
        edit.from_location, edit.to_location = outside_first, outside_last
        return super().edit(edit)

    def _outside(self, location: Location, step: int) -> Location:
        """The place itself, or that before (-1) or behind (1) the paste that it is in."""
        row, column = location
        if self.pastes and row < self.document.line_count:
            for start, end in self.pastes.spans(self.document.get_line(row)):
                if start < column < end:
                    return row, start if step < 0 else end
        return location

    def get_cursor_left_location(self) -> Location:
        return self._outside(super().get_cursor_left_location(), -1)

    def get_cursor_right_location(self) -> Location:
        return self._outside(super().get_cursor_right_location(), 1)

    def get_line(self, line_index: int) -> Text:
        line = super().get_line(line_index)
        for start, end in self._spans(line.plain):
            line.stylize(self.get_component_rich_style("text-area--suggestion"), start, end)
        return line

    def _spans(self, line: str) -> Iterable[tuple[int, int]]:
        return self.pastes.spans(line) if self.pastes else ()

    def scroll_cursor_visible(self, center: bool = False, animate: bool = False) -> Offset:
        # An undo that takes lines away asks for this before it has moved the cursor; the text
        # area then fails on a line that is no more. It asks again after that.
        if self.cursor_location[0] >= self.document.line_count:
            return Offset(0, 0)
        return super().scroll_cursor_visible(center, animate)
