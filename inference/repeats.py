"""Where a middle begins to repeat what stands behind the cursor."""

from __future__ import annotations

import re
from dataclasses import dataclass

from inference.blocks import is_open

_TELLING = 4  # so many characters that are no spaces, a letter or digit among them
_ENOUGH = 4  # frequent lines, one behind the other, tell as much as one that is not
_MOST_LINES = 50
_AROUND = 16_384  # characters on either side in which a line may be frequent
_FREQUENT = re.compile(r"\W*(?:break|continue|pass)\W*|@[\w.]+(?:\(\))?|#!?\[.*\]|\[\w+\]")
_BRANCH = re.compile(r"\W*(?:else|finally)\W*")
_WORD_CHAR = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Key:
    """By what the suffix is known: its first lines that are not empty, without trailing spaces,
    up to the first telling one.

    A line is telling if it says something and stands only once around the cursor: before a
    decorator or `break;` a new sibling may begin with the very same line. `inside`: the first one
    is the rest of the cursor's line. `telling`: the last one is telling. `whole`: it ends with the
    suffix.
    """

    lines: tuple[str, ...]
    inside: bool
    telling: bool
    whole: bool

    @classmethod
    def of(cls, prefix: str, suffix: str) -> Key | None:
        """None: there are only spaces."""
        parts = suffix.split("\n", _MOST_LINES)[:_MOST_LINES]
        inside = bool(parts[0].strip())
        around = [
            line.strip()
            for text in (prefix[-_AROUND:], suffix[:_AROUND])
            for line in text.split("\n")
        ]
        lines: list[str] = []
        said = 0
        for number, part in enumerate(parts):
            line = part.rstrip()
            if not line.strip():
                continue
            lines.append(line)
            said += _says_something(line)
            telling = said == _ENOUGH or _is_telling(line, around, part_only=not number)
            closes = inside and number == 0 and line.lstrip()[0] in ")]}"
            if telling or closes:
                return cls(tuple(lines), inside, telling, number == suffix.count("\n"))
        return cls(tuple(lines), inside, False, False) if lines else None


class Repeat:
    """Finds the key of the suffix in the middle."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._begun: list[tuple[int, int]] = []  # (where, lines of the key that were found there)

    def end_line(self, text: str, start: int, line: str, solid: int) -> int | None:
        """A line ended; where the key begins, if all of it was found.

        Args:
            text: the middle so far.
            start: where `line` begins in it.
            solid: behind its last character that is no space.
        """
        lines = self._key.lines
        begun = self._after(start, line)
        for at, found in begun:
            if found == len(lines) and (self._key.telling or not is_open(text[:at])):
                return at
        self._begun = [(at, found) for at, found in begun if found < len(lines)]
        if not self._key.inside and (solid, 0) not in self._begun:
            self._begun.append((solid, 0))
        return None

    def at_end(self, start: int, line: str) -> int | None:
        """Where the key begins of which the middle ends with some lines that say something.

        Args:
            start: where the last line begins.
            line: what there is of it.
        """
        first = int(self._key.inside)  # many lines end as another one
        repeated = (
            at
            for at, found in self._after(start, line)
            if any(map(_says_something, self._key.lines[first:found]))
        )
        return min(repeated, default=None)

    def begun(self, start: int, line: str) -> int:
        """Where the key may have begun, given the line that is still open; else its end."""
        lines = self._key.lines
        solid = line.rstrip()
        places = [start + len(line)]
        for at, found in self._begun:
            if lines[found].startswith(line) or lines[found] == solid or not solid:
                places.append(at)
        if self._key.inside:
            if solid.endswith(lines[0]):
                places.append(start + len(solid) - len(lines[0]))
            for n in range(min(len(lines[0]), len(line)), 0, -1):
                if line.endswith(lines[0][:n]):
                    places.append(start + len(line) - n)
                    break
        return min(places)

    def _after(self, start: int, line: str) -> list[tuple[int, int]]:
        """What is begun when a line has ended."""
        lines = self._key.lines
        line = line.rstrip()
        if not line:
            return self._begun
        begun = [(at, n + 1) for at, n in self._begun if lines[n] == line]
        at = len(line) - len(lines[0])
        if self._key.inside and line.endswith(lines[0]) and not _splits_word(line, at):
            begun.append((start + at, 1))
        return begun


def _says_something(line: str) -> bool:
    """Whether a line is more than a bracket."""
    dense = "".join(line.split())
    return len(dense) >= _TELLING and any(map(str.isalnum, dense))


def _is_telling(line: str, around: list[str], *, part_only: bool) -> bool:
    """Whether a line (with `part_only` the end of one) says something that is said once."""
    text = line.strip()
    if not _says_something(text) or _FREQUENT.fullmatch(text):
        return False
    if _BRANCH.fullmatch(text):  # there is one at most
        return True
    times = sum(other.endswith(text) if part_only else other == text for other in around)
    return times < 2  # it is itself among them


def _splits_word(line: str, at: int) -> bool:
    return at > 0 and all(map(_WORD_CHAR.match, line[at - 1 : at + 1]))
