"""How much two pieces of code have in common, whatever their indentation, and what one lacks."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence

from mistral_tui.code.errors import CodeError
from mistral_tui.code.hunks import changes

FEW = 2
"""Lines that may go away in one place with nothing in their stead."""
_ALIKE = 0.6  # a changed line is taken for the other from there on
_MOST_COMPARED = 4000  # lines
_MOST_PAIRS = 4000  # of lines that are looked at for their letters


def telling(line: str) -> bool:
    """Whether a line says enough to be found by it."""
    return len("".join(line[:1000].split())) >= 4


def alike(one: str, other: str) -> bool:
    """Whether a line may be a changed form of another."""
    one, other = one.strip()[:300], other.strip()[:300]
    if one == other:
        return True
    matcher = difflib.SequenceMatcher(None, one, other)
    return matcher.real_quick_ratio() >= _ALIKE and matcher.ratio() >= _ALIKE


def likeness(one: Sequence[str], other: Sequence[str]) -> float:
    """How much two pieces of code have in common, from 0 to 1."""
    mine = [line.strip() for line in one if line.strip()]
    theirs = [line.strip() for line in other if line.strip()]
    if len(mine) + len(theirs) > _MOST_COMPARED:
        shared = sum((Counter(mine) & Counter(theirs)).values())
        return 2 * shared / (len(mine) + len(theirs))
    ratio = difflib.SequenceMatcher(None, mine, theirs, autojunk=False).ratio()
    if max(len(mine), len(theirs)) <= 12:  # of a few lines, each may have changed a bit
        a, b = "\n".join(mine)[:1500], "\n".join(theirs)[:1500]
        letters = difflib.SequenceMatcher(None, a, b, autojunk=False).ratio()
        ratio = max(ratio, letters if letters > _ALIKE else 0.0)
    return ratio


def _worded(lines: Sequence[str]) -> list[str]:
    return [line.strip() for line in lines if any(map(str.isalnum, line))]


def lost(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    """How many of the old lines go away with no new one in their stead: in all, and in one place
    at most. What only moves is not lost, nor are brackets."""
    before, after = _worded(old), _worded(new)
    found = changes(before, after)
    gone = Counter(line for start, end, _, _ in found for line in before[start:end])
    came = Counter(line for _, _, start, end in found for line in after[start:end])
    moved = gone & came
    here, there = moved.copy(), moved.copy()
    total = most = 0
    for start, end, begin, stop in found:
        less = _less(before[start:end], here) - _less(after[begin:stop], there)
        total += max(0, less)
        most = max(most, less)
    return total, most


def _less(lines: Sequence[str], moved: Counter[str]) -> int:
    """How many lines there are besides those that moved."""
    count = 0
    for line in lines:
        if moved[line] > 0:
            moved[line] -= 1
        else:
            count += 1
    return count


def kept(old: Sequence[str], new: Sequence[str]) -> float:
    """The share of the old lines that the new ones have, as they are or a bit changed."""
    before, after = _worded(old), _worded(new)
    if not before:
        return 0.0
    missing = 0
    left = _MOST_PAIRS
    spare: Counter[str] = Counter()
    found = changes(before, after)
    for _, _, begin, stop in found:
        spare.update(after[begin:stop])
    for start, end, begin, stop in found:
        at = begin
        for line in before[start:end]:
            if spare[line] > 0:  # it moved
                spare[line] -= 1
                continue
            for other in range(at, stop):
                left -= 1
                if left < 0:
                    break
                if alike(line, after[other]):
                    at = other + 1
                    break
            else:
                missing += 1
                continue
            missing += left < 0
    return 1 - missing / len(before)


def ends_early(old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether the new lines just stop where the old ones go on, as an answer that was cut off."""
    before = [line.rstrip() for line in old if line.strip()]
    after = [line.rstrip() for line in new if line.strip()]
    found = changes(before, after)
    if not after or not found or after[-1].lstrip().startswith(("return", "raise")):
        return False
    start, end, begin, stop = found[-1]
    return end == len(before) and begin == stop == len(after) and end - start > FEW


def guard(old: Sequence[str], new: Sequence[str], what: str) -> None:
    """Refuse to let code go that the new lines have nothing for.

    Raises:
        CodeError: more than a few lines in one place would go; `what` is what they are of.
    """
    _, most = lost(old, new)
    if most > FEW or (most > 1 and 2 * most >= len(_worded(old))):
        raise CodeError(
            f"The block has nothing in place of {most} lines of {what}, and does not say that "
            "it leaves any out"
        )
