"""The tools screen on a real toolbox: list, details, editor and trial."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Static

import mistral_tui
from fake_engine import CARD, card, screen_text
from mistral_tui.choices import SamplingChoice
from mistral_tui.config.tuning import Tuning
from mistral_tui.history.schema import StoreError
from mistral_tui.screens import tool_words
from mistral_tui.screens.tool_editor import ToolEditor
from mistral_tui.screens.tool_trial import ToolTrial
from mistral_tui.screens.tools import ToolsScreen
from mistral_tui.themes import load_themes
from mistral_tui.tools.consent import Permissions
from mistral_tui.tools.definition import Definition, Outcome
from mistral_tui.tools.mcp import ServerState
from mistral_tui.tools.toolbox import Toolbox
from mistral_tui.widgets.areas import JsonArea

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city.\nIt knows today only.",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Its name"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 7, "default": 1},
        },
        "required": ["city"],
    },
}


class Servers:
    """MCP servers by script: they start when the test says so."""

    def __init__(self, *states: ServerState) -> None:
        self.states = {state.name: state for state in states}
        self.go = asyncio.Event()
        self.restarted: list[str] = []

    async def start(self, names: Any = None) -> None:
        for name, state in self.states.items():
            if state.state == "off":
                self.states[name] = ServerState(name, "starting")
        if all(state.state != "starting" for state in self.states.values()):
            return
        await self.go.wait()
        for name, state in self.states.items():
            if state.state == "starting":
                self.states[name] = ready(name)

    async def restart(self, name: str) -> None:
        self.restarted.append(name)
        self.states[name] = ready(name)

    async def call(self, tool: Definition, arguments: Any, **options: Any) -> Outcome:
        return Outcome("from the server")

    async def close(self) -> None:
        pass


def ready(name: str) -> ServerState:
    tool = Definition(f"{name}_find", "Finds things.", kind="mcp", source=name, target="find")
    return ServerState(name, "ready", version="1.2", definitions=(tool,))


class Stub:
    """What the screen uses of a session, on a real toolbox."""

    def __init__(self, toolbox: Toolbox) -> None:
        self.toolbox = toolbox
        self.permissions = Permissions()
        self.tuning = Tuning(SamplingChoice())
        self.card: Any = card(capabilities=("instruct", "tools"))
        self.conversation: Any = SimpleNamespace(id="c1")
        self.allowed: list[str] = []
        self.refuses = ""

    async def load_permissions(self) -> None:
        await asyncio.sleep(0)

    async def revoke(self, tool: Definition) -> bool:
        if self.refuses:
            raise StoreError(self.refuses)
        return self.permissions.revoke(tool)

    async def revoke_server(self, name: str) -> bool:
        return False

    async def allow_server(self, name: str) -> None:
        self.allowed.append(name)
        assert self.toolbox.servers is not None
        await self.toolbox.servers.restart(name)


class Bare(App[None]):
    """The looks of the app, and what a screen was dismissed with."""

    CSS_PATH = Path(mistral_tui.__file__).with_name("app.tcss")

    def __init__(self) -> None:
        super().__init__()
        self.results: list[Any] = []
        self.heard = 0
        self.animation_level = "none"
        for theme in load_themes()[0]:
            self.register_theme(theme)
        self.theme = "mistral-dark"

    def on_text_area_changed(self) -> None:
        self.heard += 1  # the real app keeps drafts of the prompt by these


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def write(folder: Path, *tools: dict[str, Any], name: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name or tools[0]['name']}.json"
    path.write_text(json.dumps(tools[0] if len(tools) == 1 else list(tools)))
    return path


async def until(pilot: Pilot[None], true: Callable[[], object], seconds: float = 8) -> None:
    for _ in range(int(seconds / 0.02)):
        if true():
            return
        await pilot.pause(0.02)
    raise AssertionError(f"It did not come; the screen:\n{screen_text(pilot.app)}")


@asynccontextmanager
async def shown(
    screen: Any, size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[Bare, Pilot[None]]]:
    app = Bare()
    async with app.run_test(size=size, notifications=True) as pilot:
        await app.push_screen(screen, app.results.append)
        await pilot.pause()
        yield app, pilot


@asynccontextmanager
async def tools(
    session: Stub, size: tuple[int, int] = (120, 40), loaded: bool = True
) -> AsyncIterator[tuple[Bare, Pilot[None]]]:
    async with shown(ToolsScreen(session), size) as (app, pilot):
        if loaded:
            await until(pilot, lambda: "ooking …" not in screen_text(app))
        yield app, pilot


def session(*states: ServerState, modules: tuple[str, ...] = ()) -> Stub:
    toolbox = Toolbox(modules=modules, folder=Path.cwd())
    if states:
        toolbox.servers = Servers(*states)  # type: ignore[assignment]
    return Stub(toolbox)


def panes(app: Bare) -> tuple[str, str]:
    """The list and the details of a wide window."""
    parts = [row.split("│") for row in screen_text(app).splitlines()]
    rows = [part for part in parts if len(part) == 4]
    return "\n".join(r[1] for r in rows), " ".join(" ".join(r[2] for r in rows).split())


def said(app: Bare) -> str:
    return str(app.screen.query_one("#said", Static).content)


async def go_to(pilot: Pilot[None], key: str) -> None:
    from mistral_tui.screens.tool_list import ToolList

    assert pilot.app.screen.query_one(ToolList).mark(key), screen_text(pilot.app)
    await pilot.pause()


# ── the list ────────────────────────────────────────────────────────────────────────


async def test_tools_are_listed_by_where_they_come_from(folders: Path) -> None:
    write(folders / "project/.mistral-tui/tools", {"name": "deploy", "description": "Deploys."})
    write(folders / "config/tools", WEATHER)
    module = folders / "mine.py"
    module.write_text('def double(x: int) -> int:\n    """Twice as much."""\n    return 2 * x\n')
    one = session(ready("files"), modules=(str(module),))
    async with tools(one) as (app, _):
        text, _details = panes(app)
        order = ["This project", "deploy", "Your own", "get_weather", "Python functions", "double"]
        order += ["Built in", "read_file", "ask_user", "MCP server files  ready", "files_find"]
        places = [text.index(word) for word in order]
        assert places == sorted(places)
        assert "The weather of a city." in text
        assert "Problems" not in text


async def test_each_tool_shows_whether_it_is_on_and_whether_it_asks(folders: Path) -> None:
    one = session()
    found = {tool.name: tool for tool in one.toolbox.definitions}
    one.permissions.allow_always(found["read_file"])
    one.permissions.allow_here(found["calculate"], "c1")
    one.permissions.allow_here(found["find_files"], "another")
    one.tuning = Tuning(SamplingChoice())
    one.tuning._said["tools"] = ("calculate",)
    async with tools(one) as (app, _):
        rows = screen_text(app)
        assert re.search(r"○ read_file .* always ", rows)
        assert re.search(r"● calculate .* here ", rows)
        assert re.search(r"○ find_files .* asks ", rows)
        assert re.search(r"○ ask_user .* by hand ", rows)
        assert "1 enabled here" in rows


async def test_space_enables_and_what_changed_is_handed_back(folders: Path) -> None:
    async with tools(session()) as (app, pilot):
        await go_to(pilot, "tool:calculate")
        await pilot.press("space", "k", "enter")
        assert re.search(r"● find_files", screen_text(app))
        await pilot.press("escape")
        assert app.results == [{"tools": ("calculate", "find_files")}]


async def test_nothing_is_handed_back_when_all_is_as_before(folders: Path) -> None:
    async with tools(session()) as (app, pilot):
        await go_to(pilot, "tool:calculate")
        await pilot.press("space", "space", "c", "c", "c", "q")
        assert app.results == [None]


async def test_the_choice_goes_round(folders: Path) -> None:
    async with tools(session()) as (app, pilot):
        for word in ("calls nothing", "has to call", "as it likes", "calls nothing"):
            await pilot.press("c")
            assert word in screen_text(app)
        await pilot.press("escape")
        assert app.results == [{"tool_choice": "none"}]


async def test_a_forced_tool_is_named_and_given_up(folders: Path) -> None:
    one = session()
    one.tuning._said["tool_choice"] = "calculate"
    async with tools(one) as (app, pilot):
        assert "has to call calculate" in screen_text(app)
        await pilot.press("c")
        assert "as it likes" in screen_text(app)


async def test_a_tool_that_is_gone_is_shown_and_can_be_disabled(folders: Path) -> None:
    one = session()
    one.tuning._said["tools"] = ("gone_tool", "calculate")
    async with tools(one) as (app, pilot):
        assert "Enabled, but not there" in screen_text(app)
        await go_to(pilot, "missing:gone_tool")
        assert "Nothing of this name" in screen_text(app)
        await pilot.press("space")
        assert "gone_tool" not in screen_text(app)
        await pilot.press("escape")
        assert app.results == [{"tools": ("calculate",)}]


async def test_more_than_a_conversation_has_are_refused(folders: Path) -> None:
    one = session()
    one.tuning._said["tools"] = tuple(f"t{i}" for i in range(64))
    async with tools(one) as (app, pilot):
        await go_to(pilot, "tool:calculate")
        await pilot.press("space")
        assert "64 tools at most" in said(app)
        await pilot.press("escape")
        assert app.results == [None]


async def test_the_mouse_marks_first_and_enables_then(folders: Path) -> None:
    from mistral_tui.screens.tool_list import ToolList

    async with tools(session()) as (app, pilot):
        shown_list = app.screen.query_one(ToolList)
        rows = [row for row in screen_text(app).splitlines()]
        y = next(i for i, row in enumerate(rows) if "calculate" in row) - shown_list.region.y
        await pilot.click(ToolList, offset=(10, y))
        assert shown_list.row is not None
        assert shown_list.row.name == "calculate"
        assert "○ calculate" in screen_text(app)
        await pilot.click(ToolList, offset=(10, y))
        assert "● calculate" in screen_text(app)
        await pilot.click(ToolList, offset=(0, y + 1))  # on the circle: at once
        assert "● ask_user" in screen_text(app)


async def test_empty_groups_say_what_to_do(folders: Path) -> None:
    async with tools(session(), size=(80, 40)) as (app, _):
        text = screen_text(app)
        assert "Your own  none yet: n writes one" in text
        assert "Python functions  none yet: set tool_modules in the config" in text
        assert "MCP servers  none yet: list them in ~/config/mcp.json" in text


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (None, "No model is loaded: the tools are there for it when one is."),
        (CARD, "This model cannot call tools: its tokenizer has no tool tokens."),
        (card(capabilities=("instruct", "tools")), ""),
    ],
)
async def test_it_is_said_whether_the_model_can_call(model: Any, sentence: str) -> None:
    one = session()
    one.card = model
    async with tools(one) as (app, _):
        warning = app.screen.query_one("#warning", Static)
        assert str(warning.content) == sentence
        assert warning.display == bool(sentence)


async def test_problems_can_be_read_whole(folders: Path) -> None:
    folder = folders / "config/tools"
    write(folder, {"name": "bad name", "description": ""}, name="broken")
    async with tools(session()) as (app, pilot):
        assert "Problems" in screen_text(app)
        await pilot.press("end")
        pane = str(app.screen.query_one("#details", Static).content)
        assert "tools/broken.json: /name" in pane
        assert "up to 64 letters" in pane


async def test_foreign_text_stays_text(folders: Path) -> None:
    evil = {**WEATHER, "description": "[bold red]x[/] [@click=app.quit]y[/]\x1b[31m \u202eabc\x07"}
    evil["parameters"] = {
        "type": "object",
        "properties": {"a[b]\x1b]0;t": {"type": "string", "pattern": "[/x]", "enum": ["[/b]"]}},
    }
    write(folders / "config/tools", evil)
    async with tools(session(), size=(160, 40)) as (app, pilot):
        await go_to(pilot, "tool:get_weather")
        text = screen_text(app)  # fails on control bytes
        assert "[bold red]x[/] [@click=app.quit]y[/]" in text
        assert "one of [/b]" in text
        assert "\u202e" not in text


@pytest.mark.parametrize("size", [(40, 12), (60, 20), (80, 24), (120, 40), (200, 60)])
async def test_every_size_shows_list_and_details(folders: Path, size: tuple[int, int]) -> None:
    write(folders / "config/tools", WEATHER)
    async with tools(session(ready("files")), size) as (app, pilot):
        await go_to(pilot, "tool:get_weather")
        await until(pilot, lambda: " The weather of a city." in screen_text(app))
        assert "get_weather" in screen_text(app)
        assert max(map(len, screen_text(app).splitlines())) <= size[0]


async def test_details_say_what_a_tool_takes(folders: Path) -> None:
    write(folders / "config/tools", WEATHER)
    async with tools(session()) as (app, pilot):
        await go_to(pilot, "tool:get_weather")
        text = screen_text(app)
        assert "city  text" in text
        assert "one of celsius, fahrenheit, optional" in text
        assert "whole number from 1 to 7, default 1" in text
        assert "config/tools/get_weather.json" in panes(app)[1].replace(" ", "")
        assert "You answer its calls by hand." in text


# ── servers ─────────────────────────────────────────────────────────────────────────


async def test_the_screen_is_there_while_servers_start_and_their_tools_come() -> None:
    one = session(ServerState("slow"))
    servers: Any = one.toolbox.servers
    async with tools(one, loaded=False) as (app, pilot):
        await until(pilot, lambda: "MCP server slow  starting" in screen_text(app))
        await go_to(pilot, "tool:calculate")
        await pilot.press("space")
        assert "● calculate" in screen_text(app)
        servers.go.set()
        await until(pilot, lambda: "slow_find" in screen_text(app))
        # What was marked still is.
        await pilot.press("space")
        assert "○ calculate" in screen_text(app)


async def test_one_can_leave_while_servers_start() -> None:
    one = session(ServerState("slow"))
    async with tools(one, loaded=False) as (app, pilot):
        await until(pilot, lambda: "starting" in screen_text(app))
        await pilot.press("escape")
        assert app.results == [None]


async def test_a_projects_server_is_allowed_with_its_key_only() -> None:
    wants = "This project's .mcp.json wants to run rm -rf [bold]x[/]."
    one = session(ServerState("search", "asks", wants))
    async with tools(one) as (app, pilot):
        await go_to(pilot, "server:search")
        assert wants in panes(app)[1]
        await pilot.press("enter", "space")
        assert one.allowed == []
        await pilot.press("s")
        await until(pilot, lambda: "search_find" in screen_text(app))
        assert one.allowed == ["search"]


async def test_a_server_that_failed_is_restarted_from_its_row_or_a_tool() -> None:
    one = session(ServerState("git", "failed", "It ended by itself."), ready("files"))
    servers: Any = one.toolbox.servers
    async with tools(one) as (app, pilot):
        assert "failed: It ended by itself." in screen_text(app)
        await go_to(pilot, "server:git")
        await pilot.press("s")
        await until(pilot, lambda: "git_find" in screen_text(app))
        await go_to(pilot, "tool:files_find")
        await pilot.press("s")
        await until(pilot, lambda: servers.restarted == ["git", "files"])
        await go_to(pilot, "tool:calculate")
        await pilot.press("s")
        await until(pilot, lambda: "Mark an MCP server" in said(app))


# ── files ───────────────────────────────────────────────────────────────────────────


async def test_a_tool_is_deleted_when_asked_twice(folders: Path) -> None:
    path = write(folders / "config/tools", WEATHER)
    one = session()
    one.tuning._said["tools"] = ("get_weather",)
    async with tools(one) as (app, pilot):
        await go_to(pilot, "tool:get_weather")
        await pilot.press("d")
        await until(pilot, lambda: "again deletes" in said(app))
        await pilot.press("j", "k", "d")  # it was not the next key
        await until(pilot, lambda: "again deletes" in said(app))
        assert path.exists()
        await pilot.press("d")
        await until(pilot, lambda: "get_weather is deleted." in said(app))
        assert not path.exists()
        await until(pilot, lambda: "The weather of a city" not in screen_text(app))
        await pilot.press("escape")
        assert app.results == [{"tools": ()}]


async def test_what_has_no_file_of_its_own_is_not_edited_or_deleted(folders: Path) -> None:
    path = write(folders / "config/tools", WEATHER, {"name": "other"}, name="two")
    async with tools(session(ready("files"))) as (app, pilot):
        for key, words in (
            ("tool:read_file", "built in"),
            ("tool:files_find", "the MCP server files"),
            ("tool:get_weather", "two.json has other tools too"),
        ):
            await go_to(pilot, key)
            for press in "ed":
                await pilot.press(press)
                await until(pilot, lambda words=words: words in said(app))
                assert isinstance(app.screen, ToolsScreen)
        assert path.exists()


async def test_a_new_tool_is_written_and_marked(folders: Path) -> None:
    async with tools(session()) as (app, pilot):
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, ToolEditor))
        await until(pilot, lambda: "✓ get_weather takes city" in screen_text(app))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, ToolsScreen))
        await until(pilot, lambda: "○ get_weather" in screen_text(app))
        assert "get_weather is saved in" in said(app)
        assert (folders / "config/tools/get_weather.json").exists()
        await pilot.press("space")
        assert "● get_weather" in screen_text(app)


async def test_an_edited_tool_stays_in_its_folder_and_enabled(folders: Path) -> None:
    folder = folders / "project/.mistral-tui/tools"
    old = write(folder, WEATHER)
    one = session()
    one.tuning._said["tools"] = ("get_weather",)
    async with tools(one) as (app, pilot):
        await go_to(pilot, "tool:get_weather")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, ToolEditor))
        area = app.screen.query_one(JsonArea)
        area.text = area.text.replace("get_weather", "weather_now")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "● weather_now" in screen_text(app))
        assert not old.exists()
        assert json.loads((folder / "weather_now.json").read_text())["name"] == "weather_now"
        await pilot.press("escape")
        assert app.results == [{"tools": ("weather_now",)}]


async def test_a_permission_is_revoked(folders: Path) -> None:
    one = session()
    tool = one.toolbox.find("read_file")
    assert tool is not None
    one.permissions.allow_always(tool)
    async with tools(one) as (app, pilot):
        await go_to(pilot, "tool:read_file")
        await pilot.press("r")
        await until(pilot, lambda: "read_file asks again" in said(app))
        assert re.search(r"read_file .* asks ", screen_text(app))
        one.refuses = "The disk is full."
        await pilot.press("r")
        await until(pilot, lambda: said(app) == "The disk is full.")


async def test_files_that_come_are_seen_when_it_looks_again(folders: Path) -> None:
    async with tools(session()) as (app, pilot):
        write(folders / "config/tools", WEATHER)
        await pilot.press("f5")
        await until(pilot, lambda: "○ get_weather" in screen_text(app))


# ── the editor ──────────────────────────────────────────────────────────────────────


def verdict(app: Bare) -> str:
    return str(app.screen.query_one("#verdict", Static).content)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"name": "x",\n  "description": 1,,}', "line 2, column 20"),
        ('{"name": "bad name"}', "/name"),
        ('{"name": "x", "parameters": {"type": "string"}}', "/parameters/type"),
        ('[{"name": "x"}, {"name": "y"}]', "of one tool, not of 2"),
        ("", "is empty"),
        (" " * (129 << 10), "too long"),
    ],
)
async def test_what_is_wrong_is_said_with_its_place_and_not_saved(
    folders: Path, text: str, words: str
) -> None:
    folder = folders / "config/tools"
    async with shown(ToolEditor(None, folder)) as (app, pilot):
        app.screen.query_one(JsonArea).text = text
        await until(pilot, lambda: words in verdict(app))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: verdict(app).startswith("Not saved."))
        assert words in verdict(app)
        assert app.results == []
        assert not folder.exists()


async def test_changes_are_not_dropped_unasked(folders: Path) -> None:
    async with shown(ToolEditor(None, folders)) as (app, pilot):
        await pilot.press("x", "escape")
        await until(pilot, lambda: "not saved" in verdict(app))
        assert app.heard == 0
        await pilot.press("y")  # on with it: the next Esc warns again
        await pilot.press("escape")
        assert app.results == []
        await pilot.press("escape")
        assert app.results == [None]


async def test_esc_leaves_at_once_when_nothing_was_changed(folders: Path) -> None:
    async with shown(ToolEditor(None, folders)) as (app, pilot):
        await pilot.press("escape")
        assert app.results == [None]


async def test_a_disk_that_refuses_is_a_sentence_and_the_text_stays(folders: Path) -> None:
    (folders / "config").mkdir()
    (folders / "config/tools").write_text("a file where the folder should be")
    async with shown(ToolEditor(None, folders / "config/tools")) as (app, pilot):
        before = app.screen.query_one(JsonArea).text
        await pilot.press("ctrl+s")
        await until(pilot, lambda: verdict(app).startswith("Not saved."))
        assert app.screen.query_one(JsonArea).text == before
        assert app.results == []


async def test_a_name_that_is_taken_is_refused(folders: Path) -> None:
    folder = folders / "config/tools"
    write(folder, WEATHER)
    async with shown(ToolEditor(None, folder)) as (app, pilot):
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "choose another name" in verdict(app))
        assert app.results == []


async def test_what_cannot_be_shown_is_escaped_and_saved_as_it_was(folders: Path) -> None:
    folder = folders / "config/tools"
    odd = "a\u202eb\x9b31m\u200bc 日本 😀"
    path = write(folder, {"name": "odd", "description": odd})
    one = session()
    async with tools(one) as (app, pilot):
        await go_to(pilot, "tool:odd")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, ToolEditor))
        area = app.screen.query_one(JsonArea)
        assert "a\\u202eb\\u009b31m\\u200bc 日本 😀" in area.text
        assert "\u202e" not in screen_text(app)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, ToolsScreen))
    assert json.loads(path.read_text())["description"] == odd


async def test_large_and_unsafe_pastes_are_held_off(folders: Path) -> None:
    from textual.events import Paste

    async with shown(ToolEditor(None, folders)) as (app, pilot):
        area = app.screen.query_one(JsonArea)
        area.text = ""
        app.post_message(Paste("x" * (200 << 10)))
        await until(pilot, lambda: bool(app._notifications))
        assert area.text == ""
        app.post_message(Paste('{\r\n"a\x1b[31m": 1}'))
        await until(pilot, lambda: bool(area.text))
        assert area.text == '{\n"a": 1}'


async def test_json_is_coloured_by_what_it_is(folders: Path) -> None:
    async with shown(ToolEditor(None, folders)) as (app, _):
        area = app.screen.query_one(JsonArea)
        area.text = '{"key": ["text", -1.5e3, true]}'
        row = area.get_line(0)
        colours = {row.plain[s.start : s.end]: str(s.style) for s in row.spans}
        assert {'"key"', '"text"', "-1.5e3", "true"} <= set(colours)
        kinds = {colours[part] for part in ('"key"', '"text"', "-1.5e3", "true")}
        assert len(kinds) == 4


# ── trying out ──────────────────────────────────────────────────────────────────────


def trial_said(app: Bare) -> str:
    return str(app.screen.query_one("#state", Static).content)


def result(app: Bare) -> str:
    return str(app.screen.query_one("#result", Static).content)


async def test_a_tool_is_tried_out_from_the_list(folders: Path) -> None:
    async with tools(session()) as (app, pilot):
        await go_to(pilot, "tool:calculate")
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, ToolTrial))
        area = app.screen.query_one(JsonArea)
        assert json.loads(area.text) == {"expression": ""}
        area.text = '{"expression": "2 ** 10 + 1"}'
        await pilot.press("ctrl+r")
        await until(pilot, lambda: trial_said(app).startswith("Done: "))
        assert result(app) == "1025"
        area.text = '{"expression": "1 / 0"}'
        await pilot.press("ctrl+r")
        await until(pilot, lambda: trial_said(app).startswith("The tool failed: "))
        assert "divides by zero" in result(app)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ToolsScreen))


async def test_arguments_that_do_not_fit_are_said_and_not_sent(folders: Path) -> None:
    one = session()
    calls: list[Any] = []

    async def run(*args: Any, **options: Any) -> Outcome:
        calls.append(args)
        return Outcome("no")

    one.toolbox.run = run  # type: ignore[method-assign]
    tool = one.toolbox.find("calculate")
    assert tool is not None
    async with shown(ToolTrial(tool, one.toolbox)) as (app, pilot):
        for text, words in (
            ('{"expression": 3}', "expression must be a text"),
            ("{}", "expression is missing"),
            ('{"expression": "1"', "line 1, column 19"),
        ):
            app.screen.query_one(JsonArea).text = text
            await until(pilot, lambda words=words: words in trial_said(app))
            assert app.heard == 0
            await pilot.press("ctrl+r")
            await pilot.pause()
            assert words in trial_said(app)
        assert calls == []


async def test_esc_stops_the_call_first_and_leaves_then(folders: Path) -> None:
    one = session()
    ended: list[str] = []
    asked: list[float] = []

    async def run(tool: Definition, arguments: Any, *, timeout: float) -> Outcome:
        asked.append(timeout)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return Outcome("late")

    one.toolbox.run = run  # type: ignore[method-assign]
    tool = one.toolbox.find("ask_user")
    assert tool is not None
    python = Definition("wait", "Waits.", kind="python", source="m:wait", target="m:wait")
    async with shown(ToolTrial(python, one.toolbox, 7.0)) as (app, pilot):
        await pilot.press("ctrl+r")
        await until(pilot, lambda: trial_said(app).startswith("Running"))
        await pilot.press("ctrl+r")  # one at a time
        await pilot.pause()
        assert asked == [7.0]
        await pilot.press("escape")
        await until(pilot, lambda: trial_said(app).startswith("Stopped after"))
        assert ended == ["cancelled"]
        assert app.results == []
        await pilot.press("escape")
        assert app.results == [None]


async def test_a_tool_by_hand_says_who_answers(folders: Path) -> None:
    one = session()
    tool = one.toolbox.find("ask_user")
    assert tool is not None
    async with shown(ToolTrial(tool, one.toolbox)) as (app, pilot):
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "You answer this tool by hand" in result(app))


async def test_a_long_result_is_shown_whole_and_scrolls(folders: Path) -> None:
    one = session()

    async def run(*args: Any, **options: Any) -> Outcome:
        return Outcome("[bold]line[/]\n" * 2000, cut=True)

    one.toolbox.run = run  # type: ignore[method-assign]
    tool = Definition("long", "", kind="python", source="m:f", target="m:f")
    async with shown(ToolTrial(tool, one.toolbox), size=(80, 24)) as (app, pilot):
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "cut after 28,000 characters" in trial_said(app))
        assert "[bold]line[/]" in screen_text(app)
        pane = app.screen.query_one("VerticalScroll")
        await until(pilot, lambda: pane.max_scroll_y > 1900)


# ── words ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "minLength": 2, "maxLength": 9}, "text of 2 to 9 characters"),
        ({"type": "string", "maxLength": 9}, "text of up to 9 characters"),
        ({"type": "string", "pattern": "^a"}, "text that matches ^a"),
        ({"type": "integer", "minimum": 1}, "whole number from 1"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 5}, "number up to 5 above 0"),
        ({"enum": ["a", 1, None, "x y"]}, "one of a, 1, null, x y"),
        ({"const": 3}, "always 3"),
        ({"type": ["string", "null"]}, "text or null"),
        ({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}, "whole number or true or false"),
        ({"type": "array", "items": {"type": "string"}}, "list of texts"),
        ({"type": "array", "maxItems": 3}, "list of up to 3 items"),
        ({"type": "array", "minItems": 2}, "list of at least 2 items"),
        ({"$ref": "#/$defs/size"}, "one of small, large"),
        ({"$ref": "#"}, "object"),
        ({"$ref": "#/nowhere"}, "anything"),
        ({}, "anything"),
        (True, "anything"),
        (False, "nothing"),
        ({"type": "boolean", "default": False}, "true or false, default false"),
    ],
)
def test_what_a_parameter_may_be_in_words(schema: Any, words: str) -> None:
    root = {"type": "object", "$defs": {"size": {"enum": ["small", "large"]}}}
    assert tool_words.kind(root, schema) == words


def test_parameters_in_objects_have_dotted_names() -> None:
    place = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
    schema = {
        "type": "object",
        "properties": {"at": place, "stops": {"type": "array", "items": place}},
        "required": ["at"],
    }
    found = [(one.name, one.required) for one in tool_words.parameters(schema)]
    assert found == [("at", True), ("at.x", True), ("stops", False), ("stops[].x", True)]


def test_a_skeleton_fits_its_schema() -> None:
    from mistral_tui.tools.schema import check_arguments, check_definition

    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "size": {"$ref": "#/$defs/size"},
            "count": {"type": "integer", "minimum": 3},
            "at": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
            "either": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "more": {"type": "array"},
            "optional": {"type": "string"},
        },
        "required": ["name", "size", "count", "at", "either", "more"],
        "$defs": {"size": {"enum": ["small", "large"]}},
    }
    made = tool_words.skeleton(schema)
    assert made == {
        "name": "", "size": "small", "count": 3, "at": {"x": 0}, "either": False, "more": [],
    }  # fmt: skip
    tool = check_definition({"name": "t", "parameters": schema}, source="t")
    assert check_arguments(tool, json.dumps(made)) == made


def test_schemas_that_name_themselves_end_soon() -> None:
    names = [f"p{i}" for i in range(60)]
    schema = {
        "type": "object",
        "properties": {name: {"$ref": "#", "description": "x" * 5000} for name in names},
        "required": names,
    }
    begun = time.monotonic()
    assert len(json.dumps(tool_words.skeleton(schema))) < 20_000
    assert len(tool_words.parameters(schema)) <= 101
    assert time.monotonic() - begun < 1
