"""Type hints as JSON Schema, and JSON values as what the hints ask for."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import enum
import json
import pathlib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

_DEEPEST = 12
_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}
_FORMATS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    datetime.datetime: ("date-time", datetime.datetime.fromisoformat),
    datetime.date: ("date", datetime.date.fromisoformat),
    datetime.time: ("time", datetime.time.fromisoformat),
    pathlib.Path: ("", pathlib.Path),
}
_LISTS = {
    list: list, collections.abc.Sequence: list, collections.abc.Iterable: list,
    collections.abc.Collection: list, collections.abc.MutableSequence: list,
    set: set, collections.abc.Set: set, collections.abc.MutableSet: set, frozenset: frozenset,
}  # fmt: skip
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_WRAPPERS = tuple(
    getattr(typing, name) for name in ("Required", "NotRequired", "ReadOnly", "Final")
    if hasattr(typing, name)
)  # fmt: skip


class Unsupported(Exception):
    """A hint that says nothing that a model can give; the message goes on after a name."""


def schema(hint: Any, depth: int = 0) -> dict[str, Any]:
    """The JSON Schema of the values that a hint takes.

    Raises:
        Unsupported: it takes no JSON value.
    """
    if depth > _DEEPEST:
        raise Unsupported("refers to itself, or is nested too deeply")
    hint, description = _bare(hint)
    found = _schema(hint, depth + 1)
    return {**found, "description": description} if description else found


def value(hint: Any, given: Any) -> Any:
    """A JSON value as the hint asks for.

    Raises:
        ValueError: it is none of that kind.
    """
    hint, _ = _bare(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if hint in (Any, object) or isinstance(hint, TypeVar):
        return given
    if hint in (None, types.NoneType):
        return _expect(given is None, given, hint)
    if origin in (Union, types.UnionType):
        return _any_of(inner, given)
    if origin is Literal:
        return _one_of(inner, given, hint)
    if hint in _FORMATS:
        return _FORMATS[hint][1](_expect(isinstance(given, str), given, hint))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _one_of(tuple(hint), given, hint)
    if hint in _PLAIN:
        return _plain(hint, given)
    return _structure(hint, origin or hint, inner, given)


def default(given: Any) -> dict[str, Any]:
    """What a schema says of a default value: nothing, if it is not JSON."""
    try:
        plain = json.loads(json.dumps(_json_of(given), allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return {}
    return {"default": plain}


def fields(hint: type) -> dict[str, tuple[Any, bool, dict[str, Any]]]:
    """Of a dataclass, a TypedDict or a NamedTuple: hint, whether it must be given, its default."""
    hints = typing.get_type_hints(hint, include_extras=True)
    if dataclasses.is_dataclass(hint):
        found = {}
        for field in dataclasses.fields(hint):
            if field.init:
                has = field.default is not dataclasses.MISSING
                must = not has and field.default_factory is dataclasses.MISSING
                shown = default(field.default) if has else {}
                found[field.name] = (hints[field.name], must, shown)
        return found
    if typing.is_typeddict(hint):
        return {name: (inner, _must(hint, name, inner), {}) for name, inner in hints.items()}
    given: Mapping[str, Any] = getattr(hint, "_field_defaults", {})
    return {
        name: (inner, name not in given, default(given[name]) if name in given else {})
        for name, inner in hints.items()
    }


def _must(hint: Any, name: str, inner: Any) -> bool:
    """Whether a TypedDict has to have a key."""
    # Its own list does not know of marks in hints that are texts.
    origin = get_origin(inner)
    if origin in (typing.Required, typing.NotRequired):
        return origin is typing.Required
    return name in getattr(hint, "__required_keys__", ())


def _bare(hint: Any) -> tuple[Any, str]:
    """A hint without what only wraps it, and the description that this has."""
    description = ""
    for _ in range(_DEEPEST):
        origin = get_origin(hint)
        if origin is Annotated:
            hint, *notes = get_args(hint)
            for note in notes:
                text = note if isinstance(note, str) else getattr(note, "documentation", "")
                text = text or getattr(note, "description", "")
                description = description or (text if isinstance(text, str) else "")
        elif origin in _WRAPPERS:
            (hint,) = get_args(hint)
        elif hasattr(hint, "__supertype__"):  # NewType
            hint = hint.__supertype__
        elif isinstance(hint, TypeVar):
            hint = hint.__bound__ or Any
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            break
    return hint, description


def _schema(hint: Any, depth: int) -> dict[str, Any]:
    origin, inner = get_origin(hint), get_args(hint)
    if hint in (Any, object):
        return {}
    if hint in (None, types.NoneType):
        return {"type": "null"}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema(one, depth) for one in inner]}
    if origin is Literal:
        return _choices([_json_of(one) for one in inner])
    if hint in _FORMATS:
        name = _FORMATS[hint][0]
        return {"type": "string", "format": name} if name else {"type": "string"}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _choices([_json_of(member) for member in hint])
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    kind = origin or hint
    if kind is tuple:
        return _tuple(inner, depth)
    if kind in _LISTS:
        # A set is one whatever is given twice.
        return {"type": "array", "items": schema(inner[0], depth) if inner else {}}
    if kind in _DICTS:
        if inner and _bare(inner[0])[0] not in (str, Any):
            raise Unsupported("has keys that are no text")
        more = schema(inner[1], depth) if inner else {}
        return {"type": "object", "additionalProperties": more} if more else {"type": "object"}
    if _has_fields(hint):
        found = fields(hint)
        return {
            "type": "object",
            "properties": {n: {**schema(h, depth), **more} for n, (h, _, more) in found.items()},
            "required": [name for name, (_, must, _) in found.items() if must],
            "additionalProperties": False,
        }
    raise Unsupported(f"is a {getattr(hint, '__name__', str(hint)):.60}, which JSON has not")


def _tuple(inner: tuple[Any, ...], depth: int) -> dict[str, Any]:
    if not inner:
        return {"type": "array"}
    if len(inner) == 2 and inner[1] is Ellipsis:
        return {"type": "array", "items": schema(inner[0], depth)}
    parts = [schema(one, depth) for one in inner if one != ()]
    return {
        "type": "array",
        "prefixItems": parts,
        "minItems": len(parts),
        "maxItems": len(parts),
    }


def _choices(values: list[Any]) -> dict[str, Any]:
    kinds = {_PLAIN.get(type(one)) for one in values}
    kind = {"type": kinds.pop()} if len(kinds) == 1 and None not in kinds else {}
    return {**kind, "enum": values}


def _has_fields(hint: Any) -> bool:
    if not isinstance(hint, type):
        return False
    named_tuple = issubclass(hint, tuple) and hasattr(hint, "_fields")
    return dataclasses.is_dataclass(hint) or typing.is_typeddict(hint) or named_tuple


def _json_of(given: Any) -> Any:
    """An enum's member by its value, or by its name if that is not plain."""
    if isinstance(given, enum.Enum):
        return given.value if isinstance(given.value, (str, int, float)) else given.name
    return given


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _expect(fits: bool, given: Any, hint: Any) -> Any:
    if not fits:
        name = getattr(hint, "__name__", str(hint))
        raise ValueError(f"{given!r:.60} is no {name:.60}")
    return given


