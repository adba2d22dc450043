"""What the model suggests in the code: between the completer and the editor in view."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mistral_tui.code.asking import FimSettings
from mistral_tui.code.completing import Completer, Completion, Model
from mistral_tui.code.ghost import Ghost
from mistral_tui.sanitize import sanitize

if TYPE_CHECKING:
    from mistral_tui.widgets.code.area import CodeArea
    from mistral_tui.widgets.code.panel import CodePanel
    from mistral_tui.widgets.code.tabs import CodeStatus


class Suggesting:
    """One suggestion at a time, at the cursor of the editor that has the focus."""

    def __init__(
        self,
        panel: CodePanel,
        model: Model,
        settings: Callable[[], FimSettings],
        status: CodeStatus,
    ) -> None:
        self._panel = panel
        self._status = status
        self._area: CodeArea | None = None  # that was asked for,
        self._where: object = None  # and where in it
        self._ghost: Ghost | None = None  # that was shown there
        self._step_soon = False  # to the next one, as soon as there is one
        self.completer = Completer(model, settings, self._came, self._told)

    def edited(self) -> None:
        """The code in view was edited, by whatever hand; a suggestion that still fits goes on."""
        area = self._panel.area
        if area is None or not area.has_focus:
            return
        if area.ghost is not None:
            self.shown()
        elif area.selection.is_empty:
            self._here(area)
            self.completer.soon(lambda: area.place() if self._still(area) else None)

    def moved(self) -> None:
        """The cursor moved, or it is only told that an edit moved it."""
        area = self._panel.area
        if area is not None and area.ghost is None and not self._still(area):
            self.completer.cancel()

    def ask(self) -> None:
        """Ask now; with a suggestion in view, for another one."""
        area = self._panel.area
        if area is None:
            return
        if area.ghost is not None and area.ghost.choices:
            self.step(1)
            return
        area.drop_ghost()
        area.move_cursor(area.selection.end)
        self._here(area)
        self.completer.ask(*area.place())
        self._say_trouble()

    def step(self, by: int) -> None:
        """Show the suggestion after or before; after the last one, ask for more."""
        area = self._panel.area
        if area is None:
            return
        ghost = area.ghost
        if ghost is None:
            if by > 0:
                self.ask()
        elif ghost.step(by):
            area.refresh_ghost()
            self.shown()
        elif by > 0:
            self._step_soon = self.completer.ask_more(ghost) or self._step_soon
            self._say_trouble()

    def stop(self) -> bool:
        """Dismiss the suggestion and stop the engine; False if there was nothing to stop."""
        area = self._panel.area
        there = self.completer.running or (area is not None and area.ghost is not None)
        if area is not None:
            area.drop_ghost()
        self.completer.cancel()
        self.shown()
        return there

    def dropped(self) -> None:
        """The editor dropped the suggestion: an edit or a movement went another way."""
        self._step_soon = False
        self.completer.cancel()
        self.shown()

    def shown(self) -> None:
        """Tell which suggestion is in view."""
        area = self._panel.area
        ghost = area.ghost if area is not None else None
        self._status.show(ghost=ghost.place if ghost is not None else (0, 0))
        if area is not None:
            which, many = ghost.place if ghost is not None else (0, 0)
            area.ghost_note = f"{which}/{many}" if which and many > 1 else ""

    def _say_trouble(self) -> None:
        """Why nothing comes of what was asked for by a key: the line below may be too short."""
        now = self.completer.now
        if now.stage == "trouble":
            self._panel.app.notify(sanitize(now.sentence), severity="warning", markup=False)

    def _came(self, ghost: Ghost) -> None:
        """There is more of a suggestion."""
        area = self._area
        if area is None or area is not self._panel.area or not area.is_attached:
            self.completer.cancel()
            return
        if self._step_soon and (ghost.step(1) or ghost.complete):
            self._step_soon = False
        if area.ghost is not ghost:
            # Keys are ahead of their messages: what was dropped, or is for another place by now,
            # must not come up.
            if ghost is self._ghost or not self._still(area):
                self.completer.cancel()
            elif ghost.text:
                self._ghost = ghost
                area.show_ghost(ghost)
        elif ghost.complete and not ghost.text:
            area.drop_ghost()  # all of it was taken
        else:
            area.refresh_ghost()
        self.shown()

    def _here(self, area: CodeArea) -> None:
        self._area, self._where = area, (area.edits, area.selection)

    def _still(self, area: CodeArea) -> bool:
        """Whether the cursor is where a suggestion was asked for, and nothing was edited."""
        here = area is self._area and (area.edits, area.selection) == self._where
        return here and area.has_focus and area is self._panel.area

    def _told(self, now: Completion) -> None:
        self._status.show(completion=now)
