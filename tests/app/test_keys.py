"""Keys of the user's own hold everywhere, and are what is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.command import CommandPalette
from textual.widgets import Input

from fake_engine import (
    FakeEngine,
    Load,
    ask,
    chat,
    each_size,
    last_row,
    screen_rows,
    screen_text,
    toasts,
    wait_until,
    words_on_screen,
)
from mistral_tui import keys, slash
from mistral_tui.actions import BY_ID, key_of, line, pressed
from mistral_tui.app import ChatApp
from mistral_tui.screens.help import HelpScreen
from mistral_tui.screens.history import HistoryScreen
from mistral_tui.screens.settings import SettingsScreen
from mistral_tui.widgets.hints import Hints


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's config file, where nobody else's is."""
    for name in ("DATA", "STATE", "CONFIG"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))
    (tmp_path / "config").mkdir()
    yield tmp_path / "config" / "config.toml"
    keys.use({})


# ── what is shown ───────────────────────────────────────────────────────────────────


def test_the_shown_key_is_the_one_in_effect() -> None:
    assert (key_of("new"), BY_ID["newline"].shown_keys) == (
        "Ctrl+N",
        "Ctrl+J, Shift+Enter, Alt+Enter",
    )
    keys.use({"new": ("ctrl+k",), "help": (), "tokens.leave": ()})
    assert key_of("tokens.leave") == "“Leave”"
    assert key_of("new") == "Ctrl+K"
    assert key_of("help") == "/help"
    assert BY_ID["help"].shown_keys == ""
    assert line(("new", "begins"), ("help", "helps"), ("menu.up menu.down", "choose")) == (
        "Ctrl+K begins · ↑↓ choose"
    )
    assert pressed("app", "ctrl+k") is BY_ID["new"]
    assert pressed("app", "ctrl+n") is None
    keys.use({"new": ("ctrl+at",)})
    assert pressed("app", "ctrl+@") is pressed("app", "ctrl+space") is BY_ID["new"]
    keys.use({"new": ("ctrl+k",)})
    [choice] = [c for c in slash.choices("new", ()) if c.label == "/new"]
    assert choice.keys == "Ctrl+K"


# ── in the app ──────────────────────────────────────────────────────────────────────


async def test_send_and_newline_change_places(own: Path) -> None:
    own.write_text('[keys]\nsend = "ctrl+s"\nnewline = "enter"\n')
    engine = FakeEngine()
    async with chat(engine) as (app, pilot):
        assert app.prompt.placeholder == "Write a message…  (Ctrl+S sends, Enter: new line)"
        await pilot.press("a", "enter", "b", "ctrl+j")
        assert app.prompt.text == "a\nb"
        assert not engine.asked
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: engine.said)
        assert engine.said[0][-1] == ("user", "a\nb")


async def test_a_key_of_the_app_goes_before_the_text_field_s_own(own: Path) -> None:
    own.write_text('[keys]\nhelp = "ctrl+k"\nearlier = "ctrl+up"\n"menu.take" = "ctrl+y"\n')
    async with chat(FakeEngine()) as (app, pilot):
        await ask(pilot, "first")
        await pilot.press("ctrl+k")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.press("escape")
        await pilot.press("f1")
        await pilot.pause()
        assert not isinstance(app.screen, HelpScreen)
        await pilot.press("up")
        assert app.prompt.text == ""
        await pilot.press("ctrl+up")
        assert app.prompt.text == "first"
        app.prompt.put("")
        await pilot.press("slash", "n", "e", "w")
        await wait_until(pilot, lambda: app.prompt.menu.open)
        assert "Ctrl+Y takes" in screen_text(app)
        await pilot.press("ctrl+y")
        assert app.prompt.text == "/new"
        assert "Ctrl+K help" in last_row(app)


async def test_quit_and_the_palette_can_be_moved(own: Path) -> None:
    own.write_text(
        '[keys]\nquit = "f10"\ncommand_palette = "ctrl+space"\nfocus_other = "f16"\n'
        '"code.complete" = "f18"\n'
    )
    async with chat(FakeEngine()) as (app, pilot):
        assert toasts(app) == []
        await ask(pilot, "hello")
        await pilot.press("tab")
        assert app.prompt.has_focus
        await pilot.press("f16")
        assert app.transcript.has_focus
        await pilot.press("ctrl+q", "ctrl+p")
        await pilot.pause()
        assert app.is_running
        assert not isinstance(app.screen, CommandPalette)
        await pilot.press("ctrl+@")  # as most terminals send it
        await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
        await pilot.press("f10")
        await wait_until(pilot, lambda: app.return_code is not None or not app.is_running)


async def test_keys_of_the_transcript(own: Path) -> None:
    own.write_text(
        '[keys]\nedit_message = "ctrl+e"\nmessage_above = "p"\nreplay = []\nfind = "?"\n'
    )
    async with chat(FakeEngine()) as (app, pilot):
        await ask(pilot, "hello")
        app.transcript.focus()
        await pilot.press("K")
        assert app.transcript.cursor == ""
        await pilot.press("p")
        assert app.transcript.cursor != ""
        await pilot.press("e")
        assert app.editing is None
        await pilot.press("ctrl+e")
        assert app.editing is not None


