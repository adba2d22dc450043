"""Regular expressions of JSON Schema (`pattern`), as far as a grammar can hold to them: literals,
classes, groups, alternatives, counts, and anchors at the ends. What is read here means the same
to Python's `re`, or less: `\\d`, `\\w` and `\\s` are ASCII's only, as in JavaScript.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from inference.constrained.grammar import Alt, Chars, Node, Ref, Repeat, Seq, Text

_LONGEST, _DEEPEST, _LARGEST_COUNT = 2000, 40, 1_000_000
_LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_DIGIT = ((0x30, 0x39),)
_WORD = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE = ((0x09, 0x0D), (0x20, 0x20))
# All that is space to any engine.
_ANY_SPACE = (
    *((0x09, 0x0D), (0x1C, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x180E, 0x180E)),
    *((0x2000, 0x200F), (0x2028, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
)
_LINE_ENDS = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))
_CONTROLS = {"n": 0x0A, "r": 0x0D, "t": 0x09, "f": 0x0C, "v": 0x0B}
_SHORT = {0x22: '"', 0x5C: "\\", 0x08: "b", 0x0C: "f", 0x0A: "n", 0x0D: "r", 0x09: "t"}

Ranges = tuple[tuple[int, int], ...]


class NotHeld(Exception):
    """No grammar is made of this pattern."""


@dataclass(frozen=True, slots=True)
class _Set:
    """One character of these."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class _Any:
    """Any character, in any spelling."""


@dataclass(frozen=True, slots=True)
class _Cat:
    parts: tuple[_Part, ...]


@dataclass(frozen=True, slots=True)
class _Or:
    choices: tuple[_Part, ...]


@dataclass(frozen=True, slots=True)
class _Many:
    part: _Part
    least: int
    most: int | None


_Part = _Set | _Any | _Cat | _Or | _Many


def pattern_node(
    pattern: str, char: str, least: int = 0, most: int | None = None
) -> tuple[Node, bool]:
    """What stands between the quotes of a JSON string that matches `pattern` and has `least` to
    `most` characters, and whether it holds to these numbers. `char` is the name of the rule for
    one character of any string. Raises `NotHeld`."""
    part = _Reader(pattern).read()
    part, held = _fit(part, least, most)
    return _node(part, char), held


