"""The links of a message, to open or copy one: its whole address is seen before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from mistral_tui import links
from mistral_tui.actions import bindings, line
from mistral_tui.links import Link


class LinksScreen(ModalScreen[None]):
    """Enter opens the chosen one and leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("links")]
    DEFAULT_CSS = """
    LinksScreen { align: center middle; }
    LinksScreen > Vertical {
        width: 100; max-width: 98%; height: auto; max-height: 90%;
        background: $panel; border: round $primary; padding: 0 1;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    LinksScreen OptionList {
        height: auto; max-height: 30; border: none; background: $panel;
        scrollbar-size-vertical: 1;
    }
    LinksScreen OptionList:focus { border: none; }
    """

    def __init__(self, found: Sequence[Link]) -> None:
        super().__init__()
        self._links = found

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Links"
            does = ("links.open", "opens"), ("links.copy", "copies"), ("links.leave", "leaves")
            box.border_subtitle = line(*does)
            yield OptionList(*(Option(_row(link)) for link in self._links), markup=False)

    def on_mount(self) -> None:
        self._list.highlighted = 0

    @property
    def _list(self) -> OptionList:
        return self.query_one(OptionList)

    def action_up(self) -> None:
        self._list.action_cursor_up()

    def action_down(self) -> None:
        self._list.action_cursor_down()

    def action_leave(self) -> None:
        self.dismiss(None)

    @on(OptionList.OptionSelected)
    def _selected(self) -> None:
        self.action_open()

    @work
    async def action_open(self) -> None:
        said = await asyncio.to_thread(links.open_in_browser, self._here.target)
        self.app.notify(said, markup=False)
        self.dismiss(None)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._here.target)
        self.dismiss(None)

    @property
    def _here(self) -> Link:
        return self._links[self._list.highlighted or 0]


def _row(link: Link) -> Text:
    row = Text(link.label, "bold")
    row.append(f"\n  {link.target}", "" if link.can_open else "dim")
    if not link.can_open:
        row.append("  (no web page: it can only be copied)", "dim")
    return row
