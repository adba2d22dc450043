"""A new version of one definition: what an answer does not repeat of a class stays in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mistral_tui.code.definitions import Definition, Key, Outline, indent, is_gap
from mistral_tui.code.eliding import fill, gaps
from mistral_tui.code.errors import CodeError
from mistral_tui.code.likeness import alike, ends_early, guard, telling
from mistral_tui.code.styles import Style
from mistral_tui.sanitize import one_line

_DECORATED = ("@", "#[", "template")
_NAME = re.compile(r"[\w$\"'.-]+\Z")
_LABEL = re.compile(r"\s*(?:\w+\s*:(?!:)|#\s*\w+)")  # `public:`, `#ifdef`
_MOST_OF = 0.8  # of a class are repeated: the block is all of it, and the rest is to go
_SMALL = 20  # lines that a new version may be shorter by, however much that is
_PART = 4  # … and more lines, if it has at least a part like that of them


@dataclass(slots=True)
class _Member:
    """A definition with what is attached above it, a statement, an empty line or a gap."""

    lines: list[str]
    key: Key | str = ""
    definition: Definition | None = None
    start: int = 0
    """Where in the lines the header is."""

    @property
    def blank(self) -> bool:
        return not any(line.strip() for line in self.lines)

    @property
    def gap(self) -> bool:
        return len(self.lines) == 1 and is_gap(self.lines[0])

    @property
    def text(self) -> list[str]:
        return [line.strip() for line in self.lines]


@dataclass(slots=True)
class _Body:
    """The lines of a class: its header, what is in it, and what closes it."""

    head: list[str]
    members: list[_Member]
    closing: list[str]


def shifted(lines: Sequence[str], to: str, header: int = 0) -> list[str]:
    """The lines moved so that the header has the indentation `to`; never retabbed."""
    before = indent(lines[header])
    return [
        to + line[len(before) :] if line.strip() and line.startswith(before) else line
        for line in lines
    ]


def renewed(new: Sequence[str], old: Sequence[str], group: str, style: Style) -> list[str]:
    """The new lines of a definition, with what they leave out taken from the old ones.

    Args:
        group: that of its key.

    Raises:
        CodeError: something is missing, and it is not clear whether it was left out.
    """
    name = f"“{one_line(old[0].strip(), 50)}”"
    if group not in ("function", "guard"):
        there, here = _body(old, style), _body(new, style)
        if there is not None and any(_is_function(member) for member in there.members):
            if here is None:
                raise CodeError(f"The block has nothing of what {name} has in the file")
            return _merged(here, there, style)
    if gaps(new):
        return fill(new, old, style)
    if group not in ("function", "guard"):
        guard(old, new, name)
    elif sum(map(telling, old)) > _SMALL + _PART * sum(map(telling, new)):
        raise CodeError(f"The block has too little in place of the {len(old)} lines of {name}")
    elif style == "hash" and ends_early(old, new):
        raise CodeError(f"The block stops within {name}")
    return list(new)


def whole(lines: Sequence[str]) -> None:
    """Refuse something new that leaves lines out.

    Raises:
        CodeError: it does.
    """
    if gaps(lines):
        line = next(line for line in lines if line.strip() and not is_gap(line))
        raise CodeError(
            f"The answer leaves lines out of “{one_line(line.strip(), 50)}”, which is not in the "
            "file"
        )


def attached(mine: Sequence[str], above: Sequence[str]) -> Sequence[str]:
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


def _is_function(member: _Member) -> bool:
    return member.definition is not None and member.definition.key.group != "variable"


# ── taking a class apart ────────────────────────────────────────────────────────────


def _body(lines: Sequence[str], style: Style) -> _Body | None:
    outline = Outline(lines, style)
    size = len(lines)
    if style == "hash":
        head = outline.header_end(0)
        word = lines[-1].strip() == "end" and indent(lines[-1]) == indent(lines[0])
        tail = size - word
    else:
        head = next((at + 1 for at in range(size) if "{" in outline.code[at]), size)
        tail = size - 1
        closed = outline.code[-1].lstrip()[:1] in ("}", ")", "]")
        if head >= size or outline.depth[head] <= outline.depth[0] or not closed:
            return None
    if head >= tail and size == head:
        return None
    return _Body(list(lines[:head]), _members(outline, head, tail), list(lines[tail:]))


def _members(outline: Outline, at: int, tail: int) -> list[_Member]:
    children = {child.first: child for child in outline.children(at, tail)}
    found: list[_Member] = []
    while at < tail:
        child = children.get(at)
        if child is not None:
            end = min(max(child.end, at + 1), tail)
            found.append(_Member(list(outline.lines[at:end]), child.key, child, child.start - at))
            at = end
            continue
        line, code = outline.lines[at], outline.code[at]
        end = at + 1
        if code.strip() and not _LABEL.fullmatch(code) and not is_gap(line):
            end = min(max(outline.end(at), end), tail)
            # A child that begins on the same level is none of its.
            end = min([first for first in children if at < first < end
                       and outline.depth[first] == outline.depth[at]
                       and indent(outline.lines[first]) == indent(line)], default=end)  # fmt: skip
        else:
            while end < tail and outline.inside[end]:
                end += 1
        doc = outline.style == "hash" and not any(member.key for member in found)
        key = _key(line, code, doc)
        found.append(_Member(list(outline.lines[at:end]), key))
        at = end
    return found


def _key(line: str, code: str, doc: bool) -> str:
    """What a statement is about: `size` of `static int size = 3;`; a comment is about itself."""
    if not code.strip():
        return f"# {line.strip()}" if line.strip() and not is_gap(line) else ""
    if doc and code.strip()[:1] == "\1":
        return '"""'
    words = re.split(r"[:=;({,]", line.strip(), maxsplit=1)[0].split()
    match = _NAME.search(words[-1]) if words else None
    return match[0] if match else line.strip()


