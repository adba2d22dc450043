"""The prompt: several lines, Enter sends, arrows at its edges recall earlier prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from mistral_tui.actions import bindings
from mistral_tui.sanitize import sanitize


class Prompt(TextArea):
    """Emits `Prompt.Sent`; the sender decides what becomes of the text."""

    # Two actions (up, down) share their keys with the cursor's and are decided in `_on_key`.
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("prompt", leave_out=("earlier", "later")),
        # A text area would take these for itself.
        Binding("pageup", "app.scroll_page_up", show=False),
        Binding("pagedown", "app.scroll_page_down", show=False),
    ]

    class Sent(Message):
        """The user pressed Enter."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    def __init__(self, *, id: str) -> None:
        super().__init__(
            id=id,
            soft_wrap=True,
            tab_behavior="focus",
            compact=True,
            highlight_cursor_line=False,
            placeholder="Write a message…  (Enter sends, Ctrl+J: new line)",
        )
        self._history: list[str] = []  # newest first
        self._place = -1  # in the history; -1 is what is being written
        self._unsent = ""

    def remember(self, prompts: Sequence[str]) -> None:
        """Earlier prompts, newest first."""
        self._history = list(prompts)
        self._place = -1

    def put(self, text: str) -> None:
        """Replace the text, made safe, with the cursor at its end."""
        self.text = sanitize(text)
        self.move_cursor(self.document.end)

    def take(self, sent: str) -> None:
        """What was sent leaves the prompt and joins the history; what was typed since stays."""
        self._history = [sent, *(old for old in self._history if old != sent)]
        self._place, self._unsent = -1, ""
        self.put(self.text.removeprefix(sent) if self.text.startswith(sent) else "")

    def action_send(self) -> None:
        """Hand the text over, if there is any."""
        if self.text.strip():
            self.post_message(self.Sent(self.text))

    def action_newline(self) -> None:
        """A line break at the cursor."""
        start, end = self.selection
        self._replace_via_keyboard("\n", start, end)

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.action_send()
        elif self._recalls(event.key):
            event.stop()
            event.prevent_default()
        # All else goes on to the text area's own handler: Textual calls one per class.

    async def _on_paste(self, event: events.Paste) -> None:
        # What is pasted may come from anywhere and is drawn on the terminal. Many terminals
        # send its line breaks as carriage returns.
        event.text = sanitize(event.text.replace("\r\n", "\n").replace("\r", "\n"))

    def _recalls(self, key: str) -> bool:
        """Take an arrow at the edge of the text as a walk through the history."""
        lines, cursor = self.navigator, self.selection.end
        if key == "up" and lines.is_first_wrapped_line(cursor):
            return self._recall(1)
        return key == "down" and lines.is_last_wrapped_line(cursor) and self._recall(-1)

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
