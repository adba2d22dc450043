"""The grammars of schemas, held against the `jsonschema` package and Python's `re`."""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import json
import random
import re
import time
import uuid
from collections.abc import Callable
from email.utils import parseaddr
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from inference.constrained.automaton import Automaton
from inference.constrained.grammar import (
    Alt,
    Chars,
    Grammar,
    Node,
    Ref,
    Repeat,
    Seq,
    shortest_lengths,
)
from inference.constrained.json_schema import SchemaError, compile_schema
from tool_schemas import SCHEMAS

Schema = dict[str, Any]


def automaton_of(schema: Schema | bool) -> Automaton:
    return Automaton(compile_schema(schema))


def compiled(schema: Schema) -> Grammar | SchemaError:
    try:
        return compile_schema(schema)
    except SchemaError as error:
        return error


def accepts(automaton: Automaton, text: str) -> bool:
    state = automaton.advance(automaton.start(), text.encode())
    return state is not None and automaton.complete(state)


def walk(automaton: Automaton, rng: random.Random, length: int) -> str:
    """Random bytes as they are allowed, about `length` of them, then the shortest end."""
    state, text = automaton.start(), b""
    for _ in range(rng.randrange(length)):
        mask = automaton.allowed(state)
        if not mask:
            break
        # Ordinary characters are rarer than others; without them a string would never end.
        choices = [b for b in range(256) if mask >> b & 1 for _ in range(1 if b > 126 else 9)]
        byte = bytes([rng.choice(choices)])
        after = automaton.advance(state, byte)
        assert after is not None
        state, text = after, text + byte
    end = automaton.shortest(state)
    assert len(end) == automaton.distance(state)
    last = automaton.advance(state, end)
    assert last is not None
    assert automaton.complete(last)
    return (text + end).decode()


