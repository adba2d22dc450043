"""Tools in words: where they come from, what they take, whether they ask. All of it is foreign
and comes back safe to show, and bounded."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistral_tui.sanitize import one_line, sanitize
from mistral_tui.tools import builtin, files, json_text
from mistral_tui.tools.consent import Permissions
from mistral_tui.tools.definition import Definition
from mistral_tui.tools.errors import ToolError

MOST_TEXT = 8192  # characters of a description or of a sentence
_MOST_PARAMETERS = 100
_DEEPEST = 4
_MOST_CHOICES = 12
_MOST_VALUES = 400  # of arguments to begin with
_KINDS = {
    "string": "text", "integer": "whole number", "number": "number", "boolean": "true or false",
    "array": "list", "object": "object", "null": "null",
}  # fmt: skip
_EXAMPLES: Mapping[str, Any] = {
    "string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {},
}  # fmt: skip
PROJECT, OWN, GIVEN, PYTHON, BUILTIN = "project", "own", "given", "python", "builtin"
GROUPS: Mapping[str, str] = {
    GIVEN: "Given at the start",
    PROJECT: "This project",
    OWN: "Your own",
    PYTHON: "Python functions",
    BUILTIN: "Built in",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing that a tool takes; `name` has dots for what is in an object."""

    name: str
    kind: str
    required: bool
    description: str = ""


def group(tool: Definition, folder: Path) -> str:
    """Which of GROUPS a tool is in, in a working folder; empty for one of an MCP server."""
    if tool.kind == "mcp":
        return ""
    if tool.kind == "python":
        return PYTHON
    if tool.kind == "builtin" or tool.source == builtin.SOURCE:
        return BUILTIN
    at = Path(tool.source).parent
    if at == files.project_folder(folder).absolute():
        return PROJECT
    return OWN if at == files.config_folder().absolute() else GIVEN


def consent(tool: Definition, permissions: Permissions, conversation_id: str) -> str:
    """Whether its calls ask, in a word or two."""
    if tool.kind == "manual":
        return "by hand"
    begins = f"{tool.name}:"  # an identity takes time, and there can be thousands of tools
    known = (*permissions.always, *permissions.here.get(conversation_id, ()))
    if not any(one.startswith(begins) for one in known):
        return "asks"
    given = permissions.given(tool, conversation_id)
    return {"always": "always", "conversation": "here"}.get(given, "asks")


CONSENTS: Mapping[str, str] = {
    "by hand": "You answer its calls by hand.",
    "always": "Its calls run unasked, in every conversation.",
    "here": "Its calls run unasked in this conversation.",
    "asks": "Each call asks you before it runs.",
}


def source(tool: Definition) -> str:
    """Where it is defined, on one line."""
    if tool.kind == "mcp":
        return f"the MCP server {one_line(tool.source, 60)}, which calls it " + (
            one_line(tool.target, 80) or "nothing"
        )
    if tool.kind == "python":
        return f"the Python function {one_line(tool.target or tool.source, 200)}"
    if group(tool, Path.cwd()) == BUILTIN:
        return "built in"
    return one_line(shortened(tool.source), 200)


def unchangeable(tool: Definition) -> str:
    """Why a definition cannot be changed here; empty: it can."""
    name = one_line(tool.name, 64)
    if tool.kind != "manual" or not tool.source.endswith((".json", ".toml")):
        return f"{name} has no file of its own here; it comes from {source(tool)}."
    try:
        found = files.load_file(Path(tool.source))
    except ToolError as error:
        return str(error)
    if [one.name for one in found] != [tool.name]:
        where = one_line(shortened(tool.source), 200)
        return f"{where} has other tools too, or others by now: change it in an editor."
    return ""


def shortened(path: str) -> str:
    """A path with ~ for the home folder."""
    home = str(Path.home())
    return f"~{path[len(home) :]}" if home != "/" and path.startswith(f"{home}/") else path


def paragraph(text: str, most: int = MOST_TEXT) -> str:
    """Foreign text of several lines, cut with an ellipsis."""
    safe = sanitize(text[:most]).strip()
    return safe + " …" if len(text) > most else safe


def parameters(schema: Mapping[str, Any]) -> list[Parameter]:
    """All that a checked schema of arguments names, what is in objects after the object."""
    found: list[Parameter] = []
    for parameter in _properties(schema, schema, "", 0):
        if len(found) == _MOST_PARAMETERS:
            found.append(Parameter("…", "and more", False))
            break
        found.append(parameter)
    return found


def _properties(
    root: Mapping[str, Any], schema: Mapping[str, Any], before: str, depth: int
) -> Iterator[Parameter]:
    properties, needed = schema.get("properties"), schema.get("required")
    if depth >= _DEEPEST or not isinstance(properties, Mapping):
        return
    required = set(map(str, needed)) if isinstance(needed, list) else set()
    for key, inner in properties.items():
        name = f"{before}{one_line(str(key), 64)}"
        known = resolved(root, inner)
        said = known.get("description") or (
            inner.get("description") if isinstance(inner, Mapping) else ""
        )
        about = paragraph(said, 1000) if isinstance(said, str) else ""
        yield Parameter(one_line(name, 120), kind(root, inner), key in required, about)
        items = resolved(root, known.get("items"))
        yield from _properties(root, known, f"{name}.", depth + 1)
        yield from _properties(root, items, f"{name}[].", depth + 1)


