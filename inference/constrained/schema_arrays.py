"""The grammar of the arrays that meet a schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference.constrained.grammar import Alt, Node, Repeat, Seq, Text
from inference.constrained.json_pieces import COMMA, NOTHING, constant, list_of, same
from inference.constrained.schema_builder import Builder, in_order
from inference.constrained.schema_parts import Part, counts, items
from inference.constrained.schema_values import allowed_values

_MOST_UNIQUE = 8  # values of which each is written once at most


def array_node(builder: Builder, own: Sequence[Part], place: str) -> Node:
    """An array that meets `own`."""
    least, most = counts(own, "minItems", "maxItems")
    if most is not None and most < least:
        return NOTHING
    length = max(len(items(part, "prefixItems")) for part in own)
    length = length if most is None else min(length, most)
    within = [part.inner("items") for part in own if "items" in part.schema]
    rest = builder.ref(within)
    if any(part.schema.get("uniqueItems") for part in own) and most not in (0, 1):
        values = None if length else _few_values(builder, within)
        if values is not None:
            each = [(constant(value), False) for value in values]
            return in_order(builder, "[]", each, least, most, place)
        builder.unheld.add("uniqueItems")
    return _tuple(builder, own, rest, length, place) if length else list_of(rest, least, most)


def _few_values(builder: Builder, within: Sequence[Part]) -> list[Any] | None:
    """The different values that an item may have; None: they are many, or not known."""
    taken = builder.parts.take(within)
    if taken.impossible or taken.choices:
        return None
    if not any("enum" in part.schema or "const" in part.schema for part in taken.own):
        return None
    values: list[Any] = []
    for value in allowed_values(taken.own)[0]:
        if not any(same(value, other) for other in values) and constant(value) != NOTHING:
            values.append(value)
        if len(values) > _MOST_UNIQUE:
            return None
    return values


def _tuple(builder: Builder, own: Sequence[Part], rest: Node, length: int, place: str) -> Node:
    """An array whose first `length` items have schemas of their own."""
    least, most = counts(own, "minItems", "maxItems")
    each: list[Node] = []
    for at in range(length):
        found = []
        for part in own:
            if at < len(items(part, "prefixItems")):
                found.append(part.inner("prefixItems", at))
            elif "items" in part.schema:
                found.append(part.inner("items"))
        each.append(builder.ref(found))
    tail: Node = Repeat(
        Seq((COMMA, rest)),
        max(least - length, 0),
        None if most is None else most - length,
    )
    for at in range(length - 1, 0, -1):
        further = Seq((COMMA, each[at], tail))
        tail = builder.rule(further if at < least else Repeat(further, 0, 1), place)
    some = Seq((Text("["), each[0], tail, Text("]")))
    return some if least else Alt((Text("[]"), some))
