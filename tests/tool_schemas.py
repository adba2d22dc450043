"""Schemas of realistic tools, each usable as a function's `parameters`."""

from __future__ import annotations

from typing import Any


def _object(
    properties: dict[str, Any], required: list[str] | None = None, **more: Any
) -> dict[str, Any]:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names, **more}


SCHEMAS: dict[str, dict[str, Any]] = {
    "weather": _object(
        {
            "location": {"type": "string", "description": "The city and state, e.g. Paris, TX"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        },
        ["location"],
    ),
    "no_arguments": {"type": "object", "properties": {}, "additionalProperties": False},
    "calculator": _object({"expression": {"type": "string", "minLength": 1, "maxLength": 200}}),
    "calendar_event": _object(
        {
            "title": {"type": "string", "minLength": 1, "maxLength": 80},
            "date": {"type": "string", "format": "date"},
            "time": {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"},
            "minutes": {"type": "integer", "minimum": 5, "maximum": 1440},
            "attendees": {
                "type": "array",
                "items": {"type": "string", "format": "email"},
                "maxItems": 10,
            },
            "all_day": {"type": "boolean"},
        },
        ["title", "date"],
        additionalProperties=False,
    ),
    "move": _object(
        {
            "dx": {"type": "integer", "minimum": -128, "maximum": 127},
            "dy": {"type": "integer", "exclusiveMinimum": -10, "exclusiveMaximum": 10},
            "speed": {"type": "number", "exclusiveMinimum": 0, "maximum": 2.5},
        }
    ),
    "geo": _object(
        {
            "latitude": {"type": "number", "minimum": -90, "maximum": 90},
            "longitude": {"type": "number", "minimum": -180, "maximum": 180},
            "radius_km": {"type": "number", "minimum": 0.25, "exclusiveMaximum": 500},
        },
        ["latitude", "longitude"],
    ),
    "tree": {
        "type": "object",
        "properties": {"root": {"$ref": "#/$defs/node"}},
        "required": ["root"],
        "$defs": {
            "node": _object(
                {
                    "value": {"type": "integer"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                ["value"],
            )
        },
    },
    "linked_list": {
        "type": "object",
        "properties": {
            "head": {"type": "string", "maxLength": 5},
            "tail": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        },
        "required": ["head", "tail"],
        "additionalProperties": False,
    },
    "reminder_de": _object(
        {
            "priorität": {"enum": ["niedrig", "mittel", "höchste ‼", "緊急", "🔥"]},
            "größe": {"type": "integer", "minimum": 0, "maximum": 9},
            "straße": {"type": "string", "maxLength": 20},
        },
        ["priorität"],
    ),
    "matrix": _object(
        {
            "rows": {
                "type": "array",
                "minItems": 1,
                "maxItems": 3,
                "items": {
                    "type": "array",
                    "minItems": 2,
                    "maxItems": 2,
                    "items": {"type": "number", "minimum": -1.5, "maximum": 1.5},
                },
            }
        }
    ),
    "search": _object(
        {
            "query": {"type": "string", "minLength": 1},
            "limit": {"type": "integer", "minimum": 1, "maximum": 50, "default": 10},
            "filters": _object(
                {
                    "language": {"type": "string", "pattern": "^[a-z]{2}(-[A-Z]{2})?$"},
                    "since": {"type": "string", "format": "date-time"},
                    "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": False},
                },
                [],
                additionalProperties=False,
            ),
        },
        ["query"],
    ),
    "sql": _object(
        {
            "table": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,30}$"},
            "columns": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "where": {
                "type": "array",
                "items": _object(
                    {
                        "column": {"type": "string"},
                        "operator": {"enum": ["=", "<", ">", "<=", ">=", "LIKE"]},
                        "value": {"type": ["string", "number", "boolean", "null"]},
                    }
                ),
            },
            "limit": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
        },
        ["table", "columns"],
    ),
    "http": _object(
        {
            "method": {"enum": ["GET", "POST", "PUT", "DELETE"]},
            "path": {"type": "string", "pattern": "^/[a-z0-9/_-]*$"},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}},
            "body": {},
            "timeout": {"type": ["number", "null"], "minimum": 0.1, "maximum": 30},
        },
        ["method", "path"],
    ),
    "payment": {
        "type": "object",
        "properties": {
            "amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 10000},
            "currency": {"type": "string", "enum": ["EUR", "USD", "JPY"]},
            "method": {
                "oneOf": [
                    {
                        "type": "object",
                        "properties": {
                            "kind": {"const": "card"},
                            "number": {"type": "string", "pattern": "^\\d{16}$"},
                        },
                        "required": ["kind", "number"],
                        "additionalProperties": False,
                    },
                    {
                        "type": "object",
                        "properties": {
                            "kind": {"const": "iban"},
                            "iban": {"type": "string", "minLength": 15, "maxLength": 34},
                        },
                        "required": ["kind", "iban"],
                        "additionalProperties": False,
                    },
                ]
            },
        },
        "required": ["amount", "currency", "method"],
    },
    "address": {
        "type": "object",
        "properties": {
            "billing": {"$ref": "#/definitions/address"},
            "shipping": {"$ref": "#/definitions/address", "description": "Where it goes."},
        },
        "required": ["billing"],
        "definitions": {
            "address": _object(
                {
                    "street": {"type": "string"},
                    "zip": {"type": "string", "pattern": "^[0-9]{5}$"},
                    "country": {"type": "string", "minLength": 2, "maxLength": 2},
                },
                ["street", "zip"],
            )
        },
    },
    "free_form": _object(
        {"name": {"type": "string"}, "metadata": {"type": "object"}}, ["name", "metadata"]
    ),
    "scores": _object(
        {
            "scores": {
                "type": "object",
                "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 100},
                "minProperties": 1,
                "maxProperties": 3,
            }
        }
    ),
    "drawing": {
        "type": "object",
        "properties": {
            "shapes": {
                "type": "array",
                "maxItems": 4,
                "items": {"anyOf": [{"$ref": "#/$defs/circle"}, {"$ref": "#/$defs/box"}]},
            },
            "background": {"type": "string", "pattern": "^#[0-9a-fA-F]{6}$"},
        },
        "required": ["shapes"],
        "$defs": {
            "point": {
                "type": "array",
                "prefixItems": [{"type": "number"}, {"type": "number"}],
                "items": False,
                "minItems": 2,
            },
            "circle": _object(
                {"center": {"$ref": "#/$defs/point"}, "r": {"type": "number", "minimum": 0}}
            ),
            "box": _object(
                {"from": {"$ref": "#/$defs/point"}, "to": {"$ref": "#/$defs/point"}},
                additionalProperties=False,
            ),
        },
    },
    "filter_expression": {
        "type": "object",
        "properties": {"filter": {"$ref": "#/$defs/expr"}},
        "required": ["filter"],
        "$defs": {
            "expr": {"anyOf": [{"$ref": "#/$defs/all"}, {"$ref": "#/$defs/test"}]},
            "all": _object({"all": {"type": "array", "items": {"$ref": "#/$defs/expr"}}}),
            "test": _object(
                {"field": {"type": "string"}, "at_least": {"type": "number"}},
                additionalProperties=False,
            ),
        },
    },
    "user": {
        "allOf": [
            {"$ref": "#/$defs/named"},
            _object({"age": {"type": "integer", "minimum": 0, "maximum": 150}}, []),
        ],
        "type": "object",
        "$defs": {
            "named": _object(
                {"name": {"type": "string", "minLength": 1}, "id": {"format": "uuid"}}, ["name"]
            )
        },
    },
    "thermostat": _object(
        {
            "target": {"type": "number", "minimum": 4.5, "maximum": 30.25},
            "step": {"type": "integer", "minimum": 0, "maximum": 60, "multipleOf": 15},
            "mode": {"const": "heat"},
            "schedule": {
                "type": "array",
                "items": {"type": "string", "format": "time"},
                "minItems": 1,
                "maxItems": 2,
            },
        },
        ["target", "mode"],
    ),
    "network": _object(
        {
            "host": {"anyOf": [{"type": "string", "format": "ipv4"}, {"const": "localhost"}]},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "vlan": {"type": ["integer", "null"], "minimum": 1, "maximum": 4094},
        },
        ["host", "port"],
    ),
    "translate": _object(
        {
            "text": {"type": "string", "maxLength": 4000},
            "target": {"type": "string", "pattern": "^(de|fr|it|ja)$"},
            "formality": {"enum": ["tu", "vous", None]},
            "glossary": {
                "type": "array",
                "items": {
                    "type": "array",
                    "prefixItems": [{"type": "string"}, {"type": "string"}],
                    "minItems": 2,
                    "maxItems": 2,
                },
            },
        },
        ["text", "target"],
    ),
    "mixed_constants": _object(
        {
            "level": {"enum": [1, 2.5, -3, "auto", True, None, [], {"a": [1, "x"]}]},
            "flags": {"type": "array", "items": {"enum": ["r", "w", "x"]}, "maxItems": 3},
        },
        ["level"],
    ),
    "many_options": _object(
        {f"option_{n}": {"type": ["boolean", "integer"]} for n in range(12)}, ["option_7"]
    ),
    "big_text": _object({"text": {"type": "string", "maxLength": 1_000_000}}),
    "quotes": _object(
        {
            'a "quoted" \\ key': {"enum": ['say "hi"', "back\\slash", "tab\tand\nline", "a/b"]},
            "regex": {"type": "string", "pattern": '^["\\\\]{1,3}$'},
        }
    ),
    "run_command": _object(
        {
            "command": {"type": "string", "minLength": 1},
            "env": _object(
                {"PATH": {"type": "string"}, "PAGER": {"const": "cat"}},
                [],
                additionalProperties={"type": "string"},
            ),
            "labels": {
                "type": "object",
                "patternProperties": {"^[a-z]+(-[a-z]+)*$": {"type": "string", "maxLength": 9}},
                "additionalProperties": False,
            },
        },
        ["command"],
    ),
    "order": _object(
        {
            "toppings": {
                "type": "array",
                "items": {"enum": ["ham", "corn", "olives"]},
                "uniqueItems": True,
                "minItems": 1,
            },
            "count": {"type": "integer", "multipleOf": 5, "minimum": 10},
            "weight": {"type": "number", "multipleOf": 0.25, "minimum": 0},
        },
        ["toppings"],
    ),
    "read_source": _object(
        {"path": {"type": "string"}, "url": {"type": "string"}, "line": {"type": "integer"}},
        [],
        oneOf=[{"required": ["path"]}, {"required": ["url"]}],
    ),
}
