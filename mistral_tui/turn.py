"""The reply that is being written: what came of it, and what of that is not on disk yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from inference.api import Tokens
from inference.calls import ToolCall
from mistral_tui.happenings import Happening, Trouble
from mistral_tui.history.parts import Broken, Part, broken_part, call_part
from mistral_tui.history.places import Place, pack
from mistral_tui.history.schema import Message, StoreError
from mistral_tui.history.store import AsyncStore
from mistral_tui.prompts import call_id

SAVE_SECONDS = 0.4  # a killed app loses at most this much of a reply


class Turn:
    """One reply on its way from the engine to the disk."""

    def __init__(self, message: Message, fingerprint: str, call_ids: Collection[str] = ()) -> None:
        self.message = message
        self.fingerprint = fingerprint
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.places: list[Place] = []
        self._text = self._thinking = ""  # not saved yet
        self._saved = 0  # tokens
        self._calls: list[Part] = []  # not saved yet
        self._name = ""  # of the call that is being written
        self._call_ids = set(call_ids)  # of the conversation: no two are the same

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
        for piece in event.calls:
            match piece.stage:
                case "begun":
                    self._name = piece.name
                case "finished":
                    call = ToolCall(piece.name, piece.text, call_id(piece.id, self._call_ids))
                    self._call_ids.add(call.id)
                    self._calls.append(call_part(call))
                    self._name = ""
                case "broken":
                    broken = Broken(self._name, piece.text, piece.reason)
                    self._calls.append(broken_part(broken))
                    self._name = ""

    async def save(self, store: AsyncStore) -> None:
        """Put on disk what is not there yet.

        Raises:
            StoreError: it could not be saved; it stays here for the next time.
        """
        text, thinking, begin, end = self._text, self._thinking, self._saved, self.count
        calls = self._calls
        if not text and not thinking and not calls and begin == end:
            return
        self._text, self._thinking, self._saved, self._calls = "", "", end, []
        try:
            await store.append_chunk(
                self.message.id,
                text,
                self.ids[begin:end],
                self.logprobs[begin:end],
                thinking=thinking,
                places=pack(self.places[begin:end]),
                calls=calls,
            )
        except StoreError:
            self._text, self._thinking = text + self._text, thinking + self._thinking
            self._saved, self._calls = begin, calls + self._calls
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
