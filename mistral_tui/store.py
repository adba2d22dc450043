"""Conversations on disk: SQLite, used from one thread (`Store`) or from asyncio (`AsyncStore`).

A user message and a finished reply are synced to the disk before their call returns; a chunk
of a reply survives the death of the process at once, a loss of power from the next sync on.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from inference.api import Role, SamplingParams, Timings, Usage
from mistral_tui import schema
from mistral_tui.database_file import Presence, file_trouble, make_private
from mistral_tui.schema import Conversation, Message, Part, Realization, StoreError, storable

__all__ = ["AsyncStore", "Conversation", "Message", "Part", "Realization", "Store", "StoreError"]

_GONE = "This conversation no longer exists: it was deleted, perhaps in another window."
_NOT_OPEN = "This reply is no longer being written: it was finished or deleted."
_BEING_WRITTEN = "The reply is still being written, perhaps in another window: wait for its end."


class Store:
    """One connection to the conversation file; every method may raise `StoreError`.

    `path` None keeps everything in memory. A conversation comes onto the disk with its first
    message or draft, and leaves with its last one.
    """

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
                schema.migrate(self._db, name=self._name)
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self.recover()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Replies that this store still writes are kept as interrupted."""
        with contextlib.suppress(StoreError):
            self._interrupt([self._presence.owner])
        self._db.close()
        self._presence.leave()

    def create_conversation(
        self,
        *,
        model_name: str = "",
        model_path: str = "",
        system_prompt: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> Conversation:
        """A new conversation, not on disk until something is said or drafted in it."""
        now = time.time()
        words = (storable(model_name), storable(model_path), storable(system_prompt))
        conversation = Conversation(
            str(uuid.uuid4()), "", now, now, *words, settings=dict(settings or {})
        )
        self._unsaved[conversation.id] = conversation
        return conversation

    def get_conversation(self, conversation_id: str) -> Conversation:
        """The conversation without its messages."""
        if unsaved := self._unsaved.get(conversation_id):
            return unsaved
        found = self._conversations("WHERE id = ?", conversation_id)
        if not found:
            raise StoreError(_GONE)
        return found[0]

    def latest_conversation(self) -> Conversation | None:
        """The one in which something was said last."""
        newest = "WHERE active_leaf IS NOT NULL ORDER BY updated_at DESC LIMIT 1"
        return next(iter(self._conversations(newest)), None)

    def list_conversations(self, limit: int = 50, offset: int = 0) -> list[Conversation]:
        """Newest first; one with a draft only has `active_leaf` None."""
        return self._conversations("ORDER BY updated_at DESC, id LIMIT ? OFFSET ?", limit, offset)

    def load_conversation(self, conversation_id: str) -> tuple[Conversation, list[Message]]:
        """A conversation and its active branch, first message first. A reply that another
        window is writing has status `streaming` and the text so far."""
        self.recover()
        with self._transaction("DEFERRED"):
            conversation = self.get_conversation(conversation_id)
            return conversation, schema.read_branch(self._db, conversation.active_leaf)

    def update_conversation(
        self,
        conversation_id: str,
        *,
        title: str | None = None,
        draft: str | None = None,
        model_name: str | None = None,
        model_path: str | None = None,
        system_prompt: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Conversation:
        """Change what is given; `settings` are replaced as a whole."""
        given = {"title": title, "draft": draft, "model_name": model_name}
        given |= {"model_path": model_path, "system_prompt": system_prompt}
        changes: dict[str, Any] = {k: storable(v) for k, v in given.items() if v is not None}
        if title is not None:
            changes["title"] = schema.title_from(title)
        if settings is not None:
            changes["settings"] = dict(settings)
        with self._transaction():
            return self._save(replace(self.get_conversation(conversation_id), **changes))

    def set_title(self, conversation_id: str, title: str) -> None:
        """An empty title is made again from the next user message."""
        self.update_conversation(conversation_id, title=title)

    def set_draft(self, conversation_id: str, draft: str) -> None:
        """Keep what is typed but not sent; sending a user message clears it."""
        self.update_conversation(conversation_id, draft=draft)

    def get_draft(self, conversation_id: str) -> str:
        return self.get_conversation(conversation_id).draft

    def set_active_leaf(self, conversation_id: str, message_id: int) -> None:
        """Bring the branch that ends in this message into view."""
        with self._transaction():
            conversation = self.get_conversation(conversation_id)
            self._save(replace(conversation, active_leaf=message_id))

    def delete_conversation(self, conversation_id: str) -> None:
        """Delete it with all its branches; one that is gone already is fine."""
        with self._transaction(durable=True) as db:
            self._unsaved.pop(conversation_id, None)
            db.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,))

    def add_message(
        self, conversation_id: str, parent_id: int | None, role: Role, text: str
    ) -> Message:
        """A finished message as the new active leaf, synced to the disk."""
        with self._transaction(durable=True):
            return self._add(conversation_id, parent_id, role, storable(text), "complete")

    def begin_reply(
        self,
        conversation_id: str,
        parent_id: int | None,
        *,
        fingerprint: str = "",
        sampling: SamplingParams | None = None,
    ) -> Message:
        """An empty reply as the new active leaf, to be written chunk by chunk."""
        with self._transaction() as db:
            self._presence.claim()
            message = self._add(conversation_id, parent_id, "assistant", "", "streaming")
            fingerprint = storable(fingerprint)
            schema.open_reply(db, message.id, self._presence.owner, fingerprint, sampling)
            return message

    def append_chunk(
        self, message_id: int, text: str, ids: Sequence[int] = (), logprobs: Sequence[float] = ()
    ) -> None:
        """More of an open reply."""
        with self._transaction() as db:
            try:
                schema.insert_chunk(db, message_id, text, ids, logprobs)
            except sqlite3.IntegrityError as error:
                raise StoreError(_NOT_OPEN) from error

    def finish_reply(
        self,
        message_id: int,
        status: schema.FinalStatus,
        *,
        seed: int | None = None,
        usage: Usage | None = None,
        timings: Timings | None = None,
        finish_reason: str = "",
    ) -> Message | None:
        """The reply as one message, synced to the disk; None for a blank one, which is not kept."""
        with self._transaction(durable=True) as db:
            if (reply := schema.read_open_reply(db, message_id)) is None:
                raise StoreError(_NOT_OPEN)
            fingerprint, sampling = reply
            text, ids, logprobs = schema.read_chunks(db, message_id)
            if not text.strip():
                self._drop(message_id)
                return None
            if seed is None and sampling:
                seed = sampling.seed
            if ids:
                made = (ids, logprobs, seed, sampling, usage, timings, finish_reason)
                schema.insert_realization(db, message_id, Realization(fingerprint, *made))
            schema.close_reply(db, message_id, text, status)
            return schema.read_message(db, message_id)

    def discard_reply(self, message_id: int) -> None:
        """Forget an open reply; its parent is the active leaf again."""
        with self._transaction() as db:
            if schema.read_open_reply(db, message_id) is None:
                raise StoreError(_NOT_OPEN)
            self._drop(message_id)

    def recover(self) -> int:
        """Keep what a killed app left half written, as interrupted; how many replies that was."""
        with self._sentences():
            owners = [row[0] for row in self._db.execute("SELECT DISTINCT owner FROM open_replies")]
        dead = [owner for owner in owners if not self._presence.alive(owner)]
        count = self._interrupt(dead) if dead else 0
        self._presence.sweep()
        return count

    def recent_prompts(self, limit: int = 100) -> list[str]:
        """What the user sent, newest first, each once."""
        prompts: dict[str, None] = {}
        with self._sentences():
            newest_first = "SELECT content FROM messages WHERE role = 'user' ORDER BY id DESC"
            for (content,) in self._db.execute(newest_first):
                prompts[schema.text_of(schema.load_parts(content))] = None
                if len(prompts) >= limit:
                    break
        return list(prompts)[:limit]

    def set_setting(self, key: str, value: str) -> None:
        """A small fact to be kept between runs: last model, theme."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, storable(value)))

    def get_setting(self, key: str, default: str = "") -> str:
        with self._sentences():
            row = self._db.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
            return str(row[0]) if row else default

    # ── inside ──────────────────────────────────────────────────────────────────────

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

    def _conversations(self, which: str, *values: str | int) -> list[Conversation]:
        with self._sentences():
            rows = self._db.execute(schema.SELECT_CONVERSATION + which, values)
            return [schema.read_conversation(row) for row in rows]

    def _save(self, conversation: Conversation) -> Conversation:
        """A conversation with neither message nor draft is not kept on disk."""
        if conversation.active_leaf is None and not conversation.draft:
            self._unsaved[conversation.id] = conversation
            self._db.execute("DELETE FROM conversations WHERE id = ?", (conversation.id,))
        else:
            self._unsaved.pop(conversation.id, None)
            schema.save_conversation(self._db, conversation)
        return conversation

    def _add(
        self,
        conversation_id: str,
        parent_id: int | None,
        role: Role,
        text: str,
        status: schema.Status,
    ) -> Message:
        conversation = self.get_conversation(conversation_id)
        if schema.read_open_reply(self._db, parent_id):
            raise StoreError(_BEING_WRITTEN)
        now = time.time()
        message = Message(0, conversation_id, parent_id, role, (Part("text", text),), status, now)
        message = schema.insert_message(self._db, message)
        if role == "user":
            title = conversation.title or schema.title_from(text)
            conversation = replace(conversation, title=title, draft="")
        self._save(replace(conversation, active_leaf=message.id, updated_at=now))
        return message

    def _interrupt(self, owners: Sequence[str]) -> int:
        """End what these owners were writing; how many replies that was."""
        count = 0
        with self._transaction(durable=True) as db:
            for owner in owners:
                query = "SELECT message_id FROM open_replies WHERE owner = ?"
                for (message_id,) in db.execute(query, (owner,)).fetchall():
                    self.finish_reply(message_id, "interrupted", finish_reason="interrupted")
                    count += 1
        return count

    def _drop(self, message_id: int) -> None:
        conversation_id, parent_id = self._db.execute(
            "SELECT conversation_id, parent_id FROM messages WHERE id = ?", (message_id,)
        ).fetchone()
        conversation = self.get_conversation(conversation_id)
        if conversation.active_leaf == message_id:
            conversation = replace(conversation, active_leaf=parent_id)
        self._db.execute("DELETE FROM messages WHERE id = ?", (message_id,))
        self._save(conversation)


P = ParamSpec("P")
T = TypeVar("T")


def _threaded(
    method: Callable[Concatenate[Store, P], T],
) -> Callable[Concatenate[AsyncStore, P], Coroutine[Any, Any, T]]:
    async def call(self: AsyncStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        job = self._thread.submit(method, self._store, *args, **kwargs)
        return await asyncio.shield(asyncio.wrap_future(job))  # a cancelled caller still saves

    return call


class AsyncStore:
    """The same methods as coroutines, in order of their calls, on a thread of its own."""

    def __init__(self, store: Store, thread: ThreadPoolExecutor) -> None:
        self._store = store
        self._thread = thread

    @classmethod
    async def open(cls, path: Path | None) -> AsyncStore:
        """Open on the database thread; raises `StoreError`."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        return cls(await asyncio.get_running_loop().run_in_executor(thread, Store, path), thread)

    async def close(self) -> None:
        """After everything that was asked before."""
        await self._close()
        self._thread.shutdown(wait=False)

    _close = _threaded(Store.close)
    create_conversation = _threaded(Store.create_conversation)
    get_conversation = _threaded(Store.get_conversation)
    latest_conversation = _threaded(Store.latest_conversation)
    list_conversations = _threaded(Store.list_conversations)
    load_conversation = _threaded(Store.load_conversation)
    update_conversation = _threaded(Store.update_conversation)
    set_title = _threaded(Store.set_title)
    set_draft = _threaded(Store.set_draft)
    get_draft = _threaded(Store.get_draft)
    set_active_leaf = _threaded(Store.set_active_leaf)
    delete_conversation = _threaded(Store.delete_conversation)
    add_message = _threaded(Store.add_message)
    begin_reply = _threaded(Store.begin_reply)
    append_chunk = _threaded(Store.append_chunk)
    finish_reply = _threaded(Store.finish_reply)
    discard_reply = _threaded(Store.discard_reply)
    recover = _threaded(Store.recover)
    recent_prompts = _threaded(Store.recent_prompts)
    set_setting = _threaded(Store.set_setting)
    get_setting = _threaded(Store.get_setting)
