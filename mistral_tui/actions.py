"""Every action of the app, once: bindings, palette, slash commands, help, hints and tables.

It costs no Textual: the config file is read without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from mistral_tui import keys as keys_
from mistral_tui.action import FIRST, PLACES, Action, Where
from mistral_tui.action import action as _a

if TYPE_CHECKING:
    from textual.binding import Binding

__all__ = ["ACTIONS", "BY_ID", "FIRST", "PLACES", "Action", "Where", "bindings", "key_of"]

_prompt = partial(_a, where="prompt", palette=False)
_chosen = partial(_a, where="transcript")
_message = partial(_a, where="message")
_move = partial(_a, where="message", palette=False)

ACTIONS: tuple[Action, ...] = (
    _prompt("send", "enter", "Send", "Send the message."),
    _prompt(
        "newline", "ctrl+j shift+enter alt+enter", "New line",
        "Insert a line break (Shift+Enter and Alt+Enter where the terminal reports them).",
    ),
    _prompt("earlier", "up", "Earlier prompt", "On the first line: recall an earlier prompt."),
    _prompt("later", "down", "Later prompt", "On the last line: recall a later prompt."),
    _a("edit_prompt", "f4", "Write in your editor", "Write in $VISUAL or $EDITOR."),
    _a("stop", "escape", "Stop answering", "Stop; what was answered so far is kept."),
    _a("scroll_page_up", "pageup", "Scroll up", "Scroll the conversation up.", palette=False),
    _a("scroll_page_down", "pagedown", "Scroll down", "Scroll the conversation down.",
       palette=False),
    _a("follow", "ctrl+end", "Go to the end", "Go to the end and follow the answer."),
    _a("new", "ctrl+n", "New conversation", "Start a new conversation."),
    _a("history", "ctrl+l", "Conversations",
       "All conversations: open, search, rename, pin, delete, export."),
    _a("settings", "f3", "Settings",
       "Temperature and the like, system prompt, presets: of this conversation."),
    _a("tokens", "f2", "Token view",
       "How sure the model was of each token, and what else it might have said."),
    _a("tools", "f12", "Tools", "What the model may call: enable, write, try out, allow, revoke."),
    _a("models", "f5", "Switch the model", "Go on with another model on this machine."),
    _a("unload", "f8", "Unload the model", "Give its memory back; a restart loads it again."),
    _a("code", "f6", "Code or conversation", "Open the code panel; between it and the prompt."),
    _a("open_file", "f7", "Open a file", "Open a file in the code panel, by part of its path."),
    _a("wide_code", "alt+z", "Code panel wide or shared", "Give the code the whole width, or not."),
    _a("auto_complete", "", "Complete code by itself or on a key",
       "Whether the code is completed after a pause in typing."),
    _a("copy_answer", "ctrl+o", "Copy the last answer", "Copy the last answer."),
    _a("copy_code", "ctrl+g", "Copy a code block",
       "Copy the last code block; again: the one before."),
    _a("restart", "ctrl+r", "Restart the engine", "Start the engine again and load the model."),
    _a("choose_theme", "f9", "Theme", "Choose a look, with a live preview."),
    _a("toggle_theme", "ctrl+t", "Light or dark", "Switch between the light and dark look."),
    _a("focus_other", "tab", "Prompt or conversation", "Move between prompt and conversation.",
       palette=False, hint="prompt"),
    # In the conversation: on the chosen message, or on the last one.
    _chosen("edit_message", "e", "Edit a message", hint="edit", help=
            "Edit the chosen message, or your last one; sending it puts it beside the old one."),
    _chosen("regenerate", "r", "Another answer", hint="again", help=
            "Have the chosen answer, or the last one, given again, beside the old one."),
    _chosen("yank", "y", "Copy", "Copy what is selected, else the chosen block or message.",
            palette=False, hint="copy"),
    _message("find", "slash", "Find", "Search in the conversation.", hint="find"),
    _message("find_next", "n", "Next place", "The next place that was found."),
    _message("find_previous", "N", "Place before", "The place before that was found."),
    _message("message_above", "K", "Message above", "Choose the message above.", hint="message ↑"),
    _message("message_below", "J", "Message below", "Choose the message below.", hint="message ↓"),
    _message("block_above", "left_curly_bracket", "Block above",
             "Choose the code block or message above.", hint="block ↑"),
    _message("block_below", "right_curly_bracket", "Block below",
             "Choose the code block or message below.", hint="block ↓"),
    _message("fold", "z", "Fold or unfold the thinking", "Fold or unfold the thinking.",
             hint="fold"),
    _chosen("go_on", "c", "Go on", "Let the model go on with the last answer from where it ends.",
            hint="go on"),
    _chosen("previous_version", "h", "Version before", hint="version ←", help=
            "Show the version before of the chosen message, or of the last that has one."),
    _chosen("next_version", "l", "Version after", hint="version →", help=
            "Show the version after of the chosen message, or of the last that has one."),
    _chosen("delete_turn", "x", "Delete a message", hint="delete", help=
            "Delete the chosen message and what follows it; it can be brought back."),
    _chosen("undo_delete", "u", "Undo", "Bring back what was deleted last.", hint="undo"),
    _chosen("save_block", "w", "Save to a file", "Save the chosen code block, or message.",
            hint="save"),
    _chosen("insert_block", "t", "Take into the code", hint="into code", help=
            "Put the chosen code block at the code's cursor, or in place of what is selected."),
    _chosen("apply_block", "a", "Apply to the file", hint="apply", help=
            "Apply the chosen code block to the open file: see the change first, part by part."),
    _chosen("pager", "v", "Read in the pager", "Read the chosen block or message in $PAGER.",
            hint="pager"),
    _chosen("links", "f", "Links", "The links of the chosen message: open or copy one.",
            hint="links"),
    _chosen("copy_branch", "b", "Copy the branch", hint="branch", help=
            "Copy the conversation in view, up to the chosen message, to a new one."),
    _chosen("drop_turn", "o", "Leave a turn out", hint="leave out", help=
            "Leave the chosen turn out of what the model reads, or take it in again."),
    _chosen("pin_turn", "i", "Pin a turn", hint="pin", help=
            "Keep the chosen turn when the oldest are left out, or not any more."),
    _chosen("replay", "p", "Replay", hint="replay", help=
            "Compute the chosen answer again with its seed, and compare the tokens."),
    _move("line_up", "up k", "Line up", "Scroll a line up."),
    _move("line_down", "down j", "Line down", "Scroll a line down."),
    _move("page_above", "pageup ctrl+b", "Page up", "Scroll a page up."),
    _move("page_below", "pagedown ctrl+f", "Page down", "Scroll a page down."),
    _move("half_above", "ctrl+u", "Half a page up", "Scroll half a page up."),
    _move("half_below", "ctrl+d", "Half a page down", "Scroll half a page down."),
    _message("top", "home g", "Go to the beginning", "Go to the beginning of the conversation."),
    _move("bottom", "end G", "Go to its end", "Go to the end of the conversation."),
    _a("command_palette", "ctrl+p", "Commands", "All commands, by name.", palette=False),
    _a("help", "f1", "Help", "All keys, and what is running."),
    _a("quit", "ctrl+q", "Quit", "Leave; everything is saved."),
    # What completes a word at the cursor of the prompt.
    _a("menu.up", "up", "Up", "Mark the choice above."),
    _a("menu.down", "down", "Down", "Mark the choice below."),
    _a("menu.take", "tab", "Take", "Take the marked choice."),
    _a("menu.run", "enter", "Take and run", "Take it; a command that lacks nothing is run."),
    _a("menu.leave", "escape", "Close", "Close the list."),
    # A call that waits for the user.
    _a("consent.once", "y", "Run once", "Run the call, this once.", hint="run once"),
    _a("consent.here", "c", "Always here", hint="always here", help=
       "Run it, and this tool's calls in this conversation from now on."),
    _a("consent.always", "a", "Always", hint="always", help=
       "Run it, and this tool's calls from now on, everywhere; the tools screen revokes it."),
    _a("consent.edit", "e", "Edit the arguments", "Edit the arguments first, then run it.",
       hint="edit"),
    _a("consent.by_hand", "h", "Answer by hand", "Write the result yourself.", hint="by hand"),
    _a("consent.deny", "n d", "Deny", "Do not run it; the model sees your reason.", hint="deny"),
    _a("consent.leave", "escape", "Later", "Leave it waiting; back to the prompt.", hint="later"),
    _a("write.keep", "ctrl+s", "Done", "Take what is written."),
    _a("write.leave", "escape", "Leave", "Leave it; the call still waits."),
    # The code panel.
    _a("code.complete", "ctrl+at", "Complete", "Have the model fill in what belongs here."),
    _a("code.take", "tab", "Take all", "Take the whole suggestion; without one: indent."),
    _a("code.take_word", "ctrl+right", "Take a word", "Take the suggestion's next word."),
    _a("code.take_line", "ctrl+down", "Take a line", "Take the suggestion's next line."),
    _a("code.next", "alt+n", "Next suggestion", "Another suggestion; asks the model for more."),
    _a("code.previous", "alt+p", "Suggestion before", "The suggestion before."),
    _a("code.dismiss", "escape", "Dismiss", "Dismiss the suggestion, or stop an answer."),
    _a("code.unindent", "shift+tab", "Unindent", "Take indentation off the selected lines."),
    _a("code.first", "ctrl+home", "Beginning", "Go to the beginning of the file."),
    _a("code.last", "ctrl+end", "End", "Go to the end of the file."),
    _a("code.save", "ctrl+s", "Save", "Save the file."),
    _a("code.find", "ctrl+f", "Find", "Search in the file."),
    _a("code.quote", "alt+q", "Ask about it",
       "Put what is selected into the prompt, with its path and lines."),
    _a("code.next_file", "ctrl+pagedown", "Next file", "The next open file."),
    _a("code.previous_file", "ctrl+pageup", "File before", "The open file before."),
    _a("code.close", "alt+w", "Close the file", "Close the file; the last one closes the panel."),
    _a("code_find.next", "enter down", "Next", "The next place that was found."),
    _a("code_find.previous", "shift+enter up", "Before", "The place before that was found."),
    _a("code_find.leave", "escape", "Leave", "Back to the code."),
    # Lines that ask for a few words.
    _a("find.done", "enter", "Find", "Go to the place that was found."),
    _a("find.leave", "escape", "Leave", "Leave the search."),
    _a("save.keep", "enter", "Save", "Save under this name."),
    _a("save.leave", "escape", "Leave", "Save nothing."),
    # Screens.
    _a("tokens.left", "left h", "Left", "The token before."),
    _a("tokens.right", "right l", "Right", "The next token."),
    _a("tokens.up", "up k", "Up", "The line above."),
    _a("tokens.down", "down j", "Down", "The line below."),
    _a("tokens.first", "home g", "First", "The first token."),
    _a("tokens.last", "end G", "Last", "The last token."),
    _a("tokens.page_up", "pageup", "Page up", "A page up."),
    _a("tokens.page_down", "pagedown", "Page down", "A page down."),
    _a("tokens.less_certain", "n", "Next uncertain place", "The next uncertain place."),
    _a("tokens.more_certain", "N", "Uncertain place before", "The uncertain place before."),
    _a("tokens.alternative_up", "K shift+up", "Alternative above",
       "Mark the alternative above."),
    _a("tokens.alternative_down", "J shift+down", "Alternative below",
       "Mark the alternative below."),
    _a("tokens.branch", "enter", "Branch", "Go on from the marked alternative, in a new version."),
    _a("tokens.copy", "y", "Copy", "Copy the uncertain places as a table."),
    _a("tokens.measure", "m", "Measure", "Have the loaded model read the text and measure it."),
    _a("tokens.leave", "escape f2 q", "Leave", "Back to the conversation."),
    _a("history.open", "enter", "Open", "Open what is marked; while renaming: keep the title."),
    _a("history.up", "up k", "Up", "Mark the conversation above.", call="cursor(-1)"),
    _a("history.down", "down j", "Down", "Mark the conversation below.", call="cursor(1)"),
    _a("history.search", "slash", "Search", "Back to the search field."),
    _a("history.pin", "p", "Pin", "Pin the conversation, or not any more."),
    _a("history.rename", "r", "Rename", "Type another title."),
    _a("history.delete", "d delete", "Delete", "Delete the conversation; it can be brought back."),
    _a("history.undo", "u", "Undo", "Bring back what was deleted last."),
    _a("history.duplicate", "y", "Copy", "Make a copy of the conversation."),
    _a("history.export", "x", "Export", "Write a Markdown file to the current folder."),
    _a("history.leave", "escape", "Leave", "Leave renaming, or the screen."),
    _a("settings.keep", "enter", "Keep", "Keep what stands in the fields."),
    _a("settings.save_preset", "ctrl+s", "Save as a preset",
       "Keep the values as a preset under the name in the first field."),
    _a("settings.previous", "up", "Field above", "The field above.", call="app.focus_previous"),
    _a("settings.next", "down", "Field below", "The field below.", call="app.focus_next"),
    _a("settings.leave", "escape", "Leave", "Leave everything as it was.", call="dismiss(None)"),
    _a("tools.enable", "space enter", "Enable", "Enable the tool in this conversation, or not."),
    _a("tools.up", "up k", "Up", "Mark the tool above."),
    _a("tools.down", "down j", "Down", "Mark the tool below."),
    _a("tools.new", "n", "New", "Write a new tool, whose results you type."),
    _a("tools.edit", "e", "Edit", "Edit the definition of the marked tool."),
    _a("tools.try_out", "t", "Try out", "Call the marked tool with arguments that you write."),
    _a("tools.delete", "d delete", "Delete", "Delete the marked tool's file."),
    _a("tools.revoke", "r", "Revoke",
       "Have the marked tool, or a project's MCP server, ask again before it runs."),
    _a("tools.server", "s", "Server",
       "Start or restart the marked tool's MCP server; allow one that a project brings."),
    _a("tools.choice", "c", "Tool choice", "Whether the model calls: as it likes, never, always."),
    _a("tools.reload", "f5", "Look again", "Read files, modules and servers again."),
    _a("tools.leave", "escape f12 q", "Leave", "Back to the conversation."),
    _a("tool.keep", "ctrl+s", "Save", "Save the definition."),
    _a("tool.try_out", "ctrl+r", "Call", "Call the tool with these arguments."),
    _a("tool.leave", "escape", "Leave", "Leave it as it was."),
    _a("files.open", "enter", "Open", "Open the marked file."),
    _a("files.up", "up", "Up", "Mark the file above."),
    _a("files.down", "down", "Down", "Mark the file below."),
    _a("files.leave", "escape", "Leave", "Open nothing."),
    _a("diff.up", "up k", "Up", "Mark the part above."),
    _a("diff.down", "down j", "Down", "Mark the part below."),
    _a("diff.toggle", "space", "Take or leave", "Take the marked part, or leave it.", call="turn"),
    _a("diff.take_all", "a", "Take all", "Take all parts."),
    _a("diff.leave_all", "d", "Leave all", "Leave all parts."),
    _a("diff.apply", "enter", "Apply", "Apply the parts that are taken."),
    _a("diff.leave", "escape q", "Leave", "Change nothing."),
    _a("unsaved.previous", "up left", "Up", "The choice above.", call="app.focus_previous"),
    _a("unsaved.next", "down right", "Down", "The choice below.", call="app.focus_next"),
    _a("unsaved.leave", "escape", "Stay", "Stay; nothing is saved or dropped."),
    _a("models.open", "enter", "Switch", "Go on with the marked model."),
    _a("models.up", "up k", "Up", "Mark the model above.", call="cursor(-1)"),
    _a("models.down", "down j", "Down", "Mark the model below.", call="cursor(1)"),
    _a("models.leave", "escape", "Leave", "Keep the model.", call="dismiss(None)"),
    _a("room.previous", "up", "Up", "The choice above.", call="app.focus_previous"),
    _a("room.next", "down", "Down", "The choice below.", call="app.focus_next"),
    _a("room.leave", "escape", "Leave", "Take the message back.", call="dismiss('back')"),
    _a("first_run.other", "left right", "Other", "The other choice.", call="app.focus_next"),
    _a("first_run.leave", "escape", "Not now", "Fetch no model.", call="dismiss(False)"),
    _a("themes.up", "up k", "Up", "Show the look above."),
    _a("themes.down", "down j", "Down", "Show the look below."),
    _a("themes.keep", "enter", "Keep", "Keep this look."),
    _a("themes.leave", "escape", "Leave", "Go back to the look before."),
    _a("links.open", "enter", "Open", "Open the link in the browser."),
    _a("links.copy", "y", "Copy", "Copy its address."),
    _a("links.up", "up k", "Up", "Mark the link above."),
    _a("links.down", "down j", "Down", "Mark the link below."),
    _a("links.leave", "escape q", "Leave", "Back to the conversation."),
    _a("help.up", "up", "Up", "Scroll up.", call="scroll(-1)"),
    _a("help.down", "down", "Down", "Scroll down.", call="scroll(1)"),
    _a("help.page_up", "pageup", "Page up", "Scroll a page up.", call="page(-1)"),
    _a("help.page_down", "pagedown", "Page down", "Scroll a page down.", call="page(1)"),
    _a("help.leave", "escape f1", "Close", "Close this page.", call="dismiss"),
)  # fmt: skip

BY_ID = {action.id: action for action in ACTIONS}


def bindings(where: Where, *, leave_out: Iterable[str] = ()) -> list[Binding]:
    """Textual bindings of one place. The transcript has those of `transcript`, too: they work
    while it has the focus."""
    from textual.binding import Binding

    skip = set(leave_out)
    places = ("message", "transcript") if where == "message" else (where,)
    return [
        Binding(
            ",".join(action.keys) or keys_.UNBOUND,
            action.does,
            action.title,
            id=action.id,
            show=False,
            priority=action.id in FIRST,
        )
        for action in ACTIONS
        if action.where in places and action.id not in skip
    ]


def key_of(id: str) -> str:
    """The first key in effect of an action, as people write it; its command or its title, if it
    has none."""
    action = BY_ID[id]
    other = f"/{id.replace('_', '-')}" if action.palette else f"“{action.title}”"
    return action.shown_key or other


def line(*parts: tuple[str, str]) -> str:
    """`Enter opens · ↑↓ choose` from ids, or two with a space between, and what they do; those
    without a key are left out."""
    said = []
    for ids, does in parts:
        shown = [key for id in ids.split() if (key := BY_ID[id].shown_key)]
        if shown:
            between = "" if all(len(key) == 1 for key in shown) else " "
            said.append(f"{between.join(shown)} {does}")
    return " · ".join(said)


def pressed(where: Where, key: str) -> Action | None:
    """The action of a place that a key does."""
    key = keys_.canonical(key)
    return next((a for a in ACTIONS if a.where == where and key in a.now), None)


def grouped(actions: Iterable[Action] = ACTIONS) -> dict[str, list[Action]]:
    """The actions by the names of their places."""
    places: dict[str, list[Action]] = {name: [] for name in PLACES.values()}
    for action in actions:
        places[PLACES[action.where]].append(action)
    return {name: found for name, found in places.items() if found}


def markdown_table() -> str:
    """The README's table: the keys of the chat itself, by default."""
    rows = ["| Key | What it does |", "| --- | --- |"]
    main = ("app", "prompt", "transcript", "message")
    for place, actions in grouped(a for a in ACTIONS if a.where in main).items():
        if actions:
            rows += [f"| **{place}** | |", *(_row(a.keys, a.help) for a in actions)]
    return "\n".join(rows)


def markdown_list() -> str:
    """All actions with their ids and default keys, for docs/keys.md."""
    parts: list[str] = []
    for place, actions in grouped().items():
        parts += [f"## {place}", "", "| Action | Key | What it does |", "| --- | --- | --- |"]
        parts += [_row(a.keys, a.help, f"| `{a.id}` ") for a in actions]
        parts.append("")
    return "\n".join(parts).rstrip()


def _row(keys: Iterable[str], help_: str, first: str = "") -> str:
    shown = ", ".join(map(keys_.show_key, keys)).replace("|", "\\|")
    return f"{first}| {shown} | {help_} |"
