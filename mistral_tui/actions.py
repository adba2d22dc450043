"""Every action of the app, once: bindings, palette, F1 help and the README's table read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding

Where = Literal["app", "prompt", "transcript", "message"]


@dataclass(frozen=True, slots=True)
class Action:
    """`id` is also the name of the `action_…` method that does it; the widget itself has
    those of `message`."""

    id: str
    title: str
    help: str
    keys: tuple[str, ...]
    where: Where = "app"
    palette: bool = True

    @property
    def shown_keys(self) -> str:
        """The keys as people write them."""
        return ", ".join(show_key(key) for key in self.keys)


ACTIONS: tuple[Action, ...] = (
    Action("send", "Send", "Send the message.", ("enter",), "prompt", False),
    Action(
        "newline",
        "New line",
        "Insert a line break (Shift+Enter and Alt+Enter where the terminal reports them).",
        ("ctrl+j", "shift+enter", "alt+enter"),
        "prompt",
        False,
    ),
    Action(
        "earlier",
        "Earlier prompt",
        "On the first line: recall an earlier prompt.",
        ("up",),
        "prompt",
        False,
    ),
    Action(
        "later",
        "Later prompt",
        "On the last line: recall a later prompt.",
        ("down",),
        "prompt",
        False,
    ),
    Action(
        "edit_prompt",
        "Write in your editor",
        "Write in $VISUAL or $EDITOR.",
        ("f4",),
    ),
    Action("stop", "Stop answering", "Stop; what was answered so far is kept.", ("escape",)),
    Action(
        "scroll_page_up", "Scroll up", "Scroll the conversation up.", ("pageup",), palette=False
    ),
    Action(
        "scroll_page_down",
        "Scroll down",
        "Scroll the conversation down.",
        ("pagedown",),
        palette=False,
    ),
    Action("follow", "Go to the end", "Go to the end and follow the answer.", ("ctrl+end",)),
    Action("new", "New conversation", "Start a new conversation.", ("ctrl+n",)),
    Action(
        "history",
        "Conversations",
        "All conversations: open, search, rename, pin, delete, export.",
        ("ctrl+l",),
    ),
    Action(
        "settings",
        "Settings",
        "Temperature and the like, system prompt, presets: of this conversation.",
        ("f3",),
    ),
    Action("models", "Switch the model", "Go on with another model on this machine.", ("f5",)),
    Action("unload", "Unload the model", "Give its memory back; Ctrl+R loads it again.", ("f8",)),
    Action("copy_answer", "Copy the last answer", "Copy the last answer.", ("ctrl+o",)),
    Action(
        "copy_code",
        "Copy a code block",
        "Copy the last code block; again: the one before.",
        ("ctrl+g",),
    ),
    Action(
        "restart",
        "Restart the engine",
        "Start the engine again and load the model.",
        ("ctrl+r",),
    ),
    Action("toggle_theme", "Light or dark", "Switch between the light and dark look.", ("ctrl+t",)),
    Action(
        "focus_other",
        "Prompt or conversation",
        "Move between prompt and conversation; there j, k, g, G scroll.",
        ("tab",),
        palette=False,
    ),
    Action(
        "message_above",
        "Message above",
        "In the conversation: choose the message above.",
        ("K",),
        "message",
        False,
    ),
    Action(
        "message_below",
        "Message below",
        "In the conversation: choose the message below.",
        ("J",),
        "message",
        False,
    ),
    Action(
        "edit_message",
        "Edit a message",
        "Edit the chosen message, or your last one; Enter sends it anew, beside the old one.",
        ("e",),
        "transcript",
    ),
    Action(
        "regenerate",
        "Another answer",
        "Have the chosen answer, or the last one, given again, beside the old one.",
        ("r",),
        "transcript",
    ),
    Action(
        "go_on",
        "Go on",
        "Let the model go on with the last answer from where it ends.",
        ("c",),
        "transcript",
    ),
    Action(
        "previous_version",
        "Version before",
        "Show the version before of the chosen message, or of the last that has one.",
        ("h",),
        "transcript",
    ),
    Action(
        "next_version",
        "Version after",
        "Show the version after of the chosen message, or of the last that has one.",
        ("l",),
        "transcript",
    ),
    Action(
        "delete_turn",
        "Delete a message",
        "Delete the chosen message and what follows it; u brings it back.",
        ("x",),
        "transcript",
    ),
    Action("undo_delete", "Undo", "Bring back what was deleted last.", ("u",), "transcript"),
    Action(
        "copy_branch",
        "Copy the branch",
        "Copy the conversation in view, up to the chosen message, to a new one.",
        ("b",),
        "transcript",
    ),
    Action(
        "drop_turn",
        "Leave a turn out",
        "Leave the chosen turn out of what the model reads, or take it in again.",
        ("o",),
        "transcript",
    ),
    Action(
        "pin_turn",
        "Pin a turn",
        "Keep the chosen turn when the oldest are left out, or not any more.",
        ("i",),
        "transcript",
    ),
    Action(
        "replay",
        "Replay",
        "Compute the chosen answer again with its seed, and compare the tokens.",
        ("p",),
        "transcript",
    ),
    Action(
        "yank",
        "Copy",
        "In the conversation: copy what is selected, else the last answer.",
        ("y",),
        "transcript",
        False,
    ),
    Action("command_palette", "Commands", "All commands, by name.", ("ctrl+p",), palette=False),
    Action("help", "Help", "This page.", ("f1",)),
    Action("quit", "Quit", "Leave; everything is saved.", ("ctrl+q",)),
)

_NAMES = {
    "ctrl": "Ctrl",
    "shift": "Shift",
    "alt": "Alt",
    "enter": "Enter",
    "escape": "Esc",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "up": "↑",
    "down": "↓",
    "end": "End",
    "tab": "Tab",
    "left": "←",
    "right": "→",
    "delete": "Del",
}


def show_key(key: str) -> str:
    """`ctrl+j` → `Ctrl+J`."""
    *modifiers, last = key.split("+")
    last = _NAMES.get(last, last.upper() if modifiers or len(last) > 1 else last)
    return "+".join([*(_NAMES.get(part, part) for part in modifiers), last])


def bindings(where: Where, *, leave_out: Iterable[str] = ()) -> list[Binding]:
    """Textual bindings of one place."""
    skip = set(leave_out)
    return [
        Binding(
            ",".join(action.keys),
            action.id,
            action.title,
            id=action.id,
            show=False,
            priority=action.id == "quit",
        )
        for action in ACTIONS
        if action.where == where and action.id not in skip
    ]


def markdown_table() -> str:
    """The README's table of keys."""
    rows = ["| Key | What it does |", "| --- | --- |"]
    rows += [f"| {action.shown_keys} | {action.help} |" for action in ACTIONS]
    return "\n".join(rows)
