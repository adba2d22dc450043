"""Conversations on disk: SQLite, used from one thread (`Store`) or from asyncio (`AsyncStore`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from mistral_tui.history import schema, search
from mistral_tui.history.schema import Chunk, Conversation, Message, Part, Realization, StoreError
from mistral_tui.history.search import Hit
from mistral_tui.history.shelf import Summary
from mistral_tui.history.tree import Deletion, Siblings, Tree

__all__ = [
    "AsyncStore",
    "Chunk",
    "Conversation",
    "Deletion",
    "Hit",
    "Message",
    "Part",
    "Realization",
    "Siblings",
    "Store",
    "StoreError",
    "Summary",
]


class Store(Tree):
    """One connection to the conversation file; every method may raise `StoreError`.

    `path` None keeps everything in memory.
    """

    def load_conversation(self, conversation_id: str) -> tuple[Conversation, list[Message]]:
        """A conversation and its active branch, first message first. A reply that another
        window is writing has status `streaming` and the text so far."""
        self.recover()
        with self._transaction("DEFERRED"):
            conversation = self.get_conversation(conversation_id)
            return conversation, schema.read_branch(self._db, conversation.active_leaf)

    def search(self, query: str, limit: int = 20, offset: int = 0) -> list[Hit]:
        """Messages and titles with all these words, the best first. Any query is fine: words,
        "several words side by side", the last one unfinished."""
        if not self.searchable:
            raise StoreError(search.UNAVAILABLE)
        with self._transaction("DEFERRED") as db:
            return search.find(db, query, limit, offset)


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
        self.searchable = store.searchable

    @classmethod
    async def open(cls, path: Path | None) -> AsyncStore:
        """Open on the database thread; raises `StoreError`."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        return cls(await asyncio.get_running_loop().run_in_executor(thread, Store, path), thread)

    async def close(self) -> None:
        """After everything that was asked before."""
        await self._close()
        self._thread.shutdown(wait=False)

    async def beside(self, job: Callable[[Store], T]) -> T:
        """Run a long job (export, import) on a connection and a thread of its own, so that
        replies are saved meanwhile; a store in memory has only the one."""
        path = self._store.path
        if path is None:
            return await self._run(job)

        def run() -> T:
            store = Store(path)
            try:
                return job(store)
            finally:
                store.close()

        return await asyncio.to_thread(run)

    async def _run(self, job: Callable[[Store], T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(job, self._store))

    _close = _threaded(Store.close)
    set_setting = _threaded(Store.set_setting)
    get_setting = _threaded(Store.get_setting)
    # conversations
    create_conversation = _threaded(Store.create_conversation)
    get_conversation = _threaded(Store.get_conversation)
    exists = _threaded(Store.exists)
    latest_conversation = _threaded(Store.latest_conversation)
    list_conversations = _threaded(Store.list_conversations)
    overview = _threaded(Store.overview)
    deleted_conversations = _threaded(Store.deleted_conversations)
    all_ids = _threaded(Store.all_ids)
    matching_ids = _threaded(Store.matching_ids)
    load_conversation = _threaded(Store.load_conversation)
    update_conversation = _threaded(Store.update_conversation)
    set_title = _threaded(Store.set_title)
    set_pinned = _threaded(Store.set_pinned)
    set_draft = _threaded(Store.set_draft)
    get_draft = _threaded(Store.get_draft)
    trash_conversation = _threaded(Store.trash_conversation)
    restore_conversation = _threaded(Store.restore_conversation)
    delete_conversation = _threaded(Store.delete_conversation)
    purge = _threaded(Store.purge)
    search = _threaded(Store.search)
    # messages
    add_message = _threaded(Store.add_message)
    begin_reply = _threaded(Store.begin_reply)
    continue_reply = _threaded(Store.continue_reply)
    append_chunk = _threaded(Store.append_chunk)
    finish_reply = _threaded(Store.finish_reply)
    discard_reply = _threaded(Store.discard_reply)
    recover = _threaded(Store.recover)
    recent_prompts = _threaded(Store.recent_prompts)
    # the tree
    siblings = _threaded(Store.siblings)
    leaf_below = _threaded(Store.leaf_below)
    set_active_leaf = _threaded(Store.set_active_leaf)
    show_message = _threaded(Store.show_message)
    edit_message = _threaded(Store.edit_message)
    update_message = _threaded(Store.update_message)
    delete_turn = _threaded(Store.delete_turn)
    restore_turn = _threaded(Store.restore_turn)
    copy_branch = _threaded(Store.copy_branch)
    duplicate_conversation = _threaded(Store.duplicate_conversation)
    load_tree = _threaded(Store.load_tree)
    plant = _threaded(Store.plant)
    planted_from = _threaded(Store.planted_from)
