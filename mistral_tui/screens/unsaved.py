"""Files with changes that are not saved, before they would be lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from mistral_tui.actions import bindings
from mistral_tui.sanitize import one_line

_SHOWN = 8


class UnsavedScreen(ModalScreen[Literal["save", "drop"] | None]):
    """Dismissed with what to do with the changes, or None to stay.

    Args:
        names: the files.
        leaving: what would be done, as in "Save and …": `leave`, `close`.
    """

    AUTO_FOCUS = "#save"  # Enter loses nothing
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("unsaved")]
    DEFAULT_CSS = """
    UnsavedScreen { align: center middle; }
    UnsavedScreen > Vertical {
        width: 68; max-width: 96%; height: auto; max-height: 96%; overflow-y: auto;
        background: $panel; border: round $primary; padding: 1 2;
        border-title-color: $primary;
        scrollbar-size-vertical: 1; scrollbar-background: $panel;
    }
    UnsavedScreen Button { margin-top: 1; width: 100%; }
    UnsavedScreen Button:focus {
        background: $primary !important; color: $panel !important; text-style: bold !important;
    }
    """

    def __init__(self, names: Sequence[str], leaving: str) -> None:
        super().__init__()
        self._names, self._leaving = names, one_line(leaving, 40)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Unsaved changes"
            yield Static(self._text(), markup=False)
            yield Button(Content(f"Save and {self._leaving}"), id="save", compact=True)
            yield Button("Stay", id="stay", compact=True)
            yield Button("Drop the changes", id="drop", compact=True)

    def _text(self) -> str:
        count = len(self._names)
        if count == 1:
            return f"{one_line(self._names[0], 200)} has changes that are not saved."
        shown = [f"  {one_line(name, 200)}" for name in self._names[:_SHOWN]]
        if count > _SHOWN:
            shown.append(f"  … and {count - _SHOWN} more")
        return "\n".join([f"{count} files have changes that are not saved:", "", *shown])

    def action_leave(self) -> None:
        """Stay; nothing is saved or dropped."""
        self.dismiss(None)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        chosen = event.button.id
        known = chosen in ("save", "drop")
        self.dismiss(cast(Literal["save", "drop"], chosen) if known else None)
