"""Arguments against the schema of a tool, in bounded time and in words for people."""

from __future__ import annotations

import functools
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_tui.sanitize import one_line
from mistral_tui.tools import json_text, patterns
from mistral_tui.tools.errors import ToolError

if TYPE_CHECKING:
    from jsonschema import ValidationError

DEEPEST = 64
_MOST_STEPS = 200_000
_SECONDS = 1.0
_MOST_ERRORS = 20
_KINDS = {
    "object": "an object", "array": "a list", "string": "a text", "boolean": "true or false",
    "integer": "a whole number", "number": "a number", "null": "null",
}  # fmt: skip
# What goes on after the name of a value; `{}` is the limit.
_LIMITS = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "minProperties": "must have at least {} keys",
    "maxProperties": "must have at most {} keys",
    "pattern": "must match the pattern {}",
    "const": "must be {}",
}


class _TooMuch(Exception):
    """The check goes on for too long."""


@dataclass(slots=True)
class _Budget:
    steps: int
    deadline: float


_BUDGET: ContextVar[_Budget] = ContextVar("budget")


def check(parameters: Mapping[str, Any], values: dict[str, Any], shown: str) -> None:
    """Hold the values of a call to a checked schema.

    Raises:
        ToolError: they do not fit, or it takes too long to find out.
    """
    import jsonschema
    import referencing

    # With a registry of its own, nothing is ever fetched.
    registry: Any = referencing.Registry()
    _BUDGET.set(_Budget(_MOST_STEPS, time.monotonic() + _SECONDS))
    try:
        validator = _validator()(dict(parameters), registry=registry)
        errors = list(itertools.islice(validator.iter_errors(values), _MOST_ERRORS))
        best = jsonschema.exceptions.best_match(errors)
    except (_TooMuch, patterns.Endless, RecursionError):
        raise ToolError(f"{shown} take too long to check; make them simpler.") from None
    except (referencing.exceptions.Unresolvable, OverflowError) as error:
        raise ToolError(f"{shown} cannot be checked: {one_line(str(error), 120)}.") from None
    if best is not None:
        raise ToolError(f"{shown} do not fit: {_words(best)}.")


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    names = ((str, "string"), (dict, "object"), (list, "array"))
    return _KINDS[next((name for kind, name in names if isinstance(value, kind)), "number")]


def _words(error: ValidationError) -> str:
    """What is wrong with which value."""
    path = ""
    for part in itertools.islice(error.absolute_path, 12):
        path += f"[{part}]" if isinstance(part, int) else f".{json_text.pointed(part)}"
    path = path.lstrip(".")
    value: Any = error.instance
    limit: Any = error.validator_value
    rule = str(error.validator)
    name = path or "they"
    if rule == "required" and isinstance(value, dict):
        missing = next((key for key in limit if key not in value), "something")
        return f"{_dotted(path, missing)} is missing"
    if rule == "additionalProperties" and isinstance(value, dict) and limit is False:
        return _extra(error, path, value)
    if rule == "enum":
        allowed = one_line(", ".join(json_text.quoted(v) for v in limit[:20]), 300)
        return f"{name} must be one of {allowed}, not {json_text.quoted(value)}"
    if rule == "type":
        wanted = limit if isinstance(limit, list) else [limit]
        kinds = " or ".join(_KINDS.get(kind, "a value") for kind in wanted)
        return f"{name} must be {kinds}, not {kind_of(value)}"
    if rule in _LIMITS:
        wrong = "" if isinstance(value, (dict, list)) else f", not {json_text.quoted(value)}"
        return f"{name} {_LIMITS[rule].format(json_text.quoted(limit))}{wrong}"
    if rule in ("anyOf", "oneOf"):
        return (
            f"{name} must fit one of {len(limit)} forms, which {json_text.quoted(value)} does not"
        )
    if rule == "uniqueItems":
        return f"{name} must not have an item twice"
    return f"{name}: {one_line(error.message, 160)}"


def _extra(error: ValidationError, path: str, value: dict[str, Any]) -> str:
    schema: Any = error.schema
    known = list(schema.get("properties", {}))
    extra = next((key for key in value if key not in known), "something")
    there = one_line(", ".join(json_text.pointed(key) for key in known), 200)
    return f"{_dotted(path, extra)} is not known; " + (
        f"there are {there}" if there else "nothing is taken here"
    )


def _dotted(path: str, key: str) -> str:
    name = json_text.pointed(key)
    return f"{path}.{name}" if path else name


@functools.cache
def _validator() -> Any:
    """Draft 2020-12's, each of its rules counted."""
    from jsonschema import Draft202012Validator, validators

    extend: Any = validators.extend
    rules: dict[str, Any] = dict(Draft202012Validator.VALIDATORS)
    rules |= {"pattern": _pattern, "uniqueItems": _unique, "patternProperties": _by_pattern}
    counted = {name: _counted(rule) for name, rule in rules.items()}
    return extend(Draft202012Validator, counted)


def _counted(rule: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def run(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        budget = _BUDGET.get()
        budget.steps -= 1 + (_size(value) + _size(instance)) // 16
        if budget.steps < 0 or time.monotonic() > budget.deadline:
            raise _TooMuch
        yield from rule(validator, value, instance, schema) or ()

    return run


def _size(value: object) -> int:
    return len(value) if isinstance(value, (str, list, dict)) else 0


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and not patterns.found(pattern, instance, _BUDGET.get().deadline):
        yield ValidationError("it does not match the pattern")


def _by_pattern(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    deadline = _BUDGET.get().deadline
    for pattern, inner in value.items():
        for key, item in instance.items():
            if patterns.found(pattern, key, deadline):
                yield from validator.descend(item, inner, path=key, schema_path=pattern)


def _unique(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """By their texts, for the library compares each with each."""
    from jsonschema import ValidationError

    if wanted and isinstance(instance, list):
        texts = {json.dumps(_plain(item), sort_keys=True) for item in instance}
        if len(texts) < len(instance):
            yield ValidationError("it has an item twice")


def _plain(value: Any) -> Any:
    """With one spelling for each number, as JSON Schema has it: 1.0 is 1."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
