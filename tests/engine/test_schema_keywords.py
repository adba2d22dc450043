"""Single keywords of schemas, held against the `jsonschema` package and Python's `re`."""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import json
import random
import re
import uuid
from collections.abc import Callable
from email.utils import parseaddr
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from inference.constrained.automaton import Automaton
from inference.constrained.json_schema import SchemaError, compile_schema
from schema_texts import Schema, accepts, automaton_of, walk


@pytest.mark.parametrize(
    "keywords",
    [
        {"minimum": -3, "maximum": 217},
        {"minimum": 95, "maximum": 1005},
        {"exclusiveMinimum": -100, "exclusiveMaximum": -9},
        {"minimum": -0.5, "maximum": 20.5},
        {"minimum": 17},
        {"exclusiveMaximum": -40},
        {"minimum": 0, "exclusiveMinimum": 0, "maximum": 300, "multipleOf": 25},
    ],
)
def test_bounds_of_integers_are_held_exactly(keywords: Schema) -> None:
    schema = {"type": "integer", **keywords}
    automaton, validator = automaton_of(schema), Draft202012Validator(schema)
    for number in range(-1200, 1200):
        assert accepts(automaton, str(number)) == validator.is_valid(number), number


@pytest.mark.parametrize(
    "keywords",
    [
        {"minimum": -0.25, "maximum": 1.75},
        {"exclusiveMinimum": 0, "exclusiveMaximum": 0.3},
        {"exclusiveMinimum": -2.5, "maximum": -1},
        {"minimum": 9.99, "exclusiveMaximum": 10.01},
        {"minimum": 0.30000000000000004, "maximum": 1},
        {"exclusiveMaximum": 1e-3},
    ],
)
def test_bounds_of_numbers_are_held_exactly(keywords: Schema) -> None:
    schema = {"type": "number", **keywords}
    automaton, validator = automaton_of(schema), Draft202012Validator(schema)
    for thousandths in range(-3000, 12_000, 1):
        text = f"{thousandths / 1000:.3f}"
        assert accepts(automaton, text) == validator.is_valid(float(text)), text
    rng = random.Random(1)
    for _ in range(300):
        text = walk(automaton, rng, 30)
        assert validator.is_valid(json.loads(text)), text


def test_numbers_may_be_spelt_in_many_ways_and_stay_finite() -> None:
    automaton = automaton_of({"type": "number"})
    for text in ("0", "-0", "1.50", "-12e3", "1E-7", "9.5e+12", "999999999999999"):
        assert accepts(automaton, text)
    for text in ("01", "1.", ".5", "+1", "1e999", "NaN", "1" * 400, "-", "1e"):
        assert not accepts(automaton, text)


ATOMS = 'ab1-\n"'
WORDS = ["".join(word) for size in range(5) for word in itertools.product(ATOMS, repeat=size)]


@pytest.mark.parametrize(
    "pattern",
    [
        "^a*b?$",
        "a",
        "^(a|b1)+$",
        "^[^a]$",
        "^[a-b]{2,3}$",
        "^a{2}$|^b",
        "b$|^1-1$|aa",
        r"^\w\W\d?$",
        r"^\D{2}$",
        r"[\s\-]1",
        '^"+$',
        "^(?:a|(?P<n>b{0,2}))*?-$",
        "^(a*)*1$",
        "^((a?){3}|b){2}$",
        r"\x61\u0062",
        "^a{,b",
        "",
        "^$",
        r"\A1[-a]\Z",
        "^[]a]$",
        "^[b-]+$",
        '^[^ -a"]$',
    ],
)
def test_patterns_mean_what_they_mean_to_python(pattern: str) -> None:
    grammar = compile_schema({"type": "string", "pattern": pattern})
    if "pattern" in grammar.unheld:
        pytest.fail("it is not held")
    automaton = Automaton(grammar)
    for word in WORDS:
        # Python's $ is also in front of a last line end; ours is at the end alone.
        strict = re.sub(r"(?<!\\)\$", r"\\Z", pattern)
        assert accepts(automaton, json.dumps(word)) == bool(re.search(strict, word)), word


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(?=a)b",
        r"(a)\1",
        r"\bword\b",
        "(^a)b",
        "a^b",
        "(?i)a",
        "a**",
        r"\p{L}",
        "(" * 500 + ")" * 500,
        "(",
        "a)",
        "[",
        "[z-a]",
        "a{3,2}",
        "x" * 5000,
    ],
)
def test_what_is_not_understood_of_patterns_is_left_to_be_checked(pattern: str) -> None:
    grammar = compile_schema({"type": "string", "pattern": pattern})
    assert grammar.unheld == ("pattern",)
    assert accepts(Automaton(grammar), '"anything"')


