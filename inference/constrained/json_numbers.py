"""JSON numbers within bounds, as grammars that compare digit by digit."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from inference.constrained.grammar import Alt, Chars, Node, Repeat, Seq, Text

# Any integer of so many digits is exact as a float, and as a number in JavaScript.
_DIGITS = 15
_MOST_DIGITS = 20
_MOST_FRACTION = 12
_EXACT = Context(prec=1000)
_DIGIT = Chars(((0x30, 0x39),))
_SIGN = Repeat(Text("-"), 0, 1)
_WHOLE = Alt((Text("0"), Seq((Chars(((0x31, 0x39),)), Repeat(_DIGIT, 0, _DIGITS - 1)))))
_FRACTION = Repeat(Seq((Text("."), Repeat(_DIGIT, 1, _DIGITS))), 0, 1)
_E, _PLUS = Chars(((0x45, 0x45), (0x65, 0x65))), Chars(((0x2B, 0x2B), (0x2D, 0x2D)))
_EXPONENT = Repeat(Seq((_E, Repeat(_PLUS, 0, 1), Repeat(_DIGIT, 1, 2))), 0, 1)
INTEGER: Node = Seq((_SIGN, _WHOLE))
NUMBER: Node = Seq((_SIGN, _WHOLE, _FRACTION, _EXPONENT))


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the greatest number, None where there is none; `open` ends are not in."""

    low: int | float | None = None
    high: int | float | None = None
    low_open: bool = False
    high_open: bool = False

    def within(self, other: Bounds) -> Bounds:
        """What is within both."""
        low, low_open = self.low, self.low_open
        if other.low is not None and (low is None or other.low >= low):
            low_open = other.low_open or (low == other.low and low_open)
            low = other.low
        high, high_open = self.high, self.high_open
        if other.high is not None and (high is None or other.high <= high):
            high_open = other.high_open or (high == other.high and high_open)
            high = other.high
        return Bounds(low, high, low_open, high_open)

    def hold(self, number: int | float) -> bool:
        """Whether `number` is within."""
        if self.low is not None and (number < self.low or (self.low_open and number == self.low)):
            return False
        return self.high is None or not (
            number > self.high or (self.high_open and number == self.high)
        )


def integers(bounds: Bounds) -> Node:
    """The integers within, those without a bound on one side with a bounded number of digits."""
    low, high = grid(bounds, 0)
    if low is None and high is None:
        return INTEGER
    return between(*closed(low, high, 0), 0)


def numbers(bounds: Bounds) -> Node:
    """Decimal numbers within."""
    if bounds.low is None and bounds.high is None:
        return NUMBER
    # Two different decimals of at most 15 digits are two different floats: with so many
    # fraction digits at most, what is beyond an open end as text is beyond it as a float too.
    ends = [abs(end) for end in (bounds.low, bounds.high) if end is not None]
    digits = max(len(str(int(end))) for end in ends)
    fraction = max(0, min(_MOST_FRACTION, _DIGITS - digits))
    least, greatest = closed(*grid(bounds, fraction), fraction)
    return between(least, greatest, fraction)


def grid(bounds: Bounds, fraction: int) -> tuple[int | None, int | None]:
    """The bounds as numbers of steps of 10**-fraction, the ends being in."""
    low = high = None
    if bounds.low is not None:
        scaled = _scaled(bounds.low, fraction)
        low = int(scaled.to_integral_value(ROUND_CEILING, _EXACT))
        low += bounds.low_open and low == scaled
    if bounds.high is not None:
        scaled = _scaled(bounds.high, fraction)
        high = int(scaled.to_integral_value(ROUND_FLOOR, _EXACT))
        high -= bounds.high_open and high == scaled
    return low, high


def _scaled(end: int | float, fraction: int) -> Decimal:
    return Decimal(end if isinstance(end, int) else repr(end)).scaleb(fraction, _EXACT)


def closed(low: int | None, high: int | None, fraction: int) -> tuple[int, int]:
    """With an end on both sides, far out where there was none, and no further than is of use."""
    far = 10 ** (_DIGITS + fraction) - 1
    limit = 10 ** (_MOST_DIGITS + fraction) - 1
    if low is None and high is None:
        return -far, far
    if low is None:
        assert high is not None
        low = min(-far, -(10 ** (len(str(abs(high))) + 1)))
    if high is None:
        high = max(far, 10 ** (len(str(abs(low))) + 1))
    if low < -limit < high:
        low = -limit
    if low < limit < high:
        high = limit
    return low, high


def between(low: int, high: int, fraction: int) -> Node:
    """The texts of low … high, both counted in steps of 10**-fraction."""
    choices: list[Node] = []
    if low <= 0 <= high or high > 0:
        choices += _positive(max(low, 0), high, fraction)
    if low < 0:
        choices += [Seq((Text("-"), choice)) for choice in _positive(max(-high, 0), -low, fraction)]
    return choices[0] if len(choices) == 1 else Alt(tuple(choices))


