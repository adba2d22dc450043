"""The app under the Pilot, with a scripted engine."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from textual import events
from textual.command import CommandPalette
from textual.pilot import Pilot

from fake_engine import (
    LOST,
    FakeEngine,
    Load,
    Reply,
    ask,
    card,
    chat,
    eventually,
    screen_rows,
    screen_text,
    wait_until,
)
from mistral_tui import app as app_module
from mistral_tui import clipboard, paths, themes
from mistral_tui.actions import ACTIONS
from mistral_tui.app import ChatApp
from mistral_tui.clipboard import CopyResult
from mistral_tui.schema import StoreError
from mistral_tui.screens.first_run import FirstRun
from mistral_tui.screens.help import HelpScreen
from mistral_tui.store import AsyncStore, Store

ROOT = Path(__file__).parents[2]
SIZES = [(60, 20), (80, 24), (120, 40), (200, 60)]
LONG = [f"line {n}\n\n" for n in range(80)]
HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]52;c;aGk=\x07 \x9b2J [/INST] [bold]b[/bold] [@click=app.quit]q[/] "
    "\u202eevil\u202c \x00\x08\x7f \ud800 </s> $error"
)


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "STATE", "CONFIG"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))


def toasts(app: ChatApp) -> list[str]:
    return [notification.message for notification in app._notifications]


def words_on_screen(app: ChatApp) -> str:
    """What is shown, without line breaks and frames (notices are narrow)."""
    return " ".join(screen_text(app).replace("▎", " ").replace("▌", " ").split())


def reading(app: ChatApp) -> list[str]:
    """The conversation in view, without its scroll bar."""
    return [row[:-3] for row in screen_rows(app)[: app.transcript.size.height]]


async def each_size(pilot: Pilot[int]) -> AsyncIterator[tuple[int, int]]:
    """The terminal in one size after the other."""
    for size in SIZES:
        await pilot.resize_terminal(*size)
        await wait_until(pilot, lambda size=size: pilot.app.size == size)  # type: ignore[misc]
        await pilot.pause()
        yield size


def last_row(app: ChatApp) -> str:
    return screen_rows(app)[-1]


# ── at the start ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [SIZES[0], SIZES[-1]])
async def test_the_prompt_takes_keys_while_the_model_loads(size: tuple[int, int]) -> None:
    gate = asyncio.Event()
    loads = [Load(progress=[("reading", 30_000_000, 100_000_000)], gate=gate)]
    engine = FakeEngine(loads=loads)
    async with chat(engine, size=size, settled=False) as (app, pilot):
        await wait_until(pilot, lambda: app.session.engine == "loading")
        assert app.focused is app.prompt
        await pilot.press(*"hi")
        await wait_until(pilot, lambda: "reading 30% of 100 MB" in last_row(app))
        assert "hi" in screen_text(app)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.session.waiting)
        gate.set()
        await wait_until(pilot, lambda: "Hello there." in screen_text(app))
        assert engine.said == [[("user", "hi")]]


async def test_what_is_sent_before_the_session_is_there_is_sent_then() -> None:
    engine = FakeEngine()
    entered = asyncio.Event()

    async def connect() -> tuple[FakeEngine, AsyncStore]:
        await entered.wait()
        return engine, await AsyncStore.open(None)

    app = ChatApp(app_module.ModelChoice("x"), connect, sampling=app_module.SamplingChoice())
    async with app.run_test() as pilot:
        await pilot.press(*"quick", "enter", "escape", "pageup", "ctrl+r")
        assert not app.begun
        entered.set()
        await wait_until(pilot, lambda: "Hello there." in screen_text(app))
        assert app.prompt.text == ""
    await app.leave()


async def test_the_welcome_names_the_model_in_the_middle_at_every_size() -> None:
    loads = [Load(card=card(notice="A tiny demo model: it is often wrong."))]
    async with chat(FakeEngine(loads=loads)) as (app, pilot):
        async for size in each_size(pilot):
            await wait_until(pilot, lambda: "7.2 B parameters" in screen_text(app))
            rows = screen_rows(app)
            assert (len(rows[0]), len(rows)) == size
            for words in ("Fake-7B", "A tiny demo model", "F1 help", "7.2 B parameters"):
                row = next(row for row in rows if words in row)
                left, right = len(row) - len(row.lstrip()), len(row) - len(row.rstrip())
                assert abs(left - right) <= 2, row


# ── typing and sending ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", ["ctrl+j", "shift+enter", "alt+enter"])
async def test_keys_for_a_new_line_do_not_send(key: str) -> None:
    async with chat(FakeEngine()) as (app, pilot):
        await pilot.press("a", key, "b")
        assert app.prompt.text == "a\nb"
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.session.messages)
        assert app.session.messages[0].text == "a\nb"
        assert app.prompt.text == ""


async def test_enter_on_nothing_sends_nothing() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        await pilot.press("space", "enter", "enter")
        await pilot.pause()
        assert not app.session.answering
        assert app.session.messages == []


async def test_keys_typed_right_after_enter_are_the_next_message() -> None:
    engine = FakeEngine([Reply(holds_at=0)])
    async with chat(engine) as (app, pilot):
        for key in ("a", "enter", "b", "enter", "enter"):  # faster than the app can follow
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await wait_until(pilot, lambda: engine.asked)
        await wait_until(pilot, lambda: app.prompt.text == "b")
        assert engine.said == [[("user", "a")]]


async def test_while_an_answer_runs_the_text_stays_in_the_prompt() -> None:
    engine = FakeEngine([Reply(holds_at=1)])
    async with chat(engine) as (app, pilot):
        await pilot.press("a", "enter")
        await wait_until(pilot, lambda: "Hello" in screen_text(app))
        await pilot.press("b", "enter")
        await wait_until(pilot, lambda: toasts(app))
        assert "still answering; Esc stops it" in toasts(app)[0]
        assert app.prompt.text == "b"
        await pilot.press("escape")
        await wait_until(pilot, lambda: not app.session.answering)
        assert "stopped" in screen_text(app)
        assert app.session.messages[1].status == "cancelled"
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(engine.asked) == 2)


async def test_arrows_recall_at_the_edges_and_move_inside() -> None:
    async with chat(FakeEngine(), size=(60, 20)) as (app, pilot):
        for text in ("first", "second\nsecond line"):
            await ask(pilot, text)
        await pilot.press(*"new", "up")
        assert app.prompt.text == "second\nsecond line"
        await pilot.press("up")  # from its last line to its first
        assert app.prompt.cursor_location[0] == 0
        await pilot.press("up")
        assert app.prompt.text == "first"
        await pilot.press("up")  # there is nothing older
        assert app.prompt.text == "first"
        await pilot.press("down")
        assert app.prompt.text == "second\nsecond line"
        await pilot.press("down")
        assert app.prompt.text == "new"


async def test_up_moves_through_the_rows_of_one_wrapped_line() -> None:
    async with chat(FakeEngine(), size=(60, 20)) as (app, pilot):
        await ask(pilot, "first")
        long = "word " * 30
        app.prompt.put(long)
        await pilot.press("up")
        assert app.prompt.text == long
        await pilot.press("up", "up")
        assert app.prompt.text == "first"


async def test_pasted_lines_stay_lines_and_control_bytes_go() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        app.post_message(events.Paste("one\rtwo\r\nthree\n\x1b]52;c;aGk=\x07"))
        await wait_until(pilot, lambda: app.prompt.text)
        assert app.prompt.text == "one\ntwo\nthree\n]52;c;aGk="


async def test_the_prompt_keeps_the_keys_of_a_text_field() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        await pilot.press(*"one", "space", *"two", "ctrl+w")
        assert app.prompt.text == "one "
        await pilot.press("ctrl+z")
        assert app.prompt.text == "one two"
        await pilot.press("ctrl+a", "ctrl+k")
        assert app.prompt.text == ""
        await pilot.press(*"abc", "ctrl+u")
        assert app.prompt.text == ""


# ── scrolling ───────────────────────────────────────────────────────────────────────


async def test_paging_works_from_the_prompt_and_streaming_leaves_the_view() -> None:
    second = Reply(LONG, holds_at=40)
    engine = FakeEngine([Reply(LONG), second])
    async with chat(engine) as (app, pilot):
        await ask(pilot, "go")
        assert "more below" not in screen_text(app)
        assert "Ctrl+End" not in screen_text(app)
        await pilot.press("g", "enter")
        await wait_until(pilot, lambda: "line 39" in screen_text(app))
        await pilot.press("pageup", "pageup")
        await wait_until(pilot, lambda: "Ctrl+End" in screen_text(app))
        assert app.focused is app.prompt
        seen, tokens = reading(app), app.status.status.tokens
        second.release.set()
        await wait_until(pilot, lambda: not app.session.answering)
        await pilot.pause(0.1)
        assert app.status.status.tokens > tokens
        assert reading(app) == seen
        await pilot.press("pagedown")
        assert reading(app) != seen
        await pilot.press("ctrl+end")
        await wait_until(pilot, lambda: "line 79" in screen_text(app))
        assert "more below" not in screen_text(app)
        assert "Ctrl+End" not in screen_text(app)


async def test_a_new_message_follows_again() -> None:
    async with chat(FakeEngine([Reply(LONG)])) as (app, pilot):
        await ask(pilot, "go")
        await pilot.press("pageup")
        await ask(pilot, "on")
        await wait_until(pilot, lambda: "Hello there." in screen_text(app))
        assert "Ctrl+End" not in screen_text(app)


async def test_an_error_shows_itself_wherever_the_user_reads() -> None:
    engine = FakeEngine([Reply(LONG)])
    async with chat(engine) as (app, pilot):
        await ask(pilot, "go")
        await pilot.press("pageup", "pageup")
        engine.die()
        await wait_until(pilot, lambda: "▎ restarts it." in screen_text(app))
        await wait_until(pilot, lambda: "Ctrl+End" not in screen_text(app))


# ── the status line ─────────────────────────────────────────────────────────────────

WANTED = {
    60: ("Fake-7B", "31.5 tok/s", "context 1,243/8,192"),
    80: ("Fake-7B", "31.5 tok/s", "context 1,243/8,192", "first 0.25 s", "F1 help"),
    120: ("bf16 cpu", "reused 1,000 of 1,240", "context 1,243/8,192", "first 0.25 s", "F1 help"),
    200: ("bf16 cpu", "reused 1,000 of 1,240", "context 1,243/8,192", "first 0.25 s", "F1 help"),
}


async def test_the_status_line_fits_every_size_and_keeps_what_matters() -> None:
    engine = FakeEngine([Reply(prompt=1240, reused=1000), Reply(holds_at=2)])
    async with chat(engine) as (app, pilot):
        await ask(pilot, "go")
        async for width, _ in each_size(pilot):
            row = last_row(app)
            assert app.status.size.height == 1
            assert len(row) == width
            for words in WANTED[width]:
                assert words in row
        await pilot.press("a", "enter")
        await wait_until(pilot, lambda: "2 tokens Esc stops" in last_row(app))
        async for _ in each_size(pilot):
            assert "2 tokens Esc stops" in last_row(app)
            assert "context 42/8,192" in last_row(app)
        engine.die()
        await wait_until(pilot, lambda: not app.session.answering)
        async for _ in each_size(pilot):
            assert "engine stopped · Ctrl+R restarts it" in last_row(app)


async def test_a_silent_engine_is_noticed() -> None:
    engine = FakeEngine()
    async with chat(engine) as (app, pilot):
        engine.silence = 12.0
        await wait_until(pilot, lambda: "engine silent for 12 s" in last_row(app))
        engine.silence = 0.0
        await wait_until(pilot, lambda: "silent" not in last_row(app))


# ── help, palette, themes ───────────────────────────────────────────────────────────


async def test_help_opens_lists_every_action_and_closes() -> None:
    async with chat(FakeEngine(), size=(120, 60)) as (app, pilot):
        for closing in ("f1", "escape", "q"):
            await pilot.press("f1")
            await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
            await pilot.pause()
            page = screen_text(app)
            for action in ACTIONS:
                assert action.help.split()[0] in page
                assert action.shown_keys.split(", ")[0] in page
            assert "/models/fake" in page
            assert "engine.log" in page
            await pilot.press(closing)
            assert not isinstance(app.screen, HelpScreen)
        await pilot.press("x")
        assert app.prompt.text == "x"


async def test_the_palette_finds_every_action_by_its_title() -> None:
    async with chat(FakeEngine(), size=(120, 40)) as (app, pilot):
        for action in ACTIONS:
            if not action.palette:
                continue
            await pilot.press("ctrl+p")
            await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
            app.screen.query_one("Input").value = action.title  # type: ignore[attr-defined]
            await wait_until(pilot, lambda action=action: action.help in screen_text(app))  # type: ignore[misc]
            await pilot.press("escape")
            await wait_until(pilot, lambda: not isinstance(app.screen, CommandPalette))


async def test_the_other_look_is_remembered() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        assert app.theme == "mistral-dark"
        await pilot.press("ctrl+t")
        assert app.theme == "mistral-light"
    async with chat(FakeEngine()) as (app, pilot):
        assert app.theme == "mistral-light"
        await pilot.press("ctrl+t")
        assert app.theme == "mistral-dark"
    assert themes.remembered(paths.state_dir()) == "mistral-dark"


async def test_an_unknown_theme_is_said() -> None:
    async with chat(FakeEngine(), theme_name="\x1b[31mneon[/]") as (app, _):
        assert any("There is no theme 'neon[/]'" in message for message in toasts(app))
        assert screen_text(app)


# ── copying ─────────────────────────────────────────────────────────────────────────

CODE = "Two:\n\n```python\nprint(1)\n```\n\nand\n\n```\ntwo\n```\n"


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []

    def copy(text: str, **_: object) -> CopyResult:
        texts.append(text)
        return CopyResult(True, "test", "Copied to the clipboard (test).")

    monkeypatch.setattr(clipboard, "copy", copy)
    return texts


async def test_the_answer_and_its_code_blocks_are_copied(copied: list[str]) -> None:
    async with chat(FakeEngine([Reply((CODE,))])) as (app, pilot):
        await pilot.press("ctrl+o", "ctrl+g")
        await wait_until(pilot, lambda: len(toasts(app)) == 2)
        assert copied == []
        await ask(pilot, "code")
        await pilot.press("ctrl+o")
        await wait_until(pilot, lambda: copied == [CODE])
        for count in (2, 3, 4):
            await pilot.press("ctrl+g")
            await wait_until(pilot, lambda count=count: len(copied) == count)  # type: ignore[misc]
        assert [text.strip() for text in copied[1:]] == ["two", "print(1)", "two"]
        assert any("Copied to the clipboard (test)." in message for message in toasts(app))


async def test_a_copy_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CopyResult(False, "", "Nothing was copied: [bold]xclip\x1b[0m failed.")
    monkeypatch.setattr(clipboard, "copy", lambda *_, **__: result)
    async with chat(FakeEngine(), size=(120, 40)) as (app, pilot):
        await ask(pilot, "hi")
        await pilot.press("ctrl+o")
        await wait_until(pilot, lambda: "[bold]xclip failed." in " ".join(toasts(app)))
        await wait_until(pilot, lambda: "[bold]xclip failed." in words_on_screen(app))
        assert [n.severity for n in app._notifications] == ["error"]


async def test_y_copies_only_in_the_conversation(copied: list[str]) -> None:
    async with chat(FakeEngine()) as (app, pilot):
        await ask(pilot, "hi")
        await pilot.press("y")
        assert app.prompt.text == "y"
        await pilot.press("tab")
        assert app.focused is app.transcript
        await pilot.press("y")
        await wait_until(pilot, lambda: copied == ["Hello there."])
        await pilot.press("tab", "z")
        assert app.prompt.text == "yz"


async def test_y_copies_what_is_selected(copied: list[str]) -> None:
    async with chat(FakeEngine([Reply(("alpha beta",))])) as (app, pilot):
        await ask(pilot, "hi")
        await pilot.press("tab")
        row = next(y for y, text in enumerate(screen_rows(app)) if "alpha" in text)
        column = screen_rows(app)[row].index("alpha")
        await pilot.mouse_down(offset=(column, row))
        await pilot.hover(offset=(column + 5, row))
        await pilot.mouse_up(offset=(column + 5, row))
        await pilot.press("y")
        await wait_until(pilot, lambda: copied)
        assert copied == ["alpha"]


# ── engine states ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [SIZES[0], SIZES[-1]])
async def test_a_failed_load_shows_its_sentence_and_can_be_tried_again(
    size: tuple[int, int],
) -> None:
    sentence = "There is no model in /m: params.json is missing."
    gate = asyncio.Event()
    engine = FakeEngine(loads=[Load(fails=("checkpoint", sentence)), Load(gate=gate)])
    async with chat(engine, size=size) as (app, pilot):
        await wait_until(pilot, lambda: "params.json is missing" in screen_text(app))
        assert "Ctrl+R tries again" in last_row(app)
        await pilot.press("ctrl+r", "ctrl+r")
        gate.set()
        await wait_until(pilot, lambda: app.session.engine == "ready")
        await wait_until(pilot, lambda: "params.json is missing" not in screen_text(app))
        assert len(engine.loads_asked) == 2


async def test_a_lost_engine_is_said_and_ctrl_r_goes_on() -> None:
    engine = FakeEngine([Reply(("half", " way"), lost=True)])
    async with chat(engine, size=(120, 40)) as (app, pilot):
        await pilot.press("a", "enter")
        await wait_until(pilot, lambda: LOST in screen_text(app))
        page = screen_text(app)
        assert "half way" in page
        assert "broken off" in page
        assert "Ctrl+R restarts it" in page
        await pilot.press("ctrl+r")
        await wait_until(pilot, lambda: app.session.engine == "ready")
        await ask(pilot, "go on")
        assert engine.said[1] == [("user", "a"), ("assistant", "half way"), ("user", "go on")]


async def test_what_waits_for_a_lost_engine_can_be_taken_back() -> None:
    engine = FakeEngine([Reply((), lost=True)])
    async with chat(engine) as (app, pilot):
        await pilot.press(*"precious", "enter")
        await wait_until(pilot, lambda: app.session.waiting)
        await pilot.press("b", "enter")
        await wait_until(pilot, lambda: toasts(app))
        assert "Ctrl+R starts it, Esc takes it back" in toasts(app)[-1]
        await pilot.press("backspace", "escape")
        await wait_until(pilot, lambda: app.prompt.text == "precious")
        assert app.session.messages == []


async def test_a_prompt_too_long_comes_back_to_the_prompt() -> None:
    sentence = "The conversation takes 9,000 tokens and the model's context is 8,192."
    engine = FakeEngine([Reply((), fails=("context_full", sentence))])
    async with chat(engine, size=(120, 40)) as (app, pilot):
        await pilot.press(*"long", "enter")
        await wait_until(pilot, lambda: app.prompt.text == "long")
        await wait_until(pilot, lambda: sentence in toasts(app))
        await pilot.press("backspace", "enter")
        await wait_until(pilot, lambda: "Hello there." in screen_text(app))
        assert engine.said[1] == [("user", "lon")]


async def test_a_message_that_cannot_be_saved_returns_to_the_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with chat(FakeEngine(), size=(120, 40)) as (app, pilot):

        def full(*_: object) -> None:
            raise StoreError("The disk is full.")

        monkeypatch.setattr(Store, "_add", full)
        await pilot.press(*"precious", "enter")
        await wait_until(pilot, lambda: "The disk is full." in words_on_screen(app))
        assert app.prompt.text == "precious"


async def test_a_new_conversation_and_a_restart_by_keys() -> None:
    engine = FakeEngine()
    async with chat(engine) as (app, pilot):
        await ask(pilot, "hi")
        await pilot.press("ctrl+n")
        await wait_until(pilot, lambda: "7.2 B parameters" in screen_text(app))
        assert "Hello there." not in screen_text(app)
        assert "context 0/8,192" in last_row(app)
        gate = asyncio.Event()
        engine.loads.append(Load(gate=gate))
        await pilot.press("ctrl+r", "ctrl+r")
        gate.set()
        await wait_until(pilot, lambda: engine.started == 2 and app.session.engine == "ready")
        await ask(pilot, "again")
        assert engine.said[-1] == [("user", "again")]
        assert engine.started == 2


# ── the first run ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", SIZES)
async def test_the_first_run_offers_the_starter_and_enter_fetches_it(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "_starter_is_there", lambda: False)
    engine = FakeEngine()
    async with chat(engine, size=size, model="starter", settled=False) as (app, pilot):
        await wait_until(pilot, lambda: isinstance(app.screen, FirstRun))
        await wait_until(pilot, lambda: "Get the starter model" in screen_text(app))
        assert engine.requests == []
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.session.engine == "ready")
        assert [(r.model, r.fetch) for r in engine.loads_asked] == [("starter", True)]
        await pilot.press("x")
        assert app.prompt.text == "x"


async def test_escape_leaves_the_first_run_and_ctrl_r_offers_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app_module, "_starter_is_there", lambda: False)
    engine = FakeEngine()
    async with chat(engine, model="starter", settled=False) as (app, pilot):
        await wait_until(pilot, lambda: isinstance(app.screen, FirstRun))
        await pilot.press("escape")
        await wait_until(pilot, lambda: "No model yet" in screen_text(app))
        await pilot.press(*"hi", "enter")
        await wait_until(pilot, lambda: app.session.waiting)
        assert engine.requests == []
        await pilot.press("ctrl+r", "ctrl+r")
        await wait_until(pilot, lambda: isinstance(app.screen, FirstRun))
        await pilot.press("right", "left", "enter")
        await wait_until(pilot, lambda: "Hello there." in screen_text(app))


# ── leaving and coming back ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("screen", ["chat", "help", "first run"])
async def test_ctrl_q_leaves_with_0(screen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if screen == "first run":
        monkeypatch.setattr(app_module, "_starter_is_there", lambda: False)
    async with chat(FakeEngine(), model="starter", settled=False) as (app, pilot):
        if screen == "first run":
            await wait_until(pilot, lambda: isinstance(app.screen, FirstRun))
        elif screen == "help":
            await pilot.press("f1")
        await pilot.press("ctrl+q")
        await eventually(lambda: not app.is_running)
        assert (app.return_value, app.return_code) == (0, 0)


async def test_leaving_in_mid_answer_keeps_what_came(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    for deaf in (False, True):  # deaf: an engine that hangs
        engine = FakeEngine([Reply(("half", " way"), holds_at=2, deaf=deaf)])
        async with chat(engine, path=path) as (app, pilot):
            await pilot.press("a", "enter")
            await wait_until(pilot, lambda: "half way" in screen_text(app))
            await pilot.press("ctrl+q")
        store = Store(path)
        conversation = store.latest_conversation()
        assert conversation is not None
        reply = store.load_conversation(conversation.id)[1][-1]
        assert (reply.text, reply.status) == ("half way", "failed" if deaf else "cancelled")
        store.close()


async def test_a_draft_survives_leaving_and_is_gone_once_sent(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with chat(FakeEngine(), path=path) as (app, pilot):
        await ask(pilot, "hi")
        await pilot.press(*"half", "ctrl+q")  # at once: before any timer
    async with chat(FakeEngine(), path=path, reopen=True) as (app, pilot):
        await wait_until(pilot, lambda: app.prompt.text == "half")
        await wait_until(pilot, lambda: "Hello there." in screen_text(app))
        await pilot.press("!", "enter")
        await wait_until(pilot, lambda: len(app.session.messages) == 4)
    async with chat(FakeEngine(), path=path, reopen=True) as (app, pilot):
        await wait_until(pilot, lambda: len(app.session.messages) == 4)
        await pilot.pause(0.1)
        assert app.prompt.text == ""
        await pilot.press("up")
        assert app.prompt.text == "half!"


async def test_a_draft_is_on_disk_soon_after_typing(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with chat(FakeEngine(), path=path) as (_, pilot):
        await pilot.press(*"half")
        other = Store(path)
        await wait_until(pilot, lambda: [c.draft for c in other.list_conversations()] == ["half"])
        other.close()


async def test_there_is_nothing_to_continue_at_first() -> None:
    async with chat(FakeEngine(), reopen=True) as (app, pilot):
        await wait_until(pilot, lambda: toasts(app))
        assert "no conversation to continue" in toasts(app)[0]


async def test_reopening_says_what_was_broken_off(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    store = Store(path)
    conversation = store.create_conversation(model_name="Fake-7B")
    question = store.add_message(conversation.id, None, "user", "why?")
    reply = store.begin_reply(conversation.id, question.id)
    store.append_chunk(reply.id, "Because")
    store.close()
    async with chat(FakeEngine(), path=path, reopen=True) as (app, pilot):
        await wait_until(pilot, lambda: "Because" in screen_text(app))
        assert "broken off" in screen_text(app)


UI = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, "tests")
from fake_engine import FakeEngine, Reply, chat, wait_until
async def main():
    words = [f"w{n} " for n in range(10000)]
    engine = FakeEngine([Reply(words, pause=0.02)])
    async with chat(engine, path=Path(sys.argv[1])) as (app, pilot):
        await pilot.press("a", "enter")
        shown = 0
        while True:
            await pilot.pause(0.01)
            if app.status.status.tokens > shown:
                shown = app.status.status.tokens
                print(shown, flush=True)
asyncio.run(main())
"""


