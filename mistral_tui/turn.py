"""The reply that is being written: what came of it, and what of that is not on disk yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from inference.api import Tokens
from mistral_tui.happenings import Happening, Trouble
from mistral_tui.history.places import Place, pack
from mistral_tui.history.schema import Message, StoreError
from mistral_tui.history.store import AsyncStore

SAVE_SECONDS = 0.4  # a killed app loses at most this much of a reply


class Turn:
    """One reply on its way from the engine to the disk."""

    def __init__(self, message: Message, fingerprint: str) -> None:
        self.message = message
        self.fingerprint = fingerprint
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.places: list[Place] = []
        self._text = self._thinking = ""  # not saved yet
        self._saved = 0  # tokens

    @property
    def count(self) -> int:
        """Tokens so far."""
        return len(self.ids)

    def add(self, event: Tokens) -> None:
        """More of it."""
        self._text += event.text
        self._thinking += event.thinking
        self.ids += event.ids
        self.logprobs += event.logprobs
        self.places += event.places or [()] * len(event.ids)

    async def save(self, store: AsyncStore) -> None:
        """Put on disk what is not there yet.

        Raises:
            StoreError: it could not be saved; it stays here for the next time.
        """
        text, thinking, begin, end = self._text, self._thinking, self._saved, self.count
        if not text and not thinking and begin == end:
            return
        self._text, self._thinking, self._saved = "", "", end
        try:
            await store.append_chunk(
                self.message.id,
                text,
                self.ids[begin:end],
                self.logprobs[begin:end],
                thinking=thinking,
                places=pack(self.places[begin:end]),
            )
        except StoreError:
            self._text, self._thinking = text + self._text, thinking + self._thinking
            self._saved = begin
            raise

    async def save_regularly(self, store: AsyncStore, tell: Callable[[Happening], None]) -> None:
        """Save it again and again, until a save fails: its end tries once more."""
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            try:
                await asyncio.shield(self.save(store))
            except StoreError as error:
                tell(Trouble(str(error)))
                return
