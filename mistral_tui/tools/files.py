"""Tools in files of the user: `tools/*.json` and `*.toml` in the config folder, and in
`.mistral-tui/tools/` of a project. What they define, the user answers by hand.

    name = "get_weather"
    description = "The weather of today."
    [parameters.properties.city]
    type = "string"
"""

from __future__ import annotations

import json
from pathlib import Path

from mistral_tui.config.toml_file import TomlFile
from mistral_tui.config.user_files import (
    FileProblem,
    files,
    read_text,
    same_but_for_case,
    write_text,
)
from mistral_tui.sanitize import one_line
from mistral_tui.tools import schema
from mistral_tui.tools.definition import Definition
from mistral_tui.tools.errors import ToolError

MOST_FILES = 200
MOST_TOOLS = schema.MOST_TOOLS
_MOST_BYTES = 1 << 20
_SUFFIXES = (".json", ".toml")
_TEMPLATE = {
    "name": "get_weather",
    "description": "The current weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city and its country"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city"],
        "additionalProperties": False,
    },
}


def config_folder(config: Path | None = None) -> Path:
    """Where the user's own tools lie (not made here)."""
    from mistral_tui import paths

    return (config or paths.config_dir()) / "tools"


def project_folder(project: Path | None = None) -> Path:
    """Where a project's tools lie (not made here); without one, of the current folder."""
    return (project or Path.cwd()) / ".mistral-tui" / "tools"


def available(
    config: Path | None = None, project: Path | None = None
) -> tuple[list[Definition], list[str]]:
    """All usable tools as they are on the disk now, by name, and the problems found. `config` and
    `project` are the folders that have the tools' folders; a project's tools go first."""
    tools: dict[str, Definition] = {}
    problems: list[str] = []
    for folder, shown in (
        (project_folder(project), ".mistral-tui/tools"),
        (config_folder(config), "tools"),
    ):
        for path in _files(folder, shown, problems):
            called = f"{shown}/{one_line(path.name, 60)}"
            try:
                found = _read(path, called)
            except FileNotFoundError:  # deleted meanwhile, or a link to nothing
                continue
            except ToolError as error:
                problems.append(str(error))
                continue
            for tool in found:
                first = tools.get(tool.name)
                if first is not None:
                    problems.append(
                        f"{called}: the tool {tool.name} is left out, for it is in "
                        f"{one_line(first.source, 120)} already."
                    )
                elif len(tools) < MOST_TOOLS:
                    tools[tool.name] = tool
                else:
                    problems.append(f"Only the first {MOST_TOOLS} tools are used.")
                    return _sorted(tools), problems
    return _sorted(tools), problems


def load_file(path: Path) -> list[Definition]:
    """The tools of a file that someone names.

    Raises:
        ToolError: it cannot be read, or one of them is none.
    """
    shown = one_line(str(path), 120)
    try:
        tools = _read(path, shown)
    except FileNotFoundError:
        raise ToolError(f"There is no file {shown}.") from None
    if not tools:
        raise ToolError(f"{shown} has no tools.")
    twice = next((t.name for i, t in enumerate(tools) if t.name in {o.name for o in tools[:i]}), "")
    if twice:
        raise ToolError(f"{shown} has the tool {twice} twice.")
    return tools


def save(definition: Definition, folder: Path, *, replacing: Definition | None = None) -> Path:
    """Write a tool to a file of its own in a folder of tools, and take away the one that it
    replaces, which may have had another name.

    Raises:
        ToolError: it is no tool, another one has its name, or the disk refuses.
    """
    data = {
        "name": definition.name,
        "description": definition.description,
        "parameters": definition.parameters,
    }
    checked = schema.check_definition(data, source=definition.name)
    old = _own_file(replacing) if replacing is not None else None
    path = folder / f"{checked.name}.json"
    problems: list[str] = []
    others = [p for p in _files(folder, "tools", problems) if p != old]
    if path in others or same_but_for_case(path.name, [p.name for p in others]):
        raise ToolError(f"There is a file {path.name} already: choose another name.")
    for other in others:
        try:
            names = [tool.name for tool in _read(other, other.name)]
        except (ToolError, FileNotFoundError):
            continue
        if checked.name in names:
            raise ToolError(
                f"There is a tool {checked.name} in {one_line(other.name, 60)} already: "
                "choose another name."
            )
    data |= {"description": checked.description, "parameters": checked.parameters}
    text = json.dumps(data, indent=2, ensure_ascii=False)
    try:
        write_text(path, f"tools/{path.name}", text + "\n")
    except FileProblem as error:
        raise ToolError(str(error)) from None
    if old is not None and not _same_file(old, path):
        _unlink(old)
    return path


def remove(definition: Definition) -> None:
    """Delete the file of a tool.

    Raises:
        ToolError: it has none of its own, or the disk refuses.
    """
    _unlink(_own_file(definition))


def template() -> str:
    """A definition to begin with, as JSON."""
    return json.dumps(_TEMPLATE, indent=2) + "\n"


def _files(folder: Path, shown: str, problems: list[str]) -> list[Path]:
    found: list[Path] = []
    for suffix in _SUFFIXES:
        paths, more = files(folder, suffix, MOST_FILES)
        found += paths
        if more:
            problems.append(f"Only the first {MOST_FILES} *{suffix} files of {shown}/ are read.")
    return sorted(found)


def _read(path: Path, shown: str) -> list[Definition]:
    """Raises FileNotFoundError, or ToolError with a sentence."""
    source = str(path.absolute())
    try:
        if path.suffix.lower() == ".toml":
            data = TomlFile.read(path, shown).data
            return schema.check_definitions(data, source=source, shown=shown)
        return schema.read_text(read_text(path, shown, _MOST_BYTES), source=source, shown=shown)
    except FileNotFoundError:
        raise
    except FileProblem as error:
        raise ToolError(str(error)) from None


def _own_file(definition: Definition) -> Path:
    """The file that has a tool, and no other."""
    path = Path(definition.source)
    shown = one_line(path.name, 60)
    if definition.kind != "manual" or not path.is_absolute() or path.suffix not in _SUFFIXES:
        raise ToolError(f"The tool {definition.name} has no file that can be changed here.")
    try:
        names = [tool.name for tool in _read(path, shown)]
    except FileNotFoundError:
        raise ToolError(f"The file {shown} is not there any more.") from None
    if names != [definition.name]:
        raise ToolError(f"The file {shown} has other tools too: change it in an editor.")
    return path


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        shown = one_line(path.name, 60)
        raise ToolError(f"{shown} cannot be deleted: {error.strerror or error}.") from None


def _sorted(tools: dict[str, Definition]) -> list[Definition]:
    return sorted(tools.values(), key=lambda tool: tool.name.casefold())
