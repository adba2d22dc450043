"""A line of keys for the conversation; it shows while the conversation has the focus."""

from __future__ import annotations

from textual import events
from textual.content import Content
from textual.widget import Widget

from mistral_tui.actions import ACTIONS

# The most useful first; the rest in the order of the registry.
_FIRST = (
    "focus_other", "message_above", "message_below", "edit_message", "regenerate", "yank", "find",
    "go_on", "delete_turn", "undo_delete", "previous_version", "next_version", "tokens", "fold",
    "save_block", "links",
)  # fmt: skip


class Hints(Widget):
    """`e edit  r again  y copy …`, as many as have room."""

    DEFAULT_CSS = """
    Hints { height: 1; padding: 0 1; display: none; background: $surface; color: $text-muted; }
    """

    def show(self, wanted: bool) -> None:
        """Show the line, or take it away."""
        self.display = wanted

    def on_resize(self, _: events.Resize) -> None:
        self.refresh()

    def render(self) -> Content:
        room = self.content_size.width
        parts: list[Content] = []
        for key, what in hints():
            part = Content.assemble((key, "$text-primary"), " ", what)
            if part.cell_length > room:
                continue
            parts.append(part)
            room -= part.cell_length + 2
        return Content("  ").join(parts)


def hints() -> list[tuple[str, str]]:
    """The key in effect and what it does, in a word: of all actions that have both."""
    rank = {id: place for place, id in enumerate(_FIRST)}
    places = ("app", "message", "transcript")
    known = [a for a in ACTIONS if a.hint and a.now and a.where in places]
    known.sort(key=lambda action: rank.get(action.id, len(rank)))
    return [(action.shown_key, action.hint) for action in known]
