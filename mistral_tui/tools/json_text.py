"""JSON of others: strict, bounded, and with the place of what is wrong."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from mistral_tui.sanitize import one_line
from mistral_tui.tools.errors import ToolError

_KEY_OR_BRACE = re.compile(r'("(?:[^"\\]|\\.)*+")([ \t\r\n]*+:)?|[{}]', re.S)


class _Unusual(Exception):
    """A key that is given twice, or a number that is none."""


def read(text: str, shown: str, *, most: int, deepest: int) -> object:
    """The value of a JSON text of at most `most` characters, nested `deepest` deep; `shown` is
    how sentences begin.

    Raises:
        ToolError: it is no such text; with line and column.
    """
    if len(text) > most:
        raise ToolError(f"{shown}: the text is too long; at most {most >> 10} KB are read.")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ToolError(f"{shown}, {place}: this is not JSON ({_words(error.msg)}).") from None
    except _Unusual as error:
        raise ToolError(_twice(text, shown) or f"{shown}: {error}.") from None
    except RecursionError:
        raise ToolError(f"{shown}: it is nested too deeply.") from None
    except ValueError:  # of Python's int
        raise ToolError(f"{shown}: a number in it is too long.") from None
    check(value, shown, deepest=deepest)
    return value


def check(value: object, shown: str, *, deepest: int, most: int = 0, at: str = "") -> None:
    """Hold a value, which `at` points to, to what JSON has, and to its bounds (`most` values in
    it, if given).

    Raises:
        ToolError: with the JSON pointer of what is wrong.
    """
    count = 0
    level: list[tuple[str, object]] = [(at, value)]
    for _ in range(deepest + 1):
        below: list[tuple[str, object]] = []
        for place, item in level:
            count += 1
            if isinstance(item, dict):
                for key, inner in item.items():
                    if not isinstance(key, str):
                        raise ToolError(f"{shown}: {place or '/'} has a key that is no text.")
                    below.append((f"{place}/{pointed(key)}", inner))
            elif isinstance(item, (list, tuple)):
                below += [(f"{place}/{i}", inner) for i, inner in enumerate(item)]
            elif isinstance(item, float) and not math.isfinite(item):
                raise ToolError(f"{shown}: {place or '/'} is no finite number.")
            elif item is not None and not isinstance(item, (str, int, float)):
                raise ToolError(
                    f"{shown}: {place or '/'} is a {type(item).__name__}, which JSON has not."
                )
        if most and count + len(below) > most:
            raise ToolError(f"{shown}: it is too large; at most {most} values are read.")
        if not below:
            return
        level = below
    raise ToolError(f"{shown}: it is nested too deeply; {deepest} levels are the most.")


def pointed(key: str) -> str:
    """A key as it stands in a JSON pointer, safe to show."""
    return one_line(key.replace("~", "~0").replace("/", "~1"), 64)


def quoted(value: object, limit: int = 60) -> str:
    """A JSON value for a sentence."""
    try:
        return one_line(json.dumps(value, ensure_ascii=False), limit)
    except (TypeError, ValueError, RecursionError):
        return "a value"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _Unusual("a key is given twice")
    return values


def _constant(word: str) -> object:
    raise _Unusual(f"{word} is no number in JSON")


def _twice(text: str, shown: str) -> str:
    """A sentence about the first key that is given twice, empty if there is none. Up to there
    the text is JSON."""
    open_: list[set[str]] = []
    for match in _KEY_OR_BRACE.finditer(text):
        if match[0] == "{":
            open_.append(set())
        elif match[0] == "}":
            if open_:
                open_.pop()
        elif match[2] and open_:
            try:
                key = str(json.loads(match[1], strict=False))
            except ValueError:
                return ""
            if key in open_[-1]:
                start = match.start()
                line = text.count("\n", 0, start) + 1
                column = start - text.rfind("\n", 0, start)
                place = f"line {line}, column {column}"
                return f"{shown}, {place}: the key {quoted(key)} is given twice."
            open_[-1].add(key)
    return ""


def _words(message: str) -> str:
    return message[:1].lower() + message[1:]
