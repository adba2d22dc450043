"""Given values (`enum`, `const`) held against the other keywords, and schemas held against each
other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
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
    "object": ("properties", "additionalProperties"),
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


def apart(parts: Parts, branches: Sequence[Part], own: Sequence[Part]) -> bool:
    """Whether plainly no value that is written for one of `branches`, together with `own`, meets
    two of them."""
    if len(branches) > _MOST_APART:
        return False
    signs: list[_Sign] = []
    for branch in branches:
        taken = parts.take([*own, branch])
        if taken.impossible:
            continue
        if taken.choices:
            return False
        alone = parts.take([branch]).own
        named = [part for part in taken.own if "type" in part.schema]
        may_be = (kinds(named) if named else None) or frozenset(KINDS)
        written = kinds(taken.own) or may_be
        listed = _listed(alone)
        if listed is not None:
            types = {kind for text in listed for kind in types_of(json.loads(text))}
            written, may_be = frozenset(types), may_be & types
        signs.append((written, may_be, listed, _marks(parts, alone)))
    return all(_two_apart(one, other) for one, other in combinations(signs, 2))


# The types that are written for a schema and those that may meet it, its listed values and those
# of its properties.
_Sign = tuple[frozenset[str], frozenset[str], frozenset[str] | None, dict[str, frozenset[str]]]


def _two_apart(one: _Sign, other: _Sign) -> bool:
    common = (one[0] & other[1]) | (other[0] & one[1])
    if not common:
        return True
    marks, others = one[3], other[3]
    if common == {"object"} and any(
        not marks[name] & others[name] for name in marks.keys() & others.keys()
    ):
        return True
    return one[2] is not None and other[2] is not None and not one[2] & other[2]


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
    required = {name for part in own for name in items(part, "required")}
    for part in own:
        for name in mapping(part, "properties"):
            if name in required:
                taken = parts.take([part.inner("properties", name)])
                if not taken.choices and (listed := _listed(taken.own)) is not None:
                    marks[name] = listed
    return marks
