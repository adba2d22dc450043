"""An answer token by token: how sure the model was, what else it might have said; branching."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.content import Content
from textual.screen import ModalScreen
from textual.theme import Theme
from textual.timer import Timer
from textual.widgets import Static

from inference.api import Candidate, ModelCard
from mistral_tui.actions import bindings, key_of
from mistral_tui.history.schema import StoreError
from mistral_tui.sanitize import one_line
from mistral_tui.tokens import Record, Summary, Token, probability, summary, uncertain
from mistral_tui.widgets.palette import Palette, confidence_level
from mistral_tui.widgets.token_lines import TokenLines
from mistral_tui.widgets.token_panel import TokenPanel, percent, visible

_POLL_SECONDS = 0.1
_WIDE = 100  # cells: from here on the candidates are at the right
_LEVELS = ("sure", "likely", "unsure", "doubtful", "unlikely")
_WAITING = "Waiting for the first token …"
_NO_RECORD = (
    "How sure the model was of this answer is not known: it was imported, edited, or written "
    "before that was kept."
)


@dataclass(frozen=True, slots=True)
class Branching:
    """Where another answer is to begin: with this candidate in the place of a token."""

    message_id: int
    record: Record
    index: int
    candidate: Candidate


def table(tokens: Sequence[Token], places: Sequence[int]) -> str:
    """The places as lines of values with tabs between."""
    lines = ["position\ttoken\tprobability\talternatives"]
    for place in places:
        token = tokens[place]
        own, rest = "", []
        for one in token.candidates:
            piece = visible(one.piece, one.control)
            if one.id == token.id:
                own = piece
            else:
                rest.append(f"{piece} {probability(one.logprob):.4f}")
        share = probability(token.logprob)
        lines.append(f"{place + 1}\t{own}\t{share:.4f}\t{' | '.join(rest)}")
    return "\n".join(lines) + "\n"


class TokensScreen(ModalScreen[Branching | None]):
    """Dismissed with where to branch, or None.

    Args:
        record: the answer's tokens so far; None if they were not kept.
        running: whether it is still being written.
        measure: has the loaded model read it; None if that failed, which is told elsewhere.
        loaded: the model that is loaded.
        length: about so many tokens it has.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("tokens")]
    DEFAULT_CSS = """
    TokensScreen { background: $background; overflow: hidden; }
    TokensScreen #places { height: 1fr; layout: vertical; }
    TokensScreen.-wide #places { layout: horizontal; }
    TokensScreen #text {
        width: 1fr; height: 1fr; border: round $primary; padding: 0 0 0 1;
        border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    TokensScreen #note { padding: 1 2; display: none; }
    TokensScreen.-none #note { display: block; }
    TokensScreen.-none TokenLines, TokensScreen.-none TokenPanel { display: none; }
    TokensScreen TokenPanel { width: 100%; height: 9; }
    TokensScreen.-wide TokenPanel {
        width: 28%; min-width: 40; max-width: 56; height: 100%;
    }
    TokensScreen #legend, TokensScreen #keys { height: 1; padding: 0 1; }
    TokensScreen #keys { color: $text-muted; }
    """

    def __init__(
        self,
        message_id: int,
        *,
        record: Callable[[], Record | None],
        running: Callable[[], bool],
        measure: Callable[[], Awaitable[Record | None]],
        loaded: Callable[[], ModelCard | None],
        length: int = 0,
    ) -> None:
        super().__init__()
        self._message_id = message_id
        self._told = record
        self._writing = running
        self._measure = measure
        self._loaded = loaded
        self._length = length
        self._record: Record | None = None
        self._measured = False
        self._reading = False
        self._said = ""
        self._places: list[int] = []
        self._summary: Summary | None = None
        self._timer: Timer | None = None
        self._lines = TokenLines()
        self._panel = TokenPanel()
        self._note = Static(id="note", markup=False)
        self._text = Container(self._lines, self._note, id="text")

    def compose(self) -> ComposeResult:
        self.set_class(self.app.size.width >= _WIDE, "-wide")  # one layout is enough
        with Container(id="places"):
            yield self._text
            yield self._panel
        yield Static(id="legend", markup=False)
        yield Static(id="keys", markup=False)

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, self._recolor)
        self._lines.following = self._writing()
        self._poll()

    def on_unmount(self) -> None:
        self.app.theme_changed_signal.unsubscribe(self)  # it would keep it for ever

    # ── what is shown ───────────────────────────────────────────────────────────────

    def _poll(self) -> None:
        """Take what was told so far, and look again soon if there will be more."""
        started = perf_counter()
        self._timer = None
        running = self._writing()
        if not self._measured:
            try:
                record = self._told()
            except StoreError:  # it is not in view any more
                record = self._record
            self._take(record, running)
        if running:
            cost = perf_counter() - started
            self._timer = self.set_timer(max(_POLL_SECONDS, 10 * cost), self._poll)
        else:
            self._lines.following = False

    def _take(self, record: Record | None, running: bool) -> None:
        if record is None or not record.complete or not (record.tokens or running):
            record = None
        had = len(self._record.tokens) if self._record else 0
        self._record = record
        tokens = record.tokens if record else ()
        self.set_class(not tokens, "-none")
        if tokens:
            self._places = uncertain(tokens)
            self._summary = summary(tokens)
            self._lines.show(tokens)
            if not had:
                self._show_token()
            self._panel.border_title = f"token {self._lines.index + 1:,} of {len(tokens):,}"
        elif record:
            self._note.update(_WAITING)
        else:
            self._note.update(self._offer())
        self._say_what()

    def _offer(self) -> str:
        card = self._loaded()
        if self._reading:
            return "Reading …"
        if card is None:
            return f"{_NO_RECORD}\n\nWith a model loaded, it can be read and measured."
        about = f"about {self._length:,} tokens" if self._length else "all of it"
        name = one_line(card.name, 40)
        return (
            f"{_NO_RECORD}\n\n{key_of('tokens.measure')}: have {name} read {about}, "
            "and see how sure it would have been of each."
        )

    def _say_what(self, said: str | None = None) -> None:
        """The title, and below the text the place and how it is going; `said` stays there until
        something else is said."""
        self._said = said = self._said if said is None else said
        width = max(10, self._text.size.width or self.size.width) - 6
        self._text.border_title = Content(" · ".join(self._facts(width)))
        place = ""
        if self._record and self._record.tokens:
            places, here = self._places, self._lines.index
            what = "uncertain place" if len(places) == 1 else "uncertain places"
            at = f"{places.index(here) + 1:,} of " if here in places else ""
            place = f"{at}{len(places):,} {what}" if places else "no uncertain places"
        if self._reading:
            said = "reading …"
        elif not said and place and self._writing():
            said = "being written"
        both = " · ".join(filter(None, (said, place)))
        self._text.border_subtitle = Content(both if len(both) <= width else said)

    def _facts(self, width: int) -> list[str]:
        """What is known of all of it, as much as has room."""
        record, all_of = self._record, self._summary
        if record is None or not record.tokens or all_of is None:
            return ["Token view"]
        card = self._loaded()
        parts = []
        if card is not None:
            mine = card.fingerprint == record.fingerprint
            name = one_line(card.name, 40) if mine else "another model"
            parts = [f"as {name} reads it" if self._measured else name]
        parts.append(f"{all_of.count:,} token" + "s" * (all_of.count != 1))
        more = [
            f"perplexity {all_of.perplexity:,.2f}",
            f"mean {percent(all_of.mean)}",
            f"{percent(all_of.below)} below 50 %",
        ]
        for fact in more:
            if len(" · ".join([*parts, fact])) <= width:
                parts.append(fact)
        return parts

    def _show_token(self) -> None:
        """The token under the cursor, in the panel."""
        record = self._record
        token = record.tokens[self._lines.index] if record and record.tokens else None
        self._panel.show(token, self._lines.index)
        self._say_how()

    def _say_how(self, said: str = "") -> None:
        """What Enter would do, below the candidates."""
        if not said and self._panel.chosen != self._panel.drawn:
            said = self._why_not() or f"{key_of('tokens.branch')} goes on from here"
        elif not said:
            said = f"{_both('alternative_up', 'alternative_down')} choose another"
        self._panel.border_subtitle = Content(said)

    def _why_not(self) -> str:
        """Why there can be no branch, if so."""
        card = self._loaded()
        if card is None:
            return "no model is loaded"
        if self._record is None or card.fingerprint != self._record.fingerprint:
            return "another model's: no branching"
        return ""

    def on_token_lines_moved(self) -> None:
        self._show_token()
        self._panel.border_title = f"token {self._lines.index + 1:,} of {len(self._lines.tokens):,}"
        self._say_what("")

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= _WIDE, "-wide")
        self.call_after_refresh(self._say_what)
        self._recolor(self.app.current_theme)

    def _recolor(self, theme: Theme) -> None:
        palette = Palette.from_variables(self.app.theme_variables)
        width = self.size.width - 2
        self.query_one("#legend", Static).update(legend(palette, width))
        self.query_one("#keys", Static).update(_help(width))

    # ── moving ──────────────────────────────────────────────────────────────────────

    def action_left(self) -> None:
        self._lines.move(self._lines.index - 1)

    def action_right(self) -> None:
        self._lines.move(self._lines.index + 1)

    def action_up(self) -> None:
        self._lines.move_rows(-1)

    def action_down(self) -> None:
        self._lines.move_rows(1)

    def action_page_up(self) -> None:
        self._lines.move_page(-1)

    def action_page_down(self) -> None:
        self._lines.move_page(1)

    def action_first(self) -> None:
        self._lines.move(0)

    def action_last(self) -> None:
        """The last token; while more come, the cursor stays at the end."""
        self._lines.move(len(self._lines.tokens) - 1)
        self._lines.following = self._writing() and not self._measured

    def action_less_certain(self) -> None:
        """The next uncertain place; after the last one comes the first."""
        after = [place for place in self._places if place > self._lines.index]
        if self._places:
            self._lines.move((after or self._places)[0])

    def action_more_certain(self) -> None:
        """The uncertain place before."""
        before = [place for place in self._places if place < self._lines.index]
        if self._places:
            self._lines.move((before or self._places)[-1])

    # ── candidates ──────────────────────────────────────────────────────────────────

    def action_alternative_up(self) -> None:
        self._show_token()  # keys may be ahead of what is shown
        self._choose(self._panel.chosen - 1)

    def action_alternative_down(self) -> None:
        self._show_token()
        self._choose(self._panel.chosen + 1)

    def _choose(self, number: int) -> None:
        self._lines.following = False  # what is chosen stays under the eyes
        self._panel.choose(number)
        self._say_how()

    def on_token_panel_chosen(self, event: TokenPanel.Chosen) -> None:
        if event.again:
            self.action_branch()
        else:
            self._choose(event.number)

    def action_branch(self) -> None:
        """Go on from the chosen candidate."""
        self._show_token()
        record, candidate = self._record, self._panel.candidate
        if record is None or candidate is None:
            return
        if self._panel.chosen == self._panel.drawn:
            keys = _both("alternative_up", "alternative_down")
            self._say_how(f"choose another one first: {keys}")
        elif why := self._why_not():
            self._say_how(why)
        else:
            self.dismiss(Branching(self._message_id, record, self._lines.index, candidate))

    # ── the rest ────────────────────────────────────────────────────────────────────

    def action_copy(self) -> None:
        """A table of the uncertain places."""
        if self._record is None or not self._places:
            self.notify("There are no uncertain places to copy.", markup=False)
            return
        self.app.copy_to_clipboard(table(self._record.tokens, self._places))

    def action_measure(self) -> None:
        """Have the loaded model read it."""
        if self._reading:
            return
        if self._writing():
            self._say_what("it is still being written")
        elif self._loaded() is None:
            self._say_what("no model is loaded")
        else:
            self._read()

    @work(exclusive=True)
    async def _read(self) -> None:
        self._reading = True
        self._take(self._record, False)
        try:
            record = await self._measure()
            said = "" if record else "it was not read: the conversation says why"
        except StoreError as error:
            record, said = None, one_line(str(error), 80)
        finally:
            self._reading = False
        self._measured = self._measured or record is not None
        self._take(record or self._record, False)
        self._show_token()
        self._say_what(said)

    def action_leave(self) -> None:
        self.dismiss(None)


