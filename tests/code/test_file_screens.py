"""Opening a file by part of its path, and the changes that would be lost."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from fake_engine import FakeEngine, chat, each_size, screen_rows, screen_text, wait_until
from mistral_tui.app import ChatApp
from mistral_tui.attach import FileFinder
from mistral_tui.screens.files import OpenFileScreen
from mistral_tui.screens.unsaved import UnsavedScreen
from mistral_tui.widgets.completions import Choice


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / "own" / name.lower()))
    here = tmp_path / "project"
    for name in ("src/shapes.py", "src/colors.rs", "README.md", "build/out.py"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("x\n")
    (here / ".gitignore").write_text("build/\n")
    subprocess.run(["git", "init", "-q", str(here)], check=True)
    return here


@asynccontextmanager
async def opening(
    cwd: Path, open_paths: Sequence[str] = (), recent: Sequence[str] = ()
) -> AsyncIterator[tuple[ChatApp, Pilot[int], list[str | None]]]:
    given: list[str | None] = []
    async with chat(FakeEngine(), size=(90, 30)) as (app, pilot):
        app.push_screen(OpenFileScreen(cwd, open_paths, recent), given.append)
        await wait_until(pilot, lambda: "Open a file" in screen_text(app))
        await wait_until(pilot, lambda: "Looking" not in screen_text(app))
        yield app, pilot, given


def listed(app: ChatApp) -> list[str]:
    shown = app.screen.query_one(OptionList)
    return [str(shown.get_option_at_index(n).prompt) for n in range(shown.option_count)]


async def typed(app: ChatApp, pilot: Pilot[int], text: str) -> None:
    screen = app.screen
    assert isinstance(screen, OpenFileScreen)
    app.screen.query_one(Input).value = text
    await pilot.pause()
    await wait_until(pilot, lambda: not screen._looking)
    await pilot.pause()


async def test_a_file_is_found_by_part_of_its_path(folders: Path) -> None:
    async with opening(folders) as (app, pilot, given):
        assert "README.md" in listed(app)
        assert "build/out.py" not in listed(app)  # git leaves it out
        await pilot.press(*"shap")
        await wait_until(pilot, lambda: listed(app)[:1] == ["src/shapes.py"])
        await pilot.press("enter")
        assert given == ["src/shapes.py"]


async def test_the_arrows_choose_while_the_letters_are_typed(folders: Path) -> None:
    async with opening(folders) as (app, pilot, given):
        await typed(app, pilot, "src")
        first, second = listed(app)[:2]
        assert {first, second} == {"src/shapes.py", "src/colors.rs"}
        await pilot.press("down")
        assert app.focused is app.screen.query_one(Input)
        await pilot.press("enter")
        assert given == [second]


async def test_open_and_recent_files_come_first(folders: Path) -> None:
    async with opening(folders, ["/elsewhere/a.c"], ["src/colors.rs", "/elsewhere/a.c"]) as (
        app,
        pilot,
        given,
    ):
        assert listed(app)[:2] == ["/elsewhere/a.c  open", "src/colors.rs  recent"]
        assert sum("colors.rs" in row for row in listed(app)) == 1
        await typed(app, pilot, "elsew")
        assert listed(app)[0] == "/elsewhere/a.c  open"
        await pilot.press("enter")
        assert given == ["/elsewhere/a.c"]


async def test_a_path_that_is_not_there_is_a_new_file(folders: Path) -> None:
    async with opening(folders) as (app, pilot, given):
        await typed(app, pilot, "src/new_one.py")
        assert listed(app) == ["new file  src/new_one.py"]
        assert "new file  src/new_one.py" in screen_text(app)
        await pilot.press("enter")
        assert given == ["src/new_one.py"]


async def test_a_new_file_can_be_chosen_where_others_match(folders: Path) -> None:
    async with opening(folders) as (app, pilot, given):
        await typed(app, pilot, "shapes.py")
        assert listed(app) == ["src/shapes.py", "new file  shapes.py"]
        await pilot.press("up", "enter")
        assert given == ["shapes.py"]


async def test_a_file_that_git_leaves_out_opens_by_its_whole_path(folders: Path) -> None:
    async with opening(folders) as (app, pilot, given):
        await typed(app, pilot, "build/out.py")
        assert listed(app)[0] == "build/out.py"
        await pilot.press("enter")
        assert given == ["build/out.py"]


async def test_enter_on_a_folder_lists_what_is_in_it(folders: Path) -> None:
    async with opening(folders) as (app, pilot, given):
        await typed(app, pilot, f"{folders}/sr")
        assert listed(app)[0].endswith("/project/src/  folder")
        await pilot.press("enter")
        await wait_until(pilot, lambda: any(row.endswith("colors.rs") for row in listed(app)))
        assert given == []
        await pilot.press("enter")
        assert given == [f"{folders}/src/colors.rs"]


async def test_enter_waits_for_the_answer_to_what_was_typed(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    asked: list[str] = []
    find = FileFinder.find

    def slow(self: FileFinder, typed: str) -> list[Choice]:
        asked.append(typed)
        if typed:
            gate.wait(10)
        return find(self, typed)

    monkeypatch.setattr(FileFinder, "find", slow)
    async with opening(folders) as (_, pilot, given):
        try:
            await pilot.press(*"colors", "enter")
            await pilot.pause(0.05)
            assert given == []
        finally:
            gate.set()
        await wait_until(pilot, lambda: bool(given))
        assert given == ["src/colors.rs"]
        assert asked == ["", "c", "colors"]  # what was typed between is not asked


async def test_esc_opens_nothing_and_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    async with opening(tmp_path / "empty") as (app, pilot, given):
        assert "There is no file yet: type the path of a new one." in screen_text(app)
        await pilot.press("enter")
        assert given == []
        await pilot.press("escape")
        assert given == [None]


async def test_paths_are_safe_and_fit_every_size(folders: Path) -> None:
    long = "deep/" * 60 + "end.py"
    async with opening(folders, ["x\x1b[31m[b]y", long], ["~nobody\x00/z"]) as (app, pilot, _):
        async for width, _height in each_size(pilot):
            await pilot.pause()
            rows = screen_rows(app)
            assert max(map(len, rows)) <= width
            text = "\n".join(rows)
            assert "\x1b" not in text
            assert "[b]y" in text
            assert "Open a file" in text
        await typed(app, pilot, "~nobody\x00[/]")
        assert listed(app) == ["new file  ~nobody[/]"]


# ── changes that are not saved ──────────────────────────────────────────────────────


@asynccontextmanager
async def leaving(
    names: Sequence[str], size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[ChatApp, Pilot[int], list[Literal["save", "drop"] | None]]]:
    given: list[Literal["save", "drop"] | None] = []
    async with chat(FakeEngine(), size=size) as (app, pilot):
        app.push_screen(UnsavedScreen(names, "leave"), given.append)
        await wait_until(pilot, lambda: "Save and leave" in screen_text(app))
        yield app, pilot, given


@pytest.mark.parametrize(
    ("pressed", "expected"),
    [
        (["enter"], "save"),
        (["down", "enter"], None),
        (["right", "right", "enter"], "drop"),
        (["up", "enter"], "drop"),
        (["down", "left", "enter"], "save"),
        (["escape"], None),
        (["down", "escape"], None),
    ],
)
async def test_enter_alone_loses_nothing(pressed: list[str], expected: str | None) -> None:
    async with leaving(["src/a.py"]) as (app, pilot, given):
        assert "src/a.py has changes that are not saved." in screen_text(app)
        await pilot.press(*pressed)
        await pilot.pause()
        assert given == [expected]


async def test_the_files_are_named_and_many_are_counted() -> None:
    async with leaving(["a\x1b[2J.py", "[red]b[/]", *(f"f{n}" for n in range(20))]) as (
        app,
        pilot,
        _,
    ):
        async for width, _height in each_size(pilot):
            await pilot.pause()
            rows = screen_rows(app)
            assert max(map(len, rows)) <= width
        text = "\n".join(rows)
        assert "22 files have changes that are not saved:" in text
        assert "[red]b[/]" in text
        assert "… and 14 more" in text
        assert "\x1b" not in text
        assert "Save and leave" in text
        assert "Drop the changes" in text
