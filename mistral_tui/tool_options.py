"""The command line's options on tools, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_tui.choices import ToolsChoice
from mistral_tui.launch import fail, usage

if TYPE_CHECKING:
    from mistral_tui.config.layers import Effective
    from mistral_tui.headless_tools import Tools
    from mistral_tui.tools.definition import Definition


def given(which: Sequence[str] | None, choice: str | None) -> ToolsChoice:
    """What `--tools` and `--tool-choice` say; a file that cannot be used ends the program."""
    if not which:
        return ToolsChoice(choice=choice)
    from mistral_tui.tools.definition import NAME
    from mistral_tui.tools.errors import ToolError
    from mistral_tui.tools.files import load_file

    names: list[str] = []
    definitions: list[Definition] = []
    for one in which:
        if NAME.fullmatch(one):
            names.append(one)
            continue
        try:
            found = load_file(Path(one).expanduser())
        except ToolError as error:
            fail(str(error))
        definitions += found
        names += [tool.name for tool in found]
    return ToolsChoice(tuple(dict.fromkeys(names)), choice, tuple(definitions))


def headless(
    said: ToolsChoice,
    allowed: Sequence[str] | None,
    results: Sequence[str] | None,
    now: Mapping[str, Effective],
) -> Tools | None:
    """What `-p` does with tools; None: there are none."""
    value = now["tools"].value
    names = said.names if said.names is not None else value if isinstance(value, tuple) else ()
    allowed = list(allowed or ())
    files: dict[str, Path] = {}
    for one in results or ():
        name, equals, path = one.partition("=")
        if not equals or not name or not path:
            usage("--tool-result takes NAME=FILE, for instance get_weather=weather.json.")
        files[name] = Path(path).expanduser()
        if not files[name].is_file():
            fail(f"{path} is no file; --tool-result {name}=FILE names one that has the result.")
    for name in (*allowed, *files):
        if name not in names:
            usage(f"There is no tool {name} to allow or answer; --tools brings in tools.")
    choice = said.choice if said.choice is not None else str(now["tool_choice"].value)
    if said.choice is not None and choice not in ("auto", "none", "any", *names):
        usage("--tool-choice is auto, none, any, or one of the tools.")
    if not names:
        if choice not in ("auto", "none"):
            usage("--tool-choice needs --tools.")
        return None
    from mistral_tui.headless_tools import Tools

    modules = now["tool_modules"].value
    return Tools(
        names,
        said.names is not None,
        choice,
        said.definitions,
        frozenset(allowed),
        files,
        modules if isinstance(modules, tuple) else (),
        int(float(str(now["tool_rounds"].value))),
        float(str(now["tool_timeout"].value)),
    )
