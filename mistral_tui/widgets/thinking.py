"""What a model thought before it answered: one line with a count, or all of it."""

from __future__ import annotations

from textual.strip import Strip

from mistral_tui.sanitize import StreamSanitizer, sanitize
from mistral_tui.widgets.palette import Palette
from mistral_tui.widgets.wrap import Row, to_strip, wrap

_BAR = "┊ "


class Thinking:
    """Foreign text that grows, folded until the user unfolds it."""

    def __init__(self, text: str = "") -> None:
        self._text = sanitize(text)
        self._sanitizer = StreamSanitizer()
        self.folded = True
        self.waiting = False
        """Whether text came since the lines were made."""
        self._kept: list[Strip] = []  # of the lines that are complete
        self._upto = 0  # where in the text those end
        self._made_for: tuple[int, Palette] | None = None

    def __bool__(self) -> bool:
        return bool(self._text)

    @property
    def text(self) -> str:
        """The text so far, made safe."""
        return self._text

    def append(self, text: str) -> None:
        """More of it."""
        self._text += self._sanitizer.feed(text)
        self.waiting = True

    def finish(self) -> None:
        """It is complete."""
        self._text += self._sanitizer.flush()
        self.waiting = False

    def lines(self, width: int, palette: Palette, *, running: bool) -> list[Strip]:
        """The rows to show; `running`: the model has not come to its answer yet."""
        self.waiting = False
        if not self._text.strip():
            return []
        style = palette.chat["thinking"]
        count = len(self._text.split())
        words = f"{count:,} word" + "s" * (count != 1)
        said = "Thinking" if running else "Thought"
        head: Row = [(f"{'▸' if self.folded else '▾'} {said}, {words}", style)]
        if self.folded:
            return [to_strip(wrap(head, width)[0])]
        if self._made_for != (width, palette):
            self._kept, self._upto, self._made_for = [], 0, (width, palette)
        complete = self._text.rfind("\n") + 1
        if complete > self._upto:
            done = self._text[self._upto : complete - 1]
            self._kept += self._rows(done, width, palette)
            self._upto = complete
        rest = self._text[self._upto :]
        tail = self._rows(rest, width, palette) if rest.strip() else []
        return [to_strip(wrap(head, width)[0]), *self._kept, *tail]

    def _rows(self, text: str, width: int, palette: Palette) -> list[Strip]:
        plain = [(text.expandtabs(4), palette.chat["thinking"])]
        return [to_strip([(_BAR, palette.bar), *row]) for row in wrap(plain, max(4, width - 2))]
