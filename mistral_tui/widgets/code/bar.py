"""What to find in the code."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType
from textual.message import Message

from mistral_tui.actions import bindings
from mistral_tui.widgets.bar import Bar


class CodeFindBar(Bar):
    """As the one for the conversation; ↑ and ↓ walk the places, too."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("code_find")]

    class Before(Message):
        """The place before, please."""

    def action_next(self) -> None:
        self.action_done()

    def action_previous(self) -> None:
        self.post_message(self.Before())
