"""A change to a file before it is made: each of its parts can be taken or left."""

from __future__ import annotations

from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from mistral_tui.actions import bindings, line
from mistral_tui.code.hunks import hunks, merge, split
from mistral_tui.sanitize import one_line
from mistral_tui.widgets.diff_view import DiffView

_AROUND = 6  # rows of the window that are no lines of the change


class DiffScreen(ModalScreen[str | None]):
    """Dismissed with the new text, or None if it is as it was.

    Args:
        title: the file's name.
        how: what the change is, as `replaces lines 10–24`.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("diff")]
    DEFAULT_CSS = """
    DiffScreen { align: center middle; }
    DiffScreen > Vertical {
        width: 116; max-width: 98%; height: auto; max-height: 96%;
        background: $panel; border: round $primary; padding: 0 1;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    DiffScreen .about { color: $text-muted; height: auto; margin-bottom: 1; }
    """

    def __init__(self, title: str, old: str, new: str, how: str) -> None:
        super().__init__()
        self._title, self._old, self._how = title, old, how
        self._parts = hunks(old, new)
        self._view = DiffView(split(old) if self._parts else [], self._parts)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(one_line(self._title, 80))  # no markup
            yield Static(self._about(), classes="about", markup=False)
            yield self._view
        self._hints(box)

    def _hints(self, box: Vertical) -> None:
        if self._parts:
            does = [
                ("diff.down diff.up", "parts"),
                ("diff.toggle", "toggles"),
                ("diff.take_all", "all"),
                ("diff.leave_all", "none"),
                ("diff.apply", "applies"),
                ("diff.leave", "leaves"),
            ]
        else:
            does = [("diff.leave", "leaves")]
        box.border_subtitle = Content(line(*does))

    def _about(self) -> str:
        how = one_line(self._how, 120)
        if not self._parts:
            return f"Nothing changes: the file has this already ({how})."
        taken, count = len(self._view.taken), len(self._parts)
        said = f"{how[:1].upper()}{how[1:]}."
        if not taken:
            return f"{said} No part is taken: nothing would change."
        if count == 1:
            return said
        return f"{said} {count if taken == count else f'{taken} of {count}'} parts are taken."

    def _show(self) -> None:
        self.query_one(".about", Static).update(self._about())
        self._view.redraw()

    def on_resize(self, event: events.Resize) -> None:
        """The window is as large as the change, if there is room."""
        width = min(116, event.size.width * 98 // 100) - 4
        rows = self._view.rows_at(width - 1)  # less the scrollbar
        self._view.styles.height = max(1, min(rows, event.size.height * 96 // 100 - _AROUND))

    def action_down(self) -> None:
        """Mark the part below."""
        self._view.step(1)

    def action_up(self) -> None:
        """Mark the part above."""
        self._view.step(-1)

    @on(DiffView.Toggled)
    def action_turn(self) -> None:
        """Take the marked part, or leave it."""
        if self._parts:
            self._view.taken ^= {self._view.marked}
            self._show()

    def action_take_all(self) -> None:
        """Take all parts."""
        self._view.taken = set(range(len(self._parts)))
        self._show()

    def action_leave_all(self) -> None:
        """Leave all parts."""
        self._view.taken = set()
        self._show()

    def action_apply(self) -> None:
        """Apply the parts that are taken."""
        if not self._view.taken:
            self.app.notify("Nothing was changed: no part is taken.", markup=False)
            self.dismiss(None)
            return
        self.dismiss(merge(self._old, self._parts, self._view.taken))

    def action_leave(self) -> None:
        """Change nothing."""
        self.dismiss(None)