class _Reader:
    def __init__(self, pattern: str) -> None:
        if len(pattern) > _LONGEST:
            raise NotHeld
        self.pattern = pattern
        self.at = 0
        self.depth = 0

    def read(self) -> _Part:
        """The whole pattern. At its top, a choice has anchors of its own."""
        choices: list[_Part] = []
        while True:
            begins = self.take("^") or self.take(r"\A")
            parts = self.parts(top=True)
            ends = self.take("$") or self.take(r"\Z")
            if not begins:
                parts.insert(0, _Many(_Any(), 0, None))
            if not ends:
                parts.append(_Many(_Any(), 0, None))
            choices.append(_Cat(tuple(parts)))
            if not self.take("|"):
                break
        # `^(^a$)$` and `^a$b` end up here.
        if self.at < len(self.pattern):
            raise NotHeld
        return choices[0] if len(choices) == 1 else _Or(tuple(choices))

    def take(self, text: str) -> bool:
        found = self.pattern.startswith(text, self.at)
        self.at += len(text) if found else 0
        return found

    def next(self) -> str:
        if self.at >= len(self.pattern):
            raise NotHeld
        self.at += 1
        return self.pattern[self.at - 1]

    def parts(self, top: bool = False) -> list[_Part]:
        """A sequence, up to `|`, `)`, an anchor or the end."""
        parts: list[_Part] = []
        while self.at < len(self.pattern):
            here = self.pattern[self.at]
            if here in "|)" or (here == "$" and top) or self.pattern.startswith(r"\Z", self.at):
                break
            parts.append(self.counted(self.atom()))
        return parts

    def group(self) -> _Part:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise NotHeld
        if self.take("?") and not self.take(":"):
            if not self.take("P<"):
                raise NotHeld
            while self.next() != ">":
                pass
        choices: list[_Part] = []
        while True:
            choices.append(_Cat(tuple(self.parts())))
            if not self.take("|"):
                break
        if not self.take(")"):
            raise NotHeld
        self.depth -= 1
        return choices[0] if len(choices) == 1 else _Or(tuple(choices))

    def atom(self) -> _Part:
        char = self.next()
        if char == "(":
            return self.group()
        if char == "[":
            return _Set(self.set())
        if char == ".":
            return _Set(without(_LINE_ENDS))
        if char == "\\":
            return _Set(self.escape()[0])
        if char in "^$*+?":
            raise NotHeld
        return _Set(((ord(char), ord(char)),))

    def counted(self, part: _Part) -> _Part:
        begin = self.at
        if self.take("*"):
            least, most = 0, None
        elif self.take("+"):
            least, most = 1, None
        elif self.take("?"):
            least, most = 0, 1
        elif self.take("{"):
            counts = self.counts()
            if counts is None:  # a brace and nothing else
                self.at = begin
                return part
            least, most = counts
        else:
            return part
        self.take("?")  # as few as possible: the same texts
        if self.pattern[self.at : self.at + 1] in ("*", "+", "?", "{"):
            raise NotHeld
        return _Many(part, least, most)

    def counts(self) -> tuple[int, int | None] | None:
        end = self.pattern.find("}", self.at)
        low, comma, high = self.pattern[self.at : max(end, self.at)].partition(",")
        if not all(not text or (text.isascii() and text.isdigit()) for text in (low, high)):
            return None
        if not low:  # `{,3}` is a count to Python, and none to JavaScript
            if comma:
                raise NotHeld
            return None
        self.at = end + 1
        if len(low) > 7 or len(high) > 7:
            raise NotHeld
        least = int(low)
        most = least if not comma else int(high) if high else None
        if least > _LARGEST_COUNT or (most is not None and most < least):
            raise NotHeld
        return least, most

    def escape(self) -> tuple[Ranges, Ranges]:
        """What an escape surely stands for, and what it stands for at most."""
        char = self.next()
        if char == "d":
            return _DIGIT, (*_DIGIT, (0x80, _LAST))
        if char == "w":
            return _WORD, (*_WORD, (0x80, _LAST))
        if char == "s":
            return _SPACE, _ANY_SPACE
        if char == "D":
            return both(without(_DIGIT), ((0, 0x65F),)), without(_DIGIT)
        if char == "W":
            return both(without(_WORD), ((0, 0x7F),)), without(_WORD)
        if char == "S":
            return without(_ANY_SPACE), without(_SPACE)
        if char in _CONTROLS:
            return self.one(_CONTROLS[char])
        if char in "xu":
            size = 2 if char == "x" else 4
            digits = self.pattern[self.at : self.at + size]
            if len(digits) < size or not all(d in "0123456789abcdefABCDEF" for d in digits):
                raise NotHeld
            self.at += size
            return self.one(int(digits, 16))
        if char.isalnum() or not char.isascii():
            raise NotHeld
        return self.one(ord(char))

    def one(self, code: int) -> tuple[Ranges, Ranges]:
        return ((code, code),), ((code, code),)

    def set(self) -> Ranges:
        negated = self.take("^")
        sure: list[tuple[int, int]] = []
        at_most: list[tuple[int, int]] = []
        first = True
        while first or not self.take("]"):
            low = self.member()
            first = False
            if self.pattern[self.at : self.at + 1] == "-" and self.pattern[
                self.at + 1 : self.at + 2
            ] not in ("]", ""):
                self.at += 1
                high = self.member()
                ends = (*low[0], *high[0])
                if any(a != b for a, b in ends) or len(ends) != 2 or ends[0][0] > ends[1][0]:
                    raise NotHeld
                low = (((ends[0][0], ends[1][0]),),) * 2
            sure += low[0]
            at_most += low[1]
        return without(at_most) if negated else _tidy(sure)

    def member(self) -> tuple[Ranges, Ranges]:
        char = self.next()
        if char == "\\":
            if self.take("b"):
                return self.one(0x08)
            return self.escape()
        if char in "[&~|" and self.pattern[self.at : self.at + 1] in (char, ":"):
            raise NotHeld  # set operations, in engines to come
        return self.one(ord(char))


