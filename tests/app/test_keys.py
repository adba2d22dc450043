"""Keys of one's own: `[keys]` in config.toml, and the app that follows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fake_engine import (
    FakeEngine,
    Reply,
    ask,
    chat,
    last_row,
    screen_text,
    wait_until,
    words_on_screen,
)
from mistral_tui import keys
from mistral_tui.actions import ACTIONS
from mistral_tui.config import file as config
from mistral_tui.screens.help import HelpScreen
from mistral_tui.screens.history import HistoryScreen


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    yield tmp_path / "config" / "config.toml"
    keys.use({})


def read(path: Path, text: str) -> config.Config:
    path.write_text(text)
    return config.load(path)


# ── the file ────────────────────────────────────────────────────────────────────────


def test_a_key_several_none_and_those_of_a_screen(folders: Path) -> None:
    found = read(
        folders,
        """
        [keys]
        new = "Ctrl+K"
        copy_code = ["ctrl-g", "F10"]
        delete_turn = []
        "history.pin" = "P"
        [keys.history]
        rename = "R"
        """,
    )
    assert found.problems == ()
    assert found.keys == {
        "new": ("ctrl+k",), "copy_code": ("ctrl+g", "f10"), "delete_turn": (),
        "history.pin": ("P",), "history.rename": ("R",),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('regenrate = "ctrl+k"', "did you mean regenerate?"),
        ('zzz = "ctrl+k"', "config keys"),
        ('new = "hyper+k"', '"hyper+k", which is no key'),
        ("new = 5", "is 5; it must be a key"),
        ('new = ["ctrl+a", 5]', "names 5, which is no key"),
        ('new = "n"', "text is typed with it"),
        ('send = "space"', "text is typed with it"),
        ("quit = []", "must have a key"),
        ('new = "ctrl+l"', "that of history (Conversations), too"),
        ('edit_message = "r"', "that of regenerate"),
        ('"history.pin" = "d"', "that of history.delete"),
        ('regenerate = "ctrl+q"', "that of quit"),
    ],
)
def test_what_cannot_be_is_said_with_its_line_and_the_rest_applies(
    folders: Path, line: str, said: str
) -> None:
    found = read(folders, f'[keys]\nhelp = "ctrl+k"\n{line}\n')
    assert found.keys == {"help": ("ctrl+k",)}
    (problem,) = found.problems
    assert said in problem
    assert "line 3" in problem


def test_a_hostile_table_is_survived(folders: Path) -> None:
    for text in ("keys = 3", "[keys]\nnew = {a = 1}", '[keys]\n"\\u001b[31m" = "\\u001b"'):
        found = read(folders, text)
        assert found.keys == {}
        assert found.problems
        assert all("\x1b" not in problem for problem in found.problems)


def test_keys_can_change_places(folders: Path) -> None:
    found = read(folders, '[keys]\nnew = "ctrl+l"\nhistory = "ctrl+n"\n')
    assert found.problems == ()
    assert set(found.keys) == {"new", "history"}


def test_the_command_prints_a_table_that_says_the_same(folders: Path) -> None:
    from mistral_tui.config_command import app

    read(folders, '[keys]\nnew = "ctrl+k"\n"history.pin" = "P"\nfind = "?"\n')
    printed = CliRunner().invoke(app, ["keys"])
    assert printed.exit_code == 0
    assert all(action.id in printed.output for action in ACTIONS)
    again = read(folders, printed.output)
    assert again.problems == ()
    assert again.keys == {"new": ("ctrl+k",), "history.pin": ("P",), "find": ("question_mark",)}
    every = "\n".join(
        line.removeprefix("# ") if " = " in line else line for line in printed.output.splitlines()
    )
    assert read(folders, every).problems == ()


# ── the app ─────────────────────────────────────────────────────────────────────────


async def test_sending_and_new_lines_can_be_swapped(folders: Path) -> None:
    folders.write_text('[keys]\nsend = "ctrl+s"\nnewline = "enter"\n')
    async with chat(FakeEngine()) as (app, pilot):
        assert "Ctrl+S sends, Enter: new line" in screen_text(app)
        await pilot.press(*"one", "enter", *"two")
        assert app.prompt.text == "one\ntwo"
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: len(app.session.messages) == 2)
        assert app.session.messages[0].text == "one\ntwo"


async def test_a_key_that_a_text_field_knows_can_be_the_apps(folders: Path) -> None:
    folders.write_text('[keys]\nhistory = "ctrl+e"\n')
    async with chat(FakeEngine()) as (app, pilot):
        await pilot.press("x", "ctrl+e")
        await wait_until(pilot, lambda: isinstance(app.screen, HistoryScreen))
        await pilot.press("escape", "ctrl+l")
        await pilot.pause()
        assert not isinstance(app.screen, HistoryScreen)


async def test_keys_of_conversation_and_screens_follow(folders: Path) -> None:
    folders.write_text(
        '[keys]\nregenerate = "R"\nline_down = ["down", "s"]\ndelete_turn = []\n'
        '"history.pin" = "P"\n"history.leave" = "ctrl+x"\n'
    )
    async with chat(FakeEngine([Reply(), Reply(["Again."])]), size=(110, 30)) as (app, pilot):
        await ask(pilot, "Hello")
        await pilot.press("tab", "K", "x", "r")
        await pilot.pause()
        assert [m.text for m in app.session.messages] == ["Hello", "Hello there."]
        await pilot.press("R")
        await wait_until(pilot, lambda: "Again." in screen_text(app))
        await pilot.press("ctrl+l")
        await wait_until(pilot, lambda: "P pins" in screen_text(app))
        await pilot.press("down", "down", "P")
        await wait_until(pilot, lambda: "Pinned" in screen_text(app))
        await pilot.press("ctrl+x")
        await wait_until(pilot, lambda: not isinstance(app.screen, HistoryScreen))


async def test_the_list_above_the_prompt_follows(folders: Path) -> None:
    folders.write_text('[keys.menu]\ntake = "ctrl+y"\ndown = "ctrl+n"\n')
    async with chat(FakeEngine()) as (app, pilot):
        await pilot.press("slash")
        await wait_until(pilot, lambda: app.prompt.menu.open)
        assert "Ctrl+Y takes" in words_on_screen(app)
        await pilot.press("ctrl+n", "ctrl+y")
        await wait_until(pilot, lambda: app.prompt.text.startswith("/"))
        assert len(app.prompt.text) > 2


async def test_what_is_shown_are_the_keys_in_effect(folders: Path) -> None:
    folders.write_text('[keys]\nhelp = "f10"\nnew = "ctrl+k"\nfind = "?"\ncopy_answer = []\n')
    async with chat(FakeEngine(), size=(120, 50)) as (app, pilot):
        assert "F10 help" in last_row(app)
        await ask(pilot, "Hello")
        await pilot.press("tab")
        await pilot.pause()
        assert "? find" in screen_text(app)
        await pilot.press("f10")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.press(*"new conv")
        await wait_until(pilot, lambda: "Ctrl+K" in screen_text(app))
        await pilot.press("escape", "ctrl+p")
        await wait_until(pilot, lambda: "Search for commands" in screen_text(app))
        await pilot.press(*"copy the last")
        await wait_until(pilot, lambda: "Copy the last answer" in screen_text(app))
        assert "Ctrl+O" not in screen_text(app)
        await pilot.press("escape", "tab", "slash", *"new")
        await wait_until(pilot, lambda: "Ctrl+K" in screen_text(app))


async def test_wrong_keys_are_said_and_the_app_is_there(folders: Path) -> None:
    folders.write_text('[keys]\nnew = "no such key"\n')
    async with chat(FakeEngine(), size=(120, 40)) as (app, pilot):
        await wait_until(pilot, lambda: "which is no key" in words_on_screen(app))
        await pilot.press("ctrl+l")
        await wait_until(pilot, lambda: isinstance(app.screen, HistoryScreen))


async def test_hints_show_in_the_conversation_only() -> None:
    async with chat(FakeEngine(), size=(60, 20)) as (app, pilot):
        await ask(pilot, "Hello")
        assert "Tab prompt" not in screen_text(app)
        await pilot.press("tab")
        await wait_until(pilot, lambda: "Tab prompt" in screen_text(app))
        assert "e edit" in screen_text(app)
        await pilot.press("tab")
        await wait_until(pilot, lambda: "Tab prompt" not in screen_text(app))


async def test_an_action_of_the_conversation_runs_from_a_command() -> None:
    async with chat(FakeEngine([Reply(["sea "])])) as (app, pilot):
        await ask(pilot, "Hello")
        await pilot.press("slash", *"find", "enter")
        await wait_until(pilot, lambda: "Find" in screen_text(app))
        await pilot.press(*"sea")
        await wait_until(pilot, lambda: "1 of 1" in screen_text(app))


async def test_help_narrows_to_what_is_typed_by_word_or_key() -> None:
    async with chat(FakeEngine(), size=(120, 40)) as (app, pilot):
        await pilot.press("f1")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.press(*"ctrl+l")
        await wait_until(pilot, lambda: "All conversations" in screen_text(app))
        assert "Start a new conversation" not in screen_text(app)
        await pilot.press("ctrl+u", *"zzzz")
        await wait_until(pilot, lambda: "Nothing found." in screen_text(app))
