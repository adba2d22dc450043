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

_LEAST_WINDOW = 16
_PARTS = 8  # the window is shared out in eighths
_PREFIX_PARTS = 6  # most of them for a prefix, as long as the suffix needs the others
_MOST_CELLS = 48  # a side: even where hundreds of characters are one token
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
    if window is not None and window < _LEAST_WINDOW:
        raise SettingError(
            f"The setting window is {window}; it must be {_LEAST_WINDOW} tokens or more."
        )
    answer = context // 4 if max_tokens is None else min(max_tokens, context // 2)
    room = max(context - answer, 1)
    return room if window is None else min(window, room)


class Fitter:
    """Cuts prefixes and suffixes so that they fit.

    A cut stands on a coarse grid, counted from the beginning of the text, or at the first line
    border behind it (of a suffix: before it). It is the outermost one with which the rest fits,
    told by the tokens of the grid's cells, which are remembered: a key costs one cell. A prefix
    has 3/4 of the window, and what the suffix does not need; the suffix has what is left, in
    eighths of the window, so that it is cut elsewhere only after hundreds of keys.
    """

    def __init__(self, encode: Callable[[str, str], list[int]]) -> None:
        """`encode` makes the ids of a prompt from a prefix and a suffix."""
        self._encode = encode
        self._count = lru_cache(maxsize=_CACHED_CELLS)(self._tokens)

    def fit(self, prefix: str, suffix: str, most: int) -> Fitted:
        """Cut both so that at most `most` tokens are asked.

        Raises:
            RequestError: the tokenizer has no FIM tokens.
        """
        room = max(most - self._layout, 0)
        while True:
            kept_prefix, kept_suffix = self._cut(prefix, suffix, room, max(most // 2, 1))
            ids = self._encode(kept_prefix, kept_suffix)
            if len(ids) <= most or room == 0:
                break
            # A whole can have more tokens than its parts, if rarely.
            room = max(room - max(room // _PARTS, 1), 0)
        left_out = (len(prefix) - len(kept_prefix), len(suffix) - len(kept_suffix))
        return Fitted(ids, kept_prefix, kept_suffix, left_out)

    @cached_property
    def _layout(self) -> int:
        return len(self._encode("", ""))

    def _tokens(self, cell: str) -> int:
        return len(self._encode(cell, "")) - self._layout

    def _cut(self, prefix: str, suffix: str, room: int, grid: int) -> tuple[str, str]:
        part = max(room // _PARTS, 1)
        needed = self._total(self._last_cells(prefix, grid), room)
        share = min(-(-needed // part), _PREFIX_PARTS) * part
        suffix = suffix[: self._end(suffix, max(room - share, 0), grid)]
        taken = self._total(_cells(suffix, grid), room)
        return prefix[self._begin(prefix, room - taken, grid) :], suffix

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
    """The last line border at `at` or in the cell before it; as `_border_behind`."""
    ends = [found.end() for found in _LINE_END.finditer(text, at - grid, at)]
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
