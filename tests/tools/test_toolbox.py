"""All tools of a window: files, functions, what is built in, real MCP servers."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mistral_tui.tools.definition import Definition
from mistral_tui.tools.toolbox import Toolbox

CLOCK = Path(__file__).parents[2] / "examples" / "mcp" / "clock_server.py"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))
    (tmp_path / "config" / "tools").mkdir(parents=True)
    (tmp_path / "project" / ".mistral-tui" / "tools").mkdir(parents=True)


@asynccontextmanager
async def box(tmp_path: Path, *tools: Definition, **options: object) -> AsyncIterator[Toolbox]:
    made = Toolbox(tools, folder=tmp_path / "project", **options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.close()


def define(folder: Path, name: str, description: str) -> None:
    tool = {"name": name, "description": description}
    (folder / f"{name}.json").write_text(json.dumps(tool))


def servers(file: Path, name: str = "clock") -> None:
    entry = {"command": sys.executable, "args": [str(CLOCK)]}
    file.write_text(json.dumps({"mcpServers": {name: entry}}))


async def test_the_nearest_of_one_name_counts_and_the_others_are_said(tmp_path: Path) -> None:
    define(tmp_path / "config" / "tools", "lamp", "the user's")
    define(tmp_path / "project" / ".mistral-tui" / "tools", "lamp", "the project's")
    define(tmp_path / "config" / "tools", "calculate", "mine")
    given = Definition("door", "from the command line")
    define(tmp_path / "config" / "tools", "door", "the user's")
    async with box(tmp_path, given) as made:
        await made.refresh()
        found = {name: made.find(name) for name in ("lamp", "calculate", "door", "read_file")}
        assert {name: tool and tool.description for name, tool in found.items()} | {
            "read_file": ""
        } == {"lamp": "the project's", "calculate": "mine", "door": given.description,
              "read_file": ""}  # fmt: skip
        told = " ".join(made.problems)
        assert "lamp" in told
        assert "door" in told


async def test_what_is_missing_is_said_once_for_each(tmp_path: Path) -> None:
    async with box(tmp_path) as made:
        assert await made.ready(()) == []
        assert await made.ready(("calculate", "ask_user")) == []
        (said,) = await made.ready(("calculate", "nothing"))
        assert "There is no tool nothing" in said


async def test_a_file_that_is_new_is_found_at_the_next_answer(tmp_path: Path) -> None:
    async with box(tmp_path) as made:
        assert await made.ready(("lamp",))
        define(tmp_path / "config" / "tools", "lamp", "A lamp.")
        assert await made.ready(("lamp",)) == []


async def test_functions_are_described_and_run(tmp_path: Path) -> None:
    module = tmp_path / "home.py"
    module.write_text('def double(number: int) -> int:\n    "Twice."\n    return 2 * number\n')
    async with box(tmp_path, modules=(str(module),)) as made:
        assert await made.ready(("double",)) == []
        tool = made.find("double")
        assert tool is not None
        outcome = await made.run(tool, made.check(tool, '{"number": 21}'))
        assert outcome.text == "42"


async def test_a_server_starts_when_its_tool_is_needed(tmp_path: Path) -> None:
    servers(tmp_path / "config" / "mcp.json")
    said: list[str] = []
    async with box(tmp_path) as made:
        assert await made.ready(("calculate",)) == []
        assert made.servers is None  # nothing of it was looked at
        assert await made.ready(("clock_now",), said.append) == []
        assert said == ["Starting clock …"]
        tool = made.find("clock_now")
        assert tool is not None
        outcome = await made.run(tool, {})
        assert not outcome.error
        assert outcome.text


async def test_a_project_s_server_waits_for_a_yes(tmp_path: Path) -> None:
    servers(tmp_path / "project" / ".mcp.json")
    async with box(tmp_path) as made:
        (said,) = await made.ready(("clock_now",))
        assert "This project's .mcp.json wants to run" in said
        assert made.states["clock"].state == "asks"
        made.allowed_servers.add(made.digest("clock"))
        assert await made.ready(("clock_now",)) == []


async def test_servers_are_read_again_where_their_file_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "config" / "mcp.json"
    servers(file)
    async with box(tmp_path) as made:
        await made.start_servers()
        assert made.states["clock"].state == "ready"
        before = made.servers
        await made.refresh()
        assert made.servers is before
        servers(file, "watch")
        await made.refresh()
        assert list(made.states) == ["watch"]
        assert before is not None
        assert before.host_pid is None


async def test_what_only_the_user_can_answer_is_not_run(tmp_path: Path) -> None:
    async with box(tmp_path, Definition("mine", "by hand")) as made:
        tool = made.find("mine")
        assert tool is not None
        assert (await made.run(tool, {})).error


async def test_a_tool_that_no_call_can_be_written_of_is_left_out_alone(tmp_path: Path) -> None:
    never = {"type": "object", "properties": {"x": {"enum": []}}, "required": ["x"]}
    async with box(tmp_path, Definition("never", "Never.", never)) as made:
        (said,) = await made.ready(("never", "calculate"))
        assert "never cannot be called" in said
        tool, other = made.find("never"), made.find("calculate")
        assert tool is not None
        assert other is not None
        assert made.uncallable(tool)
        assert not made.uncallable(other)
