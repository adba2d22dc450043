"""Conversations worth keeping: the tree, the bin, copies, the way from older files, and two
windows at once; on real files and with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.api import SamplingParams
from mistral_tui.history.migrations import VERSION_1, migrate
from mistral_tui.history.schema import Realization
from mistral_tui.history.store import AsyncStore, Store, StoreError

SAMPLING = SamplingParams(temperature=0.2, seed=7)


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


def reply(
    store: Store, chat: str, parent: int | None, text: str, ids: tuple[int, ...] = (1,)
) -> int:
    message = store.begin_reply(chat, parent, fingerprint="f", sampling=SAMPLING)
    store.append_chunk(message.id, text, ids, [-0.5] * len(ids))
    store.finish_reply(message.id, "complete")
    return message.id


def in_view(store: Store, chat: str) -> list[str]:
    return [m.text for m in store.load_conversation(chat)[1]]


# ── versions and branches ───────────────────────────────────────────────────────────


def test_each_message_of_a_branch_knows_its_versions(store: Store) -> None:
    chat, one = ask(store)
    a, b = (reply(store, chat, one, text) for text in ("a", "b"))
    c = store.add_message(chat, b, "user", "more").id
    two = store.edit_message(one, "Why not?").id
    found = store.siblings(chat, c)
    assert {key: (s.ids, s.index, s.count) for key, s in found.items()} == {
        one: ((one, two), 0, 2),
        b: ((a, b), 1, 2),
        c: ((c,), 0, 1),
    }
    assert store.siblings(chat)[two].index == 1
    store.delete_turn(a)
    assert store.siblings(chat, c)[b].ids == (b,)
    assert store.siblings(store.create_conversation().id) == {}


def test_a_branch_comes_back_where_it_was_left(store: Store) -> None:
    chat, root = ask(store)
    a = reply(store, chat, root, "a")
    a1 = store.add_message(chat, a, "user", "a1").id
    store.edit_message(a1, "a2")
    b = reply(store, chat, root, "b")
    b1 = store.add_message(chat, b, "user", "b1").id
    assert store.leaf_below(a) != a1
    store.set_active_leaf(chat, a1)
    assert store.leaf_below(root) == store.leaf_below(a) == a1
    store.set_active_leaf(chat, b1)
    assert store.leaf_below(root) == b1
    assert store.leaf_below(a) == a1
    assert store.show_message(a).active_leaf == a1
    assert in_view(store, chat) == ["Why?", "a", "a1"]
    other = store.edit_message(root, "another root").id
    assert store.leaf_below(root) == a1
    assert store.leaf_below(other) == other
    store.delete_turn(a1)
    assert store.leaf_below(a) != a1


def test_an_edited_message_is_another_version(store: Store) -> None:
    chat, question = ask(store)
    answer = reply(store, chat, question, "It is.", (5, 6))
    made = Realization("f", (5,), seed=3)
    edited = store.edit_message(answer, "It", realization=made)
    assert (edited.role, edited.parent_id, edited.realizations) == ("assistant", question, (made,))
    assert in_view(store, chat) == ["Why?", "It"]
    plain = store.edit_message(answer, "By hand.", settings={"temperature": 0})
    assert plain.realizations == ()
    messages = store.load_conversation(chat)[1]
    assert messages[-1] == plain
    assert messages[-1].settings == {"temperature": 0}
    store.set_active_leaf(chat, answer)
    assert store.load_conversation(chat)[1][-1].realizations[0].ids == (5, 6)


def test_what_is_kept_about_a_message(store: Store) -> None:
    chat, question = ask(store)
    store.update_message(question, pinned=True, settings={"top_p": 0.5})
    made = store.update_message(question, dropped=True)
    assert (made.pinned, made.dropped, made.settings) == (True, True, {"top_p": 0.5})
    assert store.load_conversation(chat)[1] == [made]
    made = store.update_message(question, pinned=False, settings={})
    assert (made.pinned, made.dropped, made.settings) == (False, True, None)


def test_a_reply_is_continued_in_its_place(store: Store) -> None:
    chat, question = ask(store)
    answer = reply(store, chat, question, "Be", (1,))
    assert store.continue_reply(answer, fingerprint="f").status == "streaming"
    store.append_chunk(answer, "cause", (2,), (-1.0,))
    assert in_view(store, chat) == ["Why?", "Because"]
    made = store.finish_reply(answer, "complete", seed=1)
    assert made is not None
    assert (made.text, made.realizations[0].ids) == ("Because", (1, 2))
    assert made.realizations[0].logprobs == (-0.5, -1.0)
    with pytest.raises(StoreError, match="no longer being written"):
        store.append_chunk(answer, "x")
    store.add_message(chat, answer, "user", "And?")
    with pytest.raises(StoreError, match="Something was said below"):
        store.continue_reply(answer)


def test_ids_of_a_part_of_the_text_are_not_kept(store: Store) -> None:
    chat, question = ask(store)
    answer = reply(store, chat, question, "Be")
    store.continue_reply(answer, fingerprint="another model")
    store.append_chunk(answer, "cause", (2,))
    made = store.finish_reply(answer, "complete")
    assert made is not None
    assert (made.text, made.realizations) == ("Because", ())
    beside = store.begin_reply(chat, question, fingerprint="f", text="Be")
    store.append_chunk(beside.id, "tween", (2,))
    made = store.finish_reply(beside.id, "complete")
    assert made is not None
    assert (made.text, made.realizations) == ("Between", ())
    beside = store.begin_reply(chat, question, fingerprint="f", text="Be", ids=(1,))
    store.append_chunk(beside.id, "ware", (9,))
    made = store.finish_reply(beside.id, "complete")
    assert made is not None
    assert made.realizations[0].ids == (1, 9)


@pytest.mark.parametrize("end", ["discard", "nothing came", "killed"])
def test_a_continuation_that_fails_leaves_the_reply(store: Store, path: Path, end: str) -> None:
    chat, question = ask(store)
    answer = reply(store, chat, question, "Because", (1, 2))
    before = store.load_conversation(chat)[1][-1]
    store.continue_reply(answer, fingerprint="f", ids=(1,))
    if end == "discard":
        store.append_chunk(answer, "more", (9,))
        store.discard_reply(answer)
    elif end == "nothing came":
        store.finish_reply(answer, "complete")
    else:
        store.close()
        store = Store(path)
    after = store.load_conversation(chat)[1][-1]
    assert (after.text, after.realizations) == (before.text, before.realizations)
    assert after.status == ("interrupted" if end == "killed" else "complete")
    store.close()


# ── the bin ─────────────────────────────────────────────────────────────────────────


def test_a_deleted_turn_can_be_restored(store: Store) -> None:
    chat, question = ask(store)
    a = reply(store, chat, question, "a")
    store.add_message(chat, a, "user", "below a")
    b = reply(store, chat, question, "b")
    gone_b = store.delete_turn(b)
    assert in_view(store, chat) == ["Why?", "a", "below a"]
    gone = store.delete_turn(question)
    assert in_view(store, chat) == []
    assert store.list_conversations() == []
    assert store.recent_prompts() == []
    with pytest.raises(StoreError, match="no longer exists"):
        store.add_message(chat, a, "user", "x")
    with pytest.raises(StoreError, match="restore that first"):
        store.restore_turn(gone_b)
    store.restore_turn(gone)
    assert in_view(store, chat) == ["Why?", "a", "below a"]
    store.restore_turn(gone_b)
    assert in_view(store, chat) == ["Why?", "b"]
    with pytest.raises(StoreError, match="no longer exists"):
        store.restore_turn(gone_b)


def test_a_deleted_conversation_can_be_restored(store: Store) -> None:
    chat, _ = ask(store)
    kept, _ = ask(store, "kept")
    store.trash_conversation(chat)
    assert [c.id for c in store.list_conversations()] == [kept]
    assert [s.conversation.id for s in store.overview()] == [kept]
    assert [c.id for c in store.deleted_conversations()] == [chat]
    assert store.recent_prompts() == ["kept"]
    assert store.matching_ids(chat[:8]) == []
    assert store.matching_ids(chat[:8], deleted=True) == [chat]
    latest = store.latest_conversation()
    assert latest is not None
    assert latest.id == kept
    store.restore_conversation(chat)
    assert {c.id for c in store.list_conversations()} == {chat, kept}


def test_to_say_something_in_a_deleted_conversation_brings_it_back(store: Store) -> None:
    chat, question = ask(store)
    store.trash_conversation(chat)
    reply(store, chat, question, "still here")
    assert [c.id for c in store.list_conversations()] == [chat]


def test_nothing_is_deleted_under_the_one_who_writes_it(store: Store, path: Path) -> None:
    chat, question = ask(store)
    answer = store.begin_reply(chat, question)
    other = Store(path)
    for delete in (
        lambda: other.trash_conversation(chat),
        lambda: other.delete_turn(question),
        lambda: other.continue_reply(answer.id),
    ):
        with pytest.raises(StoreError, match="still being written"):
            delete()
    store.append_chunk(answer.id, "done")
    store.finish_reply(answer.id, "complete")
    other.delete_turn(answer.id)
    other.trash_conversation(chat)
    other.close()


def test_the_bin_is_emptied_of_what_is_old(store: Store, path: Path) -> None:
    chat, question = ask(store, "an old secret " * 100)
    keeps, root = ask(store, "kept")
    turn = reply(store, keeps, root, "a secret turn " * 100)
    store.trash_conversation(chat)
    store.delete_turn(turn)
    empty, only = ask(store, "a secret alone")
    store.delete_turn(only)
    assert store.purge() == 0
    assert store.purge(older_than=-1) == 3
    assert store.purge(older_than=-1) == 0
    assert in_view(store, keeps) == ["kept"]
    assert not store.exists(chat)
    assert not store.exists(empty)
    store.close()
    assert b"secret" not in path.read_bytes()
    assert question


# ── copies and the list ─────────────────────────────────────────────────────────────


def test_a_branch_and_a_whole_conversation_are_copied(store: Store) -> None:
    chat, question = ask(store)
    store.update_conversation(chat, settings={"x": 1}, pinned=True, system_prompt="Be brief.")
    a = reply(store, chat, question, "a", (5, 6))
    b = reply(store, chat, question, "b")
    store.add_message(chat, b, "user", "below b")
    branch = store.copy_branch(chat, a)
    assert (branch.title, branch.pinned, branch.settings) == ("Why? (copy)", False, {"x": 1})
    copied, messages = store.load_conversation(branch.id)
    assert copied == branch
    assert [m.text for m in messages] == ["Why?", "a"]
    assert messages[1].realizations[0].ids == (5, 6)
    assert messages[1].realizations[0].sampling == SAMPLING
    whole = store.duplicate_conversation(chat)
    assert in_view(store, whole.id) == ["Why?", "b", "below b"]
    tree = store.load_tree(whole.id)[1]
    assert [m.text for m in tree] == ["Why?", "a", "b", "below b"]
    store.delete_conversation(chat)
    assert in_view(store, branch.id) == ["Why?", "a"]


def test_a_copy_has_what_is_said_so_far(store: Store) -> None:
    chat, question = ask(store)
    message = store.begin_reply(chat, question)
    assert in_view(store, store.copy_branch(chat).id) == ["Why?"]
    store.append_chunk(message.id, "so far", (1,))
    copy = store.copy_branch(chat)
    assert in_view(store, copy.id) == ["Why?", "so far"]
    assert store.load_conversation(copy.id)[1][-1].status == "interrupted"


def test_the_overview_has_pinned_ones_first(store: Store) -> None:
    a, question = ask(store, "a")
    reply(store, a, question, "\x1b[31mthe\n answer")
    b, _ = ask(store, "b")
    c = store.create_conversation().id
    store.set_draft(c, "unsent")
    store.set_pinned(a, True)
    found = store.overview()
    assert [s.conversation.id for s in found] == [a, c, b]
    assert [(s.messages, s.preview) for s in found] == [(2, "the answer"), (0, "unsent"), (1, "b")]
    assert [s.conversation.id for s in store.overview(1, 1)] == [c]
    assert [x.id for x in store.list_conversations()] == [c, b, a]
    store.set_pinned(a, False)
    assert not store.get_conversation(a).pinned


def test_a_damaged_tree_that_goes_in_circles_ends(store: Store) -> None:
    chat, one = ask(store)
    two = store.add_message(chat, one, "user", "2").id
    store._db.execute("UPDATE messages SET parent_id = ? WHERE id = ?", (two, one))
    store.leaf_below(one)
    store.siblings(chat)
    store.set_active_leaf(chat, one)
    store.delete_turn(two)


# ── older files ─────────────────────────────────────────────────────────────────────


def old_file(path: Path) -> None:
    """As version 1 wrote it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, isolation_level=None)
    migrate(db, (VERSION_1,))
    db.execute("BEGIN")
    for n in range(1, 4):
        values = (f"chat-{n}", f"Títle {n}", n, n + 0.5, "m", "/m", "sys", "", 2 * n, '{"a": 1}')
        db.execute(f"INSERT INTO conversations VALUES ({', '.join('?' * 10)})", values)
        for key, parent, role in ((2 * n - 1, None, "user"), (2 * n, 2 * n - 1, "assistant")):
            content = json.dumps([{"type": "text", "text": f"{role} says café {n}"}])
            place = (key, f"chat-{n}", parent, role, content, "complete", float(n))
            db.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)", place)
        made = (2 * n, "f", b"\1\0\0\0", b"\0\0\0\xbf", "7", '{"top_p": 0.5}', None, None, "stop")
        db.execute("INSERT INTO realizations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", made)
    db.execute("INSERT INTO settings VALUES ('last_model', 'x')")
    db.execute("COMMIT")
    db.close()


