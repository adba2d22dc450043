"""What a grammar is built with: a rule for every set of schemas that hold together for one value,
and the names, places and limits of these rules."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inference.constrained.grammar import Alt, Node, Ref, Repeat, Seq, Text
from inference.constrained.json_pieces import COMMA, NOTHING, VALUE, base_rules
from inference.constrained.schema_parts import Part, Parts, SchemaError

_MOST_RULES, _MOST_COUNTED = 5000, 64
_LONGEST_TEXT = 60_000  # characters of all keys and constants together


class Builder:
    """The rules so far, and those that are waiting to be made."""

    def __init__(self, schema: Any) -> None:
        self.parts = Parts(schema)
        self.root = Part(schema, "#")
        if not isinstance(schema, Mapping | bool):
            raise SchemaError("A schema must be an object or a boolean.")
        self.rules = base_rules()
        self.names: dict[frozenset[tuple[int, str]], str] = {}
        self.places: dict[str, str] = {}
        self.waiting: deque[tuple[str, tuple[Part, ...], int]] = deque()
        self.made: dict[frozenset[str], Any] = {}
        self.unheld: set[str] = set()
        self.depth = 0
        self.letters = self.letters_of_keys = 0
        self.other_keys: dict[frozenset[str], Node] = {}

    def ref(self, parts: Iterable[Part]) -> Node:
        """The rule for one value that meets all of `parts`."""
        needed = tuple(part for part in parts if part.schema is not True)
        if not needed:
            return Ref(VALUE)
        if any(part.schema is False for part in needed) and needed[0] is not self.root:
            return NOTHING
        key = frozenset(part.key for part in needed)
        if key not in self.names:
            self.names[key] = name = self.name(needed[0].place)
            self.waiting.append((name, needed, self.depth + 1))
        return Ref(self.names[key])

    def lacking(self, names: frozenset[str], place: str) -> Part:
        """The schema of objects without these properties."""
        schema = {"properties": dict.fromkeys(sorted(names), False)}
        # The same one each time: it is known by its identity.
        return Part(self.made.setdefault(names, schema), place)

    def name(self, place: str) -> str:
        if len(self.places) >= _MOST_RULES:
            raise SchemaError(
                f"The schema is too large: its grammar needs more than {_MOST_RULES:,} rules."
            )
        name = f"s{len(self.places)}"
        self.places[name] = place
        return name

    def rule(self, node: Node, place: str) -> Ref:
        """A rule of its own, so that nothing nests deep."""
        name = self.name(place)
        self.rules[name] = node
        return Ref(name)

    def count(self, place: str, letters: int) -> None:
        self.letters += letters
        if self.letters > _LONGEST_TEXT:
            raise SchemaError(
                f"The names and constants of the schema, up to those at {place!r:.200}, have "
                f"more than {_LONGEST_TEXT:,} characters."
            )


def in_order(
    builder: Builder,
    marks: str,
    each: Sequence[tuple[Node, bool]],
    least: int,
    most: int | None,
    place: str,
    more: Node | None = None,
) -> Node:
    """`each` that is chosen or needed (True) in this order, then, where it is given, `more` any
    number of times; between two `marks`, and `least` to `most` of all. The number of what is
    different is right even where two of `more` are the same."""
    begin, end = Text(marks[0]), Text(marks[1])
    forced = sum(needed for _, needed in each)
    if more is None:
        most = len(each) if most is None else min(most, len(each))
    counted = least > forced or (most is not None and (more is not None or most < len(each)))
    if counted and len(each) > _MOST_COUNTED:
        counted, least, most = False, min(least, 1), None
        builder.unheld |= {"minProperties", "maxProperties"}
    if counted and most is not None and most < max(forced, least):
        return NOTHING
    # Two of `more` may be the same, so no more than one is counted on, if that will do.
    counted_on = 1 if least <= len(each) + 1 else least

    def further(written: int) -> Node:
        """What may follow where so many of `each` are written."""
        short = max(least - written, 0) if counted else 0
        room = None if most is None or not counted else most - written
        if (room is not None and room < short) or short > (counted_on if more else 0):
            return NOTHING
        return Seq(()) if more is None else Repeat(Seq((COMMA, more)), short, room)

    # tails[at][written]: what may follow behind those of `each` before `at`, of which so many
    # are written; where that number does not matter, it is 0.
    tails: list[dict[int, Node]] = [{} for _ in range(len(each) + 1)]
    for at in range(len(each), 0, -1):
        for written in range(1, at + 1) if counted else (0,):
            if at == len(each):
                tails[at][written] = further(written)
                continue
            node, needed = each[at]
            without, behind = tails[at + 1].get(written), tails[at + 1][written + counted]
            if needed:
                tail: Node = Seq((COMMA, node, behind))
            elif without == behind:
                tail = Seq((Repeat(Seq((COMMA, node)), 0, 1), behind))
            else:
                tail = Alt((Seq((COMMA, node, behind)), without or NOTHING))
            tails[at][written] = builder.rule(tail, place)
    choices: list[Node] = [] if forced or least else [Text(marks)]
    for at, (node, needed) in enumerate(each):
        choices.append(Seq((begin, node, tails[at + 1][int(counted)], end)))
        if needed:
            break
    if more is not None and not forced and least <= counted_on and most != 0:
        room = None if most is None else most - 1
        rest = Repeat(Seq((COMMA, more)), max(least - 1, 0), room)
        choices.append(Seq((begin, more, rest, end)))
    return Alt(tuple(choices))
