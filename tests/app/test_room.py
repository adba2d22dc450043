"""Room in the context: asked for before it runs out, with the real engine and on the screen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import tiny
from direct_engine import DirectEngine
from fake_engine import chat, screen_text, wait_until
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.engine_client import LocalEngine
from mistral_tui.happenings import ContextFull, Happening
from mistral_tui.history.store import AsyncStore
from mistral_tui.room import Conversing
from mistral_tui.screens.room import RoomScreen

SHORT = SamplingChoice(temperature=0.0, max_tokens=8)
LONG = "words and more words " * 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("models") / "small", max_position_embeddings=384)


@asynccontextmanager
async def session(folder: Path) -> AsyncIterator[tuple[Conversing, DirectEngine, list[Happening]]]:
    store = await AsyncStore.open(None)
    told: list[Happening] = []
    engine = DirectEngine()
    made = Conversing(store, engine, told.append, choice=ModelChoice(str(folder)), sampling=SHORT)
    try:
        await made.load()
        yield made, engine, told
    finally:
        await store.close()


async def _fill(made: Conversing, told: list[Happening]) -> ContextFull:
    """Talk until the context is full."""
    for number in range(20):
        await made.say(f"{number} {LONG}")
        if full := [event for event in told if isinstance(event, ContextFull)]:
            return full[-1]
    raise AssertionError("the context never filled")


async def test_a_full_context_is_told_before_the_model_is_asked(folder: Path) -> None:
    async with session(folder) as (made, engine, told):
        full = await _fill(made, told)
        assert full.context == 384
        assert full.tokens > 384 - 96
        assert made.messages[-1].role == "user"  # saved, and not answered
        assert not made.answering
        assert all(done.reason in ("length", "stop") for _, done in engine.answered)
        await made.take_back()
        assert made.messages[-1].role == "assistant"


async def test_the_oldest_turns_are_left_out_and_stay_in_the_conversation(folder: Path) -> None:
    async with session(folder) as (made, engine, told):
        await _fill(made, told)
        count = len(made.messages)
        await made.drop_oldest()
        assert len(made.messages) == count + 1  # nothing is gone, and the answer has come
        dropped = [m.dropped for m in made.messages]
        assert dropped[0]
        assert dropped[1]
        assert not dropped[-1]
        assert not dropped[-2]
        assert dropped == sorted(dropped, reverse=True)  # the oldest, and only they
        request, done = engine.answered[-1]
        assert [m.text for m in request.messages] == [
            m.text for m in made.messages[:-1] if not m.dropped
        ]
        assert done.usage.prompt_tokens <= 384
        # There is room for some turns before it is asked again.
        told.clear()
        await made.say("short")
        assert not [event for event in told if isinstance(event, ContextFull)]


async def test_a_pinned_turn_stays_in(folder: Path) -> None:
    async with session(folder) as (made, _, told):
        await made.say(f"keep this {LONG}")
        await made.toggle_pinned(made.messages[0].id)
        await _fill(made, told)
        await made.drop_oldest()
        assert not made.messages[0].dropped
        assert made.messages[0].pinned
        assert made.messages[2].dropped


async def test_a_turn_can_be_left_out_and_taken_in_by_hand(folder: Path) -> None:
    async with session(folder) as (made, engine, _):
        await made.say("one")
        await made.say("two")
        await made.toggle_dropped(made.messages[1].id)
        assert [m.dropped for m in made.messages] == [True, True, False, False]
        await made.say("three")
        assert "one" not in [m.text for m in engine.answered[-1][0].messages]
        await made.toggle_dropped(made.messages[0].id)
        await made.say("four")
        assert "one" in [m.text for m in engine.answered[-1][0].messages]


async def test_a_new_conversation_begins_with_a_summary(folder: Path) -> None:
    async with session(folder) as (made, engine, _):
        await made.say("short beginning")
        assert made.conversation is not None
        old = made.conversation.id
        await made.say("and now this")
        count = len(made.messages)
        await made.begin_from_summary()
        assert made.conversation.id != old
        assert "Summary of the conversation" in made.conversation.system_prompt
        await made.open(old)
        assert len(made.messages) == count
        assert any(request.slot == "summary" for request, _ in engine.answered)


async def test_one_message_that_is_too_long_by_itself_is_said_to_be(folder: Path) -> None:
    async with session(folder) as (made, _, told):
        await made.say("word " * 600)
        assert [event for event in told if isinstance(event, ContextFull)]
        await made.drop_oldest()
        assert made.messages[-1].role == "user"
        assert not made.answering


@pytest.mark.timeout(120)
async def test_the_user_is_asked_and_what_is_left_out_is_marked(
    folder: Path, tmp_path: Path
) -> None:
    engine = LocalEngine(tmp_path / "log")
    async with chat(engine, size=(100, 40), model=str(folder), sampling=SHORT) as (app, pilot):
        for number in range(20):
            app.prompt.put(f"{number} {LONG}")
            await pilot.press("enter")
            await wait_until(
                pilot,
                lambda n=number: (  # type: ignore[misc]
                    isinstance(app.screen, RoomScreen)
                    or (len(app.session.messages) == 2 * (n + 1) and not app.session.answering)
                ),
            )
            if isinstance(app.screen, RoomScreen):
                break
        assert "The context is full" in screen_text(app)
        await pilot.press("enter")  # leave the oldest out
        await wait_until(pilot, lambda: app.session.messages[-1].role == "assistant")
        await wait_until(pilot, lambda: not app.session.answering)
        await pilot.press("tab", "g")
        await wait_until(pilot, lambda: "left out of the context" in screen_text(app))
