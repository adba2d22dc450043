"""The functions of a module as tools, and calls of them. For the child process: importing a
module runs its code."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from mistral_tui.tools import docstrings, hints
from mistral_tui.tools.errors import ToolError


def describe(name: str) -> dict[str, list[Any]]:
    """The tools of a module, each with its `function`, and the problems found."""
    module = _load(name)
    tools: list[dict[str, Any]] = []
    problems: list[str] = []
    for public, function in _functions(module, problems):
        try:
            tools.append({"function": public, **_described(public, function)})
        except ToolError as error:
            problems.append(f"{public} is left out: {error}.")
    return {"tools": tools, "problems": problems}


def call(name: str, function: str, arguments: dict[str, Any]) -> Any:
    """What a function returns; of an async one, what is to be awaited."""
    found = getattr(_load(name), function, None)
    if not callable(found):
        raise ToolError(f"There is no function {function} any more.")
    hinted = _hints(found)
    parameters = inspect.signature(found).parameters
    values: dict[str, Any] = {}
    for key, given in arguments.items():
        if key not in parameters:
            raise ToolError(f"{key:.64} is no parameter of {function}.")
        try:
            values[key] = hints.value(hinted.get(key, Any), given)
        except (ValueError, TypeError) as error:
            raise ToolError(f"{key} does not fit: {error}.") from None
    positional = [
        values.pop(key) if key in values else parameter.default
        for key, parameter in parameters.items()
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY
    ]
    return found(*positional, **values)


def _load(name: str) -> ModuleType:
    try:
        return _from_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name.partition(".")[0] or error.name == name:
            raise ToolError(f"There is no module {name}.") from None
        raise ToolError(f"It cannot be imported: there is no module {error.name}.") from None
    except FileNotFoundError as error:
        if error.filename == name:
            raise ToolError("There is no such file.") from None
        raise ToolError(f"It cannot be imported: {error}.") from None
    except SyntaxError as error:
        where = f" in line {error.lineno}" if error.lineno else ""
        raise ToolError(f"It cannot be imported: {error.msg}{where}.") from None
    except BaseException as error:
        raise ToolError(f"It cannot be imported: {type(error).__name__}: {error}.") from None


def _from_file(path: Path) -> ModuleType:
    # Not by its stem, which may be the name of another module.
    name = f"user_tools_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ToolError("It is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.append(str(path.parent))
    spec.loader.exec_module(module)
    return module


def _functions(module: ModuleType, problems: list[str]) -> list[tuple[str, Callable[..., Any]]]:
    exported = getattr(module, "__all__", None)
    names = list(vars(module)) if exported is None else [str(name) for name in exported]
    found = []
    for name in names:
        function = getattr(module, name, None)
        inner = inspect.unwrap(function) if callable(function) else None
        if not inspect.isfunction(inner):
            if exported is not None and function is None:
                problems.append(f"{name} is in __all__, but not in the module.")
            continue
        own = inner.__module__ == module.__name__ and not name.startswith("_")
        if exported is not None or own:
            found.append((name, typing.cast(Callable[..., Any], function)))
    return found


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except Exception as error:
        raise ToolError(f"its type hints cannot be read ({error})") from None


def _described(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    description, documented = docstrings.read(inspect.getdoc(function))
    hinted = _hints(function)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for key, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            stars = "**" if parameter.kind is parameter.VAR_KEYWORD else "*"
            raise ToolError(f"it takes {stars}{key}, of which nothing is known")
        try:
            found = hints.schema(hinted.get(key, Any))
        except hints.Unsupported as error:
            raise ToolError(f"its parameter {key} {error}") from None
        except TypeError:  # no type at all
            raise ToolError(f"its parameter {key} has a hint that is no type") from None
        if key in documented:
            found.setdefault("description", documented[key])
        if parameter.default is parameter.empty:
            required.append(key)
        else:
            found |= hints.default(parameter.default)
        properties[key] = found
    parameters = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    return {"name": name, "description": description, "parameters": parameters}
