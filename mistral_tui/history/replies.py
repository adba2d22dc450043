"""What is said: messages, and replies that are written chunk by chunk.

A user message and a finished reply are synced to the disk before their call returns; a chunk
of a reply survives the death of the process at once, a loss of power from the next sync on.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from inference.api import Role, SamplingParams, Timings, Usage
from mistral_tui.history import schema
from mistral_tui.history.schema import (
    Chunk,
    Conversation,
    Message,
    OpenReply,
    Part,
    Realization,
    StoreError,
    storable,
)
from mistral_tui.history.shelf import BEING_WRITTEN, Shelf

_NOT_OPEN = "This reply is no longer being written: it was finished or deleted."
NO_MESSAGE = "This message no longer exists: it was deleted, perhaps in another window."
_ANSWERED = "Something was said below this reply: only the last one can be continued in its place."


class Replies(Shelf):
    """What is said comes below another message and is the active leaf then."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        try:
            self.recover()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Replies that this store still writes are kept as interrupted."""
        with contextlib.suppress(StoreError):
            self._interrupt([self._presence.owner])
        super().close()

    def add_message(
        self,
        conversation_id: str,
        parent_id: int | None,
        role: Role,
        text: str,
        *,
        settings: Mapping[str, Any] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Message:
        """A finished message as the new active leaf, synced to the disk."""
        with self._transaction(durable=True):
            parts = schema.parts_of(text)
            place, now = (0, conversation_id, parent_id), time.time()
            return self._add(
                Message(*place, role, parts, "complete", now, settings=settings, meta=meta or {})
            )

    def begin_reply(
        self,
        conversation_id: str,
        parent_id: int | None,
        *,
        fingerprint: str = "",
        sampling: SamplingParams | None = None,
        settings: Mapping[str, Any] | None = None,
        meta: Mapping[str, Any] | None = None,
        text: str = "",
        ids: Sequence[int] = (),
        logprobs: Sequence[float] = (),
    ) -> Message:
        """A reply as the new active leaf, to be written chunk by chunk. It may begin with the
        `text` of another reply; without the `ids` of that, none are kept at its end."""
        with self._transaction() as db:
            self._presence.claim()
            parts = schema.parts_of(text)
            place, now = (0, conversation_id, parent_id), time.time()
            message = self._add(
                Message(
                    *(*place, "assistant", parts, "streaming", now),
                    settings=settings,
                    meta=meta or {},
                )
            )
            facts = OpenReply(storable(fingerprint), sampling, partial=bool(text and not ids))
            schema.open_reply(db, message.id, self._presence.owner, facts)
            if text or ids:
                chunk = Chunk(text, ids=tuple(ids), logprobs=tuple(logprobs))
                schema.insert_chunk(db, message.id, chunk)
            return message

    def continue_reply(
        self,
        message_id: int,
        *,
        fingerprint: str = "",
        sampling: SamplingParams | None = None,
        ids: Sequence[int] | None = None,
        logprobs: Sequence[float] = (),
    ) -> Message:
        """Open a finished reply again: chunks are appended to it in its place. `ids` are those
        of its text so far (None: as that model produced them); without any, none are kept at
        the end. Discarded, it is as it was."""
        with self._transaction() as db:
            self._presence.claim()
            message = self._live(message_id)
            if message.status == "streaming":
                raise StoreError(BEING_WRITTEN)
            below = "SELECT 1 FROM messages WHERE conversation_id = ? AND parent_id = ?"
            where = (message.conversation_id, message_id)
            if db.execute(f"{below} AND deleted_at IS NULL", where).fetchone():
                raise StoreError(_ANSWERED)
            known = message.realization(fingerprint)
            told = b""
            if ids is None and known:
                ids, logprobs, told = known.ids, known.logprobs, known.places
            facts = (storable(fingerprint), sampling, message.status, not ids)
            schema.open_reply(db, message_id, self._presence.owner, OpenReply(*facts))
            # Without its calls: they are told again.
            chunk = Chunk(message.text, message.thinking, tuple(ids or ()), tuple(logprobs), told)
            schema.insert_chunk(db, message_id, chunk)
            db.execute("UPDATE messages SET status = 'streaming' WHERE id = ?", (message_id,))
            self._bring_into_view(self.get_conversation(message.conversation_id), message_id)
            return replace(message, status="streaming")

    def append_chunk(
        self,
        message_id: int,
        text: str,
        ids: Sequence[int] = (),
        logprobs: Sequence[float] = (),
        *,
        thinking: str = "",
        places: bytes = b"",
        calls: Sequence[Part] = (),
    ) -> None:
        """More of an open reply; `places` as places.py packs them."""
        chunk = Chunk(text, thinking, tuple(ids), tuple(logprobs), places, tuple(calls))
        with self._transaction() as db:
            try:
                schema.insert_chunk(db, message_id, chunk)
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
            whole = schema.read_chunks(db, message_id)
            if whole.blank:
                self._drop(message_id)
                return None
            if seed is None and reply.sampling:
                seed = reply.sampling.seed
            if reply.was:
                (content,) = db.execute(
                    "SELECT content FROM messages WHERE id = ?", (message_id,)
                ).fetchone()
                before = schema.load_parts(content)
                count = "SELECT count(*) FROM reply_chunks WHERE message_id = ?"
                (chunks,) = db.execute(count, (message_id,)).fetchone()
                if chunks == 1 or before == whole.parts:  # nothing came
                    schema.close_reply(db, message_id, before, status)
                    return schema.read_message(db, message_id)
                # Those of other models are of a shorter text.
                db.execute("DELETE FROM realizations WHERE message_id = ?", (message_id,))
            if whole.ids and not reply.partial:
                made = Realization(
                    *(reply.fingerprint, whole.ids, whole.logprobs, seed, reply.sampling),
                    *(usage, timings, finish_reason, whole.places),
                )
                schema.insert_realization(db, message_id, made)
            schema.close_reply(db, message_id, whole.parts, status)
            return schema.read_message(db, message_id)

    def discard_reply(self, message_id: int) -> None:
        """Forget an open reply; its parent is the active leaf again. One that was continued is
        as it was before."""
        with self._transaction() as db:
            if (reply := schema.read_open_reply(db, message_id)) is None:
                raise StoreError(_NOT_OPEN)
            if reply.was:
                db.execute("UPDATE messages SET status = ? WHERE id = ?", (reply.was, message_id))
                db.execute("DELETE FROM open_replies WHERE message_id = ?", (message_id,))
            else:
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
        """What the user sent and did not delete, newest first, each once."""
        prompts: dict[str, None] = {}
        newest_first = (
            "SELECT m.content FROM messages m JOIN conversations c ON c.id = m.conversation_id "
            "WHERE m.role = 'user' AND m.deleted_at IS NULL AND c.deleted_at IS NULL "
            "ORDER BY m.created_at DESC, m.id DESC"
        )
        with self._sentences():
            for (content,) in self._db.execute(newest_first):
                prompts[schema.text_of(schema.load_parts(content))] = None
                if len(prompts) >= limit:
                    break
        return list(prompts)[:limit]

    # ── inside ──────────────────────────────────────────────────────────────────────

    def _live(self, message_id: int) -> Message:
        message = schema.read_message(self._db, message_id)
        deleted = "SELECT 1 FROM messages WHERE id = ? AND deleted_at IS NOT NULL"
        if message is None or self._db.execute(deleted, (message_id,)).fetchone():
            raise StoreError(NO_MESSAGE)
        return message

    def _add(self, message: Message) -> Message:
        conversation = self.get_conversation(message.conversation_id)
        parent_id, role = message.parent_id, message.role
        if parent_id is not None:
            if schema.read_open_reply(self._db, parent_id):
                raise StoreError(BEING_WRITTEN)
            deleted = "SELECT 1 FROM messages WHERE id = ? AND deleted_at IS NOT NULL"
            if self._db.execute(deleted, (parent_id,)).fetchone():
                raise StoreError(NO_MESSAGE)
        message = schema.insert_message(self._db, message)
        if role == "user":
            title = conversation.title or schema.title_from(message.text)
            conversation = replace(conversation, title=title, draft="")
        conversation = replace(conversation, updated_at=message.created_at, deleted_at=None)
        self._bring_into_view(conversation, message.id)
        return message

    def _bring_into_view(self, conversation: Conversation, leaf: int | None) -> Conversation:
        """Make it the active leaf, and remember at each message above which way it goes."""
        mine, other = leaf, conversation.active_leaf
        # Up to where the two branches meet; parents have smaller ids, also in a damaged file.
        while mine is not None and mine != other:
            step = max(mine, other or 0)
            row = self._db.execute("SELECT parent_id FROM messages WHERE id = ?", (step,))
            (parent,) = row.fetchone() or (None,)
            if parent is not None and parent >= step:
                break
            if step == mine:
                self._db.execute("UPDATE messages SET last_child = ? WHERE id = ?", (mine, parent))
                mine = parent
            else:
                other = parent
        return self._save(replace(conversation, active_leaf=leaf))

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
