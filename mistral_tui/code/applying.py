"""What a file becomes if a code block of an answer is applied to it.

The answer says so at best by what it repeats of the file: a patch, the lines that were asked
about, definitions by their names, a beginning and an end that are in the file, or all of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from mistral_tui.code.definitions import Definition, Outline, Style, indent, style_of
from mistral_tui.code.eliding import alike, fill, gaps, telling
from mistral_tui.code.errors import CodeError
from mistral_tui.code.patching import apply_patch, is_patch
from mistral_tui.code.placing import Placing
from mistral_tui.sanitize import one_line

_NEW_VERSION = 0.45  # how much of some lines a block repeats, to be a new version of them
_WHOLE = 0.6  # … of a whole file
_MOST_COMPARED = 4000  # lines


@dataclass(frozen=True, slots=True)
class Applied:
    """The file's new text, and how it came about: `replaces lines 10-24`."""

    text: str
    how: str


def apply(
    text: str, block: str, language: str = "", near: tuple[int, int] | None = None
) -> Applied:
    """Apply a code block to a file's text.

    Args:
        language: what the block says it is; "" if it does not.
        near: the lines that were asked about, from 1, both included.

    Raises:
        CodeError: it is not clear where the block belongs; the sentence says what to do.
    """
    windows = "\r\n" in text and "\n" not in text.replace("\r\n", "")
    text_, block = text.replace("\r\n", "\n") if windows else text, block.replace("\r\n", "\n")
    try:
        applied = _apply(text_, block, language, near)
    except CodeError as error:
        raise CodeError(f"{str(error).rstrip('.')}; {_otherwise()}.") from None
    return Applied(applied.text.replace("\n", "\r\n"), applied.how) if windows else applied


def _otherwise() -> str:
    from mistral_tui.actions import key_of

    return f"{key_of('insert_block')} takes the block at the cursor instead"


def _apply(text: str, block: str, language: str, near: tuple[int, int] | None) -> Applied:
    if not block.strip():
        raise CodeError("The block is empty")
    if is_patch(block, language):
        return Applied(apply_patch(text, block), "a patch")
    new = _lines(block)
    if not text.strip():
        return Applied(_text(new, True), "the whole file")
    work = _Work(text, new, language)
    return work.near(near) or work.all_of_it() or work.definitions(near) or work.statements()


def _lines(text: str) -> list[str]:
    """Without empty lines at both ends."""
    lines = text.split("\n")
    full = [at for at, line in enumerate(lines) if line.strip()]
    return lines[full[0] : full[-1] + 1] if full else []


def _text(lines: Sequence[str], newline: bool) -> str:
    return "\n".join(lines) + ("\n" if newline and lines else "")


def shifted(lines: Sequence[str], to: str) -> list[str]:
    """The lines moved so that the first one has the indentation `to`; never retabbed."""
    before = indent(lines[0])
    return [
        to + line[len(before) :] if line.strip() and line.startswith(before) else line
        for line in lines
    ]


def likeness(one: Sequence[str], other: Sequence[str]) -> float:
    """How much two pieces of code have in common, from 0 to 1, whatever their indentation."""
    mine = [line.strip() for line in one if line.strip()]
    theirs = [line.strip() for line in other if line.strip()]
    if len(mine) + len(theirs) > _MOST_COMPARED:
        shared = set(mine) & set(theirs)
        return 2 * sum(line in shared for line in mine) / (len(mine) + len(theirs))
    ratio = difflib.SequenceMatcher(None, mine, theirs, autojunk=False).ratio()
    if max(len(mine), len(theirs)) <= 12:  # of a few lines, each may have changed a bit
        a, b = "\n".join(mine)[:1500], "\n".join(theirs)[:1500]
        letters = difflib.SequenceMatcher(None, a, b, autojunk=False).ratio()
        ratio = max(ratio, letters if letters > _WHOLE else 0.0)
    return ratio


