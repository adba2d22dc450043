"""An app around one editor of code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input

from fake_engine import screen_rows
from mistral_tui.code.ghost import Ghost
from mistral_tui.themes import load_themes
from mistral_tui.widgets.code.area import CodeArea


class EditorApp(App[None]):
    """Writes down what the editor tells."""

    def __init__(self, area: CodeArea) -> None:
        super().__init__()
        self.area = area
        self.told: list[str] = []
        for theme in load_themes()[0]:
            self.register_theme(theme)

    def compose(self) -> ComposeResult:
        yield self.area
        yield Input(id="other", compact=True)

    def on_mount(self) -> None:
        self.theme = "mistral-dark"
        self.area.cursor_blink = False
        self.area.focus()

    def on_code_area_asked(self, event: CodeArea.Asked) -> None:
        self.told.append(event.action)

    def on_code_area_ghost_dropped(self) -> None:
        self.told.append("dropped")

    def on_code_area_ghost_taken(self, event: CodeArea.GhostTaken) -> None:
        self.told.append(f"taken {event.text!r}")

    def copy_to_clipboard(self, text: str) -> None:
        self._clipboard = text

    def action_history(self) -> None:
        self.told.append("history")

    def action_follow(self) -> None:
        self.told.append("follow")


@asynccontextmanager
async def editor(
    text: str = "", *, size: tuple[int, int] = (60, 12), **area: Any
) -> AsyncIterator[tuple[EditorApp, CodeArea, Pilot[None]]]:
    """The app, its editor and the pilot; the editor has all rows but the last."""
    app = EditorApp(CodeArea(text, **area))
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield app, app.area, pilot


def suggest(area: CodeArea, text: str, at: tuple[int, int], *, complete: bool = True) -> Ghost:
    """Suggest something at a place."""
    area.move_cursor(at)
    ghost = Ghost()
    ghost.add(0, text)
    ghost.complete = complete
    area.show_ghost(ghost)
    return ghost


def rows(app: EditorApp) -> list[str]:
    """What is drawn of the editor, without the space at the right."""
    return [row.rstrip() for row in screen_rows(app)[:-1]]
