"""What an editor of code works out from text alone: places, indentation, brackets."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from textual.document._document import Location

from mistral_tui.widgets.code.document import CodeDocument

MOST_HITS = 10_000
"""Places that a search counts."""
_WINDOW = 64 << 10  # characters that are searched at once, going back
_PAIRS = dict(zip("([{)]}", ")]}([{", strict=True))
_BRACKETS = re.compile(r"[()\[\]{}]")
_FAR_LINES, _FAR_CHARS = 2_000, 20_000  # in which the partner of a bracket is looked for
_LEAD = re.compile(r"[ \t]*")


class Hit(NamedTuple):
    """A place that was found, by offsets; which of how many it is, 0 where that is not counted."""

    start: int
    end: int
    number: int
    total: int


def difference(old: Sequence[str], new: Sequence[str]) -> tuple[Location, Location, str]:
    """The one edit that makes `old` lines the `new` ones: from, to, and what comes there."""
    most = min(len(old), len(new))
    same = next((at for at in range(most) if old[at] != new[at]), most)
    left = most - same
    tail = next((at for at in range(left) if old[-1 - at] != new[-1 - at]), left)
    text = "\n".join(new[same : len(new) - tail])
    if same + tail == len(old) == len(new):
        return (0, 0), (0, 0), ""
    if tail:  # whole lines, with their breaks
        more = "\n" if same + tail < len(new) else ""
        return (same, 0), (len(old) - tail, 0), text + more
    end = (len(old) - 1, len(old[-1]))
    if same == len(old) or same == len(new):
        return (same - 1, len(old[same - 1])), end, "\n" + text if same < len(new) else ""
    return (same, 0), end, text


def around(document: CodeDocument, cursor: Location, chars: int) -> tuple[str, str]:
    """At most `chars` characters before the cursor and behind it. The first part begins at a
    line's start next to one of some fixed offsets, so that it does not move with each key."""
    here = document.offset(cursor)
    start = (0, 0)
    if here > chars:
        grid = max(1, chars // 4)
        start = document.location(-(-(here - chars) // grid) * grid)
        if start[1] and start[0] < cursor[0]:
            start = (start[0] + 1, 0)
    end = document.location(here + chars)
    return document.get_text_range(start, cursor), document.get_text_range(cursor, end)


def find(text: str, wanted: str, begin: int, forward: bool) -> Hit | None:
    """The next place from `begin` on, or the last one that starts before it; around the ends.
    Capitals count if there are any in `wanted`."""
    if not wanted:
        return None
    pattern = re.compile(re.escape(wanted), re.IGNORECASE if wanted == wanted.lower() else 0)
    hits = [match.span() for match in islice(pattern.finditer(text), MOST_HITS)]
    if not hits:
        return None
    total = len(hits)
    at = bisect_left(hits, (begin, -1))
    if total < MOST_HITS or (at < total and (forward or at)):
        at = at if forward else at - 1
        return Hit(*hits[at % total], at % total + 1, total)
    # Beyond what was counted.
    if forward:
        match = pattern.search(text, begin)
        return Hit(*match.span(), 0, total) if match else Hit(*hits[0], 1, total)
    last = begin if at else len(text)
    for stop in range(last, 0, -_WINDOW):
        part = pattern.finditer(text, max(0, stop - _WINDOW), stop + len(wanted))
        before = [match.span() for match in part if match.start() < last]
        if before:
            return Hit(*before[-1], 0, total)
    return Hit(*hits[-1], total, total)


def partner(lines: Sequence[str], bracket: str, place: Location) -> Location | None:
    """Where the bracket at a place is closed or opened; None if it is not, or far away."""
    if bracket not in _PAIRS:
        return None
    row, column = place
    forward = bracket in "([{"
    open_: list[str] = []
    seen = 0
    last = row + _FAR_LINES if forward else row - _FAR_LINES
    for at in range(row, min(len(lines), last) if forward else max(-1, last), 1 if forward else -1):
        line = lines[at]
        start, stop = (column if forward else 0), (len(line) if forward else column + 1)
        if at != row:
            start, stop = 0, len(line)
        start, stop = (
            (start, min(stop, start + _FAR_CHARS))
            if forward
            else (max(start, stop - _FAR_CHARS), stop)
        )
        found = [(match.start(), match[0]) for match in _BRACKETS.finditer(line, start, stop)]
        for where, char in found if forward else reversed(found):
            if (char in "([{") == forward:
                open_.append(char)
            elif open_ and open_[-1] == _PAIRS[char]:
                open_.pop()
                if not open_:
                    return at, where
        seen += stop - start
        if seen > _FAR_CHARS:
            return None
    return None


def next_indent(before: str, indent: str, language: str) -> str:
    """The indentation of a line that begins behind `before`."""
    lead = _LEAD.match(before)
    own = lead[0] if lead else ""
    code = before.strip()
    opens = code.endswith(("(", "[", "{")) or (
        language in ("python", "yaml") and code.endswith(":") and not code.startswith("#")
    )
    return own + indent if opens else own


def suggested_indent(suggestion: str, own: str) -> str:
    """The indentation that a suggestion has after the line break it begins with; else `own`."""
    lead = _LEAD.match(suggestion, 1)
    if suggestion.startswith("\n") and lead and lead.end() < len(suggestion):
        return lead[0]
    return own


def indented(line: str, indent: str, by: int, tab: int) -> str:
    """A line one level further in (1) or out (-1)."""
    if by > 0:
        return indent + line if line.strip() else line
    if line.startswith("\t"):
        return line[1:]
    most = tab if indent == "\t" else len(indent)
    return line[min(most, len(line) - len(line.lstrip(" "))) :]
