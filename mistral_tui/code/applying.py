"""What a file becomes if a code block of an answer is applied to it.

The answer says so at best by what it repeats of the file: a patch, the lines that were asked
about, definitions by their names, a beginning and an end that are in the file, or all of it.
Where that is not clear, or code would go that nothing comes for, the block is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mistral_tui.code.definitions import Definition, Outline, indent
from mistral_tui.code.eliding import fill, gaps, marked
from mistral_tui.code.errors import CodeError
from mistral_tui.code.likeness import alike, guard, kept, likeness, lost, telling
from mistral_tui.code.members import shifted
from mistral_tui.code.patching import apply_patch, is_patch
from mistral_tui.code.placing import Placing, listed
from mistral_tui.code.removal import keys, removed
from mistral_tui.code.styles import Style, known_language, style_of
from mistral_tui.sanitize import one_line

_NEW_VERSION = 0.45  # how much of some lines a block repeats, to be a new version of them
_WHOLE = 0.8  # … of a whole file
_NEARLY_ALL = 0.95  # … if it is to go without some of the rest, beside definitions
_MOST_GONE = 20  # lines in one place that a new version of a file may lack
_MOST_NAMES = 3  # definitions that may go
_LARGEST = 3_000_000  # characters of a text that is taken apart
_MOST_LINES = 150_000
_FAR = 30  # lines that the numbers of a message may be off by
_MOST_SHIFTS = 50  # places that are looked at for the same lines
_PATH = re.compile(
    r"\s*(?:#+|//+|--|/\*+|<!--|;+|%)\s*(?:file(?:name)?\s*:|path\s*:|in\s)?\s*"
    r"[`'\"]?(?:[\w.@~-]*[\\/])*[\w.@-]+\.\w{1,10}[`'\"]?\s*:?\s*(?:\*/|-->)?\s*",
    re.I,
)
_SHELLS = ("sh", "bash", "zsh", "shell", "yaml", "yml", "makefile", "perl", "r")


@dataclass(frozen=True, slots=True)
class Applied:
    """The file's new text, and how it came about: `replaces lines 10–24; removes stop`."""

    text: str
    how: str


def apply(
    text: str, block: str, language: str = "", near: tuple[int, int] | None = None
) -> Applied:
    """Apply a code block to a file's text; one that the file has already leaves it as it is.

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
    new = _trimmed(block.split("\n"))
    if not text.strip():
        return Applied(_text(new, True), "the whole file")
    old = text.removesuffix("\n").split("\n")
    if len(new) > 1 and _PATH.fullmatch(new[0]) and new[0].strip() not in map(str.strip, old):
        new = _trimmed(new[1:])
    found = list(_places(old, new))
    there = [at for at in found if near is None or (at < near[1] and near[0] <= at + len(new))]
    if there:
        return Applied(text, _span(there[0], there[0] + len(new)))
    try:
        if max(len(text), len(block)) > _LARGEST or max(len(old), len(new)) > _MOST_LINES:
            raise CodeError("The file is too large to be taken apart")
        return _Work(text, old, new, language).applied(near)
    except CodeError:
        if found:  # not where it was asked for, but the file has it
            return Applied(text, _span(found[0], found[0] + len(new)))
        raise


def _trimmed(lines: Sequence[str]) -> list[str]:
    """Without empty lines at both ends."""
    full = [at for at, line in enumerate(lines) if line.strip()]
    return list(lines[full[0] : full[-1] + 1]) if full else []


def _text(lines: Sequence[str], newline: bool) -> str:
    return "\n".join(lines) + ("\n" if newline and lines else "")


def _places(old: Sequence[str], new: Sequence[str]) -> Iterator[int]:
    """Where a file has these lines as they are, or all moved by the same indentation."""
    bare = "\n" + "\n".join(map(str.strip, old)) + "\n"
    wanted = "\n" + "\n".join(map(str.strip, new)) + "\n"
    column = line = -1
    seen = 0
    for _ in range(_MOST_SHIFTS):
        column = bare.find(wanted, column + 1)
        if column < 0:
            return
        line += bare.count("\n", seen, column + 1)
        seen = column + 1
        if _same_shape(old[line : line + len(new)], new):
            yield line


def _same_shape(old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether lines of the same words have the same indentation, but for what all have more."""
    one, other = indent(old[0]), indent(new[0])
    more = one.removesuffix(other) if one.endswith(other) else ""
    less = other.removesuffix(one) if other.endswith(one) else ""
    return all(
        not line.strip() or less + indent(mine) == more + indent(line)
        for mine, line in zip(old, new, strict=True)
    )


