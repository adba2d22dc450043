"""Colour themes from TOML files: the built-in ones and the user's own.

The built-in ones are known to be good; a user's file is read with suspicion, since a value that
Textual does not take would stop the app.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.color import Color, ColorParseError
from textual.theme import Theme

from mistral_tui.widgets.palette import CHAT_DEFAULTS, CODE_DEFAULTS, GROUND_DEFAULTS, TOKEN_SHARES

DEFAULT_DARK, DEFAULT_LIGHT, SIXTEEN = "mistral-dark", "mistral-light", "ansi"

_COLORS = frozenset(
    {"primary", "secondary", "accent", "background", "surface", "panel", "foreground"}
    | {"warning", "error", "success"}
)
_SECTIONS = {
    "text": ("chat", CHAT_DEFAULTS.keys() | GROUND_DEFAULTS.keys()),
    "code": ("code", CODE_DEFAULTS.keys()),
    "tokens": ("token", TOKEN_SHARES.keys()),
}
_STYLE = "(?:not )?(?:bold|italic|underline|strike|reverse|dim|[biusrd])"
_STYLES = re.compile(f"none|{_STYLE}(?: {_STYLE})*")
_NAME = re.compile(r"[^\W_][\w .-]{0,39}")
MOST_FILES = 200
MOST_BYTES = 256 << 10
_Wrong = Callable[[tuple[str, ...], str], None]
_Unknown = Callable[[tuple[str, ...], Iterable[str]], None]
_COLOR_RULE = 'must be a colour such as "#ff8205" or "ansi_red"'
_TOP = _COLORS | {"name", "dark", "ansi", "counterpart", "variables", *_SECTIONS}


@dataclass
class Look(Theme):
    """A theme of ours or the user's own. `counterpart` is the one to change to and fro with
    between light and dark; `file`: the name of the user's file that it comes from."""

    counterpart: str = ""
    file: str = ""

    @property
    def own(self) -> bool:
        """Whether it is the user's."""
        return bool(self.file)


class ThemeError(Exception):
    """A theme file that cannot be used; the message is a sentence for the user."""


def builtin_folder() -> Path:
    """Where the shipped themes are: in the wheel beside this file, in a checkout at its top."""
    here = Path(__file__).parent
    packaged = here / "themes"
    return packaged if packaged.is_dir() else here.parent / "themes"


def _is_color(value: object, *, solid: bool = False) -> bool:
    if not isinstance(value, str):
        return False
    try:
        color = Color.parse(value)
    except ColorParseError:
        return False
    return not (solid and color.ansi is None and color.a == 0)


def parse_theme(path: Path) -> tuple[Look, list[str]]:
    """The theme in a user's file and one sentence per key that was left out.

    Raises ThemeError if there is no usable theme in it.
    """
    from mistral_tui.config.toml_file import TomlFile
    from mistral_tui.config.user_files import FileProblem, read_text
    from mistral_tui.sanitize import one_line

    shown = f"themes/{one_line(path.name, 60)}"
    try:
        file = TomlFile(shown, read_text(path, shown, MOST_BYTES))
    except (FileProblem, OSError) as error:
        raise ThemeError(str(error)) from None
    theme = _look(file.data, shown, file.wrong, file.unknown)
    theme.file = path.name
    return theme, file.problems()


def _parse_builtin(path: Path) -> Look:
    def fault(key: tuple[str, ...], *_: object) -> None:
        raise ThemeError(f"The theme {path.name} has a fault: {'.'.join(key)}.")

    return _look(tomllib.loads(path.read_text(encoding="utf-8")), path.name, fault, fault)


