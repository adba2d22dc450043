"""One connection to the conversation file: opened, brought up to date, transactions."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from mistral_tui.history import search
from mistral_tui.history.database_file import Presence, file_trouble, make_private
from mistral_tui.history.migrations import StoreError, migrate
from mistral_tui.history.schema import Conversation, storable


class Database:
    """What every part of the store stands on; every method may raise `StoreError`."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._name = f"The conversation file {path}" if path else "The conversation memory"
        self._unsaved: dict[str, Conversation] = {}  # created, but nothing said in them yet
        self._presence = Presence(path)
        with self._sentences():
            if path is not None:
                make_private(path)
            self._db = sqlite3.connect(path or ":memory:", timeout=5, isolation_level=None)
            try:
                self._db.text_factory = lambda raw: raw.decode("utf-8", "replace")
                self._db.execute("PRAGMA foreign_keys = ON")
                self._db.execute("PRAGMA secure_delete = ON")  # deleted means gone
                self._db.execute("PRAGMA temp_store = MEMORY")  # nothing leaks into /tmp
                migrate(self._db, name=self._name)
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self.searchable = search.prepare(self._db)
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        self._db.close()
        self._presence.leave()

    def set_setting(self, key: str, value: str) -> None:
        """A small fact to be kept between runs: last model, theme."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, storable(value)))

    def get_setting(self, key: str, default: str = "") -> str:
        with self._sentences():
            row = self._db.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
            return str(row[0]) if row else default

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            raise StoreError(file_trouble(error, self._name)) from error

    @contextlib.contextmanager
    def _transaction(
        self, mode: str = "IMMEDIATE", *, durable: bool = False
    ) -> Iterator[sqlite3.Connection]:
        """All or nothing, `_unsaved` included; an inner one is part of the outer one.
        `durable`: synced to the disk when it ends."""
        unsaved = dict(self._unsaved)
        with self._sentences():
            if self._db.in_transaction:
                yield self._db
                return
            if durable:
                self._db.execute("PRAGMA synchronous = FULL")
            try:
                self._db.execute(f"BEGIN {mode}")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                self._unsaved = unsaved
                if self._db.in_transaction:  # a full disk may have ended it already
                    self._db.execute("ROLLBACK")
                raise
            finally:
                if durable:
                    self._db.execute("PRAGMA synchronous = NORMAL")
