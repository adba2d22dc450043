"""Code with `# ... existing code ...` in it: the lines that it leaves out come from the file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mistral_tui.code.definitions import Definition, Key, Outline, Style, is_gap
from mistral_tui.code.errors import CodeError
from mistral_tui.sanitize import one_line

_ALIKE = 0.6  # a changed line is taken for the file's line beside it from there on
_GROUPS = ("function", "type", "impl", "module")
_STUB = re.compile(r"\s*\.{3}\s*")


@dataclass(frozen=True, slots=True)
class _Unit:
    """A line, a definition as a whole, or a gap. Equal `same` is the same thing."""

    lines: tuple[str, ...]
    same: str | Key
    definition: Definition | None = None
    gap: bool = False

    @property
    def blank(self) -> bool:
        return not self.gap and not any(line.strip() for line in self.lines)


def telling(line: str) -> bool:
    """Whether a line says enough to be found by it."""
    return len(re.sub(r"\s", "", line)) >= 4


def alike(one: str, other: str) -> bool:
    """Whether a line may be a changed form of another."""
    one, other = one.strip()[:300], other.strip()[:300]
    return one == other or difflib.SequenceMatcher(None, one, other).ratio() >= _ALIKE


def gaps(lines: Sequence[str]) -> list[int]:
    """Which lines stand for others; a bare `...` does, where it is not all there is of a body."""
    found = []
    for at, line in enumerate(lines):
        if is_gap(line) or (_STUB.fullmatch(line) and not _is_body(lines, at)):
            found.append(at)
    return found


def _is_body(lines: Sequence[str], at: int) -> bool:
    before = next((line for line in reversed(lines[:at]) if line.strip()), "")
    after = next((line for line in lines[at + 1 :] if line.strip()), "")
    width = _width(lines[at])
    alone = before.rstrip().endswith(":") and _width(before) < width
    return alone and (not after or _width(after) < width)


def _width(line: str) -> int:
    return len(line) - len(line.lstrip())


def fill(new: Sequence[str], old: Sequence[str], style: Style) -> list[str]:
    """The new lines of something, with what they leave out taken from the old ones.

    Both begin with the same thing, the header of a definition or a line.

    Raises:
        CodeError: what stands around a gap is not in the old lines.
    """
    left_out = set(gaps(new))
    if not left_out:
        return list(new)
    theirs = _units(Outline(old, style), set())
    segments: list[list[_Unit]] = [[]]
    for unit in _units(Outline(new, style), left_out):
        if unit.gap:
            segments.append([])
        else:
            segments[-1].append(unit)
    out: list[str] = []
    at, fresh = 0, False  # in theirs: what is before it is dealt with
    for number, segment in enumerate(segments):
        first, last = number == 0, number == len(segments) - 1
        segment = _stripped(segment)
        if not first:
            fresh = _fresh(segment, theirs)
            begin = _behind(theirs) if fresh else _begin(segment, theirs, at, last)
            kept = [line for unit in theirs[at:begin] for line in unit.lines]
            _join(out, kept, theirs[at:begin])
            at = begin
        _join(out, [line for unit in segment for line in _emit(unit, theirs, style)], segment)
        if last:
            at = len(theirs)
        elif first or not fresh:
            at = _end(segment, theirs, at, first)
    return out


def _fresh(segment: Sequence[_Unit], theirs: Sequence[_Unit]) -> bool:
    """Whether a segment is of definitions only that the file does not have."""
    known = {unit.same for unit in theirs}
    return bool(segment) and all(
        unit.blank or (unit.definition is not None and unit.same not in known) for unit in segment
    )


def _behind(theirs: Sequence[_Unit]) -> int:
    """Where more can be added: at the end, before a closing bracket."""
    closed = not theirs[-1].definition and not telling(theirs[-1].lines[0])
    return len(theirs) - closed


def opened(new: Sequence[str], old: Sequence[str], style: Style) -> list[str]:
    """The new lines of a class or the like, with gaps if it is plainly not all of it: most of the
    old one's functions are missing, and it says nothing else that is new."""
    mine, theirs = _units(Outline(new, style), set()), _units(Outline(old, style), set())
    here = {unit.same: unit for unit in mine if unit.definition}
    there = [unit.same for unit in theirs if unit.definition]
    missing = sum(same not in here for same in there)
    known = {unit.same for unit in theirs}
    plain = all(u.blank or u.definition or u.same in known for u in mine[1:])
    if not here or missing < 2 or 2 * missing <= len(there) or not plain or gaps(new):
        return list(new)
    order = [same for same in there if same in here]
    order += [same for same in here if same not in order]
    first = next(at for at, unit in enumerate(mine) if unit.definition)
    closer = mine[_behind(mine) :]
    lines = [line for unit in mine[:first] for line in unit.lines]
    for same in order:
        lines += ["# ...", *here[same].lines]
    return [*lines, "# ...", *(line for unit in closer for line in unit.lines)]


