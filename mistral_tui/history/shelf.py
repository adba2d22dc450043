"""The conversations as a collection: created, listed, renamed, pinned, thrown away."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mistral_tui.history import schema, search
from mistral_tui.history.database import Database
from mistral_tui.history.schema import Conversation, StoreError, storable
from mistral_tui.sanitize import one_line

KEEP_DELETED = 30 * 86_400.0  # seconds
_GONE = "This conversation no longer exists: it was deleted, perhaps in another window."
BEING_WRITTEN = "The reply is still being written, perhaps in another window: wait for its end."
_SAID = "deleted_at IS NULL AND (active_leaf IS NOT NULL OR draft <> '') "
_OVERVIEW = f"""
SELECT {schema.CONVERSATION_COLUMNS},
    (SELECT count(*) FROM messages m WHERE m.conversation_id = c.id AND m.deleted_at IS NULL),
    (SELECT CASE WHEN json_valid(content) THEN substr(json_extract(content, '$[0].text'), 1, 400)
     END FROM messages WHERE id = c.active_leaf)
FROM conversations c WHERE {_SAID} ORDER BY pinned DESC, updated_at DESC, id LIMIT ? OFFSET ?
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """A line in the list of conversations: `messages` in all its branches; `preview` is the
    beginning of what was said last (else of the draft), on one line, safe to show."""

    conversation: Conversation
    messages: int
    preview: str


