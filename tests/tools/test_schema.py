"""Definitions and arguments of others: what fits, and the sentence about what does not."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_tui.tools import arguments
from mistral_tui.tools.definition import Definition
from mistral_tui.tools.schema import (
    ToolError,
    check_arguments,
    check_definition,
    check_definitions,
    read_text,
)

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "places": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        "code": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"},
        "tags": {"type": "array", "uniqueItems": True},
    },
    "required": ["city"],
    "additionalProperties": False,
}


def _tool(parameters: object = WEATHER, **more: object) -> Definition:
    return check_definition({"name": "w", "parameters": parameters, **more}, source="w.json")


def _refusal(data: object) -> str:
    with pytest.raises(ToolError) as caught:
        check_definition(data, source="w.json")
    said = str(caught.value)
    assert said.startswith("w.json")
    assert said.endswith((".", "?"))
    assert "\n" not in said
    assert len(said) < 500
    return said


@pytest.mark.parametrize(
    "data",
    [
        {"name": "w", "description": "d", "parameters": WEATHER},
        {"type": "function", "function": {"name": "w", "description": "d", "parameters": WEATHER}},
        {"name": "w", "description": "d", "input_schema": WEATHER},
        {"name": "w", "description": "d", "inputSchema": WEATHER, "annotations": {"title": "W"}},
        [{"name": "w", "description": "d", "parameters": WEATHER}],
        {"tools": [{"type": "function", "function": {
            "name": "w", "description": "d", "parameters": WEATHER, "strict": True}}]},
    ],
)  # fmt: skip
def test_the_common_wrappings_are_one_tool(data: object) -> None:
    tool = check_definition(data, source="w.json")
    assert (tool.name, tool.description, tool.parameters) == ("w", "d", WEATHER)
    assert (tool.kind, tool.source) == ("manual", "w.json")


def test_no_parameters_are_none() -> None:
    for data in ({"name": "w"}, {"name": "w", "parameters": {}}, {"name": "w", "parameters": None}):
        assert check_definition(data, source="x").parameters == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (3, "must be an object"),
        ({}, "/name is missing"),
        ({"name": "two words"}, '/name is "two words"'),
        ({"name": "x" * 65}, "up to 64"),
        ({"name": "w", "paramters": {}}, "did you mean parameters?"),
        ({"name": "w", "description": 3}, "/description must be text"),
        ({"name": "w", "parameters": [1]}, "/parameters must be a JSON Schema"),
        ({"name": "w", "parameters": {"type": "string"}}, '/parameters/type must be "object"'),
        ({"name": "w", "parameters": {}, "input_schema": {}}, "/input_schema says again"),
        ([{"name": "a"}, {"name": "b"}], "one tool is expected here, not 2"),
        ({"tools": [{"name": "a b"}]}, "/tools/0/name"),
        ({"type": "retrieval", "name": "a"}, "/type must be"),
        (
            {"name": "w", "parameters": {"properties": {"unit": {"type": "strng"}}}},
            '/parameters/properties/unit/type: "strng" is no type',
        ),
        ({"name": "w", "parameters": {"properties": {"a/b": 7}}}, "/parameters/properties/a~1b"),
        ({"name": "w", "parameters": {"required": "city"}}, "/parameters/required"),
        ({"name": "w", "parameters": {"properties": {"a": {"minimum": "1"}}}}, "/a/minimum"),
        ({"name": "w", "parameters": {"properties": {"a": {"default": float("nan")}}}}, "finite"),
        ({"name": "w", "parameters": {"default": {1: 2}}}, "/parameters/default has a key"),
        ({"name": "w", "parameters": {"default": {1, 2}}}, "is a set"),
        ({"name": "w", "parameters": {"properties": {"a": {"pattern": "("}}}}, "/a/pattern is no"),
    ],
)
def test_a_bad_definition_is_refused_with_its_place(data: object, why: str) -> None:
    assert why in _refusal(data)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"name": "w",\n  "description": }', "line 2, column 18: this is not JSON"),
        (
            '{"name": "w",\n "a": {"x": 1},\n "name": "v"}',
            'line 3, column 2: the key "name" is given',
        ),
        ('{"name": "w", "parameters": {"minProperties": NaN}}', "NaN is no number"),
        ("", "line 1, column 1"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 60 + "]" * 60, "nested too deeply"),
        ('{"name": ' + "9" * 5000 + "}", "too long"),
        ('{"name": "w", "\\u0061": 1, "a": 2}', 'the key "a" is given twice'),
    ],
)
def test_bad_json_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(ToolError) as caught:
        read_text(text, source="/somewhere/w.json", shown="w.json")
    assert str(caught.value).startswith("w.json")
    assert why in str(caught.value)


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


DOUBLING = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(60)}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (_nested(100), "nested too deeply"),
        ({"properties": {f"p{i}": {"type": "string"} for i in range(5000)}}, "too large"),
        ({"properties": {"x" * 70_000: {}}}, "too large"),
        ({"$ref": "#"}, "in a circle"),
        (
            {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}},
            "circle",
        ),
        ({"$defs": DOUBLING | {"a60": {}}}, "too many alternatives"),
        ({"properties": {"a": {"$ref": "http://127.0.0.1:1/x.json"}}}, "names a schema elsewhere"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "names a schema elsewhere"),
        ({"properties": {"a": {"$ref": "#/$defs/nix"}}}, "names no schema"),
        (
            {"properties": {"a": {"$ref": "#/default"}}, "default": {"$ref": "http://x"}},
            "no schema",
        ),
        ({"properties": {"a": {"$dynamicRef": "#x"}}}, "not supported"),
        ({"properties": {"a": {"$id": "http://x/"}}}, "not supported"),
        ({"properties": {"a": {"pattern": "a" * 2000}}}, "longer than 1000"),
        ({"patternProperties": {"(": {}}}, "no regular expression"),
    ],
)
def test_hostile_schemas_end_in_a_sentence_soon(schema: dict[str, Any], why: str) -> None:
    started = time.monotonic()
    assert why in _refusal({"name": "w", "parameters": schema})
    assert time.monotonic() - started < 3


def test_nothing_is_ever_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    _refusal({"name": "w", "parameters": {"properties": {"a": {"$ref": "https://x.test/a"}}}})
    # Even if one comes past the check.
    tool = Definition(
        "w", "", {"type": "object", "properties": {"a": {"$ref": "https://x.test/a"}}}
    )
    with pytest.raises(ToolError, match="cannot be checked"):
        check_arguments(tool, '{"a": 1}')


def test_a_schema_that_refers_into_itself_works() -> None:
    node = {
        "type": "object",
        "properties": {"next": {"$ref": "#/$defs/node"}, "v": {"type": "null"}},
    }
    tool = _tool({"properties": {"list": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}})
    check_arguments(tool, '{"list": {"next": {"next": {"v": null}}}}')
    with pytest.raises(ToolError, match=r"list\.next\.next\.v must be null"):
        check_arguments(tool, '{"list": {"next": {"next": {"v": 1}}}}')


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"city": "Paris", "unit": "kelvin"}', 'unit must be one of "celsius", "fahrenheit"'),
        ("{}", "city is missing"),
        ('{"city": 3}', "city must be a text, not a number"),
        ('{"city": ""}', "city must have at least 1 characters"),
        ('{"city": "P", "days": 9}', "days must be at most 7, not 9"),
        ('{"city": "P", "days": 1.5}', "days must be a whole number"),
        ('{"city": "P", "town": 1}', "town is not known; there are city, unit"),
        ('{"city": "P", "places": [{"name": 1}, {}]}', "places[1].name is missing"),
        ('{"city": "P", "places": [3]}', "places[0] must be an object"),
        ('{"city": "P", "code": "A-"}', "code must match the pattern"),
        ('{"city": "P", "tags": [1, 2, 1.0]}', "tags must not have an item twice"),
        ('{"city": "P", "city": "Q"}', 'line 1, column 15: the key "city" is given twice'),
        ('{"city": "P"', "line 1, column 13: this is not JSON"),
        ("[]", "must be a JSON object, not a list"),
        ("3", "must be a JSON object, not a number"),
        ('{"city": Infinity}', "Infinity is no number"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested too deeply"),
        ('{"city": "' + "x" * 300_000 + '"}', "too long"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_what_was_expected(text: str, why: str) -> None:
    with pytest.raises(ToolError) as caught:
        check_arguments(_tool(), text)
    assert str(caught.value).startswith("The arguments of w")
    assert why in str(caught.value)
    assert len(str(caught.value)) < 500


def test_arguments_that_fit_are_the_values() -> None:
    text = (
        '{"city": "Paris", "unit": "celsius", "days": 2, "code": "a-b-c", "tags": [true, 1, "1"]}'
    )
    assert check_arguments(_tool(), text) == json.loads(text)
    for nothing in ("", " ", "null", "{}"):
        assert check_arguments(_tool({}), nothing) == {}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, '{"a": "' + "a" * 60 + 'b"}'),
        ({"properties": {"a": {"pattern": "^(a|a)*$"}}}, '{"a": "' + "a" * 60 + 'b"}'),
        ({"properties": {"a": {"pattern": "a*a*a*a*a*a*b"}}}, '{"a": "' + "a" * 5000 + '"}'),
        ({"patternProperties": {"^(a+)+$": {}}}, '{"' + "a" * 60 + 'b": 1}'),
        ({"anyOf": [{"properties": {"x": {"$ref": "#"}}, "required": ["y"]}] * 2},
         '{"x":' * 60 + "{}" + "}" * 60),
        ({"properties": {"a": {"items": {"anyOf": [{"const": i} for i in range(1000)]}}}},
         '{"a": [' + ",".join(["999"] * 50_000) + "]}"),
    ],
)  # fmt: skip
def test_a_check_that_would_take_ages_is_given_up(
    schema: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arguments, "_SECONDS", 0.3)
    tool = _tool(schema)
    started = time.monotonic()
    with pytest.raises(ToolError, match="too long to check"):
        check_arguments(tool, text)
    assert time.monotonic() - started < 2


def test_long_lists_are_checked_in_time() -> None:
    tool = _tool({"properties": {"a": {"items": {"type": "integer", "minimum": 0}}}})
    check_arguments(tool, json.dumps({"a": list(range(20_000))}))


def test_many_different_items_are_compared_in_no_time() -> None:
    tool = _tool({"properties": {"a": {"uniqueItems": True}}})
    items = [{"n": i} for i in range(15_000)]
    started = time.monotonic()
    check_arguments(tool, json.dumps({"a": items}))
    assert time.monotonic() - started < 3


def test_half_characters_do_not_stay() -> None:
    tool = check_definition({"name": "w", "description": "a\ud800b"}, source="x")
    assert tool.description == "a\ufffdb"
    tool.told().parameters.encode()
    assert check_arguments(tool, '{"a": "x\\ud800y \\ud83d\\ude00"}') == {
        "a": "x\ufffdy \U0001f600"
    }


def test_too_many_tools_are_refused() -> None:
    with pytest.raises(ToolError, match="at most 200"):
        check_definitions([{"name": f"t{i}"} for i in range(201)], source="x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["type", "properties", "items", "anyOf", "$ref", "$defs", "name", "pattern",
                         "parameters", "required", "enum", "function", "tools", "const", "a"]),
        inner, max_size=5,
    ),
    max_leaves=25,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(JSON, JSON, st.text(max_size=20))
def test_whatever_comes_is_a_definition_or_a_sentence(data: Any, given_: Any, text: str) -> None:
    for candidate in (data, {"name": "w", "parameters": data}):
        try:
            tool = check_definition(candidate, source="x")
        except ToolError:
            continue
        for written in (text, json.dumps(given_)):
            try:
                said = "" if isinstance(check_arguments(tool, written), dict) else "\n"
            except ToolError as error:
                said = str(error)
            assert "\n" not in said
