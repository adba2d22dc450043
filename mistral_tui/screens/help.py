"""F1: keys, and what is running."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from mistral_tui.actions import ACTIONS
from mistral_tui.sanitize import sanitize


class HelpScreen(ModalScreen[None]):
    """All keys, then facts about the model and the files."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q", "dismiss", "Close")]
    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen VerticalScroll {
        width: 84; max-width: 96%; height: auto; max-height: 92%;
        background: $panel; border: round $primary; padding: 0 2;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    """

    def __init__(self, facts: list[tuple[str, str]]) -> None:
        super().__init__()
        self._facts = facts

    def compose(self) -> ComposeResult:
        with VerticalScroll() as page:
            page.border_title = "Help"
            page.border_subtitle = "Esc closes"
            yield Static(self._text(), markup=False)

    def _text(self) -> Content:
        width = 14
        parts: list[Content | str] = []
        for action in ACTIONS:
            keys = action.shown_keys.split(", ")
            parts.append(Content.assemble((f"{keys[0]:<{width}}", "bold $primary"), action.help))
        parts.append("")
        for name, value in self._facts:
            parts.append(Content.assemble((f"{name:<{width}}", "$text-muted"), sanitize(value)))
        return Content("\n").join(Content(p) if isinstance(p, str) else p for p in parts)
