"""What of a file is gone after a change: definitions by name, and statements."""

from __future__ import annotations

from collections import Counter

from mistral_tui.code.definitions import Key, Outline
from mistral_tui.code.likeness import lost


def keys(outline: Outline) -> Counter[Key]:
    """How often a text has each definition, wherever; of variables those of the file itself."""
    return Counter(
        {
            key: count
            for key, places in outline.places.items()
            if (count := sum(_counts(outline, key, at) for at in places))
        }
    )


def _outside(outline: Outline) -> list[str]:
    """The lines that are in no function."""
    lines = list(outline.lines)
    for key, places in outline.places.items():
        for at in places if key.group == "function" else ():
            end = outline.end(at)
            at -= outline.typed(at)
            lines[at:end] = [""] * (end - at)
    return lines


def _counts(outline: Outline, key: Key, at: int) -> bool:
    return key.group != "variable" or not outline.lines[at][:1].isspace()


def removed(before: Outline, after: Outline) -> tuple[list[str], int]:
    """The names of the definitions that are gone, and how many lines outside of functions."""
    names = [key.name for key in (keys(before) - keys(after)).elements()]
    return names, lost(_outside(before), _outside(after))[0]
