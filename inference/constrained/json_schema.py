"""From a JSON Schema (draft 2020-12) to the grammar of the JSON texts that meet it.

The language is a part of what the schema allows: properties come in the order in which they are
declared, others behind them only where these have a schema or are needed, numbers have a bounded
number of digits, and there is no space but one that is optional behind `:` and `,`. Nothing that
the schema forbids gets through, but for the keywords that `Grammar.unheld` names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import lcm
from typing import Any

from inference.constrained.grammar import (
    Alt,
    Grammar,
    Node,
    Ref,
    Repeat,
    Seq,
    Text,
    shortest_lengths,
)
from inference.constrained.json_multiples import multiples
from inference.constrained.json_numbers import integers, numbers
from inference.constrained.json_pieces import (
    BOOLEAN,
    CHAR,
    NOTHING,
    NULL,
    STRING,
    VALUE,
    constant,
    quoted,
)
from inference.constrained.patterns import NotHeld, pattern_node
from inference.constrained.pruning import pruned, refuse_circles, why_nothing
from inference.constrained.schema_arrays import array_node
from inference.constrained.schema_builder import Builder
from inference.constrained.schema_objects import object_node
from inference.constrained.schema_parts import (
    KINDS,
    UNHELD,
    Part,
    SchemaError,
    bounds,
    branches,
    counts,
    kinds,
    number,
    patterns,
)
from inference.constrained.schema_values import allowed_values, apart

__all__ = ["SchemaError", "compile_parameters", "compile_schema"]

_DEEPEST, _LONGEST, _MOST_BRANCHES = 200, 100_000, 2000

_DATE = (
    r"[1-9]\d{3}-((0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])|(0[13-9]|1[0-2])-(29|30)"
    r"|(0[13578]|1[02])-31)"
)
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_LABEL = "[A-Za-z0-9]{1,20}(-[A-Za-z0-9]{1,20}){0,2}"
_BYTE = r"(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])"
# No validator must look at a format; still, a model is to write one that is right.
_FORMATS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "uuid": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    "email": rf"^[A-Za-z0-9_+-]{{1,40}}(\.[A-Za-z0-9_+-]{{1,40}}){{0,3}}@({_LABEL}\.){{1,4}}"
    r"[A-Za-z]{2,10}$",
    "ipv4": rf"^{_BYTE}(\.{_BYTE}){{3}}$",
}


def compile_schema(schema: Mapping[str, Any] | bool) -> Grammar:
    """The grammar of the values that meet `schema`. Raises `SchemaError` where there are none,
    and for a schema that is not valid or too large."""
    return _Compiler(schema).compile()


def compile_parameters(parameters: object) -> Grammar:
    """The grammar of a tool's arguments, which are always one object; `parameters` is read as the
    schema of one where it gives no type. Raises `SchemaError` as `compile_schema` does, and for
    what is no schema of an object."""
    schema = {} if parameters is True else parameters
    kinds = schema.get("type", "object") if isinstance(schema, Mapping) else None
    if not isinstance(schema, Mapping) or "object" not in (
        kinds if isinstance(kinds, list) else [kinds]
    ):
        raise SchemaError('The parameters are no schema of an object; their type must be "object".')
    return compile_schema({**schema, "type": "object"})


class _Compiler(Builder):
    """Makes the rules, each when its turn comes."""

    def compile(self) -> Grammar:
        start = self.ref((self.root,))
        while self.waiting:
            name, parts, self.depth = self.waiting.popleft()
            if self.depth > _DEEPEST:
                raise SchemaError(f"The schema nests deeper than {_DEEPEST} levels.")
            self.rules[name] = NOTHING  # keeps its place in the order
            self.rules[name] = self.unit(name, parts)
        refuse_circles(self.rules, self.places)
        lengths = shortest_lengths(self.rules)
        first = start.name if isinstance(start, Ref) else ""
        if first not in lengths:
            raise SchemaError(why_nothing(first, self.rules, self.places, lengths))
        if lengths[first] > _LONGEST:
            raise SchemaError(
                f"Even the shortest value that meets the schema has more than {_LONGEST:,} bytes."
            )
        return pruned(start, self.rules, lengths, tuple(sorted(self.unheld)))

    def unit(self, name: str, parts: tuple[Part, ...]) -> Node:
        taken = self.parts.take(parts)
        if taken.impossible:
            return NOTHING
        if not taken.choices:
            return self.plain(taken.own, self.places[name])
        first, others = taken.choices[0], [*taken.own, *taken.choices[1:]]
        found = branches(first)
        if len(found) > _MOST_BRANCHES:
            raise SchemaError(f"The {first.only} at {first.place!r:.200} has too many schemas.")
        left_out = apart(self.parts, found, taken.own) if first.only == "oneOf" else []
        if left_out is None:
            self.unheld.add("oneOf")
        choices: list[Node] = []
        for at, branch in enumerate(found):
            without = left_out[at] if left_out else None
            further = [self.lacking(without, branch.place)] if without else []
            choices.append(self.ref([*others, branch, *further]))
        return Alt(tuple(choices))

    def plain(self, own: Sequence[Part], place: str) -> Node:
        """A value about which nothing is said but by the keywords of `own`."""
        left = kinds(own)
        for part in own:
            for keyword in part.schema:
                about = UNHELD.get(keyword)
                if keyword in UNHELD and (left is None or about is None or about in left):
                    self.unheld.add(keyword)
        if any("enum" in part.schema or "const" in part.schema for part in own):
            values, unheld = allowed_values(own)
            self.unheld |= unheld
            texts = [constant(value) for value in values]
            self.count(place, sum(map(_letters, texts)))
            return Alt(tuple(dict.fromkeys(texts)))
        if left is None:
            return Ref(VALUE)
        makers: dict[str, Callable[[], Node]] = {
            "null": lambda: NULL,
            "boolean": lambda: BOOLEAN,
            "object": lambda: object_node(self, own, place),
            "array": lambda: array_node(self, own, place),
            "string": lambda: self.string(own),
            "number": lambda: self.number(own, "number" in left),
        }
        names = {"number" if kind == "integer" else kind for kind in left}
        made = [makers[kind]() for kind in KINDS if kind in names]
        return made[0] if len(made) == 1 else Alt(tuple(made))

    def string(self, own: Sequence[Part]) -> Node:
        least, most = counts(own, "minLength", "maxLength")
        node: Node | None = None
        for pattern in dict.fromkeys(patterns(own)):
            try:
                if node is not None:
                    raise NotHeld
                node, held = pattern_node(pattern, CHAR, least, most)
            except NotHeld:
                self.unheld.add("pattern")
            else:
                self.unheld |= set() if held else {"minLength", "maxLength"}
        if node is None:
            names = [part.schema["format"] for part in own if "format" in part.schema]
            for name in names:
                if isinstance(name, str) and name in _FORMATS:
                    node, held = pattern_node(_FORMATS[name], CHAR, least, most)
                    node = node if held and node != NOTHING else None
        if node is None:
            if (least, most) == (0, None):
                return Ref(STRING)
            node = Repeat(Ref(CHAR), least, most) if most is None or least <= most else NOTHING
        return quoted(node)

    def number(self, own: Sequence[Part], fractions: bool) -> Node:
        within, steps = bounds(own), list(dict.fromkeys(_steps(own)))
        whole = [int(step) for step in steps if step == int(step)]
        if steps:
            if len(whole) < len(steps) > 1:
                self.unheld.add("multipleOf")
            step = lcm(*whole) if len(whole) == len(steps) else steps[0]
            node = multiples(within, step, whole=not fractions)
            if node is not None:
                return node
            self.unheld.add("multipleOf")
        return numbers(within) if fractions else integers(within)


def _steps(own: Iterable[Part]) -> Iterator[int | float]:
    """All `multipleOf`s."""
    for part in own:
        found = number(part, "multipleOf")
        if found is not None and found <= 0:
            raise SchemaError(f"'multipleOf' at {part.place!r:.200} must be above 0.")
        if found is not None:
            yield found


def _letters(node: Node) -> int:
    if isinstance(node, Text):
        return len(node.text)
    return sum(map(_letters, node.parts)) if isinstance(node, Seq) else 0
