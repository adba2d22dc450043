"""Conversations as they lie on disk: the records, and how they are read and written."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from inference.api import Role, SamplingParams, Timings, Usage
from inference.calls import ToolCall
from mistral_tui.history import places
from mistral_tui.history.migrations import StoreError
from mistral_tui.history.parts import (
    Part,
    calls_of,
    dump_parts,
    lines_of,
    load_parts,
    parts_in,
    parts_of,
    storable,
    text_of,
)
from mistral_tui.sanitize import one_line, sanitize

Status = Literal["complete", "streaming", "cancelled", "length", "failed", "interrupted"]
FinalStatus = Literal["complete", "cancelled", "length", "failed", "interrupted"]

__all__ = [
    "Chunk",
    "Conversation",
    "FinalStatus",
    "Message",
    "Part",
    "Realization",
    "Status",
    "StoreError",
    "load_parts",
    "parts_of",
    "storable",
    "text_of",
]


# ── records ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Realization:
    """A message as one model, named by `fingerprint`, produced it. `logprobs` (natural log,
    float32 on disk) is empty or one per id; `places` are the candidates at each, packed."""

    fingerprint: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    seed: int | None = None
    sampling: SamplingParams | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    finish_reason: str = ""
    places: bytes = b""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a reply that is being written."""

    text: str = ""
    thinking: str = ""
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    places: bytes = b""
    calls: tuple[Part, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """As the content of a message."""
        return parts_of(self.text, self.thinking, self.calls)

    @property
    def blank(self) -> bool:
        """Whether there is nothing to read in it."""
        return not (self.text.strip() or self.thinking.strip() or self.calls)


@dataclass(frozen=True, slots=True)
class Message:
    """A node of a conversation's tree; siblings are in the order of their ids. `settings` are
    those that changed before it, None for none; `meta` says what becomes of it in a prompt."""

    id: int
    conversation_id: str
    parent_id: int | None
    role: Role
    parts: tuple[Part, ...]
    status: Status
    created_at: float
    realizations: tuple[Realization, ...] = ()
    settings: Mapping[str, Any] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pinned(self) -> bool:
        """Whether it stays in the prompt when that gets too long."""
        return self.meta.get("pinned") is True

    @property
    def dropped(self) -> bool:
        """Whether it is left out of the prompt."""
        return self.meta.get("dropped") is True

    @property
    def text(self) -> str:
        """What the message says, its text parts joined."""
        return text_of(self.parts)

    @property
    def thinking(self) -> str:
        """What the model thought before it said that."""
        return text_of(self.parts, "thinking")

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tools that the model called, in order."""
        return calls_of(self.parts)

    @property
    def call_id(self) -> str:
        """Of a tool's result: which call it answers."""
        return str(self.meta.get("call", "")) if self.role == "tool" else ""

    @property
    def blank(self) -> bool:
        """Whether there is nothing to read in it."""
        return not any(part.text.strip() for part in self.parts)

    def realization(self, fingerprint: str) -> Realization | None:
        """The exact ids under that model, if it was the one that wrote them."""
        return next((r for r in self.realizations if r.fingerprint == fingerprint), None)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Times are Unix seconds. `active_leaf` is the last message of the branch in view;
    `deleted_at` is None unless the conversation was put into the bin."""

    id: str
    title: str
    created_at: float
    updated_at: float
    model_name: str = ""
    model_path: str = ""
    system_prompt: str = ""
    draft: str = ""
    active_leaf: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    pinned: bool = False
    deleted_at: float | None = None


@dataclass(frozen=True, slots=True)
class OpenReply:
    """What is known of a reply before its end. `was`: its status before it was continued;
    `partial`: the ids of its chunks are not those of its whole text."""

    fingerprint: str
    sampling: SamplingParams | None = None
    was: Status | None = None
    partial: bool = False


# ── reading and writing rows ────────────────────────────────────────────────────────

_COLUMNS = tuple(f.name for f in fields(Conversation))
CONVERSATION_COLUMNS = ", ".join(_COLUMNS)
SELECT_CONVERSATION = f"SELECT {CONVERSATION_COLUMNS} FROM conversations "
_SAVE_CONVERSATION = (
    f"INSERT INTO conversations ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _COLUMNS)}"
)
# UNION, not UNION ALL: it ends even on a damaged tree that goes round in circles.
BRANCH = """WITH RECURSIVE branch (id, parent_id) AS (
    SELECT id, parent_id FROM messages WHERE id = ?
    UNION SELECT m.id, m.parent_id FROM messages m JOIN branch b ON m.id = b.parent_id) """


def read_conversation(row: Sequence[Any]) -> Conversation:
    """A row of SELECT_CONVERSATION."""
    values = dict(zip(_COLUMNS, row, strict=True))
    values |= {"settings": json.loads(values["settings"]), "pinned": bool(values["pinned"])}
    return Conversation(**values)


def save_conversation(db: sqlite3.Connection, conversation: Conversation) -> None:
    values = {name: getattr(conversation, name) for name in _COLUMNS}
    values["settings"] = json.dumps(values["settings"])
    db.execute(_SAVE_CONVERSATION, list(values.values()))


def insert_message(db: sqlite3.Connection, m: Message) -> Message:
    """The message with the id that it got."""
    cursor = db.execute(
        "INSERT INTO messages (conversation_id, parent_id, role, content, status, created_at, "
        "settings, meta) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(m.conversation_id, m.parent_id, m.role, dump_parts(m.parts), m.status, m.created_at),
            *(dump_map(m.settings), dump_map(m.meta or None)),
        ),
    )
    return replace(m, id=cursor.lastrowid or 0)


def insert_realization(db: sqlite3.Connection, message_id: int, made: Realization) -> None:
    ids, logprobs = pack(made.ids, "I"), pack(made.logprobs, "f")
    seed = None if made.seed is None else str(made.seed)
    facts = (dump(made.sampling), dump(made.usage), dump(made.timings), made.finish_reason)
    db.execute(
        "INSERT INTO realizations (message_id, fingerprint, ids, logprobs, seed, sampling, usage, "
        "timings, finish_reason, places) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (message_id, made.fingerprint, ids, logprobs, seed, *facts, made.places),
    )


def open_reply(
    db: sqlite3.Connection,
    message_id: int,
    owner: str,
    reply: OpenReply,
) -> None:
    db.execute(
        "INSERT INTO open_replies (message_id, owner, fingerprint, sampling, was, partial) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (message_id, owner, reply.fingerprint, dump(reply.sampling), reply.was, reply.partial),
    )


def insert_chunk(db: sqlite3.Connection, message_id: int, chunk: Chunk) -> None:
    """Raises IntegrityError if the reply is not open."""
    db.execute(
        "INSERT INTO reply_chunks (message_id, seq, text, thinking, ids, logprobs, places, calls) "
        "SELECT ?1, (SELECT coalesce(max(seq), 0) + 1 FROM reply_chunks WHERE message_id = ?1), "
        "?2, ?3, ?4, ?5, ?6, ?7",
        (
            *(message_id, storable(chunk.text), storable(chunk.thinking)),
            *(pack(chunk.ids, "I"), pack(chunk.logprobs, "f"), chunk.places),
            lines_of(chunk.calls),
        ),
    )


def close_reply(
    db: sqlite3.Connection, message_id: int, parts: Iterable[Part], status: FinalStatus
) -> None:
    """The chunks give way to the whole content."""
    db.execute(
        "UPDATE messages SET content = ?, status = ? WHERE id = ?",
        (dump_parts(parts), status, message_id),
    )
    db.execute("DELETE FROM open_replies WHERE message_id = ?", (message_id,))


def read_open_reply(db: sqlite3.Connection, message_id: int | None) -> OpenReply | None:
    """None for a message that is not being written."""
    row = db.execute(
        "SELECT fingerprint, sampling, was, partial FROM open_replies WHERE message_id = ?",
        (message_id,),
    ).fetchone()
    return row and OpenReply(row[0], load(SamplingParams, row[1]), row[2], bool(row[3]))


def read_message(db: sqlite3.Connection, message_id: int) -> Message | None:
    return next(iter(_read_messages(db, "WITH branch (id) AS (SELECT ?) ", message_id)), None)


def read_tree(db: sqlite3.Connection, conversation_id: str) -> list[Message]:
    """Every message that is not deleted, parents before their children."""
    every = "SELECT id FROM messages WHERE conversation_id = ? AND deleted_at IS NULL"
    return _read_messages(db, f"WITH branch (id) AS ({every}) ", conversation_id)


def read_branch(db: sqlite3.Connection, leaf: int | None) -> list[Message]:
    """From the root to `leaf`."""
    return _read_messages(db, BRANCH, leaf)


def _read_messages(db: sqlite3.Connection, branch: str, which: int | str | None) -> list[Message]:
    made: dict[int, list[Realization]] = {}
    for row in db.execute(
        branch + "SELECT message_id, fingerprint, ids, logprobs, seed, sampling, usage, timings, "
        "finish_reason, places FROM realizations WHERE message_id IN (SELECT id FROM branch)",
        (which,),
    ):
        made.setdefault(row[0], []).append(
            Realization(
                row[1],
                unpack(row[2], "I"),
                unpack(row[3], "f"),
                seed=None if row[4] is None else int(row[4]),
                sampling=load(SamplingParams, row[5]),
                usage=load(Usage, row[6]),
                timings=load(Timings, row[7]),
                finish_reason=row[8],
                places=row[9],
            )
        )
    messages = []
    for key, chat, parent, role, content, status, created_at, settings, meta in db.execute(
        branch + "SELECT id, conversation_id, parent_id, role, content, status, created_at, "
        "settings, meta FROM messages WHERE id IN (SELECT id FROM branch) ORDER BY id",
        (which,),
    ):
        streaming = status == "streaming"
        parts = read_chunks(db, key).parts if streaming else load_parts(content)
        more = tuple(made.get(key, ())), load_map(settings), load_map(meta) or {}
        messages.append(Message(key, chat, parent, role, parts, status, created_at, *more))
    return messages


def read_chunks(db: sqlite3.Connection, message_id: int) -> Chunk:
    """An open reply so far."""
    chunks = db.execute(
        "SELECT text, thinking, ids, logprobs, places, calls FROM reply_chunks "
        "WHERE message_id = ? "
        "ORDER BY seq",
        (message_id,),
    ).fetchall()
    ids = unpack(b"".join(c[2] for c in chunks), "I")
    logprobs = unpack(b"".join(c[3] for c in chunks), "f")
    # If only a part of the reply has them, it cannot be told which.
    logprobs = logprobs if len(logprobs) == len(ids) else ()
    told = places.joined((c[4] for c in chunks), len(ids))
    text, thinking = "".join(c[0] for c in chunks), "".join(c[1] for c in chunks)
    return Chunk(text, thinking, ids, logprobs, told, parts_in("".join(c[5] for c in chunks)))


# ── values ──────────────────────────────────────────────────────────────────────────

Record = TypeVar("Record", SamplingParams, Usage, Timings)


def pack(values: Sequence[int] | Sequence[float], kind: Literal["I", "f"]) -> bytes:
    """uint32 (`I`) or float32 (`f`), little-endian."""
    return struct.pack(f"<{len(values)}{kind}", *values)


def unpack(blob: bytes, kind: Literal["I", "f"]) -> tuple[Any, ...]:
    count = len(blob) // 4
    return struct.unpack(f"<{count}{kind}", blob[: 4 * count])


def dump(record: SamplingParams | Usage | Timings | None) -> str | None:
    return None if record is None else json.dumps(asdict(record))


def load(kind: type[Record], text: str | None) -> Record | None:
    """Tolerant of fields that came or went since it was written."""
    if text is None:
        return None
    known = {f.name for f in fields(kind)}
    try:
        return kind(**{k: v for k, v in json.loads(text).items() if k in known})
    except (TypeError, AttributeError):
        return None


def dump_map(values: Mapping[str, Any] | None) -> str | None:
    return None if values is None else json.dumps(dict(values))


def load_map(text: str | None) -> dict[str, Any] | None:
    values = None if text is None else json.loads(text)
    return values if isinstance(values, dict) else None


def title_from(text: str, limit: int = 60) -> str:
    """The first line that says something, printable, at most `limit` characters."""
    lines = sanitize(text[:4096]).splitlines()
    return next((title for line in lines if (title := one_line(line, limit))), "")