def _positive(low: int, high: int, fraction: int) -> list[Node]:
    """The same for 0 ≤ low; one choice for every number of digits before the point."""
    choices: list[Node] = []
    if low > high:
        return choices
    whole_low, whole_high = (len(str(end // 10**fraction)) for end in (low, high))
    for size in range(whole_low, whole_high + 1):
        least = 0 if size == 1 else 10 ** (size - 1)
        first = max(low, least * 10**fraction)
        last = min(high, 10 ** (size + fraction) - 1)
        width = size + fraction
        a = str(first).zfill(width)
        b = str(last).zfill(width)
        choices.append(_digits(a, b, size, fraction))
    return choices


def _digits(low: str, high: str, whole: int, fraction: int) -> Node:
    """The digit strings from `low` to `high`, `whole` digits before the point. Those behind it
    may be fewer than in `low` and `high`, which are all of one length."""
    if not low and not high:
        return Seq(())
    if low[:1] == high[:1] and whole:
        return _join(Text(low[0]), _digits(low[1:], high[1:], whole - 1, fraction))
    if not whole:
        return _point(low, high)
    lowest, highest = not low.strip("0"), not high.strip("9")
    if lowest and highest:
        return _free(whole, fraction)
    first, last = int(low[0]), int(high[0])
    choices: list[Node] = []
    rest_low, rest_high = low[1:], high[1:]
    if rest_low.strip("0"):
        rest = _digits(rest_low, "9" * len(rest_low), whole - 1, fraction)
        choices.append(_join(Text(low[0]), rest))
        first += 1
    behind: list[Node] = []
    if rest_high.strip("9"):
        rest = _digits("0" * len(rest_high), rest_high, whole - 1, fraction)
        behind.append(_join(Text(high[0]), rest))
        last -= 1
    if first <= last:
        choices.append(_join(_span(first, last), _free(whole - 1, fraction)))
    choices += behind
    return choices[0] if len(choices) == 1 else Alt(tuple(choices))


def _free(whole: int, fraction: int) -> Node:
    """Any `whole` digits, and any up to `fraction` behind the point."""
    digits = Repeat(_DIGIT, whole, whole)
    if not fraction:
        return digits
    return _join(digits, Repeat(Seq((Text("."), Repeat(_DIGIT, 1, fraction))), 0, 1))


def _point(low: str, high: str) -> Node:
    """The point and the digits behind it, or nothing: from 0.low to 0.high."""
    size = len(low)
    low, high = low.rstrip("0"), high if high.strip("9") else ""
    behind: Node
    if not low and not high:
        behind = Repeat(_DIGIT, 1, size)
    else:
        found = _behind(low, high or None, size, some=True)
        if found is None:
            return Seq(()) if not low else Alt(())
        behind = found
    behind = Seq((Text("."), behind))
    return behind if low else Repeat(behind, 0, 1)


def _behind(low: str, high: str | None, left: int, some: bool = False) -> Node | None:
    """Up to `left` digits that come to `low` or more and to `high` or less, as digits behind a
    point; at least one of them if `some`. None: there are none."""
    if high is not None:
        high = high.rstrip("0")
    if not low and high is None:
        return Repeat(_DIGIT, 1 if some else 0, left)
    if not low and not high:
        return Repeat(Text("0"), 1 if some else 0, left)
    choices: list[Node] = []
    if not low and not some:
        choices.append(Seq(()))
    if left:
        first = int(low[0]) if low else 0
        last = int(high[0]) if high else 9 if high is None else 0
        for digit in sorted({first, last}):
            below = low[1:] if low and digit == first else ""
            above = None  # behind a smaller digit than the last one, anything is below `high`
            if high is not None and digit == last:
                above = high[1:]
            rest = _behind(below, above, left - 1)
            if rest is not None and first <= last:
                choices.append(_join(Text(str(digit)), rest))
        if first + 1 <= last - 1:
            choices.append(_join(_span(first + 1, last - 1), Repeat(_DIGIT, 0, left - 1)))
    if not choices:
        return None
    return choices[0] if len(choices) == 1 else Alt(tuple(choices))


def _span(first: int, last: int) -> Node:
    """One digit."""
    if first == last:
        return Text(str(first))
    return Chars(((0x30 + first, 0x30 + last),))


def _join(first: Node, second: Node) -> Node:
    """One after the other, without needless nesting."""
    parts = (*_parts(first), *_parts(second))
    return parts[0] if len(parts) == 1 else Seq(parts)


def _parts(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Seq):
        return node.parts
    if isinstance(node, Repeat) and node.most == 0:
        return ()
    return (node,)