def test_a_pattern_and_a_length_hold_together() -> None:
    schema = {"type": "string", "pattern": "^x[a-c]+$", "minLength": 3, "maxLength": 4}
    grammar = compile_schema(schema)
    assert not grammar.unheld
    held = [n for n in range(8) if accepts(Automaton(grammar), json.dumps("x" + "a" * n))]
    assert held == [2, 3]
    assert compile_schema({**schema, "pattern": "^a+b+$"}).unheld == ("maxLength", "minLength")


def test_lengths_count_characters_and_not_bytes_or_spellings() -> None:
    automaton = automaton_of({"type": "string", "minLength": 2, "maxLength": 2})
    for text in ('"ab"', '"é🔥"', r'"\n\u00e9"', r'"\"\\"'):
        assert accepts(automaton, text)
        assert len(json.loads(text)) == 2
    for text in ('"a"', '"abc"', '"é"', r'"\ud83d\ude00"', '"a\n"', r'"\x"'):
        assert not accepts(automaton, text)


FORMATS: dict[str, Callable[[str], object]] = {
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "date-time": datetime.datetime.fromisoformat,
    "uuid": uuid.UUID,
    "ipv4": ipaddress.IPv4Address,
    "email": lambda text: parseaddr(text)[1].index("@"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_written_as_others_read_them(name: str) -> None:
    automaton, rng = automaton_of({"type": "string", "format": name}), random.Random(name)
    for _ in range(100):
        FORMATS[name](json.loads(walk(automaton, rng, 50)))


def test_a_format_gives_way_to_other_keywords() -> None:
    schema = {"type": "string", "format": "date", "maxLength": 3}
    assert accepts(automaton_of(schema), '"abc"')
    schema = {"type": "string", "format": "date", "pattern": "^x$"}
    assert accepts(automaton_of(schema), '"x"')


@pytest.mark.parametrize(
    ("schema", "unheld"),
    [
        ({"not": {"type": "null"}}, "not"),
        ({"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}}, "if"),
        ({"patternProperties": {"^x": {"type": "null"}, "^y": {}}}, "patternProperties"),
        ({"patternProperties": {"^x": False}}, "patternProperties"),
        ({"patternProperties": {r"(x)\1": {}}}, "patternProperties"),
        ({"properties": {"a": {}}, "patternProperties": {"x": {}}}, "patternProperties"),
        ({"properties": {"a": {}}, "propertyNames": {"maxLength": 2}}, "propertyNames"),
        ({"type": "object", "propertyNames": {"pattern": r"(x)\1"}}, "pattern"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"type": "array", "contains": {"const": 1}}, "contains"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"uniqueItems": True, "items": {"enum": list(range(9))}}, "uniqueItems"),
        ({"type": "number", "multipleOf": 1e-20}, "multipleOf"),
        ({"type": "number", "allOf": [{"multipleOf": 0.5}, {"multipleOf": 3}]}, "multipleOf"),
        ({"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 3}]}, "oneOf"),
        ({"oneOf": [{"required": ["a"]}, {"required": ["a", "b"]}]}, "oneOf"),
        ({"type": "object", "minProperties": 2}, "minProperties"),
        ({"properties": {"a": {}}, "minProperties": 3}, "minProperties"),
    ],
)
def test_keywords_that_are_not_held_are_named(schema: Schema, unheld: str) -> None:
    assert compile_schema(schema).unheld == (unheld,)
    nested = {"type": "object", "properties": {"a": {"type": "array", "items": schema}}}
    assert compile_schema(nested).unheld == (unheld,)


@pytest.mark.parametrize(
    "schema",
    [
        {"oneOf": [{"type": "integer"}, {"type": "string"}, {"enum": [None, True]}]},
        {"type": "array", "uniqueItems": True, "maxItems": 1},
        {"type": "string", "not_a_keyword": 1, "contains": {}, "title": "x", "default": 3},
        {"type": "object", "properties": {"a": True}, "minProperties": 1},
    ],
)
def test_what_can_be_held_is_not_named(schema: Schema) -> None:
    assert compile_schema(schema).unheld == ()


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        (False, "'#'"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "'#'"),
        (
            {
                "type": "object",
                "properties": {"a/b": {"type": "integer", "minimum": 3, "maximum": 2}},
                "required": ["a/b"],
            },
            "'#/properties/a~1b'",
        ),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "'#'"),
        ({"enum": ["a", 1], "type": "null"}, "'#'"),
        ({"type": "array", "items": False, "minItems": 1}, "'#'"),
        ({"type": "object", "properties": {"n": {"$ref": "#"}}, "required": ["n"]}, "endless"),
        ({"$ref": "#"}, "circle"),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "circle"),
        ({"$ref": "https://example.com/x.json"}, "does not point into the same schema"),
        ({"$ref": "#/$defs/no"}, "leads nowhere"),
        ({"type": "text"}, "must be one of"),
        ({"type": "string", "minLength": -1}, "must be a count"),
        ({"type": "integer", "minimum": "3"}, "must be a number"),
        ({"type": "object", "properties": ["a"]}, "must be an object"),
        ({"type": "object", "properties": {"a": "string"}}, "'#/properties/a'"),
        ({"enum": "abc"}, "must be a list"),
        ({"enum": []}, "'#'"),
        ({"anyOf": []}, "has no schema in it"),
        ({"type": "number", "multipleOf": 0}, "above 0"),
        ({"type": "string", "pattern": 3}, "must be a text"),
        ({"enum": [float("nan"), float("inf")]}, "'#'"),
        ({"enum": ["\ud800"]}, "'#'"),
        ({"type": {1: 2}}, "not JSON"),
    ],
)
def test_what_no_value_meets_or_no_one_can_read_is_said_in_one_sentence(
    schema: Any, place: str
) -> None:
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    message = str(caught.value)
    assert place in message
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 400


