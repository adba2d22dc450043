"""F1: keys, and what is running."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from mistral_tui.actions import ACTIONS
from mistral_tui.sanitize import one_line


class HelpScreen(ModalScreen[None]):
    """All keys, then facts about the model and the files."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q", "dismiss", "Close")]
    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen VerticalScroll {
        width: 84; max-width: 96%; height: auto; max-height: 92%;
        background: $panel; border: round $primary; padding: 0 2;
        border-title-color: $primary; border-subtitle-color: $text-muted;
        scrollbar-size-vertical: 1; scrollbar-background: $panel;
    }
    HelpScreen Horizontal { height: auto; }
    HelpScreen .key { width: 13; color: $primary; text-style: bold; }
    HelpScreen .name { width: 13; color: $text-muted; }
    HelpScreen .says { width: 1fr; }
    HelpScreen .first { margin-top: 1; }
    """

    def __init__(self, facts: list[tuple[str, str]]) -> None:
        super().__init__()
        self._facts = facts

    def compose(self) -> ComposeResult:
        with VerticalScroll() as page:
            page.border_title = "Help"
            page.border_subtitle = "Esc closes"
            for action in ACTIONS:
                with Horizontal():
                    yield Static(action.shown_keys.split(", ")[0], classes="key", markup=False)
                    yield Static(action.help, classes="says", markup=False)
            for number, (name, value) in enumerate(self._facts):
                with Horizontal(classes="first" if number == 0 else ""):
                    yield Static(name, classes="name", markup=False)
                    yield Static(one_line(value, 500), classes="says", markup=False)