def contents(path: Path, columns: dict[str, str]) -> dict[str, list[tuple[object, ...]]]:
    with sqlite3.connect(path) as db:
        return {
            t: db.execute(f"SELECT {c} FROM {t} ORDER BY 1").fetchall() for t, c in columns.items()
        }


def columns(path: Path) -> dict[str, str]:
    tables = ("conversations", "messages", "realizations", "settings")
    with sqlite3.connect(path) as db:
        return {
            t: ", ".join(r[1] for r in db.execute(f"PRAGMA table_info({t})").fetchall())
            for t in tables
        }


def test_a_file_of_version_1_keeps_all_and_can_be_searched(path: Path) -> None:
    old_file(path)
    names = columns(path)
    before = contents(path, names)
    store = Store(path)
    assert contents(path, names) == before
    assert [c.title for c in store.list_conversations()] == ["Títle 3", "Títle 2", "Títle 1"]
    messages = store.load_conversation("chat-2")[1]
    assert messages[1].realizations[0].ids == (1,)
    assert (messages[1].settings, messages[1].meta) == (None, {})
    assert len(store.search("cafe")) == 6
    assert [h.title for h in store.search("title 2")] == ["Títle 2"]
    store.set_pinned("chat-1", True)
    store.delete_turn(2)
    store.close()
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_migration_that_is_killed_leaves_the_old_file(path: Path) -> None:
    old_file(path)
    names = columns(path)
    before = contents(path, names)
    source = (
        "import os, sqlite3, sys\n"
        "from mistral_tui.history.migrations import VERSION_1, VERSION_2, migrate\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.create_function('die', 0, lambda: os._exit(9))\n"
        "migrate(db, (VERSION_1, (*VERSION_2, 'SELECT die()')))"
    )
    assert child(source, path).wait() == 9
    assert columns(path) == names
    assert contents(path, names) == before
    Store(path).close()
    assert contents(path, names) == before


