"""The tree of a conversation: versions, branches, undo and replay, with the real engine."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

import tiny
from direct_engine import DirectEngine
from fake_engine import FakeEngine, Reply, chat, eventually, screen_text, wait_until
from mistral_tui.branches import Branches
from mistral_tui.choices import ModelChoice
from mistral_tui.engine_client import LocalEngine
from mistral_tui.happenings import Happening, Opened
from mistral_tui.history.store import AsyncStore, Store
from mistral_tui.sanitize import sanitize
from windows import WARM, window


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("models") / "tiny", max_position_embeddings=4096)


async def test_an_edited_message_is_answered_beside_the_old_one(folder: Path) -> None:
    async with window(folder) as w:
        await w.session.say("one")
        await w.session.say("two")
        first, _, second, _ = w.session.messages
        before = w.texts
        await w.session.edit(second.id, "three")
        assert [text for role, text in w.texts if role == "user"] == ["one", "three"]
        w.check()
        new = w.session.messages[2]
        assert w.session.siblings[new.id].ids == (second.id, new.id)
        assert await w.session.walk(new.id, -1)
        assert w.texts == before
        assert not await w.session.walk(second.id, -1)
        assert w.session.siblings[first.id].count == 1


async def test_the_cache_of_what_stays_is_used(folder: Path) -> None:
    async with window(folder) as w:
        for text in ("a first question", "a second one", "a third one"):
            await w.session.say(text)
        third = w.session.messages[4]
        whole = w.engine.answered[-1][1].usage
        await w.session.edit(third.id, "another third one")
        usage = w.engine.answered[-1][1].usage
        # All but the edited turn, which sits at the end of some 60 tokens.
        assert usage.reused_tokens > 0.6 * whole.prompt_tokens
        await w.session.regenerate()
        usage = w.engine.answered[-1][1].usage
        assert usage.reused_tokens == usage.prompt_tokens - 1
        w.check()


async def test_another_answer_and_the_way_between_them(folder: Path) -> None:
    async with window(folder) as w:
        await w.session.say("hello")
        first = w.session.messages[1]
        await w.session.regenerate()
        await w.session.regenerate(w.session.messages[1].id)
        last = w.session.messages[1]
        siblings = w.session.siblings[last.id]
        assert (siblings.index, siblings.count) == (2, 3)
        assert siblings.ids[0] == first.id
        w.check()
        await w.session.say("and on from the third")
        assert await w.session.walk(last.id, -1)
        assert len(w.session.messages) == 2
        assert await w.session.walk(w.session.messages[1].id, 1)
        assert len(w.session.messages) == 4  # what followed it is in view again


async def test_an_answer_goes_on_from_where_it_ends(folder: Path) -> None:
    async with window(folder) as w:
        await w.session.say("tell me")
        reply = w.session.messages[1]
        await w.session.go_on()
        longer = w.session.messages[1]
        assert longer.id == reply.id
        assert longer.text.startswith(reply.text.rstrip("\ufffd"))
        assert longer.realizations[0].ids[:6] == reply.realizations[0].ids
        assert len(longer.realizations[0].ids) == 12
        w.check()
        assert w.engine.answered[-1][1].usage.reused_tokens >= len(reply.realizations[0].ids)


async def test_a_hand_edited_answer_is_what_the_model_goes_on_with(folder: Path) -> None:
    async with window(folder) as w:
        await w.session.say("tell me")
        await w.session.edit(w.session.messages[1].id, "Once upon a time")
        assert w.texts[-1] == ("assistant", "Once upon a time")
        assert w.session.siblings[w.session.messages[1].id].count == 2
        await w.session.go_on()
        assert w.texts[-1][1].startswith("Once upon a time")
        assert len(w.texts[-1][1]) > len("Once upon a time")
        assert w.engine.answered[-1][1].continued > 0


async def test_a_deleted_turn_comes_back(folder: Path) -> None:
    async with window(folder) as w:
        await w.session.say("one")
        await w.session.say("two")
        before = w.texts
        await w.session.delete(w.session.messages[2].id)
        assert [text for _, text in w.texts][:1] == ["one"]
        assert len(w.texts) == 2
        await w.session.delete(w.session.messages[0].id)
        assert w.texts == []
        assert await w.session.undo()
        assert await w.session.undo()
        assert w.texts == before
        assert not await w.session.undo()


async def test_a_copied_branch_is_a_conversation_of_its_own(folder: Path) -> None:
    async with window(folder) as w:
        await w.session.say("one")
        await w.session.say("two")
        assert w.session.conversation is not None
        old = w.session.conversation.id
        kept = w.texts[:2]
        await w.session.copy_branch(w.session.messages[1].id)
        assert w.texts == kept
        assert w.session.conversation.id != old
        await w.session.say("three")
        # The ids came along: all of the copy was in the cache.
        usage = w.engine.answered[-1][1].usage
        assert usage.reused_tokens > 0
        w.check()
        await w.session.open(old)
        assert len(w.texts) == 4


async def test_a_replay_gives_the_same_ids_or_says_where_it_parts(folder: Path) -> None:
    async with window(folder) as w:
        await w.session.say("one")
        await w.session.replay()
        assert "the same 6 tokens" in w.notes[-1]
        assert len(w.session.messages) == 2  # nothing was added
        await w.session.edit(w.session.messages[1].id, "by hand")
        await w.session.replay()
        assert "cannot be replayed" in w.notes[-1]
        await w.session.say("two")
        await w.session.go_on()
        await w.session.replay()
        assert "the same" in w.notes[-1] or "parted after" in w.notes[-1]


async def test_a_walk_at_random_never_mixes_branches(folder: Path, tmp_path: Path) -> None:
    """After each step the engine has answered the branch in view, and the disk has it."""
    numbers = random.Random(5)
    path = tmp_path / "c.db"
    said: list[str] = []
    async with window(folder, path) as w:
        session = w.session
        for number in range(60):
            users = [m for m in session.messages if m.role == "user"]
            several = [m.id for m in session.messages if session.siblings[m.id].count > 1]
            answered = len(w.engine.answered)
            step = numbers.choice(["say", "say", "edit", "again", "on", "walk", "delete", "undo"])
            if step == "say" or not users:
                said.append(f"message {number}")
                await session.say(said[-1])
            elif step == "edit":
                said.append(f"edited {number}")
                await session.edit(numbers.choice(users).id, said[-1])
            elif step == "again":
                await session.regenerate()
            elif step == "on":
                await session.go_on()
            elif step == "walk" and several:
                await session.walk(numbers.choice(several), numbers.choice([-1, 1]))
            elif step == "delete" and numbers.random() < 0.5:
                await session.delete(numbers.choice(session.messages).id)
            elif step == "undo":
                await session.undo()
            if len(w.engine.answered) > answered:
                w.check()
            if session.conversation is not None:
                disk = Store(path)
                stored = disk.load_conversation(session.conversation.id)[1]
                everything = disk.load_tree(session.conversation.id)[1]
                disk.close()
                assert stored == session.messages
                texts = {m.text for m in everything}
                assert set(said) <= texts | set(_deleted(path))
        assert len(w.engine.answered) > 20


def _deleted(path: Path) -> list[str]:
    """Texts that are in the bin, from where undo brings them back."""
    import sqlite3

    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT content FROM messages WHERE deleted_at IS NOT NULL").fetchall()
    import json

    return [part["text"] for (content,) in rows for part in json.loads(content)]


async def test_a_step_while_an_answer_streams_stops_it_and_keeps_it() -> None:
    engine = FakeEngine([Reply(words=["a"] * 50, holds_at=3)])
    store = await AsyncStore.open(None)
    told: list[Happening] = []
    session = Branches(store, engine, told.append, choice=ModelChoice("x"))
    await session.load()
    asking = asyncio.create_task(session.say("long"))
    await eventually(lambda: session.running_message_id)
    await asyncio.sleep(0.05)
    await session.regenerate()
    await asking
    reply = session.messages[-1]
    assert session.siblings[reply.id].count == 2
    assert any(isinstance(event, Opened) for event in told)
    await store.close()


# ── the app ─────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(120)
async def test_versions_are_shown_and_walked_with_keys(folder: Path, tmp_path: Path) -> None:
    engine = LocalEngine(tmp_path / "log")
    async with chat(engine, size=(100, 30), model=str(folder), sampling=WARM) as (app, pilot):
        app.prompt.put("First question")
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(app.session.messages) == 2)
        first = app.session.messages[1].id
        await pilot.press("tab")
        await wait_until(pilot, lambda: app.focused is app.transcript)
        await pilot.press("r")
        await wait_until(
            pilot,
            lambda: len(app.session.messages) == 2 and app.session.messages[1].id != first,
        )
        await wait_until(pilot, lambda: "‹2/2›" in screen_text(app))
        await pilot.press("h")
        await wait_until(pilot, lambda: "‹1/2›" in screen_text(app))
        assert app.session.messages[1].id == first
        # Edit the question: it comes into the prompt, Enter sends it beside the old one.
        await pilot.press("K")
        await wait_until(pilot, lambda: app.transcript.cursor == str(app.session.messages[0].id))
        await pilot.press("e")
        assert app.prompt.text == "First question"
        await pilot.press(*"?!", "enter")
        await wait_until(pilot, lambda: app.session.messages[0].text == "First question?!")
        await wait_until(pilot, lambda: len(app.session.messages) == 2)
        assert app.prompt.text == ""
        assert "you ‹2/2›" in screen_text(app)
        # Delete and bring back.
        await pilot.press("tab")
        await pilot.press("K", "K", "x")
        await wait_until(pilot, lambda: app.session.messages[0].text == "First question")
        await pilot.press("u")
        await wait_until(pilot, lambda: app.session.messages[0].text == "First question?!")
        await pilot.press("p")
        await wait_until(pilot, lambda: any("replay gave" in n.message for n in app._notifications))


@pytest.mark.timeout(170)
async def test_store_screen_and_engine_agree_at_every_step(folder: Path, tmp_path: Path) -> None:
    """A walk at random through the app: what is shown is what is stored, and what the engine
    was asked with."""
    numbers = random.Random(11)
    path = tmp_path / "c.db"
    engine = DirectEngine()
    options = {"size": (90, 40), "path": path, "model": str(folder), "sampling": WARM}
    async with chat(engine, **options) as (app, pilot):  # type: ignore[arg-type]
        session = app.session
        for number in range(40):
            users = [m for m in session.messages if m.role == "user"]
            several = [m.id for m in session.messages if session.siblings[m.id].count > 1]
            answered = len(engine.answered)
            step = numbers.choice(
                ["say", "say", "edit", "again", "on", "walk", "delete", "undo", "reopen"]
            )
            if step == "reopen" and session.conversation is not None:
                await session.open(session.conversation.id)
            elif step == "say" or not users:
                await session.say(f"message {number}")
            elif step == "edit":
                await session.edit(numbers.choice(users).id, f"edited {number}")
            elif step == "again":
                await session.regenerate()
            elif step == "on":
                await session.go_on()
            elif step == "walk" and several:
                await session.walk(numbers.choice(several), numbers.choice([-1, 1]))
            elif step == "delete" and numbers.random() < 0.4:
                await session.delete(numbers.choice(session.messages).id)
            elif step == "undo":
                await session.undo()
            await pilot.pause()
            shown = [key for key in app.transcript.keys if key.isdecimal()]
            assert shown == [str(m.id) for m in session.messages]
            for message in session.messages:
                assert app.transcript.text(str(message.id)) == sanitize(message.text)
            if session.conversation is not None:
                disk = Store(path)
                assert disk.load_conversation(session.conversation.id)[1] == session.messages
                disk.close()
            if len(engine.answered) > answered:
                request, done = engine.answered[-1]
                assert engine.engine is not None
                asked = [(m.role, m.text) for m in request.messages]
                before = [(m.role, m.text) for m in session.messages[: len(asked)]]
                if done.continued:  # the last one has grown since
                    asked, before = asked[:-1], before[:-1]
                assert asked == before


async def test_leaving_an_edit_gives_the_prompt_back() -> None:
    async with chat(FakeEngine()) as (app, pilot):
        app.prompt.put("hello")
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(app.session.messages) == 2)
        app.prompt.put("half a thought")
        app.action_edit_message()
        assert app.prompt.text == "hello"
        await pilot.press("escape")
        assert app.prompt.text == "half a thought"
        assert len(app.session.messages) == 2
