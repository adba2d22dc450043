"""The app under the Pilot: typing, scrolling, the status line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual import events

from fake_engine import (
    SIZES,
    FakeEngine,
    Load,
    Reply,
    ask,
    card,
    chat,
    each_size,
    last_row,
    reading,
    screen_rows,
    screen_text,
    wait_until,
)
from mistral_tui import app as app_module
from mistral_tui.app import ChatApp
from mistral_tui.history.store import AsyncStore

LONG = [f"line {n}\n\n" for n in range(80)]


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "STATE", "CONFIG"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))


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
        for key in ("a", "enter", "enter", "b"):  # faster than the app can follow
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await wait_until(pilot, lambda: engine.asked)
        await wait_until(pilot, lambda: app.prompt.text == "b")
        assert engine.said == [[("user", "a")]]
        assert len(app.prompt.queue) == 0


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
        # It is laid out for its last size: three rows, all of them in view.
        await wait_until(pilot, lambda: app.prompt.wrapped_document.height == 3)
        await wait_until(pilot, lambda: app.prompt.content_size.height == 3)
        await pilot.press("up")
        assert app.prompt.text == long
        await pilot.press("up", "up")
        await wait_until(pilot, lambda: app.prompt.text == "first")


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
        await wait_until(pilot, lambda: "Ctrl+R restarts it." in screen_text(app))
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