class _Work:
    def __init__(self, text: str, new: list[str], language: str) -> None:
        self.newline = text.endswith("\n")
        self.old = text.removesuffix("\n").split("\n")
        self.new = new
        self.style: Style = style_of(language, text, "\n".join(new))
        self.theirs = Outline(self.old, self.style)
        self.mine = Outline(new, self.style)
        self.parts = self.mine.children(0, len(new))

    def _done(self, start: int, end: int, lines: Sequence[str], how: str) -> Applied:
        return Applied(_text([*self.old[:start], *lines, *self.old[end:]], self.newline), how)

    # ── the lines that were asked about ─────────────────────────────────────────────

    def near(self, near: tuple[int, int] | None) -> Applied | None:
        """They are replaced, if the block looks like a new version of them."""
        if near is None:
            return None
        start, end = max(near[0] - 1, 0), min(near[1], len(self.old))
        while start < end and not self.old[start].strip():
            start += 1
        while start < end and not self.old[end - 1].strip():
            end -= 1
        if start >= end or (self.parts and self._elsewhere(start, end)):
            return None
        region = self.old[start:end]
        if likeness(self.new, region) < _NEW_VERSION:
            return None
        lines = fill(shifted(self.new, indent(region[0])), region, self.style)
        return self._done(start, end, lines, f"replaces {_span(start, end)}")

    def _elsewhere(self, start: int, end: int) -> bool:
        """Whether the block's definitions tell better than these lines what it is about."""
        there = self.theirs.children(start, end)
        if len(there) > len(self.parts) or self.parts[0].first > 0:
            return True
        for part in self.parts:
            for at in self.theirs.places.get(part.key, ()):
                if not start <= at < end or self.theirs.end(at) > end:
                    return True
        return False

    # ── the whole file ──────────────────────────────────────────────────────────────

    def all_of_it(self) -> Applied | None:
        """The block is the whole file, if it has all of its definitions and begins like it; if
        the file has none, by likeness."""
        if gaps(self.new):
            return None
        there, parts = self._shape(self.theirs), self._shape(self.mine)
        if there and parts:
            keys = {part.key for part in parts}
            head, mine = self.old[: there[0].first], self.new[: parts[0].first]
            known = {line.strip() for line in mine}
            lost = [line for line in head if telling(line) and line.strip() not in known]
            full = sum(telling(line) for line in head)
            ends = self._loose(self.theirs, there) <= self._loose(self.mine, parts)
            whole = keys >= {one.key for one in there} and 3 * len(lost) <= full and ends
            whole = whole and (len(there) > 1 or full > 0)
        else:
            whole = len(self.old) > 1 and likeness(self.new, self.old) >= _WHOLE
        if not whole:
            return None
        return Applied(_text(self.new, self.newline), "the whole file")

    @staticmethod
    def _shape(outline: Outline) -> list[Definition]:
        parts = outline.children(0, len(outline.lines))
        return [part for part in parts if part.key.group != "variable"]

    @staticmethod
    def _loose(outline: Outline, parts: Sequence[Definition]) -> bool:
        """Whether code stands between or behind the definitions."""
        at = parts[0].first
        for part in parts:
            if any(map(telling, outline.code[at : part.first])):
                return True
            at = max(at, part.end)
        return any(map(telling, outline.code[at:]))

    # ── definitions by their names ──────────────────────────────────────────────────

    def definitions(self, near: tuple[int, int] | None) -> Applied | None:
        """Each of the block's definitions comes in the place of the file's own of that name."""
        if not self.parts or not any(part.key in self.theirs.places for part in self.parts):
            return None
        if all(part.key.group == "variable" for part in self.parts) and self._loose(
            self.mine, self.parts
        ):
            return None  # statements that begin with one
        placing = Placing(self.theirs, self.mine, self.parts, near)
        lines, how = placing.done()
        return Applied(_text(lines, self.newline), how)

    # ── a beginning and an end that are in the file ─────────────────────────────────

    def statements(self) -> Applied:
        """From the block's first line that the file has once to its last such line."""
        named = [part.key.name for part in self.parts if part.key.group != "variable"]
        if named:
            raise CodeError(f"The file has no {one_line(named[0], 50)} that could be replaced")
        places: dict[str, list[int]] = {}
        for at, line in enumerate(self.old):
            places.setdefault(line.strip(), []).append(at)
        known = [
            (number, places[line.strip()][0])
            for number, line in enumerate(self.new)
            if telling(line) and len(places.get(line.strip(), ())) == 1
        ]
        if not known:
            raise CodeError("Nothing in the block tells where in the file it belongs")
        (first, start), (last, end) = known[0], known[-1]
        if self.mine.end(first) == len(self.new) > first + 1:  # it opens all the rest
            end = self.theirs.end(start)
        elif end > start or len(self.new) == 1:
            end = end + 1
            for line in self.new[last + 1 :]:
                end += end < len(self.old) and alike(line, self.old[end])
        else:
            line = one_line(self.new[first].strip(), 50)
            raise CodeError(f"Of the block only “{line}” is in the file")
        while first and start and alike(self.new[first - 1], self.old[start - 1]):
            start, first = start - 1, first - 1
        to = indent(self.old[start])
        shift = shifted(self.new[first:], to)
        before = shifted([self.new[first], *self.new[:first]], to)[1:]
        while before and gaps(before[:1]):
            before = before[1:]
        lines = fill(shift, self.old[start:end], self.style)
        return self._done(start, end, [*before, *lines], f"replaces {_span(start, end)}")


def _span(start: int, end: int) -> str:
    """Lines from 0, the end excluded, as people count them."""
    return f"line {end}" if end - start == 1 else f"lines {start + 1}–{end}"
