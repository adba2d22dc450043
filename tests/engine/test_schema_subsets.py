"""Keywords that are held by writing less than they allow: further keys, maps, steps, choices."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from jsonschema import Draft202012Validator

from inference.constrained.automaton import Automaton
from inference.constrained.json_schema import SchemaError, compile_schema
from schema_texts import Schema, accepts, automaton_of, walk

ATOMS = 'ab1-\n"'
WORDS = ["".join(word) for size in range(4) for word in itertools.product(ATOMS, repeat=size)]

# --- keys that are not declared ---------------------------------------------------------------


def test_further_keys_are_written_where_they_have_a_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "null"}, "ab": {"type": "null"}},
        "required": ["ab"],
        "additionalProperties": {"type": "string"},
    }
    grammar = compile_schema(schema)
    assert not grammar.unheld
    automaton = Automaton(grammar)
    for text in (
        '{"ab":null}',
        '{"a":null,"ab":null,"x":"y"}',
        '{"ab":null, "abc": "", "b":"", "aa":"", "é":"", "A": ""}',
    ):
        assert accepts(automaton, text), text
    for text in (
        '{"x":"y"}',
        '{"ab":null,"x":null}',
        '{"ab":null,"ab":"x"}',  # it would be the one that counts
        '{"ab":null,"a":"x"}',
        r'{"ab":null,"\u0061":"x"}',
        '{"ab":null,"a\n":"x"}',
    ):
        assert not accepts(automaton, text), text


def test_further_keys_that_have_no_schema_are_written_only_where_they_are_needed() -> None:
    declared = {"properties": {"a": {"type": "string"}}}
    for more in ({}, {"additionalProperties": True}, {"additionalProperties": {}}):
        assert not accepts(automaton_of({**declared, **more}), '{"a":"","b":1}')
        grammar = compile_schema({**declared, **more, "minProperties": 2})
        assert not grammar.unheld
        automaton = Automaton(grammar)
        assert accepts(automaton, '{"a":"", "b":1}')
        assert accepts(automaton, '{"a":"", "b":1, "c":[]}')
        # Two new keys may be the same.
        for text in ('{"a":""}', '{"b":1,"c":1}', '{"a":"","a":""}', '{"a":"","b":1,}'):
            assert not accepts(automaton, text), text
    schema = {**declared, "minProperties": 2, "maxProperties": 2}
    automaton = automaton_of(schema)
    assert accepts(automaton, '{"a":"", "b":1}')
    assert not accepts(automaton, '{"a":"", "b":1, "c":1}')
    automaton = automaton_of({**declared, "minProperties": 3})
    assert accepts(automaton, '{"b":1,"c":1,"d":1}')
    assert not accepts(automaton, '{"b":1,"c":1}')
    assert not accepts(automaton, '{"a":"","c":1}')
    with pytest.raises(SchemaError, match="No value"):
        compile_schema({**declared, "minProperties": 2, "additionalProperties": False})


@pytest.mark.parametrize(
    "names",
    [["a"], ["", "a", "aa", "ab", "b"], ["é", "ée", 'a"', "a\n", "🔥", "\ue000", "\ud7ff"]],
)
def test_a_further_key_is_any_but_those_that_are_declared(names: list[str]) -> None:
    schema = {
        "type": "object",
        "properties": dict.fromkeys(names, False),
        "additionalProperties": {"type": "null"},
    }
    automaton = automaton_of(schema)
    tried = [*WORDS[:200], *names, "éa", "é\ue000", "\ue001", "🔥🔥", "\U0010ffff", "aaa", "abb"]
    for name in tried:
        text = json.dumps({name: None}, ensure_ascii=False)
        raw = name and not any(char in '"\\' or char < " " for char in name)
        assert accepts(automaton, text) == (bool(raw) and name not in names), text


def test_too_many_names_to_be_told_from_others_are_said_so() -> None:
    names = [f"property_{n:03}_of_a_large_object" for n in range(200)]
    schema = {"properties": {name: {"type": "null"} for name in names}}
    more = {"additionalProperties": {"type": "string"}}
    automaton = automaton_of({**schema, **more})
    assert accepts(automaton, f'{{"{names[0]}":null}}')
    assert not accepts(automaton, '{"x":""}')
    with pytest.raises(SchemaError, match=r"too many for these to be told from others\.$"):
        compile_schema({**schema, **more, "minProperties": 201})


@pytest.mark.parametrize(
    "schema",
    [
        {"patternProperties": {"^[a-z]+_id$": {"type": "integer"}}, "additionalProperties": False},
        {"propertyNames": {"pattern": "^[a-z]+_id$"}, "additionalProperties": {"type": "integer"}},
        {
            "allOf": [
                {"patternProperties": {"_id$": {}}, "maxProperties": 2},
                {"additionalProperties": {"type": "integer"}},
            ]
        },
    ],
)
def test_the_keys_of_a_map_may_have_a_rule(schema: Schema) -> None:
    grammar = compile_schema({"type": "object", **schema})
    assert not grammar.unheld
    automaton = Automaton(grammar)
    for text in ("{}", '{"user_id": 3}', '{"a_id":1,"b_id":-2}'):
        assert accepts(automaton, text), text
    for text in ('{"user": 3}', '{"user_id": "x"}', '{"a_id":1,"b":2}', '{"a_i'):
        assert not accepts(automaton, text), text


# --- what is held by writing less -------------------------------------------------------------


def test_unique_items_of_a_few_values_come_in_their_order() -> None:
    schema = {
        "type": "array",
        "items": {"enum": ["r", "w", 1, 1.0, True, [2]]},
        "uniqueItems": True,
    }
    for more in ({}, {"minItems": 2}, {"maxItems": 3}, {"minItems": 1, "maxItems": 1}):
        grammar = compile_schema({**schema, **more})
        assert not grammar.unheld
        automaton, validator = Automaton(grammar), Draft202012Validator({**schema, **more})
        values = ["r", "w", 1, True, [2]]
        for size in range(6):
            for chosen in itertools.combinations(values, size):
                text = json.dumps(list(chosen))
                assert accepts(automaton, text) == validator.is_valid(list(chosen)), text
        assert not accepts(automaton, '["r", "r"]')
        assert not accepts(automaton, "[1, 1]")
    with pytest.raises(SchemaError, match="No value"):
        compile_schema({**schema, "minItems": 6})
    refers = {
        "$defs": {"x": {"enum": ["a", "b"]}},
        "uniqueItems": True,
        "items": {"$ref": "#/$defs/x"},
    }
    assert not compile_schema(refers).unheld


@pytest.mark.parametrize("multiple", [1, 2, 3, 4, 5, 7, 8, 10, 16, 25, 40, 60, 100, 125, 1000])
@pytest.mark.parametrize(
    "more", [{}, {"minimum": 17}, {"maximum": -3}, {"minimum": -2345, "maximum": 12_345}]
)
def test_multiples_near_zero_are_held_exactly(multiple: int, more: Schema) -> None:
    schema = {"type": "integer", "multipleOf": multiple, **more}
    grammar = compile_schema(schema)
    assert not grammar.unheld
    automaton, validator = Automaton(grammar), Draft202012Validator(schema)
    for number in range(-1200, 1200):
        assert accepts(automaton, str(number)) == validator.is_valid(number), number
    rng = random.Random(multiple)
    for _ in range(20):
        validator.validate(json.loads(walk(automaton, rng, 20)))


@pytest.mark.parametrize("multiple", [2, 5, 8, 10, 16, 25, 125, 1000])
def test_multiples_that_the_last_digits_tell_have_no_end(multiple: int) -> None:
    automaton = automaton_of({"type": "integer", "multipleOf": multiple, "minimum": 13})
    rng = random.Random(multiple)
    for _ in range(300):
        number = rng.randrange(10 ** rng.randrange(3, 15)) + 13
        assert accepts(automaton, str(number)) == (number % multiple == 0)


@pytest.mark.parametrize(
    "multiple", [0.5, 0.25, 1.5, 2.5, 2.0, 0.1, 0.01, 0.05, 0.001, 0.3, 0.7, 2.51, 0.07, 123.456]
)
@pytest.mark.parametrize("kind", ["number", "integer"])
def test_decimal_multiples_pass_a_check_by_floats(multiple: float, kind: str) -> None:
    rng = random.Random(multiple)
    for more in ({}, {"minimum": 0}, {"exclusiveMaximum": -10}, {"minimum": 12345.6}):
        schema = {"type": kind, "multipleOf": multiple, **more}
        grammar = compile_schema(schema)
        assert not grammar.unheld
        automaton, validator = Automaton(grammar), Draft202012Validator(schema)
        texts = {walk(automaton, rng, 25) for _ in range(150)}
        assert len(texts) > 20
        for text in texts:
            assert validator.is_valid(json.loads(text)), text


def test_steps_of_halves_and_quarters_are_all_written() -> None:
    automaton = automaton_of({"type": "number", "multipleOf": 0.25, "minimum": -2})
    for text in ("-2", "-1.75", "0", "0.0", "0.50", "7.5", "7.25", "123456.75", "10"):
        assert accepts(automaton, text), text
    for text in ("-2.25", "0.1", "0.3", "7.255", "123456.7", "-0.1"):
        assert not accepts(automaton, text), text


def test_one_of_branches_that_require_different_things_is_held() -> None:
    schema = {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "url": {"type": "string"},
            "n": {"type": "null"},
        },
        "oneOf": [{"required": ["path"]}, {"required": ["url"]}],
    }
    grammar = compile_schema(schema)
    assert not grammar.unheld
    automaton = Automaton(grammar)
    for text in ('{"path":""}', '{"url":"x","n":null}', '{"path":"a", "n":null}'):
        assert accepts(automaton, text), text
    for text in ("{}", '{"n":null}', '{"path":"","url":""}'):
        assert not accepts(automaton, text), text
    # What is required anyway is not left out, where another name tells the branches apart.
    three = {"required": ["n"], "oneOf": [{"required": ["path"]}, {"required": ["url", "n"]}]}
    automaton = automaton_of({**schema, **three})
    assert accepts(automaton, '{"path":"","n":null}')
    assert accepts(automaton, '{"url":"","n":null}')
    assert not accepts(automaton, '{"path":"","url":"","n":null}')
    # A value of another type meets whatever speaks of objects.
    assert compile_schema({**schema, "type": ["object", "null"]}).unheld == ("oneOf",)
    del schema["type"]
    assert compile_schema({**schema, "enum": [None, 3]}).unheld == ("oneOf",)
