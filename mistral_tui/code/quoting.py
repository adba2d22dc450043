"""Lines of a file in a message: how they are written, and found again."""

from __future__ import annotations

import re

from mistral_tui.attach import fenced

_QUOTED = re.compile(r"^(``?)([^\n]+?)\1, lines? (\d+)(?:–(\d+))?:\n\n```", re.MULTILINE)


def quoted(shown: str, lines: tuple[int, int], text: str) -> str:
    """The lines with the file's name before them, as they are sent."""
    tick = "``" if "`" in shown else "`"
    return f"{tick}{shown}{tick}, {said(lines)}:\n\n{fenced(shown, text)}\n"


def said(lines: tuple[int, int]) -> str:
    """`line 3`, `lines 3–9`."""
    first, last = lines
    return f"line {first}" if first == last else f"lines {first}–{last}"


def lines_of(message: str, shown: str) -> tuple[int, int] | None:
    """The lines of a file that a message quoted last, from 1."""
    found = None
    for match in _QUOTED.finditer(message):
        if match[2] == shown:
            found = int(match[3]), int(match[4] or match[3])
    return found