def strictly(text: str) -> Any:
    """The value of a text; nothing but finite numbers and keys that come once."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(found)

    value = json.loads(text, parse_constant=refuse, object_pairs_hook=pairs)
    assert "Infinity" not in json.dumps(value)
    return value


@pytest.mark.parametrize("name", SCHEMAS)
def test_whatever_is_written_for_a_tool_meets_its_schema(name: str) -> None:
    grammar = compile_schema(SCHEMAS[name])
    assert not grammar.unheld
    automaton, rng = Automaton(grammar), random.Random(name)
    validator = Draft202012Validator(SCHEMAS[name])
    for length in (2, 40, 80, 150, 300) * 3:
        text = walk(automaton, rng, length)
        validator.validate(strictly(text))


CALLS = {
    "weather": [{"location": "Paris, TX"}, {"location": 'a "b" \\ \n é🔥', "unit": "celsius"}],
    "no_arguments": [{}],
    "calendar_event": [
        {
            "title": "Tea",
            "date": "2026-12-31",
            "time": "09:59",
            "minutes": 1440,
            "attendees": ["a.b@example.com", "x@y-z.org"],
            "all_day": False,
        },
        {"title": "Tea", "date": "2026-02-28", "minutes": 5},
    ],
    "move": [{"dx": -128, "dy": 9, "speed": 2.5}, {"dx": 127, "dy": -9, "speed": 0.001}],
    "geo": [{"latitude": -89.999, "longitude": 180}, {"latitude": 0.5, "longitude": -179.25}],
    "tree": [{"root": {"value": 1, "children": [{"value": -2, "children": []}, {"value": 0}]}}],
    "linked_list": [{"head": "a", "tail": {"head": "b", "tail": None}}],
    "reminder_de": [{"priorität": "höchste ‼", "größe": 3, "straße": "Große Straße 緊急"}],
    "search": [{"query": "x", "filters": {"since": "2026-01-02T03:04:05Z", "tags": ["a", ""]}}],
    "sql": [
        {
            "table": "t_1",
            "columns": ["a"],
            "where": [{"column": "a", "operator": "LIKE", "value": None}],
            "limit": 10,
        }
    ],
    "http": [{"method": "PUT", "path": "/a/b", "headers": {"x": "y"}, "body": [{"a": [1e-5, {}]}]}],
    "payment": [
        {
            "amount": 0.01,
            "currency": "JPY",
            "method": {"kind": "card", "number": "4" * 16},
        }
    ],
    "scores": [{"scores": {"a": 100, "b": 0, "c": 7}}],
    "user": [{"name": "a", "id": "01234567-89ab-cdef-0123-456789abcdef", "age": 150}],
    "thermostat": [{"target": 30.25, "step": 45, "mode": "heat", "schedule": ["08:00:00Z"]}],
    "network": [{"host": "255.1.20.0", "port": 65535, "vlan": None}],
    "many_options": [{"option_0": True, "option_7": -3, "option_11": False}],
    "mixed_constants": [{"level": {"a": [1, "x"]}, "flags": ["r", "r"]}, {"level": 2.5}],
}


@pytest.mark.parametrize("name", CALLS)
def test_ordinary_calls_are_accepted_in_both_spacings(name: str) -> None:
    automaton = automaton_of(SCHEMAS[name])
    for call in CALLS[name]:
        Draft202012Validator(SCHEMAS[name]).validate(call)
        assert accepts(automaton, json.dumps(call, ensure_ascii=False))
        assert accepts(automaton, json.dumps(call, ensure_ascii=False, separators=(",", ":")))


# --- random schemas ---------------------------------------------------------------------------

NAMES = ["a", "b", "ä b", 'q"']
small = st.integers(-12, 120)
decimals = st.integers(-300, 300).map(lambda n: n / 100 if n % 100 else n // 100)


def _with(base: Schema, **options: st.SearchStrategy[Any]) -> st.SearchStrategy[Schema]:
    """`base` with any of these further keywords."""
    return st.fixed_dictionaries({}, optional=options).map(lambda more: {**base, **more})


scalars = st.one_of(st.none(), st.booleans(), small, decimals, st.sampled_from(["", "a", "\né"]))
leaves = st.one_of(
    st.sampled_from([{}, True, {"type": "null"}, {"type": "boolean"}, False]),
    _with(
        {"type": "integer"},
        minimum=st.one_of(small, decimals),
        maximum=small,
        exclusiveMinimum=small,
        exclusiveMaximum=st.one_of(small, decimals),
        multipleOf=st.integers(1, 7),
    ),
    _with(
        {"type": "number"},
        minimum=decimals,
        maximum=st.one_of(small, decimals),
        exclusiveMinimum=decimals,
        exclusiveMaximum=decimals,
    ),
    _with(
        {"type": "string"},
        minLength=st.integers(0, 3),
        maxLength=st.integers(0, 6),
        pattern=st.sampled_from(["^[a-c]+$", "x", "^(ab|c)*$", "é$", r"^\d{2,4}$"]),
    ),
    st.lists(scalars, min_size=1, max_size=4).map(lambda values: {"enum": values}),
    st.one_of(scalars, st.just({"k": [1, None]})).map(lambda value: {"const": value}),
    st.sampled_from([{"$ref": "#/$defs/one"}, {"$ref": "#/$defs/two"}, {"$ref": "#"}]),
    st.builds(
        lambda kinds, low: {"type": kinds, "minimum": low},
        st.lists(st.sampled_from(["null", "string", "number"]), min_size=1, unique=True),
        small,
    ),
)


def _deeper(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(st.sampled_from(NAMES), inner, min_size=1, max_size=4)
    counts = st.integers(0, 3)
    return st.one_of(
        _with(
            {"type": "object"},
            properties=named,
            required=st.lists(st.sampled_from(NAMES), unique=True, max_size=2),
            additionalProperties=st.one_of(st.booleans(), inner),
            minProperties=counts,
            maxProperties=counts,
        ),
        _with(
            {"type": "array"}, items=inner, prefixItems=several, minItems=counts, maxItems=counts
        ),
        _with({}, anyOf=several, oneOf=several, allOf=several),
        st.builds(lambda one, more: {**more, "anyOf": one}, several, leaves.filter(_is_object)),
    )


def _is_object(schema: Any) -> bool:
    return isinstance(schema, dict)


inner_schemas = st.recursive(leaves, _deeper, max_leaves=6)
schemas = st.builds(
    lambda top, one, two: {**top, "$defs": {"one": one, "two": two}},
    inner_schemas.filter(_is_object),
    inner_schemas,
    inner_schemas,
)
slow = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class Endless(Exception):
    """No value was found."""


def one_way(schema: Any) -> bool:
    """Whether one object is never spoken about in two places of `schema`: what the one declares
    would be undeclared in the other, and is then not written."""
    if isinstance(schema, list):
        return all(map(one_way, schema))
    if not isinstance(schema, dict):
        return True
    ways = schema.keys() & {"$ref", "anyOf", "oneOf", "allOf", "properties"}
    return len(ways) < 2 and len(schema.get("allOf", ())) < 2 and all(map(one_way, schema.values()))


def some_value(schema: Any, whole: Draft202012Validator, rng: random.Random, depth: int = 0) -> Any:
    """A value that meets `schema`, a part of what `whole` is for, its properties in the order of
    the schema. Raises `Endless`."""
    value = _likely_value(schema, whole, rng, depth)
    if not whole.evolve(schema=schema).is_valid(value):
        raise Endless
    return value


def _likely_value(schema: Any, whole: Draft202012Validator, rng: random.Random, depth: int) -> Any:
    if depth > 6 or schema is False:
        raise Endless
    if schema is True:
        schema = {}
    deeper: Callable[[Any], Any] = lambda inner: some_value(inner, whole, rng, depth + 1)  # noqa: E731
    if "$ref" in schema:
        path = schema["$ref"][2:].split("/") if schema["$ref"] != "#" else []
        target: Any = whole.schema
        for name in path:
            target = target[name]
        return deeper(target)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            return deeper(rng.choice(schema[keyword]))
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    kind = schema.get("type", rng.choice(["null", "string", "number", "object", "array"]))
    kind = rng.choice(kind) if isinstance(kind, list) else kind
    size = rng.randint(0, 3)
    if kind == "object":
        value = {}
        declared = dict.fromkeys([*schema.get("properties", {}), *schema.get("required", [])])
        for name in declared:
            if name in schema.get("required", []) or rng.random() < 0.5:
                more = schema.get("additionalProperties", True)
                value[name] = deeper(schema.get("properties", {}).get(name, more))
        if not declared and "properties" not in schema:
            for name in NAMES[:size]:
                value[name] = deeper(schema.get("additionalProperties", True))
        return value
    if kind == "array":
        first = schema.get("prefixItems", [])
        each = [*first, *[schema.get("items", True)] * 3][: max(size, schema.get("minItems", 0))]
        return [deeper(inner) for inner in each]
    near = [v for key, v in schema.items() if "imum" in key]
    if kind == "integer":
        return round(rng.choice([*near, rng.randint(-50, 200)])) + rng.randint(-1, 1)
    if kind == "number":
        step = rng.choice([-0.5, -0.001, 0, 0.001, 1, 0.25])
        number = round(rng.choice([*near, 0.5, 7]) + step, 6)
        return int(number) if number == int(number) else number
    if kind == "string":
        words = ["", "a", "bb", "abc", "x", "aé", "12", "123", '\n\\"', "🔥🔥"]
        return rng.choice(words)
    return {"null": None, "boolean": rng.random() < 0.5}[kind]


def assert_sound(grammar: Grammar) -> None:
    """Nothing is referred to that is not there, and nothing is there that has no text."""
    assert shortest_lengths(grammar.rules).keys() == grammar.rules.keys()
    waiting: list[Node] = [grammar.start, *grammar.rules.values()]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Ref):
            assert node.name in grammar.rules
        elif isinstance(node, Alt):
            assert node.choices
            waiting += node.choices
        elif isinstance(node, Seq):
            waiting += node.parts
        elif isinstance(node, Repeat):
            assert node.most is None or node.least <= node.most > 0
            waiting.append(node.node)
        elif isinstance(node, Chars):
            ends = [end for pair in node.ranges for end in pair]
            assert ends
            assert all(low <= high for low, high in node.ranges)
            assert all(b + 1 < c for b, c in zip(ends[1::2], ends[2::2], strict=False))
            assert not any(low <= 0xDFFF and high >= 0xD800 for low, high in node.ranges)


@slow
@given(schemas, st.randoms(use_true_random=False))
def test_walks_of_random_schemas_meet_them(schema: Schema, rng: random.Random) -> None:
    grammar = compiled(schema)
    if isinstance(grammar, SchemaError):
        assert str(grammar).endswith(".")
        return
    assert_sound(grammar)
    automaton = Automaton(grammar)
    for length in (1, 30, 60):
        value = strictly(walk(automaton, rng, length))
        if not grammar.unheld:
            Draft202012Validator(schema).validate(value)


@slow
@given(schemas, st.randoms(use_true_random=False))
def test_values_of_random_schemas_are_accepted(schema: Schema, rng: random.Random) -> None:
    grammar = compiled(schema)
    assume("circle" not in str(grammar))
    assume(one_way(schema))
    automaton = Automaton(grammar) if isinstance(grammar, Grammar) else None
    for _ in range(6):
        try:
            value = some_value(schema, Draft202012Validator(schema), rng)
        except Endless:
            continue
        for separators in ((", ", ": "), (",", ":")):
            text = json.dumps(value, ensure_ascii=False, separators=separators)
            assert automaton is not None, text
            assert accepts(automaton, text), text


# --- single keywords --------------------------------------------------------------------------


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
        ({"type": "object", "patternProperties": {"^x": {"type": "null"}}}, "patternProperties"),
        ({"type": "object", "propertyNames": {"maxLength": 2}}, "propertyNames"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"type": "array", "contains": {"const": 1}}, "contains"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "number", "multipleOf": 0.1}, "multipleOf"),
        ({"type": "integer", "multipleOf": 7}, "multipleOf"),
        ({"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 3}]}, "oneOf"),
        ({"type": "object", "minProperties": 2}, "minProperties"),
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


# --- hostile schemas --------------------------------------------------------------------------


def _nested(wrap: Callable[[Any], Any], depth: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = wrap(schema)
    return schema


def _definitions(make: Callable[[str], Any], count: int = 100) -> Schema:
    """Definitions that each refer to the next one."""
    defs = {f"d{n}": make(f"#/$defs/d{n + 1}") for n in range(count)}
    return {"$defs": {**defs, f"d{count}": {"type": "null"}}, "$ref": "#/$defs/d0"}


HOSTILE: dict[str, Callable[[], Any]] = {
    "deep properties": lambda: _nested(
        lambda s: {"properties": {"a": s}, "required": ["a"]}, 10_000
    ),
    "deep choices": lambda: _nested(lambda s: {"anyOf": [s, {"type": "null"}]}, 90),
    "deep constant": lambda: {"const": _nested(lambda s: [s], 10_000)},
    "fan-out": lambda: _definitions(
        lambda to: {"type": "array", "prefixItems": [{"$ref": to}] * 2, "minItems": 2}
    ),
    "fan-out of choices": lambda: _definitions(
        lambda to: {"type": "array", "items": {"anyOf": [{"$ref": to}] * 9}}
    ),
    "all of all": lambda: _definitions(lambda to: {"allOf": [{"$ref": to}] * 2}, 60),
    "long chain": lambda: _definitions(lambda to: {"$ref": to}, 10_000),
    "product of choices": lambda: {
        "allOf": [{"anyOf": [{"required": [f"p{n}"]}, {"required": [f"q{n}"]}]} for n in range(30)]
    },
    "many values": lambda: {"enum": [f"value {n}" for n in range(100_000)]},
    "ten megabytes": lambda: {"const": "x" * 10_000_000},
    "long description": lambda: {"type": "null", "description": "x" * 10_000_000},
    "long texts": lambda: {"type": "string", "maxLength": 10**9},
    "very long texts": lambda: {"type": "string", "minLength": 10**9},
    "long lists": lambda: {"type": "array", "items": {"type": "null"}, "maxItems": 10**9},
    "many properties": lambda: {"properties": {f"p{n}": {} for n in range(1000)}},
    "too many properties": lambda: {"properties": {f"p{n}": {} for n in range(100_000)}},
    "large numbers": lambda: {"type": "integer", "minimum": 10**400},
    "infinite numbers": lambda: {"type": "number", "maximum": float("-inf")},
    "empty loops": lambda: {"type": "string", "pattern": "(" * 30 + "a?" + "){9}" * 30},
    "skewed loops": lambda: {"type": "string", "pattern": "(a?" * 38 + ")*" * 38},
    "many choices": lambda: {"anyOf": [{"type": "string", "minLength": n} for n in range(1000)]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_end_quickly_in_a_small_grammar_or_a_sentence(name: str) -> None:
    schema = HOSTILE[name]()
    begin = time.process_time()
    grammar = compiled(schema)
    if isinstance(grammar, SchemaError):
        assert len(str(grammar)) < 400
    else:
        walk(Automaton(grammar), random.Random(name), 20)
    assert time.process_time() - begin < 5
