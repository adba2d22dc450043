"""What differs between two texts, line by line, in parts that can be taken one by one."""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Sign = Literal[" ", "-", "+"]
_MOST_PAIRS = 250_000  # of lines that difflib may compare at once: its time grows with them
_ALL_PAIRS = 4_000_000  # and of one text together
_MOST_ROUNDS = 12  # of looking for lines that are there once


@dataclass(frozen=True, slots=True)
class Hunk:
    """One part of a change. `start` to `end` (excluded) are the old lines that it replaces, from
    0; `at` is where it begins in the new text. `lines` has all of it, each with its sign and its
    line break: few unchanged lines between two changes belong to the part."""

    start: int
    end: int
    at: int
    lines: tuple[tuple[Sign, str], ...]

    @property
    def new(self) -> tuple[str, ...]:
        """What comes in the place of the old lines."""
        return tuple(line for sign, line in self.lines if sign != "-")

    @property
    def added(self) -> tuple[str, ...]:
        """The lines that come."""
        return tuple(line for sign, line in self.lines if sign == "+")

    @property
    def removed(self) -> tuple[str, ...]:
        """The lines that go."""
        return tuple(line for sign, line in self.lines if sign == "-")

    @property
    def ends_differ(self) -> bool:
        """Whether the file's last line gets, or loses, its line break."""
        old = next((line for sign, line in reversed(self.lines) if sign != "+"), "\n")
        new = next((line for sign, line in reversed(self.lines) if sign != "-"), "\n")
        return old.endswith("\n") != new.endswith("\n")


def split(text: str) -> list[str]:
    """The lines with their line breaks; only \\n breaks one."""
    return text.splitlines(keepends=True) if text.isascii() and _plain(text) else _split(text)


def _plain(text: str) -> bool:
    return not any(mark in text for mark in "\r\v\f\x1c\x1d\x1e")


def _split(text: str) -> list[str]:
    lines = [line + "\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def hunks(old: str, new: str, context: int = 3) -> list[Hunk]:
    """The parts of the change from `old` to `new`, in order; changes with at most `context`
    unchanged lines between them are one part."""
    before, after = split(old), split(new)
    found: list[tuple[int, int, int, int]] = []
    for change in changes(before, after):
        if found and change[0] - found[-1][1] <= context:
            found[-1] = (found[-1][0], change[1], found[-1][2], change[3])
        else:
            found.append(change)
    return [
        Hunk(start, end, at, tuple(_signed(before[start:end], after[at:stop])))
        for start, end, at, stop in found
    ]


def merge(old: str, parts: Sequence[Hunk], taken: Collection[int]) -> str:
    """`old` with those of its `hunks` whose places in the list are in `taken`."""
    lines = split(old)
    pieces: list[str] = []
    at = 0
    for number, hunk in enumerate(parts):
        if number in taken:
            pieces += lines[at : hunk.start]
            pieces += hunk.new
            at = hunk.end
    return "".join([*pieces, *lines[at:]])


def _signed(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[Sign, str]]:
    at = 0
    for start, end, begin, stop in changes(old, new):
        for line in old[at:start]:
            yield " ", line
        for line in old[start:end]:
            yield "-", line
        for line in new[begin:stop]:
            yield "+", line
        at = end
    for line in old[at:]:
        yield " ", line


def changes(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """(start, end, new start, new end) of each run of lines that differs."""
    ends = (len(old), len(new), 0)
    changes = []
    for before, here in pairwise([(0, 0, 0), *sorted(_matches(old, new)), ends]):
        change = (before[0] + before[2], here[0], before[1] + before[2], here[1])
        if change[0] < change[1] or change[2] < change[3]:
            changes.append(change)
    return changes


def _matches(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """(start, new start, length) of runs that are equal: the common ends, then what lies between
    lines that are in both once. What is left is compared by difflib as far as that is quick."""
    left = _ALL_PAIRS
    todo = [(0, len(old), 0, len(new), 0)]
    while todo:
        a, a_end, b, b_end, rounds = todo.pop()
        size = _common(old, new, a, b, min(a_end - a, b_end - b), 1)
        if size:
            yield a, b, size
            a, b = a + size, b + size
        size = _common(old, new, a_end - 1, b_end - 1, min(a_end - a, b_end - b), -1)
        if size:
            a_end, b_end = a_end - size, b_end - size
            yield a_end, b_end, size
        if a == a_end or b == b_end:
            continue
        pairs = _unique(old[a:a_end], new[b:b_end]) if rounds < _MOST_ROUNDS else []
        if pairs:
            at, to = a, b
            for one, other in pairs:
                yield a + one, b + other, 1
                todo.append((at, a + one, to, b + other, rounds + 1))
                at, to = a + one + 1, b + other + 1
            todo.append((at, a_end, to, b_end, rounds + 1))
            continue
        size = (a_end - a) * (b_end - b)
        if size <= min(_MOST_PAIRS, left):
            left -= size
            matcher = difflib.SequenceMatcher(None, old[a:a_end], new[b:b_end], autojunk=False)
            for one, other, length in matcher.get_matching_blocks():
                if length:
                    yield a + one, b + other, length


def _common(
    old: Sequence[str], new: Sequence[str], a: int, b: int, most: int, step: Literal[1, -1]
) -> int:
    """How many lines from these two on, or back, are equal."""
    return next((n for n in range(most) if old[a + n * step] != new[b + n * step]), most)


def _unique(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Places of lines that are in both once, as many as stand in one order."""
    counts, others = Counter(old), Counter(new)
    places = {line: at for at, line in enumerate(new) if others[line] == 1}
    pairs = [(at, places[line]) for at, line in enumerate(old)
             if counts[line] == 1 and line in places]  # fmt: skip
    # The longest rising run of the second numbers.
    ends: list[int] = []
    last: list[int] = []  # which pair ends a run of that length
    before: list[int] = []
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(ends, place)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [place]
        last[length : length + 1] = [number]
    run: list[tuple[int, int]] = []
    number = last[-1] if last else -1
    while number >= 0:
        run.append(pairs[number])
        number = before[number]
    return run[::-1]