def legend(palette: Palette, width: int) -> Text:
    """The shades and what they say, in as many words as have room."""
    least = [min(n for n in range(101) if confidence_level(n / 100) <= at) for at in range(4)]
    bounds = [*(f"≥ {n} %" for n in least), f"< {least[-1]} %"]
    words = [f"{name} {bound}" for name, bound in zip(_LEVELS, bounds, strict=True)]
    if len("  ".join(words)) > width:
        short = [bound.replace(" ", "") for bound in bounds]
        words = [f"sure {short[0]}", *short[1:]]
    parts = [Text(word, style) for word, style in zip(words, palette.confidence, strict=True)]
    return Text("  ", no_wrap=True, overflow="crop").join(parts)


def _help(width: int) -> str:
    """The keys, the most useful first, as many as have room."""
    parts = [
        f"{_both('less_certain', 'more_certain')} uncertain",
        f"{_both('alternative_up', 'alternative_down')} choose",
        f"{key_of('tokens.branch')} branches",
        f"{key_of('tokens.leave')} leaves",
        f"{key_of('tokens.measure')} measures",
        f"{key_of('tokens.copy')} copies",
        f"{_both('left', 'right')} {_both('up', 'down')} move",
    ]
    while len(" · ".join(parts)) > width and len(parts) > 1:
        parts.pop()
    return " · ".join(parts)


def _both(one: str, other: str) -> str:
    return f"{key_of(f'tokens.{one}')} {key_of(f'tokens.{other}')}"