def test_what_cannot_be_is_left_out_of_what_can() -> None:
    schema = {
        "type": "object",
        "properties": {"never": False, "a": {"anyOf": [{"enum": []}, {"type": "null"}]}},
    }
    automaton = automaton_of(schema)
    assert accepts(automaton, '{"a":null}')
    assert accepts(automaton, "{}")
    assert not accepts(automaton, '{"never":')


def test_objects_without_declared_properties_are_free() -> None:
    free = automaton_of({"type": "object"})
    assert accepts(free, '{"x": [1, {"y": null}], "z": "a"}')
    none = automaton_of({"type": "object", "properties": {}})
    assert accepts(none, "{}")
    assert not accepts(none, '{"x": 1}')
    assert not accepts(automaton_of({}), "[" * 20 + "]" * 20)  # any parser can follow


def test_what_is_said_beside_a_reference_or_a_choice_holds_too() -> None:
    schema = {
        "$defs": {"short": {"type": "string", "maxLength": 5}},
        "type": "array",
        "prefixItems": [
            {"$ref": "#/$defs/short", "minLength": 4},
            {"anyOf": [{"type": "integer"}, {"type": "string"}], "enum": ["a", 7, None]},
        ],
        "items": False,
    }
    automaton = automaton_of(schema)
    assert accepts(automaton, '["abcd", 7]')
    for text in ('["abc", 7]', '["abcdef", 7]', '["abcd", null]', '["abcd", 7, 7]'):
        assert not accepts(automaton, text)


def test_of_several_bounds_the_narrowest_holds() -> None:
    pairs = [({"minLength": 2, "maxLength": 5}, {"minLength": 1, "maxLength": 3})]
    pairs += [(second, first) for first, second in pairs]
    for first, second in pairs:
        automaton = automaton_of({"type": "string", "allOf": [first, second]})
        assert [n for n in range(8) if accepts(automaton, json.dumps("a" * n))] == [2, 3]
    numbers = [{"minimum": 2}, {"exclusiveMinimum": 2}, {"maximum": 6}, {"exclusiveMaximum": 6}]
    for order in itertools.permutations(numbers):
        automaton = automaton_of({"type": "integer", "allOf": list(order)})
        assert [n for n in range(9) if accepts(automaton, str(n))] == [3, 4, 5]
