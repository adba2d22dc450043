"""Colour themes from TOML files: the built-in ones and the user's own."""

from __future__ import annotations

import contextlib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.color import Color, ColorParseError
from textual.theme import Theme

from mistral_tui.widgets.palette import CHAT_DEFAULTS, CODE_DEFAULTS, GROUND_DEFAULTS, TOKEN_SHARES

DEFAULT_DARK, DEFAULT_LIGHT = "mistral-dark", "mistral-light"

_COLORS = frozenset(
    {"primary", "secondary", "accent", "background", "surface", "panel", "foreground"}
    | {"warning", "error", "success"}
)
_SECTIONS = {
    "text": ("chat", CHAT_DEFAULTS.keys() | GROUND_DEFAULTS.keys()),
    "code": ("code", CODE_DEFAULTS.keys()),
    "tokens": ("token", TOKEN_SHARES.keys()),
}
_STYLES = frozenset(
    [
        "none",
        "not",
        "bold",
        "italic",
        "underline",
        "strike",
        "reverse",
        "dim",
        "b",
        "i",
        "u",
        "s",
        "r",
        "d",
    ]
)
_TOP = _COLORS | {"name", "dark", "ansi", "counterpart", "variables", *_SECTIONS}


@dataclass
class Look(Theme):
    """A theme of ours or the user's own. `counterpart` is the one to change to and fro with
    between light and dark; `own`: it is the user's."""

    counterpart: str = ""
    own: bool = False


class ThemeError(Exception):
    """A theme file that cannot be used; the message is a sentence for the user."""


def builtin_folder() -> Path:
    """Where the shipped themes are: in the wheel beside this file, in a checkout at its top."""
    here = Path(__file__).parent
    packaged = here / "themes"
    return packaged if packaged.is_dir() else here.parent / "themes"


def _is_color(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        Color.parse(value)
    except ColorParseError:
        return False
    return True


def parse_theme(path: Path) -> tuple[Look, list[str]]:
    """The theme in a file and one sentence per key that was left out.

    Raises ThemeError if there is no usable theme in it.
    """
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ThemeError(f"The theme file {path.name} cannot be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ThemeError(f"The theme file {path.name} is not valid TOML: {error}.") from None
    problems: list[str] = []

    def skip(key: str, why: str) -> None:
        problems.append(f"In the theme file {path.name}, `{key}` {why}.")

    for key in sorted(data.keys() - _TOP):
        skip(key, "is not known; remove it or correct its spelling")
    name, dark = data.get("name"), data.get("dark", True)
    if not isinstance(name, str) or not name.strip():
        raise ThemeError(f"The theme file {path.name} needs a `name`, a text in quotes.")
    if not isinstance(dark, bool):
        skip("dark", "must be true or false")
        dark = True
    ansi, counterpart = data.get("ansi", False), data.get("counterpart", "")
    if not isinstance(ansi, bool):
        skip("ansi", "must be true or false")
        ansi = False
    if not isinstance(counterpart, str):
        skip("counterpart", "must be the name of a theme, in quotes")
        counterpart = ""
    colors: dict[str, str] = {}
    for key in sorted(_COLORS & data.keys()):
        if _is_color(data[key]):
            colors[key] = data[key]
        else:
            skip(key, 'is not a colour such as "#ff8205"')
    if "primary" not in colors:
        raise ThemeError(f"The theme file {path.name} needs `primary`, a colour such as #ff8205.")
    variables: dict[str, str] = {}
    for section in ("variables", *_SECTIONS):
        table = data.get(section, {})
        if not isinstance(table, dict):
            skip(section, f"must be a table, [{section}]")
            continue
        prefix, known = _SECTIONS.get(section, ("", frozenset()))
        for key, value in table.items():
            if prefix and key not in known:
                skip(f"{section}.{key}", "is not known; remove it or correct its spelling")
            elif prefix and not _is_color(value):
                skip(f"{section}.{key}", 'is not a colour such as "#ff8205"')
            elif not isinstance(value, str) or not _safe_variable(key, value):
                skip(f"{section}.{key}", "must be a colour or a text style in quotes")
            else:
                variables[f"{prefix}-{key}" if prefix else key] = value
    if ansi:  # Textual's own style sheet names these two, and would stop the app
        for ground in ("ansi-background", "ansi-foreground"):
            variables.setdefault(ground, "ansi_default")
    theme = Look(
        name=name.strip(),
        primary=colors.pop("primary"),
        dark=dark,
        ansi=ansi,
        variables=variables,
        counterpart=counterpart.strip(),
    )
    for key, value in colors.items():
        setattr(theme, key, value)
    return theme, problems


def _safe_variable(key: str, value: str) -> bool:
    """Variables go into the style sheet, where a stray brace or word would stop the app."""
    if not re.fullmatch(r"[a-z0-9-]+", key) or not re.fullmatch(r"[#%.\w -]+", value, re.ASCII):
        return False
    if "-style" in key:
        return set(value.split()) <= _STYLES
    return _is_color(value)


def load_themes(user_folder: Path | None = None) -> tuple[list[Look], list[str]]:
    """All usable themes, a user's own replacing a built-in of its name, and the problems found."""
    themes: dict[str, Look] = {}
    problems: list[str] = []
    for folder in (builtin_folder(), user_folder):
        if folder is None or not folder.is_dir():
            continue
        for path in sorted(folder.glob("*.toml")):
            try:
                theme, found = parse_theme(path)
            except ThemeError as error:
                problems.append(str(error))
                continue
            theme.own = folder is user_folder
            themes[theme.name] = theme
            problems.extend(found)
    return list(themes.values()), problems


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """When each theme file in a folder was changed, and its size: cheap to compare."""
    found: dict[str, tuple[int, int]] = {}
    with contextlib.suppress(OSError):
        for path in folder.glob("*.toml"):
            with contextlib.suppress(OSError):
                stat = path.stat()
                found[path.name] = (stat.st_mtime_ns, stat.st_size)
    return found


def remembered(state: Path) -> str:
    """The theme chosen last, by name; a small file, so that the first paint is in its colours."""
    try:
        return (state / "theme").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def remember(state: Path, name: str) -> None:
    """Keep the choice for the next start, as far as the disk allows."""
    with contextlib.suppress(OSError):
        (state / "theme").write_text(name + "\n", encoding="utf-8")
