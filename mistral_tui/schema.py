"""Conversations as they lie on disk: tables, migrations, and the records read from them."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from inference.api import Role, SamplingParams, Timings, Usage
from mistral_tui.sanitize import one_line, sanitize

Status = Literal["complete", "streaming", "cancelled", "length", "failed", "interrupted"]
FinalStatus = Literal["complete", "cancelled", "length", "failed", "interrupted"]


class StoreError(Exception):
    """Saving or reading failed; the message is a sentence for the user."""


# ── records ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Part:
    """One typed piece of a message; `type` is `text` so far."""

    type: str
    text: str


@dataclass(frozen=True, slots=True)
class Realization:
    """A message as one model, named by `fingerprint`, produced it. `logprobs` (natural log,
    float32 on disk) is empty or one per id."""

    fingerprint: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    seed: int | None = None
    sampling: SamplingParams | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    finish_reason: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A node of a conversation's tree; siblings are in the order of their ids."""

    id: int
    conversation_id: str
    parent_id: int | None
    role: Role
    parts: tuple[Part, ...]
    status: Status
    created_at: float
    realizations: tuple[Realization, ...] = ()

    @property
    def text(self) -> str:
        """What the message says, its text parts joined."""
        return text_of(self.parts)

    def realization(self, fingerprint: str) -> Realization | None:
        """The exact ids under that model, if it was the one that wrote them."""
        return next((r for r in self.realizations if r.fingerprint == fingerprint), None)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Times are Unix seconds. `active_leaf` is the last message of the branch in view."""

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


def text_of(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if part.type == "text")


# ── tables ──────────────────────────────────────────────────────────────────────────

# Message ids only grow and are never used again, so they also order siblings, and a late
# event cannot hit a newer message. Keys that name the conversation too keep a tree within
# it. Parents do not cascade: SQLite recurses at most 1,000 deep, a chat can be longer.
# An open reply owns its chunks; folding it deletes both.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE conversations (
            id TEXT NOT NULL PRIMARY KEY,
            title TEXT NOT NULL,
            created_at REAL NOT NULL, updated_at REAL NOT NULL,
            model_name TEXT NOT NULL, model_path TEXT NOT NULL,
            system_prompt TEXT NOT NULL,
            draft TEXT NOT NULL,
            active_leaf INTEGER,
            settings TEXT NOT NULL,
            FOREIGN KEY (id, active_leaf) REFERENCES messages (conversation_id, id)
                DEFERRABLE INITIALLY DEFERRED
        )""",
        "CREATE INDEX conversations_by_time ON conversations (updated_at)",
        """CREATE TABLE messages (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            conversation_id TEXT NOT NULL REFERENCES conversations ON DELETE CASCADE
                DEFERRABLE INITIALLY DEFERRED,
            parent_id INTEGER,
            role TEXT NOT NULL,
            content TEXT NOT NULL,
            status TEXT NOT NULL,
            created_at REAL NOT NULL,
            UNIQUE (conversation_id, id),
            FOREIGN KEY (conversation_id, parent_id) REFERENCES messages (conversation_id, id)
        )""",
        "CREATE INDEX messages_by_parent ON messages (conversation_id, parent_id)",
        """CREATE TABLE realizations (
            message_id INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE,
            fingerprint TEXT NOT NULL,
            ids BLOB NOT NULL,       -- uint32, little-endian
            logprobs BLOB NOT NULL,  -- float32, little-endian; empty or one per id
            seed TEXT,               -- decimal: 64 unsigned bits exceed SQLite's integers
            sampling TEXT,
            usage TEXT,
            timings TEXT,
            finish_reason TEXT NOT NULL,
            PRIMARY KEY (message_id, fingerprint)
        )""",
        """CREATE TABLE open_replies (
            message_id INTEGER PRIMARY KEY REFERENCES messages ON DELETE CASCADE,
            owner TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            sampling TEXT
        )""",
        """CREATE TABLE reply_chunks (
            message_id INTEGER NOT NULL REFERENCES open_replies ON DELETE CASCADE,
            seq INTEGER NOT NULL,
            text TEXT NOT NULL,
            ids BLOB NOT NULL,
            logprobs BLOB NOT NULL,
            PRIMARY KEY (message_id, seq)
        ) WITHOUT ROWID""",
        "CREATE TABLE settings (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    ),
)