def _join(out: list[str], lines: Sequence[str], units: Sequence[_Unit]) -> None:
    """Add lines; definitions keep an empty line between them."""
    if units and units[0].definition and out and _closes(out[-1]):
        out.append("")
    out += lines


def _closes(line: str) -> bool:
    stripped = line.strip()
    return bool(stripped) and not stripped.endswith(("{", ":", "(", "["))


def _units(outline: Outline, left_out: set[int]) -> list[_Unit]:
    units: list[_Unit] = []
    children = {child.first: child for child in outline.children(1, len(outline.lines), _GROUPS)}
    at = 0
    while at < len(outline.lines):
        child = children.get(at)
        if child is not None:
            lines = tuple(outline.lines[child.first : child.end])
            units.append(_Unit(lines, child.key, child))
            at = child.end
            continue
        line = outline.lines[at]
        same = line.strip() if telling(line) else line.rstrip()
        units.append(_Unit((line,), same, gap=at in left_out))
        at += 1
    return units


def _stripped(segment: list[_Unit]) -> list[_Unit]:
    """Without the empty lines next to the gaps."""
    full = [at for at, unit in enumerate(segment) if not unit.blank]
    return segment[full[0] : full[-1] + 1] if full else []


def _emit(unit: _Unit, theirs: Sequence[_Unit], style: Style) -> Sequence[str]:
    if unit.definition is None or not gaps(unit.lines):
        return unit.lines
    old = next((other for other in theirs if other.same == unit.same), None)
    if old is None or old.definition is None:
        raise _lost(unit)
    lead = unit.definition.start - unit.definition.first
    kept = old.definition.start - old.definition.first
    attached = unit.lines[:lead] or old.lines[:kept]
    return [*attached, *fill(unit.lines[lead:], old.lines[kept:], style)]


def _begin(segment: Sequence[_Unit], theirs: Sequence[_Unit], at: int, last: bool) -> int:
    """Where, in theirs, the lines end that the gap before a segment stands for."""
    if not segment:
        return len(theirs) if last else at
    for number, unit in enumerate(segment):
        if unit.blank:
            continue
        found = [n for n in range(at, len(theirs)) if theirs[n].same == unit.same]
        told = unit.definition is not None or telling(unit.lines[0])
        if not found or not (told or last):
            continue
        if told:
            place = max(found, key=lambda n: (_run(segment[number:], theirs[n:]), -n))
        else:  # a closing bracket
            place = found[-1]
        return _alike_before(segment[:number], theirs, at, place)
    if last:
        place = _alike_before(segment, theirs, at, len(theirs))
        if place < len(theirs):
            return place
    raise _lost(segment[0])


def _end(segment: Sequence[_Unit], theirs: Sequence[_Unit], at: int, first: bool) -> int:
    """Where, in theirs, the lines begin that the gap after a segment stands for."""
    window = theirs[at : at + 3 * len(segment) + 20]
    mine, other = [u.same for u in segment], [u.same for u in window]
    blocks = difflib.SequenceMatcher(None, mine, other, autojunk=False).get_matching_blocks()
    known, end = 0, at
    for block in blocks:
        told = any(u.definition or telling(u.lines[0]) for u in segment[block.a :][: block.size])
        if not told or at + block.b - end > block.a - known:
            continue  # it would take more lines away than it brings
        known, end = block.a + block.size, at + block.b + block.size
    if not known and first and segment:  # the header itself was changed
        known, end = 1, at + 1
    if not known and segment:
        raise _lost(segment[-1])
    for unit in segment[known:]:
        if end < len(theirs) and _alike(unit, theirs[end]):
            end += 1
    return end


def _alike_before(segment: Sequence[_Unit], theirs: Sequence[_Unit], at: int, place: int) -> int:
    """The lines of the segment before a known place may be new forms of those there."""
    for unit in reversed(segment):
        if place > at and _alike(unit, theirs[place - 1]):
            place -= 1
    return place


def _alike(one: _Unit, other: _Unit) -> bool:
    if one.blank or other.blank:
        return one.blank and other.blank
    if one.definition or other.definition:
        return False
    return alike(one.lines[0], other.lines[0])


def _run(segment: Sequence[_Unit], theirs: Sequence[_Unit]) -> int:
    pairs = zip(segment, theirs, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a.same != b.same), len(segment))


def _lost(unit: _Unit) -> CodeError:
    line = unit.lines[0] if unit.definition is None else unit.definition.key.name
    return CodeError(
        f"The answer leaves lines out around “{one_line(line, 50)}”, which is not in the file "
        "in this form"
    )
