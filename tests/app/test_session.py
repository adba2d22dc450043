"""The session against a scripted engine and a real store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from fake_engine import CARD, LOST, FakeEngine, Load, Reply, card, eventually
from inference.api import Event, Generate, Request
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.conversation import Session
from mistral_tui.happenings import (
    EngineChanged,
    Happening,
    Opened,
    ReplyEnded,
    ReplyText,
    Said,
    TakenBack,
    Trouble,
)
from mistral_tui.history.schema import StoreError
from mistral_tui.history.store import AsyncStore, Store
from mistral_tui.presenter import _footnote, _reason

T = TypeVar("T")
FULL = "The conversation file cannot be written: the disk is full."


class Window:
    """A session with its store and engine, and everything it told."""

    def __init__(self, store: AsyncStore, engine: FakeEngine, **options: Any) -> None:
        self.store = store
        self.engine = engine
        self.told: list[Happening] = []
        choice = options.pop("choice", ModelChoice("some/folder"))
        self.session = Session(store, engine, self.told.append, choice=choice, **options)

    def all(self, kind: type[T]) -> list[T]:
        return [event for event in self.told if isinstance(event, kind)]

    @property
    def said(self) -> list[tuple[str, str, str]]:
        return [(m.role, m.text, m.status) for m in self.session.messages]

    @property
    def states(self) -> list[str]:
        return [event.state for event in self.all(EngineChanged)]

    def start(self, text: str) -> asyncio.Task[None]:
        """Say something without waiting for the answer."""
        return asyncio.create_task(self.session.say(text))

    async def tokens(self, count: int) -> None:
        """Until so many tokens of answers have come."""
        await eventually(lambda: len(self.all(ReplyText)) >= count)


@asynccontextmanager
async def window(
    engine: FakeEngine, path: Path | None = None, *, load: bool = True, **options: Any
) -> AsyncIterator[Window]:
    store = await AsyncStore.open(path)
    opened = Window(store, engine, **options)
    try:
        if load:
            await opened.session.load()
        yield opened
    finally:
        await store.close()


# ── a turn ──────────────────────────────────────────────────────────────────────────


async def test_a_turn_is_answered_and_both_messages_are_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with window(FakeEngine(), path) as w:
        await w.session.say("hi")
        assert w.said == [("user", "hi", "complete"), ("assistant", "Hello there.", "complete")]
        other = Store(path)
        conversation = other.latest_conversation()
        assert conversation is not None
        assert conversation.model_name == "Fake-7B"
        stored = other.load_conversation(conversation.id)[1]
        assert stored == w.session.messages
        assert stored[1].realizations[0].seed == 7
        other.close()


async def test_the_user_message_is_on_disk_before_the_engine_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    on_disk: list[list[str]] = []

    class Watching(FakeEngine):
        def submit(self, request: Request) -> AsyncIterator[Event]:
            if isinstance(request, Generate):
                other = Store(path)
                on_disk.append(other.recent_prompts())
                other.close()
            return super().submit(request)

    async with window(Watching(), path) as w:
        await w.session.say("first of all")
    assert on_disk == [["first of all"]]


async def test_the_next_request_carries_the_ids_and_fingerprint_of_earlier_replies() -> None:
    async with window(FakeEngine([Reply(("One", " two"))])) as w:
        await w.session.say("count")
        await w.session.say("on")
        reply = w.engine.asked[1].messages[1]
        assert (reply.role, reply.text) == ("assistant", "One two")
        assert (reply.ids, reply.fingerprint) == ((100, 101), "fake-1")
        assert w.engine.said[1] == [("user", "count"), ("assistant", "One two"), ("user", "on")]


async def test_ids_of_another_model_are_not_passed_on() -> None:
    loads = [Load(), Load(card=card(fingerprint="fake-2"))]
    async with window(FakeEngine(loads=loads)) as w:
        await w.session.say("one")
        await w.session.load(anew=True)
        await w.session.say("two")
        reply = w.engine.asked[1].messages[1]
        assert (reply.text, reply.ids, reply.fingerprint) == ("Hello there.", (), "")


async def test_system_prompt_and_sampling_are_passed_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    sampling = SamplingChoice(top_p=0.3)
    async with window(FakeEngine(), path, system_prompt="Be brief.", sampling=sampling) as w:
        await w.session.say("hi")
        assert w.engine.said[0] == [("system", "Be brief."), ("user", "hi")]
        assert w.engine.asked[0].sampling.top_p == 0.3
        assert w.engine.asked[0].sampling.temperature == 0.5  # the card's
    async with window(FakeEngine(), path) as w:
        await w.session.open_latest()
        await w.session.say("again")
        assert w.engine.said[0][0] == ("system", "Be brief.")


async def test_what_is_said_while_the_model_loads_is_answered_once_it_is_ready() -> None:
    gate = asyncio.Event()
    async with window(FakeEngine(loads=[Load(gate=gate)]), load=False) as w:
        loading = asyncio.create_task(w.session.load())
        await eventually(lambda: w.engine.requests)
        await w.session.say("early")
        assert w.session.waiting
        assert not w.engine.asked
        gate.set()
        await loading
        assert w.engine.said == [[("user", "early")]]
        assert w.said[1] == ("assistant", "Hello there.", "complete")
        assert not w.session.waiting


async def test_a_waiting_message_can_be_taken_back() -> None:
    gate = asyncio.Event()
    async with window(FakeEngine(loads=[Load(gate=gate)]), load=False) as w:
        loading = asyncio.create_task(w.session.load())
        await eventually(lambda: w.engine.requests)
        await w.session.say("too early")
        await w.session.take_back()
        gate.set()
        await loading
        assert w.all(TakenBack)[0].text == "too early"
        assert w.session.messages == []
        assert not w.engine.asked
        await w.session.say("now")
        assert w.engine.said == [[("user", "now")]]


# ── stopping ────────────────────────────────────────────────────────────────────────


async def test_cancel_keeps_the_partial_answer_as_cancelled() -> None:
    async with window(FakeEngine([Reply(("a", "b", "c", "d"), holds_at=2)])) as w:
        turn = w.start("count")
        await w.tokens(2)
        assert w.session.answering
        w.session.cancel()
        await turn
        assert w.said == [("user", "count", "complete"), ("assistant", "ab", "cancelled")]
        assert w.session.messages[1].realizations[0].ids == (100, 101)
        assert not w.session.answering


async def test_cancel_before_the_first_token_leaves_no_message_and_the_next_turn_works() -> None:
    gate = asyncio.Event()
    async with window(FakeEngine([Reply(gate=gate)])) as w:
        turn = w.start("one")
        await eventually(lambda: w.engine.asked)
        w.session.cancel()
        await turn
        assert w.said == [("user", "one", "complete")]
        assert [(e.status, e.kept) for e in w.all(ReplyEnded)] == [("cancelled", False)]
        await w.session.say("two")
        assert w.engine.said[1] == [("user", "one"), ("user", "two")]
        assert w.said[-1] == ("assistant", "Hello there.", "complete")


async def test_cancel_counts_from_the_moment_something_is_said() -> None:
    async with window(FakeEngine([Reply(holds_at=3)])) as w:
        turn = w.start("one")
        await asyncio.sleep(0)  # it is being saved
        assert w.session.answering
        assert not w.engine.asked
        w.session.cancel()
        await turn
        assert w.said == [("user", "one", "complete")]


async def test_stop_returns_when_the_reply_is_on_disk() -> None:
    async with window(FakeEngine([Reply(("a", "b"), holds_at=1)])) as w:
        turn = w.start("count")
        await w.tokens(1)
        await w.session.stop()
        assert w.said[-1] == ("assistant", "a", "cancelled")
        await turn


# ── failures ────────────────────────────────────────────────────────────────────────


async def test_a_failure_in_mid_answer_keeps_what_came() -> None:
    failing = Reply(("a", "b"), fails=("memory", "There is not enough memory."))
    async with window(FakeEngine([failing])) as w:
        await w.session.say("go")
        assert w.said[-1] == ("assistant", "ab", "failed")
        assert w.all(Trouble) == [Trouble("There is not enough memory.")]
        await w.session.say("on")
        assert w.engine.said[1][1] == ("assistant", "ab")
        assert w.engine.asked[1].messages[1].ids == (100, 101)


async def test_a_prompt_too_long_returns_and_the_conversation_goes_on() -> None:
    full = Reply((), fails=("context_full", "The conversation takes 9,000 tokens."))
    async with window(FakeEngine([Reply(), full])) as w:
        await w.session.say("hi")
        await w.session.say("x" * 9000)
        assert w.all(Trouble) == [Trouble("The conversation takes 9,000 tokens.")]
        assert w.all(TakenBack)[0].text == "x" * 9000
        assert [m.role for m in w.session.messages] == ["user", "assistant"]
        await w.session.say("shorter")
        assert [text for _, text in w.engine.said[2]] == ["hi", "Hello there.", "shorter"]


async def test_a_first_prompt_too_long_does_not_come_back_from_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    full = Reply((), fails=("context_full", "Too long."))
    async with window(FakeEngine([full]), path) as w:
        await w.session.say("x" * 9000)
        await w.session.say("short")
        assert w.engine.said[1] == [("user", "short")]
    async with window(FakeEngine(), path) as w:
        await w.session.open_latest()
        assert [text for _, text, _ in w.said] == ["short", "Hello there."]


async def test_a_lost_engine_keeps_the_partial_reply_and_goes_on_after_a_restart() -> None:
    async with window(FakeEngine([Reply(("a", "b"), lost=True)])) as w:
        await w.session.say("go")
        assert w.said[-1] == ("assistant", "ab", "failed")
        assert w.all(EngineChanged)[-1] == EngineChanged("lost", LOST)
        assert not w.session.waiting
        await w.session.load()
        assert w.states[-2:] == ["loading", "ready"]
        assert len(w.engine.asked) == 1  # it was answered, if only in part
        await w.session.say("on")
        assert w.engine.said[1] == [("user", "go"), ("assistant", "ab"), ("user", "on")]
        assert w.engine.asked[1].messages[1].ids == (100, 101)


async def test_a_message_that_got_no_answer_from_a_lost_engine_gets_it_after_a_restart() -> None:
    async with window(FakeEngine([Reply((), lost=True)])) as w:
        await w.session.say("go")
        assert w.said == [("user", "go", "complete")]
        assert w.session.waiting
        await w.session.load()
        assert w.engine.said == [[("user", "go")], [("user", "go")]]
        assert w.said[-1] == ("assistant", "Hello there.", "complete")


async def test_what_is_said_to_a_lost_engine_is_answered_after_a_restart() -> None:
    async with window(FakeEngine()) as w:
        w.engine.die()
        w.session.check_engine()
        w.session.check_engine()
        assert w.states.count("lost") == 1  # noticed while idle, and told once
        await w.session.say("are you there?")
        assert w.session.waiting
        await w.session.load()
        assert w.said[-1] == ("assistant", "Hello there.", "complete")


async def test_a_restart_in_mid_answer_keeps_the_part_and_does_not_say_the_engine_is_lost() -> None:
    async with window(FakeEngine([Reply(("a", "b"), holds_at=1, deaf=True)])) as w:
        turn = w.start("go")
        await w.tokens(1)
        await w.session.load(anew=True)  # deaf: as an engine that hangs
        await turn
        assert w.said[-1] == ("assistant", "a", "failed")
        assert w.states == ["loading", "ready", "loading", "ready"]
        assert w.engine.started == 2


async def test_two_restarts_at_once_are_one() -> None:
    async with window(FakeEngine()) as w:
        await asyncio.gather(w.session.load(anew=True), w.session.load(anew=True))
        assert w.states == ["loading", "ready", "loading", "ready"]
        assert (w.engine.started, len(w.engine.loads_asked)) == (2, 2)


@pytest.mark.parametrize("kind", ["checkpoint", "worker_lost"])
async def test_a_load_that_fails_is_a_sentence_and_can_be_tried_again(kind: str) -> None:
    engine = FakeEngine(loads=[Load(fails=(kind, "No such folder."))])
    async with window(engine) as w:
        state = "lost" if kind == "worker_lost" else "failed"
        assert w.all(EngineChanged)[-1] == EngineChanged(state, "No such folder.")
        await w.session.say("hello?")
        await w.session.load()
        assert w.said[-1] == ("assistant", "Hello there.", "complete")


async def test_an_engine_that_cannot_be_started_is_a_sentence() -> None:
    engine = FakeEngine()
    engine.start_error = OSError(11, "Resource temporarily unavailable")
    async with window(engine) as w:
        assert w.session.engine == "failed"
        assert "Resource temporarily unavailable" in w.all(EngineChanged)[-1].sentence


# ── the disk ────────────────────────────────────────────────────────────────────────


async def test_a_reply_is_on_disk_every_second_while_it_streams(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    engine = FakeEngine([Reply([f"w{n} " for n in range(2000)], pause=0.01)])
    async with window(engine, path) as w:
        turn = w.start("go")
        other = Store(path)
        seen_at: list[float] = []
        saved = ""
        begun = time.monotonic()
        while len(seen_at) < 4:
            await asyncio.sleep(0.02)
            assert time.monotonic() - begun < 10
            if conversation := other.latest_conversation():
                text = other.load_conversation(conversation.id)[1][-1].text
                if text.startswith("w0") and text != saved:
                    saved = text
                    seen_at.append(time.monotonic())
        gaps = [b - a for a, b in zip([begun, *seen_at], seen_at, strict=False)]
        assert max(gaps) < 1, gaps
        other.close()
        w.session.cancel()
        await turn
        assert w.session.messages[-1].text.startswith(saved)


async def test_a_message_that_cannot_be_saved_is_refused_and_asks_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with window(FakeEngine()) as w:

        def full(*_: object) -> None:
            raise StoreError(FULL)

        with monkeypatch.context() as broken:
            broken.setattr(Store, "_add", full)
            with pytest.raises(StoreError, match="disk is full"):
                await w.session.say("precious")
        assert w.session.messages == []
        assert not w.engine.asked
        assert not w.session.answering
        await w.session.say("precious")
        assert w.said[-1] == ("assistant", "Hello there.", "complete")


async def test_a_reply_that_cannot_be_saved_is_still_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    async with window(FakeEngine()) as w:

        async def full(*_: object, **__: object) -> None:
            raise StoreError(FULL)

        with monkeypatch.context() as broken:
            broken.setattr(AsyncStore, "finish_reply", full)
            await w.session.say("one")
        assert w.all(Trouble) == [Trouble(FULL)]
        ended = w.all(ReplyEnded)[-1]
        assert (ended.kept, ended.saved) == (True, False)
        assert _footnote(ended.status, ended.reason, ended.saved) == "not saved"
        await w.session.say("two")
        assert w.said[-1] == ("assistant", "Hello there.", "complete")


async def test_a_reply_that_cannot_begin_gives_the_message_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with window(FakeEngine()) as w:

        async def full(*_: object, **__: object) -> None:
            raise StoreError(FULL)

        with monkeypatch.context() as broken:
            broken.setattr(AsyncStore, "begin_reply", full)
            await w.session.say("one")
        assert w.all(Trouble) == [Trouble(FULL)]
        assert w.all(TakenBack)[0].text == "one"
        assert not w.session.answering


async def test_a_chunk_that_could_not_be_saved_is_saved_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "c.db"
    reply = Reply([f"w{n} " for n in range(3)], holds_at=2)
    async with window(FakeEngine([reply]), path) as w:
        append = AsyncStore.append_chunk
        tries = 0

        async def once_full(self: AsyncStore, *args: Any, **more: Any) -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise StoreError(FULL)
            await append(self, *args, **more)

        monkeypatch.setattr(AsyncStore, "append_chunk", once_full)
        turn = w.start("go")
        await eventually(lambda: tries)
        reply.release.set()
        await turn
        assert w.said[-1] == ("assistant", "w0 w1 w2 ", "complete")
        assert w.session.messages[-1].realizations[0].ids == (100, 101, 102)


# ── conversations ───────────────────────────────────────────────────────────────────


async def test_a_new_conversation_forgets_the_old_one() -> None:
    async with window(FakeEngine()) as w:
        await w.session.say("old")
        await w.session.new()
        assert w.all(Opened)[-1] == Opened(None, ())
        await w.session.say("new")
        assert w.engine.said[1] == [("user", "new")]
        assert len(await w.store.list_conversations()) == 2


async def test_a_new_conversation_waits_for_what_is_being_said() -> None:
    async with window(FakeEngine([Reply(holds_at=3)])) as w:
        turn = w.start("old")
        await asyncio.sleep(0)
        await w.session.new()
        await turn
        assert w.session.messages == []
        assert w.session.conversation is None


async def test_reopening_shows_the_messages_and_which_were_broken_off(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    replies = [Reply(("x",), holds_at=1), Reply(("y",), reason="context_full"), Reply(("z",))]
    async with window(FakeEngine(replies), path) as w:
        turn = w.start("one")
        await w.tokens(1)
        await w.session.stop()
        await turn
        await w.session.say("two")
        await w.session.say("three")
    dying = Store(path)
    conversation = dying.latest_conversation()
    assert conversation is not None
    question = dying.add_message(conversation.id, conversation.active_leaf, "user", "four")
    reply = dying.begin_reply(conversation.id, question.id)
    dying.append_chunk(reply.id, "half")
    dying.close()
    async with window(FakeEngine(), path) as w:
        assert await w.session.open_latest()
        shown = [(m.text, _footnote(m.status, _reason(m))) for m in w.all(Opened)[0].messages]
        assert shown == [
            ("one", ""),
            ("x", "stopped"),
            ("two", ""),
            ("y", "cut off: the context is full"),
            ("three", ""),
            ("z", ""),
            ("four", ""),
            ("half", "broken off"),
        ]


async def test_there_is_nothing_to_reopen_at_first() -> None:
    async with window(FakeEngine()) as w:
        assert not await w.session.open_latest()


async def test_a_draft_is_kept_over_a_restart_and_cleared_when_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with window(FakeEngine(), path) as w:
        await w.session.keep_draft("half a thou")
    async with window(FakeEngine(), path) as w:
        assert await w.session.open_latest()
        assert w.session.conversation is not None
        assert w.session.conversation.draft == "half a thou"
        await w.session.say("half a thought")
    async with window(FakeEngine(), path) as w:
        assert await w.session.open_latest()
        assert w.session.conversation is not None
        assert w.session.conversation.draft == ""
        assert len(w.session.messages) == 2


async def test_a_draft_and_a_message_at_once_make_one_conversation(tmp_path: Path) -> None:
    async with window(FakeEngine(), tmp_path / "c.db") as w:
        await asyncio.gather(w.session.keep_draft("hello"), w.session.say("hello"))
        (conversation,) = await w.store.list_conversations()
        assert conversation.draft == ""
        assert [m.text for m in w.session.messages] == ["hello", "Hello there."]


async def test_an_empty_draft_makes_no_conversation() -> None:
    async with window(FakeEngine()) as w:
        await w.session.keep_draft("  \n")
        assert w.session.conversation is None
        assert await w.store.list_conversations() == []


async def test_events_come_in_an_order_that_can_be_drawn() -> None:
    async with window(FakeEngine()) as w:
        await w.session.say("hi")
        kinds = [type(event).__name__ for event in w.told if not isinstance(event, EngineChanged)]
        assert kinds == [
            "Loading",
            "Said",
            "ReplyBegan",
            *["ReplyProgress"] * 2,
            *["ReplyText"] * 3,
            "ReplyEnded",
        ]
        assert w.all(Said)[0].message.text == "hi"
        assert w.session.card == CARD


async def test_a_conversation_begun_while_loading_gets_the_models_name(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    gate = asyncio.Event()
    async with window(FakeEngine(loads=[Load(gate=gate)]), path, load=False) as w:
        loading = asyncio.create_task(w.session.load())
        await w.session.say("hi")
        gate.set()
        await loading
        other = Store(path)
        (conversation,) = other.list_conversations()
        assert conversation.model_name == CARD.name
        assert conversation.model_path == CARD.path
        other.close()
