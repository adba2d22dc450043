"""Conversations to files and back; foreign files, however hostile."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from inference.api import SamplingParams, Timings, Usage
from mistral_tui.history import export, json_elements
from mistral_tui.history.importing import Report, import_file
from mistral_tui.history.schema import Realization
from mistral_tui.history.store import Store, StoreError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "data" / "conversations.db")
    yield store
    store.close()


def told(store: Store) -> str:
    """A conversation with all there can be in one."""
    chat = store.create_conversation(model_name="tiny", model_path="/m", system_prompt="Be brief.")
    question = store.add_message(chat.id, None, "user", "Why?\x1b[31m\ud800", settings={"top_k": 3})
    message = store.begin_reply(chat.id, question.id, fingerprint="f", sampling=SamplingParams(0.2))
    store.append_chunk(message.id, "Because", [1, 2**32 - 1], [-0.1, -math.inf])
    store.finish_reply(
        message.id,
        "length",
        seed=2**64 - 1,
        usage=Usage(5, 2, 3),
        timings=Timings(0.5, 0.6, 1.0, 3.0),
        finish_reason="length",
    )
    store.update_message(message.id, pinned=True)
    by_hand = store.edit_message(message.id, "By hand", realization=Realization("g", (7,)))
    store.add_message(chat.id, by_hand.id, "user", "below")
    store.set_active_leaf(chat.id, message.id)
    store.update_conversation(chat.id, pinned=True, draft="unsent", settings={"a": [1, None]})
    return chat.id


def content(store: Store, chat: str) -> Any:
    """All of a conversation but its ids, which are replaced by places."""
    value = export.to_json(*store.load_tree(chat))
    place = {m["id"]: n for n, m in enumerate(value["messages"])}
    for m in value["messages"]:
        m |= {"id": place[m["id"]], "parent": place.get(m["parent"])}
        m["last_child"] = place.get(m.get("last_child"))
    value["active_leaf"] = place.get(value["active_leaf"])
    del value["id"]
    return value


def give(store: Store, folder: Path, value: object) -> Report:
    file = folder / "import.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return import_file(store, file)


# ── our own format ──────────────────────────────────────────────────────────────────


def test_json_comes_back_without_loss(store: Store, tmp_path: Path) -> None:
    chat, other = told(store), told(store)
    store.set_title(other, "Other")
    before = {c: content(store, c) for c in (chat, other)}
    loaded = store.load_tree(chat)
    file = tmp_path / "all.json"
    assert export.export_file(store, file, "json") == 2
    assert file.stat().st_mode & 0o777 == 0o600
    whole = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert (whole["format"], whole["version"]) == ("mistral-tui", 1)
    elsewhere = Store(tmp_path / "elsewhere" / "conversations.db")
    report = import_file(elsewhere, file)
    assert (report.conversations, report.messages, report.skipped_messages) == (2, 8, 0)
    assert {c: content(elsewhere, c) for c in (chat, other)} == before
    again = elsewhere.load_tree(chat)
    for old, new in zip(loaded[1], again[1], strict=True):
        assert (old.parts, old.realizations, old.meta) == (new.parts, new.realizations, new.meta)
    assert elsewhere.search("by hand")
    elsewhere.close()


def test_what_was_imported_before_is_recognized(store: Store, tmp_path: Path) -> None:
    chat = told(store)
    file = tmp_path / "one.json"
    export.export_file(store, file, "json", [chat])
    assert import_file(store, file) == Report(known=1)  # it is still there
    store.set_title(chat, "changed since")
    assert import_file(store, file).conversations == 1
    assert import_file(store, file) == Report(known=1)
    assert len(store.list_conversations()) == 2
    for conversation in store.list_conversations():
        store.trash_conversation(conversation.id)
    assert import_file(store, file).conversations == 1
    assert len(store.list_conversations()) == 1


def test_a_reply_that_is_being_written_is_exported_so_far(store: Store, tmp_path: Path) -> None:
    chat = store.create_conversation().id
    question = store.add_message(chat, None, "user", "Why?")
    message = store.begin_reply(chat, question.id)
    value = export.to_json(*store.load_tree(chat))
    assert (len(value["messages"]), value["active_leaf"]) == (1, question.id)
    store.append_chunk(message.id, "so far", [1])
    value = export.to_json(*store.load_tree(chat))
    assert value["messages"][1]["status"] == "interrupted"


def test_deleted_messages_are_not_exported(store: Store) -> None:
    chat = told(store)
    store.delete_turn(store.load_tree(chat)[1][-1].id)
    assert "below" not in json.dumps(export.to_json(*store.load_tree(chat)))


# ── Markdown ────────────────────────────────────────────────────────────────────────


def test_markdown_has_the_branch_in_view(store: Store) -> None:
    out = io.StringIO()
    assert export.export(store, out, "md", [told(store)]) == 1
    text = out.getvalue()
    assert text.startswith("# Why?�\n\nBegun 20")
    assert "## System\n\nBe brief.\n" in text
    assert "· cut off at the length limit\n\nBecause\n" in text
    assert "By hand" not in text
    assert "\x1b" not in text


def headings(text: str) -> int:
    tokens = MarkdownIt("commonmark").parse(text)
    return sum(t.type == "heading_open" and t.tag == "h2" and t.level == 0 for t in tokens)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nopen",
        "~~~~\nopen\n~~~",
        "````\n```\n",
        "- ```\n  open",
        "> ```\nopen",
        "<!-- open",
        "<script>\nopen ```",
        "<pre>\n```\n````",
        "   ```\nopen",
        "<![CDATA[",
        "```\n" * 5,
        "# Heading",
        "x" * 200_000 + "\n```\nopen",
    ],
)
def test_nothing_in_a_message_swallows_the_next_one(store: Store, text: str) -> None:
    chat = store.create_conversation().id
    first = store.add_message(chat, None, "user", text)
    store.add_message(chat, first.id, "assistant", "answer")
    out = io.StringIO()
    export.export(store, out, "md", [chat])
    assert headings(out.getvalue()) == 2


@given(st.text(st.sampled_from("`~<!-> \n\tpre#*ab")))
@settings(max_examples=200, deadline=None)
def test_any_text_is_closed(text: str) -> None:
    marked = f"## A\n\n{export._closed(text)}\n\n## Z\n"
    tokens = MarkdownIt("commonmark").parse(marked)
    assert [t.content for t in tokens if t.type == "inline"][-1] == "Z"
    assert tokens[-3].type == "heading_open"


# ── files ───────────────────────────────────────────────────────────────────────────


def test_a_full_disk_leaves_the_old_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(store)
    file = tmp_path / "out.md"
    file.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"The disk is full: .*out\.md was not written"):
        export.export_file(store, file, "md")
    assert file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_place_that_cannot_be_written_is_a_sentence(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot be written: No such file or directory\."):
        export.export_file(store, tmp_path / "no" / "out.md", "md")
    with pytest.raises(StoreError, match=r"cannot be written: Is a directory\."):
        export.export_file(store, tmp_path, "md")


# ── ChatGPT's format ────────────────────────────────────────────────────────────────


def node(key: str, parent: str | None, text: object, role: str = "user", **more: Any) -> Any:
    parts = text if isinstance(text, list) else [text]
    message = {
        "id": key,
        "author": {"role": role, "name": more.pop("name", None)},
        "create_time": 1.7e9 + len(key),
        "content": {"content_type": "text", "parts": parts},
    }
    return {"id": key, "parent": parent, "children": [], "message": message | more}


def chatgpt(*nodes: Any, **more: Any) -> dict[str, Any]:
    mapping = {n["id"]: n for n in nodes}
    for n in nodes:
        if n["parent"] in mapping:
            mapping[n["parent"]]["children"].append(n["id"])
    root = {"title": "Theirs", "create_time": 1.7e9, "update_time": 1.7e9 + 60, "mapping": mapping}
    return root | more


def test_a_chatgpt_export_is_a_tree(store: Store, tmp_path: Path) -> None:
    nodes = [
        {"id": "root", "parent": None, "children": [], "message": None},
        node("sys", "root", "Be kind.", "system"),
        node("hidden", "sys", "secret", metadata={"is_visually_hidden_from_conversation": True}),
        node("q", "hidden", ["Look", {"content_type": "image_asset_pointer"}, {"text": "here"}, 7]),
        node("a", "q", "One", "assistant"),
        node("b", "q", "Two", "assistant"),
        node("call", "b", [], "assistant"),
        node("tool", "call", "42\x07", "tool", name="python"),
        node("end", "tool", "It is 42.", "assistant"),
    ]
    nodes[6]["message"]["content"] = {"content_type": "code", "language": "py", "text": "6*7"}
    element = chatgpt(*nodes, current_node="a", default_model_slug="gpt-x")
    report = give(store, tmp_path, [element])
    assert (report.conversations, report.messages, report.placeholders) == (1, 6, 2)
    assert report.sentence() == (
        "Imported 1 conversation with 6 messages; 2 attachments replaced by a word."
    )
    (conversation,) = store.list_conversations()
    assert (conversation.title, conversation.system_prompt) == ("Theirs", "Be kind.")
    assert (conversation.model_name, conversation.updated_at) == ("gpt-x", 1.7e9 + 60)
    messages = store.load_conversation(conversation.id)[1]
    assert [m.text for m in messages] == ["Look\n\n[image]\n\nhere\n\n[attachment]", "One"]
    assert store.siblings(conversation.id)[messages[1].id].count == 2
    tree = {m.text: m for m in store.load_tree(conversation.id)[1]}
    assert tree["```py\n6*7\n```"].parent_id == tree["Two"].id
    tool = tree["Tool python:\n\n42\x07"]
    assert (tool.role, tool.meta["imported_role"]) == ("assistant", "tool")
    assert give(store, tmp_path, [element]) == Report(known=1)
    assert [h.role for h in store.search("secret")] == []


def test_circles_and_missing_parents_are_survived(store: Store, tmp_path: Path) -> None:
    nodes = [
        node("a", "nowhere", "a"),
        node("b", "c", "b"),
        node("c", "b", "c"),
        node("self", "self", "self"),
        node("d", "a", "d", "assistant"),
    ]
    report = give(store, tmp_path, [chatgpt(*nodes, current_node="b")])
    assert (report.messages, report.skipped_messages) == (2, 3)
    (conversation,) = store.list_conversations()
    assert [m.text for m in store.load_conversation(conversation.id)[1]] == ["a", "d"]
    ours = {"messages": [said(1, 2), said(2, 1), said(3, 99), said(4, 3), said(4, 1), said(5, 5)]}
    report = give(store, tmp_path, {"format": "mistral-tui", "version": 1, "conversations": [ours]})
    assert (report.messages, report.skipped_messages) == (2, 4)


def said(key: object, parent: object, **more: Any) -> dict[str, Any]:
    parts = [{"type": "text", "text": f"message {key}"}]
    return {"id": key, "parent": parent, "role": "user", "parts": parts} | more


def test_a_long_chat_is_no_deep_recursion(store: Store, tmp_path: Path) -> None:
    nodes = [node(str(n), str(n - 1), f"text {n}") for n in range(1, 5000)]
    report = give(store, tmp_path, [chatgpt(*nodes, current_node="4999")])
    assert report.messages == 4999
    (conversation,) = store.list_conversations()
    assert len(store.load_conversation(conversation.id)[1]) == 4999


# ── hostile files ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON|no conversations|cut off"),
        ("hello", "not JSON"),
        ("PK\x03\x04", "not JSON"),
        ("[", "cut off"),
        ('[{"mapping": ', "cut off"),
        ('[{"mapping": "', "cut off"),
        ('{"format": "mistral-tui", "version": 2, "conversations": [{}]}', "newer"),
        ("[" * 100_000, "too deeply"),
        ('[{"a": ' * 100_000, "too deeply"),
        (f"[{'9' * 5000}]", "too long"),
        ("[1, 2 3]", "not JSON"),
        ("{}", "no conversations"),
        ("[]", "no conversations"),
        ("[1, null, [], {}]", "no conversations"),
        ('{"a" 1}', "not JSON"),
        ("{1: 2}", "not JSON|no conversations"),
    ],
)
def test_a_file_that_is_none_of_ours_is_one_sentence(
    store: Store, tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(StoreError, match=f"cannot be imported: .*({why})") as caught:
        give(store, tmp_path, text)
    assert "\n" not in str(caught.value)
    assert store.list_conversations() == []


def test_a_file_that_is_not_there_is_one_sentence(store: Store, tmp_path: Path) -> None:
    for path in (tmp_path / "no.json", tmp_path):
        with pytest.raises(StoreError, match="cannot be imported: "):
            import_file(store, path)


def test_what_came_before_the_fault_is_kept(store: Store, tmp_path: Path) -> None:
    good = json.dumps(chatgpt(node("a", None, "kept")))
    with pytest.raises(StoreError, match=r"cut off\. Imported 1 conversation with 1 message"):
        give(store, tmp_path, f'[{good}, {{"mapping"')
    assert [c.title for c in store.list_conversations()] == ["Theirs"]


def test_one_huge_element_is_bounded(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_elements, "MOST_ELEMENT", 100_000)
    with pytest.raises(StoreError, match="too big"):
        give(store, tmp_path, '["' + "x" * 1_000_000)


def test_an_export_of_many_blocks_is_read_in_pieces(store: Store, tmp_path: Path) -> None:
    chats = [chatgpt(node("a", None, f"{n} " + "é" * 50_000), title=str(n)) for n in range(8)]
    assert give(store, tmp_path, json.dumps(chats, indent=1, ensure_ascii=False)).conversations == 8


def test_wrong_types_are_left_out(store: Store, tmp_path: Path) -> None:
    bad: list[Any] = [None, True, -1, 1e400, "x", [], {}, [[1]], {"a": 1}]
    for value in bad:
        made = {"fingerprint": value, "ids": value, "logprobs": value, "seed": value}
        made |= {name: value for name in ("sampling", "usage", "timings", "finish_reason")}
        good = {"fingerprint": "f", "ids": [1], "sampling": {"temperature": value}, "seed": 3}
        message = said(1, value, status=value, created_at=value, settings=value, meta=value)
        ours = {
            name: value
            for name in ("id", "title", "created_at", "updated_at", "draft", "settings", "pinned")
        } | {
            "active_leaf": value,
            "messages": [message | {"realizations": [made, good, value]}, value],
        }
        theirs = chatgpt(node("a", None, "text"), title=value, create_time=value)
        theirs |= {"update_time": value, "current_node": value, "default_model_slug": value}
        theirs["mapping"] |= {"x": value, "y": node("y", "a", value, role=value)}
        theirs["mapping"]["a"]["children"] = value
        odd = node("z", "a", "z")
        for part in ("author", "content", "create_time", "metadata"):
            odd["message"][part] = value
        theirs["mapping"]["z"] = odd
        report = give(
            store, tmp_path, [ours, theirs, value, {"mapping": value}, {"messages": value}]
        )
        assert report.conversations + report.known == 2, value
    for conversation in store.list_conversations(100):
        _, messages = store.load_conversation(conversation.id)
        assert messages
        store.siblings(conversation.id)
    store.overview(100)
    export.export(store, io.StringIO(), "md")


NAMES = [
    *("mapping", "messages", "id", "parent", "children", "message", "author", "role", "content"),
    *("parts", "text", "type", "title", "content_type", "current_node", "realizations", "ids"),
    *("meta", "settings", "format", "version", "conversations"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6)
    ),
    max_leaves=20,
)


@given(json_values)
@settings(max_examples=200, deadline=None)
def test_any_json_is_imported_or_refused(tmp_path_factory: Any, value: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    store = Store(None)
    with contextlib.suppress(StoreError):
        give(store, folder, value)
    store.close()
