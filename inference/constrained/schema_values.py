"""Given values (`enum`, `const`) held against the other keywords, and schemas held against each
other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from inference.constrained.automaton import Automaton
from inference.constrained.grammar import Grammar
from inference.constrained.json_pieces import CHAR, base_rules, quoted, same, types_of
from inference.constrained.patterns import NotHeld, pattern_node
from inference.constrained.schema_parts import (
    KINDS,
    Part,
    Parts,
    SchemaError,
    bounds,
    counts,
    items,
    kinds,
    mapping,
    number,
    patterns,
)

_MOST_VALUES, _MOST_COMPARED, _MOST_APART = 10_000, 200_000, 60
# What is not looked at here, for the kind of values that it is about.
_WITHIN = {
    "object": ("properties", "additionalProperties", "patternProperties", "propertyNames"),
    "array": ("items", "prefixItems", "uniqueItems"),
}


def allowed_values(own: Sequence[Part]) -> tuple[list[Any], set[str]]:
    """The values that all `enum`s and `const`s list and the other keywords allow; and the
    keywords that this does not hold to."""
    lists = [(part, _values(part)) for part in own if {"enum", "const"} & part.schema.keys()]
    unheld: set[str] = set()
    place, left = lists[0][0].place, lists[0][1]
    if len(left) > _MOST_VALUES:
        raise SchemaError(f"The list of values at {place!r:.200} is too long.")
    for _, others in lists[1:]:
        if len(left) * len(others) > _MOST_COMPARED:
            unheld.add("enum")
        else:
            left = [value for value in left if any(same(value, other) for other in others)]
    # No types are meant where values are given.
    named = [part for part in own if "type" in part.schema]
    types = kinds(named) if named else None
    if types is not None:
        left = [value for value in left if types_of(value) & types]
    numeric = bounds(own)
    for kind, low, high in (
        ("string", "minLength", "maxLength"),
        ("array", "minItems", "maxItems"),
        ("object", "minProperties", "maxProperties"),
    ):
        least, most = counts(own, low, high)
        left = [
            value
            for value in left
            if kind not in types_of(value)
            or (least <= len(value) and (most is None or len(value) <= most))
        ]
    left = [value for value in left if "number" not in types_of(value) or numeric.hold(value)]
    left = [value for value in left if not isinstance(value, dict) or _has_required(value, own)]
    if any(isinstance(value, str) for value in left):
        for pattern in patterns(own):
            try:
                left = _matching(left, pattern)
            except NotHeld:
                unheld.add("pattern")
    for kind, keywords in _WITHIN.items():
        if any(kind in types_of(value) for value in left):
            unheld |= {key for key in keywords for part in own if key in part.schema}
    for part in own:
        multiple = number(part, "multipleOf")
        if isinstance(multiple, int) and multiple > 0:
            left = [v for v in left if "number" not in types_of(v) or v % multiple == 0]
        elif multiple is not None and any("number" in types_of(value) for value in left):
            unheld.add("multipleOf")
    return left, unheld


def _values(part: Part) -> list[Any]:
    if "const" not in part.schema:
        return items(part, "enum")
    value = part.schema["const"]
    if "enum" not in part.schema or any(same(value, other) for other in items(part, "enum")):
        return [value]
    return []


def _has_required(value: dict[str, Any], own: Iterable[Part]) -> bool:
    return all(name in value for part in own for name in items(part, "required"))


def _matching(values: list[Any], pattern: str) -> list[Any]:
    """The values that are no strings, or match. Raises `NotHeld`."""
    node, _ = pattern_node(pattern, CHAR)
    try:
        automaton = Automaton(Grammar(quoted(node), base_rules()))
    except ValueError:  # there is no text that matches
        return [value for value in values if not isinstance(value, str)]
    left: list[Any] = []
    for value in values:
        if isinstance(value, str):
            text = json.dumps(value, ensure_ascii=False).encode(errors="replace")
            state = automaton.advance(automaton.start(), text)
            if state is None or not automaton.complete(state):
                continue
        left.append(value)
    return left


def apart(
    parts: Parts, branches: Sequence[Part], own: Sequence[Part]
) -> list[frozenset[str]] | None:
    """The properties that must be left out of each of `branches` (a `oneOf`), so that no value
    that is written for one of them, together with `own`, plainly meets two. None: not known."""
    if len(branches) > _MOST_APART:
        return None
    signs: list[_Sign | None] = []
    for branch in branches:
        taken = parts.take([*own, branch])
        if taken.impossible:
            signs.append(None)
            continue
        if taken.choices:
            return None
        alone = parts.take([branch]).own
        named = [part for part in taken.own if "type" in part.schema]
        may_be = (kinds(named) if named else None) or frozenset(KINDS)
        written = kinds(taken.own) or may_be
        if any({"enum", "const"} & part.schema.keys() for part in taken.own):
            values = allowed_values(taken.own)[0]  # no types are meant beside these
            written = frozenset(kind for value in values for kind in types_of(value))
        listed = _listed(alone)
        if listed is not None:
            types = {kind for text in listed for kind in types_of(json.loads(text))}
            written, may_be = frozenset(types), may_be & types
        required = _required(alone)
        signs.append(_Sign(written, may_be, listed, _marks(parts, alone), required))
    always = _required(own)
    left_out: list[frozenset[str]] = [frozenset()] * len(branches)
    for (n, one), (m, other) in combinations(enumerate(signs), 2):
        if one is None or other is None or _two_apart(one, other):
            continue
        # An object without what the other one requires does not meet that.
        first, second = one.required - other.required, other.required - one.required
        if not first or not second or one.written | other.written != {"object"}:
            return None
        left_out[n] |= second - always or second
        left_out[m] |= first - always or first
    return left_out


def _required(own: Sequence[Part]) -> frozenset[str]:
    names = [name for part in own for name in items(part, "required")]
    return frozenset(name for name in names if isinstance(name, str))


@dataclass(frozen=True, slots=True)
class _Sign:
    """What a branch is told by: the types that are written for it and those that may meet it,
    its listed values, those of its properties, and what it requires."""

    written: frozenset[str]
    may_be: frozenset[str]
    listed: frozenset[str] | None
    marks: dict[str, frozenset[str]]
    required: frozenset[str]


def _two_apart(one: _Sign, other: _Sign) -> bool:
    common = (one.written & other.may_be) | (other.written & one.may_be)
    if not common:
        return True
    if common == {"object"} and any(
        not one.marks[name] & other.marks[name] for name in one.marks.keys() & other.marks.keys()
    ):
        return True
    return one.listed is not None and other.listed is not None and not one.listed & other.listed


def _listed(own: Sequence[Part]) -> frozenset[str] | None:
    """The values that the schemas list, as texts that are equal for equal values."""
    for part in own:
        if {"enum", "const"} & part.schema.keys():
            values = _values(part)
            if all(value is None or isinstance(value, str | bool | int) for value in values):
                return frozenset(json.dumps(value) for value in values)
    return None


def _marks(parts: Parts, own: Sequence[Part]) -> dict[str, frozenset[str]]:
    """The required properties with listed values: name → values."""
    marks: dict[str, frozenset[str]] = {}
    required = _required(own)
    for part in own:
        for name in mapping(part, "properties"):
            if name in required:
                taken = parts.take([part.inner("properties", name)])
                if not taken.choices and (listed := _listed(taken.own)) is not None:
                    marks[name] = listed
    return marks