def _tidy(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """In order, joined, without surrogates."""
    tidy: list[tuple[int, int]] = []
    cut: list[tuple[int, int]] = []
    for low, high in ranges:
        if high < _SURROGATES[0] or low > _SURROGATES[1]:
            cut.append((low, high))
            continue
        cut += [(low, _SURROGATES[0] - 1), (_SURROGATES[1] + 1, high)]
    for low, high in sorted(pair for pair in cut if pair[0] <= pair[1]):
        if tidy and low <= tidy[-1][1] + 1:
            tidy[-1] = (tidy[-1][0], max(high, tidy[-1][1]))
        else:
            tidy.append((low, high))
    return tuple(tidy)


def without(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """All characters but these."""
    left: list[tuple[int, int]] = []
    at = 0
    for low, high in sorted(ranges):
        if low > at:
            left.append((at, low - 1))
        at = max(at, high + 1)
    return _tidy([*left, (at, _LAST)] if at <= _LAST else left)


def both(one: Ranges, other: Ranges) -> Ranges:
    """What is in both."""
    return _tidy((max(a, c), min(b, d)) for a, b in one for c, d in other if max(a, c) <= min(b, d))


def _width(part: _Part) -> tuple[int, int | None]:
    """The fewest and most characters of a text of `part`."""
    if isinstance(part, _Set | _Any):
        return 1, 1
    if isinstance(part, _Many):
        least, most = _width(part.part)
        if most == 0 or part.most == 0:
            return 0, 0
        none = most is None or part.most is None
        return least * part.least, None if none else (most or 0) * (part.most or 0)
    widths = [_width(each) for each in (part.parts if isinstance(part, _Cat) else part.choices)]
    leasts, mosts = [width[0] for width in widths], [width[1] for width in widths]
    known = [most for most in mosts if most is not None]
    all_known = len(known) == len(mosts)
    if isinstance(part, _Cat):
        return sum(leasts), sum(known) if all_known else None
    return min(leasts), max(known) if all_known else None


def _fit(part: _Part, least: int, most: int | None) -> tuple[_Part, bool]:
    """`part` with `least` to `most` characters, as far as that can be had by narrowing counts;
    and whether it holds to these numbers."""
    low, high = _width(part)
    if low >= least and (most is None or (high is not None and high <= most)):
        return part, True
    if isinstance(part, _Or):
        pairs = [_fit(choice, least, most) for choice in part.choices]
        return _Or(tuple(pair[0] for pair in pairs)), all(pair[1] for pair in pairs)
    parts = part.parts if isinstance(part, _Cat) else (part,)
    if len(parts) == 1 and isinstance(parts[0], _Cat | _Or):
        return _fit(parts[0], least, most)
    widths = [_width(each) for each in parts]
    free = [n for n, (a, b) in enumerate(widths) if a != b]
    if not free and (low < least or (most is not None and low > most)):
        return _Or(()), True  # no text is like that
    if len(free) != 1 or not isinstance(many := parts[free[0]], _Many):
        return part, False
    once = _width(many.part)
    if once[0] != once[1] or not once[0]:
        return part, False
    # Of one loop over something of a fixed width, a number of rounds is a number of characters.
    width, fixed = once[0], low - widths[free[0]][0]
    fewest = max(many.least, -(-(least - fixed) // width))
    tops = (many.most, None if most is None else (most - fixed) // width)
    top = min((count for count in tops if count is not None), default=None)
    if top is not None and top < fewest:
        return _Or(()), True
    narrowed = replace(many, least=fewest, most=top)
    return _Cat((*parts[: free[0]], narrowed, *parts[free[0] + 1 :])), True


def _node(part: _Part, char: str) -> Node:
    if isinstance(part, _Any):
        return Ref(char)
    if isinstance(part, _Set):
        return set_node(part.ranges)
    if isinstance(part, _Many):
        return Repeat(_node(part.part, char), part.least, part.most)
    if isinstance(part, _Or):
        return Alt(tuple(_node(choice, char) for choice in part.choices))
    nodes: list[Node] = []
    for each in part.parts:
        node = _node(each, char)
        if isinstance(node, Text) and nodes and isinstance(nodes[-1], Text):
            nodes[-1] = Text(nodes[-1].text + node.text)
        else:
            nodes.append(node)
    return nodes[0] if len(nodes) == 1 else Seq(tuple(nodes))


def set_node(ranges: Ranges) -> Node:
    """One character of `ranges` as it stands in a JSON string."""
    special = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C))
    plain = both(ranges, without(special))
    spelt: list[Node] = []
    for low, high in both(ranges, special):
        for code in range(low, high + 1):
            short = _SHORT.get(code)
            spelt.append(Text(f"\\{short}" if short else f"\\u{code:04x}"))
    if len(plain) == 1 and plain[0][0] == plain[0][1]:
        spelt.insert(0, Text(chr(plain[0][0])))
    elif plain:
        spelt.insert(0, Chars(plain))
    return spelt[0] if len(spelt) == 1 else Alt(tuple(spelt))
