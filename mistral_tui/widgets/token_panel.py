"""What the model might have said at one place: the candidates, with their probabilities."""

from __future__ import annotations

import re

from rich.style import Style
from rich.text import Text
from textual import events
from textual.message import Message
from textual.theme import Theme
from textual.widget import Widget

from inference.api import Candidate
from mistral_tui.conversation import CANDIDATES
from mistral_tui.sanitize import sanitize
from mistral_tui.tokens import Token, probability
from mistral_tui.widgets.palette import Palette
from mistral_tui.widgets.token_lines import NEWLINE, apart
from mistral_tui.widgets.wrap import width_of

_BYTES = re.compile("[\udc80-\udcff]+")
_EDGES = re.compile(r"^ +| +$")
_LEAST = 0.0005  # below it, a place has the two likeliest tokens only
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_MOST_SHOWN = 200  # characters of a piece


def percent(share: float) -> str:
    """`42.1 %`; what is not quite all or nothing does not look like it."""
    if share > 0.999:
        return ">99.9 %" if share < 1 else "100 %"
    return f"{100 * share:.1f} %" if share >= 0.001 else "<0.1 %"


def visible(piece: str, control: bool = False) -> str:
    """A foreign piece of text on one line, with all that is in it to be seen."""
    if control:
        return f"‹{visible(piece)}›"
    if not piece:
        return "‹nothing›"
    text = _BYTES.sub(_hex, piece[:_MOST_SHOWN])
    text = _EDGES.sub(lambda match: "·" * len(match[0]), text)
    text = text.replace("\n", NEWLINE).replace("\t", "⇥")
    shown = "".join(char if sanitize(char) == char else f"‹U+{ord(char):04X}›" for char in text)
    return apart(shown)


def _hex(match: re.Match[str]) -> str:
    return f"‹bytes {' '.join(f'{ord(char) - 0xDC00:02X}' for char in match[0])}›"


def rank(token: Token) -> str:
    """How likely the token was among all that might have stood at its place, in words."""
    place = token.candidates
    at = next((n for n, one in enumerate(place) if one.id == token.id), len(place))
    told = at < CANDIDATES and probability(token.logprob) > _LEAST
    if at > 1 and at >= len(place) - 1 and not told:  # put there since it was drawn
        return f"not among the {at} likeliest"
    return (
        ("likeliest", "2nd likeliest", "3rd likeliest")[at] if at < 3 else f"{at + 1}th likeliest"
    )


def others(token: Token) -> float:
    """What is left of the probability for all tokens that are not shown."""
    return max(0.0, 1 - sum(probability(one.logprob) for one in token.candidates))


def bar(share: float, cells: int) -> str:
    """A bar of block characters, never empty."""
    eighths = max(1, round(min(1.0, share) * cells * 8))
    full, rest = divmod(eighths, 8)
    return ("█" * full + _EIGHTHS[rest].strip()).ljust(cells)


class TokenPanel(Widget):
    """The token under the cursor and its candidates, one of which is chosen."""

    DEFAULT_CSS = """
    TokenPanel {
        background: $background; color: $foreground; border: round $border-blurred; padding: 0 1;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    """

    class Chosen(Message):
        """A candidate was clicked; `again` if it was the chosen one already."""

        def __init__(self, number: int, again: bool) -> None:
            super().__init__()
            self.number = number
            self.again = again

    def __init__(self) -> None:
        super().__init__()
        self.token: Token | None = None
        self._index = -1
        self.chosen = 0
        self._palette = Palette.from_variables({})
        self._first = 0  # the line of the first candidate

    @property
    def drawn(self) -> int:
        """Which of the candidates is the token itself."""
        place = self.token.candidates if self.token else ()
        mine = self.token.id if self.token else 0
        return next((n for n, one in enumerate(place) if one.id == mine), 0)

    @property
    def candidate(self) -> Candidate | None:
        """The chosen one."""
        place = self.token.candidates if self.token else ()
        return place[self.chosen] if self.chosen < len(place) else None

    def show(self, token: Token | None, index: int) -> None:
        """Show another token, itself chosen; of the same one, what is chosen stays."""
        if (index, token) == (self._index, self.token):
            return
        self._index, self.token = index, token
        self.chosen = self.drawn
        self.refresh()

    def choose(self, number: int) -> None:
        """Choose a candidate, as near as there is one."""
        count = len(self.token.candidates) if self.token else 0
        self.chosen = min(max(number, 0), max(0, count - 1))
        self.refresh()

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, self._recolor)
        self._recolor(self.app.current_theme)

    def on_unmount(self) -> None:
        self.app.theme_changed_signal.unsubscribe(self)  # it would keep it for ever

    def _recolor(self, theme: Theme) -> None:
        self._palette = Palette.from_variables(self.app.theme_variables)
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        number = offset.y - self._first if offset is not None else -1
        if self.token is not None and 0 <= number < len(self.token.candidates):
            self.post_message(self.Chosen(number, number == self.chosen))

    # Drawing.

    def render(self) -> Text:
        token = self.token
        text = Text(no_wrap=True, overflow="crop", end="")
        if token is None:
            return text
        width = self.content_size.width
        muted = self._palette.chat["muted"]
        own = next((one for one in token.candidates if one.id == token.id), None)
        piece = visible(own.piece, own.control) if own else "‹unknown›"
        facts = f"{percent(probability(token.logprob))} · {rank(token)}"
        rest = f"others {percent(others(token))}"
        tall = self.content_size.height >= len(token.candidates) + 5
        if tall:
            text.append(cut(f"“{piece}”", width), "bold")
            text.append("\n" + facts + (" · thinking" if token.thinking else ""), muted)
            text.append("\n\n")
        else:
            facts = f"  {facts} · {rest}"
            head = cut(f"“{piece}”", max(8, width - len(facts)))
            text.append(head, "bold")
            text.append(cut(facts, width - width_of(head)) + "\n", muted)
        self._first = 3 if tall else 1
        cells = min(20, max(6, width // 4))
        for number, one in enumerate(token.candidates):
            text.append_text(self._row(number, one, cells, width))
        if tall:
            text.append(f"\n  {' ' * cells} {percent(others(token)):>7}  all others", muted)
        return text

    def _row(self, number: int, one: Candidate, cells: int, width: int) -> Text:
        assert self.token is not None
        chosen, drawn = number == self.chosen, one.id == self.token.id
        share = probability(one.logprob)
        row = Text("▸ " if chosen else "  ", "bold" if chosen else "")
        row.append(bar(share, cells), self._palette.chat["marker"])
        row.append(f" {percent(share):>7}  ")
        room = width - row.cell_len - (2 if drawn else 0)
        style = Style(bold=True, reverse=True) if chosen else Style(bold=drawn)
        if one.control:
            style = self._palette.chat["muted"] + style
        row.append(cut(visible(one.piece, one.control), room), style)
        if drawn:
            row.append(" ◂", "bold")
        row.append("\n")
        return row


def cut(text: str, width: int) -> str:
    """At most so many cells of a line, with an ellipsis where something is missing."""
    if width_of(text) <= width:
        return text
    line = Text(text, no_wrap=True)
    line.truncate(max(1, width), overflow="ellipsis")
    return line.plain
