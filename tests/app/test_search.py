"""Full-text search: what is found, in which order, what is shown; and without FTS5."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mistral_tui.history import search
from mistral_tui.history.store import Hit, Store, StoreError
from mistral_tui.sanitize import sanitize


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "conversations.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


def say(store: Store, text: str, chat: str = "", title: str = "untitled") -> tuple[str, int]:
    if not chat:
        chat = store.create_conversation().id
        store.set_title(chat, title)
    return chat, store.add_message(chat, None, "user", text).id


def found(store: Store, query: str) -> set[int | None]:
    return {hit.message_id for hit in store.search(query, 100)}


def marked(hit: Hit) -> list[str]:
    return [hit.snippet[a:b] for a, b in hit.spans]


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("fox", True),
        ("FOX brown", True),
        ("fox dog", False),
        ('"quick brown"', True),
        ('"brown quick"', False),
        ("qui", True),
        ("q", False),  # a single letter is a word
        ("qui fox", False),  # only the last word may be unfinished
        ("quick ", True),
        ("qui ", False),
        ('"qui"', False),
        ("cafe", True),
        ("CAFÉ", True),
        ("user_id", True),
        ("id", True),
        ("os.path.join", True),
        ("path.jo", True),
        ("join.path", False),
        ("get_value(x)", True),
        ("=> fox", True),  # without letters there is nothing to look for
        ("=>", False),
        ("", False),
        ("NOT fox", False),  # no operators: words
        ("fox OR dog", False),
        ("text:fox", False),
        ("fox*", True),
        ("猫", True),
        ('"quick brown', True),
        ('say"quick brown"fox', False),
    ],
)
def test_what_is_found(store: Store, query: str, matches: bool) -> None:
    _, key = say(
        store, "The quick brown fox in the Café: `os.path.join(user_id)`, get_value(x) 猫の"
    )
    say(store, "nothing of it")
    assert (key in found(store, query)) is matches


@given(query=st.text(st.characters()) | st.text('"*^():{}+-. aANDORNOTE\x00é猫'))
@settings(max_examples=300, deadline=None)
@example('"')
@example('""')
@example("* ^ ( ) : { } + - .")
@example('a" OR "b')
@example("NEAR(a b, 3)")
@example("\x00")
@example("a\x00b")
@example("\ud800")
@example("\u0345")
@example("\U0001fbf0")
@example("a " * 2000)
@example("𞤀 x")
def test_whatever_is_typed_is_a_query(query: str) -> None:
    store = STORES.setdefault("one", Store(None))
    if not store.list_conversations():
        say(store, "some text about a and b")
    store.search(query)


STORES: dict[str, Store] = {}


def test_titles_are_found_and_follow_their_change(store: Store) -> None:
    chat, _ = say(store, "hello", title="About lighthouses")
    (hit,) = store.search("lighth")
    assert (hit.conversation_id, hit.message_id, hit.role) == (chat, None, "")
    assert (hit.title, marked(hit)) == ("About lighthouses", ["lighthouses"])
    store.set_title(chat, "About ships")
    assert not store.search("lighthouses")
    assert store.search("ships")
    store.delete_conversation(chat)
    assert not store.search("ships")


def test_a_reply_is_found_once_it_is_finished(store: Store) -> None:
    chat, question = say(store, "Why?")
    message = store.begin_reply(chat, question)
    before = store._db.total_changes
    store.append_chunk(message.id, "because of the lighthouse")
    assert store._db.total_changes == before + 1  # the index is left alone
    assert not store.search("lighthouse")
    store.finish_reply(message.id, "complete")
    assert found(store, "lighthouse") == {message.id}
    store.continue_reply(message.id)
    assert not store.search("lighthouse")
    store.append_chunk(message.id, " keeper")
    store.finish_reply(message.id, "complete")
    assert found(store, "lighthouse keeper") == {message.id}
    blank = store.begin_reply(chat, question)
    store.finish_reply(blank.id, "complete")


def test_what_is_deleted_is_not_found_and_comes_back(store: Store) -> None:
    chat, key = say(store, "a lighthouse")
    gone = store.delete_turn(key)
    assert not store.search("lighthouse")
    store.restore_turn(gone)
    store.trash_conversation(chat)
    assert not store.search("lighthouse")
    store.restore_conversation(chat)
    assert found(store, "lighthouse") == {key}


def test_the_best_come_first_and_of_equals_the_newest(store: Store) -> None:
    filler = "and so on with many other words that say nothing " * 5
    chat, passing = say(store, f"a lighthouse {filler}")
    _, first = say(store, "lighthouse lighthouse", chat)
    _, second = say(store, "lighthouse lighthouse", chat)
    say(store, filler, chat)
    hits = [hit.message_id for hit in store.search("lighthouse")]
    assert hits == [second, first, passing]
    assert [h.message_id for h in store.search("lighthouse", 1, 1)] == [first]
    assert store.search("lighthouse", 0) == []


def test_of_a_word_that_is_everywhere_the_newest_are_ranked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [say(store, f"the {n}")[1] for n in range(5)]
    monkeypatch.setattr(search, "RANKED", 2)
    assert found(store, "the ") == set(keys[-2:])


def test_the_snippet_shows_where_it_is(store: Store) -> None:
    say(
        store, "word " * 200 + "\n\n the \x1b[31m Café\x1b[0m  and\tthe <b>cafe</b> " + "end " * 200
    )
    (hit,) = store.search("cafe")
    assert marked(hit) == ["Café", "cafe"]
    assert hit.snippet.startswith("…")
    assert hit.snippet.endswith("…")
    assert "the Café and the <b>cafe</b> end" in hit.snippet
    assert len(hit.snippet) <= 160
    say(store, '"quick\n brown" fox')
    (hit,) = store.search('"quick brown"')
    assert (hit.snippet, marked(hit)) == ('"quick brown" fox', ["quick brown"])


@given(text=st.text(st.characters()), tail=st.text(st.characters(), max_size=200))
@settings(max_examples=100, deadline=None)
def test_a_snippet_is_safe_and_its_spans_are_in_it(text: str, tail: str) -> None:
    store = Store(None)
    say(store, f"{text} needle {tail}")
    for hit in store.search("needle"):
        assert hit.snippet == sanitize(hit.snippet)
        assert "\n" not in hit.snippet
        assert all(part.casefold() == "needle" for part in marked(hit) if len(part) == 6)
        assert all(0 <= a < b <= len(hit.snippet) for a, b in hit.spans)
    store.close()


def test_a_huge_message_shows_its_beginning(store: Store) -> None:
    say(store, "begin " + "x " * 400_000 + " lighthouse")
    (hit,) = store.search("lighthouse")
    assert hit.snippet.startswith("begin x")
    assert hit.spans == ()


def test_without_fts5_all_else_works_and_the_index_catches_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(path)
    chat, key = say(store, "a lighthouse", title="harbour")
    store.close()
    with monkeypatch.context() as lacking:
        lacking.setattr(search, "_is_able", lambda db: False)
        store = Store(path)
        assert not store.searchable
        with pytest.raises(StoreError, match="FTS5"):
            store.search("lighthouse")
        _, later = say(store, "another lighthouse", chat)
        store.set_title(chat, "port")
        store.delete_turn(key)
        other, _ = say(store, "a secret lighthouse")
        store.delete_conversation(other)
        store.purge(older_than=-1)
        store.close()
    store = Store(path)
    assert found(store, "lighthouse") == {later}
    assert found(store, "port") == {None}
    assert not store.search("harbour")
    store.close()


def test_a_half_made_index_is_made_again(path: Path) -> None:
    store = Store(path)
    _, key = say(store, "a lighthouse")
    store._db.execute("DROP TRIGGER search_text_added")
    store.close()
    store = Store(path)
    assert found(store, "lighthouse") == {key}
    store.close()
