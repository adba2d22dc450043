"""Fields of several lines: what is pasted is made safe; JSON is coloured."""

from __future__ import annotations

import json
import re

from rich.style import Style
from rich.text import Text
from textual import events
from textual.widgets import TextArea

from mistral_tui.sanitize import sanitize
from mistral_tui.widgets.palette import Palette
from mistral_tui.widgets.pastes import clean

MOST_TEXT = 128 << 10
"""Characters that are read here; a definition has half as many at most."""
_LONGEST_LINE = 4000  # that is coloured
_JSON = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*"(?=\s*:))|(?P<text>"(?:[^"\\]|\\.)*"?)'
    r"|(?P<number>-?\b\d[\d.eE+-]*)|(?P<word>\b(?:true|false|null)\b)|(?P<mark>[{}\[\]:,]+)"
)
_ROLES = {
    "key": "function", "text": "string", "number": "number", "word": "keyword", "mark": "operator",
}  # fmt: skip


class SafeArea(TextArea):
    """A text area; what is pasted is made safe, and bounded."""

    DEFAULT_CSS = """
    SafeArea {
        height: 1fr; border: round $border-blurred; padding: 0 1; background: $surface;
        scrollbar-size-vertical: 1;
    }
    SafeArea:focus { border: round $border; }
    SafeArea:nocolor:focus { border: heavy $border; }
    """

    def __init__(self, text: str) -> None:
        super().__init__(
            text, soft_wrap=True, highlight_cursor_line=False, compact=False, tab_behavior="focus"
        )
        self.indent_width = 2

    async def _on_paste(self, event: events.Paste) -> None:
        event.text = self._allowed(event.text)

    def action_paste(self) -> None:
        """Insert what was copied here."""
        self._replace_via_keyboard(self._allowed(self.app.clipboard), *self.selection)

    def _allowed(self, text: str) -> str:
        if len(text) + len(self.text) > MOST_TEXT:
            self.notify(
                f"This is too long to be pasted here: at most {MOST_TEXT >> 10} KB are read.",
                severity="warning",
                markup=False,
            )
            return ""
        return clean(text)


class JsonArea(SafeArea):
    """One for JSON, coloured line by line."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._styles: dict[str, Style] = {}

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles = {}

    def get_line(self, line_index: int) -> Text:
        row = super().get_line(line_index)
        if len(row.plain) > _LONGEST_LINE:
            return row
        if not self._styles:
            code = Palette.from_variables(self.app.theme_variables).code
            self._styles = {
                name: Style(color=code[role].color, bold=code[role].bold)
                for name, role in _ROLES.items()
            }
        for match in _JSON.finditer(row.plain):
            row.stylize(self._styles[match.lastgroup or "mark"], *match.span())
        return row


def escaped(text: str) -> str:
    """JSON text with escapes in the place of what cannot be shown: it means the same."""
    if sanitize(text) == text:
        return text
    return "".join(
        char if char in "\n\t" or sanitize(char) == char else json.dumps(char)[1:-1]
        for char in text
    )
