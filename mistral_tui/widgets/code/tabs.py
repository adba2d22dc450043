"""The two lines around the code: the open files above it, where one is below it."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from mistral_tui.actions import key_of
from mistral_tui.code.completing import Completion
from mistral_tui.sanitize import one_line

_LONGEST_NAME = 32


class FileTabs(Widget):
    """The names of the open files; ● has changes that are not saved."""

    DEFAULT_CSS = """
    FileTabs { height: 1; background: $surface; color: $text-muted; }
    """

    class Picked(Message):
        """The user clicked on a file."""

        def __init__(self, index: int) -> None:
            self.index = index
            super().__init__()

    def __init__(self) -> None:
        super().__init__()
        self._names: tuple[tuple[str, bool], ...] = ()
        self._current = 0
        self._spans: list[tuple[int, int, int]] = []  # first cell, cell behind, index

    def show(self, names: Sequence[tuple[str, bool]], current: int) -> None:
        """(name, whether it has changes) of each, and which one is in view."""
        if (tuple(names), current) != (self._names, self._current):
            self._names, self._current = tuple(names), current
            self.refresh()

    def render(self) -> Content:
        """As many as have room; the one in view always."""
        parts = [self._tab(index) for index in range(len(self._names))]
        width, first = self.size.width, 0
        while first < self._current and _cells(parts[first : self._current + 1]) > width:
            first += 1
        self._spans, at = [], 0
        for index in range(first, len(parts)):
            end = at + parts[index].cell_length
            self._spans.append((at, end, index))
            at = end
        return Content("").join(parts[first:]).truncate(width, ellipsis=True)

    def _tab(self, index: int) -> Content:
        name, changed = self._names[index]
        text = f" {one_line(name, _LONGEST_NAME)}{' ●' if changed else ''} "
        return Content.styled(text, "bold reverse $text-primary" if index == self._current else "")

    def on_click(self, event: events.Click) -> None:
        for start, end, index in self._spans:
            if start <= event.x < end:
                self.post_message(self.Picked(index))


def _cells(parts: Sequence[Content]) -> int:
    return sum(part.cell_length for part in parts)


class CodeStatus(Widget):
    """Where the cursor is, and how far the completion is."""

    DEFAULT_CSS = """
    CodeStatus { height: 1; padding: 0 1; background: $surface; color: $text-muted; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._where = ""
        self._about = ""
        self._completion = Completion()
        self._ghost = (0, 0)

    def show(
        self,
        *,
        where: str | None = None,
        about: str | None = None,
        completion: Completion | None = None,
        ghost: tuple[int, int] | None = None,
    ) -> None:
        """Change some of it: the cursor's place, facts of the file, the completion, which of how
        many suggestions is in view."""
        self._where = self._where if where is None else where
        self._about = self._about if about is None else about
        self._completion = completion or self._completion
        self._ghost = self._ghost if ghost is None else ghost
        self.refresh()

    def render(self) -> Content:
        width = self.content_size.width
        left = Content(self._where)
        right = self._completing()
        if self._about and left.cell_length + right.cell_length + len(self._about) + 6 <= width:
            left = Content.assemble(left, "  ", self._about)
        if not right.cell_length:
            return left.truncate(width, ellipsis=True)
        right = right.truncate(max(width - left.cell_length - 2, 0), ellipsis=True)
        gap = " " * max(width - left.cell_length - right.cell_length, 0)
        return Content.assemble(left, gap, right)

    def _completing(self) -> Content:
        now, (which, many) = self._completion, self._ghost
        if now.stage == "trouble":
            return Content.styled(one_line(now.sentence, 200), "$text-warning")
        if which:
            number = f"{which}/{many}" if many > 1 else "suggestion"
            more = " …" if now.stage == "writing" else ""
            takes = f" · {key_of('code.take')} takes it, {key_of('code.take_word')} a word"
            return Content.assemble((f"{number}{more}", "$text-primary"), takes)
        match now.stage:
            case "reading":
                left = now.prompt - now.reused
                return Content(f"reading {now.read:,}/{left:,}" if left > 0 else "reading …")
            case "writing":
                return Content(f"writing, {now.tokens:,} tokens")
            case "nothing":
                return Content("no suggestion")
        return Content("")
