"""Where a middle ends although the model goes on: told from the text around it.

Models run on into the suffix, into the next function, into empty lines. What was shown is never
taken back: what may turn out to lie behind the end is held back until that is clear.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from inference.api import Ends
from inference.blocks import Block
from inference.repeats import Key, Repeat
from inference.stopping import StopStrings

_PATIENCE = 8  # empty lines that are waited for a repetition when the end is known
_PIECE = re.compile(r"[^\n]*\n|[^\n]+")


class MiddleEnds:
    """Ends a middle; `feed`, `flush` and `hit` are those of `StopStrings`. Of several ends the
    first one counts.

    - `stop`: before any of these strings; the suffix among them is what the reference's example
      of filling in does.
    - `Ends.suffix`: where the text goes on as the suffix begins, up to the end of its first telling
      line (`Key`); trailing spaces and the number of empty lines do not matter. This ends at a line
      end (`return sum` is not found in `return summary`), or where the whole suffix ends: then
      anywhere, as with a stop string. A suffix without a telling line, `)` or `;` for instance, is
      found at a line end only, and only where no bracket of the middle is open, while as a stop
      string `)` would end the middle at its first call. Where the middle ends for another reason,
      by the model's own decision too, and its last lines are the first ones of the suffix, these
      are left out, unless they are brackets only.
    - `Ends.block`: before a line that does not belong to the cursor's block (`Block`).
    - `Ends.blank_lines`, `Ends.lines`: before one more of them.

    Spaces and empty lines before such an end are left out, unless it is mid-line or a stop string.
    """

    def __init__(self, ends: Ends, prefix: str, suffix: str, stop: Sequence[str] = ()) -> None:
        key = Key.of(prefix, suffix) if ends.suffix else None
        whole = (suffix,) if key and key.telling and key.whole else ()
        self._stop = StopStrings((*stop, *whole))
        self._repeat = Repeat(key) if key else None
        self._block = Block(prefix) if ends.block else None
        self._ends = ends
        self._text = ""  # of the whole middle
        self._shown = 0  # so much of it
        self._line = 0  # where its last line begins
        self._solid = 0  # behind the last character before that line that is no space
        self._undecided: int | None = None  # here the block ends if the next line is not of it
        self._end: int | None = None  # the first end so far; an earlier one may be found yet
        self._breaks = 0
        self._empty = 0  # lines one after another
        self._on_empty = not prefix.rpartition("\n")[2].strip()
        self._cut = False
        self.hit = False

    def cut(self) -> None:
        """The model has not ended the middle by itself: what is held back is not shown."""
        self._cut = True

    def feed(self, text: str) -> str:
        """More text; returns what may be shown."""
        if self.hit:
            return ""
        self._read(self._stop.feed(text))
        certain = self._certain()
        self.hit = self._stop.hit or certain == self._end
        return self._show(self._rest() if self._stop.hit else certain)

    def flush(self) -> str:
        """No more text comes; returns what was held back."""
        if self.hit:
            return ""
        if self._cut:
            return self._show(self._certain())
        self._read(self._stop.flush())
        self.hit = self._stop.hit
        return self._show(self._rest())

    def _show(self, end: int) -> str:
        start, self._shown = self._shown, max(self._shown, end)
        return self._text[start : self._shown]

    def _read(self, text: str) -> None:
        for piece in _PIECE.findall(text):
            self._text += piece
            line = self._text[self._line :].rstrip("\r\n")
            if piece.endswith("\n"):
                self._end_line(line)
            elif self._block and self._block.goes_on(line) is False:
                self._end_block()
            if self._end is not None and self._certain() == self._end:
                return

    def _end_line(self, line: str) -> None:
        if self._block:
            goes_on = self._block.end_line(line)
            if goes_on is False:
                self._end_block()
            elif goes_on:
                self._undecided = None
            elif self._undecided is None:
                self._undecided = self._solid
        before = self._solid
        if line.strip():
            self._solid = self._line + len(line.rstrip())
        if self._repeat:
            found = self._repeat.end_line(self._text, self._line, line, self._solid)
            if found is not None:
                self._end_at(found)
            elif self._end is not None:
                self._end_at(self._end, final=True)
        self._line = len(self._text)
        self._breaks += 1
        if line.strip() or (self._breaks == 1 and not self._on_empty):
            self._empty = 0
        else:
            self._empty += 1
            if self._ends.blank_lines is not None and self._empty > self._ends.blank_lines:
                self._end_at(before, final=True)
        if self._ends.lines is not None and self._breaks > self._ends.lines:
            self._end_at(self._solid, final=True)

    def _end_block(self) -> None:
        self._end_at(self._solid if self._undecided is None else self._undecided, final=True)
        self._block, self._undecided = None, None

    def _end_at(self, at: int, *, final: bool = False) -> None:
        """Args:
        final: nothing behind it counts, so that what is repeated up to there is left out.
        """
        if final and self._repeat:
            repeated = self._repeat.at_end(at, "")
            at = at if repeated is None else min(at, repeated)
        self._end = at if self._end is None else min(self._end, at)

    def _certain(self) -> int:
        """How much of the text lies before any end that may come."""
        if self._ends == Ends():
            return len(self._text)
        line = self._text[self._line :]
        certain = self._line + len(line.rstrip()) if line.strip() else self._solid
        if self._end is not None:
            certain = self._end
        if self._block and self._block.goes_on(line) is None:
            before = self._solid if self._undecided is None else self._undecided
            certain = min(certain, before)
        if self._repeat and not (self._end is not None and self._empty > _PATIENCE):
            certain = min(certain, self._repeat.begun(self._line, line))
        return certain

    def _rest(self) -> int:
        """Where all that came ends."""
        line = self._text[self._line :]
        if self._block:
            lines = (line + self._stop.found).split("\n")
            last = len(lines) - 1
            number = next((n for n, one in enumerate(lines) if one.strip()), last)
            ended = number < last or not self._stop.hit
            if lines[number].strip() and self._block.goes_on(lines[number], ended=ended) is False:
                self._end_block()
        if self._repeat:
            repeated = self._repeat.at_end(self._line, line)
            if repeated is not None:
                self._end_at(repeated)
        return len(self._text) if self._end is None else self._end
