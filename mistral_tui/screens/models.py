"""The models on disk, to switch to one of them within the running app."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from mistral_tui.actions import bindings, line
from mistral_tui.sanitize import one_line

if TYPE_CHECKING:
    from mistral_tui.catalog import Listed


class ModelsScreen(ModalScreen[str | None]):
    """Dismissed with the folder to load, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("models")]
    DEFAULT_CSS = """
    ModelsScreen { align: center middle; }
    ModelsScreen > Vertical {
        width: 96; max-width: 98%; height: auto; max-height: 90%;
        background: $panel; border: round $primary; padding: 0 1;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    ModelsScreen OptionList {
        height: auto; max-height: 30; border: none; background: $panel;
        scrollbar-size-vertical: 1;
    }
    ModelsScreen OptionList:focus { border: none; }
    """

    def __init__(self, current: str) -> None:
        super().__init__()
        self._current = current
        self._paths: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Models on this machine"
            does = ("models.open", "switches"), ("models.leave", "leaves")
            box.border_subtitle = line(*does)
            yield OptionList(Option("Looking …", disabled=True), markup=False)

    def on_mount(self) -> None:
        self._look()

    @work
    async def _look(self) -> None:
        from mistral_tui import catalog

        found = await asyncio.to_thread(lambda: catalog.find(catalog.places()))
        shown = self.query_one(OptionList)
        shown.clear_options()
        good = [model for model in found if not model.problem]
        for number, model in enumerate(good):
            self._paths[str(number)] = model.path
            shown.add_option(Option(_line(model, model.path == self._current), id=str(number)))
            if number == 0 or model.path == self._current:
                shown.highlighted = number
        if not good:
            shown.add_option(Option("None found: start with `mistral-tui FOLDER`.", disabled=True))
        shown.focus()

    def action_cursor(self, step: int) -> None:
        """Down or up."""
        shown = self.query_one(OptionList)
        (shown.action_cursor_down if step > 0 else shown.action_cursor_up)()

    def action_open(self) -> None:
        """Go on with the marked one."""
        self.query_one(OptionList).action_select()

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._paths.get(event.option.id or ""))


def _line(model: Listed, current: bool) -> Text:
    from mistral_tui.catalog import count, size

    line = Text("● " if current else "  ")
    line.append(one_line(model.name, 50), "bold")
    facts = [count(model), model.dtype, size(model), f"context {model.context:,}"]
    line.append(f"  {' · '.join(facts)} · {' '.join(model.capabilities)}", "dim")
    line.append(f"\n    {one_line(model.path, 90)}", "dim")
    return line