# ── putting it together ─────────────────────────────────────────────────────────────


def _merged(mine: _Body, theirs: _Body, style: Style) -> list[str]:
    """The old class with the new one's members; just the new one, if it is plainly complete."""
    to, base = _indent(theirs.members), _indent(mine.members)
    for member in mine.members:
        if not member.blank and indent(member.lines[member.start]) == base != to:
            member.lines = shifted(member.lines, to, member.start)
    pairs = _pairs(mine.members, theirs.members)
    for number, member in enumerate(mine.members):
        if number not in pairs and not member.gap:
            whole(member.lines)
            _elsewhere(member, theirs, style)
    known = set(pairs.values())
    left = [n for n, m in enumerate(theirs.members) if n not in known and _code(m)]
    done = {
        number: _emit(mine.members[number], theirs.members[other], style)
        for number, other in pairs.items()
    }
    if not any(m.gap for m in mine.members) and _complete(theirs.members, left, pairs):
        lines = [done.get(n, m.lines) for n, m in enumerate(mine.members)]
    else:
        lines = _placed(mine.members, theirs.members, pairs, done)
    return [*mine.head, *(line for part in lines for line in part), *theirs.closing]


def _elsewhere(member: _Member, theirs: _Body, style: Style) -> None:
    """Refuse something new that the old class has within a statement or a function.

    Raises:
        CodeError: it has.
    """
    if _is_function(member):
        for old in theirs.members:
            if old.key != member.key and member.key in Outline(old.lines, style).places:
                raise CodeError(f"“{_name(member)}” is within something else in the file")


def _name(member: _Member) -> str:
    return one_line(member.key.name if isinstance(member.key, Key) else member.key, 50)


def _indent(members: Sequence[_Member]) -> str:
    """How far what is in a class is indented: its functions, or else its first statement."""
    told = sorted(filter(_code, members), key=_is_function, reverse=True)
    return indent(told[0].lines[told[0].start]) if told else ""


def _code(member: _Member) -> bool:
    return not member.blank and not str(member.key).startswith("# ") and not member.gap


def _complete(theirs: Sequence[_Member], left: Sequence[int], pairs: dict[int, int]) -> bool:
    """Whether all of a class was repeated but what is to go: nearly all of it, both ends too, and
    in the same order."""
    there = [n for n, member in enumerate(theirs) if _code(member)]
    if not left:
        return False  # so that its comments stay
    order = [pairs[n] for n in sorted(pairs)]
    ends = there[0] not in left and there[-1] not in left and order == sorted(order)
    return ends and len(left) <= (1 - _MOST_OF) * len(there)


def _pairs(mine: Sequence[_Member], theirs: Sequence[_Member]) -> dict[int, int]:
    """Which of the new members are new versions of which old ones.

    Raises:
        CodeError: there are several of a name.
    """
    places: dict[tuple[str, ...], list[int]] = {}
    named: dict[Key | str, list[int]] = {}
    for number, member in enumerate(theirs):
        if not member.blank:
            places.setdefault(tuple(member.text), []).append(number)
            named.setdefault(member.key, []).append(number)
    pairs: dict[int, int] = {}
    for number, member in enumerate(mine):
        if not member.blank and not member.gap and (same := places.get(tuple(member.text))):
            pairs[number] = same.pop(0)
    taken = set(pairs.values())
    counts = Counter(m.key for n, m in enumerate(mine) if n not in pairs)
    turn: Counter[Key | str] = Counter()
    for number, member in enumerate(mine):
        if number in pairs or member.blank or member.gap:
            continue
        found = [n for n in named.get(_meant(member, theirs), ()) if n not in taken]
        if isinstance(member.key, str) and not member.key.startswith("# "):
            found = found if len(found) == counts[member.key] == 1 else []
        elif isinstance(member.key, Key) and len(found) > 1:
            header = member.lines[member.start].strip()
            equal = [n for n in found if theirs[n].lines[theirs[n].start].strip() == header]
            if len(equal) == 1:
                found = equal
            elif len(found) + turn[member.key] != counts[member.key]:
                raise CodeError(f"The class has {len(found)} members named {_name(member)}")
        if found:
            pairs[number] = found[0]
            taken.add(found[0])
            turn[member.key] += 1
    _comments(mine, theirs, pairs)
    return pairs


