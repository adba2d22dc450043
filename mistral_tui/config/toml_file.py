"""A TOML file of the user: its tables, and the line of each key for the sentences about it."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mistral_tui.config.setting import Invalid, Setting, Value, sentence
from mistral_tui.config.settings import unknown
from mistral_tui.config.user_files import FileProblem, read_text
from mistral_tui.sanitize import one_line

MOST_BYTES = 1 << 20
MOST_PROBLEMS = 50
_KEPT = 4  # parts of the keys whose lines are kept; ours are `presets.NAME.KEY`
_DEEPEST = 32  # parts of any key: tomllib takes minutes for thousands
# The scan goes before tomllib, which says what is wrong: it may be lenient. Possessive: linear.
_GAP = re.compile(r"(?:[ \t\n]|#[^\n]*+)*+")
_PART = re.compile(
    r"""[ \t]*+(?:("(?:[^"\\\n]|\\.)*+")|'([^'\n]*+)'|([A-Za-z0-9_-]++))[ \t]*+(\.?)"""
)
_TOKEN = re.compile(
    r'"""(?:\\.|(?!""").)*+"{3,5}|' + r"'''(?:(?!''').)*+'{3,5}|"
    r""""(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'|#[^\n]*+|[\[{]|[\]}]|[\n,=.]|[^"'#\[\]{}\n,=.]++""",
    re.S,
)
_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.S)


class TomlFile:
    """A file's tables, and what was found wrong in it; `name` is how sentences call it."""

    def __init__(self, name: str, text: str) -> None:
        """Raises FileProblem if the text is no TOML."""
        self.name = name
        self._problems: list[tuple[int, str]] = []
        self._more = 0
        try:
            self._lines = key_lines(text)
            self.data: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise FileProblem(_syntax(name, str(error))) from None
        except RecursionError:
            raise FileProblem(f"{name} cannot be used: it is nested too deeply.") from None
        except ValueError:  # of Python itself
            raise FileProblem(f"{name} cannot be used: a number in it is too long.") from None

    @classmethod
    def read(cls, path: Path, name: str) -> TomlFile:
        """Raises FileNotFoundError, or FileProblem with a sentence."""
        return cls(name, read_text(path, name, MOST_BYTES))

    def wrong(self, path: tuple[str, ...], what: str) -> None:
        """Note that something is wrong with a key; `what` goes on after its name."""
        if len(self._problems) >= MOST_PROBLEMS:
            self._more += 1
            return
        known = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in self._lines), ())
        line = self._lines.get(known, 0)
        where = f"{self.name}, line {line}" if line else self.name
        *tables, key = (one_line(part, 40) or '""' for part in path)
        inside = f" in [{'.'.join(tables)}]" if tables else ""
        self._problems.append((line, sentence(f"{where}: {key}{inside} {what}")))

    def unknown(
        self, path: tuple[str, ...], known: Iterable[str], *, called: str = "", all_in: str = ""
    ) -> None:
        """Note a key that there is not; the search for the nearest one takes its time. `called`
        is its whole name, `all_in` says where all are, if these are too many for a sentence."""
        self.wrong(path, "" if self._more else unknown(called or path[-1], known, all_in))

    def table(
        self, path: tuple[str, ...], table: object, known: Mapping[str, Setting]
    ) -> dict[str, Value]:
        """The good values of a table; of the others it is noted what is wrong."""
        if not isinstance(table, dict):
            self.wrong(path, f"must be a table, [{'.'.join(one_line(p, 40) for p in path)}]")
            return {}
        values: dict[str, Value] = {}
        for key, value in table.items():
            if key not in known:
                self.unknown((*path, key), known)
                continue
            try:
                values[key] = known[key].read(value)
            except Invalid as error:
                self.wrong((*path, key), str(error))
        return values

    def problems(self) -> list[str]:
        """One sentence for each problem, in the file's order."""
        sentences = [said for _, said in sorted(self._problems, key=lambda p: p[0])]
        if self._more:
            sentences.append(f"{self.name} has {self._more} more problems.")
        return sentences


def _syntax(name: str, message: str) -> str:
    match = _PLACE.fullmatch(message)
    what, line, column = match.groups() if match else (message, None, None)
    where = f"{name}, line {line}, column {column}" if line else f"{name}, at its end"
    return f"{where}: this is not TOML ({one_line(what, 100)}); nothing of the file is used."


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Where the keys and tables of a TOML text first stand, from 1. Those within an inline
    table are left out: it begins and ends on its key's line.

    Raises:
        RecursionError: a key has too many parts.
    """
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    at = counted = 0
    line = 1
    while at < len(text):
        at = _end(_GAP, text, at)
        line, counted = line + text.count("\n", counted, at), at
        is_table = text.startswith("[", at)
        key, end = _key(text, at + (2 if text.startswith("[[", at) else is_table))
        if not key:
            break
        if is_table:
            table, path = key[:_KEPT], key
        else:
            path = (*table, *key[:_KEPT])
        for depth in range(1, min(len(path), _KEPT) + 1):
            lines.setdefault(path[:depth], line)
        at = _after_value(text, end)
    return lines


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _key(text: str, at: int) -> tuple[tuple[str, ...], int]:
    parts: list[str] = []
    while match := _PART.match(text, at):
        quoted, plain, bare, dot = match.groups()
        if quoted:
            plain = _unquoted(quoted)
        parts.append(bare if plain is None else plain)
        if len(parts) > _DEEPEST:
            raise RecursionError
        at = match.end()
        if not dot:
            break
    return tuple(parts), at


def _unquoted(quoted: str) -> str:
    if "\\" in quoted:
        with contextlib.suppress(tomllib.TOMLDecodeError):
            return next(iter(tomllib.loads(f"{quoted} = 0")))
    return quoted[1:-1]


def _after_value(text: str, at: int) -> int:
    depth = dots = 0
    while match := _TOKEN.match(text, at):
        token, at = match[0], match.end()
        if token == ".":  # between the parts of a key of an inline table
            dots += 1
            if dots > _DEEPEST:
                raise RecursionError
        elif token in (",", "=", "\n"):
            dots = 0
            if token == "\n" and depth <= 0:
                break
        elif token in ("[", "{"):
            depth += 1
        elif token in ("]", "}"):
            depth -= 1
    return at