def migrate(
    db: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS, name: str = "it"
) -> None:
    """Bring a database up to date, each migration whole or not at all.

    A file of a newer version, or of another program, is refused with a `StoreError` and left
    as it is. `db` must be in autocommit mode.
    """
    while (version := _version(db)) != len(migrations):
        if version > len(migrations):
            raise StoreError(
                f"{name} was written by a newer mistral-tui: update this one, "
                "or set MISTRAL_TUI_DATA to another folder."
            )
        db.execute("BEGIN IMMEDIATE")
        try:
            if _version(db) == version:  # else another process has just done it
                if version == 0 and db.execute("SELECT 1 FROM sqlite_master").fetchone():
                    raise StoreError(
                        f"{name} is the database of another program: "
                        "move it away, or set MISTRAL_TUI_DATA to another folder."
                    )
                for statement in migrations[version]:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {version + 1}")
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


# ── reading and writing rows ────────────────────────────────────────────────────────

_COLUMNS = tuple(f.name for f in fields(Conversation))
SELECT_CONVERSATION = f"SELECT {', '.join(_COLUMNS)} FROM conversations "
_SAVE_CONVERSATION = (
    f"INSERT INTO conversations ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _COLUMNS)}"
)
# UNION, not UNION ALL: it ends even on a damaged tree that goes round in circles.
_BRANCH = """WITH RECURSIVE branch (id, parent_id) AS (
    SELECT id, parent_id FROM messages WHERE id = ?
    UNION SELECT m.id, m.parent_id FROM messages m JOIN branch b ON m.id = b.parent_id) """


def read_conversation(row: Sequence[Any]) -> Conversation:
    """A row of SELECT_CONVERSATION."""
    *plain, settings = row
    return Conversation(*plain, **{"settings": json.loads(settings)})


def save_conversation(db: sqlite3.Connection, conversation: Conversation) -> None:
    values = [getattr(conversation, name) for name in _COLUMNS]
    db.execute(_SAVE_CONVERSATION, [*values[:-1], json.dumps(values[-1])])


def insert_message(db: sqlite3.Connection, m: Message) -> Message:
    """The message with the id that it got."""
    cursor = db.execute(
        "INSERT INTO messages (conversation_id, parent_id, role, content, status, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (m.conversation_id, m.parent_id, m.role, dump_parts(m.parts), m.status, m.created_at),
    )
    return replace(m, id=cursor.lastrowid or 0)


def insert_realization(db: sqlite3.Connection, message_id: int, made: Realization) -> None:
    ids, logprobs = pack(made.ids, "I"), pack(made.logprobs, "f")
    seed = None if made.seed is None else str(made.seed)
    facts = (dump(made.sampling), dump(made.usage), dump(made.timings), made.finish_reason)
    db.execute(
        "INSERT INTO realizations (message_id, fingerprint, ids, logprobs, seed, sampling, usage, "
        "timings, finish_reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (message_id, made.fingerprint, ids, logprobs, seed, *facts),
    )


def open_reply(
    db: sqlite3.Connection,
    message_id: int,
    owner: str,
    fingerprint: str,
    sampling: SamplingParams | None,
) -> None:
    db.execute(
        "INSERT INTO open_replies (message_id, owner, fingerprint, sampling) VALUES (?, ?, ?, ?)",
        (message_id, owner, fingerprint, dump(sampling)),
    )


