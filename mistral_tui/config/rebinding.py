"""`[keys]` of config.toml: which keys do what. What cannot be is said, and the rest applies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from mistral_tui.actions import ACTIONS, BY_ID, FIRST, PLACES, Action
from mistral_tui.config.setting import literal, said
from mistral_tui.config.toml_file import TomlFile
from mistral_tui.keys import character, parse_key, show_key
from mistral_tui.sanitize import one_line

Keys = Mapping[str, tuple[str, ...]]
"""The keys of actions, as Textual spells them, by the actions' ids."""

SECTION = "keys"
MOST_KEYS = 8
_ALL = "`mistral-tui config keys` prints all actions"
# Where letters are typed; on other screens these alone hold in a field, too.
_TYPED_IN = ("app", "prompt", "menu", "find", "save", "settings", "help")
_IN_FIELDS = ("history.open", "history.leave")
CURSOR = frozenset(("backspace", "delete", "left", "right", "home", "end"))
# What text fields and lists take for themselves, before the screen that they are on.
FIELD_KEYS = CURSOR | {
    *(f"ctrl+{letter}" for letter in "aewukdxcv"), "ctrl+left", "ctrl+right", "shift+left",
    "shift+right", "ctrl+shift+left", "ctrl+shift+right", "shift+home", "shift+end",
    "ctrl+shift+a", "ctrl+backspace", "alt+backspace", "super+backspace", "super+c", "enter",
}  # fmt: skip
LIST_KEYS = frozenset(("up", "down", "home", "end", "pageup", "pagedown", "enter"))
_FIELDS = ("find", "save", "settings", "history", "help")
_LISTS = ("history", "models", "themes", "links")
_TOGETHER = (("app", "prompt"), ("app", "transcript", "message"))
_MUST = "quit"


def read(file: TomlFile, table: object) -> dict[str, tuple[str, ...]]:
    """The good part of the table; what is wrong with the rest is noted in `file`."""
    if not isinstance(table, dict):
        file.wrong((SECTION,), f"must be a table, [{SECTION}]")
        return {}
    changed: dict[str, tuple[str, ...]] = {}
    paths: dict[str, tuple[str, ...]] = {}
    for path, value in _entries(table):
        id = ".".join(path[1:])
        if id not in BY_ID:
            file.unknown(path, BY_ID, called=id, all_in=_ALL)
        elif id in paths:
            file.wrong(path, "is set twice")
        elif (found := _keys(file, path, BY_ID[id], value)) is not None:
            changed[id], paths[id] = found, path
    while clash := _clash(changed):
        id, other, key = clash
        file.wrong(
            paths[id],
            f"has the key {show_key(key)}, which is that of {other} ({BY_ID[other].title}), too; "
            "give one of them another key",
        )
        del changed[id]
    return {id: keys for id, keys in changed.items() if keys != BY_ID[id].keys}


def _entries(table: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], object]]:
    """`"history.pin" = …`, and the same in a table `[keys.history]`."""
    for name, value in table.items():
        if isinstance(value, dict) and name in PLACES:
            for inner, one in value.items():
                yield (SECTION, name, inner), one
        else:
            yield (SECTION, name), value


def _keys(
    file: TomlFile, path: tuple[str, ...], action: Action, value: object
) -> tuple[str, ...] | None:
    """The keys of one action; None if any of them cannot be."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or len(names) > MOST_KEYS:
        what = 'it must be a key such as "ctrl+k", or a list of up to 8 of them'
        file.wrong(path, f"is {said(value)}; {what}")
        return None
    if not names and action.id == _MUST:
        file.wrong(path, "must have a key: without one nobody finds the way out")
        return None
    keys: list[str] = []
    for name in names:
        key = parse_key(name) if isinstance(name, str) else None
        if key is None:
            file.wrong(
                path,
                f"names {said(name)}, which is no key; write it like ctrl+k, alt+left, f10, "
                "pageup, K or {",
            )
            return None
        if why := _refused(action, key):
            file.wrong(path, f'cannot have the key "{one_line(show_key(key), 20)}": {why}')
            return None
        if key not in keys:
            keys.append(key)
    return tuple(keys)


def _refused(action: Action, key: str) -> str:
    """Why a key would not reach the action, or would be missed elsewhere; empty if it is good."""
    if key in action.keys:
        return ""
    types = character(key) or key == "backspace"
    typed_in = action.where in _TYPED_IN or action.id in _IN_FIELDS or action.id in FIRST
    moves = key in CURSOR and action.where in ("app", "prompt", "menu")
    if (types and typed_in) or moves:
        return "text is written with it; take one with Ctrl or Alt, or a function key"
    if action.id in FIRST:
        return ""
    if action.where in _FIELDS and key in FIELD_KEYS:
        return "the text field there has its own use for it"
    if action.where in _LISTS and key in LIST_KEYS:
        return "the list there has its own use for it"
    return ""


def _clash(changed: Keys) -> tuple[str, str, str] | None:
    """An action that was changed, another that has one of its keys where both hold, the key."""
    users: dict[str, list[Action]] = {}
    for action in ACTIONS:
        for key in changed.get(action.id, action.keys):
            users.setdefault(key, []).append(action)
    for key, several in users.items():
        for one, other in combinations(several, 2):
            ours = key in one.keys and key in other.keys  # meant so
            if ours or not _meet(one, other):
                continue
            later = [id for id in changed if id in (one.id, other.id)][-1]
            return later, one.id if later == other.id else other.id, key
    return None


def _meet(one: Action, other: Action) -> bool:
    """Whether the same key cannot do both."""
    if one.where == other.where or {one.id, other.id} & {"quit", "command_palette"}:
        return True
    return any(one.where in places and other.where in places for places in _TOGETHER)


def example(keys: tuple[str, ...]) -> str:
    """Keys as they stand in the file: `"ctrl+k"`, `["up", "k"]`."""
    written = [literal(key if key == "space" else character(key) or key) for key in keys]
    return written[0] if len(written) == 1 else f"[{', '.join(written)}]"


def table(changed: Keys) -> str:
    """Every action with its keys as a `[keys]` table; those that have their own are commented."""
    lines = ["[keys]"]
    place = ""
    for action in ACTIONS:
        if PLACES[action.where] != place:
            place = PLACES[action.where]
            lines += ["", f"# {place}"]
        name = f'"{action.id}"' if "." in action.id else action.id
        mark = "" if action.id in changed else "# "
        said = f"{mark}{name} = {example(changed.get(action.id, action.keys))}"
        lines.append(f"{said:<44}  # {action.title}")
    return "\n".join(lines)
