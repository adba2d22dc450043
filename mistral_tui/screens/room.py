"""The context is full: what shall be done."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from mistral_tui.actions import bindings

_TEXT = """\
With your message the conversation takes {tokens:,} tokens, and the model reads {context:,} at most.

Nothing is deleted by any of these: what is left out stays in the conversation, greyed."""


class RoomScreen(ModalScreen[str]):
    """Dismissed with `drop`, `summary` or `back`."""

    AUTO_FOCUS = "#drop"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("room")]
    DEFAULT_CSS = """
    RoomScreen { align: center middle; }
    RoomScreen > Vertical {
        width: 68; max-width: 96%; height: auto; max-height: 96%; overflow-y: auto;
        background: $panel; border: round $primary; padding: 1 2;
        border-title-color: $primary;
    }
    RoomScreen Button { margin-top: 1; width: 100%; }
    RoomScreen Button:focus {
        background: $primary !important; color: $panel !important; text-style: bold !important;
    }
    """

    def __init__(self, tokens: int, context: int) -> None:
        super().__init__()
        self._text = _TEXT.format(tokens=tokens, context=context)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "The context is full"
            yield Static(self._text, markup=False)
            yield Button("Leave the oldest turns out", id="drop", compact=True)
            yield Button("Go on in a new conversation with a summary", id="summary", compact=True)
            yield Button("Take the message back", id="back", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id or "back")
