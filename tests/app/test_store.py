"""The conversation store, on real files and with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.api import SamplingParams, Timings, Usage
from mistral_tui.schema import MIGRATIONS, migrate, storable, title_from
from mistral_tui.store import AsyncStore, Store, StoreError

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


def child(source: str, *args: object) -> subprocess.Popen[str]:
    """Another process that has a store open at the path in its first argument."""
    head = "import sys; from pathlib import Path; from mistral_tui.store import Store\n"
    head += "store = Store(Path(sys.argv[1]))\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(source), *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# ── what is said is kept ────────────────────────────────────────────────────────────


def test_a_reply_is_read_back_as_it_was_made(store: Store, path: Path) -> None:
    chat, question = ask(store)
    message = store.begin_reply(chat, question, fingerprint="f", sampling=SAMPLING)
    store.append_chunk(message.id, "Be", [70000], [-0.25])
    store.append_chunk(message.id, "cause", [2**32 - 1, 0], [-1.5, float("-inf")])
    made = store.finish_reply(
        message.id, "complete", seed=7, usage=USAGE, timings=TIMINGS, finish_reason="stop"
    )
    other = Store(path)
    conversation, messages = other.load_conversation(chat)
    other.close()
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
    assert realization.finish_reason == "stop"
    assert messages[1].realization("another model") is None


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


# ── several processes, and their death ──────────────────────────────────────────────

STREAM = """
    chat = store.create_conversation().id
    question = store.add_message(chat, None, "user", "Count.").id
    message = store.begin_reply(chat, question, fingerprint="f")
    print(chat, flush=True)
    for i in range(int(sys.argv[2])):
        store.append_chunk(message.id, f"{i} ", [i], [-1.0])
        print(i, flush=True)
    sys.stdin.read()
