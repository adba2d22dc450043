"""What of a file a model is asked to fill in: what is far from the hole is cut off, and the cuts
stay where they are while the user types, so that the KV cache stays valid.

A FIM prompt is `<s>[SUFFIX]suffix[PREFIX]prefix`: the suffix comes first, and a cut that moves
makes everything behind it new.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from inference.errors import SettingError

LEAST_WINDOW = 16
_PARTS = 8  # the window is shared out in eighths
_PREFIX_PARTS = 6  # most of them for a prefix, as long as the suffix needs the others
_FREE = 16  # and a sixteenth of it is left free where something is cut off
_MOST_CELLS = 96  # a side: even where hundreds of characters are one token
_CACHED_CELLS = 512
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is asked: its `ids` are `encode(prefix, suffix)`. `left_out` is how many characters
    were cut off the beginning of the prefix and the end of the suffix."""

    ids: list[int]
    prefix: str
    suffix: str
    left_out: tuple[int, int]


def budget(context: int, *, window: int | None = None, max_tokens: int | None = None) -> int:
    """Most tokens of what is asked: the answer has room for `max_tokens`, though not for more
    than half of the context; for a quarter where that is not said.

    Raises:
        SettingError: the window is too small.
    """
    if window is not None and window < LEAST_WINDOW:
        raise SettingError(
            f"The setting window is {window}; it must be {LEAST_WINDOW} tokens or more."
        )
    answer = context // 4 if max_tokens is None else min(max_tokens, context // 2)
    room = max(context - answer, 1)
    return room if window is None else min(window, room)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The last question: both texts, and where they were cut."""

    prefix: str
    suffix: str
    most: int
    begin: int
    end: int

    def goes_on(self, prefix: str, suffix: str, most: int) -> bool:
        """Whether these may be cut at the same places: only what stands behind the cut of the
        prefix was typed or erased, and no file was pasted."""
        at = self.begin + 1
        return (
            most == self.most
            and suffix == self.suffix
            and at <= len(prefix) <= len(self.prefix) + most
            and prefix[:at] == self.prefix[:at]
        )


class Fitter:
    """Cuts prefixes and suffixes so that they fit, and where they were cut before as long as that
    will do: so the cuts depend on what was asked before.

    A cut stands on a coarse grid, counted from the beginning of the text, or at the first line
    border behind it (of a suffix: before it). It is the outermost one with which the rest fits,
    told by the tokens of the grid's cells, which are remembered: a key costs one cell. A prefix
    has 3/4 of the window, and what the suffix does not need; the suffix has what is left, in
    eighths of the window. A sixteenth is left free. So, while the same suffix follows, the cuts
    are others only when that sixteenth is used up, or when others would let the model read more
    than these by a quarter: between two moves lies at least so much that was typed or erased.
    """

    def __init__(self, encode: Callable[[str, str], list[int]]) -> None:
        """`encode` makes the ids of a prompt from a prefix and a suffix."""
        self._encode = encode
        self._count = lru_cache(maxsize=_CACHED_CELLS)(self._tokens)
        self._last: _Asked | None = None

    def fit(self, prefix: str, suffix: str, most: int) -> Fitted:
        """Cut both so that at most `most` tokens are asked.

        Raises:
            RequestError: the tokenizer has no FIM tokens.
        """
        last = self._last
        fitted = self._again(last, prefix, suffix, most) if last else None
        if fitted is None:
            fitted = self._fresh(prefix, suffix, most)
        before, behind = fitted.left_out
        self._last = _Asked(prefix, suffix, most, before, len(suffix) - behind)
        return fitted

    def _again(self, last: _Asked, prefix: str, suffix: str, most: int) -> Fitted | None:
        """Cut where it was cut the last time; None: that will not do."""
        if not last.goes_on(prefix, suffix, most):
            return None
        ids = self._encode(prefix[last.begin :], suffix[: last.end])
        if len(ids) > most:
            return None
        again = _fitted(ids, prefix, suffix, last.begin, last.end)
        worth = len(ids) + 2 * (most // _PARTS)  # so many tokens are worth a move
        if again.left_out == (0, 0) or worth >= most:
            return again
        other = self._fresh(prefix, suffix, most, free=most // _FREE)
        return other if len(other.ids) > worth else again

    def _fresh(self, prefix: str, suffix: str, most: int, *, free: int | None = None) -> Fitted:
        """Cut anew. `free`: so many tokens are left free; None: none if all of it fits, else as
        usual."""
        room = max(most - self._layout - (free or 0), 0)
        while True:
            begin, end = self._cut(prefix, suffix, room, max(most // 4, 1))
            if free is None and (begin > 0 or end < len(suffix)):
                return self._fresh(prefix, suffix, most, free=most // _FREE)
            ids = self._encode(prefix[begin:], suffix[:end])
            if len(ids) <= most or room == 0:
                return _fitted(ids, prefix, suffix, begin, end)
            # A whole can have more tokens than its parts, if rarely.
            room = max(room - max(room // _PARTS, 1), 0)

    @cached_property
    def _layout(self) -> int:
        return len(self._encode("", ""))

    def _tokens(self, cell: str) -> int:
        return len(self._encode(cell, "")) - self._layout

    def _cut(self, prefix: str, suffix: str, room: int, grid: int) -> tuple[int, int]:
        """Where the kept part of the prefix begins, and that of the suffix ends."""
        part = max(room // _PARTS, 1)
        needed = self._total(self._last_cells(prefix, grid), room)
        share = min(-(-needed // part), _PREFIX_PARTS) * part
        end = self._end(suffix, max(room - share, 0), grid)
        taken = self._total(_cells(suffix[:end], grid), room)
        return self._begin(prefix, room - taken, grid), end

    def _total(self, cells: Iterator[str], most: int) -> int:
        """Tokens of the cells, `most` if there are more."""
        total = 0
        for cell in cells:
            total += self._count(cell)
            if total >= most:
                return most
        return total

    def _last_cells(self, text: str, grid: int) -> Iterator[str]:
        """The cells of a text from its end, the incomplete one first."""
        last = (max(len(text) - 1, 0)) // grid
        for number in range(last, max(last - _MOST_CELLS, -1), -1):
            yield text[number * grid : (number + 1) * grid]

    def _begin(self, text: str, room: int, grid: int) -> int:
        """Where the longest end of a text begins that has `room`."""
        while True:
            last = (max(len(text) - 1, 0)) // grid
            kept, number = 0, last + 1
            for cell in self._last_cells(text, grid):
                kept += self._count(cell)
                if kept > room:
                    break
                number -= 1
            if number == 0:
                return 0
            if number <= last:
                return _border_behind(text, number * grid, grid)
            if grid == 1:
                return len(text)
            grid = -(-grid // 2)  # not even one cell fits

    def _end(self, text: str, room: int, grid: int) -> int:
        """Where the longest beginning of a text ends that has `room`."""
        while True:
            kept = at = 0
            for cell in _cells(text, grid):
                kept += self._count(cell)
                if kept > room:
                    break
                at += len(cell)
            if at == len(text):
                return at
            if at > 0:
                return _border_before(text, at, grid)
            if grid == 1:
                return 0
            grid = -(-grid // 2)


def _fitted(ids: list[int], prefix: str, suffix: str, begin: int, end: int) -> Fitted:
    return Fitted(ids, prefix[begin:], suffix[:end], (begin, len(suffix) - end))


def _cells(text: str, grid: int) -> Iterator[str]:
    for start in range(0, min(len(text), _MOST_CELLS * grid), grid):
        yield text[start : start + grid]


def _border_behind(text: str, at: int, grid: int) -> int:
    """The first line border at `at` or in the cell behind it; without one a place between two
    characters. Not the text's end."""
    found = _LINE_END.search(text, at - 1, at + grid)
    if found is not None and _between(text, found.end()) < len(text):
        at = found.end()
    return _between(text, at)


def _border_before(text: str, at: int, grid: int) -> int:
    """The last line border at `at` or in the cell before it; as `_border_behind`. Not in the
    first half: a little of a line tells more than nothing."""
    ends = [found.end() for found in _LINE_END.finditer(text, max(at - grid, at // 2), at)]
    if ends and not _inside(text, ends[-1]):
        return ends[-1]
    return at - 1 if _inside(text, at) else at


def _between(text: str, at: int) -> int:
    return at + 1 if _inside(text, at) else at


def _inside(text: str, at: int) -> bool:
    """Whether a line end or a surrogate pair would be cut in two."""
    before, behind = text[at - 1 : at], text[at : at + 1]
    return (before, behind) == ("\r", "\n") or (
        "\ud800" <= before <= "\udbff" and "\udc00" <= behind <= "\udfff"
    )
