"""The grammar of the objects that meet a schema."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from inference.constrained.grammar import Alt, Chars, Node, Ref, Repeat, Seq, Text
from inference.constrained.json_pieces import (
    CHAR,
    NOTHING,
    PLAIN,
    SPACE,
    STRING,
    key_text,
    map_of,
    quoted,
)
from inference.constrained.patterns import NotHeld, both, pattern_node, without
from inference.constrained.schema_builder import Builder, in_order
from inference.constrained.schema_parts import Part, SchemaError, counts, items, mapping

_MOST_PROPERTIES, _MOST_LETTERS = 2000, 1000
_A_STRING = {"type": "string"}


def object_node(builder: Builder, own: Sequence[Part], place: str) -> Node:
    """An object that meets `own`: what is declared comes in this order."""
    least, most = counts(own, "minProperties", "maxProperties")
    required: dict[str, None] = {}
    declared: dict[str, None] = {}
    for part in own:
        declared |= dict.fromkeys(mapping(part, "properties"))
        for name in items(part, "required"):
            if not isinstance(name, str):
                raise SchemaError(f"'required' at {part.place!r:.200} must list names.")
            required[name] = None
    declared |= required
    if not declared:
        return _map(builder, own, least, most)
    if len(declared) > _MOST_PROPERTIES:
        raise SchemaError(f"The object at {place!r:.200} has too many properties.")
    for keyword in ("patternProperties", "propertyNames"):
        _not_held(builder, own, keyword)
    each: list[tuple[Node, bool]] = []
    for name in declared:
        node = _property(builder, own, name)
        if node != NOTHING or name in required:
            each.append((node, name in required))
    more = _more(builder, own, list(declared), least - len(each), place)
    if more is not None and least > len(each) + 1:  # a key that comes twice counts once
        builder.unheld.add("minProperties")
    return in_order(builder, "{}", each, least, most, place, more)


def _not_held(builder: Builder, own: Sequence[Part], keyword: str) -> None:
    for part in own:
        if keyword in part.schema and part.schema[keyword] not in ({}, True):
            builder.unheld.add(keyword)
            # Whom this speaks about is known only by the patterns.
            if keyword == "patternProperties" and "additionalProperties" in part.schema:
                builder.unheld.add("additionalProperties")


def _others(own: Sequence[Part]) -> list[Part]:
    """What is said about the value of a key that is not declared."""
    return [
        part.inner("additionalProperties")
        for part in own
        if "additionalProperties" in part.schema and not mapping(part, "patternProperties")
    ]


def _map(builder: Builder, own: Sequence[Part], least: int, most: int | None) -> Node:
    """An object of which no property is declared."""
    key: Node = Ref(STRING)
    values = _others(own)
    names = [part.inner("propertyNames") for part in own if "propertyNames" in part.schema]
    patterned = [(part, name) for part in own for name in mapping(part, "patternProperties")]
    if names and not patterned:
        key = builder.ref([*names, replace(names[0], schema=_A_STRING)])
    elif len(patterned) == 1 and not names:
        # All keys are written to match the one pattern.
        part, pattern = patterned[0]
        value = part.inner("patternProperties", pattern)
        try:
            if value.schema is False:
                raise NotHeld
            key = quoted(pattern_node(pattern, CHAR)[0])
            values.append(value)
        except NotHeld:
            _not_held(builder, own, "patternProperties")
    elif patterned:
        _not_held(builder, own, "patternProperties")
        _not_held(builder, own, "propertyNames")
    free = values or least or names or patterned
    if not free and any("properties" in part.schema for part in own):
        return Text("{}")
    if least > 1:  # a key that comes twice counts once
        builder.unheld.add("minProperties")
    if most is not None and most < least:
        return NOTHING
    return map_of(key, builder.ref(values), least, most)


def _property(builder: Builder, own: Sequence[Part], name: str) -> Node:
    """`"name": value`"""
    found = []
    for part in own:
        if name in mapping(part, "properties"):
            found.append(part.inner("properties", name))
        else:
            found += _others([part])
    key = key_text(name)
    builder.count(own[0].place, len(name))
    value = NOTHING if key is None else builder.ref(found)
    return NOTHING if value == NOTHING else Seq((Text(f"{key}:"), SPACE, value))


def _more(
    builder: Builder, own: Sequence[Part], declared: Sequence[str], missing: int, place: str
) -> Node | None:
    """A pair with a key that is not declared, where these have a schema or are needed; None:
    there are to be no more."""
    wanted = missing > 0
    for part in own:
        schema = part.schema.get("additionalProperties")
        wanted |= isinstance(schema, Mapping) and bool(schema)
    # Keys that must meet something themselves are written only where it cannot be helped.
    if missing <= 0 and any(
        mapping(p, "patternProperties") or "propertyNames" in p.schema for p in own
    ):
        wanted = False
    if not wanted:
        return None
    value = builder.ref(_others(own))
    if value == NOTHING:
        return None
    key = _other_key(builder, declared, place)
    if key is None and missing > 0:
        raise SchemaError(
            f"The object at {place!r:.200} must have properties that it does not declare, but "
            "it declares too many for these to be told from others."
        )
    return None if key is None else Seq((key, Text(":"), SPACE, value))


def _other_key(builder: Builder, names: Collection[str], place: str) -> Node | None:
    """Any key but these and the empty one, without escapes. None: they are too many."""
    known = frozenset(names)
    if known in builder.other_keys:
        return builder.other_keys[known]
    # A tree of the names: what may follow, and whether a name ends here.
    tree: list[tuple[dict[int, int], list[bool]]] = [({}, [True])]
    for name in names:
        codes = [ord(char) for char in name]
        if not all(any(low <= code <= high for low, high in PLAIN.ranges) for code in codes):
            continue  # only escapes can spell it
        at = 0
        for code in codes:
            if code not in tree[at][0]:
                tree[at][0][code] = len(tree)
                tree.append(({}, [False]))
            at = tree[at][0][code]
        tree[at][1][0] = True
    builder.letters_of_keys += len(tree)
    if builder.letters_of_keys > _MOST_LETTERS:
        return None
    nodes: dict[int, Node] = {}
    for at in reversed(range(len(tree))):  # what follows has higher numbers
        following, (ends,) = tree[at]
        codes = sorted(following)
        ranges = both(PLAIN.ranges, without([(code, code) for code in codes]))
        choices: list[Node] = [] if ends else [Seq(())]
        choices.append(Seq((Chars(ranges), Repeat(PLAIN))))
        choices += [Seq((Text(chr(code)), nodes[following[code]])) for code in codes]
        nodes[at] = builder.rule(Alt(tuple(choices)), place) if following else Alt(tuple(choices))
    builder.other_keys[known] = quoted(nodes[0])
    return builder.other_keys[known]
