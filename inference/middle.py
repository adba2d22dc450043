"""Where a middle ends although the model goes on: told from the text around it.

Models run on into the suffix, into the next function, into empty lines. What was shown is never
taken back: what may turn out to lie behind the end is held back until that is clear.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from inference.api import Ends
from inference.stopping import StopStrings

_TAB = 8
_TELLING = 4  # so many characters that are no spaces, a letter or digit among them
_MOST_KEY_LINES = 50
_OPENERS, _CLOSERS = "([{", ")]}"
_GOES_ON = frozenset(
    (
        *("else", "elif", "elsif", "elseif", "except", "finally", "rescue", "ensure", "catch"),
        *("case", "default", "when", "then", "do", "end", "endif", "fi", "done", "esac"),
    )
)
_PIECE = re.compile(r"[^\n]*\n|[^\n]+")
_WORD = re.compile(r"\w*")


class MiddleEnds:
    """Ends a middle; `feed`, `flush` and `hit` are those of `StopStrings`.

    - `stop`: before any of these strings; the suffix among them is what the reference's example
      of filling in does.
    - `Ends.suffix`: where the text goes on as the suffix begins, up to the end of its first telling
      line; trailing spaces and the number of empty lines do not matter. This ends at a line
      end (`return sum` is not found in `return summary`), or where the whole suffix ends: then
      anywhere, as with a stop string. A suffix without a telling line, `)` for instance, is found
      at a line end only; and if the suffix begins with a closing bracket and no telling line, only
      where the middle has not opened it, while as a stop string `)` would end the middle at its
      first call. What the model itself ended keeps such a short repetition.
    - `Ends.block`: before a line that is indented less than the cursor's; where that line opened a
      block, also before one at the same column that does not go on with it (`}`, `else`, `end` …).
      An empty line of the cursor counts as indented like the first line that is written.
    - `Ends.blank_lines`, `Ends.lines`: before one more of them.

    Spaces and empty lines before such an end are left out, unless it is mid-line or a stop string.
    """

    def __init__(self, ends: Ends, prefix: str, suffix: str, stop: Sequence[str] = ()) -> None:
        key = _Key.of(suffix) if ends.suffix else None
        whole = (suffix,) if key and key.telling and key.whole else ()
        self._stop = StopStrings((*stop, *whole))
        self._repeat = _Repeat(key) if key else None
        cursor = prefix.rpartition("\n")[2]
        self._block = _Block(cursor) if ends.block else None
        self._ends = ends
        self._text = ""  # of the whole middle
        self._shown = 0  # so much of it
        self._line = 0  # where its last line begins
        self._solid = 0  # behind the last character before that line that is no space
        self._breaks = 0
        self._empty = 0  # lines one after another
        self._on_empty = not cursor.strip()
        self.hit = False

    def feed(self, text: str) -> str:
        """More text; returns what may be shown."""
        if self.hit:
            return ""
        end = self._read(self._stop.feed(text))
        self.hit = end is not None or self._stop.hit
        if end is None:
            end = self._rest() if self.hit else self._certain()
        return self._show(end)

    def flush(self) -> str:
        """No more text comes; returns what was held back."""
        if self.hit:
            return ""
        end = self._read(self._stop.flush())
        return self._show(self._rest() if end is None else end)

    def _show(self, end: int) -> str:
        start, self._shown = self._shown, max(self._shown, end)
        return self._text[start : self._shown]

    def _read(self, text: str) -> int | None:
        """Take in new text; where the middle ends, once that is known."""
        for piece in _PIECE.findall(text):
            self._text += piece
            ended = piece.endswith("\n")
            line = self._text[self._line :].rstrip("\r\n") if ended else self._text[self._line :]
            if self._block and self._block.goes_on(line, self._breaks, ended) is False:
                return self._solid
            if ended and (end := self._line_end(line)) is not None:
                return end
        return None

    def _line_end(self, line: str) -> int | None:
        before = self._solid
        if line.strip():
            self._solid = self._line + len(line.rstrip())
        if self._repeat:
            found = self._repeat.line(self._text, self._line, line, self._solid)
            if found is not None:
                return found
        if line.strip() or not (self._breaks or self._on_empty):
            self._empty = 0
        else:
            self._empty += 1
            if self._ends.blank_lines is not None and self._empty > self._ends.blank_lines:
                return before
        self._breaks += 1
        if self._ends.lines is not None and self._breaks > self._ends.lines:
            return self._solid
        self._line = len(self._text)
        return None

    def _certain(self) -> int:
        """How much of the text lies before any end that may come."""
        if self._ends == Ends():
            return len(self._text)
        line = self._text[self._line :]
        certain = self._line + len(line.rstrip()) if line.strip() else self._solid
        if self._block and self._block.goes_on(line, self._breaks, False) is None:
            certain = self._solid
        if self._repeat:
            certain = min(certain, self._repeat.begun(self._line, line))
        return certain

    def _rest(self) -> int:
        """Where all that came ends."""
        if self._repeat and self._repeat.telling:
            line = self._text[self._line :]
            solid = self._line + len(line.rstrip())
            found = self._repeat.line(self._text, self._line, line, solid)
            if found is not None:
                return found
        return len(self._text)


@dataclass(frozen=True, slots=True)
class _Key:
    """By what the suffix is known: its first lines that are not empty, without trailing spaces.

    `inside`: the first one is the rest of the cursor's line. `telling`: the last one is telling.
    `whole`: it ends with the suffix.
    """

    lines: tuple[str, ...]
    inside: bool
    telling: bool
    whole: bool

    @classmethod
    def of(cls, suffix: str) -> _Key | None:
        """None: there are only spaces."""
        parts = suffix.split("\n", _MOST_KEY_LINES)
        inside = bool(parts[0].strip())
        lines: list[str] = []
        for number, part in enumerate(parts):
            line = part.rstrip()
            if line.strip():
                lines.append(line)
            telling = _is_telling(line)
            closes = inside and number == 0 and line.lstrip()[:1] in _CLOSERS
            if telling or closes:
                return cls(tuple(lines), inside, telling, number == len(parts) - 1)
        return cls(tuple(lines), inside, False, True) if lines else None


class _Repeat:
    """Finds the key of the suffix in the middle."""

    def __init__(self, key: _Key) -> None:
        self._key = key
        self.telling = key.telling
        self._closes = not key.telling and key.lines[0].lstrip()[0] in _CLOSERS
        self._begun: list[tuple[int, int]] = []  # (where, lines of the key that were found there)

    def line(self, text: str, start: int, line: str, solid: int) -> int | None:
        """A line ended; where the key begins, if all of it was found.

        Args:
            text: the middle so far.
            start: where `line` begins in it.
            solid: behind its last character that is no space.
        """
        lines = self._key.lines
        line = line.rstrip()
        if line:
            begun = [(at, n + 1) for at, n in self._begun if lines[n] == line]
            at = len(line) - len(lines[0])
            if self._key.inside and line.endswith(lines[0]) and not _splits_word(line, at):
                begun.append((start + at, 1))
            for at, found in begun:
                if found == len(lines) and not (self._closes and _is_open(text[:at])):
                    return at
            self._begun = [(at, found) for at, found in begun if found < len(lines)]
        if not self._key.inside and (solid, 0) not in self._begun:
            self._begun.append((solid, 0))
        return None

    def begun(self, start: int, line: str) -> int:
        """Where the key may have begun, given the line that is still open; else its end."""
        lines = self._key.lines
        solid = line.rstrip()
        for at, found in self._begun:
            if lines[found].startswith(line) or lines[found] == solid or not solid:
                return at
        if self._key.inside:
            if solid.endswith(lines[0]):
                return start + len(solid) - len(lines[0])
            for n in range(min(len(lines[0]), len(line)), 0, -1):
                if line.endswith(lines[0][:n]):
                    return start + len(line) - n
        return start + len(line)


class _Block:
    """Tells by indentation whether a line still belongs to where the middle began.

    Args:
        cursor: the cursor's line, up to the cursor.
    """

    def __init__(self, cursor: str) -> None:
        self._base = _indentation(cursor) if cursor else None
        self._may_open = bool(cursor.strip())
        self._opened: bool | None = None  # by the cursor's line; None: not known yet

    def goes_on(self, line: str, number: int, ended: bool) -> bool | None:
        """Whether line `number` of the middle, as far as it came, belongs to it; None: that
        depends on how the line goes on."""
        text = line.lstrip()
        if not text:
            return True
        column = _indentation(line)
        if self._base is None:
            self._base = column
        if number == 0:
            return True
        if column < self._base:
            return False
        if not self._may_open:
            return True
        if self._opened is None and not (column == self._base and text.startswith("{")):
            self._opened = column > self._base
            return True
        return not self._opened or column > self._base or _continues(text, ended)


def _continues(text: str, ended: bool) -> bool | None:
    """Whether a line at the column of a block's opener goes on with it; None: not clear yet."""
    if text[0] in _CLOSERS:
        return True
    match = _WORD.match(text)
    word = match[0] if match else ""
    if ended or len(word) < len(text):
        return word in _GOES_ON
    return None if any(known.startswith(word) for known in _GOES_ON) else False


def _indentation(line: str) -> int:
    """The column of the first character that is no space; tabs go to the next multiple of 8."""
    column = 0
    for char in line:
        if char == "\t":
            column += _TAB - column % _TAB
        elif char.isspace():
            column += 1
        else:
            break
    return column


def _is_telling(line: str) -> bool:
    dense = "".join(line.split())
    return len(dense) >= _TELLING and any(map(str.isalnum, dense))


def _splits_word(line: str, at: int) -> bool:
    return at > 0 and all(_WORD.fullmatch(char) for char in line[at - 1 : at + 1])


def _is_open(text: str) -> bool:
    """Whether a bracket is open at the end of a text."""
    depth = 0
    for char in text:
        if char in _OPENERS:
            depth += 1
        elif char in _CLOSERS and depth:
            depth -= 1
    return depth > 0
