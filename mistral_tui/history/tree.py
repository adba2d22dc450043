"""A conversation as a tree: versions of a message, branches, turns deleted and brought back."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mistral_tui.history import schema
from mistral_tui.history.replies import NO_MESSAGE, Replies
from mistral_tui.history.schema import (
    Conversation,
    Message,
    Realization,
    StoreError,
)

_ABOVE = "What this was an answer to is deleted, too: restore that first."
# UNION, not UNION ALL: it ends even on a damaged tree that goes round in circles.
_LEAF_BELOW = """
WITH RECURSIVE way (id, step) AS (
    SELECT ?1, 0
    UNION SELECT (
        SELECT c.id FROM messages p JOIN messages c
        ON c.conversation_id = p.conversation_id AND c.parent_id = p.id
        WHERE p.id = way.id AND c.deleted_at IS NULL
        ORDER BY c.id = p.last_child DESC, c.id DESC LIMIT 1
    ), step + 1 FROM way WHERE id IS NOT NULL AND step < 1000000
)
SELECT id FROM way WHERE id IS NOT NULL ORDER BY step DESC LIMIT 1
"""
_SUBTREE = """
WITH RECURSIVE below (id) AS (
    SELECT ?1
    UNION SELECT m.id FROM below b JOIN messages m
        ON m.conversation_id = ?2 AND m.parent_id = b.id
) """


@dataclass(frozen=True, slots=True)
class Siblings:
    """The versions of a message, itself among them, the oldest first; it is `ids[index]`."""

    ids: tuple[int, ...]
    index: int

    @property
    def count(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Deletion:
    """A turn that was deleted, to be restored: when, and what was in view before."""

    conversation_id: str
    message_id: int
    deleted_at: float
    active_leaf: int | None


class Tree(Replies):
    """Messages are never overwritten: another version is a sibling."""

    def siblings(self, conversation_id: str, leaf: int | None = None) -> dict[int, Siblings]:
        """For each message of the branch that ends in `leaf` (None: the active one), which
        versions there are of it."""
        versions: dict[int, list[int]] = {}
        with self._sentences():
            leaf = self.get_conversation(conversation_id).active_leaf if leaf is None else leaf
            query = schema.BRANCH + (
                "SELECT b.id, s.id FROM branch b JOIN messages s ON s.conversation_id = ? "
                "AND s.parent_id IS b.parent_id AND s.deleted_at IS NULL ORDER BY b.id, s.id"
            )
            for message_id, sibling in self._db.execute(query, (leaf, conversation_id)):
                versions.setdefault(message_id, []).append(sibling)
        return {
            key: Siblings(tuple(ids), ids.index(key)) for key, ids in versions.items() if key in ids
        }

    def leaf_below(self, message_id: int) -> int:
        """The end of the branch that was in view last, of those that go through this message;
        where none was, of the newest."""
        with self._sentences():
            return int(self._db.execute(_LEAF_BELOW, (message_id,)).fetchone()[0])

    def set_active_leaf(self, conversation_id: str, message_id: int) -> None:
        """Bring the branch that ends in this message into view."""
        with self._transaction():
            conversation = self.get_conversation(conversation_id)
            if self._live(message_id).conversation_id != conversation_id:
                raise StoreError(NO_MESSAGE)
            self._bring_into_view(conversation, message_id)

    def show_message(self, message_id: int) -> Conversation:
        """Bring into view the branch through this message that was in view last."""
        with self._transaction():
            conversation = self.get_conversation(self._live(message_id).conversation_id)
            return self._bring_into_view(conversation, self.leaf_below(message_id))

    def edit_message(
        self,
        message_id: int,
        text: str,
        *,
        thinking: str = "",
        realization: Realization | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Message:
        """Another version of a message, of the same role, as the new active leaf; the old one
        stays beside it. `realization`: the ids that stand for exactly this text, if known."""
        with self._transaction(durable=True) as db:
            old = self._live(message_id)
            # Of an edited answer the calls stay; other ids know what they say themselves.
            keep = realization is None and old.status == "complete"
            calls = [p for p in old.parts if p.type == "call"] if keep else ()
            now, parts = time.time(), schema.parts_of(text, thinking, calls)
            settings = old.settings if settings is None else settings
            meta = dict(old.meta)
            if old.role == "tool":  # whatever it was: this one the user has written
                meta = {key: meta[key] for key in ("call", "name") if key in meta} | {"by": "hand"}
            new = replace(old, id=0, parts=parts, status="complete", created_at=now, meta=meta)
            new = replace(new, realizations=())
            new = self._add(replace(new, settings=settings))
            if realization is not None:
                schema.insert_realization(db, new.id, realization)
                new = replace(new, realizations=(realization,))
            return new

    def update_message(
        self,
        message_id: int,
        *,
        settings: Mapping[str, Any] | None = None,
        pinned: bool | None = None,
        dropped: bool | None = None,
    ) -> Message:
        """Change what is kept about a message; not what it says. `settings` are replaced as a
        whole, an empty mapping takes them away."""
        with self._transaction() as db:
            message = self._live(message_id)
            given = {"pinned": pinned, "dropped": dropped}
            meta = {**message.meta, **{k: v for k, v in given.items() if v is not None}}
            settings = message.settings if settings is None else settings or None
            message = replace(message, settings=settings, meta=meta)
            db.execute(
                "UPDATE messages SET settings = ?, meta = ? WHERE id = ?",
                (schema.dump_map(settings), schema.dump_map(meta or None), message_id),
            )
            return message

    def delete_turn(self, message_id: int) -> Deletion:
        """Put a message and all below it into the bin. What comes into view is the version
        before it, else the one after it, else what it was an answer to."""
        with self._transaction(durable=True) as db:
            message = self._live(message_id)
            conversation = self.get_conversation(message.conversation_id)
            where = (message_id, conversation.id)
            below = {row[0] for row in db.execute(_SUBTREE + "SELECT id FROM below", where)}
            writing = _SUBTREE + "SELECT id FROM below"
            self._refuse_while_written(f"id IN ({writing})", *where)
            # Unique within the conversation, so that just these come back.
            last = "SELECT max(deleted_at) FROM messages WHERE conversation_id = ?"
            before = db.execute(last, (conversation.id,)).fetchone()[0] or 0.0
            now = max(time.time(), before + 1e-3)
            db.execute(
                _SUBTREE + "UPDATE messages SET deleted_at = ?3 "
                "WHERE id IN (SELECT id FROM below) AND deleted_at IS NULL",
                (*where, now),
            )
            if conversation.active_leaf in below:
                beside = (
                    "SELECT id FROM messages WHERE conversation_id = ? AND parent_id IS ? "
                    "AND deleted_at IS NULL ORDER BY id > ?, abs(id - ?) LIMIT 1"
                )
                place = (conversation.id, message.parent_id, message_id, message_id)
                row = db.execute(beside, place).fetchone()
                leaf = self.leaf_below(row[0]) if row else message.parent_id
                self._bring_into_view(conversation, leaf)
            return Deletion(conversation.id, message_id, now, conversation.active_leaf)

    def restore_turn(self, deletion: Deletion) -> Conversation:
        """Undo `delete_turn`; what was in view then comes into view again."""
        with self._transaction(durable=True) as db:
            conversation = self.get_conversation(deletion.conversation_id)
            above = (
                "SELECT 1 FROM messages m JOIN messages p ON p.id = m.parent_id "
                "WHERE m.id = ? AND p.deleted_at IS NOT NULL"
            )
            if db.execute(above, (deletion.message_id,)).fetchone():
                raise StoreError(_ABOVE)
            back = db.execute(
                "UPDATE messages SET deleted_at = NULL "
                "WHERE conversation_id = ? AND deleted_at = ?",
                (deletion.conversation_id, deletion.deleted_at),
            ).rowcount
            if not back:
                raise StoreError(NO_MESSAGE)
            leaf = deletion.active_leaf
            if leaf is None:
                return conversation
            self._live(leaf)
            return self._bring_into_view(conversation, leaf)

    def copy_branch(self, conversation_id: str, leaf: int | None = None) -> Conversation:
        """The branch that ends in `leaf` (None: the active one) as a conversation of its own,
        token ids included."""
        with self._transaction(durable=True):
            conversation = self.get_conversation(conversation_id)
            leaf = conversation.active_leaf if leaf is None else self._live(leaf).id
            return self._copy(conversation, schema.read_branch(self._db, leaf), leaf)

    def duplicate_conversation(self, conversation_id: str) -> Conversation:
        """The conversation once more, with all its branches."""
        with self._transaction(durable=True) as db:
            conversation = self.get_conversation(conversation_id)
            messages = schema.read_tree(db, conversation_id)
            return self._copy(conversation, messages, conversation.active_leaf)

    def load_tree(self, conversation_id: str) -> tuple[Conversation, list[Message], dict[int, int]]:
        """A conversation with all its branches, parents before their children, and at each
        message the answer that was in view last."""
        with self._transaction("DEFERRED") as db:
            conversation = self.get_conversation(conversation_id)
            return conversation, schema.read_tree(db, conversation_id), self._ways(conversation_id)

    def plant(
        self,
        conversation: Conversation,
        messages: list[Message],
        ways: Mapping[int, int],
        origin: str = "",
    ) -> Conversation:
        """Store such a tree as a new conversation; `origin` is the hash of what it came from."""
        with self._transaction():
            return self._plant(conversation, messages, ways, origin)

    def planted_from(self, origin: str) -> str | None:
        """The conversation that came from there and is not deleted."""
        query = "SELECT id FROM conversations WHERE origin = ? AND origin <> ''"
        with self._sentences():
            row = self._db.execute(query + " AND deleted_at IS NULL", (origin,)).fetchone()
            return row and str(row[0])

    # ── inside ──────────────────────────────────────────────────────────────────────

    def _copy(
        self, conversation: Conversation, messages: list[Message], leaf: int | None
    ) -> Conversation:
        now = time.time()
        title = schema.title_from(f"{conversation.title[:52]} (copy)") if conversation.title else ""
        copy = replace(
            conversation,
            id=str(uuid.uuid4()),
            title=title,
            created_at=now,
            updated_at=now,
            draft="",
            pinned=False,
            deleted_at=None,
        )
        ways = self._ways(conversation.id)
        # A reply that is being written is copied as far as it is.
        finished = [
            replace(m, status="interrupted") if m.status == "streaming" else m for m in messages
        ]
        kept = [m for m in finished if m.status != "interrupted" or not m.blank]
        if leaf not in {m.id for m in kept}:
            leaf = {m.id: m.parent_id for m in messages}.get(leaf or 0)
        return self._plant(replace(copy, active_leaf=leaf), kept, ways)

    def _ways(self, conversation_id: str) -> dict[int, int]:
        """At each message, the answer that was in view last."""
        query = "SELECT id, last_child FROM messages WHERE conversation_id = ? AND last_child > 0"
        return dict(self._db.execute(query, (conversation_id,)).fetchall())

    def _plant(
        self,
        conversation: Conversation,
        messages: list[Message],
        ways: Mapping[int, int],
        origin: str = "",
    ) -> Conversation:
        """Store a tree; its messages, parents before their children, get new ids."""
        new: dict[int, int] = {}
        for message in messages:
            parent = None if message.parent_id is None else new[message.parent_id]
            moved = replace(message, conversation_id=conversation.id, parent_id=parent)
            new[message.id] = schema.insert_message(self._db, moved).id
            for made in message.realizations:
                schema.insert_realization(self._db, new[message.id], made)
        self._db.executemany(
            "UPDATE messages SET last_child = ? WHERE id = ?",
            [(new[b], new[a]) for a, b in ways.items() if a in new and b in new],
        )
        leaf = conversation.active_leaf
        conversation = replace(conversation, active_leaf=None if leaf is None else new[leaf])
        conversation = self._save(conversation)
        if origin:
            self._db.execute(
                "UPDATE conversations SET origin = ? WHERE id = ?", (origin, conversation.id)
            )
        return conversation
