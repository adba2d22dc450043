"""Python functions as tools, looked at from a process of their own."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mistral_tui.tools import docstrings
from mistral_tui.tools.definition import Definition
from mistral_tui.tools.functions import describe
from mistral_tui.tools.process import run
from mistral_tui.tools.schema import check_arguments

ROOT = Path(__file__).parents[2]
GOOD = '''
from __future__ import annotations
import enum, functools
from dataclasses import dataclass, field
from datetime import date
from os.path import join
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict

Name = NewType("Name", str)

class Unit(enum.Enum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"

@dataclass
class Place:
    name: str
    tags: list[str] = field(default_factory=list)
    height: float = 0.0

class Options(TypedDict):
    fast: bool
    depth: NotRequired[int]

class Pair(NamedTuple):
    left: int
    right: int = 2

def simple(a: str, b: int = 3, c: float = 1.5, d: bool = False, e: None = None) -> str:
    """Does it.

    More words that are left out.
    """

def choices(unit: Unit, kind: Literal["a", "b"] = "a", either: int | str = 1,
            maybe: Optional[list[int]] = None, default: Unit = Unit.CELSIUS): ...
def lists(a: list[str], b: tuple[int, str], c: set[int], d: dict[str, float], e: tuple[int, ...],
          f: list): ...
def objects(place: Place, options: Options, pair: Pair, day: date, name: Name): ...
def noted(city: Annotated[str, "The city"], free, anything: Any = None): ...
async def later(x: int) -> int: return x + 1
def _private(): ...
class NotAFunction: ...
@functools.lru_cache
def cached(n: int) -> int: return n
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MISTRAL_TUI_CONFIG", str(tmp_path / "config"))
    return tmp_path


async def _of(folder: Path, code: str) -> tuple[dict[str, Definition], list[str]]:
    (folder / "tools.py").write_text(code)
    tools, problems = await describe(["tools.py"], folder, timeout=8)
    return {tool.name: tool for tool in tools}, problems


def _properties(tool: Definition) -> dict[str, Any]:
    properties: dict[str, Any] = tool.parameters["properties"]
    return properties


async def test_hints_become_schemas(folder: Path) -> None:
    tools, problems = await _of(folder, GOOD)
    assert problems == []
    assert list(tools) == ["simple", "choices", "lists", "objects", "noted", "later", "cached"]
    simple = tools["simple"]
    assert simple.description == "Does it."
    assert (simple.kind, simple.source) == ("python", "tools:simple")
    assert simple.parameters == {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "integer", "default": 3},
            "c": {"type": "number", "default": 1.5},
            "d": {"type": "boolean", "default": False},
            "e": {"type": "null", "default": None},
        },
        "required": ["a"],
        "additionalProperties": False,
    }
    assert _properties(tools["choices"]) == {
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "kind": {"type": "string", "enum": ["a", "b"], "default": "a"},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}], "default": 1},
        "maybe": {
            "anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}],
            "default": None,
        },
        "default": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
    }
    assert _properties(tools["lists"]) == {
        "a": {"type": "array", "items": {"type": "string"}},
        "b": {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "string"}],
            "minItems": 2,
            "maxItems": 2,
        },
        "c": {"type": "array", "items": {"type": "integer"}},
        "d": {"type": "object", "additionalProperties": {"type": "number"}},
        "e": {"type": "array", "items": {"type": "integer"}},
        "f": {"type": "array", "items": {}},
    }
    objects = _properties(tools["objects"])
    assert objects["place"]["required"] == ["name"]
    assert objects["place"]["properties"]["height"] == {"type": "number", "default": 0.0}
    assert objects["options"]["required"] == ["fast"]
    assert objects["pair"]["properties"]["right"] == {"type": "integer", "default": 2}
    assert objects["day"] == {"type": "string", "format": "date"}
    assert objects["name"] == {"type": "string"}
    assert _properties(tools["noted"]) == {
        "city": {"type": "string", "description": "The city"},
        "free": {},
        "anything": {"default": None},
    }
    assert tools["noted"].parameters["required"] == ["city", "free"]


async def test_what_is_described_can_be_called(folder: Path) -> None:
    code = GOOD + (
        "def show(place: Place, options: Options, pair: Pair, day: date, unit: Unit,\n"
        "         numbers: set[int], either: int | float | None = None) -> str:\n"
        "    return repr((place, options, pair, day, unit, sorted(numbers), either))\n"
    )
    tools, _ = await _of(folder, code)
    arguments = check_arguments(
        tools["show"],
        '{"place": {"name": "P", "tags": ["a"]}, "options": {"fast": true}, "pair": {"left": 1},'
        ' "day": "2024-02-29", "unit": "fahrenheit", "numbers": [2, 1, 2], "either": 2.5}',
    )
    outcome = await run(tools["show"], arguments, folder=folder)
    assert not outcome.error
    assert outcome.text == (
        "(Place(name='P', tags=['a'], height=0.0), {'fast': True}, Pair(left=1, right=2), "
        "datetime.date(2024, 2, 29), <Unit.FAHRENHEIT: 'fahrenheit'>, [1, 2], 2.5)"
    )
    assert (await run(tools["later"], {"x": 4}, folder=folder)).text == "5"
    assert (await run(tools["cached"], {"n": 4.0}, folder=folder)).text == "4"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def f(**more): ...", "f is left out: it takes **more"),
        ("def f(*all): ...", "f is left out: it takes *all"),
        ("def f(x: bytes): ...", "its parameter x is a bytes"),
        ("def f(x: 'Nix'): ...", "its type hints cannot be read"),
        ("def f(x: dict[int, str]): ...", "keys that are no text"),
        ("class A: ...\ndef f(x: list[A]): ...", "its parameter x is a A"),
        (
            "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\n"
            "class N:\n    next: N | None\ndef f(x: N): ...",
            "refers to itself",
        ),
        ("def f(x: {'a': 1}): ...", "its parameter x has a hint that is no type"),
        ("def f(x: 3): ...", "its parameter x is a 3"),
        ("def größe(): ...", "a name has up to 64 letters"),
        ("__all__ = ['nix']", "nix is in __all__, but not in the module"),
        ("x = 1", "it has no functions of its own"),
        ("raise ValueError('boom')", "It cannot be imported: ValueError: boom"),
        ("def f(:", "invalid syntax in line 1"),
        ("import nix_nix", "there is no module nix_nix"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import os; os._exit(3)", "Importing it ended without an answer (exit status 3)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("import os, signal\ndef f(): ...\nos.kill(0, signal.SIGKILL)", "killed by SIGKILL"),
        ("\0", "It cannot be imported"),
    ],
)
async def test_what_cannot_be_a_tool_is_said(folder: Path, code: str, why: str) -> None:
    tools, problems = await _of(folder, code)
    assert tools == {}
    assert len(problems) == 1
    assert why in problems[0]
    assert problems[0].startswith(("tools.py", "tools:"))
    assert "\n" not in problems[0]


async def test_a_module_that_prints_when_imported_is_read_all_the_same(folder: Path) -> None:
    code = "import os\nprint('{\"tools\": []}' * 9999)\nos.write(1, b'\\xff' * 100)\ndef f(): ..."
    tools, problems = await _of(folder, code)
    assert list(tools) == ["f"]
    assert problems == []


async def test_a_module_that_never_ends_its_import_holds_up_no_other(folder: Path) -> None:
    (folder / "loops.py").write_text("while True: pass")
    (folder / "good.py").write_text("def good(): ...")
    started = time.monotonic()
    tools, problems = await describe(["loops.py", "good.py"], folder, timeout=2)
    assert time.monotonic() - started < 6
    assert [tool.name for tool in tools] == ["good"]
    assert problems == ["loops.py: Importing it took longer than 2 seconds and was stopped."]


async def test_nothing_is_imported_here(folder: Path) -> None:
    (folder / "marker.py").write_text("def f(): ...")
    before = set(sys.modules)
    await describe(["marker.py"], folder)
    new = set(sys.modules) - before
    assert not [name for name in new if "marker" in name]


async def test_all_says_which_functions_are_tools(folder: Path) -> None:
    code = "from os.path import join\n__all__ = ['b', 'X']\nX = 1\ndef a(): ...\ndef b(): ..."
    tools, _ = await _of(folder, code)
    assert list(tools) == ["b"]


async def test_modules_come_from_the_config_folder_but_not_from_the_current_one(
    folder: Path,
) -> None:
    (folder / "config" / "tools").mkdir(parents=True)
    (folder / "config" / "tools" / "mine_here.py").write_text("def mine(): return 'mine'")
    (folder / "not_mine.py").write_text("def other(): ...")
    tools, problems = await describe(["mine_here", "not_mine"], folder)
    assert [(tool.name, tool.target) for tool in tools] == [("mine", "mine_here:mine")]
    assert problems == ["not_mine: There is no module not_mine."]
    assert (await run(tools[0], {}, folder=folder)).text == "mine"


async def test_of_two_tools_of_a_name_the_first_is_used(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text(f"def same(): return {name!r}")
    tools, problems = await describe(["one.py", "two.py", "one.py"], folder)
    assert [tool.source for tool in tools] == ["one:same"]
    assert problems == ["The tool same is in one:same and in two:same: the first one is used."]


@pytest.mark.parametrize(
    "name", ["", "a b", "a;b", "../x", ".py", "nix.py", "~nobody_/x.py", "a\nb"]
)
async def test_names_that_are_no_modules_are_said_to_be(folder: Path, name: str) -> None:
    tools, problems = await describe([name], folder)
    assert tools == []
    assert len(problems) == 1
    assert "\n" not in problems[0]


async def test_too_many_functions_and_words_stay_bounded(folder: Path) -> None:
    code = (
        "for n in range(300):\n    exec(f'def f{n}(): ...')\n"
        "def wordy(): 'x'\nwordy.__doc__='y'*9**7"
    )
    tools, problems = await _of(folder, code)
    assert len(tools) <= 200
    assert len(problems) <= 3
    assert all(len(problem) < 400 for problem in problems)


async def test_the_examples_are_tools() -> None:
    tools, problems = await describe(["examples/tools/home.py"], ROOT)
    assert problems == []
    assert {tool.name for tool in tools} == {"count_words", "current_time"}
    count = next(tool for tool in tools if tool.name == "count_words")
    assert _properties(count)["text"]["description"] == "The text itself."
    arguments = check_arguments(count, '{"text": "a bc", "unit": "letters"}')
    assert (await run(count, arguments, folder=ROOT)).text == '{"letters": 3}'


GOOGLE = """Weather of a city.

    Goes on.

    Args:
        city (str): The city,
            and its country.
        unit: Which one: a or b
        *rest: More.

    Returns:
        text: not a parameter
    """
NUMPY = """
    Weather of
    a city.

    Parameters
    ----------
    city : str
        The city,
        and its country.
    unit, other : {'a', 'b'}
        Which one: a or b

    Returns
    -------
    text : str
        not a parameter
    """
SPHINX = """Weather of a city.
    :param str city: The city,
        and its country.
    :param unit: Which one: a or b
    :type unit: str
    :returns: not a parameter
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX])
def test_docstrings_of_all_styles_are_read(text: str) -> None:
    description, parameters = docstrings.read(text)
    assert description == "Weather of a city."
    assert parameters["city"] == "The city, and its country."
    assert parameters["unit"] == "Which one: a or b"
    assert "text" not in parameters
    assert "returns" not in parameters


@pytest.mark.parametrize(
    "text", [None, "", "\n\n", "Args:", "Args:\n  x", ":param", "Parameters\n---", "x" * 99999]
)
def test_odd_docstrings_are_no_problem(text: str | None) -> None:
    docstrings.read(text)