"""


def test_what_was_streamed_survives_the_kill_of_its_process(path: Path) -> None:
    process = child(STREAM, path, 10**9)
    chat = line(process)
    while int(line(process)) < 200:
        pass
    process.kill()
    assert process.stdout is not None
    acknowledged = 200 + len(process.stdout.read().split("\n")[:-1])
    process.wait()
    store = Store(path)
    _, messages = store.load_conversation(chat)
    reply = messages[-1]
    numbers = [int(word) for word in reply.text.split()]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > acknowledged - 1
    assert reply.status == "interrupted"
    assert reply.realizations[0].ids == tuple(numbers)
    assert sorted(p.name for p in path.parent.glob("*.live-*")) == []
    store.close()


def test_a_reply_without_a_word_does_not_survive_the_kill(path: Path) -> None:
    process = child(STREAM, path, 0)
    chat = line(process)
    process.kill()
    process.wait()
    store = Store(path)
    assert [m.text for m in store.load_conversation(chat)[1]] == ["Count."]
    store.close()


def test_the_reply_of_a_living_process_is_left_to_it(path: Path) -> None:
    process = child(STREAM, path, 3)
    chat = line(process)
    while line(process) != "2":
        pass
    store = Store(path)
    reply = store.load_conversation(chat)[1][-1]
    assert (reply.text, reply.status) == ("0 1 2 ", "streaming")
    process.send_signal(signal.SIGSTOP)  # a stopped one is alive, too
    assert store.recover() == 0
    process.kill()
    process.wait()
    reply = store.load_conversation(chat)[1][-1]
    assert (reply.text, reply.status) == ("0 1 2 ", "interrupted")
    store.close()


def test_closing_keeps_what_is_still_being_written(path: Path) -> None:
    store = Store(path)
    chat, question = ask(store)
    store.append_chunk(store.begin_reply(chat, question).id, "half")
    store.close()
    store.close()
    store = Store(path)
    reply = store.load_conversation(chat)[1][-1]
    assert (reply.text, reply.status) == ("half", "interrupted")
    store.close()


def test_processes_that_open_a_new_file_at_once_all_write_to_it(path: Path) -> None:
    source = """
        for i in range(20):
            chat = store.create_conversation().id
            store.add_message(chat, None, "user", sys.argv[2] + str(i))
        store.close()
    """
    processes = [child(source, path, name) for name in "abcd"]
    assert [process.wait() for process in processes] == [0] * 4
    store = Store(path)
    expected = {name + str(i) for name in "abcd" for i in range(20)}
    assert set(store.recent_prompts()) == expected
    store.close()


def test_two_stores_see_what_the_other_does(store: Store, path: Path) -> None:
    other = Store(path)
    chat, question = ask(store)
    mine = store.begin_reply(chat, question)
    theirs = other.begin_reply(chat, question)
    store.append_chunk(mine.id, "mine")
    other.append_chunk(theirs.id, "theirs")
    assert store.recover() == other.recover() == 0
    store.finish_reply(mine.id, "complete")
    other.finish_reply(theirs.id, "complete")
    assert {m.text for m in store.load_conversation(chat)[1]} == {"Why?", "theirs"}
    other.delete_conversation(chat)
    with pytest.raises(StoreError, match="deleted"):
        store.add_message(chat, theirs.id, "user", "And?")
    other.close()


# ── troubles ────────────────────────────────────────────────────────────────────────


def test_a_file_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="newer mistral-tui"):
        Store(path)
    assert path.read_bytes() == before


def test_the_database_of_another_program_is_refused(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="another program"):
        Store(path)


def test_a_damaged_file_is_refused_with_a_sentence(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="damaged: move it away"):
        Store(path)


def test_damage_inside_the_file_is_a_sentence_too(store: Store, path: Path) -> None:
    chat, _ = ask(store)
    store._db.execute("UPDATE messages SET content = '{broken'")
    with pytest.raises(StoreError, match="damaged"):
        store.load_conversation(chat)
    chat, _ = ask(store, "long " * 20_000)
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(StoreError, match="damaged"):
        Store(path).load_conversation(chat)


def test_a_folder_or_file_that_cannot_be_written_is_a_sentence(path: Path) -> None:
    Store(path).close()
    for folder in path.parents[:4]:  # let another user come as far as the data folder
        if folder.stat().st_uid == os.geteuid() and folder != folder.parent:
            folder.chmod(0o755)
    path.chmod(0o644)
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65534)  # permissions do not bind the superuser
    else:
        path.chmod(0o444)
        path.parent.chmod(0o555)
    try:
        for file in (path, path.with_name("new.db"), path.parent / "new" / "new.db"):
            with pytest.raises(StoreError, match="permissions"):
                Store(file)
    finally:
        if superuser:
            os.seteuid(0)
        path.parent.chmod(0o755)


def test_after_a_full_disk_the_store_goes_on(store: Store) -> None:
    chat, question = ask(store)
    unsaved = store.create_conversation().id
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="disk is full"):
        store.add_message(chat, question, "user", "x" * 100_000)
    with pytest.raises(StoreError, match="disk is full"):
        store.add_message(unsaved, None, "user", "x" * 100_000)
    store._db.execute("PRAGMA max_page_count = 1000000")
    store.add_message(chat, question, "user", "short")
    store.add_message(unsaved, None, "user", "now")
    assert [m.text for m in store.load_conversation(chat)[1]] == ["Why?", "short"]
    assert [m.text for m in store.load_conversation(unsaved)[1]] == ["now"]


def test_a_busy_file_is_a_sentence(store: Store, path: Path) -> None:
    chat, question = ask(store)
    store._db.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="busy"):
        store.add_message(chat, question, "user", "x")
    other.close()
    store.add_message(chat, question, "user", "x")


def test_only_the_owner_can_read_the_file(store: Store, path: Path) -> None:
    ask(store)
    assert {p.stat().st_mode & 0o777 for p in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


# ── migrations ──────────────────────────────────────────────────────────────────────

NEXT = (*MIGRATIONS, ("ALTER TABLE messages ADD COLUMN stars INTEGER NOT NULL DEFAULT 0",))


def test_a_migration_keeps_what_is_there(store: Store, path: Path) -> None:
    chat, _ = ask(store)
    db = sqlite3.connect(path, isolation_level=None)
    migrate(db, NEXT)
    migrate(db, NEXT)
    assert db.execute("PRAGMA user_version").fetchone() == (2,)
    assert db.execute("SELECT conversation_id, stars FROM messages").fetchall() == [(chat, 0)]
    db.close()


def test_a_migration_that_fails_changes_nothing(store: Store, path: Path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, (*MIGRATIONS, (*NEXT[1], "SELECT nonsense")))
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert "stars" not in [row[1] for row in db.execute("PRAGMA table_info(messages)")]
    migrate(db, NEXT)
    db.close()


def test_full_text_search_can_be_added_by_a_migration(store: Store, path: Path) -> None:
    chat, question = ask(store, "the quick brown fox")
    answer = reply(store, chat, question, "a lazy dog")
    fts = (
        "CREATE VIRTUAL TABLE search USING fts5 (text)",
        "INSERT INTO search (rowid, text) "
        "SELECT m.id, group_concat(json_extract(p.value, '$.text')) FROM messages m, json_each(m.content) p GROUP BY m.id",
    )
    db = sqlite3.connect(path, isolation_level=None)
    migrate(db, (*MIGRATIONS, fts))
    assert db.execute("SELECT rowid FROM search ('lazy')").fetchall() == [(answer,)]
    db.close()


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


def test_the_async_store_has_every_method(path: Path) -> None:
    names = {name for name in vars(Store) if not name.startswith("_")}
    assert names <= set(vars(AsyncStore))
