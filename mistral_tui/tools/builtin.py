"""The tools that come with the app; whoever wants one switches it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistral_tui.tools.definition import Definition, Kind

SOURCE = "built in"


def _parameters(*required: str, **properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _tool(
    name: str, where: str, description: str, parameters: Mapping[str, Any], kind: Kind = "builtin"
) -> Definition:
    target = f"mistral_tui.tools.{where}:{name}" if where else ""
    return Definition(name, description, parameters, kind, SOURCE, target)


READ_FILE = _tool(
    "read_file",
    "folder",
    "Read lines of a text file in the working folder.",
    _parameters(
        "path",
        path={"type": "string", "description": "Path within the working folder, as src/main.py"},
        start_line={"type": "integer", "minimum": 1, "default": 1},
        lines={
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "default": 200,
            "description": "How many lines to read",
        },
    ),
)
FIND_FILES = _tool(
    "find_files",
    "folder",
    "List the files in the working folder whose paths match a pattern, or the lines in them that "
    "have a text. Hidden files are left out.",
    _parameters(
        "pattern",
        pattern={
            "type": "string",
            "description": "Such as *.py for names in any folder, or src/**/*.py for paths",
        },
        text={
            "type": "string",
            "default": "",
            "description": "If given: only lines that contain exactly this",
        },
    ),
)
CALCULATE = _tool(
    "calculate",
    "arithmetic",
    "Work out an arithmetic expression: numbers, + - * / // % **, parentheses, comparisons, and "
    "functions such as sqrt, sin, log, min, max, round; angles are in radians.",
    _parameters(
        "expression", expression={"type": "string", "description": "Such as (3 + 4) * sqrt(2)"}
    ),
)
ASK_USER = _tool(
    "ask_user",
    "",
    "Ask the user a question and get the answer as they type it.",
    _parameters("question", question={"type": "string"}),
    "manual",
)
DEFINITIONS: tuple[Definition, ...] = (READ_FILE, FIND_FILES, CALCULATE, ASK_USER)