def _look(data: dict[str, Any], shown: str, wrong: _Wrong, unknown: _Unknown) -> Look:
    for key in data.keys() - _TOP:
        unknown((key,), _TOP)
    name = data.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name.strip()):
        rule = "up to 40 letters, digits, spaces, - and _ in quotes"
        raise ThemeError(f"{shown} cannot be used: it needs a `name`, {rule}.")

    def of(key: str, kind: type, what: str) -> Any:
        value = data.get(key, kind())
        if isinstance(value, kind):
            return value
        wrong((key,), f"must be {what}")
        return kind()

    colors: dict[str, str] = {}
    for key in sorted(_COLORS & data.keys()):
        if _is_color(data[key], solid=True):
            colors[key] = data[key]
        else:
            wrong((key,), _COLOR_RULE)
    if "primary" not in colors:
        example = 'primary = "#ff8205"'
        raise ThemeError(f"{shown} cannot be used: it needs a colour `primary`, like {example}.")
    ansi = of("ansi", bool, "true or false")
    variables = _variables(data, wrong, unknown)
    if ansi:  # Textual's own style sheet names these two, and would stop the app
        for ground in ("ansi-background", "ansi-foreground"):
            variables.setdefault(ground, "ansi_default")
    dark = of("dark", bool, "true or false") if "dark" in data else True
    look = Look(name.strip(), colors.pop("primary"), dark=dark, ansi=ansi, variables=variables)
    look.counterpart = of("counterpart", str, "the name of a theme, in quotes").strip()
    for key, value in colors.items():
        setattr(look, key, value)
    return look


def _variables(data: dict[str, Any], wrong: _Wrong, unknown: _Unknown) -> dict[str, str]:
    """What the tables say, under the names that the style sheet and the palette know."""
    variables: dict[str, str] = {}
    for section in ("variables", *_SECTIONS):
        table = data.get(section, {})
        if not isinstance(table, dict):
            wrong((section,), f"must be a table, [{section}]")
            continue
        prefix, known = _SECTIONS.get(section, ("", frozenset()))
        for key, value in table.items():
            path = (section, key)
            if prefix and key not in known:
                unknown(path, known)
            elif prefix and not _is_color(value):
                wrong(path, _COLOR_RULE)
            elif prefix:
                variables[f"{prefix}-{key}"] = value
            elif key in _COLORS:
                wrong(path, "must stand above the tables, not in one")
            elif rule := _no_variable(key, value):
                wrong(path, rule)
            else:
                variables[key] = value
    return variables


def _no_variable(key: str, value: object) -> str:
    """Variables go into the style sheet, where a stray brace or word would stop the app."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", key):
        return "is no name of a variable: these are of small letters, digits and -"
    if "-style" in key:
        good = isinstance(value, str) and _STYLES.fullmatch(value)
        return "" if good else 'must be a text style such as "bold", "not underline" or "none"'
    good = isinstance(value, str) and re.fullmatch(r"[#%.\w -]+", value, re.ASCII)
    return "" if good and _is_color(value) else _COLOR_RULE


def load_themes(
    user_folder: Path | None = None, before: Mapping[str, Look] | None = None
) -> tuple[list[Look], list[str]]:
    """All usable themes, a user's own replacing a built-in of its name, and the problems found.

    `before` has the looks of files as they were: one that cannot be used now stays so.
    """
    themes: dict[str, Look] = {}
    problems: list[str] = []
    for path in sorted(builtin_folder().glob("*.toml")):
        look = _parse_builtin(path)
        themes[look.name] = look
    for path in _user_files(user_folder):
        try:
            look, found = parse_theme(path)
        except ThemeError as error:
            problems.append(str(error))
            if before is None or path.name not in before:
                continue
            look, found = before[path.name], []
        problems.extend(found)
        if (other := themes.get(look.name)) is not None and other.own:
            problems.append(
                f"themes/{look.file} has the same `name` as themes/{other.file}, "
                "which is therefore not used."
            )
        themes[look.name] = look
    return list(themes.values()), problems


def _user_files(folder: Path | None) -> list[Path]:
    """A user's theme files: visible ones, in order, not without end."""
    if folder is None:
        return []
    try:
        found = sorted(path for path in folder.glob("*.toml") if not path.name.startswith("."))
    except OSError:
        return []
    return found[:MOST_FILES]


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """When each theme file in a folder was changed, and its size: cheap to compare."""
    found: dict[str, tuple[int, int]] = {}
    for path in _user_files(folder):
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
