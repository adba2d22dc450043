"""Whether a JSON Schema of others is one, and one that can be checked against in bounded time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from mistral_tui.sanitize import one_line
from mistral_tui.tools import json_text, patterns
from mistral_tui.tools.errors import ToolError

MOST_TEXT = 64 << 10  # characters of a definition
MOST_VALUES = 4000
DEEPEST = 48
_MOST_STEPS = 10_000  # that one value takes through alternatives and references

# Where a schema has schemas. The first ones are for the value itself, not for a part of it.
_SAME: tuple[str, ...] = ("not", "if", "then", "else")
_SAME_LISTS: tuple[str, ...] = ("allOf", "anyOf", "oneOf")
_SAME_MAPS: tuple[str, ...] = ("dependentSchemas",)
_PART: tuple[str, ...] = (
    "items", "additionalProperties", "contains", "propertyNames", "unevaluatedItems",
    "unevaluatedProperties", "contentSchema", "additionalItems",
)  # fmt: skip
_PART_LISTS: tuple[str, ...] = ("prefixItems", "items")
_PART_MAPS: tuple[str, ...] = ("properties", "patternProperties", "$defs", "definitions")
_REFUSED = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "id")

_Place = tuple[str, ...]


def check(parameters: object, shown: str, at: str = "/parameters") -> dict[str, Any]:
    """The parameters, as an object schema of Draft 2020-12 with references only into itself.

    Raises:
        ToolError: with the JSON pointer of what is wrong.
    """
    if not isinstance(parameters, Mapping):
        raise ToolError(f"{shown}: {at} must be a JSON Schema, an object.")
    schema = dict(parameters)
    for key in ("$schema", "$id"):  # say nothing about the arguments
        schema.pop(key, None)
    schema.setdefault("type", "object")
    if schema["type"] != "object":
        raise ToolError(f'{shown}: {at}/type must be "object".')
    schema.setdefault("properties", {})
    json_text.check(schema, shown, deepest=DEEPEST, most=MOST_VALUES, at=at)
    _formal(schema, shown, at)
    _Walk(schema, shown, at).check()
    return schema


def _formal(schema: dict[str, Any], shown: str, at: str) -> None:
    from jsonschema import Draft202012Validator, SchemaError

    check_schema: Any = Draft202012Validator.check_schema
    try:
        check_schema(schema, format_checker=None)
    except SchemaError as error:
        place = at + "".join(f"/{json_text.pointed(str(part))}" for part in error.absolute_path)
        if place.endswith("/type"):
            words = '"string", "number", "integer", "boolean", "array", "object", "null"'
            what = f"{json_text.quoted(error.instance)} is no type; there are {words}"
        else:
            what = one_line(error.message, 160)
        raise ToolError(f"{shown}: {place}: {what}.") from None
    except RecursionError:
        raise ToolError(f"{shown}: {at} is nested too deeply.") from None


class _Walk:
    """All schemas in a schema, by their places, and what leads from one to another."""

    def __init__(self, schema: dict[str, Any], shown: str, at: str) -> None:
        self._shown, self._at = shown, at
        self._schemas: dict[_Place, dict[str, Any]] = {}
        self._same: dict[_Place, list[_Place]] = {}
        waiting: list[tuple[_Place, Any]] = [((), schema)]
        while waiting:
            place, found = waiting.pop()
            if isinstance(found, dict):
                self._schemas[place] = found
                self._same[place] = []
                for inner, value, same in _inner(place, found):
                    waiting.append((inner, value))
                    if same and isinstance(value, dict):
                        self._same[place].append(inner)

    def check(self) -> None:
        for place, schema in self._schemas.items():
            for key in _REFUSED:
                if key in schema and isinstance(schema[key], str):
                    raise self._wrong((*place, key), "is not supported in a tool's parameters")
            for pattern, where in _patterns(schema):
                if why := patterns.problem(pattern):
                    raise self._wrong((*place, *where), why)
            if "$ref" in schema:
                self._same[place].append(self._target(place, schema["$ref"]))
        self._bounded()

    def _target(self, place: _Place, reference: str) -> _Place:
        where = (*place, "$ref")
        if reference != "#" and not reference.startswith("#/"):
            raise self._wrong(
                where, "names a schema elsewhere, which is not fetched; #/$defs/NAME is possible"
            )
        parts = [unquote(part) for part in reference[1:].split("/")[1:]]
        target = tuple(part.replace("~1", "/").replace("~0", "~") for part in parts)
        if target not in self._schemas:
            raise self._wrong(where, f"names no schema: {json_text.quoted(reference)}")
        return target

    def _bounded(self) -> None:
        """Hold the steps that one value takes to what is finite, and little."""
        steps: dict[_Place, int] = {}
        under_way: set[_Place] = set()
        for start in self._schemas:
            stack = [start]
            while stack:
                place = stack[-1]
                if place in steps:
                    stack.pop()
                    continue
                under_way.add(place)
                left = [p for p in self._same[place] if p not in steps]
                if any(p in under_way for p in left):
                    raise self._wrong(place, "refers to itself in a circle")
                if left:
                    stack.append(left[0])
                    continue
                steps[place] = 1 + sum(steps[p] for p in self._same[place])
                if steps[place] > _MOST_STEPS:
                    raise self._wrong(place, "has too many alternatives in one another")
                under_way.discard(place)
                stack.pop()

    def _wrong(self, place: _Place, what: str) -> ToolError:
        pointer = self._at + "".join(f"/{json_text.pointed(part)}" for part in place)
        return ToolError(f"{self._shown}: {one_line(pointer, 160)} {one_line(what, 200)}.")


def _inner(place: _Place, schema: dict[str, Any]) -> Iterator[tuple[_Place, Any, bool]]:
    """The schemas right in a schema, and whether they are for the same value."""
    for keys, same in ((_SAME, True), (_PART, False)):
        for key in keys:
            if isinstance(schema.get(key), dict):
                yield (*place, key), schema[key], same
    for keys, same in ((_SAME_LISTS, True), (_PART_LISTS, False)):
        for key in keys:
            if isinstance(schema.get(key), list):
                for i, value in enumerate(schema[key]):
                    yield (*place, key, str(i)), value, same
    for keys, same in ((_SAME_MAPS, True), (_PART_MAPS, False)):
        for key in keys:
            if isinstance(schema.get(key), dict):
                for name, value in schema[key].items():
                    yield (*place, key, name), value, same


def _patterns(schema: dict[str, Any]) -> Iterator[tuple[str, _Place]]:
    if isinstance(schema.get("pattern"), str):
        yield schema["pattern"], ("pattern",)
    if isinstance(schema.get("patternProperties"), dict):
        for pattern in schema["patternProperties"]:
            yield pattern, ("patternProperties", pattern)
