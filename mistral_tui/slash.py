"""What begins with a slash: the app's commands by name, from the one registry of actions."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from mistral_tui.actions import ACTIONS, Action
from mistral_tui.sanitize import one_line
from mistral_tui.widgets.completions import Asked, Choice, rank

# A path such as /usr/bin is no command: after its first word there is no space.
_COMMAND = re.compile(r"/([A-Za-z][A-Za-z0-9_-]*)(?:\s+(.*?))?\s*", re.DOTALL)
_TYPED_NAME = re.compile(r"/([A-Za-z0-9_-]*)")
_TYPED_ARGUMENT = re.compile(r"/([A-Za-z][A-Za-z0-9_-]*)\s+")
_MOST = 200  # choices of an argument that are offered

Provider = Callable[[], Iterable[tuple[str, str]]]
"""Makes the (value, what it is) pairs of an argument; called in a thread."""


@dataclass(frozen=True, slots=True)
class Command:
    """`/name argument`, as it was typed."""

    name: str
    argument: str = ""


def parse(text: str) -> Command | None:
    """The command that `text` is; None if it is a message."""
    match = _COMMAND.fullmatch(text)
    return Command(match[1].lower().replace("_", "-"), match[2] or "") if match else None


def literal(text: str) -> str:
    """The message that `text` is: `//new` is how `/new` is sent. A comment stays as it is."""
    return text[1:] if text.startswith("//") and parse(text[1:]) else text


def name_of(action: Action) -> str:
    """`copy_code` → `copy-code`."""
    return action.id.replace("_", "-")


def find(name: str) -> Action | None:
    """The action that a command names."""
    return next((a for a in ACTIONS if a.palette and name_of(a) == name), None)


def check(command: Command, takes: Container[str]) -> Action | str:
    """The action to run, or what is wrong, in a sentence; `takes`: the ids of the actions that
    take an argument."""
    action = find(command.name)
    if action is None:
        name = one_line(command.name, 40)
        return f"There is no command /{name}. Type / to see all; //{name} sends it as it is."
    if command.argument and action.id not in takes:
        return f"/{command.name} takes nothing after it; start with // to send it as it is."
    return action


def asked(before: str, takes: Container[str]) -> Asked | None:
    """What could be completed in a prompt that begins with a slash, up to the cursor."""
    if match := _TYPED_NAME.fullmatch(before):
        return Asked("command", 0, match[1])
    if match := _TYPED_ARGUMENT.match(before):
        action = find(match[1].lower().replace("_", "-"))
        if action is not None and action.id in takes:
            return Asked("argument", match.end(), before[match.end() :], action.id)
    return None


def choices(typed: str, takes: Container[str]) -> list[Choice]:
    """The commands that match: by their names, then by their titles."""
    commands = {name_of(action): action for action in ACTIONS if action.palette}
    typed = typed.replace("_", "-")
    order = list(commands)
    found = [(0, name) for name in order]
    if typed:
        found = sorted(rank(typed, order), key=lambda one: (one[0], order.index(one[1])))
    known = {name for _, name in found}
    titles = {a.title: name for name, a in commands.items() if name not in known}
    found += [(how + 4, titles[title]) for how, title in rank(typed, titles) if how < 3]
    return [_choice(commands[name], how == 0, commands[name].id in takes) for how, name in found]


def _choice(action: Action, sure: bool, argument: bool) -> Choice:
    name, said = name_of(action), action.title
    if action.help.rstrip(".") != said:
        said += f" · {action.help}"
    end = " " if argument else ""
    key = action.shown_key
    return Choice(f"/{name}", f"/{name}{end}", said, key, more=argument, sure=sure)


def arguments(typed: str, provider: Provider) -> list[Choice]:
    """The values of an argument that match; asks the provider, so call it in a thread."""
    known = {value: said for value, said in provider() if value == one_line(value, 1000)}
    found = rank(typed, known) if typed else [(0, value) for value in known]
    return [Choice(v, v, known[v], sure=how == 0) for how, v in found[:_MOST]]
