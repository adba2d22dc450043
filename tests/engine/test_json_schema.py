"""The grammars of schemas, held against the `jsonschema` package."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
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
from inference.constrained.json_schema import SchemaError, compile_parameters, compile_schema
from schema_texts import Schema, accepts, automaton_of, compiled, strictly, walk
from tool_schemas import SCHEMAS


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


def _whole(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Schema]:
    return st.builds(
        lambda top, one, two: {**top, "$defs": {"one": one, "two": two}},
        inner.filter(_is_object),
        inner,
        inner,
    )


schemas = _whole(st.recursive(leaves, _deeper, max_leaves=6))

# What is held by writing less than is allowed: such values are not all accepted.
listed = st.lists(scalars, min_size=1, max_size=5).map(lambda values: {"enum": values})
steps = st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.3, 0.7, 1.5, 2.0, 1e-7, 3, 16, 40, 64, 2.51])
narrow_leaves = st.one_of(
    leaves,
    _with(
        {},
        type=st.sampled_from(["number", "integer"]),
        multipleOf=steps,
        minimum=st.one_of(small, decimals),
        exclusiveMaximum=st.one_of(small, decimals, st.integers(10**4, 10**17)),
    ),
)


def _deeper_and_narrow(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    counts = st.integers(0, 5)
    names = st.sampled_from(["a", "ab", "abc", "b", "ä", 'q"', ""])
    named = st.dictionaries(names, inner, max_size=3)
    some = st.lists(names, unique=True, max_size=2)
    keys = st.sampled_from(["^[a-c]+$", "x", "^é{1,3}$", "", r"(a)\1", '^"'])
    return st.one_of(
        _deeper(inner),
        _with(
            {"type": "array"},
            items=st.one_of(listed, inner),
            uniqueItems=st.booleans(),
            minItems=counts,
            maxItems=counts,
        ),
        _with(
            {},
            patternProperties=st.dictionaries(keys, inner, max_size=2),
            propertyNames=st.one_of(inner, keys.map(lambda key: {"pattern": key}), listed),
            additionalProperties=inner,
            minProperties=counts,
        ),
        _with(
            {"type": "object"},
            properties=named,
            additionalProperties=inner,
            required=some,
            minProperties=counts,
            maxProperties=counts,
        ),
        _with(
            {"properties": {"a": {"type": "null"}, "b": {}}},
            oneOf=st.lists(
                st.builds(lambda names: {"required": names}, some), min_size=1, max_size=3
            ),
            required=some,
        ),
    )


narrow_schemas = _whole(st.recursive(narrow_leaves, _deeper_and_narrow, max_leaves=6))
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
    if any("required" in each for each in schema.get("oneOf", ()) if isinstance(each, dict)):
        return False  # what the one requires is left out of the others
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
@given(st.one_of(schemas, narrow_schemas), st.randoms(use_true_random=False))
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
    "many further keys": lambda: {
        "anyOf": [
            {"properties": {f"{n}{'x' * 30}": {}}, "additionalProperties": {"type": "null"}}
            for n in range(400)
        ]
    },
    "many unique items": lambda: _definitions(
        lambda to: {"type": "array", "uniqueItems": True, "items": {"$ref": to}, "minItems": 3}
    ),
    "small steps": lambda: {"type": "number", "multipleOf": 1e-11, "minimum": 1e10},
    "large steps": lambda: {"type": "number", "multipleOf": 10**299, "minimum": 1},
    "many steps": lambda: {"type": "integer", "allOf": [{"multipleOf": n} for n in range(1, 999)]},
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


# --- the parameters of a tool -----------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "properties": {"a": {"type": "null"}}},
        {"properties": {"a": {"type": "null"}}},
        {"type": ["null", "object"], "properties": {"a": {"type": "null"}}},
        {"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"a": {"type": "null"}}}}},
    ],
)
def test_parameters_are_those_of_an_object(parameters: Schema) -> None:
    automaton = Automaton(compile_parameters(parameters))
    assert accepts(automaton, '{"a": null}')
    assert accepts(automaton, "{}")
    for text in ("null", "[]", '{"a": 1}'):
        assert not accepts(automaton, text)


def test_parameters_without_a_word_are_any_object() -> None:
    for parameters in (True, {}):
        automaton = Automaton(compile_parameters(parameters))
        assert accepts(automaton, '{"a": [1]}')
        assert not accepts(automaton, "[1]")


@pytest.mark.parametrize(
    "parameters",
    [None, False, 3, [], "object", {"type": "array"}, {"type": ["null"]}, {"type": {"object": 1}}],
)
def test_parameters_that_are_no_object_s_are_refused_in_one_sentence(parameters: object) -> None:
    with pytest.raises(SchemaError, match=r"no schema of an object; their type must be .*\.$"):
        compile_parameters(parameters)
