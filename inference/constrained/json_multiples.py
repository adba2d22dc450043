"""JSON numbers that are multiples of another one (`multipleOf`), as grammars."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import gcd

from inference.constrained.grammar import Alt, Node, Seq, Text
from inference.constrained.json_numbers import Bounds, between, closed, grid

_MOST_LISTED = 1000
_LARGEST = 10**15 - 1  # any integer up to here is exact as a float
_MOST_FRACTION = 12


def multiples(bounds: Bounds, of: int | float, *, whole: bool) -> Node | None:
    """Multiples of `of` within, only integers if `whole`: all of them where that is a small
    grammar, else those nearest to zero. All pass a check that divides floats. None: it is not
    known which would."""
    if of == int(of):
        low, high = closed(*grid(bounds, 0), 0)
        return _stepped(low, high, int(of), 0)
    decimal = Decimal(repr(of)).normalize()
    fraction = -int(decimal.as_tuple().exponent)
    if fraction > _MOST_FRACTION or of > _LARGEST:
        return None
    step = int(decimal.scaleb(fraction))
    unit = step // gcd(step, 10**fraction)  # the least integer that is a multiple
    exact = Fraction(step, 10**fraction)
    error = Fraction(of) / exact - 1
    if not error and not whole:
        ends = _within_reach(bounds, fraction)
        return _stepped(*ends, step, fraction) if ends else None
    choices: list[Node] = []
    # What is exact as a float, divided by a float that is off by less than this, is rounded to
    # the true quotient.
    ends = _within_reach(bounds, 0)
    if abs(error) <= Fraction(1, 2**54) and ends:
        choices.append(_stepped(*ends, unit, 0))
        if whole:
            return choices[0]
    ends = _within_reach(bounds, 0 if whole else fraction)
    if ends:
        listed = _listed(*ends, unit if whole else step, 0 if whole else fraction)
        texts = [text for text in listed if (float(text) / of).is_integer()]
        choices += [Alt(tuple(map(Text, texts)))] if texts else []
    return Alt(tuple(choices)) if choices else None


def _within_reach(bounds: Bounds, fraction: int) -> tuple[int, int] | None:
    """The bounds as numbers of steps of 10**-fraction; None: all is beyond what is exact."""
    low, high = closed(*grid(bounds, fraction), fraction)
    if low <= high and (low > _LARGEST or high < -_LARGEST):
        return None
    return max(low, -_LARGEST), min(high, _LARGEST)


def _stepped(low: int, high: int, step: int, fraction: int) -> Node:
    """The multiples of `step` from `low` to `high`, all in steps of 10**-fraction."""
    size = fraction  # the multiples are told by so many last digits
    while 10**size % step and 10**size < _MOST_LISTED * step:
        size += 1
    few = high // step - -(-low // step) < _MOST_LISTED
    if few or 10**size % step or 10**size > _MOST_LISTED * step:
        return Alt(tuple(map(Text, _listed(low, high, step, fraction))))
    choices = _blocks(max(low, 0), high, step, size, fraction)
    below = _blocks(max(-high, 1), -low, step, size, fraction)
    return Alt((*choices, *(Seq((Text("-"), choice)) for choice in below)))


def _blocks(low: int, high: int, step: int, size: int, fraction: int) -> list[Node]:
    """The same for 0 ≤ low: whole blocks of 10**size by their last digits, the rest one by one."""
    block = 10**size
    first, last = max(-(-low // block), 1), (high + 1) // block - 1
    if first > last:
        return [Text(text) for text in _texts(low, high, step, fraction)]
    edges = [
        *_texts(low, first * block - 1, step, fraction),
        *_texts((last + 1) * block, high, step, fraction),
    ]
    ends: list[Node] = []
    for number in range(0, block, step):
        digits = str(number).zfill(size) if size else ""
        at = size - fraction
        ends += [Text(digits[:at] + behind) for behind in _behind(digits[at:])]
    return [*map(Text, edges), Seq((between(first, last, 0), Alt(tuple(ends))))]


def _listed(low: int, high: int, step: int, fraction: int) -> list[str]:
    """The texts of the multiples nearest to zero."""
    first, last = -(-low // step), high // step
    first = min(max(first, -_MOST_LISTED // 2), max(last - _MOST_LISTED + 1, first))
    return _texts(first * step, min(last, first + _MOST_LISTED - 1) * step, step, fraction)


def _texts(low: int, high: int, step: int, fraction: int) -> list[str]:
    """The texts of the multiples of `step` from `low` to `high`."""
    texts: list[str] = []
    for number in range(-(-low // step) * step, high + 1, step):
        digits = str(abs(number)).zfill(fraction + 1)
        at = len(digits) - fraction
        sign = "-" if number < 0 else ""
        texts += [sign + digits[:at] + behind for behind in _behind(digits[at:])]
    return texts


def _behind(digits: str) -> list[str]:
    """What may stand behind the whole part for these digits: with all zeros at the end, or
    fewer of them."""
    least = len(digits.rstrip("0"))
    return [f".{digits[:size]}" if size else "" for size in range(least, len(digits) + 1)]
