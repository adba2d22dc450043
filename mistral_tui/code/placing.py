"""Puts the definitions of a code block into the places that a file has for them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mistral_tui.code.definitions import Definition, Outline, indent
from mistral_tui.code.eliding import fill, gaps, opened
from mistral_tui.code.errors import CodeError
from mistral_tui.sanitize import one_line

_IMPORT = re.compile(
    r"\s*(?:import\b|from\s+\S+\s+import\b|(?:pub\s+)?use\s|#\s*include\b|using\s|package\s"
    r"|require\b|extern\s+crate\b|mod\s+\w+;|(?:const|let|var)\s.*=\s*require\()"
)
_DECORATED = ("@", "#[", "template")
_PACKAGE = re.compile(r"\s*package\s")
_MAIN = "the main part"
_CLEARLY = 0.15  # by how much the likeliest of several places has to be ahead


@dataclass
class Placing:
    """One block's definitions `parts`, of `mine`, on their way into the file `theirs`."""

    theirs: Outline
    mine: Outline
    parts: Sequence[Definition]
    near: tuple[int, int] | None = None
    _edits: list[tuple[int, int, list[str]]] = field(default_factory=list)
    _replaced: list[Definition] = field(default_factory=list)
    _added: list[str] = field(default_factory=list)
    _imports: int = 0

    def done(self) -> tuple[list[str], str]:
        """The file's new lines, and how they came about.

        Raises:
            CodeError: one has several places, or leaves out what cannot be found.
        """
        homes = self._homes()
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
                lead = [*waiting, *loose]
                if lead:
                    self._edits.append((home.first, home.first, lead))
                waiting = []
                self._replace(part, home)
                last = home.end
                continue
            new = [*loose, *_at(self.mine, part.first, part, to)]
            self._added.append(_called(part))
            if last < 0:
                waiting += [*new, *[""] * max(1, self._blank_after(part.end))]
            else:
                self._edits.append((last, last, [*[""] * blank, *new]))
        if after := self._loose(at, len(self.mine.lines)):
            blank = self._blank_after(at)
            self._edits.append((last, last, [*[""] * blank, *after]))
        lines = list(self.theirs.lines)
        for start, end, new in reversed(sorted(self._edits, key=lambda edit: edit[:2])):
            lines[start:end] = new
        return lines, self._how()

    # ── places ──────────────────────────────────────────────────────────────────────

    def _homes(self) -> list[Definition | None]:
        homes: list[Definition | None] = []
        taken: set[int] = set()
        keys = [part.key for part in self.parts]
        for number, part in enumerate(self.parts):
            found = [at for at in self.theirs.places.get(part.key, ()) if at not in taken]
            known = self.theirs.places.get(part.key, ())
            if len(found) > 1 and keys.count(part.key) == len(known):
                found = [known[keys[:number].count(part.key)]]  # each in its turn
            home = self.theirs.definition(self._choose(part, found)) if found else None
            if home is not None:
                taken.add(home.start)
            homes.append(home)
        return homes

    def _choose(self, part: Definition, found: Sequence[int]) -> int:
        """The one of several of a name that is meant."""
        if len(found) == 1:
            return found[0]
        if self.near is not None:
            start, end = self.near[0] - 1, self.near[1]
            here = [at for at in found if at < end and start < self.theirs.end(at)]
            if len(here) == 1:
                return here[0]
        mine = [line.strip() for line in self.mine.lines[part.start : part.end]]
        ranked = []
        for at in found:
            other = [line.strip() for line in self.theirs.lines[at : self.theirs.end(at)]]
            ranked.append((difflib.SequenceMatcher(None, mine, other).ratio(), -at))
        (best, place), (second, _), *_ = sorted(ranked, reverse=True)
        if best - second >= _CLEARLY or (best == 1 and second < 1):
            return -place
        lines = ", ".join(str(at + 1) for at in found[:5])
        raise CodeError(f"The file has {len(found)} places named {_called(part)} (lines {lines})")

    def _replace(self, part: Definition, home: Definition) -> None:
        self._replaced.append(part)
        to = indent(self.theirs.lines[home.start])
        new = _at(self.mine, part.start, part, to)
        old = self.theirs.lines[home.start : home.end]
        if part.key.group in ("type", "impl", "module"):
            new = opened(new, old, self.mine.style)
        new = fill(new, old, self.mine.style)
        above = self.theirs.lines[home.first : home.start]
        mine = _at(self.mine, part.first, part, to)[: part.start - part.first]
        self._edits.append((home.first, home.end, [*_attached(mine, above), *new]))

    # ── what stands between definitions ─────────────────────────────────────────────

    def _loose(self, start: int, end: int) -> list[str]:
        """Lines of the block that are no definition and not in the file; imports go to their
        place at once."""
        known = {line.strip() for line in self.theirs.lines}
        kept: list[str] = []
        at = start
        while at < end:
            line = self.mine.lines[at]
            if _IMPORT.match(line):
                after = at + 1
                while after < end and self.mine.depth[after] > self.mine.depth[at]:
                    after += 1
                self._import(self.mine.lines[at:after])
                at = after
                continue
            at += 1
            if not line.strip():
                if kept and kept[-1].strip():
                    kept.append("")
            elif line.strip() not in known and not gaps([line]):
                kept.append(line)
        while kept and not kept[-1].strip():
            kept.pop()
        return kept

    def _import(self, lines: Sequence[str]) -> None:
        """Add an import that the file lacks."""
        there = self.theirs
        known = {line.strip() for line in there.lines}
        if len(lines) > 1 and lines[0].strip() in known:  # several in brackets, as in Go
            new = [line for line in lines[1:-1] if line.strip() and line.strip() not in known]
            at = next(n for n, line in enumerate(there.lines) if line.strip() == lines[0].strip())
            place = there.end(at) - 1
        else:
            new = [] if lines[0].strip() in known else list(lines)
            if re.match(r"\s*package\s", lines[0]) and any(map(_PACKAGE.match, there.lines)):
                return
            place = self._import_place()
        if new:
            self._imports += len(new)
            self._edits.append((place, place, new))

    def _import_place(self) -> int:
        """Behind the file's last import; without one, at its top."""
        lines = self.theirs.lines
        found = [
            at for at in range(len(lines))
            if not self.theirs.inside[at] and lines[at][:1].strip() and _IMPORT.match(lines[at])
        ]  # fmt: skip
        if found:
            at = found[-1]
            return next(
                n + 1 for n in range(at, len(lines))
                if self.theirs.depth[n + 1] <= self.theirs.depth[at] or n + 1 == len(lines)
            )  # fmt: skip
        return 1 if lines[0].startswith("#!") else 0

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
        said = f"replaces {kind if names[0] != _MAIN else ''}{_named(names)}"
        more = _named(self._added) if self._added else ""
        if self._imports:
            more += " and " * bool(more) + ("an import" if self._imports == 1 else "imports")
        return f"{said}, adds {more}" if more else said


def _called(part: Definition) -> str:
    return _MAIN if part.key.group == "guard" else one_line(part.key.name, 50)


def _named(names: Sequence[str]) -> str:
    """`a, b and c`; of many, how many more."""
    if len(names) > 4:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _at(outline: Outline, begin: int, part: Definition, to: str) -> list[str]:
    """The lines of a definition from `begin` on, its header at the indentation `to`."""
    before = indent(outline.lines[part.start])
    return [
        to + line[len(before) :] if line.strip() and line.startswith(before) else line
        for line in outline.lines[begin : part.end]
    ]


def _attached(mine: Sequence[str], above: Sequence[str]) -> Sequence[str]:
    """What stands above a definition then: what an answer does not repeat stays."""
    if not mine:
        return above
    decorated = [any(_decorates(line) for line in lines) for lines in (mine, above)]
    commented = [not all(_decorates(line) for line in lines) for lines in (mine, above)]
    if decorated[1] and not decorated[0]:
        return [*mine, *(line for line in above if _decorates(line))]
    if commented[1] and not commented[0]:
        return [*(line for line in above if not _decorates(line)), *mine]
    return mine


def _decorates(line: str) -> bool:
    return line.strip().startswith(_DECORATED)
