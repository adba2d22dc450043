"""Line ends: told apart when a file is read, and put back when it is written.

Text has "\\n" between its lines. What other languages count as line ends (form feeds, U+0085,
U+2028) is text.
"""

from __future__ import annotations

import re
from collections import Counter
from difflib import SequenceMatcher
from itertools import chain, zip_longest

LineEnds = str | tuple[str, ...]
"""The end of every line, where they are all the same; else of each, in order."""

_END = re.compile(r"\r\n|\r|\n")
_MOST_COMPARED = 400
"""Lines of the changed part, above which it is not compared line by line."""


def split(raw: str) -> tuple[str, LineEnds]:
    """The text with "\\n" only, and the ends that it had."""
    if "\r" not in raw:
        return raw, "\n"
    ends = _END.findall(raw)
    text = raw.replace("\r\n", "\n").replace("\r", "\n")
    return text, ends[0] if len(set(ends)) == 1 else tuple(ends)


def joined(text: str, ends: LineEnds) -> str:
    """`split` undone. A "\\r" within the text stays."""
    if isinstance(ends, str):
        return text if ends == "\n" else text.replace("\n", ends)
    lines = text.split("\n")
    return "".join(chain.from_iterable(zip_longest(lines, ends, fillvalue="")))


def carried(old: str, ends: LineEnds, new: str) -> LineEnds:
    """The ends for a new text: unchanged lines keep theirs, other lines get the usual one."""
    if isinstance(ends, str):
        return ends
    before, after = old.split("\n"), new.split("\n")
    usual = Counter(ends).most_common(1)[0][0]
    result = [usual] * len(after)
    for was, now, count in _same(before, after):
        known = ends[was : was + count]  # the last line has none
        result[now : now + len(known)] = known
    del result[len(after) - 1 :]
    for line in range(len(result) - 2, -1, -1):
        if result[line] == "\r" and result[line + 1] == "\n" and not after[line + 1]:
            result[line] = "\n"  # not one end of two characters
    return usual if all(end == usual for end in result) else tuple(result)


def _same(before: list[str], after: list[str]) -> list[tuple[int, int, int]]:
    """(first line before, first line after, how many) of what is as it was."""
    most = min(len(before), len(after))
    head = 0
    while head < most and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < most - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    result = [(0, 0, head), (len(before) - tail, len(after) - tail, tail)]
    middle = before[head : len(before) - tail], after[head : len(after) - tail]
    if len(middle[0]) == len(middle[1]):  # edited within its lines
        result.append((head, head, len(middle[0])))
    elif max(map(len, middle)) <= _MOST_COMPARED:
        matcher = SequenceMatcher(None, *middle, autojunk=False)
        result += [(head + was, head + now, n) for was, now, n in matcher.get_matching_blocks()]
    return result
