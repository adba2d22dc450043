"""Lines of a file in a message: how they are written, and found again."""

from __future__ import annotations

import re

from mistral_tui.attach import fenced
from mistral_tui.sanitize import sanitize

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


def in_own_words(block: str, text: str) -> str:
    """A block of an answer, which was made safe, with the file's own lines where they are meant:
    what cannot be shown is written out in the answer, and must not get into the file as that."""
    own = {sanitize(line).strip(): line.strip() for line in text.split("\n")}
    odd = {shown: line for shown, line in own.items() if shown != line}
    if not odd:
        return block
    lines = []
    for line in block.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        bare = line.strip()
        lines.append(indent + odd[bare] if bare in odd else line)
    return "\n".join(lines)
