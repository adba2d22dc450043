"""A line that asks for a few words above the prompt: what to find, where to save."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static

from mistral_tui.actions import bindings
from mistral_tui.sanitize import one_line


class Bar(Horizontal):
    """A label, a field, and a note behind it."""

    DEFAULT_CSS = """
    Bar { height: 1; padding: 0 2; background: $surface; }
    Bar .label { width: auto; color: $primary; text-style: bold; padding-right: 1; }
    Bar Input { width: 1fr; height: 1; border: none; padding: 0; background: $surface; }
    Bar Input:focus { border: none; }
    Bar .note { width: auto; max-width: 50%; color: $text-muted; padding-left: 1; }
    """

    class Left(Message):
        """The user wants nothing of it."""

    class Done(Message):
        """The user pressed Enter on this text."""

        def __init__(self, bar: Bar, text: str) -> None:
            self.bar = bar
            self.text = text
            super().__init__()

    class Typed(Message):
        """The text changed."""

        def __init__(self, bar: Bar, text: str) -> None:
            self.bar = bar
            self.text = text
            super().__init__()

    def __init__(self, label: str, text: str = "", note: str = "") -> None:
        super().__init__()
        self._label, self._text, self._note = label, text, note

    def compose(self) -> ComposeResult:
        yield Static(self._label, classes="label", markup=False)
        yield Input(self._text, compact=True, select_on_focus=False)
        yield Static(self._note, classes="note", markup=False)

    @property
    def field(self) -> Input:
        """Where the words are typed."""
        return self.query_one(Input)

    def say(self, note: str) -> None:
        """The note behind the field."""
        self._note = one_line(note, 200)
        self.query_one(".note", Static).update(self._note)

    def on_mount(self) -> None:
        self.field.focus()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Typed(self, event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_done()

    def action_done(self) -> None:
        self.post_message(self.Done(self, self.field.value))

    def action_keep(self) -> None:
        self.action_done()

    def action_leave(self) -> None:
        self.post_message(self.Left())


class FindBar(Bar):
    """What to find in the conversation."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("find")]


class SaveBar(Bar):
    """The file to save something in."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("save")]