def insert_chunk(
    db: sqlite3.Connection,
    message_id: int,
    text: str,
    ids: Sequence[int],
    logprobs: Sequence[float],
) -> None:
    """Raises IntegrityError if the reply is not open."""
    db.execute(
        "INSERT INTO reply_chunks (message_id, seq, text, ids, logprobs) SELECT ?1, "
        "(SELECT coalesce(max(seq), 0) + 1 FROM reply_chunks WHERE message_id = ?1), ?2, ?3, ?4",
        (message_id, storable(text), pack(ids, "I"), pack(logprobs, "f")),
    )


def close_reply(db: sqlite3.Connection, message_id: int, text: str, status: FinalStatus) -> None:
    """The chunks give way to the whole text."""
    content = dump_parts([Part("text", text)])
    db.execute(
        "UPDATE messages SET content = ?, status = ? WHERE id = ?", (content, status, message_id)
    )
    db.execute("DELETE FROM open_replies WHERE message_id = ?", (message_id,))


def read_open_reply(
    db: sqlite3.Connection, message_id: int | None
) -> tuple[str, SamplingParams | None] | None:
    """Fingerprint and sampling of a reply that is being written, else None."""
    row = db.execute(
        "SELECT fingerprint, sampling FROM open_replies WHERE message_id = ?", (message_id,)
    ).fetchone()
    return None if row is None else (row[0], load(SamplingParams, row[1]))


def read_message(db: sqlite3.Connection, message_id: int) -> Message | None:
    return next(iter(_read_messages(db, "WITH branch (id) AS (SELECT ?) ", message_id)), None)


def read_branch(db: sqlite3.Connection, leaf: int | None) -> list[Message]:
    """From the root to `leaf`."""
    return _read_messages(db, _BRANCH, leaf)


def _read_messages(db: sqlite3.Connection, branch: str, leaf: int | None) -> list[Message]:
    made: dict[int, list[Realization]] = {}
    for row in db.execute(
        branch + "SELECT message_id, fingerprint, ids, logprobs, seed, sampling, usage, timings, "
        "finish_reason FROM realizations WHERE message_id IN (SELECT id FROM branch)",
        (leaf,),
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
            )
        )
    messages = []
    for id_, conversation_id, parent_id, role, content, status, created_at in db.execute(
        branch + "SELECT id, conversation_id, parent_id, role, content, status, created_at "
        "FROM messages WHERE id IN (SELECT id FROM branch) ORDER BY id",
        (leaf,),
    ):
        streaming = status == "streaming"
        parts = (Part("text", read_chunks(db, id_)[0]),) if streaming else load_parts(content)
        realizations = tuple(made.get(id_, ()))
        messages.append(
            Message(id_, conversation_id, parent_id, role, parts, status, created_at, realizations)
        )
    return messages


def read_chunks(
    db: sqlite3.Connection, message_id: int
) -> tuple[str, tuple[int, ...], tuple[float, ...]]:
    """Text, ids and logprobs of an open reply so far."""
    chunks = db.execute(
        "SELECT text, ids, logprobs FROM reply_chunks WHERE message_id = ? ORDER BY seq",
        (message_id,),
    ).fetchall()
    ids = unpack(b"".join(c[1] for c in chunks), "I")
    logprobs = unpack(b"".join(c[2] for c in chunks), "f")
    # If only a part of the reply has them, it cannot be told which.
    return "".join(c[0] for c in chunks), ids, logprobs if len(logprobs) == len(ids) else ()


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


def dump_parts(parts: Iterable[Part]) -> str:
    return json.dumps([asdict(part) for part in parts], ensure_ascii=False)


def load_parts(content: str) -> tuple[Part, ...]:
    try:
        return tuple(Part(str(p["type"]), str(p["text"])) for p in json.loads(content))
    except (TypeError, KeyError) as error:
        raise ValueError("message content is not a list of parts") from error


def storable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 has no bytes for, replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def title_from(text: str, limit: int = 60) -> str:
    """The first line that says something, printable, at most `limit` characters."""
    lines = sanitize(text[:4096]).splitlines()
    return next((title for line in lines if (title := one_line(line, limit))), "")
