"""A conversation and its turn: what was said, what is being said, what is on disk.

No widgets here: the app calls the methods, and is told what happened by events.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from inference import api
from inference.api import Failed, Finished, ModelCard, Tokens
from mistral_tui import prompts
from mistral_tui.choices import ModelChoice, SamplingChoice, ToolsChoice
from mistral_tui.config.file import Config
from mistral_tui.config.layers import ConversationSettings
from mistral_tui.config.tuning import Tuning
from mistral_tui.engine_client import EngineClient
from mistral_tui.happenings import (
    EngineChanged,
    EngineState,
    Happening,
    Loading,
    Opened,
    ReplyBegan,
    ReplyEnded,
    ReplyProgress,
    ReplyText,
    Said,
    TakenBack,
    Trouble,
    Tuned,
)
from mistral_tui.history.schema import Conversation, FinalStatus, Message, StoreError
from mistral_tui.history.store import AsyncStore
from mistral_tui.history.tree import Siblings
from mistral_tui.turn import Turn

CANDIDATES = 5
"""Tokens that are kept as what else might have been said at a place."""
_STATUS: dict[str, FinalStatus] = {"stop": "complete", "cancelled": "cancelled"}


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
        config: Config | None = None,
        tools: ToolsChoice = ToolsChoice(),  # noqa: B008 (frozen)
        preset: str = "",
    ) -> None:
        self._store = store
        self._client = client
        self._tell = tell
        self.tuning = Tuning(sampling, system_prompt, config, tools, preset)
        self._changed: list[str] = []  # settings, since the last message
        self._turn: Turn | None = None
        self._request = 0  # of the turn that is under way; 0: there is none
        self._beginning = asyncio.Lock()
        self.waiting = False  # the last message is answered once the engine is ready
        self.choice = choice
        self.card: ModelCard | None = None
        self.engine: EngineState = "off"
        self.trouble = ""  # why there is no engine, in a sentence
        self.conversation: Conversation | None = None
        self.messages: list[Message] = []
        self.siblings: dict[int, Siblings] = {}

    @property
    def answering(self) -> bool:
        """Whether a message is being saved or its reply being written."""
        return self._request != 0

    @property
    def running_message_id(self) -> int | None:
        """The reply being written."""
        return self._turn.message.id if self._turn else None

    # ── the engine ──────────────────────────────────────────────────────────────────

    async def load(self, *, fetch: bool = False, anew: bool = False) -> None:
        """Start the engine if need be (`anew`: in any case, also one that hangs) and load
        the chosen model; then answer what waits."""
        if self.engine == "loading":
            return
        if anew:
            self.cancel()  # whatever is under way
        self._engine_is("loading")
        if anew:
            await self._client.close()
            await self._idle()
        try:
            if not self._client.alive:
                await self._client.start()
        except OSError as error:
            self._engine_is("failed", f"The engine cannot be started: {error.strerror or error}.")
            return
        request = self.choice.load_request(self._client.next_id(), fetch=fetch)
        async for event in self._client.submit(request):
            match event:
                case api.LoadProgress():
                    self._tell(Loading(event.stage, event.done, event.total))
                case api.Ready():
                    self.card = self.choice.described(event.card)
                    self._engine_is("ready")
                    await self._store.set_setting("last_model", self.choice.model)
                case Failed():
                    lost = event.kind == "worker_lost"
                    self._engine_is("lost" if lost else "failed", event.sentence, event.detail)
                    return
        if self.waiting and not self.answering:
            await self._answer()

    def check_engine(self) -> None:
        """Notice an engine that died while it had nothing to do."""
        if self.engine == "ready" and not self.answering and not self._client.alive:
            lost = self._client.lost()
            self._engine_is("lost", lost.sentence, lost.detail)

    def _engine_is(self, state: EngineState, sentence: str = "", detail: str = "") -> None:
        self.engine = state
        self.trouble = sentence
        card = self.card if state == "ready" else None
        final = state == "lost" and not self._client.can_restart
        self._tell(EngineChanged(state, sentence, card, detail, final))

    # ── conversations ───────────────────────────────────────────────────────────────

    async def new(self) -> None:
        """An empty conversation; it reaches the disk with its first message."""
        await self.stop()
        self.conversation, self.messages, self.siblings = None, [], {}
        self.tuning.begin()
        self._tell(Opened(None, ()))

    async def open_latest(self) -> bool:
        """The conversation last written in, be it only a draft; False if there is none."""
        for latest in await self._store.list_conversations(1):
            await self.open(latest.id)
            return True
        return False

    async def open(self, conversation_id: str) -> None:
        """Bring a stored conversation into view."""
        await self.stop()
        await self._show(conversation_id)

    async def _show(self, conversation_id: str, focus: int | None = None) -> None:
        """Read the branch in view anew and tell it."""
        self.conversation, self.messages = await self._store.load_conversation(conversation_id)
        self.siblings = await self._store.siblings(conversation_id)
        self.tuning.open(self.conversation.settings)
        self._tell(Opened(self.conversation, tuple(self.messages), self.siblings, focus))

    async def keep_draft(self, text: str) -> None:
        """Keep what is typed and not sent."""
        if self.conversation is not None:
            await self._store.set_draft(self.conversation.id, text)
        elif text.strip():
            await self._begin_conversation()
            await self.keep_draft(text)

    async def _begin_conversation(self) -> Conversation:
        async with self._beginning:  # a draft and a message may both be the first
            if self.conversation is None:
                card, model = self.card, self.choice.model
                name, path = (card.name, card.path) if card else (model, model)
                self.conversation = await self._store.create_conversation(
                    model_name=name, model_path=path, system_prompt=self.tuning.system_prompt()
                )
                await self._keep_settings()
            return self.conversation

    # ── settings ────────────────────────────────────────────────────────────────────

    async def change_settings(self, new: ConversationSettings) -> None:
        """Other settings for this conversation, from the next answer on; what changed is told,
        and kept with the next message.

        Raises:
            StoreError, PromptError: they could not be kept, or name a prompt that is not there.
        """
        prompt = self.tuning.now(None)["system_prompt"].value
        changed = self.tuning.change(new, self.card)
        if not changed:
            return
        self._changed += changed
        self._tell(Tuned(tuple(changed)))
        if self.conversation is not None:
            await self._keep_settings()
            if self.tuning.now(None)["system_prompt"].value != prompt:
                text = self.tuning.system_prompt()
                self.conversation = await self._store.update_conversation(
                    self.conversation.id, system_prompt=text
                )

    async def _keep_settings(self) -> None:
        settings = self.tuning.own.to_json()
        if self.conversation is not None and settings != self.conversation.settings:
            self.conversation = await self._store.update_conversation(
                self.conversation.id, settings=settings
            )

    # ── turns ───────────────────────────────────────────────────────────────────────

    async def say(self, text: str) -> None:
        """Send a user message and have it answered, now or when the engine is ready.

        The message is on disk before anything else happens.

        Raises:
            StoreError: it could not be saved; the caller still has the text.
        """
        request_id = self._request = self._client.next_id()
        try:
            conversation = await self._begin_conversation()
            parent = self.messages[-1].id if self.messages else None
            settings = {"changed": self._changed} if self._changed else None
            message = await self._store.add_message(
                conversation.id, parent, "user", text, settings=settings
            )
            self._changed = []
            self.messages.append(message)
            self._tell(Said(message))
            self.waiting = True
            if self.engine == "ready":
                await self._answer()
        finally:
            self._over(request_id)

    def _over(self, request_id: int) -> None:
        if self._request == request_id:  # else the next turn has begun already
            self._request = 0

    def cancel(self) -> None:
        """Ask to stop; the end of the reply is told when it comes."""
        if self._request and self.engine == "ready":
            self._client.cancel(self._request)

    async def stop(self) -> None:
        """Stop the reply that is being written; what came so far is kept."""
        self.cancel()
        await self._idle()
        self.waiting = False

    async def _idle(self) -> None:
        while self._request:
            await asyncio.sleep(0.005)

    async def take_back(self) -> None:
        """Take what was said and got no answer out of the conversation."""
        self.waiting = False
        taken: list[Message] = []
        while self.messages and self.messages[-1].role == "user":
            taken.insert(0, self.messages.pop())
        if not taken or self.conversation is None:
            return
        text = "\n\n".join(message.text for message in taken)
        self._tell(TakenBack(tuple(message.id for message in taken), text))
        if self.messages:  # else the next message makes a branch of its own
            with contextlib.suppress(StoreError):  # then it shows again when reopened
                await self._store.set_active_leaf(self.conversation.id, self.messages[-1].id)

    def _generate(self, request_id: int, branch: Sequence[Message] | None = None) -> api.Generate:
        """The request to answer a branch (None: the one in view)."""
        assert self.card is not None
        system = self.conversation.system_prompt if self.conversation else ""
        messages = [api.Message("system", system)] if system else []
        told = prompts.told(self.messages if branch is None else branch)
        messages += [prompts.as_told(message, self.card.fingerprint) for message in told]
        tools, choice = self._tools(branch)
        return api.Generate(
            request_id,
            tuple(messages),
            self.tuning.sampling(self.card),
            stop=self.tuning.stop,
            instruct=self.choice.instruct,
            safe_prompt=self.tuning.safe_prompt,
            candidates=CANDIDATES,
            tools=tools,
            tool_choice=choice,
        )

    def _tools(self, branch: Sequence[Message] | None) -> tuple[tuple[api.Tool, ...], str]:
        """The tools that the model may call in its answer to a branch, and whether it must."""
        return (), "auto"

    def _ended(self) -> bool:
        """Whether the user has stopped what is under way."""
        return False

    async def _answer(self) -> None:
        """Have the last message answered."""
        await self._one_reply()

    async def _one_reply(self) -> bool:
        """One reply to the last message; a reply is gone on with. Whether it came to a good end."""
        assert self.card is not None
        assert self.conversation is not None
        self.waiting = False
        if self._ended():
            self._over(self._request)
            return False
        self._request = self._request or self._client.next_id()
        request = self._generate(self._request)
        try:
            reply = await self._begin_reply(self.conversation, self.card, request)
        except StoreError as error:
            self._over(request.id)
            await self.take_back()
            self._tell(Trouble(str(error)))
            return False
        if self._ended():  # meanwhile; the engine remembers it
            self._client.cancel(request.id)
        taken = [call.id for message in self.messages for call in message.calls]
        turn = self._turn = Turn(reply, self.card.fingerprint, taken)
        self._tell(ReplyBegan(reply, self.siblings.get(reply.id)))
        saver = asyncio.create_task(
            turn.save_regularly(self._store, self._tell), name="save the reply"
        )
        last: api.Event | None = None
        try:
            async for event in self._client.submit(request):
                match event:
                    case api.PrefillProgress():
                        self._tell(ReplyProgress(reply.id, event.done, event.total, event.reused))
                    case Tokens():
                        turn.add(event)
                        told = event.text, turn.count, event.thinking, event.calls
                        self._tell(ReplyText(reply.id, *told))
                last = event
        finally:
            saver.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await saver
            ended = await self._save_end(turn, last)
            self._turn = None
            self._over(request.id)
            self._tell(ended)
        if isinstance(last, Failed) and last.kind != "cancelled":
            await self._failed(last, answered=ended.kept)
        return ended.saved and ended.status == "complete"

    async def _begin_reply(
        self, conversation: Conversation, card: ModelCard, request: api.Generate
    ) -> Message:
        last = self.messages[-1]
        facts: dict[str, Any] = {"fingerprint": card.fingerprint, "sampling": request.sampling}
        if last.role == "assistant":
            reply = await self._store.continue_reply(last.id, **facts)
            self.messages.pop()  # it comes back at its end
        else:
            meta = prompts.tools_noted(self.messages, request)
            reply = await self._store.begin_reply(conversation.id, last.id, meta=meta, **facts)
        if conversation.model_name != card.name:  # begun before it was loaded, or by another
            self.conversation = await self._store.update_conversation(
                conversation.id, model_name=card.name, model_path=card.path
            )
        self.siblings = await self._store.siblings(conversation.id)
        return reply

    async def _save_end(self, turn: Turn, last: api.Event | None) -> ReplyEnded:
        """Fold the reply on disk, so that what is then shown as complete is kept."""
        key, kept, saved = turn.message.id, turn.count > 0, False
        status: FinalStatus = "interrupted"
        seed = usage = timings = None
        reason = ""
        if isinstance(last, Finished):
            seed, usage, timings, reason = last.seed, last.usage, last.timings, last.reason
            status = _STATUS.get(reason, "length")
        elif isinstance(last, Failed):
            status = "cancelled" if last.kind == "cancelled" else "failed"
        try:
            await turn.save(self._store)
            message = await self._store.finish_reply(
                key, status, seed=seed, usage=usage, timings=timings, finish_reason=reason
            )
            kept, saved = message is not None, True
            self.messages += [message] if message else []
        except StoreError as error:
            self._tell(Trouble(str(error)))
        return ReplyEnded(key, status, kept, saved, reason, usage, timings)

    async def _failed(self, last: Failed, *, answered: bool) -> None:
        if last.kind == "worker_lost":
            self.waiting = not answered
            if self.engine == "ready":  # else it is being restarted
                self._engine_is("lost", last.sentence, last.detail)
            return
        if not answered:  # asked again with the next message, it might fail again, for ever
            await self.take_back()
        self._tell(Trouble(last.sentence))