class Shelf(Database):
    """A conversation comes onto the disk with its first message or draft, and leaves with its
    last one. What is in the bin is not listed and not found, but can be restored."""

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
        """The conversation without its messages, be it in the bin."""
        if unsaved := self._unsaved.get(conversation_id):
            return unsaved
        found = self._conversations("WHERE id = ?", conversation_id)
        if not found:
            raise StoreError(_GONE)
        return found[0]

    def exists(self, conversation_id: str) -> bool:
        """Whether it is on disk, be it in the bin."""
        return bool(self._conversations("WHERE id = ?", conversation_id))

    def latest_conversation(self) -> Conversation | None:
        """The one in which something was said last."""
        newest = f"WHERE {_SAID} AND active_leaf IS NOT NULL ORDER BY updated_at DESC LIMIT 1"
        return next(iter(self._conversations(newest)), None)

    def list_conversations(self, limit: int = 50, offset: int = 0) -> list[Conversation]:
        """Newest first; one with a draft only has `active_leaf` None."""
        newest_first = f"WHERE {_SAID} ORDER BY updated_at DESC, id LIMIT ? OFFSET ?"
        return self._conversations(newest_first, limit, offset)

    def overview(self, limit: int = 50, offset: int = 0) -> list[Summary]:
        """For people to choose from: the pinned ones first, then the newest."""
        with self._sentences():
            return [
                Summary(
                    conversation := schema.read_conversation(row),
                    count,
                    one_line(preview or conversation.draft, 120),
                )
                for *row, count, preview in self._db.execute(_OVERVIEW, (limit, offset))
            ]

    def deleted_conversations(self, limit: int = 50, offset: int = 0) -> list[Conversation]:
        """What is in the bin, the last deleted first."""
        binned = "WHERE deleted_at IS NOT NULL ORDER BY deleted_at DESC, id LIMIT ? OFFSET ?"
        return self._conversations(binned, limit, offset)

    def all_ids(self) -> list[str]:
        """Of every conversation that is listed, the oldest first."""
        with self._sentences():
            query = f"SELECT id FROM conversations WHERE {_SAID} ORDER BY created_at, id"
            return [row[0] for row in self._db.execute(query)]

    def matching_ids(self, beginning: str, limit: int = 10, *, deleted: bool = False) -> list[str]:
        """The ids that begin so, of conversations that are listed, or of those in the bin."""
        where = "deleted_at IS NOT NULL" if deleted else _SAID
        query = f"SELECT id FROM conversations WHERE {where} AND substr(id, 1, ?) = ? LIMIT ?"
        with self._sentences():
            beginning = storable(beginning)
            return [row[0] for row in self._db.execute(query, (len(beginning), beginning, limit))]

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
        pinned: bool | None = None,
    ) -> Conversation:
        """Change what is given; `settings` are replaced as a whole."""
        given = {"title": title, "draft": draft, "model_name": model_name}
        given |= {"model_path": model_path, "system_prompt": system_prompt}
        changes: dict[str, Any] = {k: storable(v) for k, v in given.items() if v is not None}
        if title is not None:
            changes["title"] = schema.title_from(title)
        if settings is not None:
            changes["settings"] = dict(settings)
        if pinned is not None:
            changes["pinned"] = pinned
        with self._transaction():
            return self._save(replace(self.get_conversation(conversation_id), **changes))

    def set_title(self, conversation_id: str, title: str) -> None:
        """An empty title is made again from the next user message."""
        self.update_conversation(conversation_id, title=title)

    def set_pinned(self, conversation_id: str, pinned: bool) -> None:
        """A pinned conversation stands at the top of the list."""
        self.update_conversation(conversation_id, pinned=pinned)

    def set_draft(self, conversation_id: str, draft: str) -> None:
        """Keep what is typed but not sent; sending a user message clears it."""
        self.update_conversation(conversation_id, draft=draft)

    def get_draft(self, conversation_id: str) -> str:
        return self.get_conversation(conversation_id).draft

    def trash_conversation(self, conversation_id: str) -> None:
        """Put it into the bin; refused while a reply is being written in it. To say something
        in it, in another window, takes it out again."""
        with self._transaction(durable=True):
            conversation = self.get_conversation(conversation_id)
            if conversation.deleted_at is None:
                self._refuse_while_written(
                    "conversation_id = ? AND status = 'streaming'", conversation_id
                )
                self._save(replace(conversation, deleted_at=time.time()))

    def restore_conversation(self, conversation_id: str) -> Conversation:
        """Take it out of the bin."""
        with self._transaction(durable=True):
            return self._save(replace(self.get_conversation(conversation_id), deleted_at=None))

    def delete_conversation(self, conversation_id: str) -> None:
        """Delete it for ever with all its branches; one that is gone already is fine."""
        with self._transaction(durable=True) as db:
            self._unsaved.pop(conversation_id, None)
            gone = db.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,)).rowcount
        if gone:
            self._forget()

    def purge(self, older_than: float = KEEP_DELETED) -> int:
        """Delete for ever what was put into the bin more than so many seconds ago, single turns
        too; how many conversations and messages that was."""
        until = time.time() - older_than
        with self._transaction(durable=True) as db:
            count = db.execute("DELETE FROM conversations WHERE deleted_at <= ?", (until,)).rowcount
            count += db.execute("DELETE FROM messages WHERE deleted_at <= ?", (until,)).rowcount
            if count:
                db.execute(
                    "DELETE FROM conversations WHERE active_leaf IS NULL AND draft = '' "
                    "AND id NOT IN (SELECT conversation_id FROM messages)"
                )
        if count:
            self._forget()
        return count

    # ── inside ──────────────────────────────────────────────────────────────────────

    def _conversations(self, which: str, *values: str | int) -> list[Conversation]:
        with self._sentences():
            rows = self._db.execute(schema.SELECT_CONVERSATION + which, values)
            return [schema.read_conversation(row) for row in rows]

    def _save(self, conversation: Conversation) -> Conversation:
        """A conversation with neither message nor draft is not kept on disk; deleted messages
        count, they may be restored."""
        empty = conversation.active_leaf is None and not conversation.draft
        any_message = "SELECT 1 FROM messages WHERE conversation_id = ? LIMIT 1"
        if empty and not self._db.execute(any_message, (conversation.id,)).fetchone():
            self._unsaved[conversation.id] = conversation
            self._db.execute("DELETE FROM conversations WHERE id = ?", (conversation.id,))
        else:
            self._unsaved.pop(conversation.id, None)
            schema.save_conversation(self._db, conversation)
        return conversation

    def _refuse_while_written(self, which: str, *values: str | int) -> None:
        """A living window is not deprived of the reply that it writes."""
        owners = self._db.execute(
            "SELECT DISTINCT owner FROM open_replies WHERE message_id IN "
            f"(SELECT id FROM messages WHERE {which})",
            values,
        )
        if any(self._presence.alive(owner) for (owner,) in owners.fetchall()):
            raise StoreError(BEING_WRITTEN)

    def _forget(self) -> None:
        """The words, too, so that none is left in the file."""
        for name in ("text", "title") if self.searchable else ():
            more, first = True, True
            while more:
                with self._transaction() as db:
                    more, first = search.forget(db, name, first=first), False
