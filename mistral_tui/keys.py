"""Keys: how people write them, how Textual calls them, and which are in effect now."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

_SHOWN = {
    "ctrl": "Ctrl", "shift": "Shift", "alt": "Alt", "super": "Super", "enter": "Enter",
    "escape": "Esc", "pageup": "PgUp", "pagedown": "PgDn", "up": "↑", "down": "↓", "left": "←",
    "right": "→", "home": "Home", "end": "End", "tab": "Tab", "delete": "Del",
    "insert": "Ins", "space": "Space", "backspace": "Backspace",
}  # fmt: skip
NAMES = frozenset((
    "enter", "escape", "pageup", "pagedown", "up", "down", "left", "right", "home", "end", "tab",
    "delete", "insert", "space", "backspace", *(f"f{n}" for n in range(1, 25)),
))  # fmt: skip
"""Keys that are no character, as Textual calls them."""
_WRITTEN = {
    "esc": "escape", "return": "enter", "cr": "enter", "spacebar": "space", "spc": "space",
    "del": "delete", "ins": "insert", "bs": "backspace", "pgup": "pageup", "page_up": "pageup",
    "pgdn": "pagedown", "pgdown": "pagedown", "page_down": "pagedown",
    "↑": "up", "↓": "down", "←": "left", "→": "right", "backtab": "shift+tab",
}  # fmt: skip
_MODIFIERS = {
    "ctrl": "ctrl", "control": "ctrl", "c": "ctrl", "alt": "alt", "option": "alt", "meta": "alt",
    "m": "alt", "a": "alt", "shift": "shift", "s": "shift", "super": "super", "cmd": "super",
}  # fmt: skip
_MODIFIER = re.compile(
    r"(?:(ctrl|control|alt|option|meta|shift|super|cmd)[+-]|([cmas])-)(?=.)", re.IGNORECASE
)
# Textual's names of characters that are not what Unicode calls them.
_CHARACTERS = {
    "slash": "/", "backslash": "\\", "at": "@", "minus": "-", "plus": "+", "underscore": "_",
}  # fmt: skip
_CALLED = {char: name for name, char in _CHARACTERS.items()}
# What a terminal sends for both.
_SAME = {"ctrl+m": "enter", "ctrl+i": "tab", "ctrl+h": "backspace",
         "ctrl+left_square_bracket": "escape", "ctrl+space": "ctrl+at"}  # fmt: skip
# How else Textual calls what comes from a terminal.
_ALSO = {"ctrl+at": ("ctrl+at", "ctrl+@", "ctrl+space")}
UNBOUND = "no_key"
"""Stands for the key of an action that has none, as Textual wants one."""

_changed: dict[str, tuple[str, ...]] = {}


def use(changed: Mapping[str, tuple[str, ...]]) -> None:
    """From now on these actions, by id, have these keys; all others have their own."""
    _changed.clear()
    _changed.update(changed)


def now(id: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """The keys of an action in effect."""
    return _changed.get(id, default)


def keymap(changed: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The same for Textual."""
    return {
        id: ",".join(",".join(_ALSO.get(key, (key,))) for key in keys) or UNBOUND
        for id, keys in changed.items()
    }


def canonical(key: str) -> str:
    """The one name of a key that was pressed."""
    return next((name for name, others in _ALSO.items() if key in others), key)


def character(key: str) -> str:
    """The character that one of Textual's keys types; "" for none."""
    if len(key) == 1:
        return key
    if key == "space":
        return " "
    if key in _CHARACTERS:
        return _CHARACTERS[key]
    if key in NAMES or "+" in key:
        return ""
    for name in (key.replace("_", " "), key.replace("_", "-", 1).replace("_", " ")):
        try:
            return unicodedata.lookup(name.upper())
        except KeyError:
            continue
    return ""


def show_key(key: str) -> str:
    """`ctrl+j` → `Ctrl+J`, `slash` → `/`."""
    *modifiers, last = key.split("+")
    if last in _SHOWN:
        last = _SHOWN[last]
    elif char := character(last):
        last = char.upper() if modifiers else char
    else:
        last = last.upper()
    return "+".join([*(_SHOWN.get(part, part) for part in modifiers), last])


def parse_key(written: str) -> str | None:
    """Textual's name of a key as people write it (`Ctrl+K`, `C-k`, `^k`, `{`, `PgUp`); None if
    it is no key."""
    text = written if written == " " else written.strip()
    if len(text) > 1 and text[0] == "^":
        text = f"ctrl+{text[1:]}"
    modifiers: set[str] = set()
    while match := _MODIFIER.match(text):
        modifiers.add(_MODIFIERS[(match[1] or match[2]).lower()])
        text = text[match.end() :]
    key = _name(text)
    if key is None:
        return None
    if len(key) == 1 and modifiers == {"shift"}:
        return key.upper() if key.isalpha() else None
    if len(key) == 1 and modifiers:
        key = key.lower()
    order = [part for part in ("alt", "ctrl", "shift", "super") if part in modifiers]
    name = "+".join([*order, key])
    return _SAME.get(name, name)


def _name(text: str) -> str | None:
    """Textual's name of a key without modifiers."""
    if text == " ":
        return "space"
    low = text.lower().replace(" ", "_")
    low = _WRITTEN.get(low, low)
    if low in NAMES or low == "shift+tab":
        return low
    char = text if len(text) == 1 else character(low)
    if not char or not char.isprintable():
        return None
    if char.isalnum():
        return char if len(text) == 1 else None
    spelt = unicodedata.name(char, "").lower().replace("-", "_").replace(" ", "_")
    return _CALLED.get(char) or spelt or None
