"""From a JSON Schema (draft 2020-12) to the grammar of the JSON texts that meet it.

The language is a part of what the schema allows: properties come in the order in which they are
declared, where `properties` are given there are no others, numbers have a bounded number of
digits, and there is no space but one that is optional behind `:` and `,`. Nothing that the schema
forbids gets through, but for the keywords that `Grammar.unheld` names.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from inference.constrained.json_numbers import integers, numbers
from inference.constrained.json_pieces import (
    BOOLEAN,
    CHAR,
    COMMA,
    NOTHING,
    NULL,
    SPACE,
    STRING,
    VALUE,
    base_rules,
    constant,
    key_text,
    list_of,
    map_of,
    quoted,
)
from inference.constrained.patterns import NotHeld, pattern_node
from inference.constrained.pruning import pruned, refuse_circles, why_nothing
from inference.constrained.schema_parts import (
    KINDS,
    UNHELD,
    Part,
    Parts,
    SchemaError,
    bounds,
    branches,
    counts,
    items,
    kinds,
    mapping,
    number,
    patterns,
)
from inference.constrained.schema_values import allowed_values, apart

__all__ = ["SchemaError", "compile_schema"]

_MOST_RULES, _DEEPEST, _LONGEST = 5000, 200, 100_000
_MOST_PROPERTIES, _MOST_COUNTED, _MOST_BRANCHES = 2000, 64, 2000
_LONGEST_TEXT = 60_000  # characters of all keys and constants together

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


class _Compiler:
    """Every set of schemas that must hold together for one value becomes a rule."""

    def __init__(self, schema: Any) -> None:
        self.parts = Parts(schema)
        self.root = Part(schema, "#")
        if not isinstance(schema, Mapping | bool):
            raise SchemaError("A schema must be an object or a boolean.")
        self.rules = base_rules()
        self.names: dict[frozenset[tuple[int, str]], str] = {}
        self.places: dict[str, str] = {}
        self.waiting: deque[tuple[str, tuple[Part, ...], int]] = deque()
        self.unheld: set[str] = set()
        self.depth = 0
        self.letters = 0

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

    def name(self, place: str) -> str:
        if len(self.places) >= _MOST_RULES:
            raise SchemaError(
                f"The schema is too large: its grammar needs more than {_MOST_RULES:,} rules."
            )
        name = f"s{len(self.places)}"
        self.places[name] = place
        return name

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
        if first.only == "oneOf" and not apart(self.parts, found, taken.own):
            self.unheld.add("oneOf")
        return Alt(tuple(self.ref([*others, branch]) for branch in found))

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
            "object": lambda: self.object(own, place),
            "array": lambda: self.array(own, place),
            "string": lambda: self.string(own),
            "number": lambda: self.number(own, "number" in left),
        }
        names = {"number" if kind == "integer" else kind for kind in left}
        made = [makers[kind]() for kind in KINDS if kind in names]
        return made[0] if len(made) == 1 else Alt(tuple(made))

    def count(self, place: str, letters: int) -> None:
        self.letters += letters
        if self.letters > _LONGEST_TEXT:
            raise SchemaError(
                f"The names and constants of the schema, up to those at {place!r:.200}, have "
                f"more than {_LONGEST_TEXT:,} characters."
            )

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
        multiple: int | None = None
        for part in own:
            found = number(part, "multipleOf")
            if found is None:
                continue
            if found <= 0:
                raise SchemaError(f"'multipleOf' at {part.place!r:.200} must be above 0.")
            if isinstance(found, int) and multiple in (None, found):
                multiple, fractions = found, False
            else:
                self.unheld.add("multipleOf")
        if fractions:
            return numbers(bounds(own))
        node, held = integers(bounds(own), multiple)
        self.unheld |= set() if held else {"multipleOf"}
        return node

    def array(self, own: Sequence[Part], place: str) -> Node:
        least, most = counts(own, "minItems", "maxItems")
        if any(part.schema.get("uniqueItems") for part in own) and most not in (0, 1):
            self.unheld.add("uniqueItems")
        length = max(len(items(part, "prefixItems")) for part in own)
        length = length if most is None else min(length, most)
        rest = self.ref([part.inner("items") for part in own if "items" in part.schema])
        if most is not None and most < least:
            return NOTHING
        if not length:
            return list_of(rest, least, most)
        each: list[Node] = []
        for at in range(length):
            found = []
            for part in own:
                if at < len(items(part, "prefixItems")):
                    found.append(part.inner("prefixItems", at))
                elif "items" in part.schema:
                    found.append(part.inner("items"))
            each.append(self.ref(found))
        tail: Node = Repeat(
            Seq((COMMA, rest)),
            max(least - length, 0),
            None if most is None else most - length,
        )
        for at in range(length - 1, 0, -1):
            further = Seq((COMMA, each[at], tail))
            tail = self.rule(further if at < least else Repeat(further, 0, 1), place)
        some = Seq((Text("["), each[0], tail, Text("]")))
        return some if least else Alt((Text("[]"), some))

    def rule(self, node: Node, place: str) -> Ref:
        """A rule of its own, so that nothing nests deep."""
        name = self.name(place)
        self.rules[name] = node
        return Ref(name)

    def object(self, own: Sequence[Part], place: str) -> Node:
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
        others = [
            part.inner("additionalProperties")
            for part in own
            if "additionalProperties" in part.schema and "patternProperties" not in part.schema
        ]
        if any("additionalProperties" in part.schema for part in own) and not others:
            self.unheld.add("additionalProperties")
        if not declared:
            if any("properties" in part.schema for part in own) and not (others or least):
                return Text("{}")
            if least > 1:  # a key that comes twice counts once
                self.unheld.add("minProperties")
            if most is not None and most < least:
                return NOTHING
            return map_of(Ref(STRING), self.ref(others), least, most)
        if len(declared) > _MOST_PROPERTIES:
            raise SchemaError(f"The object at {place!r:.200} has too many properties.")
        return self.declared(
            [(name, self.property(own, name), name in required) for name in declared],
            least,
            len(declared) if most is None else most,
            place,
        )

    def property(self, own: Sequence[Part], name: str) -> Node:
        """`"name": value`"""
        found = []
        for part in own:
            if name in mapping(part, "properties"):
                found.append(part.inner("properties", name))
            elif "additionalProperties" in part.schema and "patternProperties" not in part.schema:
                found.append(part.inner("additionalProperties"))
        key = key_text(name)
        self.count(own[0].place, len(name))
        return NOTHING if key is None else Seq((Text(f"{key}:"), SPACE, self.ref(found)))

    def declared(
        self, each: list[tuple[str, Node, bool]], least: int, most: int, place: str
    ) -> Node:
        """An object of these properties, in this order, with `least` to `most` of them."""
        forced = sum(needed for _, _, needed in each)
        counted = least > forced or most < len(each)
        if counted and len(each) > _MOST_COUNTED:
            counted = False
            self.unheld |= {"minProperties", "maxProperties"}
        if most < forced and counted:
            return NOTHING
        # tails[at][written]: what may follow behind the properties before `at`, of which so many
        # are written; where that number does not matter, it is 0.
        tails: list[dict[int, Node]] = [{} for _ in range(len(each) + 1)]
        for at in range(len(each), 0, -1):
            for written in range(1, at + 1) if counted else (0,):
                if at == len(each):
                    fits = not counted or least <= written <= most
                    tails[at][written] = Seq(()) if fits else NOTHING
                    continue
                _, node, needed = each[at]
                without, behind = tails[at + 1].get(written), tails[at + 1][written + counted]
                if needed:
                    tail: Node = Seq((COMMA, node, behind))
                elif without == behind:
                    tail = Seq((Repeat(Seq((COMMA, node)), 0, 1), behind))
                else:
                    tail = Alt((Seq((COMMA, node, behind)), without or NOTHING))
                tails[at][written] = self.rule(tail, place)
        choices: list[Node] = [] if forced or least else [Text("{}")]
        for at, (_, node, needed) in enumerate(each):
            choices.append(Seq((Text("{"), node, tails[at + 1][int(counted)], Text("}"))))
            if needed:
                break
        return Alt(tuple(choices))


def _letters(node: Node) -> int:
    if isinstance(node, Text):
        return len(node.text)
    return sum(map(_letters, node.parts)) if isinstance(node, Seq) else 0
