"""The app's actions on what is in view: scrolling and copying."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from mistral_tui.looks import Looks

if TYPE_CHECKING:
    from mistral_tui.copying import Copier
    from mistral_tui.widgets.transcript import Transcript


class ViewActions(Looks):
    """What the app can do with what is shown."""

    transcript: Transcript
    _copier: Copier
    begun: bool

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the event loop; its foreseeable failures become notes."""
        raise NotImplementedError

    def action_scroll_page_up(self) -> None:
        """Scroll the conversation up by a page."""
        self.transcript.page_up()

    def action_scroll_page_down(self) -> None:
        """Scroll the conversation down by a page."""
        self.transcript.page_down()

    def action_follow(self) -> None:
        """Go to the end of the conversation."""
        self.transcript.follow()

    def action_copy_answer(self) -> None:
        """Copy the last answer."""
        self.start(self._copier.copy_answer())

    def action_copy_code(self) -> None:
        """Copy the last code block of the last answer; pressed again, the one before."""
        self.start(self._copier.copy_code())

    def copy_to_clipboard(self, text: str) -> None:
        """Textual's own copies (selected text) take the honest way, too."""
        from mistral_tui.widgets.pastes import clean

        self._clipboard = clean(text)  # fields draw what is pasted from here
        if self.begun:
            self.start(self._copier.copy(text, "the selection"))