def _one_of(choices: tuple[Any, ...], given: Any, hint: Any) -> Any:
    for choice in choices:
        if _same(_json_of(choice), given):
            return choice
    return _expect(False, given, hint)


def _plain(hint: type, given: Any) -> Any:
    if hint is float and isinstance(given, int) and not isinstance(given, bool):
        return float(given)
    if hint is int and isinstance(given, float) and given.is_integer():
        return int(given)
    fits = isinstance(given, hint) and isinstance(given, bool) == (hint is bool)
    return _expect(fits, given, hint)


def _any_of(inner: tuple[Any, ...], given: Any) -> Any:
    # As it stands, if it can: 1 is rather an int than a float.
    for one in inner:
        if type(given) is _bare(one)[0]:
            return given
    for one in inner:
        try:
            return value(one, given)
        except (ValueError, TypeError):
            continue
    return _expect(False, given, Union[inner])  # noqa: UP007


def _structure(hint: Any, kind: Any, inner: tuple[Any, ...], given: Any) -> Any:
    if _has_fields(hint):
        _expect(isinstance(given, dict), given, hint)
        known = fields(hint)
        values = {n: value(known[n][0], v) if n in known else v for n, v in given.items()}
        return values if typing.is_typeddict(hint) else hint(**values)
    if kind is tuple:
        _expect(isinstance(given, list), given, hint)
        if not inner:
            return tuple(given)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(value(inner[0], one) for one in given)
        _expect(len(inner) == len(given), given, hint)
        return tuple(value(one, item) for one, item in zip(inner, given, strict=True))
    if kind in _LISTS:
        _expect(isinstance(given, list), given, hint)
        return _LISTS[kind](value(inner[0], one) if inner else one for one in given)
    if kind in _DICTS:
        _expect(isinstance(given, dict), given, hint)
        return {key: value(inner[1], one) if inner else one for key, one in given.items()}
    return given
