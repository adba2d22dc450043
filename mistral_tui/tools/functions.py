"""Python functions as tools: the user names modules, a process of its own looks into them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mistral_tui.sanitize import one_line
from mistral_tui.tools import json_text, process, schema, schema_check
from mistral_tui.tools.definition import Definition
from mistral_tui.tools.errors import ToolError

MOST_MODULES = 50
TIMEOUT_SECONDS = 10.0
_MOST_BYTES = 2 << 20
_MOST_PROBLEMS = 20
_AT_ONCE = 4
_DEEPEST = schema_check.DEEPEST + 8
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")

_Found = tuple[list[Definition], list[str]]


async def describe(
    modules: Sequence[str], folder: Path, *, timeout: float = TIMEOUT_SECONDS
) -> _Found:
    """The tools of the modules, and the problems as sentences. A module is a dotted name, looked
    for among the installed ones and then in the config folder's `tools`, or the path of a .py
    file, a relative one from `folder` on. Of a name that is there twice the first one counts."""
    problems: list[str] = []
    if len(modules) > MOST_MODULES:
        problems.append(f"Only the first {MOST_MODULES} modules with tools are read.")
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> _Found:
        async with gate:
            return await _module(name, folder, timeout)

    names = list(dict.fromkeys(modules))[:MOST_MODULES]
    tools: dict[str, Definition] = {}
    for found, wrong in await asyncio.gather(*(one(name) for name in names)):
        problems += wrong
        for tool in found:
            first = tools.setdefault(tool.name, tool)
            if first is not tool:
                problems.append(
                    f"The tool {tool.name} is in {first.source} and in {tool.source}: "
                    "the first one is used."
                )
    return list(tools.values()), problems


async def _module(name: str, folder: Path, timeout: float) -> _Found:
    shown = one_line(name, 80) or "A module without a name"
    where, short = name, name
    if name.endswith(".py"):
        try:
            path = folder / Path(name).expanduser()
        except RuntimeError:  # of a user that there is not
            return [], [f"{shown}: there is no such folder."]
        where, short = str(path.absolute()), path.stem
    elif not _DOTTED.fullmatch(name):
        return [], [f"{shown} is no module: its name or the path of a .py file is meant."]
    request = {"do": "describe", "module": where, "function": "", "arguments": {}}
    reply = await process.ask(
        request, folder=folder, timeout=timeout, most=_MOST_BYTES, what="Importing it"
    )
    if reply.problem:
        return [], [f"{shown}: {reply.problem}"]
    if reply.cut:
        return [], [f"{shown}: it has too many functions."]
    try:
        data: Any = json_text.read(reply.text, shown, most=_MOST_BYTES, deepest=_DEEPEST)
        listed, said = list(data["tools"]), [str(s) for s in data["problems"]]
    except (ToolError, TypeError, KeyError):
        return [], [f"{shown}: what it has cannot be read."]
    tools: list[Definition] = []
    problems = [f"{shown}: {one_line(sentence, 300)}" for sentence in said[:_MOST_PROBLEMS]]
    for item in listed[: schema.MOST_TOOLS]:
        try:
            function = str(item.pop("function"))
            tool = schema.check_definition(item, source=f"{short}:{function}", kind="python")
            tools.append(replace(tool, target=f"{where}:{function}"))
        except ToolError as error:
            problems.append(str(error))
    if not listed and not said:
        problems.append(f"{shown}: it has no functions of its own.")
    return tools, problems