def child(source: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, args)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_two_processes_bring_a_file_up_to_date_at_once(path: Path) -> None:
    for _ in range(3):
        path.unlink(missing_ok=True)
        old_file(path)
        source = (
            "import sys; from pathlib import Path; from mistral_tui.history.store import Store\n"
            "store = Store(Path(sys.argv[1])); print(len(store.search('cafe'))); store.close()"
        )
        processes = [child(source, path) for _ in range(2)]
        assert [p.communicate()[0] for p in processes] == ["6\n", "6\n"]


# ── two windows ─────────────────────────────────────────────────────────────────────


def test_two_processes_write_delete_and_search_at_once(path: Path) -> None:
    source = """
import sys
from pathlib import Path
from mistral_tui.history.store import Store
store, me = Store(Path(sys.argv[1])), sys.argv[2]
for n in range(25):
    chat = store.create_conversation().id
    parent = store.add_message(chat, None, "user", f"question {me} {n}").id
    message = store.begin_reply(chat, parent, fingerprint=me)
    for word in range(4):
        store.append_chunk(message.id, f"word{word} ", [word])
    store.finish_reply(message.id, "complete")
    assert any(h.conversation_id == chat for h in store.search(f"{me} {n} ", 100))
    if n % 5 == 0:
        store.restore_turn(store.delete_turn(message.id))
        store.set_pinned(store.copy_branch(chat).id, True)
    if n % 5 == 1:
        store.trash_conversation(chat)
    if n % 5 == 2:
        store.delete_conversation(chat)
    if n % 5 == 3:
        store.purge(3600)
    store.overview()
store.close()
"""
    processes = [child(source, path, name) for name in ("left", "right")]
    assert [p.wait(timeout=120) for p in processes] == [0, 0]
    store = Store(path)
    for name in ("left", "right"):
        expected = {n for n in range(25) if n % 5 not in (1, 2)}
        hits = [h for h in store.search(f"question {name} ", 200) if h.message_id]
        assert len(hits) == len(expected) + 5
        assert {int(h.snippet.split()[-1]) for h in hits} == expected
    assert len(store.list_conversations(100)) == 2 * (15 + 5)
    assert len(store.deleted_conversations()) == 2 * 5
    for summary in store.overview(100):
        *_, answer = store.load_conversation(summary.conversation.id)[1]
        assert answer.text == "word0 word1 word2 word3 "
        assert answer.realizations[0].ids == (0, 1, 2, 3)
    for table in ("search_text", "search_title"):
        store._db.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
    assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


