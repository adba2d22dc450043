"""The conversation store, on real files and with real processes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.api import SamplingParams, Timings, Usage
from mistral_tui.history.migrations import MIGRATIONS, migrate
from mistral_tui.history.schema import storable, title_from
from mistral_tui.history.store import AsyncStore, Store, StoreError

SAMPLING = SamplingParams(temperature=0.2, seed=2**64 - 1)
USAGE = Usage(prompt_tokens=5, reused_tokens=2, completion_tokens=3)
TIMINGS = Timings(prefill_s=0.5, ttft_s=0.6, decode_s=1.0, decode_tokens_per_s=3.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "conversations.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


def ask(store: Store, text: str = "Why?") -> tuple[str, int]:
    conversation = store.create_conversation(model_name="tiny")
    return conversation.id, store.add_message(conversation.id, None, "user", text).id


def reply(store: Store, conversation_id: str, parent_id: int | None, text: str) -> int:
    message = store.begin_reply(conversation_id, parent_id, fingerprint="f")
    store.append_chunk(message.id, text, [1], [-0.5])
    store.finish_reply(message.id, "complete")
    return message.id


# ── what is said is kept ────────────────────────────────────────────────────────────


def test_a_reply_is_read_back_as_it_was_made(store: Store, path: Path) -> None:
    chat, question = ask(store)
    message = store.begin_reply(chat, question, fingerprint="f", sampling=SAMPLING)
    store.append_chunk(message.id, "Be", [70000], [-0.25])
    store.append_chunk(message.id, "cause", [2**32 - 1, 0], [-1.5, float("-inf")])
    made = store.finish_reply(
        message.id, "complete", seed=7, usage=USAGE, timings=TIMINGS, finish_reason="stop"
    )
    store.close()
    store = Store(path)
    conversation, messages = store.load_conversation(chat)
    assert [(m.role, m.text, m.status) for m in messages] == [
        ("user", "Why?", "complete"),
        ("assistant", "Because", "complete"),
    ]
    assert messages[1] == made
    assert conversation.active_leaf == message.id
    realization = messages[1].realization("f")
    assert realization is not None
    assert realization.ids == (70000, 2**32 - 1, 0)
    assert realization.logprobs == (-0.25, -1.5, float("-inf"))
    assert (realization.seed, realization.sampling) == (7, SAMPLING)
    assert (realization.usage, realization.timings) == (USAGE, TIMINGS)
    assert (realization.finish_reason, messages[1].realization("other")) == ("stop", None)
    store.close()


def test_the_seed_that_was_asked_stands_when_none_is_reported(store: Store) -> None:
    chat, question = ask(store)
    message = store.begin_reply(chat, question, fingerprint="f", sampling=SAMPLING)
    store.append_chunk(message.id, "x", [1])
    made = store.finish_reply(message.id, "cancelled")
    assert made is not None
    assert made.realizations[0].seed == 2**64 - 1


def test_logprobs_of_a_part_of_a_reply_are_dropped(store: Store) -> None:
    chat, question = ask(store)
    message = store.begin_reply(chat, question, fingerprint="f")
    store.append_chunk(message.id, "a", [1], [-1.0])
    store.append_chunk(message.id, "b", [2])
    made = store.finish_reply(message.id, "complete")
    assert made is not None
    assert made.realizations[0].ids == (1, 2)
    assert made.realizations[0].logprobs == ()


@given(
    chunks=st.lists(
        st.tuples(
            st.text(st.characters()),
            st.lists(st.tuples(st.integers(0, 2**32 - 1), st.floats(-99, 0, width=32))),
        )
    )
)
@settings(max_examples=50, deadline=None)
def test_folded_chunks_are_their_concatenation(
    chunks: list[tuple[str, list[tuple[int, float]]]],
) -> None:
    store = Store(None)
    chat, question = ask(store)
    message = store.begin_reply(chat, question, fingerprint="f")
    for text, tokens in chunks:
        store.append_chunk(message.id, text, [t[0] for t in tokens], [t[1] for t in tokens])
    expected = "".join(storable(text) for text, _ in chunks)
    tokens = [token for _, part in chunks for token in part]
    assert store.load_conversation(chat)[1][-1].text == (expected if chunks else "")
    made = store.finish_reply(message.id, "complete")
    if not expected.strip():
        assert made is None
        assert [m.id for m in store.load_conversation(chat)[1]] == [question]
    else:
        assert made is not None
        assert made.text == expected
        assert [r.ids for r in made.realizations] == ([tuple(t[0] for t in tokens)] * bool(tokens))
        assert all(r.logprobs == tuple(t[1] for t in tokens) for r in made.realizations)
    store.close()


@pytest.mark.parametrize("text", ["\ud800 alone", "nul \x00 inside", "\x1b[31m", "\u202e", "🙂"])
def test_any_text_can_be_kept(store: Store, text: str) -> None:
    chat, _ = ask(store, text)
    store.set_draft(chat, text)
    store.set_title(chat, text)
    store.set_setting("key", text)
    kept = text.replace("\ud800", "\ufffd")
    conversation, messages = store.load_conversation(chat)
    assert messages[0].text == conversation.draft == store.get_setting("key") == kept
    assert store.recent_prompts() == [kept]
    assert conversation.title.isprintable()


def test_a_blank_reply_is_not_kept(store: Store) -> None:
    chat, question = ask(store)
    message = store.begin_reply(chat, question)
    store.append_chunk(message.id, " \n", [5])
    assert store.finish_reply(message.id, "complete") is None
    conversation, messages = store.load_conversation(chat)
    assert [m.id for m in messages] == [question]
    assert conversation.active_leaf == question


def test_a_discarded_reply_takes_no_more_chunks(store: Store) -> None:
    chat, question = ask(store)
    message = store.begin_reply(chat, question)
    store.append_chunk(message.id, "half")
    store.discard_reply(message.id)
    for late in (
        lambda: store.append_chunk(message.id, "late"),
        lambda: store.finish_reply(message.id, "complete"),
        lambda: store.discard_reply(message.id),
    ):
        with pytest.raises(StoreError, match="no longer being written"):
            late()
    assert store.begin_reply(chat, question).id > message.id  # ids are never used again


def test_nothing_can_be_said_below_a_reply_that_is_being_written(store: Store) -> None:
    chat, question = ask(store)
    message = store.begin_reply(chat, question)
    with pytest.raises(StoreError, match="still being written"):
        store.add_message(chat, message.id, "user", "And?")


def test_branches_share_their_stem_and_one_is_in_view(store: Store) -> None:
    chat, question = ask(store)
    first = reply(store, chat, question, "one")
    second = reply(store, chat, question, "two")
    assert [m.id for m in store.load_conversation(chat)[1]] == [question, second]
    store.set_active_leaf(chat, first)
    assert [m.id for m in store.load_conversation(chat)[1]] == [question, first]


def test_a_message_of_another_conversation_is_no_parent_and_no_leaf(store: Store) -> None:
    _, foreign = ask(store)
    chat, question = ask(store)
    with pytest.raises(StoreError, match="no longer exists"):
        store.add_message(chat, foreign, "user", "x")
    with pytest.raises(StoreError, match="no longer exists"):
        store.set_active_leaf(chat, foreign)
    conversation, messages = store.load_conversation(chat)
    assert (conversation.active_leaf, len(messages)) == (question, 1)
    empty = store.create_conversation().id
    with pytest.raises(StoreError, match="no longer exists"):
        store.set_active_leaf(empty, foreign)
    assert store.get_conversation(empty).active_leaf is None


# ── conversations ───────────────────────────────────────────────────────────────────


def test_a_conversation_comes_onto_disk_with_its_first_message_or_draft(store: Store) -> None:
    chat = store.create_conversation(system_prompt="Be brief.").id
    store.set_title(chat, "Mine")
    assert store.list_conversations() == []
    store.set_draft(chat, "unsent")
    assert [c.draft for c in store.list_conversations()] == ["unsent"]
    assert store.latest_conversation() is None
    store.set_draft(chat, "")
    assert store.list_conversations() == []
    store.add_message(chat, None, "user", "sent")
    kept = store.latest_conversation()
    assert kept is not None
    assert (kept.title, kept.system_prompt, kept.draft) == ("Mine", "Be brief.", "")


def test_a_conversation_leaves_with_its_last_message(store: Store, path: Path) -> None:
    chat = store.create_conversation().id
    message = store.begin_reply(chat, None)
    assert len(store.list_conversations()) == 1
    store.discard_reply(message.id)
    assert store.list_conversations() == []
    assert store.get_conversation(chat).active_leaf is None


def test_sending_clears_the_draft_and_gives_a_title_once(store: Store) -> None:
    chat, question = ask(store, "\n  \x1b[1mHow\tdo\x07 I?\nSecond line")
    assert store.get_conversation(chat).title == "How do I?"
    store.set_draft(chat, "next")
    assert store.get_draft(chat) == "next"
    store.add_message(chat, question, "user", "next")
    assert store.get_draft(chat) == ""
    assert store.get_conversation(chat).title == "How do I?"


def test_a_title_is_one_line_of_at_most_sixty_characters() -> None:
    assert title_from("word " * 1_000_000).endswith("…")
    assert len(title_from("é" * 500)) == 60
    assert title_from(" \n\x00\n") == ""


def test_updates_keep_what_they_do_not_name(store: Store) -> None:
    chat, question = ask(store)
    store.update_conversation(chat, model_name="big", settings={"theme": "dark", "n": 1})
    store.update_conversation(chat, model_path="/models/big")
    conversation, messages = store.load_conversation(chat)
    assert (conversation.model_name, conversation.model_path) == ("big", "/models/big")
    assert conversation.settings == {"theme": "dark", "n": 1}
    assert [m.id for m in messages] == [question]


def test_conversations_are_listed_by_what_was_said_last(store: Store) -> None:
    a, question = ask(store, "a")
    b, _ = ask(store, "b")
    c, _ = ask(store, "c")
    reply(store, a, question, "x")
    store.set_title(b, "renamed")
    assert [x.id for x in store.list_conversations()] == [a, c, b]
    assert [x.id for x in store.list_conversations(limit=1, offset=1)] == [c]
    latest = store.latest_conversation()
    assert latest is not None
    assert latest.id == a


def test_a_conversation_longer_than_the_recursion_limit_is_deleted_whole(store: Store) -> None:
    chat, parent = ask(store)
    store._db.execute("PRAGMA synchronous = OFF")
    with store._transaction():
        for i in range(1500):
            parent = store.add_message(chat, parent, "user", f"message {i}").id
    reply(store, chat, parent, "end")
    assert len(store.load_conversation(chat)[1]) == 1502
    store.delete_conversation(chat)
    for table in ("conversations", "messages", "realizations", "open_replies", "reply_chunks"):
        assert store._db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    with pytest.raises(StoreError, match="no longer exists"):
        store.load_conversation(chat)


def test_deleted_words_are_not_left_in_the_file(store: Store, path: Path) -> None:
    chat, question = ask(store, "a secret in the question " * 300)
    reply(store, chat, question, "a secret in the answer " * 300)
    store.delete_conversation(chat)
    store.close()
    assert b"secret" not in path.read_bytes()
    assert list(path.parent.iterdir()) == [path]


def test_recent_prompts_are_newest_first_and_each_once(store: Store) -> None:
    for text in ("one", "two", "one", "three"):
        ask(store, text)
    assert store.recent_prompts() == ["three", "one", "two"]
    assert store.recent_prompts(limit=2) == ["three", "one"]


def test_settings_are_kept(store: Store, path: Path) -> None:
    store.set_setting("theme", "dark")
    store.set_setting("theme", "light")
    store.close()
    store = Store(path)
    assert store.get_setting("theme") == "light"
    assert store.get_setting("model", "starter") == "starter"
    store.close()


# ── migrations ──────────────────────────────────────────────────────────────────────

NEXT = (*MIGRATIONS, ("ALTER TABLE messages ADD COLUMN stars INTEGER NOT NULL DEFAULT 0",))


def test_a_migration_keeps_what_is_there(store: Store, path: Path) -> None:
    chat, _ = ask(store)
    db = sqlite3.connect(path, isolation_level=None)
    migrate(db, NEXT)
    migrate(db, NEXT)
    assert db.execute("PRAGMA user_version").fetchone() == (len(NEXT),)
    assert db.execute("SELECT conversation_id, stars FROM messages").fetchall() == [(chat, 0)]
    db.close()


def test_a_migration_that_fails_changes_nothing(store: Store, path: Path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, (*MIGRATIONS, (*NEXT[-1], "SELECT nonsense")))
    assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert "stars" not in [row[1] for row in db.execute("PRAGMA table_info(messages)")]
    migrate(db, NEXT)
    db.close()


def test_a_migration_that_another_process_has_just_done_is_not_done_twice(tmp_path: Path) -> None:
    first = sqlite3.connect(tmp_path / "db", isolation_level=None)
    first.execute("BEGIN IMMEDIATE")
    first.execute("CREATE TABLE t (x)")
    first.execute("PRAGMA user_version = 1")
    second = sqlite3.connect(tmp_path / "db", isolation_level=None, timeout=30)

    def before(statement: str) -> None:
        if statement == "BEGIN IMMEDIATE":  # it has seen the old version
            first.execute("COMMIT")

    second.set_trace_callback(before)
    migrate(second, [["CREATE TABLE t (x)"]])
    assert second.execute("PRAGMA user_version").fetchone() == (1,)
    first.close()
    second.close()


# ── asyncio ─────────────────────────────────────────────────────────────────────────


async def test_the_async_store_runs_in_order_and_raises_in_the_caller(path: Path) -> None:
    store = await AsyncStore.open(path)
    chat = (await store.create_conversation()).id
    question = await store.add_message(chat, None, "user", "Count.")
    message = await store.begin_reply(chat, question.id, fingerprint="f")
    await asyncio.gather(*(store.append_chunk(message.id, f"{i} ", [i]) for i in range(50)))
    made = await store.finish_reply(message.id, "complete")
    assert made is not None
    assert made.text == "".join(f"{i} " for i in range(50))
    with pytest.raises(StoreError):
        await store.load_conversation("missing")
    await store.close()


async def test_a_cancelled_caller_still_saves(path: Path) -> None:
    store = await AsyncStore.open(path)
    chat = (await store.create_conversation()).id
    tasks = [asyncio.create_task(store.set_draft(chat, f"draft {i}")) for i in range(20)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    assert await store.get_draft(chat) == "draft 19"
    await store.close()


async def test_a_store_that_cannot_be_opened_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        await AsyncStore.open(tmp_path / "file" / "conversations.db")


def test_the_async_store_has_every_method() -> None:
    assert {name for name in vars(Store) if not name.startswith("_")} <= set(vars(AsyncStore)) | {
        "searchable"
    }
