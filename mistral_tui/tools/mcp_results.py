"""What MCP servers say, made small and safe: their tools, what these answer, and their names."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from mistral_tui.sanitize import one_line, sanitize
from mistral_tui.tools import limits, schema_check
from mistral_tui.tools.definition import Outcome
from mistral_tui.tools.errors import ToolError

MOST_TOOLS = 500
MOST_NAME = 128
MOST_DESCRIPTION = 4000  # characters
MOST_LISTING = 1 << 20  # characters of all definitions of a server
_MOST_WHY = 160
_LONGEST_NAME = 64  # that a model gives a tool
_SHOWN = ("description", "title", "$comment")  # texts of a schema that are only read

Row = tuple[str, str, dict[str, Any]]
"""The server's name for a tool, its description, the JSON Schema of its arguments."""


class Listing:
    """The usable tools of a server, gathered page by page; `left_out` says why others are not."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.left_out: list[str] = []
        self._names: set[str] = set()
        self._size = 0
        self._more = False

    def add(self, tools: Iterable[Any]) -> list[dict[str, Any]]:
        """Take a page as it came; what of it is usable, with nothing in it but what is used."""
        kept = []
        for tool in tools:
            if self.full:
                self._more = True
                break
            try:
                row = _row(tool)
                if row[0] in self._names:
                    raise ToolError(f"{one_line(row[0], 40)}: there are two tools of that name.")
                size = _written(row)
            except ToolError as error:
                self.left_out.append(one_line(str(error), _MOST_WHY))
                continue
            self._size += size
            if self._size > MOST_LISTING:
                self._more = True
                break
            self._names.add(row[0])
            self.rows.append(row)
            kept.append({"name": row[0], "description": row[1], "inputSchema": row[2]})
        return kept

    @property
    def full(self) -> bool:
        """Whether no more tools are taken."""
        return (
            self._more
            or len(self.rows) >= MOST_TOOLS
            or len(self.left_out) >= MOST_TOOLS
            or self._size > MOST_LISTING
        )

    def stop(self) -> None:
        """There are more pages, which are not read."""
        self._more = True

    @property
    def sentence(self) -> str:
        """What is missing; empty: nothing is."""
        said = []
        if self.left_out:
            many = len(self.left_out)
            said.append(f"{many} tool{'s are' if many > 1 else ' is'} left out: {self.left_out[0]}")
        if self._more:
            said.append(f"Only the first {len(self.rows)} tools are used.")
        return " ".join(said)


def _row(tool: Any) -> Row:
    if not isinstance(tool, Mapping) or not isinstance(name := tool.get("name"), str):
        raise ToolError("A tool has no name.")
    shown = one_line(name, 40) or "A tool"
    if not name or name != one_line(name, MOST_NAME):
        raise ToolError(f"{shown}: its name is too long or has signs in it that cannot be shown.")
    described = tool.get("description") or ""
    if not isinstance(described, str):
        raise ToolError(f"{shown}: its description is no text.")
    description = sanitize(described[:MOST_DESCRIPTION]).strip()
    if len(described) > MOST_DESCRIPTION:
        description += "…"
    if not isinstance(tool.get("inputSchema"), dict):
        raise ToolError(f"{shown}: it has no schema of its arguments.")
    schema = schema_check.check(tool["inputSchema"], shown, "/inputSchema")
    return name, description, _readable(schema)


def _written(row: Row) -> int:
    """Characters that it takes to send."""
    shown = one_line(row[0], 40)
    try:
        size = len(json.dumps(row, allow_nan=False))
    except ValueError:
        raise ToolError(f"{shown}: its schema has numbers that are none.") from None
    if size > schema_check.MOST_TEXT:
        raise ToolError(f"{shown}: its schema and description are too long.")
    return size


def _readable(schema: Any) -> Any:
    """A checked schema (so not too deep) with those texts safe that are not to be exact."""
    if isinstance(schema, list):
        return [_readable(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: sanitize(value[:MOST_DESCRIPTION])
        if key in _SHOWN and isinstance(value, str)
        else _readable(value)
        for key, value in schema.items()
    }


def fitting(server: str, tool: str, taken: Collection[str]) -> str:
    """`server_tool` as a name that models and their formats can have, unlike those taken."""
    names = (re.sub(r"[^a-zA-Z0-9_-]+", "_", name).strip("_") for name in (server[:24], tool))
    name = "_".join(part for part in names if part) or "tool"
    name = name[:_LONGEST_NAME]
    made, number = name, 2
    while made in taken:
        made = f"{name[: _LONGEST_NAME - len(str(number)) - 1]}_{number}"
        number += 1
    return made


def answer(result: Any) -> Outcome:
    """A `CallToolResult` as text: its texts in order, the names of what is no text; where there
    is no text but structured content, that as JSON."""
    parts: list[str] = []
    room = limits.MOST_RESULT + 1  # one more says that there is more
    texts = False
    for block in result.content:
        if room <= 0:
            break
        text, is_text = _block(block, room)
        texts = texts or is_text
        parts.append(text)
        room -= len(text) + 1
    if not texts and result.structured_content is not None:
        written = json.dumps(result.structured_content, ensure_ascii=False)
        parts.append(written[: max(0, room)])
    return limits.outcome("\n".join(parts), error=bool(result.is_error))


def _block(block: Any, room: int) -> tuple[str, bool]:
    """What is shown of one block of content, and whether it is the text itself."""
    kind = block.type
    if kind == "text":
        return block.text[:room], True
    if kind in ("image", "audio"):
        return f"[{kind} {one_line(block.mime_type, 60)}, {_size(block.data)}]", False
    if kind == "resource_link":
        said = " ".join(one_line(part, 200) for part in (block.name, block.uri) if part)
        return f"[resource {said}]", False
    resource = block.resource
    said = f"resource {one_line(resource.uri, 200)}"
    if resource.mime_type:
        said += f", {one_line(resource.mime_type, 60)}"
    text = getattr(resource, "text", None)
    if text is None:
        return f"[{said}, {_size(resource.blob)}]", False
    return f"[{said}]\n{text[:room]}", True


def _size(base64: str) -> str:
    size = len(base64) * 3 // 4
    return f"{size / 1024:.0f} KB" if size >= 1024 else f"{size} bytes"
