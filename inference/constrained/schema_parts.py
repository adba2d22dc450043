"""A JSON Schema taken apart: every schema with its place, `$ref`s followed, keywords read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from inference.constrained.json_numbers import Bounds
from inference.errors import RequestError

_DEEPEST, _LARGEST, _MOST_HOPS = 200, 500_000, 100
_LARGEST_NUMBER = 10**300
KINDS = ("null", "boolean", "object", "array", "string", "number", "integer")
# What each keyword speaks about; where no `type` is given, that is what is meant.
MEANT = {
    "object": (
        *("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
        *("patternProperties", "propertyNames"),
    ),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_KIND_OF = {keyword: kind for kind, keywords in MEANT.items() for keyword in keywords}
# Not held at all. Each may forbid something only to values of that kind (None: to any).
UNHELD: dict[str, str | None] = {
    **dict.fromkeys(("not", "if", "$dynamicRef", "$recursiveRef", "extends", "disallow")),
    **dict.fromkeys(
        ("dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties"),
        "object",
    ),
    **dict.fromkeys(("contains", "unevaluatedItems"), "array"),
}


class SchemaError(RequestError):
    """A tool's schema that is not valid, too large, or that no value can meet."""

    kind = "schema"


@dataclass(frozen=True, slots=True)
class Part:
    """A schema at its place. `only` is "" for the whole of it, "own" for it without references
    and combinations, or the name of the one combination of schemas in it that is meant."""

    schema: Any
    place: str
    only: str = ""

    @property
    def key(self) -> tuple[int, str]:
        """Equal for the same part, by whatever way it was found."""
        return id(self.schema), self.only

    def inner(self, *names: str | int) -> Part:
        """The schema within this one that is found by these names. Raises `SchemaError`."""
        schema, place = self.schema, self.place
        for name in names:
            schema = schema[name]
            place += "/" + str(name).replace("~", "~0").replace("/", "~1")[:60]
        if not isinstance(schema, Mapping | bool):
            raise SchemaError(f"The schema at {place!r:.200} must be an object or a boolean.")
        return Part(schema, place)


@dataclass(slots=True)
class Taken:
    """What must hold together: keywords (`own`), and one schema of each of the `choices`."""

    own: list[Part] = field(default_factory=list)
    choices: list[Part] = field(default_factory=list)
    impossible: bool = False


class Parts:
    """Takes the schemas of one document apart. Raises `SchemaError` at what cannot be read."""

    def __init__(self, root: Any) -> None:
        measure(root)
        self.root = root

    def take(self, parts: Iterable[Part]) -> Taken:
        """All that is said about one value by `parts` together."""
        taken = Taken()
        seen: set[tuple[int, str]] = set()
        for part in parts:
            self._take(part, taken, seen, ())
        return taken

    def _take(
        self, part: Part, taken: Taken, seen: set[tuple[int, str]], path: tuple[Any, ...]
    ) -> None:
        if isinstance(part.schema, bool):
            taken.impossible |= not part.schema
            return
        if part.key in path:
            raise SchemaError(f"The schema at {part.place!r:.200} refers to itself in a circle.")
        if len(path) > _MOST_HOPS:
            raise SchemaError(f"The schema at {part.place!r:.200} refers on too many times.")
        if part.key in seen:
            return
        seen.add(part.key)
        if part.only == "own":
            taken.own.append(part)
            return
        if part.only:
            taken.choices.append(part)
            return
        path = (*path, part.key)
        schema = part.schema
        if "$ref" in schema:
            self._take(self.target(part), taken, seen, path)
        for number, _ in enumerate(items(part, "allOf")):
            self._take(part.inner("allOf", number), taken, seen, path)
        for name in ("anyOf", "oneOf"):
            if name in schema:
                taken.choices.append(Part(schema, part.place, name))
        if any(keyword in _SAYING for keyword in schema):
            taken.own.append(Part(schema, part.place, "own"))

    def target(self, part: Part) -> Part:
        """Where a `$ref` leads."""
        reference = part.schema["$ref"]
        if not isinstance(reference, str) or not (reference == "#" or reference[:2] == "#/"):
            raise SchemaError(
                f"The reference {reference!r:.80} at {part.place!r:.200} does not point into "
                "the same schema, as in '#/$defs/name'."
            )
        at = self.root
        for name in unquote(reference[1:]).split("/")[1:]:
            name = name.replace("~1", "/").replace("~0", "~")
            if isinstance(at, Mapping) and name in at:
                at = at[name]
            elif isinstance(at, list) and name.isdecimal() and int(name[:9]) < len(at):
                at = at[int(name[:9])]
            else:
                raise SchemaError(
                    f"The reference {reference!r:.80} at {part.place!r:.200} leads nowhere."
                )
        if not isinstance(at, Mapping | bool):
            raise SchemaError(f"The reference {reference!r:.80} does not lead to a schema.")
        return Part(at, reference)


