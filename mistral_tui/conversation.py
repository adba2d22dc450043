"""A conversation and its turn: what was said, what is being said, what is on disk.

No widgets here: the app calls the methods, and is told what happened by events.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from inference import api
from inference.api import (
    Failed,
    Finished,
    Generate,
    LoadModel,
    LoadProgress,
    ModelCard,
    PrefillProgress,
    Ready,
    Timings,
    Tokens,
    Usage,
)
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.engine_client import EngineClient
from mistral_tui.schema import Conversation, FinalStatus, Message, StoreError
from mistral_tui.store import AsyncStore

SAVE_SECONDS = 0.4  # a killed app loses at most this much of a reply
EngineState = Literal["off", "loading", "ready", "lost", "failed"]


# ── what the app is told ────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Opened:
    """Another conversation is in view, with these messages."""

    conversation: Conversation | None
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """The user's message is on disk."""

    message: Message


@dataclass(frozen=True, slots=True)
class ReplyBegan:
    message: Message


@dataclass(frozen=True, slots=True)
class ReplyProgress:
    """Prefill: `done` of `total` prompt tokens, `reused` of them from the cache."""

    message_id: int
    done: int
    total: int
    reused: int


@dataclass(frozen=True, slots=True)
class ReplyText:
    message_id: int
    text: str
    tokens: int  # generated so far


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """`kept` False: nothing came, so the message is gone again."""

    message_id: int
    status: FinalStatus
    kept: bool
    usage: Usage | None = None
    timings: Timings | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class EngineChanged:
    """The engine's state; the model's card where it is ready, else a sentence."""

    state: EngineState
    sentence: str = ""
    card: ModelCard | None = None


