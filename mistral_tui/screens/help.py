"""F1: keys, and what is running; what is typed narrows them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from itertools import zip_longest
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from mistral_tui.actions import Action, bindings, grouped, key_of
from mistral_tui.keys import parse_key
from mistral_tui.sanitize import one_line

_KEYS = 17  # cells of the left column


class HelpScreen(ModalScreen[None]):
    """All keys by place, then facts about the model and the files."""

    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("help")]
    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > Vertical {
        width: 88; max-width: 96%; height: 92%;
        background: $panel; border: round $primary; padding: 0 2;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    HelpScreen Input { border: none; height: 1; padding: 0; margin: 0 0 1 0; background: $panel; }
    HelpScreen Input:focus { border: none; }
    HelpScreen VerticalScroll {
        height: 1fr; scrollbar-size-vertical: 1; scrollbar-background: $panel;
    }
    """

    def __init__(self, facts: list[tuple[str, str]]) -> None:
        super().__init__()
        self._facts = facts
        self._width = 0

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Help"
            box.border_subtitle = f"{key_of('help.leave')} closes"
            yield Input(placeholder="Type a key or a word to narrow the list", compact=True)
            with VerticalScroll(can_focus=False):
                yield Static("", markup=False)

    def on_resize(self) -> None:
        # After the layout that this is a part of.
        self.call_after_refresh(self._show)

    @on(Input.Changed)
    def _show(self) -> None:
        """What matches, in the width that there is."""
        page = self.query_one(VerticalScroll)
        typed = self.query_one(Input).value
        width = max(30, page.scrollable_content_region.width)
        lines: list[Content] = []
        for place, actions in grouped().items():
            found = [action for action in actions if _matches(action, typed)]
            if found:
                lines += [Content(""), Content.styled(place, "bold")]
            for action in found:
                lines += _row(action.shown_keys or "no key", _said(action), width, "bold $primary")
        if not typed.strip():
            lines += [Content(""), Content.styled("This machine", "bold")]
            for name, value in self._facts:
                lines += _row(name, one_line(value, 500), width, "$text-muted")
        elif not lines:
            lines = [Content(""), Content.styled("Nothing found.", "$text-muted")]
        self.query_one(Static).update(Content("\n").join(lines[1:]))

    def action_scroll(self, lines: int) -> None:
        """Down or up."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_page(self, pages: int) -> None:
        """A screenful down or up."""
        page = self.query_one(VerticalScroll)
        page.scroll_relative(y=pages * max(1, page.size.height - 1), animate=False)


def _said(action: Action) -> str:
    if action.help.rstrip(".") == action.title:
        return action.help
    return f"{action.title}: {action.help}"


def _matches(action: Action, typed: str) -> bool:
    """Whether all words stand in its keys, its title or what it does; or the key is its own."""
    words = typed.lower().split()
    text = f"{action.shown_keys}\n{action.title}\n{action.help}".lower()
    return all(word in text for word in words) or parse_key(typed) in action.now


def _row(left: str, right: str, width: int, style: str) -> Iterable[Content]:
    """Two columns, each with its line breaks."""
    keys = textwrap.wrap(left, _KEYS)
    says = textwrap.wrap(right, width - _KEYS - 1)
    for key, said in zip_longest(keys, says, fillvalue=""):
        yield Content.assemble((key.ljust(_KEYS), style), " ", said)
