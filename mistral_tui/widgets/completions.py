"""What can complete the word at the cursor: ranking, and the list above the prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from textual import events
from textual.content import Content
from textual.widget import Widget

from mistral_tui.actions import line
from mistral_tui.sanitize import one_line
from mistral_tui.widgets.wrap import width_of

ROWS = 8
"""Choices in view; a small terminal shows fewer."""
_LEFT_OVER = 8  # rows that prompt, status and a bit of the conversation keep
_MOST = 400  # characters of a label that are looked at for showing
Kind = Literal["command", "argument", "file"]


class Asked(NamedTuple):
    """What stands before the cursor and could be completed."""

    kind: Kind
    start: int  # the column where what a choice replaces begins
    typed: str
    name: str = ""  # of the command that takes the argument


@dataclass(frozen=True, slots=True)
class Choice:
    """One completion. `insert` takes the place of what was typed."""

    label: str
    insert: str
    detail: str = ""
    keys: str = ""
    more: bool = False
    """Whether something is left to complete after it: a folder, a command's argument."""
    sure: bool = True
    """Whether it begins with what was typed; else Enter does not run it unseen."""


def rank(typed: str, names: Iterable[str]) -> list[tuple[int, str]]:
    """The names that match, best first, each with how well: 0 its beginning (or that of its
    last path part), 1 the beginning of a word, 2 anywhere, 3 the letters in their order."""
    wanted = typed.lower()
    found = []
    for name in names:
        low = name.lower()
        at = low.find(wanted)
        if at == 0 or low.startswith(wanted, low.rstrip("/").rfind("/") + 1):
            how = 0
        elif at > 0:
            how = 1 if _starts_word(low, wanted, at) else 2
        else:
            letters = iter(low)
            if not all(letter in letters for letter in wanted):
                continue
            how = 3
        found.append((how, len(name), name))
    return [(how, name) for how, _, name in sorted(found)]


def _starts_word(low: str, wanted: str, at: int) -> bool:
    while at > 0:
        if not low[at - 1].isalnum():
            return True
        at = low.find(wanted, at + 1)
    return False


class Completions(Widget):
    """The list above the prompt; keys stay with the prompt, which moves the mark here."""

    # It lies over the conversation, so that nothing moves as the list grows and shrinks.
    DEFAULT_CSS = """
    Completions {
        overlay: screen; offset-y: -100%; display: none; height: auto; width: 100%;
        margin: 0 1; padding: 0 2; background: $panel; color: $foreground;
    }
    """

    def __init__(self, *, id: str = "completions") -> None:
        super().__init__(id=id)
        self._choices: Sequence[Choice] = ()
        self._mark = self._top = 0
        self.moved = False
        """Whether the user has moved the mark."""
        self.picked: Callable[[], None] = lambda: None
        """Called when a choice was clicked; it is the marked one then."""

    @property
    def open(self) -> bool:
        """Whether there is something to choose from."""
        return bool(self._choices)

    @property
    def chosen(self) -> Choice:
        """The marked choice of an open list."""
        return self._choices[self._mark]

    def show(self, choices: Sequence[Choice]) -> None:
        """Offer these, the first marked; none closes the list."""
        if list(choices) == list(self._choices):
            return
        self._choices = choices
        self._mark = self._top = 0
        self.moved = False
        self.display = bool(choices)
        self.refresh(layout=True)

    def hide(self) -> None:
        """Close the list."""
        self.show(())

    def move(self, step: int) -> None:
        """Move the mark, round at the ends."""
        self._mark = (self._mark + step) % len(self._choices)
        self.moved = True
        self.refresh()

    @property
    def _rows(self) -> int:
        room = max(2, min(ROWS, self.app.size.height - _LEFT_OVER))
        return min(len(self._choices), room)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return self._rows + 1

    def render(self) -> Content:
        width, rows = self.content_size.width, self._rows
        self._top = max(self._mark - rows + 1, min(self._top, self._mark))
        shown = self._choices[self._top : self._top + rows]
        labels = [one_line(choice.label, _MOST) for choice in shown]
        column = min(max(map(width_of, labels), default=0), width)
        lines = [
            self._line(choice, label, column, width, number + self._top == self._mark)
            for number, (choice, label) in enumerate(zip(shown, labels, strict=True))
        ]
        does = [("menu.up menu.down", "choose"), ("menu.take", "takes"), ("menu.leave", "closes")]
        place = f"{self._mark + 1} of {len(self._choices):,} · {line(*does)}"
        lines.append(Content.styled(place, "$text-muted").truncate(width, ellipsis=True))
        return Content("\n").join(lines)

    def _line(self, choice: Choice, label: str, column: int, width: int, marked: bool) -> Content:
        name = Content(label)
        if name.cell_length > width:  # the end of a path says more than its beginning
            name = Content("…" + label[-(width - 1) :])
        line = Content.assemble(
            name.stylize("bold"),
            " " * max(0, column - name.cell_length),
            ("  " + one_line(choice.detail, _MOST) if choice.detail else "", "$text-muted"),
        )
        keys = one_line(choice.keys, 40)
        room = width - len(keys) - 2 if keys else width
        line = line.truncate(room, ellipsis=True, pad=True)
        if keys:
            line = Content.assemble(line, "  ", (keys, "$text-muted"))
        return line.stylize("reverse") if marked else line

    def on_click(self, event: events.Click) -> None:
        number = self._top + event.y
        if event.y < self._rows:
            self._mark, self.moved = number, True
            self.picked()
