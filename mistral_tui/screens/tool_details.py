"""All about the row that is marked on the tools screen."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from mistral_tui.sanitize import one_line
from mistral_tui.screens import tool_words
from mistral_tui.screens.tool_rows import Row
from mistral_tui.tools.definition import Definition


def details(row: Row | None) -> RenderableType:
    """For the pane beside the list."""
    if row is None:
        return Text("")
    if row.kind == "problem":
        return Text(tool_words.paragraph(row.said))
    if row.kind == "server":
        return _server(row)
    if row.tool is None:
        name = Text(one_line(row.name, 64), "bold")
        about = "Nothing of this name is known now: its file is gone, or its server is not up."
        return Group(name, Text(about))
    return Group(*_tool(row.tool, row))


def _server(row: Row) -> RenderableType:
    state = row.state
    if state is None:
        return Text("")
    parts: list[RenderableType] = [Text(one_line(row.name, 80), "bold")]
    if state.version:
        parts.append(Text(one_line(state.version, 100), "dim"))
    count = len(state.definitions)
    has = f" with {count} tool{'s' if count != 1 else ''}" if state.state == "ready" else ""
    parts.append(Text(f"State: {state.state}{has}"))
    if state.sentence:
        parts += [Text(""), Text(tool_words.paragraph(state.sentence))]
    parts += [Text(""), Text(row.next_step)]
    return Group(*parts)


def _tool(tool: Definition, row: Row) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(one_line(tool.name, 64), "bold")]
    about = tool_words.paragraph(tool.description)
    parts.append(Text(about) if about else Text("It has no description.", "dim"))
    parts += [Text(""), Text("Parameters", "bold")]
    taken = tool_words.parameters(tool.parameters)
    for one in taken:
        line = Text.assemble((one.name, "bold"))
        needed = "" if one.required else ", optional"
        line.append(f"  {one.kind}{needed}", "dim")
        parts.append(Padding(line, (0, 0, 0, 1)))
        if one.description:
            parts.append(Padding(Text(one.description), (0, 0, 0, 3)))
    if not taken:
        parts.append(Padding(Text("none", "dim"), (0, 0, 0, 1)))
    parts += [Text(""), Text("From", "bold"), Padding(Text(tool_words.source(tool)), (0, 0, 0, 1))]
    said = tool_words.CONSENTS.get(row.consent, "")
    parts += [Text(""), Text("Permission", "bold"), Padding(Text(said), (0, 0, 0, 1))]
    if row.state is not None and row.state.state != "ready":
        parts.append(Text(f"Its server: {row.state.state}. {row.next_step}"))
    return parts
