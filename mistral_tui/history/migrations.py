"""The tables of the conversation file, as each version changed them, and the way up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence


class StoreError(Exception):
    """Saving or reading failed; the message is a sentence for the user."""


# Message ids only grow and are never used again, so they also order siblings, and a late
# event cannot hit a newer message. Keys that name the conversation too keep a tree within
# it. Parents do not cascade: SQLite recurses at most 1,000 deep, a chat can be longer.
# An open reply owns its chunks; folding it deletes both.
VERSION_1 = (
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
)

# What is deleted gets the time of it, the same for a whole subtree, and goes 30 days later.
# `number` is the conversation's row in the title index, `origin` the hash of what it was
# imported from, `last_child` the answer that was in view last (a hint: it may be deleted).
# `was` is the status of a reply that is being continued; `partial` says that the ids of its
# chunks are not those of its whole text. The full-text index is made by search.py, since not
# every SQLite can have one.
VERSION_2 = (
    "ALTER TABLE conversations ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE conversations ADD COLUMN deleted_at REAL",
    "ALTER TABLE conversations ADD COLUMN origin TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE conversations ADD COLUMN number INTEGER",
    "ALTER TABLE messages ADD COLUMN deleted_at REAL",
    "ALTER TABLE messages ADD COLUMN last_child INTEGER",
    "ALTER TABLE messages ADD COLUMN settings TEXT",
    "ALTER TABLE messages ADD COLUMN meta TEXT",
    "ALTER TABLE open_replies ADD COLUMN was TEXT",
    "ALTER TABLE open_replies ADD COLUMN partial INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX conversations_in_view ON conversations (pinned DESC, updated_at DESC, id) "
    "WHERE deleted_at IS NULL",
    "CREATE UNIQUE INDEX conversations_by_number ON conversations (number)",
    "CREATE INDEX conversations_by_origin ON conversations (origin) WHERE origin <> ''",
    "CREATE INDEX messages_deleted ON messages (deleted_at) WHERE deleted_at IS NOT NULL",
    "CREATE INDEX prompts_by_time ON messages (created_at) WHERE role = 'user'",
)

# `places` are the candidates at each token, as places.py packs them.
VERSION_3 = (
    "ALTER TABLE realizations ADD COLUMN places BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE reply_chunks ADD COLUMN places BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE reply_chunks ADD COLUMN thinking TEXT NOT NULL DEFAULT ''",
)

# `calls` are the tools that the model called, one part a line.
VERSION_4 = ("ALTER TABLE reply_chunks ADD COLUMN calls TEXT NOT NULL DEFAULT ''",)

MIGRATIONS: tuple[tuple[str, ...], ...] = (VERSION_1, VERSION_2, VERSION_3, VERSION_4)


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
