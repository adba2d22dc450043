"""The line that asks about a tool call: who wants to run what, and the keys to decide it."""

from __future__ import annotations

from time import monotonic
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from mistral_tui.actions import BY_ID, bindings, key_of
from mistral_tui.happenings import Waiting
from mistral_tui.sanitize import one_line
from mistral_tui.widgets.call_entry import MOST_ARGUMENTS
from mistral_tui.widgets.pastes import clean

GRACE_SECONDS = 0.7
"""So long after the line got the focus, or another call came into it, keys are taken as typed for
the prompt."""
_ALL = ("once", "here", "always", "edit", "by_hand", "deny", "leave")
_BY_HAND = ("by_hand", "deny", "leave")


class ConsentBar(Widget, can_focus=True):
    """Asks about the first of the calls that wait."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("consent")]
    DEFAULT_CSS = """
    ConsentBar { height: auto; padding: 0 1; background: $surface; border-left: thick $warning; }
    ConsentBar:focus { background: $panel; border-left: thick $primary; }
    ConsentBar Static { height: auto; }
    ConsentBar #problem { color: $text-error; display: none; }
    """

    class Decided(Message):
        """The user pressed the key of a decision: `once`, `here`, `always`, `edit`, `by_hand`,
        `deny` or `leave`."""

        def __init__(self, what: str, waiting: Waiting) -> None:
            self.what = what
            self.waiting = waiting
            super().__init__()

    class Typed(Message):
        """A key came too early to be meant for this line."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    def __init__(self, calls: tuple[Waiting, ...]) -> None:
        super().__init__()
        self._calls = calls
        self._since = monotonic()
        self._sure = False  # Always was pressed once

    def compose(self) -> ComposeResult:
        yield Static(id="asks", markup=False)
        yield Static(id="problem", markup=False)
        yield Static(id="keys", markup=False)

    def on_mount(self) -> None:
        self.show(self._calls)

    @property
    def waiting(self) -> Waiting:
        """The call that is asked about."""
        return self._calls[0]

    def show(self, calls: tuple[Waiting, ...]) -> None:
        """Ask about these."""
        if calls[0] != self._calls[0]:
            self._since, self._sure = monotonic(), False
        self._calls = calls
        if not self.children:
            return  # it is about to be
        one, count = calls[0], len(calls)
        name = one_line(one.call.name, 64)
        more = f" ({count} calls wait)" if count > 1 else ""
        says = f" waits for its result{more}" if one.by_hand else f" wants to run{more}"
        source = one_line(one.source, 100)
        asks = Content.assemble((name, "bold $text-warning"), says)
        if source:
            asks = Content.assemble(asks, (f" · {source}", "$text-muted"))
        self.query_one("#asks", Static).update(asks)
        said, length = one.problem, len(one.call.arguments)
        if not said and length > MOST_ARGUMENTS:
            said = f"Only the first {MOST_ARGUMENTS:,} of {length:,} characters are shown above."
        problem = self.query_one("#problem", Static)
        problem.display = bool(said)
        problem.update(one_line(said, 300))
        self.query_one("#keys", Static).update(self._keys())

    def _keys(self) -> Content:
        parts: list[Content] = []
        for what in _BY_HAND if self.waiting.by_hand else _ALL:
            action = BY_ID[f"consent.{what}"]
            if action.now:
                shown = action.shown_keys.replace(", ", " ")
                parts.append(Content.assemble((shown, "$text-primary"), " ", action.hint))
        return Content("  ").join(parts)

    def on_focus(self) -> None:
        self._since = monotonic()

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self.post_message(self.Typed(clean(event.text)))

    def on_key(self, event: events.Key) -> None:
        """What is typed in the first moment was meant for the prompt."""
        if monotonic() - self._since >= GRACE_SECONDS:
            return
        if event.is_printable and event.character:
            event.prevent_default()
            event.stop()
            self.post_message(self.Typed(event.character))
        elif event.key in ("enter", "backspace"):
            event.prevent_default()
            event.stop()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action not in ("once", "here", "always", "edit") or not self.waiting.by_hand

    def _decide(self, what: str) -> None:
        # Bindings of keys that are not printed come before `on_key`.
        early = what != "leave" and monotonic() - self._since < GRACE_SECONDS
        if not early:
            self.post_message(self.Decided(what, self.waiting))

    def action_once(self) -> None:
        self._decide("once")

    def action_here(self) -> None:
        self._decide("here")

    def action_always(self) -> None:
        """Once more makes sure."""
        if self._sure:
            self._decide("always")
            return
        self._sure = monotonic() - self._since >= GRACE_SECONDS
        if self._sure:
            key, name = key_of("consent.always"), one_line(self.waiting.call.name, 64)
            problem = self.query_one("#problem", Static)
            problem.update(f"{key} again: {name} then runs unasked in every conversation.")
            problem.display = True

    def action_edit(self) -> None:
        self._decide("edit")

    def action_by_hand(self) -> None:
        self._decide("by_hand")

    def action_deny(self) -> None:
        self._decide("deny")

    def action_leave(self) -> None:
        self._decide("leave")