async def test_keys_of_a_screen_and_its_help_line(own: Path) -> None:
    own.write_text(
        '[keys.history]\npin = "P"\ndelete = []\n'
        '[keys.settings]\nkeep = "ctrl+s"\nsave_preset = "f10"\nleave = "f4"\n'
    )
    async with chat(FakeEngine(), size=(120, 40)) as (app, pilot):
        await ask(pilot, "hello")
        await pilot.press("ctrl+l")
        await wait_until(pilot, lambda: "hello" in screen_text(app))
        assert "P pins · r renames · u undo" in screen_text(app)
        await pilot.press("down", "p", "d")
        await pilot.pause()
        assert "Pinned" not in screen_text(app)
        await pilot.press("P")
        await wait_until(pilot, lambda: "Pinned" in screen_text(app))
        assert isinstance(app.screen, HistoryScreen)
        await pilot.press("escape", "f3")
        await wait_until(pilot, lambda: isinstance(app.screen, SettingsScreen))
        assert "Ctrl+S keeps · F4 leaves · F10 saves" in words_on_screen(app)
        await pilot.press("escape", "enter")
        await pilot.pause()
        assert isinstance(app.screen, SettingsScreen)
        await pilot.press("ctrl+s")
        assert not isinstance(app.screen, SettingsScreen)


async def test_a_bad_key_is_a_notice_and_the_rest_holds(own: Path) -> None:
    own.write_text('[keys]\nnew = "ctrl+l"\nhelp = "f10"\n')
    async with chat(FakeEngine(), size=(120, 40)) as (app, pilot):
        await wait_until(pilot, lambda: any("Ctrl+L" in said for said in toasts(app)))
        await pilot.press("f10")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))


async def test_an_app_without_own_keys_has_ours_again(own: Path) -> None:
    own.write_text('[keys]\nnew = "ctrl+k"\n')
    async with chat(FakeEngine()):
        assert key_of("new") == "Ctrl+K"
    own.unlink()
    async with chat(FakeEngine()) as (app, _):
        assert key_of("new") == "Ctrl+N"
        assert "F1 help" in last_row(app)


async def test_notices_name_the_keys_in_effect(own: Path) -> None:
    own.write_text('[keys]\nrestart = "f17"\nsend = "ctrl+s"\nnew = []\n')
    engine = FakeEngine(loads=[Load(fails=("load_failed", "No."))])
    async with chat(engine, size=(120, 40)) as (app, pilot):
        assert "F17 tries again" in last_row(app)
        assert "Ctrl+S sends" in screen_text(app)
        await pilot.press("f1")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await wait_until(pilot, lambda: "Start the engine again" in screen_text(app))
        [row] = [row for row in screen_rows(app) if "Start the engine again" in row]
        assert "F17 " in row
        await pilot.press(*"new", "space", *"conv")
        await wait_until(pilot, lambda: "Scroll" not in screen_text(app))
        assert "Start a new conversation." in screen_text(app)


async def test_help_is_grouped_and_narrows_by_key_title_and_help(own: Path) -> None:
    async with chat(FakeEngine(), size=(120, 60)) as (app, pilot):
        await pilot.press("f1")
        await wait_until(pilot, lambda: "Anywhere" in screen_text(app))
        field = app.screen.query_one(Input)
        for typed, found, place in (
            ("ctrl+n", "Start a new conversation.", "Anywhere"),
            ("Thinking", "Fold or unfold the thinking", "Conversation"),
            ("measure it", "Have the loaded model read", "Token view"),
            ("rename", "Type another title.", "Conversations screen"),
            ("{", "Choose the code block", "Conversation"),
        ):
            field.value = typed
            await wait_until(pilot, lambda found=found: found in screen_text(app))  # type: ignore[misc]
            await wait_until(pilot, lambda: "everything is saved" not in screen_text(app))
            assert place in screen_text(app)
            assert found in screen_text(app)
        field.value = "[bold]xyzzy[/]"
        await wait_until(pilot, lambda: "Nothing found." in screen_text(app))
        field.value = "q"
        await wait_until(pilot, lambda: "everything is saved." in screen_text(app))
        async for _ in each_size(pilot):
            assert "Help" in screen_text(app)


async def test_commands_run_on_the_transcript_from_the_prompt() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        await ask(pilot, "hello")
        for command in ("/message-above", "/message-above"):
            app.prompt.focus()
            app.prompt.put(command)
            await pilot.press("enter")
            await pilot.pause()
        await wait_until(pilot, lambda: app.transcript.cursor)
        app.prompt.focus()
        app.prompt.put("/edit-message")
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.editing is not None)
        assert app.focused is app.prompt


async def test_the_palette_runs_what_is_the_transcript_s() -> None:
    async with chat(FakeEngine(), size=(120, 40)) as (app, pilot):
        await ask(pilot, "hello")
        await pilot.press("ctrl+p")
        await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
        app.screen.query_one(Input).value = "Message above"
        await wait_until(pilot, lambda: "Choose the message above." in screen_text(app))
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.transcript.cursor)
        assert app.focused is app.transcript


# ── the line of hints ───────────────────────────────────────────────────────────────


def hints_of(app: ChatApp) -> str:
    return screen_rows(app)[-2].strip()


async def test_hints_show_while_the_conversation_has_the_focus(own: Path) -> None:
    own.write_text('[keys]\nedit_message = "E"\nregenerate = []\n')
    async with chat(FakeEngine()) as (app, pilot):
        await ask(pilot, "hello")
        line_ = app.query_one(Hints)
        assert not line_.display
        await pilot.press("tab")
        await wait_until(pilot, lambda: line_.display)
        async for width, _ in each_size(pilot):
            shown = hints_of(app)
            assert shown.startswith("Tab prompt  K message ↑  J message ↓  E edit  y copy")
            assert ("/ find" in shown) == (width > 60)
            assert "again" not in shown
            assert len(shown) <= width
        await pilot.press("tab")
        await wait_until(pilot, lambda: not line_.display)
        assert app.focused is app.prompt


async def test_hints_stay_away_from_other_screens() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        app.transcript.focus()
        await pilot.press("f1")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.press("escape")
        await wait_until(pilot, lambda: not isinstance(app.screen, HelpScreen))
        assert app.query_one(Hints).display == (app.focused is app.transcript)