def test_a_killed_ui_loses_at_most_the_last_second_of_a_reply(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    process = subprocess.Popen(
        [sys.executable, "-c", UI, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 100:
            break
    process.send_signal(signal.SIGKILL)
    shown = max([int(line), *(int(rest) for rest in process.stdout)])
    process.wait()
    store = Store(path)
    conversation = store.latest_conversation()
    assert conversation is not None
    reply = store.load_conversation(conversation.id)[1][-1]
    assert reply.status == "interrupted"
    kept = len(reply.text.split())
    assert reply.text == "".join(f"w{n} " for n in range(kept))
    assert shown - 50 <= kept  # 50 a second
    assert reply.realizations[0].ids == tuple(range(100, 100 + kept))
    store.close()


# ── hostile texts ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "size"),
    [(HOSTILE, (120, 40)), ("x" * 100_000, (60, 20))],
    ids=["escapes", "no space"],
)
async def test_hostile_texts_anywhere_reach_no_terminal(
    text: str, size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "c.db"
    seed = Store(path)
    conversation = seed.create_conversation(model_name=text, model_path=text)
    seed.set_title(conversation.id, text)
    question = seed.add_message(conversation.id, None, "user", text)
    reply = seed.begin_reply(conversation.id, question.id)
    seed.append_chunk(reply.id, text)
    seed.finish_reply(reply.id, "complete", finish_reason=text)
    seed.set_draft(conversation.id, text)
    seed.close()
    evil = card(name=text, path=text, notice=text, tokenizer=text, dtype=text, device=text)
    engine = FakeEngine(
        [Reply([text], fails=("internal", text)), Reply([text[:50]] * 3, lost=True)],
        [
            Load(progress=[(text, 1, 2)], fails=("checkpoint", text)),
            Load(progress=[(text, 1, 0)], card=evil),
        ],
    )
    async with chat(engine, path=path, size=size, reopen=True) as (app, pilot):
        await wait_until(pilot, lambda: app.prompt.text)
        assert screen_text(app)
        await pilot.press("ctrl+n", "ctrl+r")
        await wait_until(pilot, lambda: app.session.engine == "ready")
        await pilot.pause()
        assert screen_text(app)
        await pilot.press("f1")
        await pilot.pause()
        assert screen_text(app)
        await pilot.press("escape")
        app.post_message(events.Paste(text))
        await pilot.pause()
        assert screen_text(app)
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(app.session.messages) == 2)
        await pilot.pause(0.1)
        assert screen_text(app)
        for key in ("up", "pageup", "pageup", "ctrl+end", "tab", "g", "G", "ctrl+t"):
            await pilot.press(key)
            assert screen_text(app)
        await pilot.press("tab", "enter")
        await wait_until(pilot, lambda: app.session.engine == "lost")
        await pilot.pause(0.1)
        assert screen_text(app)
        assert len(last_row(app)) == size[0]
        await pilot.press("ctrl+p")
        await pilot.pause()
        assert "\x1b" not in app.export_screenshot()
