"""Puts the definitions of a code block into the places that a file has for them."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from mistral_tui.code.definitions import Definition, Key, Outline, indent, is_gap
from mistral_tui.code.errors import CodeError
from mistral_tui.code.imports import Edit, imported, is_import
from mistral_tui.code.likeness import likeness, telling
from mistral_tui.code.members import attached, renewed, shifted, whole
from mistral_tui.sanitize import one_line

_MAIN = "the main part"
_CLEARLY = 0.15  # by how much the likeliest of several places has to be ahead
_MOST_PLACES = 40  # of a name that are compared
_SELF = re.compile(r"\b(?:self|cls)\b")
_FREE = re.compile(r"\bfunction\b|=>|\b(?:const|let|var)\b")
"""A function that is no method, in JavaScript."""


@dataclass
class Placing:
    """One block's definitions `parts`, of `mine`, on their way into the file `theirs`."""

    theirs: Outline
    mine: Outline
    parts: Sequence[Definition]
    near: tuple[int, int] | None = None
    _edits: list[Edit] = field(default_factory=list)
    _replaced: list[Definition] = field(default_factory=list)
    _added: list[str] = field(default_factory=list)
    _imports: int = 0

    def done(self) -> tuple[list[str], str] | None:
        """The file's new lines, and how they came about; None if it has a place for none.

        Raises:
            CodeError: one has several places, or leaves out what cannot be found.
        """
        homes = self._homes()
        if not any(homes):
            return None
        last = -1  # the file's line behind what was placed last
        to = next(indent(self.theirs.lines[home.start]) for home in homes if home)
        waiting: list[str] = []  # what comes before the first that has a place
        at = 0
        for part, home in zip(self.parts, homes, strict=True):
            loose = self._loose(at, part.first)
            blank = self._blank_before(part.first, at)
            at = max(at, part.end)
            if home is not None:
                to = indent(self.theirs.lines[home.start])
                lead = [*waiting, *_moved(loose, to)]
                if loose:  # what follows has comments of its own
                    lead += [""] * (not self.mine.lines[part.first - 1].strip())
                if lead:
                    self._edits.append((home.first, home.first, lead))
                waiting = []
                self._replace(part, home)
                last = home.end
                continue
            if part.key.group == "variable" and self._has(self.mine.lines[part.start : part.end]):
                continue
            whole(self.mine.lines[part.start : part.end])
            if last >= 0 and to and not self._belongs(part, last):
                last, to = self._out(last), ""
            new = [*_moved(loose, to), *self._at(part, part.first, to)]
            self._added.append(_called(part))
            if last < 0:
                waiting += [*new, *[""] * max(1, self._blank_after(part.end))]
            else:
                self._insert(last, blank, new)
        if after := self._loose(at, len(self.mine.lines)):
            if to:
                last, to = self._out(last), ""
            self._insert(last, self._blank_after(at), after)
        return self._lines(), self._how()

    def _lines(self) -> list[str]:
        edits = sorted(self._edits, key=lambda edit: edit[:2])
        if any(two[0] < one[1] for one, two in pairwise(edits)):
            raise CodeError("The block has something twice: by itself, and within another part")
        lines = list(self.theirs.lines)
        for start, end, new in reversed(edits):
            lines[start:end] = new
        return lines

    def _insert(self, at: int, blank: int, new: Sequence[str]) -> None:
        follows = at < len(self.theirs.lines) and self.theirs.lines[at].strip()
        closes = follows and self.theirs.depth[at + 1] < self.theirs.depth[at]
        behind = [""] * bool(blank and follows and not closes)
        self._edits.append((at, at, [*[""] * blank, *new, *behind]))

    # ── places ──────────────────────────────────────────────────────────────────────

    def _homes(self) -> list[Definition | None]:
        homes: list[Definition | None] = []
        taken: set[int] = set()
        keys = Counter(part.key for part in self.parts)
        turn: Counter[Key] = Counter()
        for part in self.parts:
            known = self.theirs.places.get(self._meant(part), ())
            known = [at for at in known if self._fits(part, at)]
            found = [at for at in known if at not in taken]
            if len(found) > 1 and keys[part.key] == len(known):
                found = [known[turn[part.key]]]  # each in its turn
            turn[part.key] += 1
            home = self.theirs.definition(self._choose(part, found)) if found else None
            if home is not None:
                taken.add(home.start)
            homes.append(home)
        return homes

    def _meant(self, part: Definition) -> Key:
        """Its key, or that of the setter which has the same header, if its decorator was left
        out."""
        if part.key.group == "function" and part.first == part.start:
            same = self.theirs.known.get(self.mine.lines[part.start].strip(), ())
            found = self.theirs.header(same[0]) if len(same) == 1 else None
            if found is not None:
                return found[0]
        return part.key

    @cached_property
    def _inner(self) -> bool:
        """Whether the block is of things that are within something in the file."""
        lines, places = self.theirs.lines, self.theirs.places
        found = [places.get(part.key, ()) for part in self.parts if part.key.group != "variable"]
        return any(found) and all(indent(lines[at]) for here in found for at in here)

    def _fits(self, part: Definition, at: int) -> bool:
        """Whether a place of that name may be meant: a method is no function, and a variable of
        some function not one of the file."""
        one, other = self._header(self.mine, part.start), self._header(self.theirs, at)
        nested = bool(indent(self.theirs.lines[at]))
        if part.key.group == "variable":
            alone = len(self.parts) == 1 and part.first == 0 and part.end == len(self.mine.lines)
            return alone or not nested or self._inner
        if part.key.group != "function" or not nested:
            return True
        tell = _FREE if self.mine.style == "c" else _SELF
        return bool(tell.search(one)) == bool(tell.search(other))

    @staticmethod
    def _header(outline: Outline, at: int) -> str:
        lines = outline.code[at : max(min(outline.header_end(at), at + 20), at + 1)]
        return "\n".join(lines).partition("{")[0]

    def _belongs(self, part: Definition, last: int) -> bool:
        """Whether a new function may stand in the class of the one before it."""
        style = self.mine.style
        method = bool(_SELF.search(self._header(self.mine, part.start)))
        if style == "hash":
            return method or part.key.group == "variable"
        free = style == "c" and _FREE.search(self.mine.code[part.start])
        return not free and part.key.group in ("function", "variable")

    def _out(self, line: int) -> int:
        """The line behind all that a line is within."""
        place = bisect_left(self.theirs.heads, line)
        return max(line, self.theirs.end(self.theirs.heads[place - 1])) if place else line

    def _choose(self, part: Definition, found: Sequence[int]) -> int:
        """The one of several of a name that is meant."""
        if len(found) == 1:
            return found[0]
        if self.near is not None:
            start, end = self.near[0] - 1, self.near[1]
            here = [at for at in found if at < end and start < self.theirs.end(at)]
            if len(here) == 1:
                return here[0]
        if part.key.group == "function":  # one of those that differ by what they take
            header = self.mine.lines[part.start].strip()
            equal = [at for at in found if self.theirs.lines[at].strip() == header]
            if len(equal) == 1:
                return equal[0]
        mine = self.mine.lines[part.first : part.end]
        keys = {child.key for child in self.mine.children(part.start + 1, part.end)}
        ranked = []
        for at in found[:_MOST_PLACES]:
            home = self.theirs.definition(at)
            assert home is not None
            there = {child.key for child in self.theirs.children(home.start + 1, home.end)}
            other = self.theirs.lines[home.first : home.end]
            ranked.append((len(keys & there) + likeness(mine, other), -at))
        (best, place), (second, _), *_ = sorted(ranked, reverse=True)
        if len(found) <= _MOST_PLACES and best - second >= _CLEARLY:
            return -place
        lines = ", ".join(str(at + 1) for at in found[:5])
        raise CodeError(f"The file has {len(found)} places named {_called(part)} (lines {lines})")

    def _replace(self, part: Definition, home: Definition) -> None:
        self._replaced.append(part)
        to = indent(self.theirs.lines[home.start])
        old = self.theirs.lines[home.start : home.end]
        new = renewed(self._at(part, part.start, to), old, part.key.group, self.mine.style)
        above = self.theirs.lines[home.first : home.start]
        mine = self._at(part, part.first, to)[: part.start - part.first]
        self._edits.append((home.first, home.end, [*attached(mine, above), *new]))

    def _at(self, part: Definition, begin: int, to: str) -> list[str]:
        """The lines of a definition from `begin` on, its header at the indentation `to`."""
        return shifted(self.mine.lines[begin : part.end], to, part.start - begin)

    # ── what stands between definitions ─────────────────────────────────────────────

    def _loose(self, start: int, end: int) -> list[str]:
        """Statements of the block that are not in the file; imports go to their place at once."""
        kept: list[str] = []
        at = start
        while at < end:
            line = self.mine.lines[at]
            if is_import(line):
                after = at + 1
                while after < end and self.mine.depth[after] > self.mine.depth[at]:
                    after += 1
                self._import(self.mine.lines[at:after])
                at = after
                continue
            if not line.strip() or is_gap(line):
                if kept and kept[-1].strip() and not line.strip():
                    kept.append("")
                at += 1
                continue
            comment = not self.mine.code[at].strip()
            after = at + 1 if comment else min(max(self.mine.end(at), at + 1), end)
            while comment and after < end and self.mine.inside[after]:
                after += 1
            lines = self.mine.lines[at:after]
            told = [line.strip() in self.theirs.known for line in lines if telling(line)]
            if not self._has(lines) and not (comment and 2 * sum(told) > len(told)):
                kept += lines
            at = after
        while kept and not kept[-1].strip():
            kept.pop()
        return kept

    def _has(self, lines: Sequence[str]) -> bool:
        """Whether the file has these lines one after the other."""
        wanted = [line.strip() for line in lines]
        if not all(line in self.theirs.known for line in wanted):
            return False
        there = self.theirs.lines
        return any(
            all(there[at + n].strip() == line for n, line in enumerate(wanted))
            for at in self.theirs.known[wanted[0]]
            if at + len(wanted) <= len(there)
        )

    def _import(self, lines: Sequence[str]) -> None:
        """Add an import that the file lacks."""
        edit = imported(lines, self.theirs)
        if edit is None:
            return
        start, end, new = edit
        self._imports += sum(bool(line.strip()) for line in new)
        for number, (begin, stop, before) in enumerate(self._edits):
            if start == end == begin == stop:  # one more at the same place
                both = [*before, *new]
                body = [line for line in both if line.strip()]
                head, tail = [""] * (not both[0].strip()), [""] * (not both[-1].strip())
                self._edits[number] = (start, end, [*head, *body, *tail])
                return
        self._edits.append(edit)

    def _blank_before(self, first: int, least: int) -> int:
        """Empty lines above a line of the block."""
        at = first
        while at > least and not self.mine.lines[at - 1].strip():
            at -= 1
        return max(first - at, 1 if least else 0)

    def _blank_after(self, end: int) -> int:
        lines = self.mine.lines
        return next((n for n, line in enumerate(lines[end:]) if line.strip()), 0)

    def _how(self) -> str:
        names = [_called(part) for part in self._replaced]
        kind = f"the {self._replaced[0].kind} " if len(names) == 1 else ""
        said = f"replaces {kind if names[0] != _MAIN else ''}{listed(names)}"
        more = listed(self._added) if self._added else ""
        if self._imports:
            more += " and " * bool(more) + ("an import" if self._imports == 1 else "imports")
        return f"{said}, adds {more}" if more else said


def _moved(lines: Sequence[str], to: str) -> list[str]:
    return [to + line if line.strip() else line for line in lines]


def _called(part: Definition) -> str:
    return _MAIN if part.key.group == "guard" else one_line(part.key.name, 50)


def listed(names: Sequence[str]) -> str:
    """`a, b and c`; of many, how many more."""
    if len(names) > 4:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
