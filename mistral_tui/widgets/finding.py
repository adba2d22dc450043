"""Finding text in the transcript: which messages have it, and where it is drawn."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mistral_tui.widgets.entry import Entry
from mistral_tui.widgets.palette import Palette

Span = tuple[int, int]


def pattern(query: str) -> re.Pattern[str] | None:
    """What finds a query: its words as they stand, whatever space is between them. Capital
    letters in it count only if there are any. None for nothing."""
    words = query.split()
    if not words:
        return None
    flags = 0 if query != query.lower() else re.IGNORECASE
    return re.compile(r"\s+".join(map(re.escape, words)), flags)


@dataclass(frozen=True, slots=True)
class Hit:
    """The `number`th place of a message that has what is looked for."""

    key: str
    number: int


class Search:
    """One query, its hits in the order of the conversation, and the one that is current.

    Hits are counted in the text as it came, and marked in the lines as they are drawn; where
    markup stands within what is looked for, only one of the two has it.
    """

    def __init__(self, query: str) -> None:
        self.query = query
        self._pattern = pattern(query)
        self.hits: list[Hit] = []
        self.at = -1
        """The current one of the hits; -1: none."""
        self._drawn: dict[str, tuple[int, list[list[tuple[int, Span]]]]] = {}

    @property
    def current(self) -> Hit | None:
        """The hit that the user is at."""
        return self.hits[self.at] if 0 <= self.at < len(self.hits) else None

    def look(self, entries: Iterable[Entry]) -> None:
        """Finds all hits anew, and stays at the current one."""
        here = self.current
        self.hits = [
            Hit(entry.key, number) for entry in entries for number in range(self._count(entry))
        ]
        if here is not None:
            self.at = self.hits.index(here) if here in self.hits else -1

    def _count(self, entry: Entry) -> int:
        if self._pattern is None or entry.role not in ("user", "assistant", "call"):
            return 0
        count = sum(1 for _ in self._pattern.finditer(entry.text))
        if not entry.thinking.folded:
            count += sum(1 for _ in self._pattern.finditer(entry.thinking.text))
        return count

    def step(self, keys: list[str], from_key: str, step: int) -> Hit | None:
        """The next hit (1) or the one before (-1), round and round; the first one is that at or
        after (before) the message `from_key`."""
        if not self.hits:
            self.at = -1
        elif self.current is not None:
            self.at = (self.at + step) % len(self.hits)
        else:
            place = {key: index for index, key in enumerate(keys)}
            begin = place.get(from_key, 0)
            order = [place.get(hit.key, 0) for hit in self.hits]
            if step > 0:
                self.at = next((n for n, at in enumerate(order) if at >= begin), 0)
            else:
                last = (n for n, at in enumerate(order) if at <= begin)
                self.at = max(last, default=len(self.hits) - 1)
        return self.current

    def drawn(self, entry: Entry, margin: int, palette: Palette) -> list[list[tuple[int, Span]]]:
        """Each hit of a message that is laid out, as (line of the message, characters) pieces:
        one that goes on in the next line has two."""
        known = self._drawn.get(entry.key)
        if known is not None and known[0] == entry.version:
            return known[1]
        found = self._find(entry, margin, palette)
        self._drawn[entry.key] = (entry.version, found)
        return found

    def _find(self, entry: Entry, margin: int, palette: Palette) -> list[list[tuple[int, Span]]]:
        if self._pattern is None or entry.role not in ("user", "assistant", "call"):
            return []
        flow: list[str] = []
        places: list[tuple[int, int]] = []  # of each character: line, and where in it; -1: between
        for number in entry.text_lines:
            for at, text in entry.content(number, margin, palette):
                flow.append(text)
                places += [(number, at + offset) for offset in range(len(text))]
            flow.append("\n")
            places.append((number, -1))
        found: list[list[tuple[int, Span]]] = []
        for match in self._pattern.finditer("".join(flow)):
            pieces: dict[int, Span] = {}
            for line, at in places[match.start() : match.end()]:
                if at >= 0:
                    begin, _ = pieces.get(line, (at, at))
                    pieces[line] = (begin, at + 1)
            found.append(list(pieces.items()))
        return found

    def on_line(
        self, entry: Entry, number: int, margin: int, palette: Palette
    ) -> list[tuple[Span, bool]]:
        """What to mark in a line of a message: the characters, and whether it is the current
        hit."""
        drawn = self.drawn(entry, margin, palette)
        here = self.current
        mine = -1
        if here is not None and here.key == entry.key and drawn:
            mine = min(here.number, len(drawn) - 1)
        return [
            (span, index == mine)
            for index, pieces in enumerate(drawn)
            for line, span in pieces
            if line == number
        ]

    def line_of(self, entry: Entry, margin: int, palette: Palette) -> int:
        """The line of a message where its current hit is drawn."""
        here = self.current
        drawn = self.drawn(entry, margin, palette)
        if here is None or not drawn:
            return 0
        return drawn[min(here.number, len(drawn) - 1)][0][0]
