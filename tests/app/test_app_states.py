"""The app under the Pilot: engines that fail, the first run, leaving and coming back."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fake_engine import (
    LOST,
    SIZES,
    FakeEngine,
    Load,
    Reply,
    ask,
    chat,
    eventually,
    last_row,
    screen_text,
    toasts,
    wait_until,
    words_on_screen,
)
from mistral_tui import app as app_module
from mistral_tui.history.schema import StoreError
from mistral_tui.history.store import Store
from mistral_tui.screens.first_run import FirstRun

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "STATE", "CONFIG"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))


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
        for words in ("There is no model", "SmolLM2", "  mistral-tui ~/models/7B", "Not now"):
            assert words in screen_text(app)  # all of it, without scrolling
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