@dataclass(frozen=True, slots=True)
class Loading:
    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something went wrong; a sentence for the user."""

    sentence: str


Happening = (
    Opened
    | Said
    | ReplyBegan
    | ReplyProgress
    | ReplyText
    | ReplyEnded
    | EngineChanged
    | Loading
    | Trouble
)


@dataclass(slots=True)
class _Turn:
    """The reply being written."""

    request_id: int
    message: Message
    unsaved: str = ""
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    count: int = 0

    def add(self, event: Tokens) -> None:
        self.unsaved += event.text
        self.ids += event.ids
        self.logprobs += event.logprobs
        self.count += len(event.ids)


class Session:
    """One window's conversation with one engine."""

    def __init__(
        self,
        store: AsyncStore,
        client: EngineClient,
        tell: Callable[[Happening], None],
        *,
        choice: ModelChoice,
        sampling: SamplingChoice = SamplingChoice(),  # noqa: B008 (frozen)
        system_prompt: str = "",
    ) -> None:
        self._store = store
        self._client = client
        self._tell = tell
        self._sampling = sampling
        self._system_prompt = system_prompt
        self._turn: _Turn | None = None
        self._waiting = False  # the user has spoken and the engine was not ready
        self.choice = choice
        self.card: ModelCard | None = None
        self.engine: EngineState = "off"
        self.conversation: Conversation | None = None
        self.messages: list[Message] = []

    @property
    def answering(self) -> bool:
        """Whether a reply is being written or waited for."""
        return self._turn is not None or self._waiting

    @property
    def running_message_id(self) -> int | None:
        """The reply being written."""
        return self._turn.message.id if self._turn else None

    # ── the engine ──────────────────────────────────────────────────────────────────

    async def load(self, *, fetch: bool = False) -> None:
        """Start the engine if need be and load the chosen model; then answer what waits."""
        if self.engine == "loading":
            return
        self._engine_is("loading")
        if not self._client.alive:
            await self._client.start()
        request = LoadModel(
            self._client.next_id(),
            self.choice.model,
            device=self.choice.device,
            dtype=self.choice.dtype,
            threads=self.choice.threads,
            fetch=fetch,
        )
        async for event in self._client.submit(request):
            match event:
                case LoadProgress():
                    self._tell(Loading(event.stage, event.done, event.total))
                case Ready():
                    self.card = event.card
                    self._engine_is("ready", card=event.card)
                case Failed():
                    lost = event.kind == "worker_lost"
                    self._engine_is("lost" if lost else "failed", event.sentence)
                    return
        if self._waiting:
            self._waiting = False
            await self._answer()

    def _engine_is(
        self, state: EngineState, sentence: str = "", card: ModelCard | None = None
    ) -> None:
        self.engine = state
        self._tell(EngineChanged(state, sentence, card))

    # ── conversations ───────────────────────────────────────────────────────────────

    async def new(self) -> None:
        """An empty conversation; it reaches the disk with its first message."""
        await self.stop()
        self.conversation, self.messages = None, []
        self._tell(Opened(None, ()))

    async def open_latest(self) -> bool:
        """The conversation last written in, be it only a draft; False if there is none."""
        latest = await self._store.list_conversations(1)
        if not latest:
            return False
        await self.open(latest[0].id)
        return True

    async def open(self, conversation_id: str) -> None:
        """Bring a stored conversation into view."""
        await self.stop()
        self.conversation, self.messages = await self._store.load_conversation(conversation_id)
        self._tell(Opened(self.conversation, tuple(self.messages)))

    async def keep_draft(self, text: str) -> None:
        """Keep what is typed and not sent."""
        if self.conversation is not None:
            await self._store.set_draft(self.conversation.id, text)
        elif text.strip():
            await self._begin_conversation()
            await self.keep_draft(text)

    async def _begin_conversation(self) -> Conversation:
        if self.conversation is None:
            self.conversation = await self._store.create_conversation(
                model_name=self.card.name if self.card else self.choice.model,
                model_path=self.card.path if self.card else self.choice.model,
                system_prompt=self._system_prompt,
            )
        return self.conversation

    # ── turns ───────────────────────────────────────────────────────────────────────

    async def say(self, text: str) -> None:
        """Send a user message and have it answered, now or when the engine is ready.

        The message is on disk before anything else happens.

        Raises:
            StoreError: it could not be saved; the caller still has the text.
        """
        conversation = await self._begin_conversation()
        parent = self.messages[-1].id if self.messages else None
        message = await self._store.add_message(conversation.id, parent, "user", text)
        self.messages.append(message)
        self._tell(Said(message))
        await self.answer()

    async def answer(self) -> None:
        """Answer the last user message."""
        if self.engine == "ready":
            await self._answer()
        else:
            self._waiting = True

    async def stop(self) -> None:
        """Stop the reply that is being written; what came so far is kept."""
        self._waiting = False
        if self._turn is not None:
            self._client.cancel(self._turn.request_id)
            while self._turn is not None:
                await asyncio.sleep(0.005)

    def cancel(self) -> None:
        """Ask to stop; the end of the reply is told when it comes."""
        self._waiting = False
        if self._turn is not None:
            self._client.cancel(self._turn.request_id)

    def _request(self, request_id: int) -> Generate:
        assert self.card is not None
        system = self.conversation.system_prompt if self.conversation else ""
        messages = [api.Message("system", system)] if system else []
        for message in self.messages:
            known = message.realization(self.card.fingerprint)
            messages.append(
                api.Message(
                    message.role,
                    message.text,
                    known.ids if known else (),
                    known.fingerprint if known else "",
                )
            )
        return Generate(request_id, tuple(messages), self._sampling.over(self.card.sampling))

    async def _answer(self) -> None:
        assert self.card is not None
        assert self.conversation is not None
        request = self._request(self._client.next_id())
        try:
            reply = await self._store.begin_reply(
                self.conversation.id,
                self.messages[-1].id,
                fingerprint=self.card.fingerprint,
                sampling=request.sampling,
            )
        except StoreError as error:
            self._tell(Trouble(str(error)))
            return
        turn = self._turn = _Turn(request.id, reply)
        self._tell(ReplyBegan(reply))
        saver = asyncio.create_task(self._save_regularly(turn), name="save the reply")
        last: Finished | Failed | None = None
        try:
            async for event in self._client.submit(request):
                match event:
                    case PrefillProgress():
                        self._tell(ReplyProgress(reply.id, event.done, event.total, event.reused))
                    case Tokens():
                        turn.add(event)
                        self._tell(ReplyText(reply.id, event.text, turn.count))
                    case Finished() | Failed():
                        last = event
        finally:
            saver.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await saver
            await self._end(turn, last)

    async def _end(self, turn: _Turn, last: Finished | Failed | None) -> None:
        """Fold the reply on disk, then tell: in that order, so that what is shown is kept."""
        status: FinalStatus = "interrupted"
        usage = timings = seed = None
        reason = ""
        if isinstance(last, Finished):
            usage, timings, seed, reason = last.usage, last.timings, last.seed, last.reason
            status = _STATUS[last.reason]
        elif isinstance(last, Failed):
            status = "cancelled" if last.kind == "cancelled" else "failed"
        kept: Message | None = None
        try:
            await self._save(turn)
            kept = await self._store.finish_reply(
                turn.message.id,
                status,
                seed=seed,
                usage=usage,
                timings=timings,
                finish_reason=reason,
            )
        except StoreError as error:
            self._tell(Trouble(str(error)))
        if kept is not None:
            self.messages.append(kept)
        self._turn = None
        self._tell(ReplyEnded(turn.message.id, status, kept is not None, usage, timings, seed))
        if isinstance(last, Failed) and last.kind != "cancelled":
            if last.kind == "worker_lost":
                self._engine_is("lost", last.sentence)
            else:
                self._tell(Trouble(last.sentence))

    async def _save_regularly(self, turn: _Turn) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            try:
                await asyncio.shield(self._save(turn))
            except StoreError as error:
                self._tell(Trouble(str(error)))
                return  # what is unsaved stays in the turn; its end tries again

    async def _save(self, turn: _Turn) -> None:
        text, ids, logprobs = turn.unsaved, turn.ids, turn.logprobs
        if not text and not ids:
            return
        turn.unsaved, turn.ids, turn.logprobs = "", (), ()
        try:
            await self._store.append_chunk(turn.message.id, text, ids, logprobs)
        except StoreError:
            turn.unsaved = text + turn.unsaved
            turn.ids, turn.logprobs = ids + turn.ids, logprobs + turn.logprobs
            raise


_STATUS: dict[str, FinalStatus] = {
    "stop": "complete",
    "length": "length",
    "context_full": "length",
    "cancelled": "cancelled",
}
