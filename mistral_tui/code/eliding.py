"""Code with `# ... existing code ...` in it: the lines that it leaves out come from the file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mistral_tui.code.definitions import GAP, Definition, Key, Outline, is_gap
from mistral_tui.code.errors import CodeError
from mistral_tui.code.likeness import FEW, alike, guard, lost, telling
from mistral_tui.code.styles import Style
from mistral_tui.sanitize import one_line

_GROUPS = ("function", "type", "impl", "module")
_COMMENT = re.compile(r"\s*\{?\s*(?:#+|//+|--+|/\*+|<!--|;+|%+)(?P<said>.*?)(?:\*+/|-->)?\s*\}?\s*")
_STUB = re.compile(r"\s*[(\[{<]?\s*(?:\.{3}|…)\s*[)\]}>]?\s*")
_AROUND = " \t()[]{}<>-"
_NOUN = (
    r"(?:code|methods?|functions?|implementations?|file|class|logic|body|imports?|fields?"
    r"|members?|tests?|content|script|config(?:uration)?|properties|definitions?|lines|module)"
)
_SAME = r"(?:unchanged|unmodified|omitted|elided|(?:the )?same|as (?:before|is|above)|here)"
# What stands before dots, behind them, and without any.
_BEFORE = re.compile(
    r"(?:(?:keep|all|the|your|my|and)\s+)*(?:rest|remainder|remaining|existing|previous|unchanged"
    rf"|unmodified|original|same as|others?\s+(?:\w+\s+)?{_NOUN})\b.*|.*\b{_SAME}",
    re.I,
)
_BEHIND = re.compile(
    rf".*\b(?:rest|remain\w*|existing|others?|previous|original|continues?|snip\w*|truncated"
    rf"|keep|{_NOUN}|{_SAME})\b.*",
    re.I,
)
_ALONE = re.compile(
    rf"(?:the )?(?:rest|remainder|remaining)(?: of)?(?: the| your| this| my)?(?: \w+)?? {_NOUN}"
    rf"(?: .{{0,30}}\b{_SAME})?"
    rf"|(?:the )?(?:existing )?{_NOUN} (?:\w+ )?(?:stays?|remains?|is|are) {_SAME}"
    r"|(?:the )?existing code(?: here)?|(?:same )?as before|same as before|no changes?(?: here)?"
    r"|unchanged(?: code)?",
    re.I,
)


@dataclass(frozen=True, slots=True)
class _Unit:
    """A line, a definition as a whole, or a gap. Equal `same` is the same thing."""

    lines: tuple[str, ...]
    same: str | Key
    definition: Definition | None = None
    gap: bool = False
    depth: int = 0
    """Cells by which it is indented more than the first line."""

    @property
    def blank(self) -> bool:
        return not self.gap and not any(line.strip() for line in self.lines)


def marked(new: Sequence[str], old: Sequence[str], style: Style) -> list[str]:
    """The lines of a block; those that stand for others are marked as such. A line that the file
    has itself stands for nothing."""
    known = {line.strip() for line in old}
    inside = Outline(new, style).inside
    mark = ("#" if style == "hash" else "//") + GAP
    lines = []
    for at, line in enumerate(new):
        line = line.replace(GAP, "")
        stub = _STUB.fullmatch(line) and not inside[at] and not _is_body(new, at)
        if line.strip() not in known and len(line) < 300 and (stub or _elides(line)):
            line = line[: _width(line)] + mark
        lines.append(line)
    return lines


def _elides(line: str) -> bool:
    match = _COMMENT.fullmatch(line)
    if match is None:
        return False
    said = match["said"].replace("…", "...").strip(_AROUND)
    core = said.strip(_AROUND + ".:")
    before, behind = said.endswith("..."), said.startswith("...")
    if before or behind:
        by = _BEFORE if not behind else _BEHIND
        return not core or (before and behind) or by.fullmatch(core) is not None
    return _ALONE.fullmatch(core) is not None


def _is_body(lines: Sequence[str], at: int) -> bool:
    before = next((line for line in reversed(lines[:at]) if line.strip()), "")
    after = next((line for line in lines[at + 1 :] if line.strip()), "")
    width = _width(lines[at])
    alone = before.rstrip().endswith(":") and _width(before) < width
    return alone and (not after or _width(after) < width)


def _width(line: str) -> int:
    return len(line) - len(line.lstrip())


def _cells(line: str) -> int:
    return len(line[: _width(line)].expandtabs(4))


def gaps(lines: Collection[str]) -> bool:
    """Whether marked lines leave others out."""
    return any(map(is_gap, lines))


def fill(new: Sequence[str], old: Sequence[str], style: Style) -> list[str]:
    """The new lines of something, with what they leave out taken from the old ones.

    Both begin with the same thing, the header of a definition or a line.

    Raises:
        CodeError: what stands around a gap is not in the old lines.
    """
    if not gaps(new):
        return list(new)
    theirs = _units(old, style)
    segments: list[list[_Unit]] = [[]]
    for unit in _units(new, style):
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
            _join(out, _lines(theirs[at:begin]), theirs[at:begin])
            at = begin
        _join(out, [line for unit in segment for line in _emit(unit, theirs, style)], segment)
        if last and not _much(theirs[at:], segment):
            at = len(theirs)
        elif first or not fresh:
            at = _end(segment, theirs, at, first)
    _join(out, _lines(theirs[at:]), theirs[at:])  # the last mark was left out
    guard(old, out, "the file")
    return out


def _lines(units: Sequence[_Unit]) -> list[str]:
    return [line for unit in units for line in unit.lines]


def _much(rest: Sequence[_Unit], segment: Sequence[_Unit]) -> bool:
    """Whether a last segment has too little to come in place of all the rest."""
    here = {unit.same for unit in segment}
    gone = any(unit.definition and unit.same not in here for unit in rest)
    return gone or (bool(segment) and lost(_lines(rest), _lines(segment))[1] > FEW)


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


def _join(out: list[str], lines: Sequence[str], units: Sequence[_Unit]) -> None:
    """Add lines; definitions keep an empty line between them."""
    if units and units[0].definition and out and _closes(out[-1]):
        out.append("")
    out += lines


def _closes(line: str) -> bool:
    stripped = line.strip()
    return bool(stripped) and not stripped.endswith(("{", ":", "(", "["))


def _units(lines: Sequence[str], style: Style) -> list[_Unit]:
    outline = Outline(lines, style)
    units: list[_Unit] = []
    children = {child.first: child for child in outline.children(1, len(lines), _GROUPS)}
    base = _cells(lines[0]) if lines else 0
    at = 0
    while at < len(lines):
        child = children.get(at)
        if child is not None:
            units.append(
                _Unit(tuple(lines[at : child.end]), child.key, child,
                      depth=_cells(lines[child.start]) - base)
            )  # fmt: skip
            at = child.end
            continue
        line = lines[at]
        depth = _cells(line) - base
        units.append(_Unit((line,), f"{depth} {line.strip()}", None, is_gap(line), depth))
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
        raise _missing(unit)
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
        begin = _alike_before(segment[:number], theirs, at, place)
        fresh = segment[: max(0, number - (place - begin))]
        if not told or all(one.blank or one.depth >= unit.depth for one in fresh):
            return begin  # nothing new comes between a line and what that is within
    if last:
        place = _alike_before(segment, theirs, at, len(theirs))
        if place < len(theirs):
            return place
    raise _missing(segment[0])


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
        raise _missing(segment[-1])
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


def _missing(unit: _Unit) -> CodeError:
    line = unit.lines[0] if unit.definition is None else unit.definition.key.name
    return CodeError(
        f"The answer leaves lines out around “{one_line(line, 50)}”, which is not in the file "
        "in this form"
    )
