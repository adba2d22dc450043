"""Conversations as files: Markdown to read, JSON to import again without loss."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from inference.calls import ToolCall
from mistral_tui.history import places
from mistral_tui.history.parts import Broken, numbered
from mistral_tui.history.schema import Conversation, Message, Realization, StoreError
from mistral_tui.history.store import Store
from mistral_tui.sanitize import one_line, sanitize
from mistral_tui.tools.consent import SAID

FORMAT, VERSION = "mistral-tui", 1
Form = Literal["md", "json"]
_MOST_PARSED = 100_000  # characters; a longer text with markup in it is fenced as a whole
_ROLES = {"user": "You", "assistant": "Assistant", "system": "System", "tool": "Tool"}
_ENDS = {
    "cancelled": "stopped",
    "length": "cut off at the length limit",
    "failed": "failed",
    "interrupted": "interrupted",
}


def export_file(store: Store, path: Path, form: Form, ids: Sequence[str] | None = None) -> int:
    """Write these conversations (None: all) to a file, whole or not at all; how many."""
    with _atomic(path) as file:
        return export(store, file, form, ids)


def export(store: Store, out: TextIO, form: Form, ids: Sequence[str] | None = None) -> int:
    """One conversation at a time is in memory; one that is deleted meanwhile is left out."""
    count = 0
    if form == "json":
        out.write(f'{{"format": "{FORMAT}", "version": {VERSION}, "conversations": [')
    for key in store.all_ids() if ids is None else ids:
        try:
            conversation, messages, ways = store.load_tree(key)
        except StoreError:
            if ids is not None:
                raise
            continue
        if form == "json":
            out.write(",\n" if count else "\n")
            out.write(json.dumps(to_json(conversation, messages, ways)))
        else:
            out.write("\n---\n\n" if count else "")
            out.writelines(to_markdown(conversation, messages))
        count += 1
    if form == "json":
        out.write("\n]}\n")
    return count


# ── JSON ────────────────────────────────────────────────────────────────────────────


def to_json(
    conversation: Conversation, messages: Sequence[Message], ways: dict[int, int]
) -> dict[str, Any]:
    """The published keys; they stay. What is empty is left out of messages."""
    head = asdict(conversation)
    del head["deleted_at"]
    kept = [m for m in messages if m.status != "streaming" or not m.blank]
    known = {m.id for m in kept}
    if head["active_leaf"] not in known:  # a reply without a word yet
        parents = {m.id: m.parent_id for m in messages}
        head["active_leaf"] = parents.get(head["active_leaf"])
    ways = {a: b for a, b in ways.items() if b in known}
    return {**head, "messages": [_message(m, ways.get(m.id)) for m in kept]}


def digest(conversation: dict[str, Any]) -> str:
    """The same for the same content, however the file is written."""
    return hashlib.sha256(json.dumps(conversation, sort_keys=True).encode()).hexdigest()


def _message(m: Message, last_child: int | None) -> dict[str, Any]:
    more = {
        "last_child": last_child,
        "settings": m.settings and dict(m.settings),
        "meta": dict(m.meta),
        "realizations": [_realization(made) for made in m.realizations],
    }
    return {
        "id": m.id,
        "parent": m.parent_id,
        "role": m.role,
        "status": "interrupted" if m.status == "streaming" else m.status,
        "created_at": m.created_at,
        "parts": [asdict(part) for part in m.parts],
    } | {key: value for key, value in more.items() if value}


def _realization(made: Realization) -> dict[str, Any]:
    values = {name: getattr(made, name) for name in ("sampling", "usage", "timings")}
    return {
        "fingerprint": made.fingerprint,
        "ids": made.ids,
        # Nine digits are a float32 exactly; JSON has no word for infinity.
        "logprobs": [float(f"{p:.9g}") if math.isfinite(p) else str(p) for p in made.logprobs],
        "seed": made.seed,
        "finish_reason": made.finish_reason,
        **({"places": places.rows(made.places)} if made.places else {}),
    } | {name: value and asdict(value) for name, value in values.items()}


# ── Markdown ────────────────────────────────────────────────────────────────────────


def to_markdown(conversation: Conversation, messages: Sequence[Message]) -> Iterator[str]:
    """The branch in view, safe to print: a heading for each message, below it what was said."""
    yield f"# {_plain(conversation.title or 'Conversation')}\n\n"
    yield f"Begun {_time(conversation.created_at)}"
    if conversation.model_name:
        yield f" · {_plain(conversation.model_name)}"
    yield "\n"
    if conversation.system_prompt:
        yield f"\n## System\n\n{_closed(sanitize(conversation.system_prompt))}\n"
    by_id = {message.id: message for message in messages}
    branch: list[Message] = []
    leaf = by_id.get(conversation.active_leaf or 0)
    while leaf is not None and len(branch) < len(by_id):
        branch.append(leaf)
        leaf = by_id.get(leaf.parent_id or 0)
    for message in reversed(branch):
        end = f" · {_ENDS[message.status]}" if message.status in _ENDS else ""
        yield f"\n## {_ROLES[message.role]} · {_time(message.created_at)}{end}\n\n"
        if message.thinking:
            lines = sanitize(message.thinking).strip().split("\n")
            yield "> *Thinking*\n>\n" + "".join(f"> {_plain(line)}\n" for line in lines) + "\n"
        if message.role == "tool":
            yield from _result(message)
            continue
        if message.text.strip():
            yield f"{_closed(sanitize(message.text))}\n"
        for _, call in numbered(message.parts):
            yield from _call(call)


def _call(call: ToolCall | Broken) -> Iterator[str]:
    """A call as a paragraph and its arguments."""
    if isinstance(call, Broken):
        yield f"\nCalls **{_plain(call.name) or 'a tool'}**, unfinished:\n\n{_fenced(call.raw)}\n"
    else:
        yield f"\nCalls **{_plain(call.name)}**:\n\n{_fenced(call.arguments, 'json')}\n"


def _result(message: Message) -> Iterator[str]:
    """What came of a call, and who allowed it."""
    meta = message.meta
    said = SAID.get(str(meta.get("by", "")), "")
    notes = [said, "failed" if meta.get("error") is True and said != "denied" else ""]
    what = ", ".join(note for note in notes if note)
    yield f"**{_plain(str(meta.get('name', '')))}**{f' ({what})' if what else ''}"
    if asked := meta.get("asked"):
        yield f", with other arguments:\n\n{_fenced(str(asked), 'json')}\n\nIts result"
    yield f":\n\n{_fenced(message.text)}\n"


def _fenced(text: str, language: str = "") -> str:
    """Foreign text in a fence that it cannot close."""
    text = sanitize(text).strip("\n")
    fence = "`" * (1 + max(2, *map(len, re.findall("`+", text)), 0))
    return f"{fence}{language}\n{text}\n{fence}"


def _plain(text: str) -> str:
    """A line in which nothing is markup."""
    return re.sub(r"([\\`*_\[\]<>#&~|!])", r"\\\1", one_line(text, 200))


def _time(when: float) -> str:
    try:
        return datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"


def _closed(text: str) -> str:
    """The text such that what follows it is not swallowed by a fence or by HTML left open."""
    text = text.strip("\n")
    if not re.search("```|~~~|<", text):
        return text
    if len(text) <= _MOST_PARSED:
        marks = dict.fromkeys(re.findall(r"`{3,}|~{3,}", text))
        for closed in (text, *(f"{text}\n{mark}" for mark in list(marks)[:4])):
            if _ends(closed):
                return closed
    return _fenced(text)


def _ends(text: str) -> bool:
    """Whether a heading that follows the text would be one."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").parse(f"{text}\n\n# end")
    return len(tokens) > 2 and tokens[-3].type == "heading_open" and tokens[-2].content == "end"


# ── files ───────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def _atomic(path: Path) -> Iterator[TextIO]:
    """A file that takes the place of `path` when it is whole; readable by its owner only."""
    beside = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.part")
    special = path.exists() and not path.is_file()  # /dev/stdout, a named pipe
    try:
        if special:
            with path.open("w", encoding="utf-8") as file:
                yield file
            return
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            with os.fdopen(os.open(beside, flags, 0o600), "w", encoding="utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"The disk is full: {path} was not written.") from error
        raise StoreError(f"{path} cannot be written: {error.strerror or error}.") from error
