"""The messages of a view on top of each other: which lies at which line."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from mistral_tui.widgets.entry import Entry

KEEP_LAID_OUT = 150
"""Finished messages further than this from the view forget their lines."""


class Anchor(NamedTuple):
    """A line of a message, and the height the message had then."""

    entry: Entry
    line: int
    height: int


class Stack:
    """Messages by key, in order; `measure` brings `tops` up to date with their heights."""

    def __init__(self) -> None:
        self.by_key: dict[str, Entry] = {}
        self.entries: list[Entry] = []
        self.tops: list[int] = [0]
        """First line of each message, and at the end the height of them all."""

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def height(self) -> int:
        """Lines of all messages."""
        return self.tops[-1]

    def add(self, entry: Entry) -> None:
        """Puts a message at the end."""
        if entry.key in self.by_key:
            raise ValueError(f"There is already a message {entry.key!r} in the transcript.")
        self.by_key[entry.key] = entry
        self.entries.append(entry)

    def discard(self, key: str) -> None:
        """Takes a message out."""
        self.entries.remove(self.by_key.pop(key))

    def measure(self) -> None:
        """Adds up the heights."""
        self.tops = [0, *accumulate(entry.height for entry in self.entries)]

    def at(self, line: int) -> tuple[int, int]:
        """(index of the message, line in it) at a line of the view."""
        index = max(0, min(bisect_right(self.tops, line) - 1, len(self.entries) - 1))
        return index, line - self.tops[index]

    def anchor(self, line: int) -> Anchor | None:
        """What is now at a line of the view."""
        if not self.entries or len(self.tops) != len(self.entries) + 1:
            return None
        index, inner = self.at(line)
        return Anchor(self.entries[index], inner, self.tops[index + 1] - self.tops[index])

    def locate(self, anchor: Anchor) -> int | None:
        """Where the anchored line is now; None if its message is gone."""
        entry, line, height = anchor
        if self.by_key.get(entry.key) is not entry:
            return None
        if entry.height != height:
            line = min(line, entry.height - 1)
        return self.tops[self.entries.index(entry)] + line

    def near(self, first: int, last: int) -> list[Entry]:
        """The messages between two lines; finished ones far away forget their lines."""
        start, stop = self.at(first)[0], self.at(last)[0] + 1
        for index, entry in enumerate(self.entries):
            far = index < start - KEEP_LAID_OUT or index > stop + KEEP_LAID_OUT
            if far and entry.laid_out and not entry.open:
                entry.release()
        return self.entries[start:stop]