_SAYING = {*_KIND_OF, *UNHELD, "type", "enum", "const"}


def branches(choice: Part) -> list[Part]:
    """The schemas of an `anyOf` or `oneOf`."""
    count = len(items(choice, choice.only))
    whole = Part(choice.schema, choice.place)
    if not count:
        raise SchemaError(f"The {choice.only} at {choice.place!r:.200} has no schema in it.")
    return [whole.inner(choice.only, number) for number in range(count)]


def measure(schema: Any) -> None:
    """Raises `SchemaError` unless it is JSON of a bearable size."""
    waiting: list[tuple[Any, int]] = [(schema, 0)]
    count = 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if count > _LARGEST:
            raise SchemaError(f"The schema is too large: more than {_LARGEST:,} values in it.")
        if isinstance(value, Mapping):
            if any(not isinstance(key, str) for key in value):
                raise SchemaError("The schema is not JSON: a key in it is no text.")
            inner: Iterable[Any] = value.values()
        elif isinstance(value, list):
            inner = value
        elif value is None or isinstance(value, str | int | float):
            continue
        else:
            raise SchemaError(f"The schema is not JSON: there is a {type(value).__name__} in it.")
        if depth >= _DEEPEST:
            raise SchemaError(f"The schema nests deeper than {_DEEPEST} levels.")
        waiting += [(each, depth + 1) for each in inner]


def items(part: Part, name: str) -> list[Any]:
    """A keyword's list; empty where the keyword is missing."""
    found = part.schema.get(name, [])
    if not isinstance(found, list):
        raise SchemaError(f"{name!r} at {part.place!r:.200} must be a list.")
    return found


def mapping(part: Part, name: str) -> Mapping[str, Any]:
    """A keyword's object; empty where the keyword is missing."""
    found = part.schema.get(name, {})
    if not isinstance(found, Mapping):
        raise SchemaError(f"{name!r} at {part.place!r:.200} must be an object.")
    return found


def number(part: Part, name: str) -> int | float | None:
    """A keyword's number; None where the keyword is missing."""
    found = part.schema.get(name)
    if name not in part.schema:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or found != found:
        raise SchemaError(f"{name!r} at {part.place!r:.200} must be a number.")
    if abs(found) > _LARGEST_NUMBER:
        raise SchemaError(f"{name!r} at {part.place!r:.200} is too large.")
    return found


def counts(parts: Iterable[Part], least: str, most: str) -> tuple[int, int | None]:
    """What `least` and `most`, as in minItems and maxItems, say together."""
    low, high = 0, None
    for part in parts:
        for name in (least, most):
            found = number(part, name)
            if found is None:
                continue
            if found < 0 or found != int(found):
                raise SchemaError(f"{name!r} at {part.place!r:.200} must be a count.")
            if name == least:
                low = max(low, int(found))
            else:
                high = int(found) if high is None else min(high, int(found))
    return low, high


def bounds(parts: Iterable[Part]) -> Bounds:
    """What minimum, maximum and their exclusive kin say together."""
    found = Bounds()
    for part in parts:
        found = found.within(Bounds(low=number(part, "minimum"), high=number(part, "maximum")))
        low, high = number(part, "exclusiveMinimum"), number(part, "exclusiveMaximum")
        found = found.within(Bounds(low, high, low is not None, high is not None))
    return found


def kinds(parts: Iterable[Part]) -> frozenset[str] | None:
    """The types that are left by all `type`s, or that are meant where there is none; None: any.
    Where "number" is in, so is "integer"."""
    left: frozenset[str] | None = None
    meant: set[str] = set()
    for part in parts:
        for keyword in part.schema:
            if keyword in _KIND_OF:
                meant.add(_KIND_OF[keyword])
        if "type" not in part.schema:
            continue
        found = part.schema["type"]
        names = found if isinstance(found, list) else [found]
        if not names or any(not isinstance(name, str) or name not in KINDS for name in names):
            raise SchemaError(
                f"The type at {part.place!r:.200} must be one of {', '.join(KINDS)}, or a list "
                "of these."
            )
        each = _with_integer(names)
        left = each if left is None else left & each
    if left is None and meant:
        return _with_integer(meant)
    return left


def _with_integer(names: Iterable[str]) -> frozenset[str]:
    found = frozenset(names)
    return found | {"integer"} if "number" in found else found


def patterns(parts: Iterable[Part]) -> Iterator[str]:
    """All `pattern`s."""
    for part in parts:
        if "pattern" in part.schema:
            if not isinstance(part.schema["pattern"], str):
                raise SchemaError(f"The pattern at {part.place!r:.200} must be a text.")
            yield part.schema["pattern"]