def _meant(member: _Member, theirs: Sequence[_Member]) -> Key | str:
    """The key, or that of the setter which has the same header, if its decorator was left out."""
    if not isinstance(member.key, Key) or member.key.group != "function" or member.start:
        return member.key
    header = member.lines[0].strip()
    same = [one.key for one in theirs if one.lines[one.start].strip() == header]
    return same[0] if len(same) == 1 else member.key


def _comments(mine: Sequence[_Member], theirs: Sequence[_Member], pairs: dict[int, int]) -> None:
    """Comments that changed a bit are new versions, too."""
    taken = set(pairs.values())
    old = [n for n, m in enumerate(theirs) if n not in taken and str(m.key).startswith("# ")][:50]
    for number, member in enumerate(mine):
        if number not in pairs and str(member.key).startswith("# "):
            near = next((n for n in old if alike(member.lines[0], theirs[n].lines[0])), None)
            if near is not None:
                pairs[number] = near
                old.remove(near)


def _emit(new: _Member, old: _Member, style: Style) -> list[str]:
    if new.text == old.text:
        return old.lines
    lead, above = new.lines[: new.start], old.lines[: old.start]
    group = old.key.group if isinstance(old.key, Key) else "function"
    lines = renewed(new.lines[new.start :], old.lines[old.start :], group, style)
    return [*attached(lead, above), *_ended(lines, old.lines)]


def _ended(new: list[str], old: Sequence[str]) -> list[str]:
    """The comma or semicolon behind a last line stays."""
    last, before = new[-1].rstrip(), old[-1].rstrip()
    if before[-1:] in (",", ";") and last == before[:-1]:
        return [*new[:-1], old[-1]]
    return new


def _placed(
    mine: Sequence[_Member], theirs: Sequence[_Member], pairs: dict[int, int],
    done: dict[int, list[str]],
) -> list[list[str]]:  # fmt: skip
    """All old members, with the new ones in their places and at best beside those that they were
    beside."""
    behind: dict[int, list[_Member]] = {}  # by the old member they follow; -1: none
    anchor: int | None = None
    waiting: list[_Member] = []
    for number, member in enumerate([*mine, _Member(["\0"])]):
        if member.gap:
            for one in waiting:
                behind.setdefault(_last(theirs, one), []).append(one)
            anchor, waiting = None, []
        elif number in pairs:
            anchor = pairs[number]
            behind.setdefault(anchor - 1, []).extend(waiting)
            waiting = []
        elif member.blank:
            continue
        elif anchor is None:
            waiting.append(member)
        else:
            behind.setdefault(_past(theirs, anchor, member), []).append(member)
    spaced = any(m.blank for m in theirs) or any(m.blank for m in mine)
    back = {other: lines for number, other in pairs.items() for lines in [done[number]]}
    out: list[list[str]] = []
    after = False  # whether a new definition was placed right before
    for number in range(-1, len(theirs)):
        if number >= 0:
            if after and not theirs[number].blank:
                out.append([""])
            out.append(back.get(number, theirs[number].lines))
            after = False
        for member in behind.get(number, ()):
            defines = _is_function(member)
            if spaced and out and (defines or after) and out[-1][-1].strip():
                out.append([""])
            out.append(member.lines)
            after = spaced and defines
    return out


def _last(theirs: Sequence[_Member], member: _Member) -> int:
    """Behind which old member a new one comes that nothing is beside."""
    same = [n for n, one in enumerate(theirs) if _is_function(one) == _is_function(member)
            and _code(one)]  # fmt: skip
    if same and not _is_function(member):  # statements: with the first of them
        first = next((n for n, one in enumerate(theirs) if _is_function(one)), len(theirs))
        same = [n for n in same if n < first] or [-1]
    return same[-1] if same else -1


def _past(theirs: Sequence[_Member], anchor: int, member: _Member) -> int:
    """A function comes behind all the statements that the one it follows is among."""
    if _is_function(member) and not _is_function(theirs[anchor]):
        while anchor + 1 < len(theirs) and not theirs[anchor + 1].blank:
            if _is_function(theirs[anchor + 1]):
                break
            anchor += 1
    return anchor