def resolved(root: Mapping[str, Any], schema: Any) -> Mapping[str, Any]:
    """A schema, or what its reference names; empty for anything else."""
    for _ in range(_DEEPEST):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            return schema
        found: Any = root
        for part in reference[1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, Mapping) else None
        schema = found
    return {}


def kind(root: Mapping[str, Any], schema: Any, depth: int = 0) -> str:
    """What a value may be, in short words: `whole number from 1 to 1000, default 200`."""
    if schema is False:
        return "nothing"
    known = resolved(root, schema)
    words = _noun(root, known, depth)
    for rule in (_bounds(known), _lengths(known), _text_rules(known)):
        words += f" {rule}" if rule else ""
    if "default" in known:
        words += f", default {_value(known['default'])}"
    return one_line(words, 240)


def _noun(root: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> str:
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        shown = ", ".join(map(_value, choices[:_MOST_CHOICES]))
        return f"one of {shown}" + (", …" if len(choices) > _MOST_CHOICES else "")
    if "const" in schema:
        return f"always {_value(schema['const'])}"
    for rule in ("anyOf", "oneOf"):
        forms = schema.get(rule)
        if isinstance(forms, list) and depth < _DEEPEST:
            words = [kind(root, form, depth + 1) for form in forms[:_DEEPEST]]
            return " or ".join(dict.fromkeys(words))
    types = schema.get("type")
    if types == "array" and depth < _DEEPEST and resolved(root, schema.get("items")):
        return f"list of {_plural(kind(root, schema['items'], depth + 1))}"
    named = types if isinstance(types, list) else [types]
    return " or ".join(_KINDS.get(str(one), "anything") for one in named)


def _plural(words: str) -> str:
    return words + "s" if words in ("text", "number", "whole number", "object", "list") else words


def _value(value: Any) -> str:
    if isinstance(value, str) and value and one_line(value, 60) == value:
        return value
    return json_text.quoted(value)


def _range(low: Any, high: Any, least: str, most: str) -> str:
    if low is not None and high is not None:
        return f"from {_value(low)} to {_value(high)}"
    if low is not None:
        return f"{least} {_value(low)}"
    return f"{most} {_value(high)}" if high is not None else ""


def _bounds(schema: Mapping[str, Any]) -> str:
    words = [_range(schema.get("minimum"), schema.get("maximum"), "from", "up to")]
    for rule, said in (("exclusiveMinimum", "above"), ("exclusiveMaximum", "below")):
        words += [f"{said} {_value(schema[rule])}"] if rule in schema else []
    if "multipleOf" in schema:
        words.append(f"in steps of {_value(schema['multipleOf'])}")
    return " ".join(filter(None, words))


def _lengths(schema: Mapping[str, Any]) -> str:
    for least, most, noun in (
        ("minLength", "maxLength", "characters"), ("minItems", "maxItems", "items"),
    ):  # fmt: skip
        if said := _range(schema.get(least), schema.get(most), "of at least", "of up to"):
            return f"{said.replace('from', 'of')} {noun}"
    return ""


def _text_rules(schema: Mapping[str, Any]) -> str:
    words = []
    if isinstance(schema.get("format"), str):
        words.append(f"as {one_line(schema['format'], 40)}")
    if isinstance(schema.get("pattern"), str):
        words.append(f"that matches {one_line(schema['pattern'], 80)}")
    return ", ".join(words)


def skeleton(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments to begin with: what is required, with a value of its kind."""
    made = _example(schema, {**schema, "type": "object"}, 0, itertools.count())
    return made if isinstance(made, dict) else {}


def _example(root: Mapping[str, Any], schema: Any, depth: int, made: Iterator[int]) -> Any:
    known = resolved(root, schema)
    if next(made) > _MOST_VALUES:  # schemas can name themselves, many times at once
        return None
    for key in ("default", "const"):
        if key in known:
            return known[key]
    for key in ("enum", "examples"):
        if isinstance(known.get(key), list) and known[key]:
            return known[key][0]
    for rule in ("anyOf", "oneOf"):
        if isinstance(known.get(rule), list) and known[rule] and depth < _DEEPEST:
            return _example(root, known[rule][0], depth + 1, made)
    types = known.get("type")
    named = str(types[0] if isinstance(types, list) and types else types)
    if named == "object" and depth < _DEEPEST:
        properties, needed = known.get("properties"), known.get("required")
        inner: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
        keys = needed[:_MOST_PARAMETERS] if isinstance(needed, list) else []
        return {key: _example(root, inner.get(key), depth + 1, made) for key in keys}
    if named in ("integer", "number"):
        return known.get("minimum", 0)
    return copy.copy(_EXAMPLES.get(named))
