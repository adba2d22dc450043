"""The list above the prompt, and the ranking behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Static

from fake_engine import screen_rows, screen_text, wait_until
from mistral_tui.actions import ACTIONS
from mistral_tui.widgets.completions import Choice, rank
from mistral_tui.widgets.prompt import Prompt


class PromptApp(App[int]):
    CSS_PATH = str(Path(__file__).parents[2] / "mistral_tui" / "app.tcss")

    def __init__(self) -> None:
        super().__init__()
        self.prompt = Prompt(id="prompt")
        self.sent: list[str] = []

    def compose(self) -> ComposeResult:
        yield Static(id="view")
        yield self.prompt.menu
        yield self.prompt
        yield Static("status")

    def on_mount(self) -> None:
        self.prompt.focus()

    def on_prompt_sent(self, event: Prompt.Sent) -> None:
        self.sent.append(event.text)


@asynccontextmanager
async def prompt(
    size: tuple[int, int] = (80, 24),
) -> AsyncIterator[tuple[PromptApp, Prompt, Pilot[Any]]]:
    app = PromptApp()
    async with app.run_test(size=size) as pilot:
        yield app, app.prompt, pilot


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("README.md", "src/reader.py", "src/a b.txt", "zz.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def test_ranking_prefers_beginnings_then_words_then_letters() -> None:
    names = ["tar", "art/tree", "start", "a-ta", "t-x-a", "tax", "else"]
    assert rank("ta", names) == [(0, "tar"), (0, "tax"), (1, "a-ta"), (2, "start"), (3, "t-x-a")]
    assert rank("TREE", names) == [(0, "art/tree")]
    assert rank("sub", ["x/sub/", "asub"]) == [(0, "x/sub/"), (2, "asub")]
    assert rank("xta", ["ata-xta", "axta-xta"]) == [(1, "ata-xta"), (1, "axta-xta")]


# ── commands ────────────────────────────────────────────────────────────────────────


async def test_a_slash_opens_all_commands_and_letters_narrow_them() -> None:
    async with prompt() as (app, box, pilot):
        await pilot.press("/")
        await wait_until(pilot, lambda: "/edit-prompt" in screen_text(app))
        assert f"1 of {sum(a.palette for a in ACTIONS)}" in screen_text(app)
        await pilot.press(*"qui")
        await wait_until(pilot, lambda: "Leave; everything is saved." in screen_text(app))
        assert "Ctrl+Q" in screen_text(app)
        assert "/edit-prompt" not in screen_text(app)
        await pilot.press(*"xx")
        await wait_until(pilot, lambda: not box.menu.open)


async def test_enter_runs_what_was_begun_and_tab_only_writes_it() -> None:
    async with prompt() as (app, box, pilot):
        await pilot.press(*"/he", "enter")
        await wait_until(pilot, lambda: app.sent == ["/help"])
        box.put("")
        await pilot.press(*"/he", "tab")
        assert box.text == "/help"
        await pilot.pause()
        assert not box.menu.open
        assert app.focused is box
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.sent == ["/help", "/help"])


async def test_enter_does_not_run_what_was_only_guessed() -> None:
    async with prompt() as (app, box, pilot):
        await pilot.press(*"/qt", "enter")
        await pilot.pause()
        assert (box.text, app.sent) == ("/quit", [])
        box.put("")
        await pilot.press(*"/copy", "down", "enter")  # chosen by hand
        await wait_until(pilot, lambda: app.sent == ["/copy-code"])


async def test_keys_ahead_of_the_list_run_what_was_typed() -> None:
    async with prompt() as (app, box, pilot):
        await pilot.press("/")
        await wait_until(pilot, lambda: box.menu.open)
        for key in (*"help", "enter"):
            box.post_message(events.Key(key, key if len(key) == 1 else None))
        await wait_until(pilot, lambda: app.sent == ["/help"])


async def test_escape_closes_the_list_only_and_for_that_word() -> None:
    async with prompt() as (app, box, pilot):
        stopped: list[str] = []
        app.action_stop = lambda: stopped.append("stop")  # type: ignore[attr-defined]
        app.bind("escape", "stop")
        await pilot.press("/", "n", "escape")
        assert not box.menu.open
        assert (box.text, stopped) == ("/n", [])
        await pilot.press("e")
        await pilot.pause()
        assert not box.menu.open
        await pilot.press("escape")
        assert stopped == ["stop"]
        await pilot.press("ctrl+u", "/")
        await wait_until(pilot, lambda: box.menu.open)


async def test_it_opens_for_what_is_typed_not_for_what_is_recalled() -> None:
    async with prompt() as (_, box, pilot):
        box.remember(["/help", "older"])
        await pilot.press("up")
        await pilot.pause()
        assert (box.text, box.menu.open) == ("/help", False)
        await pilot.press("up")
        assert box.text == "older"
        for text in ("x /", "a\n/"):
            box.put(text)
            await pilot.press("n")
            await pilot.pause()
            assert not box.menu.open


async def test_a_command_with_an_argument_goes_on_to_it() -> None:
    async with prompt() as (app, box, pilot):
        box.arguments["help"] = lambda: [("keys", "All keys."), ("files", "Where things are.")]
        await pilot.press(*"/he", "enter")
        await wait_until(pilot, lambda: "Where things are." in screen_text(app))
        assert (box.text, app.sent) == ("/help ", [])
        await pilot.press("f")
        await wait_until(pilot, lambda: "All keys." not in screen_text(app))
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.sent == ["/help files"])


async def test_a_click_chooses() -> None:
    async with prompt() as (app, box, pilot):
        await pilot.press(*"/copy")
        await wait_until(pilot, lambda: "/copy-code" in screen_text(app))
        await pilot.click("#completions", offset=(4, 1))
        assert box.text == "/copy-code"
        assert app.focused is box


# ── files ───────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("folder")
async def test_a_file_is_found_and_named() -> None:
    async with prompt() as (app, box, pilot):
        await pilot.press(*"see @read")
        await wait_until(pilot, lambda: "src/reader.py" in screen_text(app))
        await pilot.press("down", "enter")
        assert (box.text, app.sent) == ("see @src/reader.py ", [])
        await pilot.pause()
        assert not box.menu.open
        await pilot.press(*"@a")
        await wait_until(pilot, lambda: "a b.txt" in screen_text(app))
        await pilot.press("tab")
        assert box.text == 'see @src/reader.py @"src/a b.txt" '
        await pilot.press("ctrl+z")
        assert box.text == "see @src/reader.py @a"


@pytest.mark.usefixtures("folder")
async def test_a_full_name_is_sent_by_enter() -> None:
    async with prompt() as (app, box, pilot):
        await pilot.press(*"@zz.txt")
        await wait_until(pilot, lambda: box.menu.open)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.sent == ["@zz.txt"])


async def test_folders_are_walked(folder: Path) -> None:
    async with prompt() as (_, box, pilot):
        await pilot.press(*"@./s")
        await wait_until(pilot, lambda: box.menu.open)
        await pilot.press("tab")
        assert box.text == "@./src/"
        await wait_until(pilot, lambda: box.menu.open)
        await pilot.press(*"rea", "tab")
        assert box.text == "@./src/reader.py "


async def test_a_slow_disk_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with prompt() as (app, box, pilot):
        calls: list[str] = []
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()

        def find(typed: str) -> list[Choice]:
            calls.append(typed)
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
            return [Choice(f"found {typed}", f"@{typed}! ")]

        monkeypatch.setattr(box._files, "find", find)
        await pilot.press(*"@abcd")
        assert box.text == "@abcd"
        gate.set()
        await wait_until(pilot, lambda: "found abcd" in screen_text(app))
        assert len(calls) == 2  # one at a time, and then for what stands there
        gate.clear()
        await pilot.press("e", "space", "enter")  # left before it answers
        gate.set()
        await wait_until(pilot, lambda: app.sent == ["@abcde "])
        assert not box.menu.open


# ── where it lies ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (30, 12)])
async def test_it_lies_on_the_prompt_and_follows_the_mark(size: tuple[int, int]) -> None:
    async with prompt(size) as (app, box, pilot):
        view = app.query_one("#view").region
        await pilot.press("/")
        await wait_until(pilot, lambda: "Esc" in screen_text(app))
        await pilot.pause()
        assert box.menu.region.bottom == box.region.y
        assert box.menu.region.y >= 0
        assert app.query_one("#view").region == view
        assert all(len(row) == size[0] for row in screen_rows(app))
        await pilot.press("up")
        await wait_until(pilot, lambda: "/quit" in screen_text(app))
        await pilot.press("down")
        await wait_until(pilot, lambda: "/stop" in screen_text(app))


async def test_hostile_names_reach_no_terminal() -> None:
    hostile = "\x1b[31mred \x9b2J [/INST] [bold]b[/] \u202e" + "x" * 5000
    async with prompt((60, 20)) as (app, box, pilot):
        box.menu.show([Choice(hostile, hostile, hostile, hostile), Choice("漢字" * 60, "x")])
        await wait_until(pilot, lambda: "INST" in screen_text(app) or "x" in screen_text(app))
        assert all(len(row) <= 60 for row in screen_rows(app))
