"""A few words for a tool call: its arguments, its result, or why it is denied."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from mistral_tui.actions import bindings, key_of, line
from mistral_tui.sanitize import one_line
from mistral_tui.widgets.areas import JsonArea, SafeArea


class WriteScreen(ModalScreen[str | None]):
    """Dismissed with the text, or None. `check` says what is wrong with one, in a sentence."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("write")]
    DEFAULT_CSS = """
    WriteScreen { align: center bottom; }
    WriteScreen Vertical {
        width: 100%; max-width: 110; height: auto; max-height: 80%; margin-bottom: 1;
        background: $panel; border: round $primary; padding: 0 1;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    WriteScreen SafeArea {
        height: auto; min-height: 3; max-height: 20; border: none; padding: 0;
    }
    WriteScreen SafeArea:focus { border: none; }
    WriteScreen .about { color: $text-muted; height: auto; }
    WriteScreen #wrong { color: $text-error; height: auto; display: none; }
    """

    def __init__(
        self,
        title: str,
        about: str,
        text: str = "",
        check: Callable[[str], str] = lambda text: "",
        *,
        json: bool = False,
    ) -> None:
        super().__init__()
        self._title, self._about, self._check = title, about, check
        self._begun = text
        self._warned = False
        self._area = JsonArea(text) if json else SafeArea(text)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = one_line(self._title, 100)
            box.border_subtitle = line(("write.keep", "done"), ("write.leave", "leaves"))
            yield Static(self._about, classes="about", markup=False)
            yield self._area
            yield Static("", id="wrong", markup=False)

    @property
    def words(self) -> str:
        """What the user has written or changed."""
        text = self._area.text
        return text if text != self._begun else ""

    def on_mount(self) -> None:
        self._area.focus()
        self._area.move_cursor(self._area.document.end)

    @on(TextArea.Changed)
    def _typed(self, event: TextArea.Changed) -> None:
        event.stop()
        self._warned = False
        wrong = self.query_one("#wrong", Static)
        wrong.display = False

    def action_keep(self) -> None:
        """Take what is written, if it is right."""
        text = self._area.text
        if problem := self._check(text):
            self._say(problem)
            return
        self.dismiss(text)

    def action_leave(self) -> None:
        """Leave it; what is written is not dropped by one key."""
        if self.words.strip() and not self._warned:
            self._warned = True
            self._say(f"{key_of('write.leave')} again drops what you wrote.")
            return
        self.dismiss(None)

    def _say(self, sentence: str) -> None:
        wrong = self.query_one("#wrong", Static)
        wrong.update(one_line(sentence, 400))
        wrong.display = True