class _Work:
    """One block, `new`, on its way into one file, `old`."""

    def __init__(self, text: str, old: list[str], new: list[str], language: str) -> None:
        self.newline, self.old, self.language = text.endswith("\n"), old, language.lower()
        self.style: Style = style_of(language, text, "\n".join(new))
        self.new = marked(new, old, self.style)
        self.theirs = Outline(self.old, self.style)
        self.mine = Outline(self.new, self.style)
        self._least = min(len(indent(line)) for line in self.new if line.strip())
        parts = self.mine.children(0, len(self.new))
        self.parts = [part for part in parts if self._outermost(part)]
        self.nested = any(
            part.key.group != "variable" and not self._outermost(part) for part in parts
        )
        """Whether a definition is within a statement, as in `describe(() => {`."""

    def _outermost(self, part: Definition) -> bool:
        if self.style != "hash":
            return self.mine.depth[part.start] <= 0
        return len(indent(self.new[part.start])) == self._least

    def applied(self, near: tuple[int, int] | None) -> Applied:
        """The file with the block in it, and with what it removes told."""
        lines, how, gone = (
            self._near(near) or self._whole() or self._definitions(near) or self._statements()
        )
        if gaps(lines):
            raise CodeError("The answer leaves lines out where the file has none")
        after = Outline(lines, self.style)
        self._check_brackets(after)
        names, outside = removed(self.theirs, after)
        names = [one_line(name, 50) for name in names]
        brought = sum(keys(self.mine).values())
        if len(names) > max(_MOST_NAMES, brought // 2):
            raise CodeError(f"The block would remove {listed(names)}")
        gone = max(gone, outside)
        said = [listed(names)] if names else []
        if gone:
            said.append(f"{gone} {'line' if gone == 1 else 'lines'}{' more' if names else ''}")
        removes = f"; removes {' and '.join(said)}" if said else ""
        return Applied(_text(lines, self.newline), how + removes)

    def _check_brackets(self, after: Outline) -> None:
        known = known_language(self.language) or bool(self.theirs.heads)
        if not known or self.language in _SHELLS:
            return
        if self.theirs.depth[-1] == 0 != after.depth[-1]:
            raise CodeError("With the block in the file its brackets would not close")

    def _done(self, start: int, end: int, lines: Sequence[str]) -> tuple[list[str], str, int]:
        """The file with lines from 0 replaced, how that is called, and how many are lost."""
        old = self.old[start:end]
        guard(old, lines, "the file")
        new = [*self.old[:start], *lines, *self.old[end:]]
        return new, f"replaces {_span(start, end)}", lost(old, lines)[0]

    # ── the lines that were asked about ─────────────────────────────────────────────

    def _near(self, near: tuple[int, int] | None) -> tuple[list[str], str, int] | None:
        """They are replaced, if the block looks like a new version of them. Their numbers may be
        out of date, and the block may be of fewer lines: its first and last line tell."""
        if near is None or any(
            part.key.group != "variable" and part.key in self.theirs.places for part in self.parts
        ):
            return None
        start, end = max(near[0] - 1, 0), min(near[1], len(self.old))
        while start < end and not self.old[start].strip():
            start += 1
        while start < end and not self.old[end - 1].strip():
            end -= 1
        if start >= end:
            return None
        numbers = [number for number, line in enumerate(self.new) if telling(line)]
        first = self._edge(numbers, start, start, end)
        last = self._edge(numbers[::-1], end - 1, start, end)
        if first is None or last is None:
            return None
        (number, place), (behind, stop) = first, last
        start = place if number == numbers[0] or not start <= place < end else start
        end = stop + 1 if behind == numbers[-1] or not start <= stop < end else end
        for line in reversed(self.new[: numbers[0]]):  # brackets and the like
            start -= start > 0 and line.strip() == self.old[start - 1].strip()
        for line in self.new[behind + 1 :] if behind == numbers[-1] else ():
            end += end < len(self.old) and line.strip() == self.old[end].strip()
        region = self.old[start:end]
        if not region or likeness(self.new, region) < _NEW_VERSION:
            return None
        lines = fill(shifted(self.new, indent(region[0])), region, self.style)
        return self._done(start, end, lines)

    def _edge(
        self, numbers: Sequence[int], at: int, start: int, end: int
    ) -> tuple[int, int] | None:
        """The first of these lines of the block that the file has about there, and where."""
        window = range(max(0, start - _FAR), min(len(self.old), end + _FAR))
        for number in numbers[:_FAR]:
            mine = self.new[number].strip()
            found = [n for n in window if self.old[n].strip() == mine] or [
                n for n in window if telling(self.old[n]) and alike(self.old[n], mine)
            ]
            if found:
                return number, min(found, key=lambda n: abs(n - at))
        return None

    # ── the whole file ──────────────────────────────────────────────────────────────

    def _whole(self) -> tuple[list[str], str, int] | None:
        """The block is the whole file, if it has all of its definitions, nearly all else, and
        both ends."""
        if gaps(self.new) or keys(self.theirs) - keys(self.mine):
            return None
        head = self._comments()
        known = self.mine.known
        if head and not any(line.strip() in known for line in self.old[:head] if telling(line)):
            old, new = self.old[head:], _trimmed([*self.old[:head], *self.new])  # it stays
        else:
            old, new = self.old, self.new
        told = [line.strip() for line in old if telling(line)]
        mine = [line.strip() for line in self.new if telling(line)]
        if len(told) < 2 or not mine:
            return None
        if not self._ends(told, mine) or not self._ends(told[::-1], mine[::-1]):
            return None
        share = kept(old, self.new)
        if share < _WHOLE and not self._frame():
            return None
        if share < _NEARLY_ALL and self.theirs.heads and removed(self.theirs, self.mine)[1]:
            return None
        _, most = lost(old, self.new)
        if most > min(_MOST_GONE, max(2, len(told) // 10)) and not self._frame():
            return None
        begin = next(at for at, line in enumerate(self.old) if line.strip())
        end = next(at for at, line in enumerate(reversed(self.old)) if line.strip())
        return [*[""] * begin, *new, *[""] * end], "the whole file", 0

    def _ends(self, told: Sequence[str], mine: Sequence[str]) -> bool:
        """Whether the block has the first of the file's lines, or something in its stead."""
        if told[0] in self.mine.known or alike(told[0], mine[0]):
            return True
        return any(line in mine and mine.index(line) >= n for n, line in enumerate(told[:3]) if n)

    def _comments(self) -> int:
        """The lines of comments that a file begins with."""
        at = 0
        while at < len(self.old) and not self.theirs.code[at].strip():
            at += 1
        return at if at < len(self.old) else 0

    def _frame(self) -> bool:
        """Whether the block has all that is around the file's definitions, and several of them."""
        there = self.theirs.children(0, len(self.old))
        if sum(part.key.group != "variable" for part in there) < 2:
            return False
        loose, at = [], 0
        for part in there:
            loose += self.old[at : part.first]
            at = part.end
        return kept([*loose, *self.old[at:], "file"], [*self.new, "file"]) >= _WHOLE

    # ── definitions by their names ──────────────────────────────────────────────────

    def _definitions(self, near: tuple[int, int] | None) -> tuple[list[str], str, int] | None:
        """Each of the block's definitions comes in the place of the file's own of that name."""
        if self.nested or not any(part.key in self.theirs.places for part in self.parts):
            return None
        if all(part.key.group == "variable" for part in self.parts) and self._statements_too():
            return None  # statements that begin with one
        if self._within():
            return None
        placed = Placing(self.theirs, self.mine, self.parts, near).done()
        return (*placed, 0) if placed is not None else None

    def _within(self) -> bool:
        """Whether the block's first line is within what only ends in the block."""
        if self.style != "hash":
            return min(self.mine.depth) < 0
        first = len(indent(self.new[0]))
        return any(len(indent(self.new[part.start])) < first for part in self.parts)

    def _statements_too(self) -> bool:
        at = self.parts[0].first
        for part in self.parts:
            if any(map(telling, self.mine.code[at : part.first])):
                return True
            at = max(at, part.end)
        return any(map(telling, self.mine.code[at:]))

    # ── a beginning and an end that are in the file ─────────────────────────────────

    def _statements(self) -> tuple[list[str], str, int]:
        """From the block's first line that the file has once to its last such line."""
        named = [
            part.key.name for part in self.parts
            if part.key.group != "variable" and part.key not in self.theirs.places
        ]  # fmt: skip
        if named:
            raise CodeError(f"The file has no {one_line(named[0], 50)} that could be replaced")
        places = self.theirs.known
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
        if any(line.strip() and not telling(line) for line in before):
            raise CodeError("The beginning of the block is not in the file")
        lines = fill(shift, self.old[start:end], self.style)
        ending = self.old[end - 1].rstrip()
        if ending[-1:] in (",", ";") and lines[-1].rstrip() == ending[:-1]:
            lines[-1] = self.old[end - 1]  # the comma of what is around it
        return self._done(start, end, [*before, *lines])


def _span(start: int, end: int) -> str:
    """Lines from 0, the end excluded, as people count them."""
    return f"line {end}" if end - start == 1 else f"lines {start + 1}–{end}"