@pytest.mark.parametrize("in_memory", [False, True])
async def test_a_long_job_runs_beside_a_reply(path: Path, in_memory: bool) -> None:
    store = await AsyncStore.open(None if in_memory else path)
    chat = (await store.create_conversation()).id
    question = await store.add_message(chat, None, "user", "Why?")
    message = await store.begin_reply(chat, question.id)

    def job(other: Store) -> int:
        other.duplicate_conversation(chat)
        return len(other.overview())

    found = asyncio.create_task(store.beside(job))
    await store.append_chunk(message.id, "Because")
    assert await found == 2
    await store.finish_reply(message.id, "complete")
    assert message.id in [hit.message_id for hit in await store.search("because")]
    await store.close()


def test_a_long_branch_is_quick(store: Store) -> None:
    store._db.execute("PRAGMA synchronous = OFF")
    chat, parent = ask(store)
    with store._transaction():
        for n in range(1500):
            parent = store.add_message(chat, parent, "user", f"message {n}").id
    begun = time.perf_counter()
    root = store.load_conversation(chat)[1][0].id
    assert len(store.siblings(chat)) == 1501
    assert store.leaf_below(root) == parent
    store.restore_turn(store.delete_turn(root))
    assert len(store.load_tree(store.duplicate_conversation(chat).id)[1]) == 1501
    assert time.perf_counter() - begun < 10
