"""Definitions and arguments of others, held to what a tool may have.

A definition is `{"name": …, "description": …, "parameters": {…}}`, in the wrappings that others
use too: `{"type": "function", "function": {…}}`, `input_schema` or `inputSchema` for `parameters`,
a list of them, `{"tools": […]}`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from mistral_tui.sanitize import one_line
from mistral_tui.tools import json_text, schema_check
from mistral_tui.tools.definition import NAME, Definition, Kind
from mistral_tui.tools.errors import ToolError

__all__ = ["ToolError", "check_arguments", "check_definition", "check_definitions", "read_text"]

MOST_TOOLS = 200
MOST_DESCRIPTION = 8192  # characters
MOST_ARGUMENTS = 256 << 10  # characters
NAME_RULE = "a name has up to 64 letters of a to z, digits, _ and -"
_SCHEMAS = ("parameters", "input_schema", "inputSchema")
_IGNORED = (
    "type", "strict", "title", "annotations", "outputSchema", "output_schema", "cache_control",
    "icons", "execution", "_meta", "$schema",
)  # fmt: skip
_KNOWN = ("name", "description", *_SCHEMAS)


def check_definition(
    data: object, *, source: str, kind: Kind = "manual", target: str = ""
) -> Definition:
    """The one tool that `data` defines, which `source` names in sentences and in the definition.

    Raises:
        ToolError: it is none, or more than one; with the JSON pointer of what is wrong.
    """
    found = check_definitions(data, source=source, kind=kind, target=target)
    if len(found) != 1:
        raise ToolError(f"{_shown(source)}: one tool is expected here, not {len(found)}.")
    return found[0]


def check_definitions(
    data: object, *, source: str, kind: Kind = "manual", target: str = "", shown: str = ""
) -> list[Definition]:
    """All tools that `data` defines; `shown` is what sentences call it, if not `source`.

    Raises:
        ToolError: one of them is none; with the JSON pointer of what is wrong.
    """
    shown = _shown(shown or source)
    at = ""
    if isinstance(data, Mapping) and "tools" in data and "name" not in data:
        _only(data, ("tools",), ("$schema",), shown, at)
        data, at = data["tools"], "/tools"
    if not isinstance(data, (list, tuple)):
        return [_definition(data, shown, at, source, kind, target)]
    if len(data) > MOST_TOOLS:
        raise ToolError(f"{shown}: there are {len(data)} tools; at most {MOST_TOOLS} are read.")
    return [
        _definition(item, shown, f"{at}/{i}", source, kind, target) for i, item in enumerate(data)
    ]


def read_text(text: str, *, source: str, shown: str = "") -> list[Definition]:
    """The tools in a JSON text.

    Raises:
        ToolError: with line and column, or with the JSON pointer of what is wrong.
    """
    most = MOST_TOOLS * schema_check.MOST_TEXT
    data = json_text.read(
        text, _shown(shown or source), most=most, deepest=schema_check.DEEPEST + 4
    )
    return check_definitions(data, source=source, shown=shown)


def check_arguments(definition: Definition, text: str) -> dict[str, Any]:
    """The arguments of a call, which the model has written as JSON; empty text and `null` are
    none.

    Raises:
        ToolError: they are not what the tool takes; with the place, and what was expected.
    """
    from mistral_tui.tools import arguments

    shown = f"The arguments of {one_line(definition.name, 64)}"
    value: object = None
    if text.strip():
        value = json_text.read(text, shown, most=MOST_ARGUMENTS, deepest=arguments.DEEPEST)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ToolError(f"{shown} must be a JSON object, not {arguments.kind_of(value)}.")
    values: dict[str, Any] = _whole(value) if "\\ud" in text.lower() else value
    arguments.check(definition.parameters, values, shown)
    return values


def _definition(
    data: object, shown: str, at: str, source: str, kind: Kind, target: str
) -> Definition:
    if not isinstance(data, Mapping):
        raise ToolError(
            f"{shown}: {at or 'it'} must be an object with name, description and so on."
        )
    function = data.get("function")
    if isinstance(function, Mapping) and "name" not in data:
        _only(data, ("type", "function"), (), shown, at)
        data, at = function, f"{at}/function"
    if "type" in data and data["type"] not in ("function", "custom", None):
        raise ToolError(f'{shown}: {at}/type must be "function".')
    _only(data, _KNOWN, _IGNORED, shown, at)
    name = data.get("name")
    if not isinstance(name, str) or not name:
        raise ToolError(f"{shown}: {at}/name is missing; {NAME_RULE}.")
    if not NAME.fullmatch(name):
        raise ToolError(f"{shown}: {at}/name is {json_text.quoted(name)}; {NAME_RULE}.")
    description = data.get("description") or ""
    if not isinstance(description, str):
        raise ToolError(f"{shown}: {at}/description must be text.")
    if len(description) > MOST_DESCRIPTION:
        raise ToolError(
            f"{shown}: {at}/description is too long: at most {MOST_DESCRIPTION} letters."
        )
    given = [key for key in _SCHEMAS if data.get(key) is not None]
    if len(given) > 1:
        raise ToolError(f"{shown}: {at}/{given[1]} says again what {at}/{given[0]} says.")
    parameters: object = data[given[0]] if given else {}
    place = f"{at}/{given[0]}" if given else f"{at}/parameters"
    schema = schema_check.check(parameters, shown, place)
    # Only now is it known to be JSON, and not endless.
    written = json.dumps([description, schema])
    if len(written) > schema_check.MOST_TEXT:
        raise ToolError(f"{shown}: {at or name} is too large; {schema_check.MOST_TEXT >> 10} KB.")
    if "\\ud" in written:
        description, schema = _whole([description, schema])
    return Definition(name, description.strip(), schema, kind, source, target)


def _only(
    data: Mapping[Any, Any], known: tuple[str, ...], ignored: tuple[str, ...], shown: str, at: str
) -> None:
    for key in data:
        if key in known or key in ignored:
            continue
        name = json_text.pointed(str(key))
        near = difflib.get_close_matches(name.lower(), known, 1, 0.6)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
        raise ToolError(f"{shown}: {at}/{name} is not known; {hint}")


def _shown(source: str) -> str:
    return one_line(source, 120) or "The definition"


def _whole(value: Any) -> Any:
    """A JSON value without half characters, which no file and no tokenizer takes."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
