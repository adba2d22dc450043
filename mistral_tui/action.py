"""What an action is: something the user can do with a key or by name, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from mistral_tui import keys as keys_

Where = Literal[
    "app", "prompt", "menu", "transcript", "message", "find", "save", "tokens", "links",
    "themes", "history", "settings", "models", "room", "first_run", "help", "consent", "write",
    "tools", "tool", "code", "code_find", "files", "diff", "unsaved",
]  # fmt: skip
PLACES: dict[Where, str] = {
    "app": "Anywhere",
    "prompt": "Prompt",
    "menu": "List above the prompt",
    "transcript": "Conversation",
    "message": "Conversation",
    "consent": "Tool call that waits",
    "write": "Words for a tool call",
    "code": "Code",
    "code_find": "Search in the code",
    "find": "Search in the conversation",
    "save": "Name of a file",
    "tokens": "Token view",
    "links": "Links",
    "themes": "Themes",
    "history": "Conversations screen",
    "settings": "Settings screen",
    "tools": "Tools screen",
    "tool": "Tool editor",
    "files": "Open a file",
    "diff": "Change to a file",
    "unsaved": "Unsaved changes",
    "models": "Models screen",
    "room": "Full context",
    "first_run": "First run",
    "help": "Help",
}
"""What each place is called; two of them are one for the user."""
FIRST = frozenset(
    (
        *("quit", "command_palette", "settings.keep", "write.keep", "write.leave"),
        *("tool.keep", "tool.leave", "tool.try_out", "files.open", "files.up", "files.down"),
    )
)
"""Actions whose keys go before those of what has the focus."""


@dataclass(frozen=True, slots=True)
class Action:
    """`id` is also the name of the `action_…` method that does it, unless `call` says another:
    a method of the app for `app` and `transcript`, else of the widget or screen. `keys` are the
    default ones, as Textual spells them. `hint` is a word for the line below the conversation;
    `palette`: whether it is in the palette and a slash command."""

    id: str
    title: str
    help: str
    keys: tuple[str, ...]
    where: Where = "app"
    palette: bool = True
    call: str = ""
    hint: str = ""

    @property
    def now(self) -> tuple[str, ...]:
        """The keys in effect."""
        return keys_.now(self.id, self.keys)

    @property
    def shown_keys(self) -> str:
        """The keys in effect as people write them."""
        return ", ".join(map(keys_.show_key, self.now))

    @property
    def shown_key(self) -> str:
        """The first of them."""
        return keys_.show_key(self.now[0]) if self.now else ""

    @property
    def does(self) -> str:
        """Textual's action, seen from where the key works."""
        name = self.call or self.id.rpartition(".")[2]
        return f"app.{name}" if self.where == "transcript" else name


def action(
    id: str, keys: str, title: str, help: str, where: Where = "app", palette: bool = True,
    call: str = "", hint: str = "",
) -> Action:  # fmt: skip
    """An action as the registry writes it; `keys` with spaces between."""
    prefix, dot, _ = id.partition(".")  # ids of screens and fields have their place before it
    if dot:
        where, palette = cast(Where, prefix), False
    return Action(id, title, help, tuple(keys.split()), where, palette, call, hint)
