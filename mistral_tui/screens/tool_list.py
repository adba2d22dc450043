"""The list of tools, which changes under the user's hands as servers come up."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from mistral_tui.screens.tool_rows import Row, draw


class ToolList(OptionList):
    """A click marks; one on what is marked, or on its circle, is Enter."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._rows: list[Row] = []
        self._width = 0  # for which they are drawn

    @property
    def row(self) -> Row | None:
        """What is marked."""
        number = self.highlighted
        return self._rows[number] if number is not None and number < len(self._rows) else None

    @property
    def cells(self) -> int:
        """How wide a row is."""
        return self.scrollable_content_region.width

    def fill(self, rows: Sequence[Row]) -> None:
        """Show these; what is marked stays so, and what is in view stays there."""
        before, width = self._rows, self.cells
        self._rows = list(rows)
        if [(row.key, row.fixed) for row in rows] == [(row.key, row.fixed) for row in before]:
            for number, (row, old) in enumerate(zip(rows, before, strict=True)):
                if row != old or width != self._width:
                    self.replace_option_prompt_at_index(number, draw(row, width))
            self._width = width
            return
        self._width = width
        at, top = self.highlighted, self.scroll_y
        here = before[at].key if at is not None and at < len(before) else ""
        with self.prevent(OptionList.OptionHighlighted):
            self.clear_options()
            self.add_options(
                Option(draw(row, width), id=row.key, disabled=row.fixed) for row in rows
            )
            if self.mark(here):
                self.scroll_to(y=top, animate=False)
            else:
                self.highlighted = self._nearest(at or 0)

    def mark(self, key: str) -> bool:
        """Mark the row of a key; False if there is none."""
        for number, row in enumerate(self._rows):
            if key and row.key == key:
                self.highlighted = number
                return True
        return False

    def _nearest(self, number: int) -> int | None:
        free = [place for place, row in enumerate(self._rows) if not row.fixed]
        return min(free, key=lambda place: (abs(place - number), place), default=None)

    async def _on_click(self, event: events.Click) -> None:
        event.prevent_default()
        clicked: int | None = event.style.meta.get("option")
        if clicked is None or self.get_option_at_index(clicked).disabled:
            return
        marked, self.highlighted = self.highlighted == clicked, clicked
        if marked or event.get_content_offset_capture(self).x < 2:
            self.action_select()
